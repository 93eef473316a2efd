//! Saturation: colours are made paler, then stronger (Hendrycks and Dietterich 2019; constants: `create_c` of
//! hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, hsv};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "saturate",
    summary: "paler (severities 1 and 2) or stronger colours, by the S of HSV",
    is_common: false,
    alexnet_error: None,
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    let (factor, more) = of_size(
        size,
        severity,
        [(0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)],
        [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)],
    );
    hsv::changed(image, |[h, s, v]| [h, (s * factor + more).clamp(0.0, 1.0), v])
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
            3,
            [0.130661, 0.000000, 0.000000, 0.576471, 0.176471, 0.000000, 0.107843, 0.000000],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            5,
            [0.130661, 0.196931, 0.901961, 0.819608, 0.241641, 0.000000, 0.139869, 0.292063],
        );
    }
}
