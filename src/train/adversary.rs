//! What a training attack does to a batch: Linf balls, steps of the gradient's sign.

use super::loss::{cross_entropy, probabilities};
use super::plan::Training;
use super::recipe::{Attack, Kind};
use crate::error::Result;
use crate::kernel::learn::Learner;
use crate::kernel::{Engine, lend};
use crate::rng::Streams;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Images that are learned together.
pub struct Batch {
    /// N×3×H×W in [0,1].
    pub images: Vec<f32>,
    pub labels: Vec<usize>,
    /// Their numbers in the split.
    pub examples: Vec<usize>,
}

impl Batch {
    /// Numbers of an image.
    pub fn values(&self) -> usize {
        self.images.len() / self.labels.len()
    }
}

/// A change within ±eps that leaves the image in [0,1].
fn within(change: f32, pixel: f32, eps: f32) -> f32 {
    change.clamp(-eps, eps).clamp(-pixel, 1.0 - pixel)
}

/// −1, 0 or 1; what is not a number is 0.
fn sign(v: f32) -> f32 {
    f32::from(v > 0.0) - f32::from(v < 0.0)
}

/// The images with changes.
pub fn changed(images: &[f32], changes: &[f32]) -> Vec<f32> {
    images.iter().zip(changes).map(|(x, d)| x + d).collect()
}

/// Changes moved by a step along the gradient.
pub fn stepped(batch: &Batch, attack: &Attack, step: f32, changes: &mut [f32], gradient: &[f32]) {
    let eps = attack.eps.to_f64() as f32;
    for ((d, x), g) in changes.iter_mut().zip(&batch.images).zip(gradient) {
        *d = within(*d + step * sign(*g), *x, eps);
    }
}

/// Random changes, each image's by its own stream: evenly within the ball; for TRADES normal, a thousandth wide.
pub fn start(training: &Training, batch: &Batch, epoch: usize) -> Vec<f32> {
    let streams = Streams::new(training.seed, "train");
    let eps = training.recipe.attack.eps.to_f64() as f32;
    let mut changes = vec![0.0; batch.images.len()];
    let values = batch.values();
    let each = changes.par_chunks_exact_mut(values).zip(batch.images.par_chunks_exact(values)).zip(&batch.examples);
    each.for_each(|((changes, images), example)| {
        let mut stream = streams.stream(*example, epoch, "start");
        for (d, x) in changes.iter_mut().zip(images) {
            let drawn = match training.recipe.kind {
                Kind::Trades => 0.001 * stream.normal() as f32,
                _ => eps * (2.0 * stream.uniform() - 1.0),
            };
            *d = within(drawn, *x, eps);
        }
    });
    changes
}

/// Changes that raise the cross-entropy of the network in training mode, from a random start; its running statistics move, as in Wong
/// et al.'s code.
///
/// # Errors
/// Those of the device.
pub fn in_training_mode(
    training: &Training,
    batch: &Batch,
    epoch: usize,
    learner: &mut dyn Learner,
    tensors: &mut [Vec<f32>],
) -> Result<Vec<f32>> {
    let attack = &training.recipe.attack;
    let mut changes = start(training, batch, epoch);
    for _ in 0..attack.steps {
        let logits = learner.forward(&changed(&batch.images, &changes), tensors)?;
        let graded = cross_entropy(&logits, &batch.labels, 0.0);
        let gradient = learner.backward(&graded.gradient, None, true)?.expect("asked for");
        stepped(batch, attack, attack.step_size.to_f64() as f32, &mut changes, &gradient);
    }
    Ok(changes)
}

/// Changes that raise the divergence from the clean predictions of the network in inference mode (TRADES).
///
/// # Errors
/// Those of the engine.
pub fn away_from_itself(
    training: &Training,
    batch: &Batch,
    epoch: usize,
    engine: &dyn Engine,
    device: &Device,
) -> Result<Vec<f32>> {
    let (attack, [height, width]) = (&training.recipe.attack, training.file.size);
    let (n, classes) = (batch.labels.len(), training.file.classes);
    let tensor = |images: Vec<f32>| Tensor::from_vec(images, (n, 3, height, width), device);
    let clean = engine.logits(&tensor(batch.images.clone())?)?;
    let clean = lend(&clean, |logits| probabilities(logits, classes))?;
    let mut changes = start(training, batch, epoch);
    for _ in 0..attack.steps {
        // d KL(p ‖ q)/d logits of q
        let loss = |row: usize, logits: &[f32], gradient: &mut [f32]| {
            let p = &clean[row * classes..][..classes];
            let q = probabilities(logits, classes);
            gradient.iter_mut().zip(q.iter().zip(p)).for_each(|(g, (q, p))| *g = q - p);
        };
        let (_, gradient) = engine.logits_and_gradient(&tensor(changed(&batch.images, &changes))?, &loss)?;
        lend(&gradient, |g| stepped(batch, attack, attack.step_size.to_f64() as f32, &mut changes, g))?;
    }
    Ok(changes)
}

/// Of each image whether it is right as it is, and whether it stays so under PGD on the cross-entropy: so many steps of a quarter of
/// the budget, from a random start.
///
/// # Errors
/// Those of the engine.
pub fn pgd(
    training: &Training,
    batch: &Batch,
    steps: usize,
    engine: &dyn Engine,
    device: &Device,
) -> Result<[Vec<bool>; 2]> {
    let (attack, [height, width]) = (&training.recipe.attack, training.file.size);
    let (n, classes) = (batch.labels.len(), training.file.classes);
    let tensor = |images: Vec<f32>| Tensor::from_vec(images, (n, 3, height, width), device);
    let right = |logits: &Tensor| {
        lend(logits, |z| {
            let right = |(z, label): (&[f32], &usize)| super::loss::argmax(z) == *label;
            z.chunks_exact(classes).zip(&batch.labels).map(right).collect::<Vec<bool>>()
        })
    };
    let loss = |row: usize, logits: &[f32], gradient: &mut [f32]| {
        gradient.copy_from_slice(&probabilities(logits, classes));
        gradient[batch.labels[row]] -= 1.0;
    };
    let clean = right(&engine.logits(&tensor(batch.images.clone())?)?)?;
    let mut stands = clean.clone();
    let step = (attack.eps.to_f64() / 4.0) as f32;
    // the start is the same in every epoch, so that epochs are compared by the network alone
    let mut changes = start(training, batch, 0);
    for _ in 0..steps {
        let (logits, gradient) = engine.logits_and_gradient(&tensor(changed(&batch.images, &changes))?, &loss)?;
        stands.iter_mut().zip(right(&logits)?).for_each(|(stands, right)| *stands &= right);
        lend(&gradient, |g| stepped(batch, attack, step, &mut changes, g))?;
    }
    let last = right(&engine.logits(&tensor(changed(&batch.images, &changes))?)?)?;
    stands.iter_mut().zip(last).for_each(|(stands, right)| *stands &= right);
    Ok([clean, stands])
}
