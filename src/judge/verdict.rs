//! What the net says of images.

use crate::data::{self, Subset};
use crate::error::Result;
use crate::goal::{Aim, argmax, margin};
use crate::kernel::{Engine, bus};
use crate::loss::probability;
use crate::record::{Witnesses, votes};
use crate::statistics::wilson;
use candle_core::{Device, Tensor};

/// Below this the margin of a witness is too thin to bind other machines (ATTACKS rule: argmax is flagged `boundary`).
pub const BOUNDARY_MARGIN: f32 = 1e-4;

/// What the net says of one image.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// One a class.
    pub logits: Vec<f32>,
    /// First largest logit; `None` where a logit is NaN or infinite.
    pub prediction: Option<usize>,
}

impl Verdict {
    /// What these logits say.
    pub fn new(logits: Vec<f32>) -> Verdict {
        let prediction = logits.iter().all(|z| z.is_finite()).then(|| argmax(&logits));
        Verdict { logits, prediction }
    }

    /// Softmax probability of the prediction.
    pub fn confidence(&self) -> Option<f32> {
        self.prediction.map(|p| probability(&self.logits, p))
    }

    /// Logit of `class` minus best other.
    pub fn margin(&self, class: usize) -> Option<f32> {
        self.prediction.map(|_| margin(&self.logits, class))
    }

    /// Softmax probability of `class`.
    pub fn probability(&self, class: usize) -> Option<f32> {
        self.prediction.map(|_| probability(&self.logits, class))
    }

    /// Number of classes above `class`.
    pub fn rank(&self, class: usize) -> Option<usize> {
        self.prediction.map(|_| self.logits.iter().filter(|z| **z > self.logits[class]).count())
    }
}

impl Verdict {
    /// Whether other draws may decide otherwise on an aim: of the votes for the two classes that it hangs on, the 95 % interval
    /// of either's share has the half in it.
    pub fn is_split(&self, aim: &Aim, of: u32) -> bool {
        let class = aim.target.unwrap_or(aim.label);
        let others = (0..self.logits.len()).filter(|other| *other != class);
        let votes = |class: usize| votes(probability(&self.logits, class), of);
        let (own, most) = (votes(class), others.map(votes).max().unwrap_or(0));
        let (low, high) = wilson(own as usize, (own + most) as usize);
        low <= 0.5 && 0.5 <= high
    }
}

/// The least softmax of a class that more than half of so many votes are for beyond chance: the 95 % interval of its share then
/// lies above the half. Above 1: of so few votes none is clear.
pub fn clear_majority(of: u32) -> f32 {
    let votes = (0..=of).find(|votes| wilson(*votes as usize, of as usize).0 > 0.5);
    votes.unwrap_or(of + 2) as f32 / (of + 1) as f32
}

/// The net's verdicts on images N×3×H×W.
pub fn predict(engine: &dyn Engine, images: &Tensor) -> Result<Vec<Verdict>> {
    Ok(bus::down_rows(&engine.logits(images)?)?.into_iter().map(Verdict::new).collect())
}

/// The net's verdicts on stored images, `batch` at a time.
pub fn predict_stored(
    engine: &dyn Engine,
    images: &Witnesses,
    size: [usize; 2],
    device: &Device,
    batch: usize,
) -> Result<Vec<Verdict>> {
    let [height, width] = size;
    let values = 3 * height * width;
    let mut verdicts = Vec::new();
    match images {
        Witnesses::U8(pixels) => {
            for chunk in pixels.chunks(batch * values) {
                verdicts.extend(predict(engine, &data::to_tensor(chunk, size, device)?)?);
            }
        }
        Witnesses::F32(pixels) => {
            for chunk in pixels.chunks(batch * values) {
                let shape = (chunk.len() / values, 3, height, width);
                verdicts.extend(predict(engine, &bus::up(chunk.to_vec(), shape, device)?)?);
            }
        }
    }
    Ok(verdicts)
}

/// Whether the net is right about image `i`, of which it says `clean`, or there is no right answer.
pub fn is_right_before(subset: &Subset, i: usize, clean: &Verdict) -> bool {
    clean.prediction.is_some() && subset.label(i).is_none_or(|label| clean.prediction == Some(label))
}

/// Whether another machine's rounding may decide otherwise on this verdict.
pub fn is_boundary(verdict: &Verdict, aim: &Aim) -> bool {
    aim.distance(&verdict.logits).abs() < BOUNDARY_MARGIN
}
