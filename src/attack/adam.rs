//! Adam (Kingma and Ba 2015, algorithm 1), upward, at any size of gradients.

/// β₁, β₂ and ε of the paper.
const BETA: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Numbers kept per value: m, and the root of v.
pub const MOMENTS: usize = 2;

/// Step t, from 1, of size α: θ ← θ + α·m̂/(√v̂ + ε·r), with r the root of the mean of v̂ over all values. `moments` are
/// [`MOMENTS`] times as long as θ.
///
/// The paper's ε has no r: it is a length of gradients, so a net whose logits are small would move less, and at 2^-60 of them
/// not at all. And √v is kept instead of v, whose squares f32 cannot hold for such nets. Along a gradient of zero that has
/// never been another, nothing moves.
pub fn ascend(theta: &mut [f32], gradient: &[f32], moments: &mut [f32], alpha: f64, t: usize) {
    let (mean, root) = moments.split_at_mut(theta.len());
    for ((g, m), r) in gradient.iter().zip(mean.iter_mut()).zip(root.iter_mut()) {
        let (g, old) = (f64::from(*g), f64::from(*r));
        *m = (BETA[0] * f64::from(*m) + (1.0 - BETA[0]) * g) as f32;
        *r = (BETA[1] * old * old + (1.0 - BETA[1]) * g * g).sqrt() as f32;
    }
    let (unbias_m, unbias_r) = (unbias(BETA[0], t), unbias(BETA[1], t).sqrt());
    let floor = floor(root);
    if floor == 0.0 {
        return;
    }
    for ((theta, m), r) in theta.iter_mut().zip(mean).zip(root) {
        let length = (f64::from(*r) + floor) * unbias_r;
        *theta += (alpha * f64::from(*m) * unbias_m / length) as f32;
    }
}

/// What each value's step was divided by at step t, √v̂ + ε·r, and the largest.
pub fn lengths(moments: &[f32], t: usize) -> (Vec<f64>, f64) {
    let root = &moments[moments.len() / MOMENTS..];
    let (floor, unbias) = (floor(root), unbias(BETA[1], t).sqrt());
    let lengths: Vec<f64> = root.iter().map(|r| (f64::from(*r) + floor) * unbias).collect();
    let most = lengths.iter().copied().fold(0.0, f64::max);
    (lengths, most)
}

/// 1/(1 − βᵗ). Powers by products, which are the same on every machine.
fn unbias(beta: f64, t: usize) -> f64 {
    1.0 / (1.0 - (0..t).fold(1.0, |power, _| power * beta))
}

/// ε·r, before it is unbiased.
fn floor(root: &[f32]) -> f64 {
    let square: f64 = root.iter().map(|r| f64::from(*r) * f64::from(*r)).sum();
    EPSILON * (square / root.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps along gradients that change, of this size.
    fn steps(size: f32) -> Vec<f32> {
        let (mut theta, mut moments) = (vec![0.5; 40], vec![0.0; 40 * MOMENTS]);
        for t in 1..=60 {
            let g: Vec<f32> = (0..40).map(|i| ((i * t) as f32).sin() * size).collect();
            ascend(&mut theta, &g, &mut moments, 0.05, t);
        }
        theta
    }

    #[test]
    fn steps_are_those_of_the_formula_at_any_size() {
        let (mut theta, mut m, mut v) = ([0.5f64; 40], [0.0f64; 40], [0.0f64; 40]);
        for t in 1..=60 {
            for i in 0..40 {
                let g = f64::from(((i * t) as f32).sin());
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let of = |moment: f64, beta: f64| moment / (1.0 - beta.powi(t as i32));
                theta[i] += 0.05 * of(m[i], 0.9) / (of(v[i], 0.999).sqrt() + 1e-8);
            }
        }
        for power in [-110, -60, -20, 0, 10, 100] {
            for (a, b) in steps(2f32.powi(power)).iter().zip(theta) {
                assert!((f64::from(*a) - b).abs() < 1e-5, "2^{power}: {a} {b}");
            }
        }
    }

    #[test]
    fn nothing_moves_along_nothing() {
        let (mut theta, mut moments) = ([0.25; 3], [0.0; 6]);
        (1..4).for_each(|t| ascend(&mut theta, &[0.0; 3], &mut moments, 0.05, t));
        assert_eq!(theta, [0.25; 3]);
    }
}
