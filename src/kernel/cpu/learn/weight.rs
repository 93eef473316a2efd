//! The gradient of a convolution with respect to its weights: for every tap the sum, over all places of the batch, of what the tap
//! saw times the gradient of the output.

use super::super::batch_norm::Work;
use super::super::dense::Channels;
use super::super::finish::Operand;
use super::super::lanes::LANES;
use super::super::map::Buffer;
use super::super::outer::{Outer, Places};
use super::super::workspace::Shared;
use super::crew::{Crew, GROUP};
use crate::kernel::graph::Window;
use rayon::prelude::*;
use std::ops::Range;

/// More sums than this are made once for the whole batch, and not once for every group of images.
const HEAVY: usize = 1 << 18;

/// Rows of sums that a piece makes where the whole batch goes into each.
const ROWS: usize = 64;

/// Floats of both sides that a piece goes through at a time: what stays in the second cache.
const TOGETHER: usize = 1 << 16;

/// A convolution as its weights see it.
pub struct Geometry {
    pub window: Window,
    pub channels: Channels,
    pub images: usize,
}

/// Some taps that lie side by side, and channels of what they see.
struct Piece {
    /// Row of the window, and first column.
    tap: [usize; 2],
    /// Group of channels.
    group: usize,
    /// Rows of sums: number of the first channel, counted from the first of the group and on through the taps, and how many.
    rows: Range<usize>,
}

/// How channels lie: groups taken together until they fill vectors, and channels of each of those.
struct Groups {
    count: usize,
    inputs: usize,
    outputs: usize,
}

impl Geometry {
    fn groups(&self, x: &Operand, gradient: &Operand) -> Groups {
        let Channels { inputs, outputs, groups, .. } = self.channels;
        let fills = |m: &usize| (outputs / groups * m).is_multiple_of(LANES);
        let together = (1..groups).filter(|m| groups.is_multiple_of(*m)).find(fills).unwrap_or(groups);
        match groups / together {
            1 => Groups { count: 1, inputs: x.layout.channels, outputs: gradient.layout.channels },
            count => Groups { count, inputs: inputs / count, outputs: outputs / count },
        }
    }

    /// Adds the gradient outputs × inputs a group × height × width.
    pub fn add(&self, crew: &Crew, x: Operand, gradient: Operand, to: &mut [f32]) {
        let groups = self.groups(&x, &gradient);
        let [down, across] = self.window.size;
        let length = groups.count * down * across * groups.inputs * groups.outputs;
        let parts: Vec<Range<usize>> = match length > HEAVY {
            true => std::iter::once(0..self.images).collect(),
            false => (0..self.images).step_by(GROUP).map(|i| i..(i + GROUP).min(self.images)).collect(),
        };
        let pieces = self.pieces(&groups, &x, length > HEAVY);
        let mut memory = crew.sums.take(Buffer::default);
        let sums = memory.grown(parts.len() * length);
        let all = Shared(sums.as_mut_ptr());
        (0..parts.len() * pieces.len()).into_par_iter().with_max_len(1).for_each(|i| {
            let (part, piece) = (i / pieces.len(), &pieces[i % pieces.len()]);
            let [y, column] = piece.tap;
            let row = ((piece.group * down + y) * across + column) * groups.inputs + piece.rows.start;
            let c = all.get().wrapping_add(part * length + row * groups.outputs);
            // SAFETY: rows of the sums of this part, which only this piece writes
            unsafe {
                c.write_bytes(0, piece.rows.len() * groups.outputs);
                self.piece(crew, &groups, piece, x, gradient, parts[part].clone(), c);
            }
        });
        let (first, others) = sums.split_at_mut(length);
        first.par_chunks_mut(TOGETHER).enumerate().for_each(|(i, first)| {
            for part in others.chunks_exact(length) {
                first.iter_mut().zip(&part[i * TOGETHER..]).for_each(|(sum, v)| *sum += v);
            }
        });
        self.add_sums(&groups, first, to);
        crew.sums.give_back(memory);
    }

    /// Sums over all places of each output's gradient.
    pub fn sums(&self, crew: &Crew, gradient: Operand) -> Vec<f64> {
        let channels = gradient.layout.channels;
        let origin = vec![0.0; channels];
        crew.totals(self.images, 2 * channels, |images, part| {
            let (sums, squares) = part.split_at_mut(channels);
            let z = { gradient };
            // SAFETY: the map holds the batch
            unsafe { (crew.table.batch_norm)(&mut Work::Moments { z, origin: &origin, sums, squares }, images) }
        })
    }

    /// Taps of a row of the window lie side by side in memory where the map has a border as wide as its padding.
    fn pieces(&self, groups: &Groups, x: &Operand, heavy: bool) -> Vec<Piece> {
        let [down, across] = self.window.size;
        let has_border = self.window.padding.iter().all(|p| *p <= x.layout.border);
        let rows = across * groups.inputs;
        if has_border && self.window.dilation[1] == 1 && groups.count == 1 && !heavy {
            return (0..down).map(|y| Piece { tap: [y, 0], group: 0, rows: 0..rows }).collect();
        }
        let rows = if heavy { ROWS } else { groups.inputs };
        let mut pieces = Vec::new();
        for group in 0..groups.count {
            for tap in (0..down).flat_map(|y| (0..across).map(move |x| [y, x])) {
                let some = |first: usize| first..(first + rows).min(groups.inputs);
                pieces.extend((0..groups.inputs).step_by(rows).map(|first| Piece { tap, group, rows: some(first) }));
            }
        }
        pieces
    }

    #[expect(clippy::too_many_arguments, reason = "a piece of one sum")]
    unsafe fn piece(
        &self,
        crew: &Crew,
        groups: &Groups,
        piece: &Piece,
        x: Operand,
        gradient: Operand,
        images: Range<usize>,
        c: *mut f32,
    ) {
        let (window, [height, width]) = (&self.window, x.layout.size);
        let [down, across] = gradient.layout.size;
        let [y_tap, x_tap] = piece.tap;
        // outputs whose tap lies on the map, or on its border
        let side_by_side = piece.rows.end > groups.inputs;
        let on = |i: &usize| side_by_side || window.place(1, *i, x_tap, width).is_some();
        let Some(first) = (0..across).find(on) else { return };
        let count = (first..across).take_while(on).count();
        let column = (first * window.stride[1] + x_tap * window.dilation[1] + x.layout.border) - window.padding[1];
        let of_image = down * across * (piece.rows.len() + groups.outputs);
        let mut places = Vec::new();
        for some in images.clone().step_by((TOGETHER / of_image).max(1)) {
            places.clear();
            for image in some..(some + (TOGETHER / of_image).max(1)).min(images.end) {
                for y in 0..down {
                    let Some(row) = window.place(0, y, y_tap, height) else { continue };
                    let a = x.layout.corner(image) + (row + x.layout.border) * x.layout.row;
                    let a = a + column * x.layout.channels + piece.group * groups.inputs + piece.rows.start;
                    let b = gradient.layout.at(image, y, first) + piece.group * groups.outputs;
                    places.push(Places { a: x.map.wrapping_add(a), b: gradient.map.wrapping_add(b), count });
                }
            }
            let outer = Outer {
                places: &places,
                steps: [window.stride[1] * x.layout.channels, gradient.layout.channels],
                rows: piece.rows.len(),
                columns: groups.outputs.next_multiple_of(LANES),
                c,
                row: groups.outputs,
            };
            // SAFETY: all places lie on the maps or their borders; c is good by the contract
            unsafe { (crew.table.outer)(&outer) }
        }
    }

    /// From [group][tap][input][output] to [output][input][tap].
    fn add_sums(&self, groups: &Groups, sums: &[f32], to: &mut [f32]) {
        let Channels { inputs, outputs, groups: real, .. } = self.channels;
        let (taps, of_group, outputs_of_group) =
            (self.window.size[0] * self.window.size[1], inputs / real, outputs / real);
        to.par_chunks_exact_mut(of_group * taps).enumerate().for_each(|(output, to)| {
            let (group, column) = match groups.count {
                1 => (0, output),
                _ => (output / groups.outputs, output % groups.outputs),
            };
            let first =
                output / outputs_of_group * of_group - group * if groups.count == 1 { 0 } else { groups.inputs };
            for tap in 0..taps {
                for input in 0..of_group {
                    let row = (group * taps + tap) * groups.inputs + first + input;
                    to[input * taps + tap] += sums[row * groups.outputs + column];
                }
            }
        });
    }
}
