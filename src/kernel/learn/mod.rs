//! Networks that learn: logits in training mode, and gradients with respect to weights.
//!
//! In training mode a batch norm takes mean and variance of the batch, so an image's logits depend on its neighbours: the
//! engines of [`crate::kernel::Engine`], which attack, know nothing of this room. [`crate::kernel::cpu`] has a learner of its
//! own; [`autograd`] is the reference that it is held against, and what a GPU takes.

pub mod autograd;
mod blueprint;

pub use blueprint::{Blueprint, Learned};

use crate::error::Result;

/// `eps` of every batch norm, and how much of a batch enters its running statistics (PyTorch's defaults of `BatchNorm2d`).
pub const NORM_EPS: f64 = 1e-5;
/// See [`NORM_EPS`].
pub const NORM_MOMENTUM: f64 = 0.1;

/// All tensors of a network, in the order of [`Blueprint::tensors`]: weights, and running statistics of batch norms.
pub type Tensors = Vec<Vec<f32>>;

/// A network in training mode. It computes one batch at a time: a way back belongs to the way forward before it.
pub trait Learner {
    /// Takes these weights. Running statistics are not looked at.
    ///
    /// # Errors
    /// Those of the device.
    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<()>;

    /// Logits N×classes of images N×3×H×W in [0,1]. Batch norms take the batch's own statistics, and move the running ones in
    /// `tensors` towards them by [`NORM_MOMENTUM`], with the unbiased variance, as PyTorch does.
    ///
    /// # Errors
    /// Those of the device.
    fn forward(&mut self, images: &[f32], tensors: &mut [Vec<f32>]) -> Result<Vec<f32>>;

    /// From the gradient N×classes with respect to the logits: adds that with respect to the weights to `weights` (running
    /// statistics have none), where it is asked for; and gives that with respect to the images N×3×H×W, where it is.
    ///
    /// # Errors
    /// Those of the device.
    fn backward(&mut self, logits: &[f32], weights: Option<&mut [Vec<f32>]>, images: bool) -> Result<Option<Vec<f32>>>;
}
