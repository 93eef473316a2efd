//! The gradient back through the units, by what the way forward has kept.

use super::compiled::Cpu;
use super::convolve::Job;
use super::crew::Crew;
use super::finish::{Finish, Operand, Target};
use super::first;
use super::other;
use super::program::{Destination, Part, Slot, size_of};
use super::rows::RowWork;
use super::stem;
use super::unit::as_map;
use super::work::Work;
use super::workspace::{Shared, Workspace};
use crate::kernel::graph::Activation;
use std::ops::Range;

impl Workspace {
    /// Gradient with respect to the features to that with respect to the images.
    pub fn backward(&mut self, cpu: &Cpu, gradient: &[f32], of_images: &mut [f32], crew: &mut Crew) {
        let images = of_images.len() / cpu.values();
        let of_image = gradient.len() / images;
        let (channels, _) = size_of(cpu.shape(cpu.features));
        let (_, slot) = cpu.program.features;
        for (image, gradient) in gradient.chunks_exact(of_image).enumerate() {
            for (pixel, gradient) in gradient.chunks_exact(channels).enumerate() {
                let at = slot.layout.at(image, pixel / slot.layout.size[1], pixel % slot.layout.size[1]);
                let to = &mut self.maps[slot.buffer][at..at + slot.layout.channels];
                to[..channels].copy_from_slice(gradient);
                to[channels..].fill(0.0);
            }
        }
        self.backward_stage(cpu, cpu.chunks.len() - 1, 0..images, of_images, crew);
    }

    fn backward_stage(&mut self, cpu: &Cpu, stage: usize, images: Range<usize>, to: &mut [f32], crew: &mut Crew) {
        for i in (0..cpu.units.len()).rev().filter(|i| cpu.units[*i].stage == stage) {
            self.backward_unit(cpu, i, images.clone(), to, crew);
        }
        if let Some(before) = stage.checked_sub(1) {
            for first in images.clone().step_by(cpu.chunks[before]) {
                let some = first..(first + cpu.chunks[before]).min(images.end);
                self.backward_stage(cpu, before, some, to, crew);
            }
        }
    }

    /// From the gradient with respect to the value of a unit to those with respect to what it reads.
    pub fn backward_unit(&mut self, cpu: &Cpu, i: usize, images: Range<usize>, to: &mut [f32], crew: &mut Crew) {
        let back = &cpu.units[i].back;
        for sum in &back.sums {
            let target = self.target(cpu, i + 1, sum.into);
            let source = self.operand(cpu.program.slots[sum.from]);
            let channels = source.layout.channels;
            let mut job = Job { table: cpu.table, source, target, images: images.clone(), crew, shift: [0; 2] };
            job.rows(RowWork::Copy { from: 0, to: 0, channels });
        }
        let Some(gradient) = back.gradient.map(|map| cpu.program.slots[map]) else { return };
        for part in &back.parts {
            self.backward_part(cpu, i, part, gradient, images.clone(), crew);
        }
        if cpu.units[i].unit.reads.first() == Some(&0) {
            self.backward_images(cpu, i, gradient, images, to, crew);
        }
    }

    fn backward_part(
        &mut self,
        cpu: &Cpu,
        i: usize,
        part: &Part,
        gradient: Slot,
        images: Range<usize>,
        crew: &mut Crew,
    ) {
        let u = &cpu.units[i];
        let target = self.target(cpu, u.unit.reads[part.input], part.into);
        let source = self.operand(gradient);
        let won = self.kept[i].won.as_ptr();
        let mut job = Job { table: cpu.table, source, target, images: images.clone(), crew, shift: [0; 2] };
        match &u.work {
            Work::Winograd(_, back) => job.winograd(back),
            Work::Dense(_, back) => job.dense(back),
            Work::Depthwise(_, back, weights) => job.depthwise(back, weights),
            // the bias of a scale is 0
            Work::Scale(factor, _) => job.rows(RowWork::Scale { factor, shift: &u.bias }),
            Work::MaxPool(window) => job.rows(RowWork::MaxPoolBack { window, won }),
            Work::LayerNorm(factor, ..) => {
                let (channels, kept) = (as_map(&u.unit.shape)[0], self.kept[i].values.as_ptr());
                job.rows(RowWork::LayerNormBack { factor, channels, kept });
            }
            Work::Attention(heads) => {
                let kept = Shared(self.kept[i].values.as_ptr().cast_mut());
                job.attention(*heads, &u.unit.shape, Some(kept), true);
            }
            Work::Average(windows) => job.rows(RowWork::AverageBack { windows }),
            Work::Concat => {
                let channels = |input: usize| as_map(&u.unit.inputs[input])[0];
                let from = (0..part.input).map(channels).sum();
                job.rows(RowWork::Copy { from, to: 0, channels: channels(part.input) });
            }
            Work::Other(op) => {
                let inputs = other::Inputs { maps: Vec::new(), shapes: &u.unit.inputs };
                let (values, shape) = (&self.kept[i].values, &u.unit.inputs[part.input]);
                job.each_image(|image, target| {
                    let kept = other::kept_of(values, image, u.unit.numbers());
                    // SAFETY: the maps hold the image; each piece has its own
                    unsafe {
                        let g = other::backward(op, &inputs, part.input, (source, &u.unit.shape), (image, kept));
                        other::finish(&g, target, shape, image);
                    }
                });
            }
            Work::First(_) | Work::Stem(..) | Work::Lift(..) => unreachable!("they read images only"),
        }
    }

    pub fn operand(&self, slot: Slot) -> Operand {
        Operand { map: self.maps[slot.buffer].as_ptr(), layout: slot.layout }
    }

    /// Where a part of the gradient with respect to a value goes, and what is done with it.
    fn target(&mut self, cpu: &Cpu, value: usize, Destination { to, add, closes }: Destination) -> Target {
        let (u, kept) = (&cpu.units[value - 1].unit, &self.kept[value - 1]);
        let finish = match u.activation.filter(|_| closes) {
            None => Finish::Pass,
            Some(_) if u.pooled => Finish::Unpool { bits: kept.pool.as_ptr() },
            Some(Activation::Relu | Activation::Clip { .. }) => Finish::Mask { bits: kept.bits.as_ptr() },
            Some(_) => Finish::Slopes { slopes: kept.slopes.as_ptr() },
        };
        let (to, add) = (cpu.program.slots[to], add.map(|map| self.operand(cpu.program.slots[map])));
        let (_, size) = size_of(&u.shape);
        Target { map: self.maps[to.buffer].as_mut_ptr(), layout: to.layout, size, add, finish }
    }

    /// The way back of the unit that reads the images.
    fn backward_images(
        &mut self,
        cpu: &Cpu,
        i: usize,
        gradient: Slot,
        images: Range<usize>,
        of_images: &mut [f32],
        crew: &mut Crew,
    ) {
        let [height, width] = cpu.size;
        assert!(of_images.len() >= images.end * cpu.values());
        let (to, source, layout) = (Shared(of_images.as_mut_ptr()), self.operand(gradient), gradient.layout);
        let bands = crew.bands(height);
        crew.each(images.len() * bands.len(), |piece, scratch| {
            let (image, rows) = (images.start + piece / bands.len(), bands[piece % bands.len()].clone());
            let source = { source };
            let mut put = |y: usize, row: &[f32]| {
                for (c, std) in cpu.std.iter().enumerate() {
                    // SAFETY: row y of a plane of this image, which only this piece writes
                    let line = unsafe {
                        std::slice::from_raw_parts_mut(to.get().add(((image * 3 + c) * height + y) * width), width)
                    };
                    line.iter_mut().zip(row[c..].iter().step_by(3)).for_each(|(to, g)| *to = g / std);
                }
            };
            // SAFETY: the map holds these images
            unsafe {
                match &cpu.units[i].work {
                    Work::First(first) => {
                        let part = first::Backward { first, gradient: source.map, layout, image, rows };
                        (cpu.table.first_backward)(&part, &mut scratch.first, &mut put);
                    }
                    Work::Stem(_, stem) => {
                        let size = cpu.size;
                        let part = stem::Backward { stem, gradient: source.map, layout, image, size, rows };
                        (cpu.table.stem_backward)(&part, &mut scratch.stem, &mut put);
                    }
                    Work::Lift(factor, _) => {
                        for y in rows {
                            let colour = |i: usize| *source.map.add(layout.at(image, y, i / 3) + i % 3) * factor[i % 3];
                            put(y, &(0..3 * width).map(colour).collect::<Vec<f32>>());
                        }
                    }
                    _ => unreachable!("another does not read images"),
                }
            }
        });
    }
}
