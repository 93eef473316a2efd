//! Per-example losses, always to be *maximised*, and their gradient with respect to the logits.

use crate::goal::Aim;

/// Cross-entropy of the label (to go up), or minus the cross-entropy of the target: `(loss, ∂loss/∂logits)`.
///
/// Summed over a batch by the caller, never averaged. Stable form: logits minus their maximum, and p_y − 1 as minus
/// the sum of the other p_j; in f32 the difference itself is exactly 0 once the margin passes about 17.
pub fn cross_entropy(aim: &Aim, logits: &[f32], gradient: &mut [f32]) -> f32 {
    let (class, sign) = match aim.target {
        None => (aim.label, 1.0),
        Some(target) => (target, -1.0),
    };
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (g, z) in gradient.iter_mut().zip(logits) {
        *g = (z - top).exp();
        sum += *g;
    }
    let mut others = 0.0;
    for (i, g) in gradient.iter_mut().enumerate() {
        *g /= sum;
        if i != class {
            others += *g;
            *g *= sign;
        }
    }
    gradient[class] = -sign * others;
    sign * (sum.ln() + top - logits[class])
}

/// What an attack may climb; the class is the label, or the target with the sign turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// [`cross_entropy`].
    CrossEntropy,
    /// The target's logit (untargeted: minus the label's). The softmax would reward suppressing the others instead.
    Logit,
    /// The target's logit minus the label's (LaVAN: Karmon, Zoran and Goldberg 2018); untargeted: the best other logit
    /// minus the label's.
    LogitDifference,
}

impl Objective {
    /// Writes the gradient with respect to the logits; returns the objective.
    pub fn gradient(self, aim: &Aim, logits: &[f32], gradient: &mut [f32]) -> f32 {
        if self == Objective::CrossEntropy {
            return cross_entropy(aim, logits, gradient);
        }
        let up = match self {
            Objective::LogitDifference => Some(aim.target.unwrap_or_else(|| best_other(logits, aim.label))),
            _ => aim.target,
        };
        let down = (self == Objective::LogitDifference || aim.target.is_none()).then_some(aim.label);
        gradient.fill(0.0);
        up.into_iter().for_each(|c| gradient[c] += 1.0);
        down.into_iter().for_each(|c| gradient[c] -= 1.0);
        logits.iter().zip(gradient).map(|(z, g)| if *g == 0.0 { 0.0 } else { z * *g }).sum()
    }
}

/// First index of the largest logit but that of `class`.
fn best_other(logits: &[f32], class: usize) -> usize {
    let others = (0..logits.len()).filter(|i| *i != class);
    others.reduce(|best, i| if logits[i] > logits[best] { i } else { best }).unwrap_or(class)
}

/// Softmax probability of `class`.
pub fn probability(logits: &[f32], class: usize) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (logits[class] - top).exp() / logits.iter().map(|z| (z - top).exp()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_is_that_of_the_loss() {
        let z = [1.5f32, -0.3, 0.8, 2.0];
        for aim in [Aim { label: 1, target: None }, Aim { label: 1, target: Some(3) }] {
            let mut g = [0.0; 4];
            cross_entropy(&aim, &z, &mut g);
            for i in 0..4 {
                let (mut up, mut down) = (z, z);
                let h = 1e-2;
                up[i] += h;
                down[i] -= h;
                let slope =
                    (cross_entropy(&aim, &up, &mut [0.0; 4]) - cross_entropy(&aim, &down, &mut [0.0; 4])) / (2.0 * h);
                assert!((slope - g[i]).abs() < 1e-4, "{aim:?} {i}: {slope} {}", g[i]);
            }
        }
    }

    #[test]
    fn objectives_are_differences_of_logits() {
        let z = [1.5f32, -0.25, 0.75, 2.0];
        let (untargeted, targeted) = (Aim { label: 3, target: None }, Aim { label: 3, target: Some(1) });
        for (objective, aim, value, slope) in [
            (Objective::Logit, targeted, -0.25, [0.0, 1.0, 0.0, 0.0]),
            (Objective::Logit, untargeted, -2.0, [0.0, 0.0, 0.0, -1.0]),
            (Objective::LogitDifference, targeted, -2.25, [0.0, 1.0, 0.0, -1.0]),
            (Objective::LogitDifference, untargeted, -0.5, [1.0, 0.0, 0.0, -1.0]),
        ] {
            let mut g = [9.0; 4];
            assert_eq!((objective.gradient(&aim, &z, &mut g), g), (value, slope), "{objective:?} {aim:?}");
        }
    }

    #[test]
    fn a_sure_net_still_has_a_gradient() {
        let mut g = [0.0; 2];
        cross_entropy(&Aim { label: 0, target: None }, &[40.0, 0.0], &mut g);
        assert!(g[0] < 0.0 && g[1] > 0.0, "{g:?}");
    }
}
