//! What is measured of a network between epochs, in inference mode.

use super::adversary::{Batch, pgd};
use super::plan::Training;
use super::weights;
use crate::data::Subset;
use crate::error::Result;
use crate::kernel::learn::Tensors;
use crate::kernel::{Engine, Precision};
use crate::model::ModelSource;
use candle_core::Device;
use std::borrow::Cow;

/// Steps of PGD on held-out images.
const STEPS: usize = 10;

/// Images that are measured at a time.
const TOGETHER: usize = 250;

/// The network with these weights, as a sweep would attack it.
///
/// # Errors
/// Those of the device; weights that are not finite.
pub fn engine(training: &Training, tensors: &Tensors, device: &Device) -> Result<Box<dyn Engine>> {
    let bytes = Cow::Owned(weights::of_model(training, tensors)?);
    ModelSource::new(training.model.clone(), training.file.clone(), None, bytes)?.engine(device, Precision::F32)
}

/// How many images are right, and how many stay so under PGD-10.
///
/// # Errors
/// As above.
pub fn measure(training: &Training, tensors: &Tensors, subset: &Subset, device: &Device) -> Result<[usize; 2]> {
    let engine = engine(training, tensors, device)?;
    let mut counts = [0; 2];
    for first in (0..subset.len()).step_by(TOGETHER) {
        let some = first..(first + TOGETHER).min(subset.len());
        let batch = Batch {
            images: some.clone().flat_map(|i| subset.image(i).iter().map(|v| f32::from(*v) / 255.0)).collect(),
            labels: subset.labels[some.clone()].to_vec(),
            examples: subset.examples[some].to_vec(),
        };
        let found = pgd(training, &batch, STEPS, &*engine, device)?;
        counts.iter_mut().zip(found).for_each(|(count, is)| *count += is.iter().filter(|is| **is).count());
    }
    Ok(counts)
}
