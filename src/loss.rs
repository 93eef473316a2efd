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

/// Gradient of the target's logit minus the label's (LaVAN: Karmon, Zoran and Goldberg 2018); untargeted: of the best other
/// logit minus the label's. To be *maximised*; it does not fade where a softmax saturates.
pub fn logit_difference(aim: &Aim, logits: &[f32], gradient: &mut [f32]) {
    gradient.fill(0.0);
    gradient[aim.target.unwrap_or_else(|| best_other(logits, aim.label))] += 1.0;
    gradient[aim.label] -= 1.0;
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
    fn a_logit_difference_has_a_slope_of_one_each_way() {
        let (z, mut g) = ([1.5f32, -0.25, 0.75, 2.0], [9.0; 4]);
        logit_difference(&Aim { label: 3, target: Some(1) }, &z, &mut g);
        assert_eq!(g, [0.0, 1.0, 0.0, -1.0]);
        logit_difference(&Aim { label: 3, target: None }, &z, &mut g);
        assert_eq!(g, [1.0, 0.0, 0.0, -1.0]);
    }

    #[test]
    fn a_sure_net_still_has_a_gradient() {
        let mut g = [0.0; 2];
        cross_entropy(&Aim { label: 0, target: None }, &[40.0, 0.0], &mut g);
        assert!(g[0] < 0.0 && g[1] > 0.0, "{g:?}");
    }
}
