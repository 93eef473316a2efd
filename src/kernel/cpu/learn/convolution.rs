//! Convolutions of a batch: the engine's, with weights that change.

use super::super::conv::{Block, tiles_of_block, tiles_of_image};
use super::super::dense::{self, Channels, Dense};
use super::super::finish::{Finish, Operand, Target};
use super::super::map::{Buffer, padded};
use super::super::unit::WINOGRAD;
use super::super::winograd::Kernels;
use super::super::work::{Work, convolution};
use super::super::workspace::Shared;
use super::super::{first, stem};
use super::crew::Crew;
use super::maps::Maps;
use super::weight::Geometry;
use crate::kernel::graph::Window;

/// A convolution with bias.
pub struct Convolution {
    pub from: usize,
    pub to: usize,
    window: Window,
    channels: Channels,
    /// Height and width of what it reads and of what it makes.
    sizes: [[usize; 2]; 2],
    tensors: (usize, Option<usize>),
    work: Option<Work>,
    bias: Buffer,
}

impl Convolution {
    /// Between values of these shapes.
    pub fn new(
        [from, to]: [usize; 2],
        window: Window,
        groups: usize,
        [shape_in, shape_out]: [&[usize]; 2],
        tensors: (usize, Option<usize>),
    ) -> Convolution {
        let channels = Channels { inputs: shape_in[0], outputs: shape_out[0], groups, of_images: from == 0 };
        Convolution {
            from,
            to,
            window,
            channels,
            sizes: [shape_in, shape_out].map(|shape| [shape[1], shape[2]]),
            tensors,
            work: None,
            bias: Buffer::new(padded(shape_out[0])),
        }
    }

    pub fn reads_images(&self) -> bool {
        self.channels.of_images
    }

    /// Zeros around a map that spare windows all looking whether they lie on it.
    pub fn border(&self) -> usize {
        self.window.padding.into_iter().max().unwrap_or(0)
    }

    /// Padded channels on the wider side, if it is computed by Winograd's algorithm.
    pub fn winograd_channels(&self) -> usize {
        match self.window == WINOGRAD && self.channels.groups == 1 && !self.channels.of_images {
            true => padded(self.channels.inputs.max(self.channels.outputs)),
            false => 0,
        }
    }

    /// Padded outputs, if it is the engine's first convolution.
    pub fn first_outputs(&self) -> usize {
        if self.window == WINOGRAD && self.channels.of_images { padded(self.channels.outputs) } else { 0 }
    }

    pub fn set(&mut self, tensors: &[Vec<f32>]) {
        let (weight, bias) = self.tensors;
        self.work = Some(convolution(self.window, self.channels, tensors[weight].clone(), self.sizes[0]));
        if let Some(bias) = bias {
            self.bias[..self.channels.outputs].copy_from_slice(&tensors[bias]);
        }
    }

    fn work(&self) -> &Work {
        self.work.as_ref().expect("weights are set before a batch")
    }

    pub fn forward(&self, maps: &mut Maps, crew: &Crew) {
        let (images, source, to) = (maps.images, maps.operand(self.from), maps.into(self.to));
        let finish = Finish::Bias { bias: self.bias.as_ptr() };
        let target = Target { map: to.map, layout: to.layout, size: self.sizes[1], add: None, finish };
        match self.work() {
            Work::First(first) => crew.spread(images, 1, |images, scratch| {
                for image in images {
                    let (source, rows) = ({ source }, 0..self.sizes[1][0]);
                    let part = first::Forward { first, source: source.map, layout: source.layout, target, image, rows };
                    // SAFETY: the maps hold the batch, and images are normalised; pieces write different images
                    unsafe { (crew.table.first_forward)(&part, &mut scratch.first) }
                }
            }),
            Work::Winograd(kernels, _) => winograd(crew, kernels, source, target, images),
            Work::Stem(dense, _) | Work::Dense(dense, _) => by_windows(crew, dense, source, target, images),
            _ => unreachable!("convolutions that learners know"),
        }
    }

    /// The gradient with respect to what it reads, added to what is there of it.
    pub fn backward(&self, maps: &mut Maps, crew: &Crew) {
        let (images, source) = (maps.images, maps.gradient(self.to).read());
        let (to, adds) = maps.part(self.from);
        let add = adds.then(|| to.read());
        let target = Target { map: to.map, layout: to.layout, size: self.sizes[0], add, finish: Finish::Pass };
        match self.work() {
            Work::Winograd(_, back) => winograd(crew, back, source, target, images),
            Work::Dense(_, back) => by_windows(crew, back, source, target, images),
            _ => unreachable!("convolutions that learners know"),
        }
    }

    /// The gradient with respect to the images, for the one that reads them.
    pub fn backward_images(&self, maps: &mut Maps, crew: &Crew, of_images: &mut [f32]) {
        let (images, gradient, std) = (maps.images, maps.gradient(self.to).read(), maps.std);
        let ([height, width], to) = (self.sizes[0], Shared(of_images.as_mut_ptr()));
        assert!(of_images.len() == images * 3 * height * width);
        crew.spread(images, 1, |images, scratch| {
            for image in images {
                let (gradient, rows) = ({ gradient }, 0..height);
                let mut put = |y: usize, row: &[f32]| {
                    for (c, std) in std.iter().enumerate() {
                        let at = ((image * 3 + c) * height + y) * width;
                        // SAFETY: row y of a plane of this image, which only this piece writes
                        let line = unsafe { std::slice::from_raw_parts_mut(to.get().add(at), width) };
                        line.iter_mut().zip(row[c..].iter().step_by(3)).for_each(|(to, g)| *to = g / std);
                    }
                };
                let (layout, source) = (gradient.layout, gradient.map);
                // SAFETY: the map holds the batch
                unsafe {
                    match self.work() {
                        Work::First(first) => {
                            let part = first::Backward { first, gradient: source, layout, image, rows };
                            (crew.table.first_backward)(&part, &mut scratch.first, &mut put);
                        }
                        Work::Stem(_, stem) => {
                            let size = [height, width];
                            let part = stem::Backward { stem, gradient: source, layout, image, size, rows };
                            (crew.table.stem_backward)(&part, &mut scratch.stem, &mut put);
                        }
                        _ => unreachable!("it reads images"),
                    }
                }
            }
        });
    }

    /// Adds the gradient with respect to weights and bias.
    pub fn add_weights(&self, maps: &mut Maps, crew: &Crew, weights: &mut [Vec<f32>]) {
        let (gradient, images) = (maps.gradient(self.to).read(), maps.images);
        let (weight, bias) = self.tensors;
        let geometry = Geometry { window: self.window, channels: self.channels, images };
        geometry.add(crew, maps.operand(self.from), gradient, &mut weights[weight]);
        if let Some(bias) = bias {
            let sums = geometry.sums(crew, gradient);
            weights[bias].iter_mut().zip(sums).for_each(|(to, sum)| *to += sum as f32);
        }
    }
}

/// A 3×3 convolution by Winograd's algorithm, tiles by tiles.
fn winograd(crew: &Crew, kernels: &Kernels, source: Operand, target: Target, images: usize) {
    let tiles = images * tiles_of_image(kernels.form, source.layout.size);
    crew.spread(tiles, tiles_of_block(kernels.inputs), |tiles, scratch| {
        let part = Block {
            kernels,
            source: { source }.map,
            layout: source.layout,
            target,
            first: 0,
            tiles,
            panels: 0..kernels.panels(),
        };
        // SAFETY: source and target are different maps that hold the batch; pieces write different tiles
        unsafe { (crew.table.block)(&part, &mut scratch.conv) }
    });
}

/// Any convolution by packed windows, outputs by outputs.
fn by_windows(crew: &Crew, dense: &Dense, source: Operand, target: Target, images: usize) {
    for phase in &dense.phases {
        let [down, across] = phase.lattice.count(target.size);
        crew.spread(images * down * across, phase.rows(), |outputs, scratch| {
            let part = dense::Part {
                dense,
                phase,
                source,
                target,
                shift: [0; 2],
                first: 0,
                outputs,
                panels: 0..dense.panels(),
            };
            // SAFETY: as above; phases write different places
            unsafe { (crew.table.dense)(&part, &mut scratch.dense) }
        });
    }
}
