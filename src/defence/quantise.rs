//! Quantisation (Xu et al. 2018, "Feature Squeezing"): each value is rounded to the nearest of some evenly spaced levels, black
//! and white among them.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "quantise",
    summary: "rounds each value to the nearest of evenly spaced levels",
    source: "Xu et al. 2018",
    keys: &[Key {
        name: "levels",
        default: "32",
        least: 2.0,
        most: 255.0,
        whole: true,
        summary: "levels, from 0 to 1; the paper's 5 bits for CIFAR-10 and ImageNet",
    }],
    is_random: false,
    has_derivative: false,
    build,
};

struct Quantise {
    /// Steps between levels.
    steps: f32,
}

fn build(values: &Values, _: [usize; 2]) -> Built {
    Ok(Box::new(Quantise { steps: values.get("levels") as f32 - 1.0 }))
}

impl Stage for Quantise {
    fn apply(&self, image: &[f32], _: &mut Stream) -> Vec<f32> {
        image.iter().map(|x| (x * self.steps).round() / self.steps).collect()
    }
}
