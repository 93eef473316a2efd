//! Gaussian noise: a normal number is added to every value (Hendrycks and Dietterich 2019; constants: `create_c` of
//! hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::Size;
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "gaussian-noise",
    summary: "noise of a sensor in low light",
    is_common: true,
    alexnet_error: Some(0.886_428),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let sigma = of_size(size, severity, [0.04, 0.06, 0.08, 0.09, 0.10], [0.08, 0.12, 0.18, 0.26, 0.38]);
    image.iter().map(|x| x + (sigma * draw.normal()) as f32).collect()
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
            [0.176948, 0.030834, 0.068956, 0.617062, 0.335182, 0.000000, 0.167371, 0.207257],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            3,
            [0.041366, 0.593794, 0.460147, 0.840598, 0.475370, 0.172190, 0.240336, 0.628162],
        );
    }
}
