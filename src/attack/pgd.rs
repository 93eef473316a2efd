//! Projected gradient descent (Kurakin et al. 2016 without random start, Madry et al. 2018 with):
//! x ← clip(project(x + α·sign(∇ loss))); for L2 the gradient over its length instead of its sign, for L1 the signs of its largest
//! entries (SLIDE: Tramèr and Boneh 2019), and the projection onto ball and box at once.

use super::descent::{Descent, check_step};
use super::{Attack, Entry, Kind, Param, STEPS, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::loss::Objective;
use crate::oracle::Oracle;
use crate::terms::WitnessKind;
use crate::threat::{Norm, Threat};

pub const ENTRY: Entry = Entry {
    name: "pgd",
    revision: 5,
    summary: "projected gradient descent (Kurakin et al. 2016, Madry et al. 2018)",
    source: "Madry et al. 2018, arXiv:1706.06083; without random start Kurakin et al. 2016, arXiv:1607.02533",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "40", summary: "iterations (foolbox: 40)" },
        Param {
            name: "step_size",
            kind: Kind::StepSize,
            default: "2.5*eps/steps",
            summary: "length of a step; the default reaches the far side of the ball (Madry et al. 2018)",
        },
        Param {
            name: "random_start",
            kind: Kind::Flag,
            default: "true",
            summary: "begin at a random point of the ball",
        },
        Param {
            name: "restarts",
            kind: Kind::Count,
            default: "1",
            summary: "runs; an image counts as broken if one breaks it",
        },
        Param {
            name: "loss",
            kind: Kind::Choice(&["ce", "margin", "dlr"]),
            default: "ce",
            summary: "cross-entropy (Madry et al. 2018); difference of two logits (Carlini and Wagner 2017); that over another \
                      (Croce and Hein 2020), with too few classes the plain difference, which the row notes",
        },
    ],
    build: |params, threat| {
        let (steps, restarts) = (params.count(STEPS), params.count("restarts"));
        let random_start = params.flag("random_start");
        if restarts > 1 && !random_start {
            return Err("restarts above 1 repeat the same run without random_start = true".into());
        }
        let step_size = params.step_size("step_size", threat.radius()?, steps)?.to_f64();
        check_step(threat, step_size)
            .map_err(|e| format!("`step_size`: {e} (hint: fewer `steps`, or a longer one)"))?;
        let objective = match params.choice("loss") {
            "ce" => Objective::CrossEntropy,
            "margin" => Objective::Margin,
            _ => Objective::Dlr,
        };
        let descent = Descent { objective, steps, step_size, random_start, warm_start: true, restarts };
        Ok(Box::new(Pgd { descent, same_steps: !params.depends_on("step_size", STEPS) }))
    },
};

struct Pgd {
    descent: Descent,
    /// Whether a step is as long however many there are.
    same_steps: bool,
}

impl Attack for Pgd {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        self.descent.run(oracle, batch, task)
    }

    fn cost(&self) -> u64 {
        (self.descent.steps * self.descent.restarts) as u64
    }

    fn iterations(&self) -> Option<usize> {
        Some(self.descent.steps)
    }

    fn caveat(&self, threat: &Threat, witness: WitnessKind) -> Option<String> {
        self.descent.caveat(threat, witness)
    }

    fn serves_fewer(&self) -> bool {
        self.same_steps
    }
}
