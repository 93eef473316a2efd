//! Arithmetic of one image's values, for searches: sums in f64, from left to right, so that they are the same everywhere.

use crate::threat::Norm;

/// Smallest divisor of a length.
pub const TINY: f64 = 1e-12;

/// Length of a change: largest value (Linf), Euclidean (L2), sum (L1), number of values that are not 0 (L0).
///
/// # Panics
/// Where the norm measures no distance.
pub fn length(norm: Norm, change: &[f32]) -> f64 {
    let sizes = || change.iter().map(|v| f64::from(v.abs()));
    match norm {
        Norm::Linf => sizes().fold(0.0, f64::max),
        Norm::L2 => sizes().map(|v| v * v).sum::<f64>().sqrt(),
        Norm::L1 => sizes().sum(),
        Norm::L0 => change.iter().filter(|v| **v != 0.0).count() as f64,
        _ => unreachable!("a norm that measures no distance"),
    }
}

/// Length of a gradient in the dual norm: a step of length 1 climbs by at most so much. Of L0, whose steps of length 1 are as
/// long as they wish, as of L1.
///
/// # Panics
/// Where the norm measures no distance.
pub fn dual_length(norm: Norm, gradient: &[f32]) -> f64 {
    match norm {
        Norm::Linf => length(Norm::L1, gradient),
        Norm::L2 => length(Norm::L2, gradient),
        _ => length(Norm::Linf, gradient),
    }
}

/// a − b.
pub fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The nearest 8-bit value, ties to even, as the judge rounds.
pub fn in_8_bits(v: f32) -> f32 {
    (v * 255.0).round_ties_even() / 255.0
}

/// −1, 0 or 1.
pub fn sign(v: f32) -> f32 {
    f32::from(u8::from(v > 0.0)) - f32::from(u8::from(v < 0.0))
}

/// Length of the longest change that any image of the box needs from `x`: to the farther end everywhere.
pub fn longest(norm: Norm, x: &[f32]) -> f64 {
    length(norm, &x.iter().map(|v| v.max(1.0 - v)).collect::<Vec<f32>>())
}
