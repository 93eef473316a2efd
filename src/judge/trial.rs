//! One cell's worth of work for the judge.

use super::pixels::Pixels;
use super::verdict::Verdict;
use crate::data::Subset;
use crate::goal::Goal;
use crate::kernel::Engine;
use crate::oracle::Mark;
use crate::record::{Outcome, Witnesses};
use crate::terms::{Precision, WitnessKind};
use candle_core::Device;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// One cell's worth of work for the judge.
pub struct Trial<'a> {
    /// The net.
    pub engine: &'a dyn Engine,
    /// The same net as the attack asks it, and the precision it answers in: `engine` itself, or faster and coarser.
    pub attacked_through: (&'a dyn Engine, Precision),
    /// Where tensors live.
    pub device: &'a Device,
    /// The images.
    pub subset: &'a Subset,
    /// Which of them are attacked now: the outcome of an image does not depend on the others.
    pub images: Range<usize>,
    /// The net's verdicts on all of them.
    pub clean: &'a [Verdict],
    /// What the attack wants.
    pub goal: Goal,
    /// Seed of random targets.
    pub seed: u64,
    /// What is stored.
    pub witness: WitnessKind,
    /// Which iterates are judged.
    pub judging: Judging,
    /// Whether the attack does not know what stands before the net: of an attack that counts iterations only the last of each
    /// run is judged then.
    pub blind: bool,
    /// Draws of a random defence that `engine` puts to the vote.
    pub votes: Option<u32>,
    /// Whether iterates are looked at by kernels, on [`Trial::device`], instead of in this machine's memory.
    pub on_device: bool,
    /// The cells that the attack serves, by ascending number of iterations.
    pub marks: &'a [Mark],
    /// What a smaller budget left, for cells that go on from there.
    pub earlier: Option<&'a Earlier>,
    /// Probability that a success must have for the search to end; `None`: any.
    pub confidence: Option<f32>,
    /// Whether images that are wrong before the attack are changed too ([`Attack::changes_every_image`]).
    pub every_image: bool,
    /// Most images at a time.
    pub batch: usize,
    /// Set by Ctrl-C.
    pub stop: &'a AtomicBool,
}

/// Which iterates cost a forward pass of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    /// Those whose rounding can matter, and at the end the closest.
    WhereItMatters,
    /// All: what the other is held against.
    Every,
}

/// Outcomes and witnesses of a cell with a smaller budget, by example.
pub struct Earlier(BTreeMap<usize, (Outcome, Pixels)>);

impl Earlier {
    /// From a stored cell.
    pub fn new(outcomes: Vec<Outcome>, witnesses: Witnesses) -> Earlier {
        let n = outcomes.len().max(1);
        let pixels: Vec<Pixels> = match witnesses {
            Witnesses::U8(v) => v.chunks(v.len() / n).map(|p| Pixels::U8(p.to_vec())).collect(),
            Witnesses::F32(v) => v.chunks(v.len() / n).map(|p| Pixels::F32(p.to_vec())).collect(),
        };
        Earlier(outcomes.into_iter().zip(pixels).map(|(o, p)| (o.example, (o, p))).collect())
    }

    /// The row of an image that is broken already.
    pub(super) fn broken(&self, example: usize) -> Option<&(Outcome, Pixels)> {
        self.0.get(&example).filter(|(o, _)| o.success == Some(true))
    }

    /// The point to go on from.
    pub(super) fn start(&self, example: usize) -> Option<Vec<f32>> {
        self.0.get(&example).filter(|(o, _)| o.success == Some(false)).map(|(_, pixels)| pixels.floats())
    }
}
