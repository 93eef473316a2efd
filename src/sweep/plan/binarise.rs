//! Resolves on how many images attacks are put to the binarisation test, and refuses what it does not serve.

use super::resolver::Resolver;
use crate::binarise::NORMS;
use crate::config::{At, Block};
use crate::terms::{Budget, Goal, Threat};

impl Resolver<'_> {
    /// Images of each cell of a block on which its attack is put to the test; `None`: it is not, or a problem was told.
    pub(super) fn binarise(
        &self,
        block: &Block,
        threats: &[Vec<Threat>],
        goals: &[At<Goal>],
        models: &[usize],
    ) -> Option<usize> {
        let At { value: images, line } = block.binarise.as_ref()?;
        let refuse = |problem: String| self.problem(*line, problem);
        if *images == 0 {
            refuse("`binarise` is 0 images (hint: 20, or leave it out)".into());
        }
        let serves = |threat: &&Threat| {
            let is_budget = !threat.eps.is_minimal() && threat.eps != Budget::ZERO;
            NORMS.contains(&threat.norm) && is_budget
        };
        if let Some(other) = threats.iter().flatten().find(|threat| !serves(threat)) {
            let hint = "hint: budgets above 0 in `linf` or `l2`, others in a [[sweep]] of their own";
            refuse(format!(
                "`binarise`: the test has points within a budget, and none for {} ({hint})",
                other.caption()
            ));
        }
        if goals.iter().any(|goal| goal.value != Goal::Untargeted) {
            refuse(
                "`binarise`: the network of the test has two classes, and an attack no choice (hint: goals = [\"untargeted\"])".into(),
            );
        }
        if block.mode.value != "at" {
            refuse("`binarise`: the test has no smaller budget to go on from (hint: mode = \"at\")".into());
        }
        for model in models.iter().map(|model| &self.models[*model].1) {
            if let Err(problem) = model.check_features() {
                refuse(problem.to_string());
            }
        }
        usize::try_from(*images).ok()
    }
}
