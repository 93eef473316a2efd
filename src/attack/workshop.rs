//! Where pictures to be pasted are made, before any image is attacked: training images, training nets, and a place to leave
//! the state of long work.

use crate::data::Subset;
use crate::error::{Error, Result};
use crate::goal::Goal;
use crate::oracle::Engine;
use crate::placement::Picture;
use crate::rng::Streams;
use candle_core::Device;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps the state of long work, so that a run that is stopped goes on from there. Whoever implements it decides when, and
/// where.
pub trait Checkpoint: Sync {
    /// The state kept last, of one of several parts of the work.
    fn load(&self, part: usize) -> Option<Vec<u8>>;

    /// Whether it is time to keep the state.
    fn is_due(&self) -> bool;

    /// Keeps the state of a part.
    fn save(&self, part: usize, state: &[u8]) -> Result<()>;
}

/// Keeps nothing.
pub struct NoCheckpoint;

impl Checkpoint for NoCheckpoint {
    fn load(&self, _: usize) -> Option<Vec<u8>> {
        None
    }

    fn is_due(&self) -> bool {
        false
    }

    fn save(&self, _: usize, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// What pictures are made with.
pub struct Workshop<'a> {
    /// The training nets: one, or an ensemble.
    pub engines: Vec<Box<dyn Engine>>,
    /// Where tensors live.
    pub device: &'a Device,
    /// Training images, none of which is attacked.
    pub train: Option<&'a Subset>,
    /// What the attack wants.
    pub goal: Goal,
    /// Height and width of the images in pixels.
    pub side: usize,
    /// A picture that the sweep names.
    pub given: Option<&'a Picture>,
    /// Random streams of this work, apart from those of any cell.
    pub streams: Streams,
    /// Where the state is kept.
    pub checkpoint: &'a dyn Checkpoint,
    /// Set by Ctrl-C.
    pub stop: &'a AtomicBool,
    /// Told the share of the work that is done, from 0 to 1.
    pub progress: &'a mut dyn FnMut(f64),
    /// How the objective rose: (step, objective).
    pub curve: Vec<(usize, f64)>,
    /// Set by the attack: whether the gradient of a step was zero everywhere.
    pub blind: bool,
}

impl Workshop<'_> {
    /// The state kept last, after which [`Workshop::curve`] is as it was then.
    pub fn resume(&mut self) -> Option<Vec<u8>> {
        let bytes = self.checkpoint.load(0)?;
        let (n, rest) = bytes.split_first_chunk::<8>()?;
        let (curve, state) = rest.split_at_checked(16 * u64::from_le_bytes(*n) as usize)?;
        let point = |b: &[u8; 16]| {
            let (step, value) = b.split_at(8);
            let number = |b: &[u8]| <[u8; 8]>::try_from(b).expect("8 bytes");
            (u64::from_le_bytes(number(step)) as usize, f64::from_le_bytes(number(value)))
        };
        self.curve = curve.as_chunks::<16>().0.iter().map(point).collect();
        Some(state.to_vec())
    }

    /// To be called between steps: keeps the state when it is time, and ends the work on Ctrl-C.
    pub fn pause(&mut self, state: impl FnOnce() -> Vec<u8>) -> Result<()> {
        let stopped = self.stop.load(Ordering::Relaxed);
        if stopped || self.checkpoint.is_due() {
            let mut bytes = (self.curve.len() as u64).to_le_bytes().to_vec();
            for (step, value) in &self.curve {
                bytes.extend((*step as u64).to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
            bytes.extend(state());
            self.checkpoint.save(0, &bytes)?;
        }
        if stopped { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The class that the pictures are to show.
    pub fn target(&self) -> Result<usize> {
        match self.goal {
            Goal::Class(target) => Ok(target),
            _ => Err(Error::usage("a picture for one class needs the goal `target:CLASS`")),
        }
    }
}
