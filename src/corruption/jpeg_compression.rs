//! JPEG compression (Hendrycks and Dietterich 2019; constants: `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, jpeg};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "jpeg-compression",
    summary: "what a JPEG file of low quality loses",
    is_common: true,
    alexnet_error: Some(0.606_500),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    jpeg::lossy(image, size, of_size(size, severity, [80, 65, 58, 50, 40], [25, 18, 15, 10, 7]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What Pillow 13 (libjpeg-turbo) makes of the definition.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            4,
            [0.254902, 0.227451, 0.376471, 0.486275, 0.305882, 0.160784, 0.278431, 0.403922],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            1,
            [0.337255, 0.905882, 0.756863, 0.694118, 0.176471, 0.219608, 0.384314, 0.521569],
        );
    }
}
