//! JPEG compression (Dziugaite et al. 2016; Guo et al. 2018).

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::filter::{Size, jpeg};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "jpeg",
    summary: "what a JPEG file loses",
    source: "Guo et al. 2018",
    keys: &[Key {
        name: "quality",
        default: "75",
        least: 1.0,
        most: 100.0,
        whole: true,
        summary: "of libjpeg's scale; the paper's 75",
    }],
    is_random: false,
    has_derivative: false,
    build,
};

struct Jpeg {
    size: Size,
    quality: u32,
}

fn build(values: &Values, size: Size) -> Built {
    Ok(Box::new(Jpeg { size, quality: values.whole("quality") as u32 }))
}

impl Stage for Jpeg {
    fn apply(&self, image: &[f32], _: &mut Stream) -> Vec<f32> {
        jpeg::lossy(image, self.size, self.quality)
    }
}
