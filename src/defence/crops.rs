//! Random crops (Guo et al. 2018): a square from a random place, brought back to the network's size. Each vote is of one crop; the
//! paper takes the mean probability over its 30.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::filter::Size;
use crate::filter::resample::{Line, bilinear, resample, resample_back};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "crops",
    summary: "a crop from a random place, resized to the whole",
    source: "Guo et al. 2018",
    keys: &[Key {
        name: "share",
        default: "90/299",
        least: 0.05,
        most: 1.0,
        whole: false,
        summary: "side of the crop by that of the image; the 90 of 299 pixels of Athalye et al.'s code",
    }],
    is_random: true,
    has_derivative: true,
    build,
};

struct Crops {
    size: Size,
    crop: Size,
}

fn build(values: &Values, size: Size) -> Built {
    let crop = size.map(|side| (side as f64 * values.get("share")).round() as usize);
    if crop == size {
        return Err(format!("share = {}: nothing is left to draw (hint: less)", values.text_of("share")));
    }
    match crop.iter().min() {
        Some(2..) => Ok(Box::new(Crops { size, crop })),
        _ => Err(format!("share = {}: a crop has 2 pixels at least (hint: more)", values.text_of("share"))),
    }
}

impl Crops {
    fn lines(&self, draw: &mut Stream) -> [Line; 2] {
        [0, 1].map(|i| {
            let first = draw.below(self.size[i] - self.crop[i] + 1);
            bilinear(first, self.crop[i], self.size[i])
        })
    }
}

impl Stage for Crops {
    fn apply(&self, image: &[f32], draw: &mut Stream) -> Vec<f32> {
        let [rows, columns] = self.lines(draw);
        resample(image, self.size, &rows, &columns)
    }

    fn back(&self, _: &[f32], slope: Vec<f32>, draw: &mut Stream) -> Vec<f32> {
        let [rows, columns] = self.lines(draw);
        resample_back(&slope, self.size, &rows, &columns)
    }
}
