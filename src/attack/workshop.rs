//! Where pictures to be pasted are made, before any image is attacked: training images, training nets, and a place to leave
//! the state of long work.

use super::State;
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
    pub size: [usize; 2],
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
    /// The work as it was kept last, if `restore` makes it of its state; [`Workshop::curve`] is then as it was.
    pub fn resume<T>(&mut self, restore: impl FnOnce(&State) -> Option<T>) -> Option<T> {
        let state = State::parse(&self.checkpoint.load(0)?)?;
        let (curve, work) = (state.curve()?, restore(&state)?);
        self.curve = curve;
        Some(work)
    }

    /// To be called between steps: keeps the state when it is time, and ends the work on Ctrl-C.
    pub fn pause(&mut self, state: impl FnOnce() -> State) -> Result<()> {
        let stopped = self.stop.load(Ordering::Relaxed);
        if stopped || self.checkpoint.is_due() {
            self.checkpoint.save(0, &state().with_curve(&self.curve).to_bytes())?;
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
