//! Out of memory: half as many images at a time, and on.

use super::{Engine, Loss};
use crate::error::{Error, Result};
use candle_core::Tensor;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An engine that splits a batch where the device has no memory for it. An image's result does not depend on the other
/// images of its batch, so nothing else changes.
pub struct Halving {
    engine: Box<dyn Engine>,
    /// Most images at a time.
    most: AtomicUsize,
    /// `most` when it was last asked for.
    known: AtomicUsize,
}

impl Halving {
    /// No limit yet but the engine's own.
    pub fn new(engine: Box<dyn Engine>) -> Halving {
        let most = engine.most_images();
        Halving { engine, most: AtomicUsize::new(most), known: AtomicUsize::new(most) }
    }

    /// Calls `compute` for parts of `images` that fit.
    fn parts<T>(&self, images: &Tensor, compute: impl Fn(&Tensor, Range<usize>) -> Result<T>) -> Result<Vec<T>> {
        let n = images.dim(0)?;
        let (mut parts, mut begin) = (Vec::new(), 0);
        while begin < n {
            let size = self.most.load(Ordering::Relaxed).min(n - begin);
            match compute(&images.narrow(0, begin, size)?, begin..begin + size) {
                Ok(part) => {
                    parts.push(part);
                    begin += size;
                }
                Err(problem) if size > 1 && is_out_of_memory(&problem) => {
                    self.engine.release();
                    self.most.store(size / 2, Ordering::Relaxed);
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(parts)
    }
}

/// A loss for the images of a batch from `first` on.
struct Rest<'a> {
    loss: &'a dyn Loss,
    first: usize,
}

impl Loss for Rest<'_> {
    fn gradient(&self, row: usize, logits: &[f32], gradient: &mut [f32]) {
        self.loss.gradient(self.first + row, logits, gradient);
    }

    fn on_device(&self, first: usize, logits: &Tensor) -> Result<Tensor> {
        self.loss.on_device(self.first + first, logits)
    }
}

/// Parts of a batch in one; without a copy where there is one.
fn join(parts: Vec<Tensor>) -> Result<Tensor> {
    Ok(if let [only] = parts.as_slice() { only.clone() } else { Tensor::cat(&parts, 0)? })
}

impl Engine for Halving {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        join(self.parts(images, |part, _| self.engine.logits(part))?)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let parts = self
            .parts(images, |part, range| self.engine.logits_and_gradient(part, &Rest { loss, first: range.start }))?;
        let (logits, gradients): (Vec<Tensor>, Vec<Tensor>) = parts.into_iter().unzip();
        Ok((join(logits)?, join(gradients)?))
    }

    fn shrunk(&self) -> Option<usize> {
        let most = self.most.load(Ordering::Relaxed);
        (self.known.swap(most, Ordering::Relaxed) != most).then_some(most)
    }
}

/// Whether the device had no memory left: the driver's CUDA_ERROR_OUT_OF_MEMORY ("out of memory"), cuBLAS's
/// CUBLAS_STATUS_ALLOC_FAILED, or cuDNN 9's CUDNN_STATUS_INTERNAL_ERROR_{HOST,DEVICE}_ALLOCATION_FAILED. candle hands all
/// on as text.
pub fn is_out_of_memory(problem: &Error) -> bool {
    let Error::Tensor(problem) = problem else { return false };
    let text = format!("{problem:?} {problem}").to_lowercase();
    ["out_of_memory", "out of memory", "alloc_failed", "allocation_failed"].iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Has memory for so many images.
    struct Small(usize);

    impl Engine for Small {
        fn logits(&self, images: &Tensor) -> Result<Tensor> {
            match images.dim(0)? {
                n if n <= self.0 => Ok(images.flatten_from(1)?.affine(2.0, 1.0)?),
                n if n > 1 => {
                    Err(candle_core::Error::msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")").into())
                }
                _ => Err(candle_core::Error::msg("CUBLAS_STATUS_ALLOC_FAILED").into()),
            }
        }

        fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
            let logits = self.logits(images)?;
            let mut gradient = vec![0.0; images.elem_count()];
            let of_image = images.elem_count() / images.dim(0)?;
            for (row, (z, g)) in logits.to_vec2::<f32>()?.iter().zip(gradient.chunks_mut(of_image)).enumerate() {
                loss.gradient(row, z, g);
            }
            Ok((logits, Tensor::from_vec(gradient, images.shape(), images.device())?))
        }
    }

    fn images(n: usize) -> Tensor {
        let values = (0..n * 12).map(|i| i as f32).collect();
        Tensor::from_vec(values, (n, 3, 2, 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_batch_too_large_is_split_and_nothing_else_changes() {
        let seed = |row: usize, z: &[f32], g: &mut [f32]| g.iter_mut().zip(z).for_each(|(g, z)| *g = z * row as f32);
        let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (room, n, most) in [(100, 13, None), (13, 13, None), (12, 13, Some(6)), (5, 13, Some(3)), (1, 13, Some(1))]
        {
            let halving = Halving::new(Box::new(Small(room)));
            let (logits, gradient) = halving.logits_and_gradient(&images(n), &seed).unwrap();
            let (whole, slopes) = Small(n).logits_and_gradient(&images(n), &seed).unwrap();
            assert_eq!((values(logits), values(gradient)), (values(whole), values(slopes)));
            assert_eq!((halving.shrunk(), halving.shrunk()), (most, None), "room for {room}: told once");
            assert_eq!(values(halving.logits(&images(n)).unwrap()), values(Small(n).logits(&images(n)).unwrap()));
        }
    }

    /// The texts that cudarc 0.19.10 makes of these errors, wrapped as [`crate::kernel`]'s engines wrap them.
    #[test]
    fn every_library_s_word_for_out_of_memory_is_known() {
        #[derive(Debug)]
        struct Text(&'static str);
        impl std::fmt::Display for Text {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl std::error::Error for Text {}
        let known = |text: &'static str| is_out_of_memory(&candle_core::Error::wrap(Text(text)).into());
        for text in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
            "CudnnError(CUDNN_STATUS_ALLOC_FAILED)",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
        ] {
            assert!(known(text), "{text}");
        }
        for text in [
            "CUDNN_STATUS_INTERNAL_ERROR_UNEXPECTED_VALUE",
            "CUDNN_STATUS_BAD_PARAM",
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")",
            "CublasError(CUBLAS_STATUS_NOT_SUPPORTED)",
        ] {
            assert!(!known(text), "{text}");
        }
    }

    #[test]
    fn no_memory_for_one_image_is_an_error() {
        let problem = Halving::new(Box::new(Small(0))).logits(&images(3)).unwrap_err();
        assert!(problem.to_string().contains("ALLOC_FAILED"), "{problem}");
    }
}
