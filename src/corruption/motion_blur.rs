//! Motion blur (Hendrycks and Dietterich 2019; constants: `create_c` of hendrycks/robustness, which calls ImageMagick).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, grey_level, motion};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "motion-blur",
    summary: "blur along a line, as of a camera that moves",
    is_common: true,
    alexnet_error: Some(0.785_948),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let (radius, sigma) = of_size(
        size,
        severity,
        [(6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)],
        [(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)],
    );
    let degrees = f64::from(draw.uniform()) * 90.0 - 45.0;
    let blurred = motion::motion(image, size, radius, sigma, degrees);
    // it comes back from ImageMagick as an 8-bit picture: rounded, while version 6.9.11 cuts off
    blurred.iter().map(|v| f32::from(grey_level(*v)) / 255.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What numpy makes of the definition, from the same random numbers.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            1,
            [0.239216, 0.070588, 0.105882, 0.694118, 0.392157, 0.109804, 0.180392, 0.278431],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            3,
            [0.458824, 0.545098, 0.549020, 0.454902, 0.498039, 0.454902, 0.462745, 0.447059],
        );
    }
}
