//! Convolutions channels last, by cuDNN or by a kernel of ours. Which way is measured once for each shape ([`choice`]).

use super::cudnn::{Cudnn, DATA, Descriptors, FORWARD, Operands, at, measured_data, measured_forward};
use super::device::{Buffer, failed, seconds};
use super::kernels::{Geometry, Groups, launch};
use crate::error::Result;
use crate::kernel::Precision;
use crate::kernel::choice::{self, Math, Record, Status};
use crate::kernel::graph::Window;
use crate::kernel::halving::is_out_of_memory;
use crate::kernel::schedule::{self, Conv, EIGHT};
use cudarc::cudnn::{result, sys};
use cudarc::driver::CudaStream;
use std::ptr;
use std::sync::Arc;

/// Memory that algorithms may ask for while they are measured, bytes; less where there is less. As much as the largest
/// map of VGG16 at 224 in a batch of 84.
const MOST_WORKSPACE: usize = 1 << 30;

/// What is convolved, and of how many images in which precision.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub conv: Conv,
    pub images: usize,
    pub precision: Precision,
}

/// How a convolution is done.
#[derive(Debug, Clone, Copy)]
enum Method {
    /// The convolution alone.
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    /// With bias, another value and ReLU.
    Fused(sys::cudnnConvolutionFwdAlgo_t),
    /// The transposed convolution.
    Data(sys::cudnnConvolutionBwdDataAlgo_t),
    /// By our kernel, in this direction.
    Direct(Direction),
}

/// A convolution ready to run.
pub struct Convolution {
    shape: Shape,
    descriptors: Descriptors,
    method: Method,
    math: Math,
    /// Bytes of workspace it needs.
    pub workspace: usize,
    /// Measured seconds.
    pub seconds: f32,
}

/// Which way a convolution goes, for cuDNN's two sets of algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Data,
}

impl Convolution {
    /// The fastest way forward. Uses `operands` as scratch.
    pub fn forward(cudnn: &Cudnn, shape: Shape, operands: Operands) -> Result<Convolution> {
        Convolution::best(cudnn, shape, operands, Direction::Forward)
    }

    /// The fastest way back of a convolution of `shape`: cuDNN's own, with `weight`, or a convolution with `turned`
    /// weights. `operands.x` is the gradient with respect to the output, `operands.y` that to the input; both are scratch.
    pub fn backward(
        cudnn: &Cudnn,
        shape: Shape,
        operands: Operands,
        turned: Option<u64>,
    ) -> Result<(Convolution, Way)> {
        let own = Convolution::best(cudnn, shape, operands, Direction::Data);
        let Some(turned) = turned else { return Ok((own?, Way::Own)) };
        let (back, turned_operands) = Way::Flipped.reads(shape, operands, Some(turned));
        let flipped = Convolution::forward(cudnn, back, turned_operands);
        match (flipped, own) {
            (Ok(flipped), Ok(own)) if own.seconds < flipped.seconds => Ok((own, Way::Own)),
            (Ok(flipped), _) => Ok((flipped, Way::Flipped)),
            (Err(_), own) => Ok((own?, Way::Own)),
        }
    }

    /// The same algorithm for another number of images, which it need not be the fastest for. Uses `operands` as scratch.
    pub fn like(&self, cudnn: &Cudnn, shape: Shape, operands: Operands) -> Result<Convolution> {
        let mut same = Convolution::new(shape, self.method, self.math)?;
        same.workspace = same.workspace_now(cudnn)?;
        same.seconds = same.measure(cudnn, operands)?;
        Ok(same)
    }

    /// With bias, another value and ReLU in it, where cuDNN can do that and keeps NaN.
    pub fn fused(&self, cudnn: &Cudnn, operands: Operands) -> Result<Option<Convolution>> {
        let Method::Forward(algorithm) = self.method else { return Ok(None) };
        let (workspace, seconds) = (self.workspace, self.seconds);
        let plain = Convolution::new(self.shape, Method::Fused(algorithm), self.math)?;
        let fused = Convolution { workspace, seconds, ..plain };
        Ok(fused.keeps_nan(cudnn, operands)?.then_some(fused))
    }

    /// Whether it adds the bias and the other value, and applies the ReLU.
    pub fn is_fused(&self) -> bool {
        matches!(self.method, Method::Fused(_))
    }

    /// `forward algorithm 1, Fma, 12.0 MiB, 0.812 ms, fused`; the time is that of the convolution alone.
    pub fn describe(&self) -> String {
        let (name, algorithm, fused) = match self.method {
            Method::Forward(a) => ("forward", a as u32, ", plain"),
            Method::Fused(a) => ("forward", a as u32, ", fused"),
            Method::Data(a) => ("data", a as u32, ""),
            Method::Direct(_) => return format!("by our kernel, {:.3} ms", 1e3 * self.seconds),
        };
        let (mib, ms) = (self.workspace as f64 / (1 << 20) as f64, 1e3 * self.seconds);
        format!("{name} algorithm {algorithm}, {:?}, {mib:.1} MiB, {ms:.3} ms{fused}", self.math)
    }

    fn new(shape: Shape, method: Method, math: Math) -> Result<Convolution> {
        let descriptors = Descriptors::new(&shape.conv, shape.images, shape.precision, math)?;
        Ok(Convolution { shape, descriptors, method, math, workspace: 0, seconds: 0.0 })
    }

    /// cuDNN's fastest algorithm, or our kernel: for groups where it is faster, else where cuDNN has none. The operands are
    /// scratch.
    fn best(cudnn: &Cudnn, shape: Shape, operands: Operands, direction: Direction) -> Result<Convolution> {
        let conv = &shape.conv;
        // zeros behind the channels would move the groups
        let even = [conv.groups * conv.of_group[0], conv.groups * conv.of_group[1]] == [conv.inputs, conv.outputs];
        let found = (even || conv.of_group == [1, 1]).then(|| Convolution::fastest(cudnn, shape, operands, direction));
        match found {
            Some(Ok(found)) if conv.groups == 1 => Ok(found),
            // fewer images at a time are faster than our kernel
            Some(Err(problem)) if conv.groups == 1 && shape.images > 1 && is_out_of_memory(&problem) => Err(problem),
            found => {
                let mut direct = Convolution::new(shape, Method::Direct(direction), Math::Default)?;
                direct.seconds = direct.measure(cudnn, operands)?;
                let faster = found.and_then(|found| found.ok()).filter(|found| found.seconds < direct.seconds);
                Ok(faster.unwrap_or(direct))
            }
        }
    }

    /// The fastest of cuDNN's algorithms in this direction. The operands are scratch.
    fn fastest(cudnn: &Cudnn, shape: Shape, operands: Operands, direction: Direction) -> Result<Convolution> {
        let asked = if shape.precision == Precision::F32 { Math::Fma } else { Math::Default };
        let descriptors = Descriptors::new(&shape.conv, shape.images, shape.precision, asked)?;
        let space = workspace(&cudnn.stream)?;
        let found = match direction {
            Direction::Forward => measured_forward(cudnn, &descriptors, operands, &space)?,
            Direction::Data => measured_data(cudnn, &descriptors, operands, &space)?,
        };
        let short = space.bytes() < MOST_WORKSPACE;
        drop(space);
        let ready = |record: &Record| -> Result<Convolution> {
            let (workspace, seconds) = (record.workspace, record.seconds);
            let plain = Convolution::new(shape, direction.method(record.algorithm), record.math)?;
            Ok(Convolution { workspace, seconds, ..plain })
        };
        let measure = |algorithm: u32| -> Result<Record> {
            let empty = Record { algorithm, math: Math::Fma, workspace: 0, seconds: 0.0, status: Status::Sound };
            let mut convolution = ready(&empty)?;
            convolution.workspace = convolution.workspace_now(cudnn)?;
            let seconds = convolution.measure(cudnn, operands)?;
            Ok(Record { workspace: convolution.workspace, seconds, ..empty })
        };
        let run = |record: &Record| ready(record)?.once(cudnn, operands);
        ready(&choice::choose(shape.precision, &found, short, measure, run)?)
    }

    /// One run in a workspace of its own, waited for.
    fn once(&self, cudnn: &Cudnn, operands: Operands) -> Result<()> {
        let space = Buffer::new(&cudnn.stream, self.workspace)?;
        self.run(cudnn, operands, &space, false)?;
        Ok(cudnn.stream.synchronize().map_err(failed)?)
    }

    /// Seconds of a run.
    fn measure(&self, cudnn: &Cudnn, operands: Operands) -> Result<f32> {
        let space = Buffer::new(&cudnn.stream, self.workspace)?;
        seconds(&cudnn.stream, || Ok(self.run(cudnn, operands, &space, false)?))
    }

    /// What cuDNN asks for its algorithm in its arithmetic.
    fn workspace_now(&self, cudnn: &Cudnn) -> Result<usize> {
        let d = &self.descriptors;
        // SAFETY: the descriptors are alive
        let bytes = unsafe {
            match self.method {
                Method::Forward(a) | Method::Fused(a) => {
                    result::get_convolution_forward_workspace_size(cudnn.handle, d.x, d.weight, d.convolution, d.y, a)
                }
                Method::Data(a) => result::get_convolution_backward_data_workspace_size(
                    cudnn.handle,
                    d.weight,
                    d.y,
                    d.convolution,
                    d.x,
                    a,
                ),
                Method::Direct(_) => Ok(0),
            }
        };
        Ok(bytes.map_err(failed)?)
    }

    /// Whether it runs at all, and makes NaN of an input of NaN.
    fn keeps_nan(&self, cudnn: &Cudnn, operands: Operands) -> Result<bool> {
        let Shape { conv, images, precision } = self.shape;
        let bytes = |size: [usize; 2], channels: usize| images * size[0] * size[1] * channels * precision.bytes();
        let space = Buffer::new(&cudnn.stream, self.workspace)?;
        // SAFETY: x and y have that many bytes
        unsafe {
            // all bits set are NaN in either format
            memset(operands.x, 0xff, bytes(conv.on.size, conv.inputs), &cudnn.stream)?;
            memset(operands.y, 0, bytes(conv.on.out, conv.outputs), &cudnn.stream)?;
        }
        if self.run(cudnn, operands, &space, false).is_err() {
            return Ok(false);
        }
        let mut first = [0u8; 4];
        // SAFETY: y has more bytes than four, and the copy is waited for before `first` is read
        unsafe {
            cudarc::driver::result::memcpy_dtoh_async(&mut first, operands.y, cudnn.stream.cu_stream())
                .map_err(failed)?;
        }
        cudnn.stream.synchronize().map_err(failed)?;
        Ok(match precision {
            Precision::Bf16 => half::bf16::from_le_bytes([first[0], first[1]]).is_nan(),
            _ => f32::from_le_bytes(first).is_nan(),
        })
    }

    /// Runs it. `space` has at least [`Convolution::workspace`] bytes, the operands are of its shape; `add`: to what y holds.
    pub fn run(&self, cudnn: &Cudnn, operands: Operands, space: &Buffer, add: bool) -> candle_core::Result<()> {
        let (d, o, handle) = (&self.descriptors, operands, cudnn.handle);
        let [one, old, other] = [true, add, o.other != 0].map(|is| if is { &1.0f32 } else { &0.0f32 });
        let [one, old, other] = [one, old, other].map(|factor| ptr::from_ref(factor).cast());
        if let Method::Direct(direction) = self.method {
            return self.direct(cudnn, operands, direction, add);
        }
        // SAFETY: descriptors are alive and describe the operands, which lie on the handle's device; scales are f32
        // for f32 and bf16 data alike
        unsafe {
            match self.method {
                Method::Forward(algorithm) => result::convolution_forward(
                    handle,
                    one,
                    d.x,
                    at(o.x),
                    d.weight,
                    at(o.weight),
                    d.convolution,
                    algorithm,
                    at(space.pointer()),
                    self.workspace,
                    old,
                    d.y,
                    at(o.y),
                ),
                Method::Fused(algorithm) => result::convolution_bias_activation_forward(
                    handle,
                    one,
                    d.x,
                    at(o.x),
                    d.weight,
                    at(o.weight),
                    d.convolution,
                    algorithm,
                    at(space.pointer()),
                    self.workspace,
                    other,
                    d.y,
                    at(if o.other == 0 { o.y } else { o.other }),
                    d.bias,
                    at(o.bias),
                    d.relu,
                    d.y,
                    at(o.y),
                ),
                Method::Data(algorithm) => result::convolution_backward_data(
                    handle,
                    one,
                    d.weight,
                    at(o.weight),
                    d.y,
                    at(o.x),
                    d.convolution,
                    algorithm,
                    at(space.pointer()),
                    self.workspace,
                    old,
                    d.x,
                    at(o.y),
                ),
                Method::Direct(_) => return Ok(()),
            }
        }
        .map_err(failed)
    }

    fn direct(&self, cudnn: &Cudnn, o: Operands, direction: Direction, add: bool) -> candle_core::Result<()> {
        let Shape { conv, images, .. } = self.shape;
        let eights = |size: [usize; 2], channels: usize| images * size[0] * size[1] * channels / EIGHT;
        let on = Geometry::new(&conv.on, conv.inputs / EIGHT);
        let [read, written] = conv.of_group;
        let of = Groups([read as i32, written as i32, (conv.groups * written) as i32]);
        let kernels = &cudnn.kernels;
        match direction {
            Direction::Forward => {
                launch!(kernels, "direct", eights(conv.on.out, conv.outputs), o.x, o.by_taps, o.y, on, of)
            }
            Direction::Data => {
                let (count, add) = (eights(conv.on.size, conv.inputs), i32::from(add));
                launch!(kernels, "direct_gradient", count, o.x, o.by_taps, o.y, add, on, of)
            }
        }
    }
}

impl Direction {
    /// cuDNN's algorithm of this number.
    fn method(self, algorithm: u32) -> Method {
        let forward = FORWARD.iter().find(|a| **a as u32 == algorithm);
        let data = DATA.iter().find(|a| **a as u32 == algorithm);
        match self {
            Direction::Forward => Method::Forward(*forward.expect("a number that cuDNN gave")),
            Direction::Data => Method::Data(*data.expect("a number that cuDNN gave")),
        }
    }
}

/// Which weights a way back reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those of the way forward, by cuDNN's own way back.
    Own,
    /// Turned and transposed ones, by a convolution.
    Flipped,
}

impl Way {
    /// Shape and operands of the convolution that goes this way, for a convolution of `shape` whose own weights are in
    /// `operands`; the flipped way needs `turned` ones.
    pub fn reads(self, shape: Shape, operands: Operands, turned: Option<u64>) -> (Shape, Operands) {
        let (Way::Flipped, Some(weight)) = (self, turned) else { return (shape, operands) };
        let Conv { on, inputs, outputs, of_group: [read, written], .. } = shape.conv;
        let rest = [0, 1, 0, 1].map(|axis| on.window.extent(axis) - 1);
        let padding = std::array::from_fn(|i| rest[i] - on.window.padding[i]);
        let on = schedule::Geometry { size: on.out, out: on.size, window: Window { padding, ..on.window } };
        let conv = Conv { on, inputs: outputs, outputs: inputs, of_group: [written, read], ..shape.conv };
        (Shape { conv, ..shape }, Operands { weight, by_taps: weight, ..operands })
    }
}

/// Space to measure in: the most there is, up to [`MOST_WORKSPACE`].
fn workspace(stream: &Arc<CudaStream>) -> Result<Buffer> {
    let sizes = (0..7).map(|halvings| MOST_WORKSPACE >> halvings);
    let found = sizes.map(|bytes| Buffer::new(stream, bytes)).find(candle_core::Result::is_ok);
    Ok(found.unwrap_or_else(|| Buffer::new(stream, 1))?)
}

/// Sets device memory.
///
/// # Safety
/// `bytes` bytes at `address` belong to the stream's device.
unsafe fn memset(address: u64, value: u8, bytes: usize, stream: &CudaStream) -> candle_core::Result<()> {
    // SAFETY: the caller's
    unsafe { cudarc::driver::result::memset_d8_async(address, value, bytes, stream.cu_stream()) }.map_err(failed)
}
