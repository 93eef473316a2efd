//! The gradient back through the convolutions, by the bits that the way forward left.

use super::compiled::Cpu;
use super::convolve::{bands, convolve};
use super::crew::Crew;
use super::finish::{Finish, Target};
use super::first;
use super::forward::windows;
use super::lanes;
use super::map::padded;
use super::workspace::{Shared, Workspace};
use std::ops::Range;

impl Workspace {
    /// Gradient with respect to the features to that with respect to the images.
    pub fn backward(&mut self, cpu: &Cpu, gradient: &[f32], of_images: &mut [f32], crew: &mut Crew) {
        let values = 3 * cpu.side * cpu.side;
        let images = of_images.len() / values;
        let of_image = gradient.len() / images;
        for (image, gradient) in gradient.chunks_exact(of_image).enumerate() {
            self.spread(cpu, image, gradient);
        }
        self.backward_stage(cpu, cpu.chunks.len() - 1, 0..images, of_images, crew);
    }

    /// The gradient of [`Workspace::average`], through the last layer's pool and ReLU.
    pub fn spread(&mut self, cpu: &Cpu, image: usize, gradient: &[f32]) {
        let i = cpu.layers.len() - 1;
        let last = &cpu.layers[i];
        let side = last.side_after();
        let channels = padded(last.outputs);
        let mut pooled = vec![0.0; side * side * channels];
        for (place, (ys, xs)) in windows(side, cpu.average).enumerate() {
            let gradient = &gradient[place * last.outputs..][..last.outputs];
            let size = (ys.len() * xs.len()) as f32;
            for y in ys {
                for x in xs.clone() {
                    let pixel = &mut pooled[(y * side + x) * channels..][..last.outputs];
                    pixel.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g / size);
                }
            }
        }
        let (map, layout) = (&mut self.maps[last.gradient], cpu.maps[last.gradient]);
        for (group, gradient) in pooled.as_chunks::<{ lanes::LANES }>().0.iter().enumerate() {
            let groups = channels / lanes::LANES;
            let (pixel, channel) = (group / groups, group % groups * lanes::LANES);
            let (y, x) = (pixel / side, pixel % side);
            let bits = image * side * side * groups + group;
            for (lane, g) in gradient.iter().enumerate() {
                let channel = channel + lane;
                if last.pooled {
                    let (open, winner) = self.pool[i][bits].lane(lane);
                    for corner in 0..4 {
                        map[layout.at(image, 2 * y + corner / 2, 2 * x + corner % 2) + channel] =
                            if open && corner == winner { *g } else { 0.0 };
                    }
                } else {
                    let open = self.relu[i][bits] >> lane & 1 == 1;
                    map[layout.at(image, y, x) + channel] = if open { *g } else { 0.0 };
                }
            }
        }
    }

    pub fn backward_stage(
        &mut self,
        cpu: &Cpu,
        stage: usize,
        images: Range<usize>,
        of_images: &mut [f32],
        crew: &mut Crew,
    ) {
        for i in (0..cpu.layers.len()).rev().filter(|i| cpu.layers[*i].stage == stage) {
            match i.checked_sub(1) {
                Some(before) => self.backward_layer(cpu, i, before, images.clone(), crew),
                None => self.backward_first(cpu, images.clone(), of_images, crew),
            }
        }
        if let Some(before) = stage.checked_sub(1) {
            for first in images.clone().step_by(cpu.chunks[before]) {
                let some = first..(first + cpu.chunks[before]).min(images.end);
                self.backward_stage(cpu, before, some, of_images, crew);
            }
        }
    }

    /// From the gradient with respect to the output of layer `i` to that of the layer before it.
    pub fn backward_layer(&mut self, cpu: &Cpu, i: usize, before: usize, images: Range<usize>, crew: &mut Crew) {
        let (from, to) = (cpu.layers[i].gradient, cpu.layers[before].gradient);
        let finish = match cpu.layers[before].pooled {
            true => Finish::Unpool { bits: self.pool[before].as_ptr() },
            false => Finish::Mask { bits: self.relu[before].as_ptr() },
        };
        let target = Target { map: self.maps[to].as_mut_ptr(), layout: cpu.maps[to], side: cpu.layers[i].side, finish };
        convolve(cpu, cpu.backward_kernels(i), &self.maps[from], cpu.maps[from], target, images, crew);
    }

    pub fn backward_first(&mut self, cpu: &Cpu, images: Range<usize>, of_images: &mut [f32], crew: &mut Crew) {
        let layer = &cpu.layers[0];
        let (side, plane) = (cpu.side, cpu.side * cpu.side);
        let gradient = Shared(self.maps[layer.gradient].as_mut_ptr());
        assert!(of_images.len() >= images.end * 3 * plane);
        let to = Shared(of_images.as_mut_ptr());
        let bands = bands(side, crew);
        crew.each(images.len() * bands.len(), |piece, scratch| {
            let part = first::Backward {
                first: &cpu.first,
                gradient: gradient.get(),
                layout: cpu.maps[layer.gradient],
                image: images.start + piece / bands.len(),
                rows: bands[piece % bands.len()].clone(),
            };
            let mut put = |y: usize, row: &[f32]| {
                for (c, std) in cpu.std.iter().enumerate() {
                    // SAFETY: row y of a plane of this image, which only this piece writes
                    let line = unsafe {
                        std::slice::from_raw_parts_mut(to.get().add((part.image * 3 + c) * plane + y * side), side)
                    };
                    line.iter_mut().zip(row[c..].iter().step_by(3)).for_each(|(to, g)| *to = g / std);
                }
            };
            // SAFETY: the map holds these images
            unsafe { (cpu.table.first_backward)(&part, &mut scratch.first, &mut put) }
        });
    }
}
