//! The CUDA engine: convolutions by cuDNN, products by cuBLAS, and small kernels of ours between them.
//!
//! Maps are channels last, their channels padded with zeros to a multiple of 8, so that every shape suits the tensor
//! cores and every thread of [`kernels`] has a whole vector; all else lies row by row. What is done when, and in which
//! buffers, a [`schedule`](super::schedule) says: a ReLU leaves one bit a value, a pool its indices, and whole values
//! live where a derivative needs them. Everything is put on candle's stream, and nothing waits for it. The way of each
//! convolution is measured when a batch size is first met ([`convolution`]); batch sizes are rounded up to few
//! ([`compiled`]), and small ones take the ways of the next larger size that was measured, so that this happens seldom.
//! `FOOLPROOF_CUDA_LOG=1` prints a line for each layer then. [`pixels`] are the kernels that step and judge need.
//!
//! The same batch gives the same bits as long as the engine lives. Another engine may measure other ways to be fastest.
//! Infinities may become NaN, in padded channels (0·∞).

mod compiled;
mod convolution;
mod cudnn;
mod device;
mod kernels;
pub(in crate::kernel) mod pixels;
mod run;
mod shim;

use super::graph::Graph;
use super::{Engine, Loss, Precision};
use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use compiled::Compiled;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use device::open;

/// A network on a CUDA device.
pub struct Cuda {
    compiled: Mutex<Compiled>,
    most_images: usize,
}

impl Cuda {
    /// Copies the weights to `device`, which [`open`] opened, and compiles the kernels; everything is computed in
    /// `precision`, sums in f32.
    ///
    /// # Errors
    /// Those of the CUDA libraries; a device that is not CUDA is an error too.
    pub fn new(graph: Graph<f32>, device: &Device, precision: Precision) -> Result<Cuda> {
        let Device::Cuda(cuda) = device else { return Err(Error::usage("the CUDA engine needs a CUDA device")) };
        let compiled = Compiled::new(graph, cuda, precision)?;
        Ok(Cuda { most_images: compiled.most_images(), compiled: Mutex::new(compiled) })
    }

    /// One pass at a time. A pass that panicked left nothing behind that the next does not write anew.
    fn compiled(&self) -> MutexGuard<'_, Compiled> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Cuda {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.compiled().logits(images, false)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let mut compiled = self.compiled();
        let logits = compiled.logits(images, true)?;
        let gradient = compiled.gradient(&loss.on_device(0, &logits)?)?;
        Ok((logits, gradient))
    }

    fn most_images(&self) -> usize {
        self.most_images
    }

    fn release(&self) {
        self.compiled().release();
    }
}
