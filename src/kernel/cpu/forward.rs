//! Images through the units: a stage at a time, fewer images through the earlier ones.

use super::compiled::Cpu;
use super::convolve::Job;
use super::crew::Crew;
use super::finish::{Finish, Operand, Target};
use super::map::{Buffer, Layout};
use super::other;
use super::program::{Compiled, size_of};
use super::rows::RowWork;
use super::unit::as_map;
use super::work::Work;
use super::workspace::{Kept, Shared, Workspace};
use crate::kernel::graph::Activation;
use std::ops::Range;
use std::ptr;

/// Where images enter the network.
pub struct Start<'a, T> {
    /// First unit that is computed for all of them.
    pub unit: usize,
    /// Writes what units from that one on read of those before, for a range of a workspace's images.
    pub fill: &'a Fill<'a, T>,
}

/// See [`Start::fill`]: takes the workspace, all its inputs, and the numbers of the images that are wanted.
pub type Fill<'a, T> = dyn Fn(&mut Workspace, &[T], Range<usize>, &mut Crew) + Sync + 'a;

impl Workspace {
    pub fn new(cpu: &Cpu) -> Workspace {
        Workspace {
            images: Buffer::new(cpu.images.len()),
            maps: cpu.program.layouts.iter().map(|m| Buffer::new(m.len())).collect(),
            kept: cpu.units.iter().map(|u| Kept::new(&u.kept(), cpu.shard())).collect(),
            keeps: true,
        }
    }

    /// Images to what the first fully connected layer reads, or the logits, where there is none.
    pub fn forward<T>(&mut self, cpu: &Cpu, inputs: &[T], start: &Start<T>, features: &mut [f32], crew: &mut Crew) {
        let images = features.len() / cpu.stride;
        self.forward_stage(cpu, cpu.chunks.len() - 1, 0..images, (inputs, start), crew);
        let (channels, _) = size_of(cpu.shape(cpu.features));
        let (slot, _) = cpu.program.features;
        for (image, features) in features.chunks_exact_mut(cpu.stride).enumerate() {
            for (pixel, features) in features.chunks_exact_mut(channels).take(slot.layout.pixels()).enumerate() {
                let at = slot.layout.at(image, pixel / slot.layout.size[1], pixel % slot.layout.size[1]);
                features.copy_from_slice(&self.maps[slot.buffer][at..at + channels]);
            }
        }
    }

    /// Takes images from where they start through all stages up to `stage`: fewer at a time through the earlier ones.
    fn forward_stage<T>(
        &mut self,
        cpu: &Cpu,
        stage: usize,
        images: Range<usize>,
        from: (&[T], &Start<T>),
        crew: &mut Crew,
    ) {
        let (inputs, start) = from;
        if stage > cpu.units[start.unit].stage {
            let chunk = cpu.chunks[stage - 1];
            for first in images.clone().step_by(chunk) {
                self.forward_stage(cpu, stage - 1, first..(first + chunk).min(images.end), from, crew);
            }
        } else {
            (start.fill)(self, inputs, images.clone(), crew);
        }
        for i in (start.unit..cpu.units.len()).filter(|i| cpu.units[*i].stage == stage) {
            self.forward_unit(cpu, i, images.clone(), crew);
        }
    }

    /// 3×H×W in [0,1] to H×W×3, normalised.
    pub fn normalise(&mut self, cpu: &Cpu, images: Range<usize>, pixels: &[f32]) {
        for image in images {
            let pixels = &pixels[image * cpu.values()..][..cpu.values()];
            cpu.normalise(pixels, &mut self.images[cpu.images.corner(image)..]);
        }
    }

    /// A value on its way forward.
    fn value(&self, cpu: &Cpu, value: usize) -> Operand {
        match value.checked_sub(1) {
            None => Operand { map: self.images.as_ptr(), layout: cpu.images },
            Some(unit) => self.operand(cpu.program.slots[cpu.units[unit].map]),
        }
    }

    /// One unit over some images.
    pub fn forward_unit(&mut self, cpu: &Cpu, i: usize, images: Range<usize>, crew: &mut Crew) {
        let u = &cpu.units[i];
        let sources: Vec<Operand> = u.unit.reads.iter().map(|v| self.value(cpu, *v)).collect();
        let add = u.unit.add.map(|v| self.value(cpu, v));
        let mut kept = self.keeps.then_some(&mut self.kept[i]);
        let (_, size) = size_of(&u.unit.before_pool);
        let finish = u.finish(kept.as_deref_mut());
        let slot = cpu.program.slots[u.map];
        let target = Target { map: self.maps[slot.buffer].as_mut_ptr(), layout: slot.layout, size, add, finish };
        // a constant reads nothing
        let source = sources.first().copied().unwrap_or(Operand { map: ptr::null(), layout: target.layout });
        let job = Job { table: cpu.table, source, target, images, crew, shift: [0; 2] };
        u.compute(job, sources, kept);
    }
}

impl Compiled {
    /// Computes the operation over the images of a job; what its way back needs goes to what is kept, if that is wanted.
    pub fn compute(&self, mut job: Job, sources: Vec<Operand>, kept: Option<&mut Kept>) {
        let (won, values) = kept
            .map_or((ptr::null_mut(), None), |kept| (kept.won.as_mut_ptr(), Some(Shared(kept.values.as_mut_ptr()))));
        match &self.work {
            Work::First(first) => job.first(first),
            Work::Winograd(kernels, _) => job.winograd(kernels),
            Work::Stem(dense, _) | Work::Dense(dense, _) => job.dense(dense),
            Work::Depthwise(lattice, _, weights) => job.depthwise(std::slice::from_ref(lattice), weights),
            Work::Lift(factor, shift) => job.rows(RowWork::Lift { factor, shift }),
            Work::Scale(factor, shift) => job.rows(RowWork::Scale { factor, shift }),
            Work::MaxPool(window) => job.max_pool(window, won),
            Work::LayerNorm(factor, shift, eps) => {
                let channels = as_map(&self.unit.shape)[0];
                let kept = values.map_or(ptr::null_mut(), Shared::get);
                job.rows(RowWork::LayerNorm { factor, shift, eps: *eps, channels, kept });
            }
            Work::Attention(heads) => job.attention(*heads, &self.unit.shape, values, false),
            Work::Average(windows) => job.rows(RowWork::Average { windows }),
            Work::Concat => {
                let mut to = 0;
                for (source, shape) in sources.into_iter().zip(&self.unit.inputs) {
                    job.source = source;
                    let channels = as_map(shape)[0];
                    job.rows(RowWork::Copy { from: 0, to, channels });
                    to += channels;
                }
            }
            Work::Other(op) => {
                let (inputs, u) = (other::Inputs { maps: sources, shapes: &self.unit.inputs }, &self.unit);
                job.each_image(|image, target| {
                    let kept = values.map(|kept| Shared(kept.get().wrapping_add(image * u.numbers())));
                    // SAFETY: the maps hold the image; each piece has its own
                    unsafe { other::forward(op, &inputs, target, &u.shape, image, kept) }
                });
            }
        }
    }

    /// What follows the operation on the way forward; what its way back needs goes to what is kept, if that is wanted.
    pub fn finish(&self, kept: Option<&mut Kept>) -> Finish {
        let bias = self.bias.as_ptr();
        let nothing = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let (bits, pool, slopes) =
            kept.map_or(nothing, |kept| (kept.bits.as_mut_ptr(), kept.pool.as_mut_ptr(), kept.slopes.as_mut_ptr()));
        match self.unit.activation {
            Some(_) if self.unit.pooled => Finish::Pool { bias, bits: pool },
            Some(Activation::Relu) => Finish::Relu { bias, bits },
            Some(Activation::Clip { low, high }) => Finish::Clip { bias, bounds: [low as f32, high as f32], bits },
            Some(function) => Finish::Smooth { bias, function, slopes },
            None => Finish::Bias { bias },
        }
    }
}

impl Cpu {
    /// Layout of a value's map.
    pub(super) fn layout_of(&self, value: usize) -> Layout {
        self.program.slots[self.units[value - 1].map].layout
    }

    /// Shape of a value.
    pub(super) fn shape(&self, value: usize) -> &[usize] {
        &self.units[value - 1].unit.shape
    }
}
