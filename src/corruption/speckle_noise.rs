//! Speckle noise: a normal number times the value is added to it (Hendrycks and Dietterich 2019; constants: `create_c`
//! of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::Size;
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "speckle-noise",
    summary: "noise that is the stronger the brighter a pixel is",
    is_common: false,
    alexnet_error: None,
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let sigma = of_size(size, severity, [0.06, 0.1, 0.12, 0.16, 0.2], [0.15, 0.2, 0.35, 0.45, 0.6]);
    image.iter().map(|x| x + x * (sigma * draw.normal()) as f32).collect()
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
            5,
            [0.170573, 0.062554, 0.101554, 0.511672, 0.348601, 0.035983, 0.117591, 0.197046],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            2,
            [0.170573, 0.641311, 0.912593, 0.831427, 0.269591, 0.102746, 0.296793, 0.392768],
        );
    }
}
