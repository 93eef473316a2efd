//! Gaussian blur (Hendrycks and Dietterich 2019; constants: `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, blur};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "gaussian-blur",
    summary: "an even blur",
    is_common: false,
    alexnet_error: None,
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    let sigma = of_size(size, severity, [0.4, 0.6, 0.7, 0.8, 1.0], [1.0, 2.0, 3.0, 4.0, 6.0]);
    blur::gaussian(image, size, &blur::taps(sigma))
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
            1,
            [0.215845, 0.052941, 0.133346, 0.619925, 0.372866, 0.068320, 0.177421, 0.222203],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            3,
            [0.235764, 0.511854, 0.528297, 0.491125, 0.362752, 0.495403, 0.490391, 0.506923],
        );
    }
}
