//! Defocus blur: every point becomes a disk with soft edges (Hendrycks and Dietterich 2019; constants: `create_c` of
//! hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, kernel};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "defocus-blur",
    summary: "every point becomes a disk, as out of focus",
    is_common: true,
    alexnet_error: Some(0.819_880),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    let (radius, softness) = of_size(
        size,
        severity,
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)],
        [(3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)],
    );
    kernel::weighted(image, size, &disk(radius, softness))
}

/// A square of weights: those of a disk's pixels, blurred a little by a Gaussian of standard deviation `softness`. What
/// the blur takes over the square's edge is reflected.
fn disk(radius: f64, softness: f64) -> Vec<f32> {
    let (reach, soft_reach) = if radius <= 8.0 { (8, 1) } else { (radius as isize, 2) };
    let side = (2 * reach + 1) as usize;
    let places = (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (y, x)));
    let is_inside = places.map(|(y, x)| ((y * y + x * x) as f64) <= radius * radius);
    let weights: Vec<f32> = is_inside.map(|inside| if inside { 1.0 } else { 0.0 }).collect();
    let count: f32 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|w| w / count).collect();
    kernel::weighted(&weights, [side, side], &gaussian(softness, soft_reach))
}

/// A square of weights of a Gaussian, summing to 1.
fn gaussian(sigma: f64, reach: usize) -> Vec<f32> {
    let line = crate::filter::blur::taps_within(sigma, reach);
    line.iter().flat_map(|a| line.iter().map(move |b| a * b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What OpenCV 5 makes of the definition.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            4,
            [0.217255, 0.052552, 0.296471, 0.621177, 0.374118, 0.229806, 0.181177, 0.224317],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            1,
            [0.224882, 0.495605, 0.599594, 0.448005, 0.338607, 0.488709, 0.475862, 0.514402],
        );
    }
}
