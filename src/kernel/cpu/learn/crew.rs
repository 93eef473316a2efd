//! What layers of a batch compute with, and how a batch is shared out: in pieces that do not depend on the number of threads.

use super::super::map::Buffer;
use super::super::table::Table;
use super::super::workspace::{Idle, Scratch};
use rayon::prelude::*;
use std::ops::Range;

/// Images whose sums are made together.
pub const GROUP: usize = 8;

/// Pieces that work is cut into at most: enough for any number of cores here.
const PIECES: usize = 64;

/// What every layer computes with.
pub struct Crew {
    pub table: &'static Table,
    scratches: Idle<Scratch>,
    /// Sums of weight gradients.
    pub sums: Idle<Buffer>,
    /// What scratches are made for: padded channels of Winograd convolutions, width of images, padded outputs of the first
    /// convolution.
    widest: [usize; 3],
}

impl Crew {
    pub fn new(table: &'static Table, widest: [usize; 3]) -> Crew {
        Crew { table, scratches: Idle::new(), sums: Idle::new(), widest }
    }

    /// Work on `total` things, `most` at a time.
    pub fn spread(&self, total: usize, most: usize, work: impl Fn(Range<usize>, &mut Scratch) + Sync) {
        if total == 0 {
            return;
        }
        let of_piece = total.div_ceil(PIECES).next_multiple_of(most);
        (0..total.div_ceil(of_piece)).into_par_iter().with_max_len(1).for_each(|piece| {
            let mut scratch =
                self.scratches.take(|| Scratch::of_channels(self.widest[0], self.widest[1], self.widest[2]));
            let end = ((piece + 1) * of_piece).min(total);
            for first in (piece * of_piece..end).step_by(most) {
                work(first..(first + most).min(end), &mut scratch);
            }
            self.scratches.give_back(scratch);
        });
    }

    /// Sums over a batch, in double precision: those of each group of images, added up in order.
    pub fn totals(&self, images: usize, length: usize, work: impl Fn(Range<usize>, &mut [f64]) + Sync) -> Vec<f64> {
        let groups = images.div_ceil(GROUP);
        let mut parts = vec![0.0; groups * length];
        parts.par_chunks_exact_mut(length.max(1)).with_max_len(1).enumerate().for_each(|(group, part)| {
            work(group * GROUP..((group + 1) * GROUP).min(images), part);
        });
        let mut sums = vec![0.0; length];
        for part in parts.chunks_exact(length.max(1)) {
            sums.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
        }
        sums
    }

    /// Work on images, a group at a time.
    pub fn groups(&self, images: usize, work: impl Fn(Range<usize>) + Sync) {
        let groups = images.div_ceil(GROUP);
        (0..groups).into_par_iter().with_max_len(1).for_each(|group| {
            work(group * GROUP..((group + 1) * GROUP).min(images));
        });
    }
}
