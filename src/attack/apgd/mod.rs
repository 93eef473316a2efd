//! Auto-PGD (Croce and Hein 2020; L1: Croce and Hein 2021): a descent whose step halves where the loss stalls, from a random
//! start. With `loss = "targeted"` it is APGD-T: one run for each of the classes that lie nearest, on the targeted difference of
//! logits ratio; any wrong class counts.
//!
//! Algorithm and constants as in the authors' code (fra31/auto-attack a392200), but for what is said at [`Run`] and here: each
//! image draws from a stream of its own, and leaves as soon as it is fooled.

mod bisect;
mod climb;
mod run;
mod targets;

use super::outward::Outward;
use super::search;
use super::{Attack, Entry, Kind, Param, STEPS, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::Goal;
use crate::oracle::Oracle;
use crate::terms::{Budget, Threat, WitnessKind};
use crate::threat::Norm;

use bisect::DoubleBisect;
pub(super) use climb::{Climb, Image, Settings};
pub(super) use targets::Choice;

pub const ENTRY: Entry = Entry {
    name: "apgd",
    revision: 3,
    summary: "Auto-PGD, whose step size follows the loss (Croce and Hein 2020; L1: Croce and Hein 2021)",
    source: "Croce and Hein 2020, arXiv:2003.01690; L1: Croce and Hein 2021, arXiv:2103.01208; authors' code fra31/auto-attack a392200",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "100", summary: "steps of a run (Croce and Hein 2020: 100)" },
        Param {
            name: "loss",
            kind: Kind::Choice(&["ce", "dlr", "targeted"]),
            default: "ce",
            summary: "cross-entropy, difference of logits ratio, or APGD-T: the targeted ratio, one run a target",
        },
        Param {
            name: "targets",
            kind: Kind::CountOr("malt"),
            default: "9",
            summary: "of `loss = \"targeted\"`: so many of the largest other logits (AutoAttack: 9), or \"malt\": nine by \
                      margin over slope (Melamed et al. 2024)",
        },
        Param {
            name: "restarts",
            kind: Kind::Count,
            default: "1",
            summary: "runs, of each target where there are some (AutoAttack `standard`: 1; 5 of `ce` in L1)",
        },
        Param {
            name: "eot",
            kind: Kind::Count,
            default: "1",
            summary: "gradients averaged at each point, for networks that draw random numbers (AutoAttack `rand`: 20)",
        },
        Param {
            name: "large_radii",
            kind: Kind::Flag,
            default: "true",
            summary: "in L1, begin in balls of 3 and 2 times the radius (Croce and Hein 2021, as in AutoAttack)",
        },
        Param {
            name: "search",
            kind: Kind::Choice(&["none", "double-bisect"]),
            default: "none",
            summary: "for the least distance: double the radius until fooled, then halve the interval, ten runs in all \
                      (AttackBench)",
        },
    ],
    build: |params, threat| {
        let settings = Settings::of(params);
        let seeks = params.choice("search") != "none";
        if !seeks {
            threat.radius().map_err(|e| format!("{e}, or `search = \"double-bisect\"`"))?;
        }
        let idle = if settings.targets.is_none() && params.count_or("targets") != Some(targets::NEAREST) {
            Some("`targets` has no effect but with `loss = \"targeted\"`")
        } else if threat.norm != Norm::L1 && !settings.large_radii {
            Some("`large_radii` has no effect but in L1")
        } else {
            None
        };
        Ok(Box::new(Apgd { settings, seeks, idle }))
    },
};

struct Apgd {
    settings: Settings,
    /// Whether it looks for the least distance.
    seeks: bool,
    /// A parameter that was given and does nothing.
    idle: Option<&'static str>,
}

impl Attack for Apgd {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let rows: Vec<usize> = (0..batch.len()).collect();
        search::run(&rows, oracle, batch, &mut |row, oracle| {
            let image = Image::of(row, oracle, batch, task);
            Ok(match self.seeks {
                true => {
                    let (x, aim) = (image.x.clone(), image.aim);
                    Outward::after(Box::new(DoubleBisect::new(self.settings, image)), &x, aim, task)
                }
                false => Box::new(Climb::new(self.settings, image, task.threat.eps.to_f64(), "start")),
            })
        })
    }

    fn cost(&self) -> u64 {
        self.settings.cost() * if self.seeks { bisect::SEARCHES as u64 } else { 1 }
    }

    fn seeks_nearest(&self) -> bool {
        self.seeks
    }

    fn check_goal(&self, goal: &Goal) -> std::result::Result<(), String> {
        match self.settings.targets.is_some() && goal.is_targeted() {
            true => {
                Err("`loss = \"targeted\"` chooses its targets itself (hint: `ce` and `dlr` climb toward the goal's)"
                    .into())
            }
            false => Ok(()),
        }
    }

    fn caveat(&self, threat: &Threat, _: WitnessKind) -> Option<String> {
        let (eot, asked) = (self.settings.eot, 2 * self.cost());
        match threat.eps {
            _ if eot > 1 => {
                Some(format!("eot = {eot}: these networks draw no random numbers, so it repeats the same gradient"))
            }
            Budget::Minimal { passes } if passes < asked => Some(format!(
                "its {} runs ask for up to {asked} passes, and {passes} are given: it may end before the last",
                bisect::SEARCHES
            )),
            _ => self.idle.map(str::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::Params;

    #[test]
    fn a_parameter_that_does_nothing_is_told() {
        let told = |norm: Norm, given: &[(&str, &str)]| {
            let params = Params::resolve(ENTRY.params, given).unwrap();
            let threat = Threat::within(norm, norm.budget("0.25").unwrap());
            (ENTRY.build)(&params, &threat).unwrap().caveat(&threat, WitnessKind::F32)
        };
        assert!(told(Norm::Linf, &[("targets", "3")]).unwrap().contains("`targets`"));
        assert!(told(Norm::L2, &[("large_radii", "false")]).unwrap().contains("`large_radii`"));
        assert_eq!(told(Norm::L1, &[("large_radii", "false")]), None);
        assert_eq!(told(Norm::Linf, &[("loss", "targeted"), ("targets", "3")]), None);
        assert_eq!(told(Norm::Linf, &[]), None);
    }
}
