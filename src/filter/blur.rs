//! Gaussian blur.

use super::Size;

/// How far the taps reach, in standard deviations (scipy's and skimage's `truncate`).
const REACH: f64 = 4.0;

/// The weights of a Gaussian of this standard deviation in pixels, summing to 1; the middle one is that of the pixel itself.
pub fn taps(sigma: f64) -> Vec<f32> {
    let reach = (REACH * sigma + 0.5) as isize;
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
