//! Brightness: something is added to the value of every pixel's colour (Hendrycks and Dietterich 2019; constants:
//! `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, hsv};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "brightness",
    summary: "brighter, by the V of HSV",
    is_common: true,
    alexnet_error: Some(0.564_592),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    let more = of_size(size, severity, [0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]);
    hsv::changed(image, |[h, s, v]| [h, s, (v + more).min(1.0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What scikit-image 0.26 makes of the definition.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            5,
            [0.219124, 0.067358, 0.126984, 0.705357, 0.487179, 0.027668, 0.345221, 0.245614],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            2,
            [0.219124, 0.766234, 1.000000, 1.000000, 0.409756, 0.173810, 0.457467, 0.429668],
        );
    }
}
