//! The maps of a batch, and their gradients, which lie in memory that is used again and again.

use super::super::batch_norm::Into;
use super::super::finish::Operand;
use super::super::map::{Buffer, Layout};
use crate::kernel::Graph;
use rayon::prelude::*;

/// A value that is a map.
pub struct Map {
    /// Channels without padding.
    pub channels: usize,
    pub layout: Layout,
    pub buffer: Buffer,
    /// How its gradient lies, and where it is as long as it is needed.
    pub of_gradient: Layout,
    pub gradient: Option<Buffer>,
}

/// All of them, by the numbers of their values; vectors, and values that are never stored, are empty. Value 0: the images.
pub struct Maps {
    pub values: Vec<Map>,
    /// How many are in the batch.
    pub images: usize,
    /// Buffers of gradients that nobody needs now.
    spare: Vec<(Layout, Buffer)>,
    size: [usize; 2],
    mean: [f32; 3],
    pub std: [f32; 3],
}

impl Maps {
    /// Of a graph: channels, height and width of each stored map, whether it needs a border, and whether its gradient does;
    /// and the zeros around images.
    pub fn new(graph: &Graph<f32>, stored: &[Option<[bool; 2]>], border: usize) -> Maps {
        let map = |(value, stored): (usize, &Option<[bool; 2]>)| match (graph.shape(value), stored) {
            (&[channels, height, width], Some([border, of_gradient])) => Map {
                channels,
                layout: Layout::new(channels, [height, width], *border, 0),
                buffer: Buffer::default(),
                of_gradient: Layout::new(channels, [height, width], *of_gradient, 0),
                gradient: None,
            },
            _ => Map {
                channels: 0,
                layout: Layout::new(0, [0, 0], false, 0),
                buffer: Buffer::default(),
                of_gradient: Layout::new(0, [0, 0], false, 0),
                gradient: None,
            },
        };
        let mut values: Vec<Map> = stored.iter().enumerate().map(map).collect();
        let [height, width] = graph.size();
        let [high, wide] = [height, width].map(|n| n + 2 * border);
        values[0].channels = 3;
        values[0].layout =
            Layout { channels: 3, size: [height, width], border, row: wide * 3, image: high * wide * 3, capacity: 0 };
        let [mean, std] = [graph.mean, graph.std].map(|numbers| numbers.map(|v| v as f32));
        Maps { values, images: 0, spare: Vec::new(), size: graph.size(), mean, std }
    }

    /// Numbers of an image.
    pub fn image_values(&self) -> usize {
        3 * self.size[0] * self.size[1]
    }

    /// A batch of images 3×H×W in [0,1], normalised.
    pub fn begin(&mut self, images: &[f32]) {
        let of_image = self.image_values();
        assert!(images.len().is_multiple_of(of_image), "images of another size");
        let n = images.len() / of_image;
        self.images = n;
        if n > self.values[0].layout.capacity {
            self.spare.clear();
            for map in &mut self.values {
                (map.layout.capacity, map.of_gradient.capacity) = (n, n);
                (map.buffer, map.gradient) = (Buffer::new(map.layout.len()), None);
            }
        }
        for value in 0..self.values.len() {
            self.drop_gradient(value);
        }
        let (layout, [height, width]) = (self.values[0].layout, self.size);
        let (mean, std) = (self.mean, self.std);
        let to = self.values[0].buffer.par_chunks_exact_mut(layout.image);
        to.zip(images.par_chunks_exact(of_image)).for_each(|(to, pixels)| {
            for y in 0..height {
                let row = &mut to[layout.inside(y, 0)..][..3 * width];
                for (c, (mean, std)) in mean.iter().zip(&std).enumerate() {
                    let line = &pixels[(c * height + y) * width..][..width];
                    row[c..].iter_mut().step_by(3).zip(line).for_each(|(to, v)| *to = (v - mean) / std);
                }
            }
        });
    }

    /// A map to be read.
    pub fn operand(&self, value: usize) -> Operand {
        let map = &self.values[value];
        Operand { map: map.buffer.as_ptr(), layout: map.layout }
    }

    /// A map to be written.
    pub fn into(&mut self, value: usize) -> Into {
        let map = &mut self.values[value];
        Into { map: map.buffer.as_mut_ptr(), layout: map.layout }
    }

    /// A gradient that is there, to be read and written in place.
    ///
    /// # Panics
    /// Where it is not: no value after it reads this one.
    pub fn gradient(&mut self, value: usize) -> Into {
        let map = &mut self.values[value];
        let buffer = map.gradient.as_mut().expect("a value that is read later");
        Into { map: buffer.as_mut_ptr(), layout: map.of_gradient }
    }

    /// A gradient that is written, and whether it is there already, so that it must be added to.
    pub fn part(&mut self, value: usize) -> (Into, bool) {
        let is_there = self.values[value].gradient.is_some();
        if !is_there {
            let layout = self.values[value].of_gradient;
            let spare = self.spare.iter().position(|(of, _)| *of == layout);
            let buffer = spare.map(|i| self.spare.swap_remove(i).1);
            self.values[value].gradient = Some(buffer.unwrap_or_else(|| Buffer::new(layout.len())));
        }
        (self.gradient(value), is_there)
    }

    /// A gradient that begins as zeros.
    pub fn cleared(&mut self, value: usize) -> Into {
        let (into, is_there) = self.part(value);
        if !is_there {
            let map = &mut self.values[value];
            map.gradient.as_mut().expect("just made").fill(0.0);
        }
        into
    }

    /// Hands the gradient of one value, which nobody needs any more, on to another, if that has none yet and its own would lie
    /// the same way.
    pub fn hand_on(&mut self, from: usize, to: usize) -> bool {
        let fits = self.values[to].gradient.is_none() && self.values[to].of_gradient == self.values[from].of_gradient;
        if fits {
            self.values[to].gradient = self.values[from].gradient.take();
        }
        fits
    }

    /// Nobody needs this gradient any more.
    pub fn drop_gradient(&mut self, value: usize) {
        let map = &mut self.values[value];
        if let Some(buffer) = map.gradient.take() {
            self.spare.push((map.of_gradient, buffer));
        }
    }

    /// Takes the gradient of a map from that of the vector that it was made.
    pub fn take_flat(&mut self, value: usize, gradient: &[f32]) {
        let (channels, [height, width]) = (self.values[value].channels, self.values[value].layout.size);
        let layout = self.cleared(value).layout;
        let to = self.values[value].gradient.as_mut().expect("just made");
        for (image, gradient) in gradient.chunks_exact(channels * height * width).enumerate() {
            for (i, g) in gradient.iter().enumerate() {
                let (c, y, x) = (i / (height * width), i / width % height, i % width);
                to[layout.at(image, y, x) + c] += g;
            }
        }
    }
}
