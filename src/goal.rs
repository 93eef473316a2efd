//! What an attack wants: any wrong class, or one class chosen by a rule.

use crate::rng::Streams;

pub use crate::terms::Goal;

impl Goal {
    /// Whether it has no meaning for images without a true class.
    pub fn needs_label(&self) -> bool {
        matches!(self, Goal::Untargeted | Goal::Next | Goal::Random)
    }

    /// What the attack is to do with one image, from its clean logits; `None` drops the image (its label is the
    /// target already). The random target depends on seed and example alone, not on the attack or the budget.
    ///
    /// Without a label only a target that needs none makes sense ([`Goal::needs_label`]).
    pub fn aim(&self, example: usize, label: Option<usize>, clean_logits: &[f32], seed: u64) -> Option<Aim> {
        let classes = clean_logits.len();
        let Some(label) = label else {
            let target = match self {
                Goal::Class(target) => *target,
                _ => argmin(clean_logits),
            };
            // never looked at: what an attack climbs is the target's
            return Some(Aim { label: target, target: Some(target) });
        };
        let target = match self {
            Goal::Untargeted => return Some(Aim { label, target: None }),
            Goal::Class(t) => *t,
            Goal::Next => (label + 1) % classes,
            Goal::LeastLikely => argmin(clean_logits),
            Goal::Random => {
                let other = Streams::new(seed, "goal").stream(example, 0, "target").below(classes - 1);
                other + usize::from(other >= label)
            }
        };
        (target != label).then_some(Aim { label, target: Some(target) })
    }
}

/// What to do with one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    /// True class.
    pub label: usize,
    /// Class to reach; `None`: leave the label.
    pub target: Option<usize>,
}

impl Aim {
    /// Whether these logits are what the attack wants. Argmax takes the first of equals.
    pub fn is_reached(&self, logits: &[f32]) -> bool {
        match self.target {
            None => argmax(logits) != self.label,
            Some(target) => argmax(logits) == target,
        }
    }

    /// How far these logits are from what the attack wants: negative once it is reached, smaller is better.
    pub fn distance(&self, logits: &[f32]) -> f32 {
        match self.target {
            None => margin(logits, self.label),
            Some(target) => -margin(logits, target),
        }
    }
}

/// First index of the largest logit.
pub fn argmax(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

fn argmin(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, i| if logits[i] < logits[best] { i } else { best })
}

/// Logit of `class` minus the best other logit.
pub fn margin(logits: &[f32], class: usize) -> f32 {
    let others = logits.iter().enumerate().filter(|(i, _)| *i != class).map(|(_, v)| *v);
    logits[class] - others.fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_their_rule_and_never_the_label() {
        let logits = [0.5, -2.0, 3.0];
        assert_eq!(Goal::Next.aim(0, Some(2), &logits, 0).unwrap().target, Some(0));
        assert_eq!(Goal::LeastLikely.aim(0, Some(2), &logits, 0).unwrap().target, Some(1));
        assert_eq!(Goal::LeastLikely.aim(0, Some(1), &logits, 0), None);
        assert_eq!(Goal::Class(2).aim(0, Some(2), &logits, 0), None);
        // without a label nothing is dropped: class 0 is a class like any other
        assert_eq!(Goal::Class(0).aim(0, None, &logits, 0).unwrap().target, Some(0));
        let drawn: Vec<_> =
            (0..300).map(|e| Goal::Random.aim(e, Some(1), &logits, 0).unwrap().target.unwrap()).collect();
        assert!(drawn.iter().all(|t| *t != 1));
        let zeros = drawn.iter().filter(|t| **t == 0).count();
        assert!((100..200).contains(&zeros), "{zeros} of 300 fair draws");
    }

    #[test]
    fn ties_go_to_the_first_class() {
        let tied = [1.0, 1.0];
        assert!(!Aim { label: 0, target: None }.is_reached(&tied));
        assert!(Aim { label: 1, target: None }.is_reached(&tied));
        assert_eq!(margin(&tied, 0), 0.0);
    }
}
