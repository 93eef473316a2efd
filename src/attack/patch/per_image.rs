//! One patch an image, at its place (LaVAN: Karmon, Zoran, Goldberg 2018): the pixels it covers climb the target's logit
//! minus the label's; all others stay.

use super::{FitSettings, Placing};
use crate::attack::Task;
use crate::data::Batch;
use crate::error::Result;
use crate::loss::logit_difference;
use crate::oracle::{Oracle, Place, Proposal};
use candle_core::{Device, Tensor};

/// Steps between two proposals, each of which costs the judge a forward pass.
const PROPOSED_EVERY: usize = 5;

/// Fits a patch for every image of the batch.
pub fn fit_all(
    placing: &Placing,
    settings: &FitSettings,
    oracle: &mut Oracle,
    batch: &Batch,
    task: &Task,
) -> Result<()> {
    let all: Vec<usize> = (0..batch.len()).collect();
    for rows in all.chunks(batch.window) {
        let x = batch.images(rows)?;
        let clean = x.flatten_from(1)?.to_vec2::<f32>()?;
        let begin = |(row, image): (&usize, Vec<f32>)| OwnPatch::new(*row, image, placing, settings, batch, task);
        let mut patches: Vec<OwnPatch> = rows.iter().zip(clean).map(begin).collect();
        for step in 0..settings.steps {
            let rows: Vec<usize> = patches.iter().map(|p| p.row).collect();
            let images = images(&patches, batch.size(), batch.device())?;
            let places = vec![Place { restart: 0, step }; rows.len()];
            let slope = oracle.climb(&rows, &images, &places, &logit_difference)?.into_gradient();
            let slope = slope.flatten_from(1)?.to_vec2::<f32>()?;
            for (patch, slope) in patches.iter_mut().zip(slope) {
                // of the gradient, it is the part below the patch that counts
                if !patch.step(step, settings, &slope) {
                    oracle.met_zero_gradient(patch.row);
                }
            }
            if (step + 1) % PROPOSED_EVERY == 0 || step + 1 == settings.steps {
                propose(&mut patches, step + 1, oracle, batch)?;
            }
            if patches.is_empty() {
                break;
            }
        }
        oracle.leave(patches.len());
    }
    Ok(())
}

/// Proposes all; those that are settled leave.
fn propose(patches: &mut Vec<OwnPatch>, step: usize, oracle: &mut Oracle, batch: &Batch) -> Result<()> {
    let images = images(patches, batch.size(), batch.device())?;
    let rows: Vec<usize> = patches.iter().map(|p| p.row).collect();
    let notes: Vec<String> = patches.iter().map(|p| p.note.clone()).collect();
    let places = vec![Place { restart: 0, step }; rows.len()];
    let proposal = Proposal { images: &images, gradient: None, evidence: None, places: &places, notes: &notes };
    let mut wanted = oracle.propose(&rows, &proposal)?.into_iter();
    let before = patches.len();
    patches.retain(|_| wanted.next().expect("one a row") > 0);
    oracle.leave(before - patches.len());
    Ok(())
}

/// N×3×H×W.
fn images(patches: &[OwnPatch], [height, width]: [usize; 2], device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = patches.iter().flat_map(|p| &p.image).copied().collect();
    Ok(Tensor::from_vec(values, (patches.len(), 3, height, width), &Device::Cpu)?.to_device(device)?)
}

/// An image with its patch.
struct OwnPatch {
    row: usize,
    /// 3×H×W.
    image: Vec<f32>,
    /// Indices into `image` of the values that the patch covers.
    covered: Vec<usize>,
    /// What the optimiser remembers of them.
    moments: Vec<f32>,
    note: String,
}

impl OwnPatch {
    /// A mid grey patch.
    fn new(
        row: usize,
        mut image: Vec<f32>,
        placing: &Placing,
        settings: &FitSettings,
        batch: &Batch,
        task: &Task,
    ) -> Self {
        let placement = placing.place(row, batch, task);
        // which picture would lie there does not matter: its pixels are the image's
        let mask = placement.footprint(batch.size(), 1).mask();
        let covered: Vec<usize> = (0..image.len()).filter(|i| mask[i % mask.len()]).collect();
        covered.iter().for_each(|i| image[*i] = 0.5);
        let moments = vec![0.0; settings.rule.moments() * covered.len()];
        OwnPatch { row, image, covered, moments, note: placement.text() }
    }

    /// Whether there was a slope.
    fn step(&mut self, step: usize, settings: &FitSettings, gradient: &[f32]) -> bool {
        let slope: Vec<f32> = self.covered.iter().map(|i| gradient[*i]).collect();
        let mut pixels: Vec<f32> = self.covered.iter().map(|i| self.image[*i]).collect();
        settings.rule.step(step, settings.steps, &slope, &mut self.moments, &mut pixels);
        self.covered.iter().zip(pixels).for_each(|(i, v)| self.image[*i] = v);
        slope.iter().any(|g| *g != 0.0)
    }
}
