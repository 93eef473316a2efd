//! Random resizing and padding (Xie et al. 2018). The paper enlarges 299 pixels to at most 331; a network here takes images of one
//! size, so the image is shrunk in that proportion, and grey fills the rest.

use super::stage::{Built, Key, Stage, StageEntry, Values};
use crate::filter::Size;
use crate::filter::resample::{Line, nearest, resample, resample_back};
use crate::rng::Stream;

pub const ENTRY: StageEntry = StageEntry {
    name: "random-resize-pad",
    summary: "resizes by a random factor, and pads at random places",
    source: "Xie et al. 2018",
    keys: &[
        Key {
            name: "smallest",
            default: "299/331",
            least: 0.1,
            most: 1.0,
            whole: false,
            summary: "least side by that of the network; the paper's 299 of 331",
        },
        Key {
            name: "fill",
            default: "0.5",
            least: 0.0,
            most: 1.0,
            whole: false,
            summary: "value of the padding, in [0,1]; that of Athalye et al.'s code",
        },
    ],
    is_random: true,
    has_derivative: true,
    build,
};

struct RandomResizePad {
    size: Size,
    smallest: f64,
    fill: f32,
}

fn build(values: &Values, size: Size) -> Built {
    let smallest = values.get("smallest");
    let least = size.map(|side| (side as f64 * smallest).round() as usize);
    if least == size {
        return Err(format!(
            "smallest = {smallest}: of {} pixels nothing is left to draw (hint: at most {})",
            size[0].min(size[1]),
            1.0 - 1.0 / size[0].min(size[1]) as f64
        ));
    }
    Ok(Box::new(RandomResizePad { size, smallest, fill: values.get("fill") as f32 }))
}

/// Rows and columns of the small image, and where it begins.
struct Placing {
    lines: [Line; 2],
    at: Size,
}

impl RandomResizePad {
    /// The side is drawn first, from the least to one below the whole (TensorFlow's `random_uniform` leaves out its end).
    fn placing(&self, draw: &mut Stream) -> Placing {
        let least = (self.size[0] as f64 * self.smallest).round() as usize;
        let height = least + draw.below(self.size[0] - least);
        let small = [height, (self.size[1] * height / self.size[0]).max(1)];
        let lines = [0, 1].map(|i| nearest(0, self.size[i], small[i]));
        Placing { lines, at: [0, 1].map(|i| draw.below(self.size[i] - small[i] + 1)) }
    }
}

impl Stage for RandomResizePad {
    fn apply(&self, image: &[f32], draw: &mut Stream) -> Vec<f32> {
        let Placing { lines: [rows, columns], at: [top, left] } = self.placing(draw);
        let [height, width] = self.size;
        let small = resample(image, self.size, &rows, &columns);
        let mut out = vec![self.fill; image.len()];
        for (plane, small) in out.chunks_exact_mut(height * width).zip(small.chunks_exact(rows.len() * columns.len())) {
            for (y, row) in small.chunks_exact(columns.len()).enumerate() {
                plane[(top + y) * width + left..][..columns.len()].copy_from_slice(row);
            }
        }
        out
    }

    fn back(&self, _: &[f32], slope: Vec<f32>, draw: &mut Stream) -> Vec<f32> {
        let Placing { lines: [rows, columns], at: [top, left] } = self.placing(draw);
        let [height, width] = self.size;
        let mut small = Vec::new();
        for plane in slope.chunks_exact(height * width) {
            (0..rows.len()).for_each(|y| small.extend(&plane[(top + y) * width + left..][..columns.len()]));
        }
        resample_back(&small, self.size, &rows, &columns)
    }
}
