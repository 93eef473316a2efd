//! 3×3 convolutions by cuDNN, channels last. Which algorithm is measured once for each shape.

use super::{Buffer, failed};
use crate::kernel::Precision;
use candle_core::{Error, Result};
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

/// Algorithms asked for: more than cuDNN has in either direction.
const MOST_ALGORITHMS: usize = 16;

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
    /// Bytes of workspace it needs.
    pub workspace: usize,
    /// Measured seconds.
    seconds: f32,
}

/// An algorithm that cuDNN has measured; of its own structs there is one for each direction.
struct Measured {
    method: Method,
    is_usable: bool,
    math: sys::cudnnMathType_t,
    workspace: usize,
    seconds: f32,
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
    /// The fastest way forward. Uses `operands` as scratch. With `relu`, bias and ReLU are part of it where cuDNN can do
    /// that and keeps NaN: see [`Convolution::is_fused`].
    pub fn forward(
        cudnn: &Cudnn,
        shape: Shape,
        precision: Precision,
        operands: Operands,
        relu: bool,
    ) -> Result<Convolution> {
        let mut best = Convolution::fastest_forward(cudnn, shape, precision, operands)?;
        if let (true, Method::Forward(algorithm)) = (relu, best.method) {
            best.method = Method::Fused(algorithm);
            if !best.keeps_nan(cudnn, shape, precision, operands)? {
                best.method = Method::Forward(algorithm);
            }
        }
        Ok(best)
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
        let back = Shape { inputs: shape.outputs, outputs: shape.inputs, ..shape };
        let flipped = Convolution::fastest_forward(cudnn, back, precision, Operands { weight: turned, ..operands });
        let own = Convolution::fastest_data(cudnn, shape, precision, operands);
        match (flipped, own) {
            (Ok(flipped), Ok(own)) if own.seconds < flipped.seconds => Ok((own, Way::Own)),
            (Ok(flipped), _) => Ok((flipped, Way::Flipped)),
            (Err(_), own) => Ok((own?, Way::Own)),
        }
    }

    /// Whether it adds the bias and applies the ReLU.
    pub fn is_fused(&self) -> bool {
        matches!(self.method, Method::Fused(_))
    }

    fn fastest_forward(cudnn: &Cudnn, shape: Shape, precision: Precision, operands: Operands) -> Result<Convolution> {
        let descriptors = Descriptors::new(shape, precision)?;
        let (d, o) = (&descriptors, operands);
        let space = workspace(&cudnn.stream)?;
        // SAFETY: numbers and enums of C, all of which have a zero
        let (mut found, mut results) =
            (0, unsafe { [mem::zeroed::<sys::cudnnConvolutionFwdAlgoPerf_t>(); MOST_ALGORITHMS] });
        // SAFETY: descriptors are alive and describe the operands, which lie on the handle's device; `results` has room
        unsafe {
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
                &mut found,
                results.as_mut_ptr(),
                at(space.pointer()),
                space.bytes(),
            )
        }
        .result()
        .map_err(failed)?;
        let measured = results[..found as usize].iter().map(|r| Measured {
            method: Method::Forward(r.algo),
            is_usable: is_usable(r.status, r.determinism),
            math: r.mathType,
            workspace: r.memory,
            seconds: r.time / 1e3,
        });
        Convolution::fastest(descriptors, shape, precision, measured)
    }

    fn fastest_data(cudnn: &Cudnn, shape: Shape, precision: Precision, operands: Operands) -> Result<Convolution> {
        // x and y are those of the way forward: dy lies at `operands.x`, dx at `operands.y`
        let descriptors = Descriptors::new(shape, precision)?;
        let (d, o) = (&descriptors, operands);
        let space = workspace(&cudnn.stream)?;
        // SAFETY: numbers and enums of C, all of which have a zero
        let (mut found, mut results) =
            (0, unsafe { [mem::zeroed::<sys::cudnnConvolutionBwdDataAlgoPerf_t>(); MOST_ALGORITHMS] });
        // SAFETY: as in `fastest_forward`
        unsafe {
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
                &mut found,
                results.as_mut_ptr(),
                at(space.pointer()),
                space.bytes(),
            )
        }
        .result()
        .map_err(failed)?;
        let measured = results[..found as usize].iter().map(|r| Measured {
            method: Method::Data(r.algo),
            is_usable: is_usable(r.status, r.determinism),
            math: r.mathType,
            workspace: r.memory,
            seconds: r.time / 1e3,
        });
        Convolution::fastest(descriptors, shape, precision, measured)
    }

    /// The fastest usable one of those that cuDNN has measured.
    fn fastest(
        descriptors: Descriptors,
        shape: Shape,
        precision: Precision,
        measured: impl Iterator<Item = Measured>,
    ) -> Result<Convolution> {
        let best = measured.filter(|m| m.is_usable).min_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let Measured { method, math, workspace, seconds, .. } =
            best.ok_or_else(|| Error::msg(format!("cuDNN has no deterministic algorithm for {shape:?}")))?;
        descriptors.set_math(precision, math)?;
        Ok(Convolution { descriptors, method, workspace, seconds })
    }

    /// Whether it runs at all, and makes NaN of an input of NaN.
    fn keeps_nan(&self, cudnn: &Cudnn, shape: Shape, precision: Precision, operands: Operands) -> Result<bool> {
        let bytes = shape.images * shape.side * shape.side * precision.bytes();
        let space = Buffer::new(&cudnn.stream, self.workspace)?;
        // SAFETY: x has that many bytes, and eight values at y can be read
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
    pub fn run(&self, cudnn: &Cudnn, operands: Operands, space: &Buffer) -> Result<()> {
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

/// Which weights a way back reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those of the way forward, by cuDNN's own way back.
    Own,
    /// Turned and transposed ones, by a convolution.
    Flipped,
}

impl Descriptors {
    /// For maps of `shape`. Data are f32 or bf16, sums f32.
    fn new(shape: Shape, precision: Precision) -> Result<Descriptors> {
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
        d.set_math(precision, sys::cudnnMathType_t::CUDNN_DEFAULT_MATH)?;
        Ok(d)
    }

    /// The arithmetic of one of the algorithms found; f32 is never anything but f32.
    fn set_math(&self, precision: Precision, found: sys::cudnnMathType_t) -> Result<()> {
        use sys::cudnnMathType_t::{CUDNN_FMA_MATH, CUDNN_TENSOR_OP_MATH};
        let math = match precision {
            Precision::F32 => CUDNN_FMA_MATH,
            Precision::Bf16 => CUDNN_TENSOR_OP_MATH,
            // the default lets f32 through tensor cores as TF32
            Precision::Tf32 => found,
        };
        // SAFETY: the descriptor is alive
        unsafe { result::set_convolution_math_type(self.convolution, math) }.map_err(failed)
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

/// Only algorithms that give the same bits every time.
fn is_usable(status: sys::cudnnStatus_t, determinism: sys::cudnnDeterminism_t) -> bool {
    status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS && determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
}

/// A device address as cuDNN takes it.
fn at(address: u64) -> *mut c_void {
    address as *mut c_void
}

/// Space to measure in: the most there is, up to [`MOST_WORKSPACE`].
fn workspace(stream: &Arc<CudaStream>) -> Result<Buffer> {
    let sizes = (0..7).map(|halvings| MOST_WORKSPACE >> halvings);
    sizes.map(|bytes| Buffer::new(stream, bytes)).find(Result::is_ok).unwrap_or_else(|| Buffer::new(stream, 1))
}

/// Sets device memory.
///
/// # Safety
/// `bytes` bytes at `address` belong to the stream's device.
unsafe fn memset(address: u64, value: u8, bytes: usize, stream: &CudaStream) -> Result<()> {
    // SAFETY: the caller's
    unsafe { cudarc::driver::result::memset_d8_async(address, value, bytes, stream.cu_stream()) }.map_err(failed)
}
