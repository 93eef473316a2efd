//! Glass blur: pixels are displaced at random within a small window, as by frosted glass, between two slight blurs
//! (Hendrycks and Dietterich 2019; constants: `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, blur};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "glass-blur",
    summary: "neighbouring pixels are shuffled, as behind frosted glass",
    is_common: true,
    alexnet_error: Some(0.826_268),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let (sigma, shift, passes) = of_size(
        size,
        severity,
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        [(0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    );
    let taps = blur::taps(sigma);
    let mut levels = blur::gaussian(image, size, &taps);
    levels.iter_mut().for_each(|v| *v = (*v * 255.0).floor() / 255.0);
    (0..passes).for_each(|_| shuffle(&mut levels, size, shift, draw));
    blur::gaussian(&levels, size, &taps)
}

/// From the last pixel to the first, each takes the value of a near one. The published generator means to swap the two,
/// but what it assigns back is a view of the value that it has just overwritten: the near pixel keeps its own.
fn shuffle(image: &mut [f32], [height, width]: Size, shift: usize, draw: &mut Stream) {
    let inner = |side: usize| (shift + 1..=side.saturating_sub(shift)).rev();
    for (y, x) in inner(height).flat_map(|y| inner(width).map(move |x| (y, x))) {
        // from −shift to shift − 1, first across
        let (near_x, near_y) = (x + draw.below(2 * shift) - shift, y + draw.below(2 * shift) - shift);
        for plane in image.chunks_exact_mut(height * width) {
            plane[y * width + x] = plane[near_y * width + near_x];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What scikit-image 0.26 and numpy make of the definition, from the same random numbers.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            5,
            [0.215845, 0.147560, 0.170147, 0.469800, 0.340128, 0.793639, 0.158641, 0.769529],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            4,
            [0.219293, 0.530927, 0.520376, 0.553357, 0.326104, 0.507599, 0.523319, 0.514375],
        );
    }
}
