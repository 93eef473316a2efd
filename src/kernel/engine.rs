//! What computes a network: logits, and gradients of a loss with respect to the images.

use super::bus::{self, lend};
use crate::error::Result;
use candle_core::{DType, Tensor};
use rayon::prelude::*;

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
