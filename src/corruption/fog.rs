//! Fog: a cloudy map is added and the whole darkened to the old maximum (Hendrycks and Dietterich 2019; constants:
//! `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::Size;
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "fog",
    summary: "a cloudy veil (diamond-square)",
    is_common: true,
    alexnet_error: Some(0.819_324),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let (strength, decay) = of_size(
        size,
        severity,
        [(0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)],
        [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)],
    );
    let [height, width] = size;
    // the published maps have sides of 32 for CIFAR and 256 for ImageNet; a map that is too large is cut
    let side = height.max(width).next_power_of_two();
    let map = plasma(side, decay, draw);
    let veil: Vec<f32> = map.chunks_exact(side).take(height).flat_map(|row| &row[..width]).copied().collect();
    let most = image.iter().copied().fold(0.0, f32::max);
    let darkened = most / (most + strength);
    image.iter().zip(veil.iter().cycle()).map(|(x, v)| (x + strength * v) * darkened).collect()
}

/// How far the first points are moved. The published generator multiplies it into a number that it already bounds, so
/// that heights go with its square and fall by the square of the decay.
const WIBBLE: f64 = 100.0;

/// A height map in [0,1] by the diamond-square algorithm (Fournier, Fussell and Carpenter 1982), its edges joined;
/// `side` is a power of two.
fn plasma(side: usize, decay: f64, draw: &mut Stream) -> Vec<f32> {
    let mut map = vec![0.0; side * side];
    let (mut step, mut wibble) = (side, WIBBLE);
    while step >= 2 {
        let half = step / 2;
        // one step back, since there are none below 0
        let back = side - half;
        let (corners, sides) =
            ([(back, back), (half, back), (back, half), (half, half)], [(back, 0), (half, 0), (0, back), (0, half)]);
        for (top, left, around) in [(half, half, corners), (0, half, sides), (half, 0, sides)] {
            for (y, x) in (top..side).step_by(step).flat_map(|y| (left..side).step_by(step).map(move |x| (y, x))) {
                let height = |(dy, dx)| map[(y + dy) % side * side + (x + dx) % side];
                let mean = around.map(height).iter().sum::<f64>() / 4.0;
                map[y * side + x] = mean + wibble * wibble * (2.0 * f64::from(draw.uniform()) - 1.0);
            }
        }
        step = half;
        wibble /= decay;
    }
    let least = map.iter().copied().fold(f64::INFINITY, f64::min);
    let most = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // a map of one point is flat
    let span = if most > least { most - least } else { 1.0 };
    map.iter().map(|v| ((v - least) / span) as f32).collect()
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
            4,
            [0.347515, 0.388213, 0.385145, 0.700446, 0.468575, 0.200281, 0.339751, 0.409612],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            1,
            [0.208058, 0.694530, 0.598053, 0.658720, 0.534711, 0.236213, 0.538111, 0.497926],
        );
    }
}
