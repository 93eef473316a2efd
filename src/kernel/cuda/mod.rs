//! The CUDA engine: convolutions by cuDNN, products by cuBLAS, and small kernels of ours between them.
//!
//! Maps are channels last, their channels padded with zeros to a multiple of 8, so that every shape suits the tensor
//! cores and every thread of [`kernels`] has a whole vector. On the way forward a ReLU leaves one bit a value and a pool
//! two bits a window; two maps of the largest size are all else that lives. Everything is put on candle's stream, and
//! nothing waits for it. The way of each convolution is measured when a batch size is first met ([`convolution`]); batch
//! sizes are rounded up to few ([`rounded`]), so that this happens seldom.
//!
//! The same batch gives the same bits as long as the engine lives. Another engine may measure other ways to be fastest.
//! Infinities may become NaN, in padded channels (0·∞).

mod compiled;
mod convolution;
mod kernels;
mod shim;

use super::{Engine, Loss, Net, Precision};
use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use compiled::Compiled;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, sys};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Opens CUDA device `ordinal`.
///
/// # Errors
/// Says which library is missing, or what the driver says.
pub fn open(ordinal: usize) -> Result<Device> {
    shim::load().map_err(|missing| Error::usage(format!("CUDA is not there: {missing}")))?;
    // a stream of its own, not that of the calling thread: threads take turns on it
    let device = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: all memory is used on this one stream
        unsafe { cuda.disable_event_tracking() };
        keep_freed_memory(&cuda.cuda_stream())?;
    }
    Ok(device)
}

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

/// An error of a CUDA library as one of candle's, like those of its own operations.
fn failed(problem: impl std::fmt::Display + Send + Sync + 'static) -> candle_core::Error {
    candle_core::Error::wrap(problem)
}

/// Device memory without a type.
struct Buffer(CudaSlice<u8>);

impl Buffer {
    /// At least one byte, zeroed.
    fn new(stream: &Arc<CudaStream>, bytes: usize) -> candle_core::Result<Buffer> {
        Ok(Buffer(stream.alloc_zeros(bytes.max(1)).map_err(failed)?))
    }

    fn of(stream: &Arc<CudaStream>, bytes: &[u8]) -> candle_core::Result<Buffer> {
        Ok(Buffer(stream.clone_htod(bytes).map_err(failed)?))
    }

    fn pointer(&self) -> u64 {
        self.0.device_ptr(self.0.stream()).0
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// A network on a CUDA device.
pub struct Cuda {
    /// In f32: every logit that is judged, and gradients unless `gradients` has them.
    exact: Mutex<Compiled>,
    /// In a lower precision.
    gradients: Option<Mutex<Compiled>>,
    /// Most images at once: lowered when memory runs out.
    limit: AtomicUsize,
}

impl Cuda {
    /// Copies the weights to `device`, which [`open`] opened, and compiles the kernels. Gradients will be of `precision`.
    ///
    /// # Errors
    /// Those of the CUDA libraries; a net with a step that a map cannot take, or a device that is not CUDA, is an error too.
    pub fn new(net: &Net<f32>, device: &Device, precision: Precision) -> Result<Cuda> {
        let Device::Cuda(cuda) = device else { return Err(Error::usage("the CUDA engine needs a CUDA device")) };
        let exact = Compiled::new(net, cuda, Precision::F32)?;
        let gradients = match precision {
            Precision::F32 => None,
            lower => Some(Mutex::new(Compiled::new(net, cuda, lower)?)),
        };
        Ok(Cuda { limit: AtomicUsize::new(exact.most_images()), exact: Mutex::new(exact), gradients })
    }

    /// Computes no more than `most` images at once.
    pub fn limit(&self, most: usize) {
        self.limit.fetch_min(most.max(1), Ordering::Relaxed);
    }

    /// Works through `images` in as few parts as memory allows: `work(first, part)` gives tensors whose rows are images.
    fn in_parts<const N: usize>(
        &self,
        images: &Tensor,
        on: &Mutex<Compiled>,
        work: impl Fn(&mut Compiled, usize, &Tensor) -> Result<[Tensor; N]>,
    ) -> Result<[Tensor; N]> {
        let mut compiled = on.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let n = images.dim(0)?;
        let (mut first, mut parts) = (0, Vec::new());
        while first < n {
            let images_now = self.limit.load(Ordering::Relaxed).min(n - first);
            match work(&mut compiled, first, &images.narrow(0, first, images_now)?) {
                Ok(part) => {
                    parts.push(part);
                    first += images_now;
                }
                Err(problem) if images_now > 1 && is_out_of_memory(&problem) => {
                    compiled.release();
                    self.limit.store(images_now / 2, Ordering::Relaxed);
                    // there is nobody to hand this to, and who waits longer should know why
                    eprintln!("the device is out of memory with {images_now} images: going on with {}", images_now / 2);
                }
                Err(problem) => return Err(problem),
            }
        }
        let mut results = Vec::new();
        for i in 0..N {
            let of_parts: Vec<&Tensor> = parts.iter().map(|p| &p[i]).collect();
            results.push(if let [only] = of_parts[..] { only.clone() } else { Tensor::cat(&of_parts, 0)? });
        }
        Ok(results.try_into().expect("N of them"))
    }
}

impl Engine for Cuda {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let [logits] = self.in_parts(images, &self.exact, |net, _, part| Ok([net.logits(part)?]))?;
        Ok(logits)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let on = self.gradients.as_ref().unwrap_or(&self.exact);
        let [logits, gradient] = self.in_parts(images, on, |net, first, part| {
            let logits = net.logits(part)?;
            let gradient = net.gradient(&loss.on_device(first, &logits)?)?;
            Ok([logits, gradient])
        })?;
        Ok((logits, gradient))
    }

    fn gradient_logits_are_exact(&self) -> bool {
        self.gradients.is_none()
    }
}

/// By its text: the error has come through several libraries, each of which has a kind of its own for this.
fn is_out_of_memory(problem: &Error) -> bool {
    let text = problem.to_string();
    ["OUT_OF_MEMORY", "ALLOC_FAILED"].iter().any(|sign| text.contains(sign))
}

/// The batch size that `images` are computed as: 2ᵏ or 3·2ᵏ, so at most a third more, and few in all.
fn rounded(images: usize) -> usize {
    let power = images.next_power_of_two();
    if power >= 4 && images <= power / 4 * 3 { power / 4 * 3 } else { power }
}
