//! Total-variation minimisation (Guo et al. 2018): half of the pixels are dropped at random, and the smoothest picture near the
//! others takes their place.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::filter::{Size, variation};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "tv",
    summary: "drops pixels at random, and minimises the total variation near the others",
    source: "Guo et al. 2018",
    keys: &[
        Key {
            name: "keep",
            default: "0.5",
            least: 0.01,
            most: 0.99,
            whole: false,
            summary: "probability that a pixel is kept; the paper's 0.5",
        },
        Key {
            name: "weight",
            default: "0.03",
            least: 1e-6,
            most: 100.0,
            whole: false,
            summary: "of the total variation; the paper's 0.03",
        },
    ],
    is_random: true,
    has_derivative: false,
    build,
};

struct TotalVariation {
    size: Size,
    keep: f32,
    weight: f32,
}

fn build(values: &Values, size: Size) -> Built {
    Ok(Box::new(TotalVariation { size, keep: values.get("keep") as f32, weight: values.get("weight") as f32 }))
}

impl Stage for TotalVariation {
    fn apply(&self, image: &[f32], draw: &mut Stream) -> Vec<f32> {
        let n = self.size[0] * self.size[1];
        let known: Vec<bool> = (0..n).map(|_| draw.uniform() < self.keep).collect();
        let smoothed = |plane: &[f32]| variation::smoothest(plane, self.size, &known, self.weight);
        image.chunks_exact(n).flat_map(smoothed).collect()
    }
}
