//! Spatter: drops of water, or of mud, on the lens (Hendrycks and Dietterich 2019; constants: `create_c` of
//! hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::{Size, blur, edges, kernel};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "spatter",
    summary: "drops on the lens, of water (severities 1 to 3) or mud",
    is_common: false,
    alexnet_error: None,
    generate: Some(generate),
};

#[derive(Clone, Copy)]
enum Kind {
    Water,
    Mud,
}
use Kind::{Mud, Water};

/// Pale turquoise, and brown.
const OF_WATER: [f32; 3] = [175.0 / 255.0, 238.0 / 255.0, 238.0 / 255.0];
const OF_MUD: [f32; 3] = [63.0 / 255.0, 42.0 / 255.0, 20.0 / 255.0];

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    // of the noise that drops are cut from: mean, deviation, blur, threshold; then the strength of water, or the blur
    // of mud
    let (mean, deviation, sigma, threshold, strength, kind) = of_size(
        size,
        severity,
        [
            (0.62, 0.1, 0.7, 0.7, 0.5, Water),
            (0.65, 0.1, 0.8, 0.7, 0.5, Water),
            (0.65, 0.3, 1.0, 0.69, 0.5, Water),
            (0.65, 0.1, 0.7, 0.69, 0.6, Mud),
            (0.65, 0.1, 0.5, 0.68, 0.6, Mud),
        ],
        [
            (0.65, 0.3, 4.0, 0.69, 0.6, Water),
            (0.65, 0.3, 3.0, 0.68, 0.6, Water),
            (0.65, 0.3, 2.0, 0.68, 0.5, Water),
            (0.65, 0.3, 1.0, 0.65, 1.5, Mud),
            (0.67, 0.4, 1.0, 0.65, 1.5, Mud),
        ],
    );
    let n = size[0] * size[1];
    let noise: Vec<f32> = (0..n).map(|_| (mean + deviation * draw.normal()) as f32).collect();
    let liquid = blur::gaussian(&noise, size, &blur::taps(sigma));
    let is_wet = |v: &f32| *v >= threshold;
    match kind {
        Water => {
            let wet: Vec<f32> =
                liquid.iter().map(|v| if is_wet(v) { (v * 255.0).min(255.0).floor() } else { 0.0 }).collect();
            let layer = water(&wet, size);
            laid(image, |c, i, x| x + strength as f32 * layer[i] * OF_WATER[c])
        }
        Mud => {
            let wet: Vec<f32> = liquid.iter().map(|v| if is_wet(v) { 1.0 } else { 0.0 }).collect();
            let mut layer = blur::gaussian(&wet, size, &blur::taps(strength));
            // only the middle of a drop
            layer.iter_mut().filter(|v| **v < 0.8).for_each(|v| *v = 0.0);
            laid(image, |c, i, x| x * (1.0 - layer[i]) + layer[i] * OF_MUD[c])
        }
    }
}

/// Every value of the picture from its channel, place and old value.
fn laid(image: &[f32], value: impl Fn(usize, usize, f32) -> f32) -> Vec<f32> {
    let n = image.len() / 3;
    image.iter().enumerate().map(|(j, x)| value(j / n, j % n, *x)).collect()
}

/// Farthest from a drop's edge that still counts.
const FARTHEST: f32 = 20.0;

/// Takes light to come from the upper left.
const RELIEF: [f32; 9] = [-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0];

/// How much water shines at each place, at most 1: the grey levels of the drops times a relief of the distances from
/// their edges.
fn water(wet: &[f32], size: Size) -> Vec<f32> {
    let distance = edges::distance(&edges::canny(wet, size, 50.0, 150.0), size, FARTHEST);
    let around = |plane: &[f32]| kernel::weighted(plane, size, &[1.0; 9]).into_iter().map(|sum| sum / 9.0);
    let depth = equalised(&around(&distance).map(f32::floor).collect::<Vec<f32>>());
    let relief: Vec<f32> = kernel::weighted(&depth, size, &RELIEF).iter().map(|v| v.clamp(0.0, 255.0)).collect();
    let layer: Vec<f32> = around(&relief).map(f32::round).zip(wet).map(|(relief, wet)| relief * wet).collect();
    let most = layer.iter().copied().fold(0.0, f32::max);
    // without a drop there is nothing to scale
    layer.iter().map(|v| if most > 0.0 { v / most } else { 0.0 }).collect()
}

/// Grey levels replaced by their ranks, from 0 for the lowest to 255 (OpenCV's `equalizeHist`).
fn equalised(plane: &[f32]) -> Vec<f32> {
    let mut counts = [0u32; 256];
    plane.iter().for_each(|v| counts[*v as usize] += 1);
    let lowest = counts.iter().copied().find(|n| *n > 0).unwrap_or(0);
    let above = plane.len() as u32 - lowest;
    if above == 0 {
        return plane.to_vec();
    }
    let mut ranks = [0.0; 256];
    let mut sum = 0;
    for (rank, count) in ranks.iter_mut().zip(counts) {
        sum += count;
        *rank = (sum.saturating_sub(lowest) as f32 * (255.0 / above as f32)).round_ties_even();
    }
    plane.iter().map(|v| ranks[*v as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    /// What scikit-image 0.26 and OpenCV 5 make of the definition, from the same random numbers.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            2,
            [0.215686, 0.050980, 0.094118, 0.619608, 0.372549, 0.027451, 0.176471, 0.219608],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            4,
            [0.215686, 0.694118, 0.901961, 0.819608, 0.196081, 0.133333, 0.309804, 0.116116],
        );
    }
}
