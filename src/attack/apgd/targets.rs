//! The classes that a targeted stage aims at, one after the other.

use crate::attack::search::Ask;
use crate::attack::vector::dual_length;
use crate::threat::Norm;

/// How targets are chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// So many of the classes with the largest logits at the clean image, the label left out.
    Largest(usize),
    /// [`NEAREST`] classes by margin over slope, of those with the [`CANDIDATES`] largest logits (MALT: Melamed et al. 2024).
    Malt,
}

impl Choice {
    /// How many classes it chooses, where there are so many.
    pub fn most(self) -> usize {
        match self {
            Choice::Largest(n) => n,
            Choice::Malt => NEAREST,
        }
    }
}

/// Targets of MALT, as of AutoAttack.
pub const NEAREST: usize = 9;

/// Classes whose slope MALT looks at (Melamed et al. 2024, section 4: 100).
const CANDIDATES: usize = 100;

/// Looks at the clean image for the targets.
pub struct Targets {
    choice: Choice,
    label: usize,
    /// Classes by falling logits, without the label, once they are known.
    candidates: Vec<usize>,
    /// MALT: margin over slope of each candidate so far.
    scores: Vec<f64>,
}

impl Targets {
    pub fn new(choice: Choice, label: usize) -> Targets {
        Targets { choice, label, candidates: Vec::new(), scores: Vec::new() }
    }

    pub fn asks(&self) -> Ask {
        if self.candidates.is_empty() { Ask::Logits } else { Ask::Slope }
    }

    /// Of the logit of the next candidate minus the label's.
    pub fn slope(&self, slope: &mut [f32]) {
        slope.fill(0.0);
        slope[self.candidates[self.scores.len()]] += 1.0;
        slope[self.label] -= 1.0;
    }

    /// The targets, once they are known.
    pub fn hear(&mut self, logits: &[f32], gradient: &[f32], norm: Norm) -> Option<Vec<usize>> {
        if self.candidates.is_empty() {
            self.candidates = by_falling_logits(logits, self.label);
            let most = if let Choice::Largest(most) = self.choice { most } else { CANDIDATES };
            self.candidates.truncate(most);
            let known = matches!(self.choice, Choice::Largest(_)) || self.candidates.is_empty();
            return known.then(|| self.candidates.clone());
        }
        let target = self.candidates[self.scores.len()];
        let margin = f64::from(logits[self.label]) - f64::from(logits[target]);
        // a class without a slope is infinitely far
        let slope = dual_length(norm, gradient);
        self.scores.push(if slope > 0.0 { margin / slope } else { f64::INFINITY });
        if self.scores.len() < self.candidates.len() {
            return None;
        }
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|a, b| self.scores[*a].total_cmp(&self.scores[*b]));
        Some(order.into_iter().take(NEAREST).map(|k| self.candidates[k]).collect())
    }
}

/// Classes by falling logits, the first of equals first, without `label`.
pub fn by_falling_logits(logits: &[f32], label: usize) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..logits.len()).filter(|c| *c != label).collect();
    classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_other_logits_come_first() {
        let mut targets = Targets::new(Choice::Largest(2), 1);
        assert_eq!(targets.hear(&[0.5, 9.0, 2.0, 1.0], &[], Norm::L2), Some(vec![2, 3]));
        // as many as there are
        let mut targets = Targets::new(Choice::Largest(9), 1);
        assert_eq!(targets.hear(&[0.5, 9.0], &[], Norm::L2), Some(vec![0]));
    }

    #[test]
    fn malt_prefers_a_steep_class_to_a_near_one() {
        let mut targets = Targets::new(Choice::Malt, 0);
        let logits = [3.0, 2.0, 1.0];
        assert_eq!(targets.hear(&logits, &[], Norm::L2), None);
        assert_eq!(targets.asks(), Ask::Slope);
        // class 1 lacks 1 with slope 0.1, class 2 lacks 2 with slope 4
        assert_eq!(targets.hear(&logits, &[0.1, 0.0], Norm::L2), None);
        assert_eq!(targets.hear(&logits, &[0.0, 4.0], Norm::L2), Some(vec![2, 1]));
    }
}
