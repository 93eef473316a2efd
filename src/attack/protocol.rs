//! What an attack is: the trait, what it is given, and its line in the registry.

use super::params::{Param, Params};
use super::workshop::{Checkpoint, NoCheckpoint, Workshop};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::Goal;
use crate::oracle::Oracle;
use crate::placement::Picture;
use crate::rng::Streams;
use crate::terms::WitnessKind;
use crate::threat::{Norm, Threat};
use std::sync::Mutex;

/// Searches the threat set of each image of a batch.
pub trait Attack: Send + Sync {
    /// Proposes images for every row of `batch` through [`Oracle::propose`], until each is settled or the attack's
    /// budget is spent.
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()>;

    /// Gradient steps an unbroken image costs, at least 1: for estimates of time only.
    fn cost(&self) -> u64;

    /// Images that the net is asked about for an unbroken image, where the attack asks for logits alone; `None`: it asks for
    /// gradients.
    fn queries(&self) -> Option<u64> {
        None
    }

    /// Iterations of a run, each of them toward the aim, where the attack goes in such. The parameter that says them is
    /// [`STEPS`].
    fn iterations(&self) -> Option<usize> {
        None
    }

    /// Whether a run of fewer iterations is the beginning of this one, and nothing else depends on their number: the
    /// longest of several then serves them all.
    fn serves_fewer(&self) -> bool {
        false
    }

    /// Whether it looks for the nearest image that is fooled, whatever the budget: it then serves minimal threats, and all
    /// budgets of a norm in one run.
    fn seeks_nearest(&self) -> bool {
        false
    }

    /// Why it may be weaker at this threat, stored in this way, than its parameters say: told when the plan is made, and kept
    /// with the cells.
    fn caveat(&self, _: &Threat, _: WitnessKind) -> Option<String> {
        None
    }

    /// Refuses a goal that the attack cannot serve, with a way out.
    fn check_goal(&self, _: &Goal) -> Result<(), String> {
        Ok(())
    }

    /// Refuses parameters that make no sense on images of this height and width, with their range.
    fn check_size(&self, _: [usize; 2]) -> Result<(), String> {
        Ok(())
    }

    /// Why it is weaker with budgets within budgets, where what breaks an image at a smaller one is kept: told like a caveat.
    fn caveat_within(&self) -> Option<String> {
        None
    }

    /// Whether images that the net gets wrong before are changed too. They never count as successes, but the rate of a
    /// target over all images, the number that is published of patches, needs them.
    fn changes_every_image(&self) -> bool {
        false
    }

    /// Whether what it finds for an image depends on the other images of its batch, so that they must stay together.
    fn mixes_images(&self) -> bool {
        false
    }

    /// Whether the attack pastes pictures ([`Attack::pictures`]).
    fn pastes(&self) -> bool {
        false
    }

    /// What its pictures are made from.
    fn training(&self) -> Training {
        Training::Nothing
    }

    /// The pictures that the attack pastes: a universal patch is fitted here, on training images, once for the cells of
    /// all budgets.
    fn pictures(&self, _: &mut Workshop) -> Result<Vec<Picture>> {
        Ok(Vec::new())
    }
}

/// What pictures are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Training {
    /// No image is looked at.
    Nothing,
    /// Training images.
    Images,
    /// Training images, and nets.
    ImagesAndNets,
}

/// Name of the parameter that says how many iterations a run has. Cells that differ in it alone share their random streams,
/// so that a shorter run is the beginning of a longer one.
pub const STEPS: &str = "steps";

/// What a cell asks of an attack.
pub struct Task<'a> {
    /// The allowed images.
    pub threat: Threat,
    /// The cell's random streams.
    pub streams: Streams,
    /// How what is proposed is stored.
    pub witness: WitnessKind,
    /// What [`Attack::pictures`] made.
    pub pictures: &'a [Picture],
    /// Whether they were made along a gradient that was zero everywhere at some step.
    pub blind: bool,
    /// Where a long run may leave its state.
    pub checkpoint: &'a dyn Checkpoint,
    /// What an attack in stages tells of each: no result, but what each was good for.
    pub stages: Mutex<Vec<StageReport>>,
}

/// How an attack in stages stood after one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct StageReport {
    /// Name of the stage.
    pub name: &'static str,
    /// Images that still stand.
    pub standing: u64,
    /// Forward passes so far, those of the judge's tests included.
    pub forwards: u64,
    /// Input gradients so far.
    pub backwards: u64,
    /// Since the attack began.
    pub seconds: f64,
}

impl Task<'_> {
    /// A task without pictures, whose state is not kept and whose images are not rounded.
    pub fn new(threat: Threat, streams: Streams) -> Task<'static> {
        let (witness, checkpoint) = (WitnessKind::F32, &NoCheckpoint);
        Task { threat, streams, witness, pictures: &[], blind: false, checkpoint, stages: Mutex::default() }
    }
}

/// A line of the registry.
pub struct Entry {
    /// Name in sweep files.
    pub name: &'static str,
    /// Raise it whenever the same parameters begin to give another result: stored cells are then computed anew.
    pub revision: u32,
    /// One line for `foolproof attacks`, with the paper.
    pub summary: &'static str,
    /// Where it is from: the paper, and whose code was followed.
    pub source: &'static str,
    /// Norms it can work in.
    pub norms: &'static [Norm],
    /// Its parameters.
    pub params: &'static [Param],
    /// Builds it from complete, checked parameters.
    pub(super) build: Build,
}

/// The attack at this budget, or what does not go together.
pub(super) type Build = fn(&Params, &Threat) -> Result<Box<dyn Attack>, String>;

impl Entry {
    /// The attack with these parameters at this budget. Refuses a threat it does not support.
    pub fn build(&self, params: &Params, threat: &Threat) -> Result<Box<dyn Attack>, String> {
        if !self.norms.contains(&threat.norm) {
            let norms: Vec<_> = self.norms.iter().map(|n| format!("`{}`", n.name())).collect();
            return Err(format!(
                "attack `{}` does not support threat `{}` (hint: use {})",
                self.name,
                threat.norm.name(),
                norms.join(" or ")
            ));
        }
        let built = (self.build)(params, threat).map_err(|problem| format!("attack `{}`: {problem}", self.name))?;
        if threat.eps.is_minimal() && !built.seeks_nearest() {
            return Err(format!(
                "attack `{}` looks for no least distance (hint: use `fmn`, or give a budget)",
                self.name
            ));
        }
        Ok(built)
    }
}
