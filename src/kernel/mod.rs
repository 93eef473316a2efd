//! The numeric core: networks as plain data, and engines that compute their logits and input gradients.
//!
//! Weights never change here, so a gradient with respect to the *image* needs no kernel gradients: the gradient of a
//! 3×3 stride-1 convolution is another 3×3 convolution with flipped, transposed weights; ReLU needs one bit a value
//! and max-pool two bits a window. [`cpu`] is the fast engine for sequential nets, [`graph`] the one for all
//! others, [`plain`] the reference they are held against.

pub mod bus;
pub mod choice;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod graph;
pub mod halving;
pub mod pixels;
pub mod plain;

use crate::error::Result;
use candle_core::{DType, Storage, Tensor, WithDType};
use rayon::prelude::*;

pub use crate::terms::Precision;

/// One step of a sequential network.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<T> {
    /// 3×3 convolution, stride 1, zero padding 1, then bias, then ReLU. Batch norm is folded in already.
    Conv {
        /// Channels in.
        inputs: usize,
        /// Channels out.
        outputs: usize,
        /// outputs × inputs × 3 × 3.
        weight: Vec<T>,
        /// outputs.
        bias: Vec<T>,
    },
    /// 2×2 maximum, stride 2; an odd last row or column is dropped, as in PyTorch. Ties go to the first.
    MaxPool,
    /// Average over windows so that the map becomes `side`×`side` (PyTorch's AdaptiveAvgPool2d).
    AveragePool {
        /// Side after the step.
        side: usize,
    },
    /// Fully connected over the flattened map (channel, row, column), then bias, then ReLU if asked for.
    Linear {
        /// Values in.
        inputs: usize,
        /// Values out.
        outputs: usize,
        /// outputs × inputs.
        weight: Vec<T>,
        /// outputs.
        bias: Vec<T>,
        /// Whether a ReLU follows.
        relu: bool,
    },
}

/// A sequential network for square RGB images in [0,1]; normalisation is its first layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Net<T> {
    /// Height and width of the images.
    pub side: usize,
    /// Subtracted from each channel.
    pub mean: [T; 3],
    /// Divides each channel after that.
    pub std: [T; 3],
    /// Number of classes.
    pub classes: usize,
    /// From the first convolution to the logits.
    pub steps: Vec<Step<T>>,
}

/// Channels and side of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Height and width.
    pub side: usize,
}

impl Shape {
    /// Number of values.
    pub fn values(self) -> usize {
        self.channels * self.side * self.side
    }
}

impl Net<f64> {
    /// Every number rounded once.
    pub fn to_f32(&self) -> Net<f32> {
        let f32s = |v: &[f64]| v.iter().map(|v| *v as f32).collect();
        let round = |step: &Step<f64>| match step {
            Step::Conv { inputs, outputs, weight, bias } => {
                Step::Conv { inputs: *inputs, outputs: *outputs, weight: f32s(weight), bias: f32s(bias) }
            }
            Step::Linear { inputs, outputs, weight, bias, relu } => {
                Step::Linear { inputs: *inputs, outputs: *outputs, weight: f32s(weight), bias: f32s(bias), relu: *relu }
            }
            Step::MaxPool => Step::MaxPool,
            Step::AveragePool { side } => Step::AveragePool { side: *side },
        };
        Net {
            side: self.side,
            mean: self.mean.map(|v| v as f32),
            std: self.std.map(|v| v as f32),
            classes: self.classes,
            steps: self.steps.iter().map(round).collect(),
        }
    }
}

impl<T> Net<T> {
    /// Shape of the input of each step, and of the logits last.
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes = vec![Shape { channels: 3, side: self.side }];
        for step in &self.steps {
            let Shape { channels, side } = *shapes.last().expect("never empty");
            shapes.push(match step {
                Step::Conv { outputs, .. } => Shape { channels: *outputs, side },
                Step::MaxPool => Shape { channels, side: side / 2 },
                Step::AveragePool { side } => Shape { channels, side: *side },
                Step::Linear { outputs, .. } => Shape { channels: *outputs, side: 1 },
            });
        }
        shapes
    }
}

/// A loss, each image's apart, given by its gradient with respect to the logits.
pub trait Loss: Sync {
    /// Writes the gradient for image `row` of the batch.
    fn gradient(&self, row: usize, logits: &[f32], gradient: &mut [f32]);

    /// The gradients N×classes, f32, where the logits N×classes lie, those of row `first` of the batch on. By way of the
    /// host unless the loss knows better.
    ///
    /// # Errors
    /// Those of the tensor library.
    fn on_device(&self, first: usize, logits: &Tensor) -> Result<Tensor> {
        let (_, classes) = logits.dims2()?;
        let logits_here = bus::down::<f32>(&logits.to_dtype(DType::F32)?)?;
        let mut gradients = vec![0.0; logits_here.len()];
        for (i, (z, g)) in logits_here.chunks(classes).zip(gradients.chunks_mut(classes)).enumerate() {
            self.gradient(first + i, z, g);
        }
        bus::up(gradients, logits.shape(), logits.device())
    }
}

impl<F: Fn(usize, &[f32], &mut [f32]) + Sync> Loss for F {
    fn gradient(&self, row: usize, logits: &[f32], gradient: &mut [f32]) {
        self(row, logits, gradient);
    }
}

/// An image that differs from another in some pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Row of the base image.
    pub image: usize,
    /// Places in the plane (y · side + x), and their new RGB in [0,1]. Of several for the same place the last counts.
    pub pixels: Vec<(usize, [f32; 3])>,
}

/// Changed images that are written out at a time.
const CHANGES_TOGETHER: usize = 512;

/// Computes a network. The result for an image does not depend on the other images of the batch.
pub trait Engine: Send + Sync {
    /// Images N×3×H×W in [0,1] to logits N×classes.
    fn logits(&self, images: &Tensor) -> Result<Tensor>;

    /// Logits N×classes, and the gradient N×3×H×W with respect to the images of `loss`.
    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)>;

    /// Logits, one row a change, of base images N×3×H×W with some pixels changed.
    ///
    /// # Panics
    /// Where a change names an image or a place that is not there.
    fn logits_of_changes(&self, base: &Tensor, changes: &[Change]) -> Result<Tensor> {
        let mut parts = Vec::new();
        for changes in changes.chunks(CHANGES_TOGETHER.min(self.most_images())) {
            parts.push(self.logits(&changed(base, changes)?)?);
        }
        match parts.as_slice() {
            [] => Ok(self.logits(&base.narrow(0, 0, 1)?)?.narrow(0, 0, 0)?),
            [only] => Ok(only.clone()),
            _ => Ok(Tensor::cat(&parts, 0)?),
        }
    }

    /// Most images it can compute at once.
    fn most_images(&self) -> usize {
        usize::MAX
    }

    /// Gives back memory that it keeps for the next batch.
    fn release(&self) {}

    /// The most images it still takes at a time, where memory has run out since this was last asked.
    fn shrunk(&self) -> Option<usize> {
        None
    }
}

/// Base images N×3×H×W with some pixels changed, one image a change.
///
/// # Errors
/// Those of the tensor library.
pub fn changed(base: &Tensor, changes: &[Change]) -> Result<Tensor> {
    let (_, _, height, width) = base.dims4()?;
    let images = lend(base, |base| changed_images(base, height * width, changes))?;
    bus::up(images, (changes.len(), 3, height, width), base.device())
}

/// Lends the values of an f32 tensor: without a copy where they lie in this machine's memory, one after the other.
pub fn lend<T>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> T) -> Result<T> {
    lend_values(tensor, look)
}

/// [`lend`] of any type of numbers.
fn lend_values<V: WithDType, T>(tensor: &Tensor, look: impl FnOnce(&[V]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(values), Some((from, to))) = (&*storage, layout.contiguous_offsets()) {
        return Ok(look(&V::cpu_storage_as_slice(values)?[from..to]));
    }
    drop(storage);
    Ok(look(&bus::down::<V>(tensor)?))
}

/// The images that changes make of base images 3×H×W whose planes have so many places.
fn changed_images(base: &[f32], plane: usize, changes: &[Change]) -> Vec<f32> {
    let mut images = vec![0.0; changes.len() * 3 * plane];
    images.par_chunks_exact_mut(3 * plane).zip(changes).for_each(|(image, change)| {
        image.copy_from_slice(&base[change.image * 3 * plane..][..3 * plane]);
        for (place, colour) in &change.pixels {
            assert!(*place < plane, "a change at place {place} of {plane}");
            colour.iter().enumerate().for_each(|(c, v)| image[c * plane + place] = *v);
        }
    });
    images
}

/// Row weights P, out×side, of an average pool from `side` to `out`: y = P x Pᵀ.
fn averages(side: usize, out: usize) -> Vec<f64> {
    let mut rows = vec![0.0; out * side];
    for i in 0..out {
        let range = window(i, side, out);
        let share = 1.0 / range.len() as f64;
        rows[i * side..][range].fill(share);
    }
    rows
}

/// First and last+1 input row of output row `i` of an average pool from `side` to `out` (PyTorch's rule).
fn window(i: usize, side: usize, out: usize) -> std::ops::Range<usize> {
    i * side / out..((i + 1) * side).div_ceil(out)
}

/// Weights outputs×inputs×3×3 of the convolution that takes output gradients to input gradients:
/// inputs×outputs×3×3, each 3×3 kernel turned by 180°.
fn transposed<T: Copy>(weight: &[T], inputs: usize, outputs: usize) -> Vec<T> {
    let mut turned = Vec::with_capacity(weight.len());
    for i in 0..inputs {
        for o in 0..outputs {
            turned.extend((0..9).map(|k| weight[(o * inputs + i) * 9 + 8 - k]));
        }
    }
    turned
}
