//! Shapes of the changes that Square tries: how large a window is at a query, and what stands in it in L2 and L1.

use crate::threat::Norm;

/// Queries up to which the share of the image that a window covers is halved so often (Andriushchenko et al. 2020; AutoAttack
/// does not stretch them to the number of queries).
const HALVED_AFTER: [usize; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];

/// The share of the image that the window covers at a query, counted from 0 at the first after the start.
pub fn share(p: f64, query: usize) -> f64 {
    let halvings = HALVED_AFTER.iter().filter(|after| query > **after).count();
    p / f64::from(1u32 << halvings)
}

/// Side of a window that covers this share of an image of this height and width: in L2 and L1 odd, and at least 3, as what
/// stands in it has a centre.
pub fn side(norm: Norm, share: f64, [height, width]: [usize; 2]) -> usize {
    // ties to even, as Python's `round`
    let side = (share * (height * width) as f64).sqrt().round_ties_even() as usize;
    let side = if norm == Norm::Linf { side.max(1) } else { side.max(3) | 1 };
    side.min(height).min(width)
}

/// What a window of this side begins from, row by row: its upper half rises towards its middle, its lower half falls as much,
/// and its length is 1. Nested rectangles around the middle of each half weigh 1/k² in L2, 1/k⁴ in L1, from the innermost.
pub fn hills(norm: Norm, side: usize) -> Vec<f64> {
    let upper = side / 2;
    let mut shape = hill(norm, upper, side);
    shape.extend(hill(norm, side - upper, side).into_iter().map(|v| -v));
    scale_to_one(norm, &mut shape);
    shape
}

fn hill(norm: Norm, rows: usize, columns: usize) -> Vec<f64> {
    let power = if norm == Norm::L2 { 2 } else { 4 };
    let rings = rows.max(columns) / 2 + 1;
    // outer rectangles lie under inner ones, so a pixel has the sum of all that reach it
    let from_ring = |ring: usize| (ring..rings).map(|k| (k as f64 + 1.0).powi(-power)).sum::<f64>();
    let heights: Vec<f64> = (0..rings).map(from_ring).collect();
    let at = |i: usize| heights[(i / columns).abs_diff(rows / 2).max((i % columns).abs_diff(columns / 2))];
    let mut shape: Vec<f64> = (0..rows * columns).map(at).collect();
    scale_to_one(norm, &mut shape);
    shape
}

fn scale_to_one(norm: Norm, values: &mut [f64]) {
    let length = measure(norm, values.iter().copied());
    values.iter_mut().for_each(|v| *v /= length);
}

/// Length in L2 or L1.
pub fn measure(norm: Norm, values: impl Iterator<Item = f64>) -> f64 {
    match norm {
        Norm::L2 => values.map(|v| v * v).sum::<f64>().sqrt(),
        _ => values.map(f64::abs).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_as_the_schedule_says() {
        let at = |query| share(0.8, query);
        assert_eq!([at(0), at(10), at(11), at(50), at(51)], [0.8, 0.8, 0.4, 0.4, 0.2]);
        assert_eq!([at(4000), at(4001), at(8001)], [0.8 / 64.0, 0.8 / 128.0, 0.8 / 512.0]);
        // sides at 32×32
        let linf: Vec<usize> =
            [0, 11, 51, 201, 501, 1001, 2001, 4001].iter().map(|q| side(Norm::Linf, at(*q), [32; 2])).collect();
        assert_eq!(linf, [29, 20, 14, 10, 7, 5, 4, 3]);
        let l2: Vec<usize> = [0, 11, 51, 201, 4001].iter().map(|q| side(Norm::L2, at(*q), [32; 2])).collect();
        assert_eq!(l2, [29, 21, 15, 11, 3]);
        // never wider than the image
        assert_eq!(side(Norm::Linf, 0.8, [8, 64]), 8);
        assert_eq!(side(Norm::L2, 0.8, [64, 8]), 8);
        assert_eq!(side(Norm::Linf, 0.8 / 512.0, [8, 8]), 1);
    }

    #[test]
    fn hills_are_of_length_one_and_fall_as_they_rise() {
        // as the authors' code has it at side 3: rows 1 above, 2 below
        let l2 = hills(Norm::L2, 3);
        let (a, b) = (1.0 + 0.25, 0.25);
        let (upper, lower) = (f64::sqrt(2.0 * b * b + a * a), f64::sqrt(5.0 * b * b + a * a));
        let root = 2f64.sqrt();
        let expected = [b, a, b].map(|v| v / upper / root);
        l2[..3].iter().zip(expected).for_each(|(v, e)| assert!((v - e).abs() < 1e-12, "{l2:?}"));
        let expected = [b, b, b, b, a, b].map(|v| -v / lower / root);
        l2[3..].iter().zip(expected).for_each(|(v, e)| assert!((v - e).abs() < 1e-12, "{l2:?}"));
        for norm in [Norm::L2, Norm::L1] {
            for side in 1..20 {
                let shape = hills(norm, side);
                assert_eq!(shape.len(), side * side);
                assert!((measure(norm, shape.iter().copied()) - 1.0).abs() < 1e-12, "{norm:?} {side}");
            }
        }
    }
}
