//! Gaussian blur.

use super::{Size, mirrored};

/// How far the taps reach, in standard deviations (scipy's and skimage's `truncate`).
const REACH: f64 = 4.0;

/// The weights of a Gaussian of this standard deviation in pixels, summing to 1; the middle one is that of the pixel
/// itself.
pub fn taps(sigma: f64) -> Vec<f32> {
    taps_within(sigma, (REACH * sigma + 0.5) as usize)
}

/// The weights of the pixels at most `reach` away.
pub fn taps_within(sigma: f64, reach: usize) -> Vec<f32> {
    let reach = reach as isize;
    let weight = |k: isize| (-0.5 * (k as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-reach..=reach).map(weight).sum();
    (-reach..=reach).map(|k| (weight(k) / sum) as f32).collect()
}

/// Along which way a line runs, and how to walk it.
#[derive(Clone, Copy)]
enum Along {
    Rows,
    Columns,
}

/// Each plane of height×width blurred, edges repeated.
pub fn gaussian(image: &[f32], size: Size, taps: &[f32]) -> Vec<f32> {
    pass(&pass(image, size, taps, Along::Columns, false), size, taps, Along::Rows, false)
}

/// One plane blurred, edges mirrored; the taps may reach far beyond them.
pub fn gaussian_mirrored(plane: &[f32], [height, width]: Size, taps: &[f32]) -> Vec<f32> {
    let down = transposed(&blurred_down(plane, [height, width], taps), width);
    transposed(&blurred_down(&down, [width, height], taps), height)
}

/// Every row made of those around it.
fn blurred_down(plane: &[f32], [height, width]: Size, taps: &[f32]) -> Vec<f32> {
    let reach = (taps.len() / 2) as isize;
    let mut out = vec![0.0; plane.len()];
    for (y, to) in out.chunks_exact_mut(width).enumerate() {
        // taps beyond the edges come back to the same rows again and again
        let mut weights = vec![0.0; height];
        for (k, tap) in taps.iter().enumerate() {
            weights[mirrored(y as isize + k as isize - reach, height)] += tap;
        }
        for (weight, from) in weights.iter().zip(plane.chunks_exact(width)).filter(|(weight, _)| **weight != 0.0) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
        }
    }
    out
}

/// Rows as columns.
fn transposed(plane: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|x| plane.iter().skip(x).step_by(width)).copied().collect()
}

/// The gradient with respect to what was blurred, from that with respect to what came out.
pub fn gaussian_back(slope: &[f32], size: Size, taps: &[f32]) -> Vec<f32> {
    pass(&pass(slope, size, taps, Along::Rows, true), size, taps, Along::Columns, true)
}

/// One pass: each value is the sum of its neighbours, or, `back`, gives itself to them.
fn pass(image: &[f32], [height, width]: Size, taps: &[f32], along: Along, back: bool) -> Vec<f32> {
    let (length, stride, lines, between) = match along {
        Along::Rows => (width, 1, height, width),
        Along::Columns => (height, width, width, 1),
    };
    let reach = (taps.len() / 2) as isize;
    let mut out = vec![0.0; image.len()];
    for (from, to) in image.chunks_exact(height * width).zip(out.chunks_exact_mut(height * width)) {
        for line in 0..lines {
            for i in 0..length {
                for (k, tap) in taps.iter().enumerate() {
                    let j = (i as isize + k as isize - reach).clamp(0, length as isize - 1) as usize;
                    let (here, there) = (line * between + i * stride, line * between + j * stride);
                    match back {
                        false => to[here] += tap * from[there],
                        true => to[there] += tap * from[here],
                    }
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17, `gaussian_filter` of truncate 3 and mode `reflect`, of a plane of 2×3.
    #[test]
    fn far_taps_are_mirrored_as_scipy_does() {
        let out = gaussian_mirrored(&[0.0, 1.0, 4.0, 2.0, 3.0, 8.0], [2, 3], &taps_within(1.0, 3));
        let expected = [1.301063, 2.510927, 4.023854, 1.919737, 3.265324, 4.979095];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
    }
}
