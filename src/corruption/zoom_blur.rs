//! Zoom blur: the mean of the picture and its enlargements, as of a camera that moves toward its object (Hendrycks and
//! Dietterich 2019; constants: `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, resample};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "zoom-blur",
    summary: "the mean of enlargements, as of a camera that nears its object",
    is_common: true,
    alexnet_error: Some(0.798_360),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, _: &mut Stream) -> Vec<f32> {
    // as many factors, from 1 on, in steps of
    let (count, step) = of_size(
        size,
        severity,
        [(7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)],
        [(12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)],
    );
    let mut sum = image.to_vec();
    for k in 0..count {
        // to the last digit as numpy's `arange` has it, since a crop is rounded up
        let factor = 1.0 + f64::from(k) * ((1.0 + step) - 1.0);
        let [rows, columns] = size.map(|side| resample::zoomed(side, factor));
        let zoomed = resample::resample(image, size, &rows, &columns);
        sum.iter_mut().zip(zoomed).for_each(|(sum, v)| *sum += v);
    }
    sum.iter().map(|v| v / (count + 1) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What scipy 1.17 makes of the definition.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            2,
            [0.218375, 0.331324, 0.533400, 0.514200, 0.362213, 0.559740, 0.160714, 0.506541],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            4,
            [0.469427, 0.642177, 0.643250, 0.588307, 0.555381, 0.510945, 0.431002, 0.409047],
        );
    }
}
