//! cuDNN's handle and descriptors, and what its searches measure.

use super::device::{Buffer, failed};
use super::kernels::Kernels;
use crate::error::Result;
use crate::kernel::Precision;
use crate::kernel::choice::{Math, Record, Status};
use crate::kernel::schedule::Conv;
use cudarc::cudnn::{result, sys};
use cudarc::driver::CudaStream;
use std::ffi::{c_int, c_void};
use std::mem;
use std::sync::Arc;
use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as NHWC;

/// Where the operands lie on the device.
#[derive(Clone, Copy)]
pub struct Operands {
    /// images × rows × columns × channels read.
    pub x: u64,
    /// For a way back the weights of the way forward; else channels written × height × width × channels
    /// of a group read.
    pub weight: u64,
    /// Height × width × channels where each channel is a group, else the weights above; our kernel reads them.
    pub by_taps: u64,
    /// images × rows × columns × channels written.
    pub y: u64,
    /// One a channel written; only a fused convolution reads it.
    pub bias: u64,
    /// Added before the ReLU, as y is, or 0; only a fused convolution reads it.
    pub other: u64,
}

/// Records asked for: more than cuDNN's 8 algorithms in two kinds of arithmetic, since the slowest would be cut, and those
/// are the ones that f32 needs.
const MOST_ALGORITHMS: usize = 32;

/// cuDNN on one stream, and our kernels for what it does not do. Not to be used by two threads at once.
pub struct Cudnn {
    pub handle: sys::cudnnHandle_t,
    pub stream: Arc<CudaStream>,
    pub kernels: Kernels,
}

impl Cudnn {
    /// Opens it on `stream`, whose context must be bound to the calling thread.
    pub fn new(stream: &Arc<CudaStream>, precision: Precision) -> Result<Cudnn> {
        let kernels = Kernels::new(stream, precision)?;
        let handle = result::create_handle().map_err(failed)?;
        let cudnn = Cudnn { handle, stream: stream.clone(), kernels };
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

/// What a convolution reads, does and writes.
pub struct Descriptors {
    pub x: sys::cudnnTensorDescriptor_t,
    pub y: sys::cudnnTensorDescriptor_t,
    pub bias: sys::cudnnTensorDescriptor_t,
    pub weight: sys::cudnnFilterDescriptor_t,
    pub convolution: sys::cudnnConvolutionDescriptor_t,
    pub relu: sys::cudnnActivationDescriptor_t,
}

impl Descriptors {
    /// For so many images and this arithmetic. Data are f32 or bf16, sums f32.
    pub fn new(conv: &Conv, images: usize, precision: Precision, math: Math) -> Result<Descriptors> {
        use sys::cudnnActivationMode_t::CUDNN_ACTIVATION_RELU;
        use sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        use sys::cudnnDataType_t::{CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT};
        use sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        let (window, [height, width], [out_height, out_width]) = (&conv.on.window, conv.on.size, conv.on.out);
        let int = |v: usize| v as c_int;
        // zeros behind the channels are groups of their own where each channel is one
        let groups = if conv.of_group == [1, 1] { conv.inputs } else { conv.groups };
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
            result::set_tensor4d_descriptor(d.x, NHWC, data, [images, conv.inputs, height, width].map(int))
                .map_err(failed)?;
            result::set_tensor4d_descriptor(d.y, NHWC, data, [images, conv.outputs, out_height, out_width].map(int))
                .map_err(failed)?;
            result::set_tensor4d_descriptor(d.bias, NHWC, data, [1, conv.outputs, 1, 1].map(int)).map_err(failed)?;
            let filter = [conv.outputs, conv.of_group[0], window.size[0], window.size[1]].map(int);
            result::set_filter4d_descriptor(d.weight, data, NHWC, filter).map_err(failed)?;
            let mode = CUDNN_CROSS_CORRELATION;
            let ([pad, pad_across, ..], [down, across], [step, step_across]) =
                (window.padding.map(int), window.stride.map(int), window.dilation.map(int));
            let (convolution, sums) = (d.convolution, CUDNN_DATA_FLOAT);
            result::set_convolution2d_descriptor(
                convolution,
                pad,
                pad_across,
                down,
                across,
                step,
                step_across,
                mode,
                sums,
            )
            .map_err(failed)?;
            sys::cudnnSetConvolutionGroupCount(d.convolution, int(groups)).result().map_err(failed)?;
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

/// Every algorithm of either direction.
pub const FORWARD: [sys::cudnnConvolutionFwdAlgo_t; 8] = {
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
pub const DATA: [sys::cudnnConvolutionBwdDataAlgo_t; 6] = {
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
pub fn measured_forward(cudnn: &Cudnn, d: &Descriptors, o: Operands, space: &Buffer) -> Result<Vec<Record>> {
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
pub fn measured_data(cudnn: &Cudnn, d: &Descriptors, o: Operands, space: &Buffer) -> Result<Vec<Record>> {
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

/// A device address as cuDNN takes it.
pub fn at(address: u64) -> *mut c_void {
    address as *mut c_void
}
