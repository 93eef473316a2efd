//! Gaussian blur: a local smoothing (Xu et al. 2018, §III-B). It is linear, so that every gradient passes it.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::filter::{Size, blur};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "blur",
    summary: "Gaussian blur",
    source: "Xu et al. 2018",
    keys: &[Key {
        name: "sigma",
        default: "1",
        least: 0.1,
        most: 100.0,
        whole: false,
        summary: "standard deviation in pixels; no paper fixes it",
    }],
    is_random: false,
    has_derivative: true,
    build,
};

struct Blur {
    size: Size,
    taps: Vec<f32>,
}

fn build(values: &Values, size: Size) -> Built {
    let taps = blur::taps(values.get("sigma"));
    let side = size[0].min(size[1]);
    if taps.len() / 2 > side {
        return Err(format!(
            "sigma = {}: it reaches {} pixels, and images have {side} (hint: less)",
            values.get("sigma"),
            taps.len() / 2
        ));
    }
    Ok(Box::new(Blur { size, taps }))
}

impl Stage for Blur {
    fn apply(&self, image: &[f32], _: &mut Stream) -> Vec<f32> {
        blur::gaussian(image, self.size, &self.taps)
    }

    fn back(&self, _: &[f32], slope: Vec<f32>, _: &mut Stream) -> Vec<f32> {
        blur::gaussian_back(&slope, self.size, &self.taps)
    }
}
