//! Functions of one f32 by additions, products and fused multiply-adds alone: the same bits on every machine, and loops
//! over them become vector code. Not a number gives not a number.

/// ln 2 in two parts, the first with few bits, so that its multiples are exact (Cody and Waite 1980; Cephes `expf`).
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Below and above, eˣ leaves the normal numbers of f32.
const EXP_RANGE: [f32; 2] = [-87.0, 88.0];

/// Adding it rounds a small number to a whole one, in the low bits of the sum (1.5·2²³).
const ROUND: f32 = 12_582_912.0;

/// eˣ, to 2 units of the last place; below -87 it is that of -87, above 88 that of 88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let bounded = x.clamp(EXP_RANGE[0], EXP_RANGE[1]);
    let shifted = bounded.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let r = whole.mul_add(-LN_2[1], whole.mul_add(-LN_2[0], bounded));
    // Cephes `expf`: minimax polynomial on |r| ≤ ln 2 / 2
    let mut p = 1.987_569_1e-4f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, c);
    }
    let p = p.mul_add(r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    p * power
}

/// 1/(1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent, to 3e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    // 1 − 2/(e²ᵃ + 1) loses digits near 0, where the series serves
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    let s = x * x;
    let small = a * s.mul_add(s.mul_add(s.mul_add(-17.0 / 315.0, 2.0 / 15.0), -1.0 / 3.0), 1.0);
    (if a < 0.25 { small } else { large }).copysign(x)
}

/// The error function, to 3e-7.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    // Abramowitz and Stegun 1964, 7.1.26
    let t = 1.0 / 0.327_591_1f32.mul_add(a, 1.0);
    let mut p = 1.061_405_4f32;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p.mul_add(t, c);
    }
    let large = 1.0 - p * t * exp(-a * a);
    // 2/√π · (a − a³/3 + a⁵/10 − a⁷/42 + a⁹/216 − a¹¹/1320), near 0
    let s = a * a;
    let mut q = -1.0 / 1320.0f32;
    for c in [1.0 / 216.0, -1.0 / 42.0, 0.1, -1.0 / 3.0, 1.0] {
        q = q.mul_add(s, c);
    }
    let small = std::f32::consts::FRAC_2_SQRT_PI * a * q;
    (if a < 0.5 { small } else { large }).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_double_precision() {
        for i in -40_000..=40_000 {
            let x = i as f32 / 400.0;
            let wide = f64::from(x);
            if (-87.0..=88.0).contains(&x) {
                let off = (f64::from(exp(x)) / wide.exp() - 1.0).abs();
                assert!(off < 2.5e-7, "exp {x}: {off:e}");
            }
            for (what, ours, theirs) in [
                ("sigmoid", sigmoid(x), 1.0 / (1.0 + (-wide).exp())),
                ("tanh", tanh(x), wide.tanh()),
                ("erf", erf(x), libm::erf(wide)),
            ] {
                assert!((f64::from(ours) - theirs).abs() < 3e-7, "{what} {x}: {ours} {theirs}");
            }
        }
        for near in [1e-8f32, -1e-5, 0.01] {
            assert!((f64::from(erf(near)) / libm::erf(f64::from(near)) - 1.0).abs() < 1e-6);
            assert!((f64::from(tanh(near)) / f64::from(near).tanh() - 1.0).abs() < 1e-6);
        }
        for f in [exp, sigmoid, tanh, erf] {
            assert!(f(f32::NAN).is_nan());
            assert!(f(f32::INFINITY) > 0.99 && f(f32::NEG_INFINITY).abs() <= 1.0);
        }
    }
}
