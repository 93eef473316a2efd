//! Contrast: every value comes nearer to its channel's mean (Hendrycks and Dietterich 2019; constants: `create_c` of
//! hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::Size;
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "contrast",
    summary: "less contrast about each channel's mean",
    is_common: true,
    alexnet_error: Some(0.853_204),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    let kept = of_size(size, severity, [0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]);
    let of_plane = |plane: &[f32]| {
        let mean = (plane.iter().map(|v| f64::from(*v)).sum::<f64>() / plane.len() as f64) as f32;
        plane.iter().map(|x| (x - mean) * kept + mean).collect::<Vec<f32>>()
    };
    image.chunks_exact(size[0] * size[1]).flat_map(of_plane).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What numpy makes of the definition.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            1,
            [0.279843, 0.156314, 0.188667, 0.581085, 0.395791, 0.136967, 0.253392, 0.285745],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            3,
            [0.441340, 0.537026, 0.578595, 0.562253, 0.464213, 0.424998, 0.454922, 0.455706],
        );
    }
}
