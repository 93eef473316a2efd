//! Median smoothing (Xu et al. 2018): each value becomes one of its neighbours, to which its gradient goes.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::filter::{Size, median};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "median",
    summary: "median of a square window, each channel by itself",
    source: "Xu et al. 2018",
    keys: &[Key {
        name: "window",
        default: "2",
        least: 2.0,
        most: 15.0,
        whole: true,
        summary: "side of the window in pixels; the paper's 2 for CIFAR-10 and ImageNet",
    }],
    is_random: false,
    has_derivative: true,
    build,
};

struct Median {
    size: Size,
    window: usize,
}

fn build(values: &Values, size: Size) -> Built {
    let (window, side) = (values.whole("window"), size[0].min(size[1]));
    if window > side {
        return Err(format!("window = {window}: images have {side} pixels (hint: at most {side})"));
    }
    Ok(Box::new(Median { size, window }))
}

impl Stage for Median {
    fn apply(&self, image: &[f32], _: &mut Stream) -> Vec<f32> {
        median::chosen(image, self.size, self.window).into_iter().map(|i| image[i]).collect()
    }

    fn back(&self, image: &[f32], slope: Vec<f32>, _: &mut Stream) -> Vec<f32> {
        let mut to = vec![0.0; slope.len()];
        median::chosen(image, self.size, self.window).into_iter().zip(slope).for_each(|(i, s)| to[i] += s);
        to
    }
}
