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
    let broken = broken(logits);
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
    let scale = to_one_size(logits);
    logits.iter().map(|z| (f64::from(*z) * scale) as f32).collect()
}

/// The factor of [`at_one_size`].
fn to_one_size(logits: &[f32]) -> f64 {
    let n = logits.len() as f64;
    let mean = logits.iter().map(|z| f64::from(*z)).sum::<f64>() / n;
    let spread = (logits.iter().map(|z| (f64::from(*z) - mean).powi(2)).sum::<f64>() / n).sqrt();
    // what is not finite stays so, and equal logits stay equal
    if spread.is_finite() && spread > 0.0 { SPREAD / spread } else { 1.0 }
}

/// What the logits of a net are multiplied by where an attack weighs margins against distances: 1 for those of about the usual
/// size, of which the authors' constants speak, else what brings them to it.
pub fn to_usual_size(logits: &[f32]) -> f64 {
    let scale = to_one_size(logits);
    if (1.0 / LARGE..SMALL).contains(&scale) { 1.0 } else { scale }
}

/// How many times larger, and how many times smaller, than the median logits of about the usual size are. Robust networks have
/// single images at a sixth of it, which the authors' code takes as they are, too.
const LARGE: f64 = 4.0;
const SMALL: f64 = 16.0;

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

/// What an attack climbs. Each falls where the label leads by more, or the target lacks more, and each is to be *maximised*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// [`log_odds`], which rises and falls with the cross-entropy.
    CrossEntropy,
    /// [`margin`].
    Margin,
    /// [`dlr`]; the margin where there are too few classes for it ([`Objective::among`]).
    Dlr,
}

impl Objective {
    /// What is climbed in its place among so many classes: the difference of logits ratio needs the third logit, with a
    /// target the fourth. As the authors' `checks.py` says, and does not do.
    pub fn among(self, classes: usize, is_targeted: bool) -> Objective {
        match self {
            Objective::Dlr if classes < 3 + usize::from(is_targeted) => Objective::Margin,
            objective => objective,
        }
    }

    /// Its value; writes its gradient with respect to the logits. NaN or Inf in the logits is NaN in the gradient.
    pub fn climb(self, aim: &Aim, logits: &[f32], slope: &mut [f32]) -> f64 {
        match self.among(logits.len(), aim.target.is_some()) {
            Objective::CrossEntropy => log_odds(aim, logits, slope),
            Objective::Margin => margin(aim, logits, slope),
            Objective::Dlr => dlr(aim, logits, slope),
        }
    }
}

/// Best other logit minus the label's; with a target, the target's minus the best other (Carlini and Wagner 2017, f6 without
/// its bound): above 0 once the aim is reached. And its gradient.
pub fn margin(aim: &Aim, logits: &[f32], slope: &mut [f32]) -> f64 {
    let (class, sign) = side(aim);
    let other = best_other(logits, class);
    slope.fill(broken(logits));
    slope[other] += sign;
    slope[class] -= sign;
    f64::from(sign) * (f64::from(logits[other]) - f64::from(logits[class]))
}

/// Difference of logits ratio (Croce and Hein 2020, equations 6 and 7): (max_{j≠y} z_j − z_y) / (z₁ − z₃), with z₁ ≥ z₂ ≥ … the
/// sorted logits; with a target, (z_t − z_y) / (z₁ − (z₃ + z₄)/2). No logits multiplied by a number change it. And its gradient.
///
/// The authors add 1e-12 to the divisor. Here nothing is added, so no floor is under the size of logits; where the divisor is 0
/// it is taken for 1, which leaves the slope of the numerator. That is also taken where the label is third: there the ratio is
/// 1 whatever the logits, and theirs has no slope.
///
/// # Panics
/// With fewer than 3 classes, or 4 with a target ([`Objective::among`]).
pub fn dlr(aim: &Aim, logits: &[f32], slope: &mut [f32]) -> f64 {
    let z = |class: usize| f64::from(logits[class]);
    let top = largest::<4>(logits);
    // an image without a label has the target for one: the best other stands for it
    let (up, down) = match aim.target {
        None => (best_other(logits, aim.label), aim.label),
        Some(t) if t == aim.label => (t, best_other(logits, t)),
        Some(t) => (t, aim.label),
    };
    // the classes of the divisor, and how each counts there
    let divisor: &[(usize, f64)] = match aim.target {
        None => &[(top[0], 1.0), (top[2], -1.0)],
        Some(_) => &[(top[0], 1.0), (top[2], -0.5), (top[3], -0.5)],
    };
    let by = divisor.iter().map(|(class, weight)| weight * z(*class)).sum::<f64>();
    let by = if by == 0.0 { 1.0 } else { by };
    let value = (z(up) - z(down)) / by;
    slope.fill(broken(logits));
    slope[up] += (1.0 / by) as f32;
    slope[down] -= (1.0 / by) as f32;
    let is_constant = aim.target.is_none() && down == top[2];
    for (class, weight) in divisor.iter().filter(|_| !is_constant) {
        slope[*class] -= (weight * value / by) as f32;
    }
    value
}

/// Classes of the `N` largest logits, from the largest, the first of equals first; as many as there are, then 0.
fn largest<const N: usize>(logits: &[f32]) -> [usize; N] {
    let mut top = [0; N];
    for place in 0..N.min(logits.len()) {
        let left = (0..logits.len()).filter(|j| !top[..place].contains(j));
        top[place] = left.reduce(|best, j| if logits[j] > logits[best] { j } else { best }).unwrap_or(0);
    }
    top
}

/// 0, or NaN where a logit is not finite.
fn broken(logits: &[f32]) -> f32 {
    logits.iter().map(|z| z * 0.0).sum()
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
    fn a_net_of_about_the_usual_size_is_left_as_it_is() {
        let z = [1.5f32, -3.0, 8.0, 2.0];
        let times = |power: i32| z.map(|z| z * 2f32.powi(power));
        assert_eq!([-1, 0, 1].map(|power| to_usual_size(&times(power))), [1.0; 3]);
        for power in [-60, -5, 4, 60] {
            let (hot, as_usual) = (to_usual_size(&times(power)), to_one_size(&z) * 2f64.powi(-power));
            assert!((hot / as_usual - 1.0).abs() < 1e-6, "2^{power}: {hot} {as_usual}");
        }
    }

    #[test]
    fn a_margin_that_is_gained_is_one_that_is_lost() {
        let (z, mut g) = ([1.5f32, -0.25, 0.75, 2.0], [9.0; 4]);
        assert_eq!(margin(&Aim { label: 3, target: None }, &z, &mut g), -0.5);
        assert_eq!(g, [1.0, 0.0, 0.0, -1.0]);
        assert_eq!(margin(&Aim { label: 3, target: Some(1) }, &z, &mut g), -2.25);
        assert_eq!(g, [0.0, 1.0, 0.0, -1.0]);
        assert_eq!(margin(&Aim { label: 0, target: Some(3) }, &z, &mut g), 0.5);
        assert_eq!(g, [-1.0, 0.0, 0.0, 1.0]);
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
                for objective in OBJECTIVES {
                    let mut g = [0.0; 3];
                    objective.climb(&Aim { label: 1, target: None }, &z, &mut g);
                    assert!(g.iter().all(|g| g.is_nan()), "{objective:?} {bad} at {place}: {g:?}");
                }
            }
        }
    }

    const OBJECTIVES: [Objective; 3] = [Objective::CrossEntropy, Objective::Margin, Objective::Dlr];

    #[test]
    fn the_slope_of_every_objective_is_that_of_its_value() {
        // the label on top and not, the target behind and before it, and both far down
        for z in [[1.5f32, -0.3, 0.8, 2.0, -1.0], [1.5, 3.3, 0.8, 2.0, -1.0], [1.5, -0.3, 0.8, -2.0, 0.1]] {
            let aims =
                [Aim { label: 1, target: None }, Aim { label: 1, target: Some(3) }, Aim { label: 3, target: Some(3) }];
            for (aim, objective) in aims.iter().flat_map(|aim| OBJECTIVES.map(|o| (aim, o))) {
                let mut g = [0.0; 5];
                objective.climb(aim, &z, &mut g);
                for i in 0..5 {
                    let (mut up, mut down, h) = (z, z, 1e-3);
                    up[i] += h;
                    down[i] -= h;
                    let value = |z: &[f32]| objective.climb(aim, z, &mut [0.0; 5]);
                    let slope = (value(&up) - value(&down)) / (f64::from(up[i]) - f64::from(down[i]));
                    assert!((slope - f64::from(g[i])).abs() < 1e-4, "{objective:?} {aim:?} {i}: {slope} {}", g[i]);
                }
            }
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_paper() {
        let (z, mut g) = ([4.0f32, 1.0, 3.0, 2.0], [0.0; 4]);
        // right by 1, z1 - z3 = 2
        assert_eq!(dlr(&Aim { label: 0, target: None }, &z, &mut g), -0.5);
        // wrong: the best other is the top
        assert_eq!(dlr(&Aim { label: 3, target: None }, &z, &mut g), 1.0);
        // (3 - 4) / (4 - 1.5)
        assert_eq!(dlr(&Aim { label: 0, target: Some(2) }, &z, &mut g), -0.4);
        // without a label, toward class 2 against the best other, which is 0
        assert_eq!(dlr(&Aim { label: 2, target: Some(2) }, &z, &mut g), -0.4);
        // the label is third: always 1, and a slope all the same
        assert_eq!(dlr(&Aim { label: 3, target: None }, &[4.0, 1.0, 3.0, 2.0], &mut g), 1.0);
        assert_eq!(g, [0.5, 0.0, 0.0, -0.5]);
        // all equal: nothing to divide by
        assert_eq!(dlr(&Aim { label: 1, target: None }, &[2.0; 4], &mut g), 0.0);
        assert_eq!(g, [1.0, -1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_ratio_has_no_size() {
        let z = [1.5f32, -0.5, 0.75, 2.0];
        for aim in AIMS {
            let (mut one, mut other) = ([0.0; 4], [0.0; 4]);
            let value = dlr(&aim, &z, &mut one);
            for power in [-100, -60, -2, 8, 60, 100] {
                let scale = 2f32.powi(power);
                assert_eq!(dlr(&aim, &z.map(|z| z * scale), &mut other), value, "2^{power}");
                // the slope of the net is as much larger as this is smaller
                assert_eq!(other.map(|g| g * scale), one, "2^{power}");
            }
        }
    }

    #[test]
    fn too_few_classes_have_a_margin_instead() {
        let (label, target) = (Aim { label: 0, target: None }, Aim { label: 0, target: Some(1) });
        for (aim, classes, instead) in [(label, 2, true), (label, 3, false), (target, 3, true), (target, 4, false)] {
            let z: Vec<f32> = (0..classes).map(|j| 1.0 - j as f32 * 0.25).collect();
            let (mut a, mut b) = (vec![0.0; classes], vec![0.0; classes]);
            let same = Objective::Dlr.climb(&aim, &z, &mut a) == margin(&aim, &z, &mut b) && a == b;
            assert_eq!(same, instead, "{classes} {aim:?}");
        }
    }

    #[test]
    fn a_margin_is_above_0_once_the_aim_is_reached() {
        for (z, aim) in
            [([1.0f32, 2.0, 0.0, 3.0], AIMS[0]), ([1.0, 2.0, 0.0, 3.0], AIMS[1]), ([1.0, 2.0, 5.0, 3.0], AIMS[1])]
        {
            let mut g = [0.0; 4];
            assert_eq!(margin(&aim, &z, &mut g) as f32, -aim.distance(&z));
            assert_eq!((margin(&aim, &z, &mut g) > 0.0), aim.is_reached(&z));
            assert_eq!(g.iter().sum::<f32>(), 0.0);
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
