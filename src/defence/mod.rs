//! Defences: what stands before a network and changes each image on its way in. A defence is a list of stages; a model file names
//! them. What a network says behind a random one is put to the vote.

mod bit_depth;
mod blur;
mod crops;
mod defended;
mod jpeg;
mod median;
mod noise;
mod quantise;
mod random_resize_pad;
mod stage;
mod tv;

pub use defended::{Defended, Draws};
pub use stage::{Key, Stage, StageEntry, Values};

use crate::config::{DefenceSpec, StageSpec};
use crate::error::hint;

/// Every stage.
pub const DEFENCES: &[StageEntry] = &[
    bit_depth::ENTRY,
    blur::ENTRY,
    crops::ENTRY,
    jpeg::ENTRY,
    median::ENTRY,
    noise::ENTRY,
    quantise::ENTRY,
    random_resize_pad::ENTRY,
    tv::ENTRY,
];

/// Votes where a model file names no number: the 30 crops over which Guo et al. 2018 take the mean.
pub const VOTES: u32 = 30;

/// How a random defence is put to the vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Draws whose majority decides.
    pub of: u32,
    /// Their seed.
    pub draws: u64,
}

/// What stands before a network.
pub struct Defence {
    stages: Vec<Placed>,
    votes: Option<Vote>,
}

/// A stage for images of one size.
struct Placed {
    entry: &'static StageEntry,
    values: Values,
    stage: Box<dyn Stage>,
}

impl Defence {
    /// What a model file asks for, for images of this height and width; `None`: nothing.
    ///
    /// # Errors
    /// A stage that is not known, or does not fit the images; votes or draws where nothing is random.
    pub fn new(spec: &DefenceSpec, size: [usize; 2]) -> Result<Option<Defence>, String> {
        let stages = spec.stages.iter().map(|stage| placed(stage, size)).collect::<Result<Vec<_>, String>>()?;
        let is_random = stages.iter().any(|placed| placed.entry.is_random);
        let given = [("votes", spec.votes.map(u64::from)), ("draws", spec.draws)];
        if let Some((key, value)) =
            given.into_iter().find_map(|(key, value)| Some((key, value.filter(|_| !is_random)?)))
        {
            return Err(format!(
                "{key} = {value}: nothing in `defence` is random, so all votes are the same (hint: remove `{key}`)"
            ));
        }
        let vote = || Vote { of: spec.votes.unwrap_or(VOTES), draws: spec.draws.unwrap_or(0) };
        let votes = is_random.then(vote);
        Ok((!stages.is_empty()).then_some(Defence { stages, votes }))
    }

    /// All that decides what it does, in one line: `jpeg quality=75, noise sigma=0.25; 30 votes of draws 0`.
    pub fn text(&self) -> String {
        let stages: Vec<String> = self.stages.iter().map(|s| s.values.text(s.entry)).collect();
        let votes = self.votes.map_or(String::new(), |v| format!("; {} votes of draws {}", v.of, v.draws));
        stages.join(", ") + &votes
    }

    /// How it is put to the vote; `None`: it is not random.
    pub fn vote(&self) -> Option<Vote> {
        self.votes
    }

    /// Names of the stages that no gradient passes.
    pub fn without_derivative(&self) -> Vec<&'static str> {
        self.stages.iter().filter(|s| !s.entry.has_derivative).map(|s| s.entry.name).collect()
    }
}

fn placed(spec: &StageSpec, size: [usize; 2]) -> Result<Placed, String> {
    let known = || DEFENCES.iter().map(|entry| entry.name);
    let entry = DEFENCES.iter().find(|entry| entry.name == spec.name);
    let entry = entry.ok_or_else(|| format!("unknown defence `{}`{}", spec.name, hint(&spec.name, known())))?;
    let named = |problem: String| format!("defence `{}`: {problem}", spec.name);
    let values = Values::read(entry, &spec.values).map_err(named)?;
    let stage = (entry.build)(&values, size).map_err(named)?;
    Ok(Placed { entry, values, stage })
}

#[cfg(test)]
mod tests;
