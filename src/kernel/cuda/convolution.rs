//! 3×3 convolutions by cuDNN, channels last. Which algorithm is measured once for each shape ([`choice`]).

use super::device::{Buffer, failed, seconds};
use crate::error::Result;
use crate::kernel::Precision;
use crate::kernel::choice::{self, Math, Record, Status};
use cudarc::cudnn::{result, sys};
use cudarc::driver::CudaStream;
use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::Arc;
use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as NHWC;

/// Memory that algorithms may ask for while they are measured, bytes; less where there is less. As much as the largest
/// map of VGG16 at 224 in a batch of 84.
const MOST_WORKSPACE: usize = 1 << 30;

/// Records asked for: more than cuDNN's 8 algorithms in two kinds of arithmetic, since the slowest would be cut, and those
/// are the ones that f32 needs.
const MOST_ALGORITHMS: usize = 32;

/// cuDNN on one stream. Not to be used by two threads at once.
pub struct Cudnn {
    handle: sys::cudnnHandle_t,
    stream: Arc<CudaStream>,
}

impl Cudnn {
    /// Opens it on `stream`, whose context must be bound to the calling thread.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Cudnn> {
        let handle = result::create_handle().map_err(failed)?;
        let cudnn = Cudnn { handle, stream: stream.clone() };
        // SAFETY: the handle is fresh, and the stream lives as long as it
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed)?;
        Ok(cudnn)
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        // the thread that drops it may never have used the device
        self.stream.context().bind_to_thread().ok();
        // SAFETY: made by `create_handle`, destroyed once; a failure leaves nothing to do
        unsafe { result::destroy_handle(self.handle) }.ok();
    }
}

/// Images, side and channels of a 3×3 convolution, stride 1, padding 1.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub images: usize,
    pub side: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// Where the operands lie on the device.
#[derive(Clone, Copy)]
pub struct Operands {
    /// images × side × side × channels read.
    pub x: u64,
    /// For [`Method::Data`] the weights of the way forward: channels read × 3 × 3 × channels written; else channels
    /// written × 3 × 3 × channels read.
    pub weight: u64,
    /// images × side × side × channels written.
    pub y: u64,
    /// One a channel written; only [`Method::Fused`] reads it.
    pub bias: u64,
}

/// How a convolution is done.
#[derive(Debug, Clone, Copy)]
enum Method {
    /// The convolution alone.
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    /// With bias and ReLU.
    Fused(sys::cudnnConvolutionFwdAlgo_t),
    /// The transposed convolution.
    Data(sys::cudnnConvolutionBwdDataAlgo_t),
}

/// A convolution ready to run.
pub struct Convolution {
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

struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    bias: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
    relu: sys::cudnnActivationDescriptor_t,
}

impl Convolution {
    /// The fastest way forward. Uses `operands` as scratch.
    pub fn forward(cudnn: &Cudnn, shape: Shape, precision: Precision, operands: Operands) -> Result<Convolution> {
        Convolution::fastest(cudnn, shape, precision, operands, Direction::Forward)
    }

    /// The fastest way back of a convolution of `shape`: cuDNN's own, with `weight`, or a convolution with `turned`
    /// weights. `operands.x` is the gradient with respect to the output, `operands.y` that to the input; both are scratch.
    pub fn backward(
        cudnn: &Cudnn,
        shape: Shape,
        precision: Precision,
        operands: Operands,
        turned: u64,
    ) -> Result<(Convolution, Way)> {
        let (back, turned_operands) = Way::Flipped.reads(shape, operands, turned);
        let flipped = Convolution::forward(cudnn, back, precision, turned_operands);
        let own = Convolution::fastest(cudnn, shape, precision, operands, Direction::Data);
        match (flipped, own) {
            (Ok(flipped), Ok(own)) if own.seconds < flipped.seconds => Ok((own, Way::Own)),
            (Ok(flipped), _) => Ok((flipped, Way::Flipped)),
            (Err(_), own) => Ok((own?, Way::Own)),
        }
    }

    /// The same algorithm for another number of images, which it need not be the fastest for. Uses `operands` as scratch.
    pub fn like(&self, cudnn: &Cudnn, shape: Shape, precision: Precision, operands: Operands) -> Result<Convolution> {
        let descriptors = Descriptors::new(shape, precision, self.math)?;
        let mut same = Convolution { descriptors, workspace: 0, ..*self };
        same.workspace = same.workspace_now(cudnn)?;
        same.seconds = same.measure(cudnn, operands)?;
        Ok(same)
    }

    /// With bias and ReLU in it, where cuDNN can do that and keeps NaN.
    pub fn fused(
        &self,
        cudnn: &Cudnn,
        shape: Shape,
        precision: Precision,
        operands: Operands,
    ) -> Result<Option<Convolution>> {
        let Method::Forward(algorithm) = self.method else { return Ok(None) };
        let descriptors = Descriptors::new(shape, precision, self.math)?;
        let fused = Convolution { descriptors, method: Method::Fused(algorithm), ..*self };
        Ok(fused.keeps_nan(cudnn, shape, precision, operands)?.then_some(fused))
    }

    /// Whether it adds the bias and applies the ReLU.
    pub fn is_fused(&self) -> bool {
        matches!(self.method, Method::Fused(_))
    }

    /// `forward algorithm 1, Fma, 12.0 MiB, 0.812 ms, fused`; the time is that of the convolution alone.
    pub fn describe(&self) -> String {
        let (name, algorithm, fused) = match self.method {
            Method::Forward(a) => ("forward", a as u32, ", plain"),
            Method::Fused(a) => ("forward", a as u32, ", fused"),
            Method::Data(a) => ("data", a as u32, ""),
        };
        let (mib, ms) = (self.workspace as f64 / (1 << 20) as f64, 1e3 * self.seconds);
        format!("{name} algorithm {algorithm}, {:?}, {mib:.1} MiB, {ms:.3} ms{fused}", self.math)
    }

    /// The fastest of cuDNN's algorithms in this direction. The operands are scratch.
    fn fastest(
        cudnn: &Cudnn,
        shape: Shape,
        precision: Precision,
        operands: Operands,
        direction: Direction,
    ) -> Result<Convolution> {
        let asked = if precision == Precision::F32 { Math::Fma } else { Math::Default };
        let descriptors = Descriptors::new(shape, precision, asked)?;
        let space = workspace(&cudnn.stream)?;
        let found = match direction {
            Direction::Forward => measured_forward(cudnn, &descriptors, operands, &space)?,
            Direction::Data => measured_data(cudnn, &descriptors, operands, &space)?,
        };
        let short = space.bytes() < MOST_WORKSPACE;
        drop(space);
        let ready = |record: &Record| -> Result<Convolution> {
            let descriptors = Descriptors::new(shape, precision, record.math)?;
            let method = direction.method(record.algorithm);
            let (workspace, seconds) = (record.workspace, record.seconds);
            Ok(Convolution { descriptors, method, math: record.math, workspace, seconds })
        };
        let measure = |algorithm: u32| -> Result<Record> {
            let empty = Record { algorithm, math: Math::Fma, workspace: 0, seconds: 0.0, status: Status::Sound };
            let mut convolution = ready(&empty)?;
            convolution.workspace = convolution.workspace_now(cudnn)?;
            let seconds = convolution.measure(cudnn, operands)?;
            Ok(Record { workspace: convolution.workspace, seconds, ..empty })
        };
        let run = |record: &Record| ready(record)?.once(cudnn, operands);
        ready(&choice::choose(precision, &found, short, measure, run)?)
    }

    /// One run in a workspace of its own, waited for.
    fn once(&self, cudnn: &Cudnn, operands: Operands) -> Result<()> {
        let space = Buffer::new(&cudnn.stream, self.workspace)?;
        self.run(cudnn, operands, &space)?;
        Ok(cudnn.stream.synchronize().map_err(failed)?)
    }

    /// Seconds of a run.
    fn measure(&self, cudnn: &Cudnn, operands: Operands) -> Result<f32> {
        let space = Buffer::new(&cudnn.stream, self.workspace)?;
        seconds(&cudnn.stream, || Ok(self.run(cudnn, operands, &space)?))
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
            }
        };
        Ok(bytes.map_err(failed)?)
    }

    /// Whether it runs at all, and makes NaN of an input of NaN.
    fn keeps_nan(&self, cudnn: &Cudnn, shape: Shape, precision: Precision, operands: Operands) -> Result<bool> {
        let bytes = shape.images * shape.side * shape.side * precision.bytes();
        let space = Buffer::new(&cudnn.stream, self.workspace)?;
        // SAFETY: x and y have that many bytes
        unsafe {
            // all bits set are NaN in either format
            memset(operands.x, 0xff, bytes * shape.inputs, &cudnn.stream)?;
            memset(operands.y, 0, bytes * shape.outputs, &cudnn.stream)?;
        }
        if self.run(cudnn, operands, &space).is_err() {
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

    /// Runs it. `space` has at least [`Convolution::workspace`] bytes, the operands are of its shape.
    pub fn run(&self, cudnn: &Cudnn, operands: Operands, space: &Buffer) -> candle_core::Result<()> {
        let (d, o, handle) = (&self.descriptors, operands, cudnn.handle);
        let (one, zero) = (ptr::from_ref(&1.0f32).cast(), ptr::from_ref(&0.0f32).cast());
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
                    zero,
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
                    zero,
                    d.y,
                    at(o.y),
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
                    zero,
                    d.x,
                    at(o.y),
                ),
            }
        }
        .map_err(failed)
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

/// Every algorithm of either direction.
const FORWARD: [sys::cudnnConvolutionFwdAlgo_t; 8] = {
    use sys::cudnnConvolutionFwdAlgo_t::*;
    [
        CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
        CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
        CUDNN_CONVOLUTION_FWD_ALGO_GEMM,
        CUDNN_CONVOLUTION_FWD_ALGO_DIRECT,
        CUDNN_CONVOLUTION_FWD_ALGO_FFT,
        CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING,
        CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD,
        CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED,
    ]
};
const DATA: [sys::cudnnConvolutionBwdDataAlgo_t; 6] = {
    use sys::cudnnConvolutionBwdDataAlgo_t::*;
    [
        CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
        CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
        CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
        CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING,
        CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD,
        CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED,
    ]
};

/// cuDNN's names of [`Math`].
const MATHS: [(Math, sys::cudnnMathType_t); 4] = [
    (Math::Default, sys::cudnnMathType_t::CUDNN_DEFAULT_MATH),
    (Math::TensorOp, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
    (Math::TensorOpConversion, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION),
    (Math::Fma, sys::cudnnMathType_t::CUDNN_FMA_MATH),
];

/// What cuDNN measures on the way forward, in the descriptors' arithmetic and in its default.
fn measured_forward(cudnn: &Cudnn, d: &Descriptors, o: Operands, space: &Buffer) -> Result<Vec<Record>> {
    let record = |r: &sys::cudnnConvolutionFwdAlgoPerf_t| {
        record(r.algo as u32, r.mathType, r.memory, r.time, r.status, r.determinism)
    };
    // SAFETY: descriptors are alive and describe the operands, which lie on the handle's device; `results` has room
    let find = |found: &mut c_int, results: *mut _| unsafe {
        sys::cudnnFindConvolutionForwardAlgorithmEx(
            cudnn.handle,
            d.x,
            at(o.x),
            d.weight,
            at(o.weight),
            d.convolution,
            d.y,
            at(o.y),
            MOST_ALGORITHMS as c_int,
            found,
            results,
            at(space.pointer()),
            space.bytes(),
        )
    };
    records(find, record)
}

/// The same on the way back. x and y are those of the way forward: dy lies at `o.x`, dx at `o.y`.
fn measured_data(cudnn: &Cudnn, d: &Descriptors, o: Operands, space: &Buffer) -> Result<Vec<Record>> {
    let record = |r: &sys::cudnnConvolutionBwdDataAlgoPerf_t| {
        record(r.algo as u32, r.mathType, r.memory, r.time, r.status, r.determinism)
    };
    // SAFETY: as in `measured_forward`
    let find = |found: &mut c_int, results: *mut _| unsafe {
        sys::cudnnFindConvolutionBackwardDataAlgorithmEx(
            cudnn.handle,
            d.weight,
            at(o.weight),
            d.y,
            at(o.x),
            d.convolution,
            d.x,
            at(o.y),
            MOST_ALGORITHMS as c_int,
            found,
            results,
            at(space.pointer()),
            space.bytes(),
        )
    };
    records(find, record)
}

/// What one of cuDNN's searches found: `find` is given a count and room for [`MOST_ALGORITHMS`] of its results.
fn records<R: Copy>(
    find: impl FnOnce(&mut c_int, *mut R) -> sys::cudnnStatus_t,
    record: impl Fn(&R) -> Record,
) -> Result<Vec<Record>> {
    let (mut found, mut results) = (0, [const { mem::MaybeUninit::<R>::uninit() }; MOST_ALGORITHMS]);
    find(&mut found, results.as_mut_ptr().cast()).result().map_err(failed)?;
    // SAFETY: cuDNN has written as many as it says
    Ok(results[..found as usize].iter().map(|r| record(unsafe { r.assume_init_ref() })).collect())
}

fn record(
    algorithm: u32,
    math: sys::cudnnMathType_t,
    workspace: usize,
    milliseconds: f32,
    status: sys::cudnnStatus_t,
    determinism: sys::cudnnDeterminism_t,
) -> Record {
    use sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
    use sys::cudnnStatus_t::*;
    let status = match status {
        CUDNN_STATUS_SUCCESS if determinism == CUDNN_DETERMINISTIC => Status::Sound,
        CUDNN_STATUS_SUCCESS => Status::NotDeterministic,
        CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED | CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED => {
            Status::NoMemory
        }
        _ => Status::Failed,
    };
    let math = MATHS.iter().find(|(_, theirs)| *theirs == math).expect("every kind of arithmetic is listed").0;
    Record { algorithm, math, workspace, seconds: milliseconds / 1e3, status }
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
    /// `operands`.
    pub fn reads(self, shape: Shape, operands: Operands, turned: u64) -> (Shape, Operands) {
        match self {
            Way::Own => (shape, operands),
            Way::Flipped => {
                let back = Shape { inputs: shape.outputs, outputs: shape.inputs, ..shape };
                (back, Operands { weight: turned, ..operands })
            }
        }
    }
}

impl Descriptors {
    /// For maps of `shape` and this arithmetic. Data are f32 or bf16, sums f32.
    fn new(shape: Shape, precision: Precision, math: Math) -> Result<Descriptors> {
        use sys::cudnnActivationMode_t::CUDNN_ACTIVATION_RELU;
        use sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        use sys::cudnnDataType_t::{CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT};
        use sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        let [n, side, inputs, outputs] = [shape.images, shape.side, shape.inputs, shape.outputs].map(|v| v as c_int);
        let data = if precision == Precision::Bf16 { CUDNN_DATA_BFLOAT16 } else { CUDNN_DATA_FLOAT };
        let d = Descriptors {
            x: result::create_tensor_descriptor().map_err(failed)?,
            y: result::create_tensor_descriptor().map_err(failed)?,
            bias: result::create_tensor_descriptor().map_err(failed)?,
            weight: result::create_filter_descriptor().map_err(failed)?,
            convolution: result::create_convolution_descriptor().map_err(failed)?,
            relu: result::create_activation_descriptor().map_err(failed)?,
        };
        // SAFETY: the descriptors are fresh
        unsafe {
            result::set_tensor4d_descriptor(d.x, NHWC, data, [n, inputs, side, side]).map_err(failed)?;
            result::set_tensor4d_descriptor(d.y, NHWC, data, [n, outputs, side, side]).map_err(failed)?;
            result::set_tensor4d_descriptor(d.bias, NHWC, data, [1, outputs, 1, 1]).map_err(failed)?;
            result::set_filter4d_descriptor(d.weight, data, NHWC, [outputs, inputs, 3, 3]).map_err(failed)?;
            let mode = CUDNN_CROSS_CORRELATION;
            result::set_convolution2d_descriptor(d.convolution, 1, 1, 1, 1, 1, 1, mode, CUDNN_DATA_FLOAT)
                .map_err(failed)?;
            // the coefficient is for other functions than ReLU
            result::set_activation_descriptor(d.relu, CUDNN_ACTIVATION_RELU, CUDNN_PROPAGATE_NAN, 0.0)
                .map_err(failed)?;
        }
        let math = MATHS.iter().find(|(ours, _)| *ours == math).expect("every kind of arithmetic is listed").1;
        // SAFETY: the descriptor is alive
        unsafe { result::set_convolution_math_type(d.convolution, math) }.map_err(failed)?;
        Ok(d)
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: each was created once and is destroyed once; a failure leaves nothing to do
        unsafe {
            result::destroy_tensor_descriptor(self.x).ok();
            result::destroy_tensor_descriptor(self.y).ok();
            result::destroy_tensor_descriptor(self.bias).ok();
            result::destroy_filter_descriptor(self.weight).ok();
            result::destroy_convolution_descriptor(self.convolution).ok();
            _ = sys::cudnnDestroyActivationDescriptor(self.relu);
        }
    }
}

/// A device address as cuDNN takes it.
fn at(address: u64) -> *mut c_void {
    address as *mut c_void
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
