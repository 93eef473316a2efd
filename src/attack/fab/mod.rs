//! Fast adaptive boundary attack (Croce and Hein 2020): the net is taken for the plane that its slope says, the point steps a
//! little beyond that plane, biased towards the clean image, and after every step that fools the net it goes back a tenth of
//! its way. So it walks along the boundary to the nearest point. With `targeted`, FAB-T, the plane is that between the label
//! and one class, for several classes one after the other; without, it is the nearest of all.

mod boundary;
mod projections;

use super::outward::Outward;
use super::search;
use super::{Attack, Entry, Kind, Param, STEPS, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::Goal;
use crate::oracle::Oracle;
use crate::terms::{Budget, WitnessKind};
use crate::threat::{Norm, Threat};

pub(super) use boundary::{Settings, begin};

/// Targets by default, as in AutoAttack.
const TARGETS: usize = 9;

pub const ENTRY: Entry = Entry {
    name: "fab",
    revision: 3,
    summary: "fast adaptive boundary attack: the least change that fools (Croce and Hein 2020)",
    source: "Croce and Hein 2020, arXiv:1907.02044",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    params: &[
        Param {
            name: "targeted",
            kind: Kind::Flag,
            default: "true",
            summary: "towards one class after the other, FAB-T, not to the nearest (AutoAttack's standard version)",
        },
        Param {
            name: "targets",
            kind: Kind::Count,
            default: "9",
            summary: "classes of the largest logits that it goes towards, if targeted (AutoAttack: 9)",
        },
        Param { name: STEPS, kind: Kind::Count, default: "100", summary: "iterations of a run (AutoAttack: 100)" },
        Param {
            name: "restarts",
            kind: Kind::Count,
            default: "1",
            summary: "runs, of each target; the first begins at the clean image (AutoAttack's standard version: 1)",
        },
    ],
    build: |params, threat| {
        let (targeted, targets) = (params.flag("targeted"), params.count("targets"));
        let (steps, restarts) = (params.count(STEPS), params.count("restarts"));
        Ok(Box::new(Fab(Settings { norm: threat.norm, targeted, targets, steps, restarts })))
    },
};

struct Fab(Settings);

impl Attack for Fab {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let rows: Vec<usize> = (0..batch.len()).collect();
        search::run(&rows, oracle, batch, &mut |row, oracle| {
            let (x, aim, example) = (batch.image(row), oracle.aim(row), batch.example(row));
            let search = begin(self.0, x.clone(), aim, example, &task.streams, None);
            Ok(Outward::after(search, &x, aim, task))
        })
    }

    fn cost(&self) -> u64 {
        self.0.cost()
    }

    fn seeks_nearest(&self) -> bool {
        true
    }

    fn caveat(&self, threat: &Threat, _: WitnessKind) -> Option<String> {
        let Settings { targeted, targets, steps, restarts, .. } = self.0;
        // a pass forward and back for the plane, and one forward for the label of the new point
        let asked = 3 * (targets * steps * restarts) as u64;
        match threat.eps {
            Budget::Minimal { passes } if targeted && passes < asked => Some(format!(
                "{targets} targets of {steps} steps ask for up to {asked} passes, and {passes} are given: it may end before the \
                 last target"
            )),
            _ if !targeted && targets != TARGETS => {
                Some("`targets` has no effect with `targeted = false`: it goes to the nearest class".into())
            }
            _ => None,
        }
    }

    fn check_goal(&self, goal: &Goal) -> Result<(), String> {
        match goal {
            Goal::Untargeted => Ok(()),
            _ => Err("it looks for the nearest image of any other class (hint: the goal `untargeted`)".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_passes_do_not_suffice_for_is_told() {
        let fab = Fab(Settings { norm: Norm::L2, targeted: true, targets: 9, steps: 100, restarts: 1 });
        let at = |passes| Threat { norm: Norm::L2, eps: Budget::Minimal { passes } };
        assert!(fab.caveat(&at(2000), WitnessKind::U8).unwrap().contains("2700 passes"));
        assert_eq!(fab.caveat(&at(2700), WitnessKind::U8), None);
        let nearest = Fab(Settings { targeted: false, targets: 3, ..fab.0 });
        assert!(nearest.caveat(&at(2700), WitnessKind::U8).unwrap().contains("no effect"));
        assert!(fab.check_goal(&Goal::Next).unwrap_err().contains("untargeted"));
    }
}
