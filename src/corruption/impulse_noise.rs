//! Impulse noise, also called salt and pepper: some values become 1 or 0 (Hendrycks and Dietterich 2019; constants:
//! `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::Size;
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "impulse-noise",
    summary: "some values become 1 or 0, as of bits that were lost",
    is_common: true,
    alexnet_error: Some(0.922_640),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let amount = of_size(size, severity, [0.01, 0.02, 0.03, 0.05, 0.07], [0.03, 0.06, 0.09, 0.17, 0.27]);
    let value = |x: &f32| {
        // both are always drawn: a value hit at one severity is hit alike at the next
        let (is_hit, is_salt) = (draw.uniform() < amount, draw.uniform() < 0.5);
        match (is_hit, is_salt) {
            (false, _) => *x,
            (true, true) => 1.0,
            (true, false) => 0.0,
        }
    };
    image.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;
    use crate::rng::Streams;

    #[test]
    fn as_many_values_are_hit_as_asked_half_of_them_white() {
        let image = vec![0.5; 3 * 224 * 224];
        let out = generate(&image, [224, 224], 5, &mut Streams::new(0, "salt").stream(0, 0, "test"));
        let share = |value: f32| out.iter().filter(|v| **v == value).count() as f64 / out.len() as f64;
        // five standard errors of a share of 0.135 of 150 528
        assert!((share(1.0) - 0.135).abs() < 0.0045);
        assert!((share(0.0) - 0.135).abs() < 0.0045);
        assert!((share(0.5) - 0.73).abs() < 0.006);
    }

    /// What numpy makes of the definition, from the same random numbers.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            3,
            [0.215686, 0.050980, 0.094118, 0.619608, 0.372549, 0.027451, 0.176471, 0.219608],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            5,
            [0.215686, 0.694118, 0.901961, 0.819608, 0.329412, 0.133333, 0.309804, 0.313725],
        );
    }
}
