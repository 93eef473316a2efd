//! Attacks that look for the nearest image that is fooled: each image has a [`Search`] of its own, whatever the budget, and
//! every point where it stands is proposed. Where images are rounded, the nearest that rounding takes back is lengthened
//! ([`Outward`]).

use super::outward::{self, Outward};
use super::search::{self, Search};
use super::{Attack, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::{Aim, Goal};
use crate::oracle::Oracle;
use crate::rng::Stream;
use crate::terms::{Budget, WitnessKind};
use crate::threat::{Norm, Threat};

/// What the search of an image begins with.
pub struct Start {
    /// The clean image, 3×H×W in [0,1].
    pub x: Vec<f32>,
    pub aim: Aim,
    /// How distance is measured.
    pub norm: Norm,
    /// Random numbers of this image.
    pub stream: Stream,
}

/// Begins the search of an image.
pub type Begin = Box<dyn Fn(Start) -> Box<dyn Search> + Send + Sync>;

/// An attack of one search an image.
pub struct Nearest {
    /// Passes that a whole search asks for, forward and back each counted as one.
    pub passes: u64,
    /// Points of a run, the first of which is the clean image.
    pub points: usize,
    /// No change becomes shorter than this in a whole search; 0 where nothing is known.
    pub shortest: f64,
    /// Why it cannot go for a target, with a way out; `None`: it can.
    pub no_target: Option<&'static str>,
    /// Whether its points are 8-bit images.
    pub rounds: bool,
    pub begin: Begin,
}

impl Nearest {
    /// An attack that goes for a target, too, in runs of so many points.
    pub fn new(passes: u64, points: usize, begin: Begin) -> Nearest {
        Nearest { passes, points, shortest: 0.0, no_target: None, rounds: false, begin }
    }
}

impl Attack for Nearest {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let rows: Vec<usize> = (0..batch.len()).collect();
        search::run(&rows, oracle, batch, &mut |row, oracle| {
            let stream = task.streams.stream(batch.example(row), 0, "search");
            let (x, aim, norm) = (batch.image(row), oracle.aim(row), task.threat.norm);
            let search = (self.begin)(Start { x: x.clone(), aim, norm, stream });
            Ok(Outward::after(search, &x, aim, task))
        })
    }

    fn cost(&self) -> u64 {
        (self.passes / 2).max(1)
    }

    fn seeks_nearest(&self) -> bool {
        true
    }

    fn caveat(&self, threat: &Threat, witness: WitnessKind) -> Option<String> {
        // of L0 a change is rounded away where it is less than half a grey level alone
        let lengthens = witness == WitnessKind::U8 && !self.rounds && threat.norm != Norm::L0;
        match threat.eps {
            _ if self.points < 2 => {
                Some("with `steps = 1` it looks at the clean image alone (hint: `steps = 100`)".into())
            }
            Budget::Minimal { passes } if passes < self.passes => Some(format!(
                "asks for up to {} passes, and {passes} are given: it may end before (hint: fewer `steps`, or more `passes`)",
                self.passes
            )),
            Budget::Minimal { passes } if lengthens && passes < self.passes + outward::PASSES => Some(format!(
                "asks for up to {} passes, and none are left to lengthen what rounding to 8 bits takes back (hint: passes = {})",
                self.passes,
                self.passes + outward::PASSES
            )),
            Budget::Within(eps) if eps.to_f64() < self.shortest => Some(format!(
                "its steps shorten the change to {:.2} at best, so it cannot come within {eps} (hint: more `steps`)",
                self.shortest
            )),
            _ => None,
        }
    }

    fn check_goal(&self, goal: &Goal) -> Result<(), String> {
        match self.no_target.filter(|_| goal.is_targeted()) {
            Some(problem) => Err(problem.into()),
            None => Ok(()),
        }
    }
}

/// From `first` to `last` in `steps` steps, as half a cosine.
pub fn cosine(first: f64, last: f64, step: usize, steps: usize) -> f64 {
    let turn = std::f64::consts::PI * step as f64 / steps as f64;
    last + (first - last) * (1.0 + turn.cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_steps_cannot_do_is_told() {
        let begin = || -> Begin { Box::new(|_| unreachable!("nothing is searched")) };
        let attack =
            |passes, shortest| Nearest { shortest, no_target: Some("hint"), ..Nearest::new(passes, 20, begin()) };
        let at = |eps| Threat { norm: Norm::L2, eps };
        let within = |eps| at(Budget::Within(Norm::L2.budget(eps).unwrap()));
        let floats = WitnessKind::F32;
        assert!(attack(40, 0.358).caveat(&within("0.25"), floats).unwrap().contains("0.36"));
        assert_eq!(attack(200, 0.006).caveat(&within("0.25"), floats), None);
        let minimal = |passes| at(Budget::Minimal { passes });
        assert!(attack(200, 0.0).caveat(&minimal(199), floats).unwrap().contains("200 passes"));
        assert_eq!(attack(200, 0.0).caveat(&minimal(200), floats), None);
        assert!(attack(200, 0.0).caveat(&minimal(200), WitnessKind::U8).unwrap().contains("passes = 216"));
        assert_eq!(attack(200, 0.0).caveat(&minimal(216), WitnessKind::U8), None);
        let on_grid = Nearest { rounds: true, ..attack(200, 0.0) };
        assert_eq!(on_grid.caveat(&minimal(200), WitnessKind::U8), None);
        let at_clean = Nearest { points: 1, ..attack(2, 0.0) };
        assert!(at_clean.caveat(&within("0.25"), floats).unwrap().contains("clean image alone"));
        assert!(
            attack(1, 0.0).check_goal(&Goal::Next).is_err() && attack(1, 0.0).check_goal(&Goal::Untargeted).is_ok()
        );
    }

    #[test]
    fn half_a_cosine_falls_from_first_to_last() {
        assert_eq!(cosine(1.0, 0.01, 0, 100), 1.0);
        assert!((cosine(1.0, 0.01, 50, 100) - 0.505).abs() < 1e-12);
        assert!((cosine(1.0, 0.01, 100, 100) - 0.01).abs() < 1e-12);
    }
}
