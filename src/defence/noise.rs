//! Gaussian noise (Cohen et al. 2019, randomised smoothing): the vote over it is the smoothed classifier. Values are not clipped.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "noise",
    summary: "adds Gaussian noise (randomised smoothing)",
    source: "Cohen et al. 2019",
    keys: &[Key {
        name: "sigma",
        default: "0.25",
        least: 1e-4,
        most: 10.0,
        whole: false,
        summary: "standard deviation, pixels in [0,1]; the paper's least",
    }],
    is_random: true,
    has_derivative: true,
    build,
};

struct Noise {
    sigma: f64,
}

fn build(values: &Values, _: [usize; 2]) -> Built {
    Ok(Box::new(Noise { sigma: values.get("sigma") }))
}

impl Stage for Noise {
    /// Its derivative is 1.
    fn apply(&self, image: &[f32], draw: &mut Stream) -> Vec<f32> {
        image.iter().map(|x| x + (self.sigma * draw.normal()) as f32).collect()
    }
}
