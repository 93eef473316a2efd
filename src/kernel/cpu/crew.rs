//! Who works on a layer: one thread, or all together.

use super::compiled::Cpu;
use super::map::padded;
use super::unit::as_map;
use super::work::Work;
use super::workspace::Scratch;
use super::{attention, conv, dense, first, stem};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that a thread takes at a time of an image that threads share, or several lattices.
const ROWS_TOGETHER: usize = 8;

/// Who works on a layer.
pub enum Crew<'a> {
    /// One thread with its scratch.
    Alone(&'a mut Scratch),
    /// All threads together.
    Team(&'a Cpu),
}

impl Scratch {
    pub fn new(cpu: &Cpu) -> Scratch {
        let (mut channels, mut outputs) = (0, 0);
        for u in &cpu.units {
            match &u.work {
                Work::Winograd(kernels, _) => channels = kernels.inputs.max(kernels.outputs).max(channels),
                Work::First(_) => outputs = padded(as_map(&u.unit.shape)[0]),
                _ => {}
            }
        }
        Scratch::of_channels(channels, if outputs > 0 { cpu.size[1] } else { 0 }, outputs)
    }

    /// For Winograd convolutions over at most so many padded channels, and a first convolution of images of this width to so many
    /// outputs.
    pub fn of_channels(channels: usize, width: usize, outputs: usize) -> Scratch {
        Scratch {
            conv: conv::Scratch::new(channels),
            first: first::Scratch::new(width, outputs),
            dense: dense::Scratch::new(),
            stem: stem::Scratch::default(),
            attention: attention::Scratch::default(),
        }
    }
}

impl Crew<'_> {
    /// Does every piece.
    pub fn each(&mut self, pieces: usize, work: impl Fn(usize, &mut Scratch) + Sync) {
        match self {
            Crew::Alone(scratch) => (0..pieces).for_each(|i| work(i, scratch)),
            Crew::Team(cpu) => (0..pieces).into_par_iter().with_max_len(1).for_each(|i| {
                let mut scratch = cpu.scratches.take(|| Scratch::new(cpu));
                work(i, &mut scratch);
                cpu.scratches.give_back(scratch);
            }),
        }
    }

    /// How many threads share the work.
    pub fn size(&self) -> usize {
        match self {
            Crew::Alone(_) => 1,
            Crew::Team(_) => rayon::current_num_threads(),
        }
    }

    /// Rows of a map in pieces: all of them for one thread.
    pub fn bands(&self, rows: usize) -> Vec<Range<usize>> {
        if self.size() == 1 { std::iter::once(0..rows).collect() } else { bands_of(rows) }
    }
}

/// Rows of a map, a few at a time.
pub fn bands_of(rows: usize) -> Vec<Range<usize>> {
    (0..rows).step_by(ROWS_TOGETHER).map(|y| y..(y + ROWS_TOGETHER).min(rows)).collect()
}
