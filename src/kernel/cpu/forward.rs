//! Images through the convolutions: a stage at a time, fewer images through the earlier ones.

use super::compiled::Cpu;
use super::convolve::forward;
use super::crew::Crew;
use super::finish::{PoolBits, Target};
use super::lanes;
use super::layer::Layer;
use super::map::{Buffer, padded};
use super::workspace::Workspace;
use crate::kernel::net::window;
use std::ops::Range;

/// Where images enter the net.
pub struct Start<'a, T> {
    /// First convolution that is computed for all of them.
    pub layer: usize,
    /// Writes what that layer reads, for a range of a workspace's images.
    pub fill: &'a Fill<'a, T>,
}

/// See [`Start::fill`]: takes the workspace, all its inputs, and the numbers of the images that are wanted.
pub type Fill<'a, T> = dyn Fn(&mut Workspace, &[T], Range<usize>, &mut Crew) + Sync + 'a;

impl Workspace {
    pub fn new(cpu: &Cpu) -> Workspace {
        let bits = |layer: &Layer| cpu.shard() * layer.side_after().pow(2) * padded(layer.outputs) / lanes::LANES;
        let of = |pooled: bool| cpu.layers.iter().map(move |l| if l.pooled == pooled { bits(l) } else { 0 });
        Workspace {
            images: Buffer::new(cpu.images.len()),
            maps: cpu.maps.iter().map(|m| Buffer::new(m.len())).collect(),
            relu: of(false).map(|len| vec![0; len]).collect(),
            pool: of(true).map(|len| vec![PoolBits::default(); len]).collect(),
        }
    }

    /// Images to what the first fully connected layer reads.
    pub fn forward<T>(&mut self, cpu: &Cpu, inputs: &[T], start: &Start<T>, features: &mut [f32], crew: &mut Crew) {
        let stride = cpu.linears[0].stride;
        let images = features.len() / stride;
        self.forward_stage(cpu, cpu.chunks.len() - 1, 0..images, (inputs, start), crew);
        for (image, features) in features.chunks_exact_mut(stride).enumerate() {
            self.average(cpu, image, features);
        }
    }

    /// Takes images from where they start through all stages up to `stage`: fewer at a time through the earlier ones.
    pub fn forward_stage<T>(
        &mut self,
        cpu: &Cpu,
        stage: usize,
        images: Range<usize>,
        from: (&[T], &Start<T>),
        crew: &mut Crew,
    ) {
        let (inputs, start) = from;
        if stage > cpu.layers[start.layer].stage {
            let chunk = cpu.chunks[stage - 1];
            for first in images.clone().step_by(chunk) {
                self.forward_stage(cpu, stage - 1, first..(first + chunk).min(images.end), from, crew);
            }
        } else {
            (start.fill)(self, inputs, images.clone(), crew);
        }
        for i in (start.layer..cpu.layers.len()).filter(|i| cpu.layers[*i].stage == stage) {
            self.forward_layer(cpu, i, images.clone(), crew);
        }
    }

    /// 3×H×W in [0,1] to H×W×3, normalised.
    pub fn normalise(&mut self, cpu: &Cpu, images: Range<usize>, pixels: &[f32]) {
        let values = 3 * cpu.side * cpu.side;
        for image in images {
            cpu.normalise(&pixels[image * values..][..values], &mut self.images[cpu.images.corner(image)..]);
        }
    }

    pub fn forward_layer(&mut self, cpu: &Cpu, i: usize, images: Range<usize>, crew: &mut Crew) {
        let layer = &cpu.layers[i];
        let finish = layer.finish(self.relu[i].as_mut_ptr(), self.pool[i].as_mut_ptr());
        let target =
            Target { map: self.maps[layer.map].as_mut_ptr(), layout: cpu.maps[layer.map], side: layer.side, finish };
        let (source, layout) = match i.checked_sub(1).map(|before| cpu.layers[before].map) {
            Some(before) => (&self.maps[before], cpu.maps[before]),
            None => (&self.images, cpu.images),
        };
        forward(cpu, i, (source, layout), target, images, crew);
    }

    /// The last map of an image, averaged, as the first fully connected layer reads it: row, column, channel.
    pub fn average(&self, cpu: &Cpu, image: usize, features: &mut [f32]) {
        let last = cpu.layers.last().expect("never empty");
        let (map, layout) = (&self.maps[last.map], cpu.maps[last.map]);
        for (place, (ys, xs)) in windows(layout.side, cpu.average).enumerate() {
            let features = &mut features[place * last.outputs..][..last.outputs];
            let size = (ys.len() * xs.len()) as f32;
            features.fill(0.0);
            for y in ys {
                for x in xs.clone() {
                    let pixel = &map[layout.at(image, y, x)..][..last.outputs];
                    features.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
                }
            }
            if size > 1.0 {
                features.iter_mut().for_each(|sum| *sum /= size);
            }
        }
    }
}

/// Rows and columns that each output of an average pool averages.
pub fn windows(side: usize, out: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    (0..out * out).map(move |i| (window(i / out, side, out), window(i % out, side, out)))
}
