//! Fast gradient sign method (Goodfellow, Shlens, Szegedy 2015): x' = clip(x + ε·sign(∇ loss(x))); for L2 the gradient
//! over its length instead of its sign. No random start. The gradient at x serves every ε of a sweep.

use super::descent::{Descent, check_step};
use super::{Attack, Entry, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::loss::Objective;
use crate::oracle::Oracle;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "fgsm",
    revision: 2,
    summary: "fast gradient sign method, one full step (Goodfellow et al. 2015)",
    source: "Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572",
    norms: &[Norm::Linf, Norm::L2],
    params: &[],
    build: |_, threat| {
        check_step(threat, threat.eps.to_f64())?;
        let descent = Descent {
            objective: Objective::CrossEntropy,
            steps: 1,
            step_size: threat.eps.to_f64(),
            random_start: false,
            warm_start: false,
            restarts: 1,
        };
        Ok(Box::new(Fgsm(descent)))
    },
};

/// A descent of one step as long as the budget.
struct Fgsm(Descent);

impl Attack for Fgsm {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        self.0.run(oracle, batch, task)
    }

    fn cost(&self) -> u64 {
        1
    }
}
