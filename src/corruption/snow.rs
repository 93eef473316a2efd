//! Snow: bright flakes that fall in streaks over a paler picture (Hendrycks and Dietterich 2019; constants: `create_c`
//! of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, grey_level, motion, resample};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "snow",
    summary: "streaks of flakes over a paler picture",
    is_common: true,
    alexnet_error: Some(0.866_816),
    generate: Some(generate),
};

/// What the flakes are made of.
#[derive(Clone, Copy)]
struct Flakes {
    mean: f64,
    deviation: f64,
    zoom: f64,
    threshold: f32,
    /// Of the motion.
    radius: usize,
    sigma: f64,
}

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let of =
        |mean, deviation, zoom, threshold, radius, sigma| Flakes { mean, deviation, zoom, threshold, radius, sigma };
    let (flakes, kept) = of_size(
        size,
        severity,
        [
            (of(0.1, 0.2, 1.0, 0.6, 8, 3.0), 0.95),
            (of(0.1, 0.2, 1.0, 0.5, 10, 4.0), 0.9),
            (of(0.15, 0.3, 1.75, 0.55, 10, 4.0), 0.9),
            (of(0.25, 0.3, 2.25, 0.6, 12, 6.0), 0.85),
            (of(0.3, 0.3, 1.25, 0.65, 14, 12.0), 0.8),
        ],
        [
            (of(0.1, 0.3, 3.0, 0.5, 10, 4.0), 0.8),
            (of(0.2, 0.3, 2.0, 0.5, 12, 4.0), 0.7),
            (of(0.55, 0.3, 4.0, 0.9, 12, 8.0), 0.7),
            (of(0.55, 0.3, 4.5, 0.85, 12, 8.0), 0.65),
            (of(0.55, 0.3, 2.5, 0.85, 12, 12.0), 0.55),
        ],
    );
    let layer = fallen(flakes, size, draw);
    let n = layer.len();
    let grey = |i: usize| 0.299 * image[i] + 0.587 * image[n + i] + 0.114 * image[2 * n + i];
    let pale: Vec<f32> = (0..n).map(|i| grey(i) * 1.5 + 0.5).collect();
    let value = |(j, x): (usize, &f32)| {
        let i = j % n;
        // the layer lies there twice, the second time turned by 180°
        kept * x + (1.0 - kept) * x.max(pale[i]) + layer[i] + layer[n - 1 - i]
    };
    image.iter().enumerate().map(value).collect()
}

/// One plane of flakes: specks of enlarged noise, drawn out downwards, in 8 bits before and after.
fn fallen(flakes: Flakes, size: Size, draw: &mut Stream) -> Vec<f32> {
    let [height, width] = size;
    let noise: Vec<f32> =
        (0..height * width).map(|_| (flakes.mean + flakes.deviation * draw.normal()) as f32).collect();
    let [rows, columns] = size.map(|side| resample::zoomed(side, flakes.zoom));
    let mut specks = resample::resample(&noise, size, &rows, &columns);
    let of_speck = |v: f32| if v < flakes.threshold { 0.0 } else { (v.clamp(0.0, 1.0) * 255.0).floor() / 255.0 };
    specks.iter_mut().for_each(|v| *v = of_speck(*v));
    let degrees = f64::from(draw.uniform()) * 90.0 - 135.0;
    let streaks = motion::motion(&specks, size, flakes.radius, flakes.sigma, degrees);
    streaks.iter().map(|v| f32::from(grey_level(*v)) / 255.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What scipy 1.17 and OpenCV 5 make of the definition, from the same random numbers.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            3,
            [0.279255, 0.204364, 0.259235, 0.790022, 0.580004, 0.382558, 0.246629, 0.349125],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            5,
            [0.682139, 1.000000, 1.000000, 1.000000, 0.800357, 0.450859, 0.680074, 0.792696],
        );
    }
}
