//! Bit-depth reduction (Guo et al. 2018): the lower bits of each 8-bit value are dropped, by a shift, as the authors' code does.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::filter::grey_level;
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "bit-depth",
    summary: "drops the lower bits of each 8-bit value",
    source: "Guo et al. 2018",
    keys: &[Key {
        name: "bits",
        default: "3",
        least: 1.0,
        most: 7.0,
        whole: true,
        summary: "bits that are kept; the paper's 3",
    }],
    is_random: false,
    has_derivative: false,
    build,
};

struct BitDepth {
    dropped: u32,
}

fn build(values: &Values, _: [usize; 2]) -> Built {
    Ok(Box::new(BitDepth { dropped: 8 - values.whole("bits") as u32 }))
}

impl Stage for BitDepth {
    fn apply(&self, image: &[f32], _: &mut Stream) -> Vec<f32> {
        let kept = |x: &f32| f32::from(grey_level(*x) >> self.dropped << self.dropped) / 255.0;
        image.iter().map(kept).collect()
    }
}
