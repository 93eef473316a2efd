//! How attacks meet the defences of networks.

use super::resolver::Resolver;
use crate::attack::Attack;
use crate::config::{At, Block, MOST_DRAWS};
use crate::terms::Through;

/// How the attacks of a block meet one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// `None`: nothing stands before it.
    pub(super) through: Option<Through>,
    /// `None`: nothing that it asks is random.
    pub(super) eot: Option<u32>,
    /// `None`: nothing is put to the vote.
    pub(super) votes: Option<u32>,
}

impl Way {
    /// What an attack hears of a defence that it is not to know of.
    pub(super) fn caveat(self, built: &dyn Attack) -> Option<String> {
        // what takes one step has one candidate
        let several = built.iterations().is_none() && built.cost() > 1;
        let hears = self.through == Some(Through::Straight) && several;
        hears.then(|| {
            "it counts no iterations, so each of its candidates is tried on the defended network: `straight` is not blind \
             to what comes of them"
                .into()
        })
    }
}

impl Resolver<'_> {
    /// The ways that a block asks for; as `bpda` where it asks for none.
    pub(super) fn through(&self, block: &Block) -> Vec<At<Through>> {
        if block.through.is_empty() {
            return vec![At { value: Through::Bpda, line: block.line }];
        }
        let found = |text: &At<String>| {
            Some(At { value: self.choose(text, "through", Through::ALL, Through::name)?, line: text.line })
        };
        block.through.iter().filter_map(found).collect()
    }

    /// Draws a gradient; 1 where the block says nothing.
    pub(super) fn eot(&self, block: &Block) -> u32 {
        let Some(eot) = &block.eot else { return 1 };
        if !(1..=MOST_DRAWS).contains(&eot.value) {
            self.problem(eot.line, format!("`eot`: expected a whole number from 1 to {MOST_DRAWS}"));
        }
        eot.value.clamp(1, MOST_DRAWS) as u32
    }

    /// The ways in which one model is attacked: where nothing stands before it there is one.
    pub(super) fn ways(&self, model: usize, through: &[At<Through>], eot: u32) -> Vec<Way> {
        let model = &self.models[model].1;
        if model.defences().next().is_none() {
            return vec![Way { through: None, eot: None, votes: None }];
        }
        let is_random = model.defences().any(|defence| defence.vote().is_some());
        if eot > 1 && !is_random {
            self.note(Some(format!(
                "model `{}`: nothing of its defence is random, so `eot` changes nothing",
                model.name
            )));
        }
        if through.iter().all(|through| through.value == Through::Straight) {
            self.note(Some(format!(
                "model `{}`: attacks that do not know of its defence say nothing of one that does (hint: through = \
                 [\"straight\", \"bpda\"])",
                model.name
            )));
        }
        // of several networks together there is no one vote
        let votes = model.defences().next().and_then(|defence| defence.vote()).filter(|_| model.files().count() == 1);
        let way = |through: &At<Through>| Way {
            through: Some(through.value),
            eot: (is_random && through.value != Through::Straight).then_some(eot),
            votes: votes.map(|vote| vote.of),
        };
        through.iter().map(way).collect()
    }

    /// An exact gradient passes no stage without a derivative: it would be zero, or none.
    pub(super) fn refuse_what_has_no_derivative(&self, through: &[At<Through>], models: &[usize]) {
        for exact in through.iter().filter(|through| through.value == Through::Exact) {
            for model in models.iter().map(|model| &self.models[*model].1) {
                let stages: Vec<&str> = model.defences().flat_map(|defence| defence.without_derivative()).collect();
                if !stages.is_empty() {
                    self.problem(
                        exact.line,
                        format!(
                            "`exact`: `{}` of model `{}` has no derivative (hint: through = \"bpda\", where it counts as the \
                             identity on the way back)",
                            stages.join("`, `"),
                            model.name
                        ),
                    );
                }
            }
        }
    }
}
