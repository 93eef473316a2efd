//! The device: opening it, its memory, its clock, and what its libraries say when they fail.

use super::shim;
use crate::error::{Error, Result};
use candle_core::Device;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, sys};
use std::sync::{Arc, OnceLock};

/// Opens CUDA device `ordinal`.
///
/// # Errors
/// Says which library is missing, or what the driver says.
pub fn open(ordinal: usize) -> Result<Device> {
    shim::load().map_err(|missing| Error::usage(format!("CUDA is not there: {missing}")))?;
    let mut driver = 0;
    // SAFETY: a place for a number; the driver answers before it is initialised
    unsafe { sys::cuDriverGetVersion(&mut driver) }.result().map_err(failed)?;
    if driver < OLDEST_DRIVER {
        let (major, minor) = (driver / 1000, driver % 1000 / 10);
        return Err(Error::usage(format!(
            "the driver is of CUDA {major}.{minor}, the program needs one of 13.0 (580)"
        )));
    }
    // a stream of its own, not that of the calling thread: threads take turns on it
    let device = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(cuda) = &device {
        let (major, minor) = cuda.cuda_stream().context().compute_capability().map_err(failed)?;
        if (major, minor) < OLDEST_CARD {
            let problem = format!("the card has compute capability {major}.{minor}, the program needs 8.0");
            return Err(Error::usage(problem));
        }
        // SAFETY: all memory is used on this one stream
        unsafe { cuda.disable_event_tracking() };
        keep_freed_memory(&cuda.cuda_stream())?;
    }
    Ok(device)
}

/// What candle's compiled kernels ask for (`scripts/build_cuda.sh`): PTX 9.0, which drivers of CUDA 13.0 read, for compute
/// capability 8.0.
const OLDEST_DRIVER: i32 = 13_000;
const OLDEST_CARD: (i32, i32) = (8, 0);

/// Memory that is freed stays with this process; otherwise it goes back to the driver whenever the stream is waited for.
fn keep_freed_memory(stream: &CudaStream) -> Result<()> {
    let (device, mut pool, mut all) = (stream.context().cu_device(), std::ptr::null_mut(), u64::MAX);
    let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: a device that is open; the attribute is a u64
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, device).result().map_err(failed)?;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast()).result().map_err(failed)?;
    }
    Ok(())
}

/// Gives the memory that is freed back to the driver, for others on this card.
pub fn return_freed_memory(stream: &CudaStream) -> Result<()> {
    let (device, mut pool) = (stream.context().cu_device(), std::ptr::null_mut());
    stream.context().bind_to_thread().map_err(failed)?;
    // what is freed on the stream is free once the stream has come so far
    stream.synchronize().map_err(failed)?;
    // SAFETY: a device that is open
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, device).result().map_err(failed)?;
        sys::cuMemPoolTrimTo(pool, 0).result().map_err(failed)?;
    }
    Ok(())
}

/// Seconds of some work on the stream: the least of [`REPEATS`], after one that is not counted.
pub fn seconds(stream: &CudaStream, mut work: impl FnMut() -> Result<()>) -> Result<f32> {
    work()?;
    let mut least = f32::INFINITY;
    for _ in 0..REPEATS {
        let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let began = stream.record_event(timed).map_err(failed)?;
        work()?;
        let ended = stream.record_event(timed).map_err(failed)?;
        least = least.min(began.elapsed_ms(&ended).map_err(failed)? / 1e3);
    }
    Ok(least)
}

/// Times that work is done to be measured: a GPU's times scatter little, and each convolution of a net is measured.
const REPEATS: usize = 3;

/// Whether to say how each layer is computed (`FOOLPROOF_CUDA_LOG=1`).
pub fn is_logged() -> bool {
    static LOGGED: OnceLock<bool> = OnceLock::new();
    *LOGGED.get_or_init(|| std::env::var_os("FOOLPROOF_CUDA_LOG").is_some_and(|v| v == "1"))
}

/// An error of a CUDA library as one of candle's, like those of its own operations.
pub fn failed(problem: impl std::fmt::Display + Send + Sync + 'static) -> candle_core::Error {
    candle_core::Error::wrap(problem)
}

/// Device memory without a type.
pub struct Buffer(CudaSlice<u8>);

impl Buffer {
    /// At least one byte, zeroed.
    pub fn new(stream: &Arc<CudaStream>, bytes: usize) -> candle_core::Result<Buffer> {
        Ok(Buffer(stream.alloc_zeros(bytes.max(1)).map_err(failed)?))
    }

    pub fn of(stream: &Arc<CudaStream>, bytes: &[u8]) -> candle_core::Result<Buffer> {
        Ok(Buffer(stream.clone_htod(bytes).map_err(failed)?))
    }

    pub fn pointer(&self) -> u64 {
        self.0.device_ptr(self.0.stream()).0
    }

    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}
