//! The numeric core: networks as plain data, and engines that compute their logits and input gradients.
//!
//! A network is a [`graph`]. Weights never change here, so a gradient with respect to the *image* needs no kernel
//! gradients: the gradient of a 3×3 stride-1 convolution is another 3×3 convolution with flipped, transposed weights; ReLU
//! needs one bit a value and max-pool the place of each maximum. [`cpu`] compiles any graph for the CPU, `cuda` for a GPU;
//! [`plain`] is the reference they are held against.

mod ball;
pub mod bus;
pub mod choice;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod engine;
mod ensemble;
pub mod functions;
pub mod graph;
pub mod halving;
pub mod learn;
pub mod libraries;
pub mod pixels;
pub mod plain;
mod readout;
mod real;
pub mod schedule;

pub use crate::terms::Precision;
pub use bus::lend;
pub use engine::{Change, Engine, Loss, changed};
pub use ensemble::Ensemble;
pub use graph::Graph;
pub use readout::Readout;
pub use real::Real;
