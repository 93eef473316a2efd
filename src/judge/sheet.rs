//! What the judge keeps of each image while an attack runs.

use super::pixels::Pixels;
use super::verdict::Verdict;
use crate::oracle::Place;
use crate::threat::Threat;
use candle_core::Tensor;

/// Best proposal so far for one image.
#[derive(Debug, Clone)]
pub(super) struct Best {
    pub(super) pixels: Pixels,
    pub(super) verdict: Option<Verdict>,
    /// From success, in logits.
    pub(super) distance: f32,
    /// From the clean image, in the norm of the threat where it is minimal; else 0.
    pub(super) size: f64,
    pub(super) reached: bool,
    /// Whether it is reached as surely as asked: nothing better is looked for.
    pub(super) sure: bool,
    pub(super) step: usize,
    pub(super) restart: usize,
    pub(super) fault: Option<&'static str>,
    pub(super) note: String,
}

/// What the judge knows of one image at one mark.
#[derive(Debug, Clone, Default)]
pub(super) struct Sheet {
    pub(super) best: Option<Best>,
    /// Of the iterates that were not judged, the one whose unrounded form came closest.
    pub(super) closest: Option<Candidate>,
    /// Least distance from success in the first half of the iterations, of what the net was asked about; `None`: there was
    /// none, or it settled the image.
    pub(super) midway: Option<f32>,
    /// Whether the nearest success counts, not the first.
    pub(super) minimal: bool,
}

impl Sheet {
    /// For a mark of this threat.
    pub(super) fn of(threat: &Threat) -> Sheet {
        Sheet { minimal: threat.eps.is_minimal(), ..Sheet::default() }
    }

    /// Whether a success so far from the clean image would count.
    pub(super) fn would_count(&self, size: f64) -> bool {
        !self.minimal || self.best.as_ref().is_none_or(|b| !b.reached || size < b.size)
    }

    /// An iterate of the first half, and its distance from success; `None`: it settles the image.
    pub(super) fn pass(&mut self, distance: Option<f32>) {
        self.midway = distance.map(|d| self.midway.map_or(d, |least| least.min(d)));
    }

    /// Whether nothing that is found later counts.
    pub(super) fn is_settled(&self) -> bool {
        self.best.as_ref().is_some_and(|b| b.sure && !self.minimal || b.fault.is_some())
    }
}

/// An iterate that was not judged.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// `None`: on the device, with [`OnDevice`].
    pub(super) pixels: Option<Pixels>,
    /// Of the unrounded iterate.
    pub(super) distance: f32,
    pub(super) size: f64,
    pub(super) place: Place,
    pub(super) note: String,
}

/// What is to be known of an iterate before it is judged.
pub(super) struct Look {
    /// What makes it an error row.
    pub(super) fault: Option<&'static str>,
    /// How far the unrounded image is from success, where it stands so firmly that judging it is worth no pass.
    pub(super) firm: Option<f32>,
    /// How far the rounded image is from the clean one, where the threat is minimal; else 0.
    pub(super) size: f64,
}

/// The images of a proposal as they would be stored.
pub(super) enum Rounded {
    /// Those without fault, in this machine's memory.
    InMemory(Vec<Option<Pixels>>),
    /// All, N×values, u8, where the iterates lie.
    OnDevice(Tensor),
}

/// Looks at the iterates of a proposal, `None` for a start, which is no proposal; and their rounded form.
pub(super) type Looks = (Vec<Option<Look>>, Rounded);

/// What the judge keeps on the device. Both lists are bounded by the batch.
#[derive(Default)]
pub(super) struct OnDevice {
    /// Rows whose clean images are there, and these, N×values, u8.
    pub(super) clean: Option<(Vec<usize>, Tensor)>,
    /// Mark and row of each candidate that waits there, and these, N×values, u8.
    pub(super) kept: Option<(Vec<(usize, usize)>, Tensor)>,
}
