//! Per-example losses, always to be *maximised*, and their gradient with respect to the logits. None fades or saturates
//! with the size of the logits: a net that is surer is no harder to climb.

use crate::goal::Aim;

/// ln( Σ_{j≠c} exp(z_j − z_c) / (K − 1) ) of the label c among K classes, minus that of the target: the logarithm of the odds,
/// 0 where all logits are equal; and its gradient.
///
/// With L for it, the cross-entropy is −ln p_c = ln(1 + (K − 1)·exp L): both rise together, and the slope of L is that of
/// the cross-entropy over 1 − p_c, which is the softmax of the *other* classes alone, and −1 at c. So an ascent goes the
/// same way, but the slope of a sure net does not underflow (to f32 all other p_j are 0 beyond a margin of 104). Summed over
/// a batch by the caller, never averaged. NaN or Inf in the logits is NaN in the gradient.
pub fn log_odds(aim: &Aim, logits: &[f32], gradient: &mut [f32]) -> f64 {
    let (class, sign) = side(aim);
    let top = others(logits, class).fold(f32::NEG_INFINITY, f32::max);
    // 0, or NaN where a logit is not finite
    let broken: f32 = logits.iter().map(|z| z * 0.0).sum();
    let mut sum = 0.0;
    for (g, z) in gradient.iter_mut().zip(logits) {
        *g = (z - top).exp();
    }
    gradient[class] = 0.0;
    gradient.iter().for_each(|g| sum += g);
    gradient.iter_mut().for_each(|g| *g = sign * (*g / sum) + broken);
    gradient[class] = broken - sign;
    f64::from(sign) * lead(logits, class)
}

/// [`log_odds`] without its gradient: what a search by values compares. Of equal order with the probability of the class.
pub fn odds(aim: &Aim, logits: &[f32]) -> f64 {
    let (class, sign) = side(aim);
    f64::from(sign) * lead(logits, class)
}

/// ln( mean over j≠c of exp(z_j − z_c) ), to the last digits of f64 however large or small the logits are.
fn lead(logits: &[f32], class: usize) -> f64 {
    let ahead = || others(logits, class).map(|z| f64::from(z) - f64::from(logits[class]));
    let top = ahead().fold(f64::NEG_INFINITY, f64::max);
    let n = logits.len().saturating_sub(1) as f64;
    // from the largest, by what is missing to it: logits of 1e-18 differ from each other, their exponentials do not
    top + (ahead().map(|d| (d - top).exp_m1()).sum::<f64>() / n).ln_1p()
}

/// ln p_c of `class`: minus its cross-entropy.
pub fn log_probability(logits: &[f32], class: usize) -> f64 {
    -softplus(lead(logits, class) + (logits.len() as f64 - 1.0).ln())
}

/// ln(1 − p_c) of `class`: by how much the slope of its cross-entropy is longer than that of [`log_odds`].
pub fn log_share_of_others(logits: &[f32], class: usize) -> f64 {
    -softplus(-lead(logits, class) - (logits.len() as f64 - 1.0).ln())
}

/// Spread of logits (root mean square about their mean) that [`at_one_size`] brings them to: the median of the built-in standard
/// network's on 200 CIFAR-10 images.
const SPREAD: f64 = 3.5;

/// Logits multiplied so that they spread as those of a usual network, whatever their size: where several images are weighed
/// against each other, the cross-entropy of a network whose logits are large hears the least sure image alone.
pub fn at_one_size(logits: &[f32]) -> Vec<f32> {
    let n = logits.len() as f64;
    let mean = logits.iter().map(|z| f64::from(*z)).sum::<f64>() / n;
    let spread = (logits.iter().map(|z| (f64::from(*z) - mean).powi(2)).sum::<f64>() / n).sqrt();
    // what is not finite stays so, and equal logits stay equal
    let scale = if spread.is_finite() && spread > 0.0 { SPREAD / spread } else { 1.0 };
    logits.iter().map(|z| (f64::from(*z) * scale) as f32).collect()
}

/// ln(1 + exp v).
fn softplus(v: f64) -> f64 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

/// The class that an aim speaks of, and whether it is to go down (1) or up (−1).
fn side(aim: &Aim) -> (usize, f32) {
    match aim.target {
        None => (aim.label, 1.0),
        Some(target) => (target, -1.0),
    }
}

/// Logits of all classes but one.
fn others(logits: &[f32], class: usize) -> impl Iterator<Item = f32> {
    logits.iter().enumerate().filter(move |(j, _)| *j != class).map(|(_, z)| *z)
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

    const AIMS: [Aim; 2] = [Aim { label: 1, target: None }, Aim { label: 1, target: Some(3) }];

    #[test]
    fn logits_of_any_size_become_the_same() {
        let z = [1.5f32, -3.0, 8.0, 20.0];
        let one = at_one_size(&z);
        let mean = one.iter().sum::<f32>() / 4.0;
        let spread = (one.iter().map(|z| (z - mean).powi(2)).sum::<f32>() / 4.0).sqrt();
        assert!((f64::from(spread) - SPREAD).abs() < 1e-5, "{spread}");
        for power in [-60, -8, 1, 10, 60] {
            let other: Vec<f32> = z.iter().map(|z| z * 2f32.powi(power)).collect();
            let off = at_one_size(&other).iter().zip(&one).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "2^{power}: {off}");
        }
        assert!(at_one_size(&[f32::NAN, 1.0])[0].is_nan());
        assert_eq!(at_one_size(&[2.0, 2.0]), [2.0, 2.0]);
    }

    #[test]
    fn gradient_is_that_of_the_loss() {
        let z = [1.5f32, -0.3, 0.8, 2.0];
        for aim in AIMS {
            let mut g = [0.0; 4];
            assert_eq!(log_odds(&aim, &z, &mut g), odds(&aim, &z));
            for i in 0..4 {
                let (mut up, mut down) = (z, z);
                let h = 1e-2;
                up[i] += h;
                down[i] -= h;
                let slope = (odds(&aim, &up) - odds(&aim, &down)) / f64::from(2.0 * h);
                assert!((slope - f64::from(g[i])).abs() < 1e-4, "{aim:?} {i}: {slope} {}", g[i]);
            }
        }
    }

    #[test]
    fn its_slope_is_that_of_the_cross_entropy_over_the_share_of_the_others() {
        let z = [1.5f32, -0.3, 0.8, 2.0];
        let p: Vec<f64> = (0..4).map(|c| log_probability(&z, c).exp()).collect();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for (aim, class, sign) in [(AIMS[0], 1, 1.0), (AIMS[1], 3, -1.0)] {
            let mut g = [0.0; 4];
            log_odds(&aim, &z, &mut g);
            assert!((log_share_of_others(&z, class).exp() - (1.0 - p[class])).abs() < 1e-12);
            for (j, g) in g.iter().enumerate() {
                // of −ln p_c: p_j, less one at c
                let slope = sign * (p[j] - f64::from(u8::from(j == class)));
                assert!((slope - f64::from(*g) * (1.0 - p[class])).abs() < 1e-6, "{aim:?} {j}");
            }
        }
    }

    /// What a power of two does to logits changes neither the sign of a slope nor the order of candidates.
    #[test]
    fn no_size_of_logits_stops_it() {
        let (sure, less) = ([3.0f32, 1.0, 0.5, -2.0], [2.9375f32, 1.0, 0.5, -2.0]);
        let aims = [Aim { label: 0, target: None }, Aim { label: 0, target: Some(3) }];
        for power in [-60, -40, -20, 0, 2, 6, 10, 60] {
            let scale = 2f32.powi(power);
            let (sure, less) = (sure.map(|z| z * scale), less.map(|z| z * scale));
            for aim in aims {
                let mut g = [0.0; 4];
                let value = log_odds(&aim, &sure, &mut g);
                let class = aim.target.unwrap_or(0);
                assert_eq!(g[class].abs(), 1.0, "2^{power} {aim:?}");
                let others: f32 = (0..4).filter(|j| *j != class).map(|j| g[j]).sum();
                assert!((others + g[class]).abs() < 1e-6, "2^{power} {aim:?}: {g:?}");
                // a label that leads by less, or a target that lacks less, is better
                let better = odds(&aim, &less);
                assert!(better > value, "2^{power} {aim:?}: {better} {value}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_seen_in_the_gradient() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in 0..3 {
                let mut z = [1.0, 2.0, 3.0];
                z[place] = bad;
                let mut g = [0.0; 3];
                log_odds(&Aim { label: 1, target: None }, &z, &mut g);
                assert!(g.iter().all(|g| g.is_nan()), "{bad} at {place}: {g:?}");
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
}
