//! Pixelation: made smaller and larger again, by the means of boxes (Hendrycks and Dietterich 2019; constants:
//! `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, grey_level, resample};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "pixelate",
    summary: "made smaller and larger again",
    is_common: true,
    alexnet_error: Some(0.717_840),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    let part = of_size(size, severity, [0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25]);
    let small = size.map(|side| ((side as f64 * part) as usize).max(1));
    let levels: Vec<f32> = image.iter().map(|v| f32::from(grey_level(*v))).collect();
    let shrunk = resample::box_means(&levels, size, small);
    resample::box_means(&shrunk, small, size).iter().map(|v| v / 255.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What Pillow 13 makes of the definition.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            3,
            [0.215686, 0.074510, 0.094118, 0.717647, 0.360784, 0.098039, 0.176471, 0.290196],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            5,
            [0.254902, 0.537255, 0.647059, 0.482353, 0.400000, 0.380392, 0.533333, 0.494118],
        );
    }
}
