//! Any convolution as matrix products: the windows of some outputs are packed side by side and multiplied with the weights.

use super::finish::{Operand, Place, Target};
use super::lanes::{LANES, Lanes};
use super::lattice::Lattice;
use super::map::{Buffer, padded};
use super::product::{Depth, Kernel, PANEL, Product};
use rayon::prelude::*;
use std::ops::Range;

/// Outputs whose windows are packed at once: five portions of rows of the widest product, fewer where windows are so deep
/// that they would leave the second cache (in floats).
const MOST_ROWS: usize = 60;
const PORTION: usize = 12;
const ROOM: usize = 1 << 17;

/// Weights of a convolution in one direction.
pub struct Dense {
    /// Groups of channels that see each other only, after as many as fill a vector are taken together.
    pub groups: usize,
    /// Channels in and out of a group, padded; 3 in for images.
    inputs: usize,
    outputs: usize,
    of_images: bool,
    pub phases: Vec<Phase>,
}

/// Weights of one lattice.
pub struct Phase {
    pub lattice: Lattice,
    /// Numbers of a window, padded.
    depth: usize,
    /// Taps of an image that lie side by side.
    runs: Vec<Run>,
    /// [group][panel of 32 outputs][depth][32, or 16 in the last panel of an odd number of 16s].
    values: Buffer,
}

/// Some taps that lie side by side: the first one's number and place, and how many.
struct Run {
    first: usize,
    offset: [isize; 2],
    taps: usize,
}

/// Channels of a convolution.
#[derive(Clone, Copy)]
pub struct Channels {
    pub inputs: usize,
    pub outputs: usize,
    pub groups: usize,
    /// Whether the inputs are RGB images, which lie without padding.
    pub of_images: bool,
}

impl Dense {
    /// `weight(output, input, tap)` is the weight between two channels of the same group, the input counted in the group.
    pub fn new(lattices: Vec<Lattice>, c: Channels, weight: impl Fn(usize, usize, usize) -> f32 + Sync) -> Dense {
        let Channels { inputs, outputs, groups, of_images } = c;
        let fills =
            |m: &usize| (inputs / groups * m).is_multiple_of(LANES) && (outputs / groups * m).is_multiple_of(LANES);
        let together = (1..groups).filter(|m| groups.is_multiple_of(*m)).find(fills).unwrap_or(groups);
        let merged = groups / together;
        let (real_in, real_out) = (inputs / merged, outputs / merged);
        let (padded_in, padded_out) = (if of_images { real_in } else { padded(real_in) }, padded(real_out));
        let phase = |lattice: Lattice| {
            let depth = padded(lattice.taps.len() * padded_in);
            let mut values = Buffer::new(merged * depth * padded_out);
            if depth > 0 {
                values.par_chunks_mut(depth * padded_out).enumerate().for_each(|(group, values)| {
                    for (panel, values) in values.chunks_mut(depth * PANEL).enumerate() {
                        let width = values.len() / depth;
                        for lane in 0..width.min(real_out.saturating_sub(panel * PANEL)) {
                            let output = group * real_out + panel * PANEL + lane;
                            let first = output / (outputs / groups) * (inputs / groups) - group * real_in;
                            for (t, tap) in lattice.taps.iter().enumerate() {
                                for i in 0..inputs / groups {
                                    values[(t * padded_in + first + i) * width + lane] = weight(output, i, tap.number);
                                }
                            }
                        }
                    }
                });
            }
            Phase { runs: if of_images { runs(&lattice) } else { Vec::new() }, lattice, depth, values }
        };
        let phases = lattices.into_iter().map(phase).collect();
        Dense { groups: merged, inputs: padded_in, outputs: padded_out, of_images, phases }
    }

    /// Panels of all groups.
    pub fn panels(&self) -> usize {
        self.groups * self.outputs.div_ceil(PANEL)
    }
}

/// The taps of a lattice in runs.
fn runs(lattice: &Lattice) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (first, tap) in lattice.taps.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if tap.offset == [run.offset[0], run.offset[1] + run.taps as isize] => run.taps += 1,
            _ => runs.push(Run { first, offset: tap.offset, taps: 1 }),
        }
    }
    runs
}

impl Phase {
    /// Outputs to take at once.
    pub fn rows(&self) -> usize {
        (ROOM / self.depth.max(1) / PORTION * PORTION).clamp(PORTION, MOST_ROWS)
    }

    /// Floats of the weights.
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

/// Some outputs of one phase.
pub struct Part<'a> {
    pub dense: &'a Dense,
    pub phase: &'a Phase,
    pub source: Operand,
    pub target: Target,
    /// By how much windows are moved down and right.
    pub shift: [usize; 2],
    /// First image; outputs are counted from its first on, image by image, row by row of the lattice.
    pub first: usize,
    pub outputs: Range<usize>,
    /// Panels of all groups.
    pub panels: Range<usize>,
}

/// Windows, sums and places of one thread.
pub struct Scratch {
    windows: Buffer,
    sums: Buffer,
    rows: Vec<Row>,
}

/// Where an output is stored, and where its window begins: image, row, column.
#[derive(Clone, Copy, Default)]
struct Row {
    place: Place,
    corner: usize,
    begin: [isize; 2],
}

impl Scratch {
    /// Windows grow with the first that need the room.
    pub fn new() -> Scratch {
        Scratch { windows: Buffer::new(0), sums: Buffer::new(MOST_ROWS * PANEL), rows: vec![Row::default(); MOST_ROWS] }
    }
}

/// Computes it.
///
/// # Safety
/// The instruction set of K is there; source and target are different maps that hold these images; nobody else uses these
/// outputs and panels of the target meanwhile.
#[inline(always)]
pub unsafe fn block<K: Kernel>(p: &Part, scratch: &mut Scratch) {
    let (phase, rows) = (p.phase, p.outputs.len());
    let Lattice { origin, step, stride, .. } = &phase.lattice;
    scratch.windows.grown(rows * phase.depth);
    assert!(rows <= MOST_ROWS && p.panels.end <= p.dense.panels());
    let [down, across] = phase.lattice.count(p.target.size);
    let (mut last, mut first, mut corner) = (usize::MAX, Place::default(), 0);
    for (row, output) in scratch.rows.iter_mut().zip(p.outputs.clone()) {
        let (image, i) = (p.first + output / (down * across), output % (down * across));
        let (y, x) = (i / across, i % across);
        if image != last {
            (last, first, corner) = (image, p.target.image(image), p.source.layout.corner(image));
        }
        *row = Row {
            place: p.target.place(first, origin[0] + y * step[0], origin[1] + x * step[1]),
            corner,
            begin: [(y * stride[0] + p.shift[0]) as isize, (x * stride[1] + p.shift[1]) as isize],
        };
    }
    let panels_of_group = p.dense.outputs.div_ceil(PANEL);
    let shape = Depth::of(phase.depth);
    let mut packed = None;
    // SAFETY: places lie in the maps by the contract, everything else in scratch and weights by the assertion
    unsafe {
        for all in p.panels.clone() {
            let (group, panel) = (all / panels_of_group, all % panels_of_group);
            let width = (p.dense.outputs - panel * PANEL).min(PANEL);
            let at = group * phase.depth * p.dense.outputs + panel * phase.depth * PANEL;
            if phase.depth > 0 {
                if packed != Some(group) {
                    pack::<K>(p, group, &scratch.rows[..rows], scratch.windows.as_mut_ptr());
                    packed = Some(group);
                }
                let weights = phase.values.as_ptr().add(at);
                K::multiply(&Product {
                    rows,
                    shape,
                    blocks: phase.depth / shape.block(),
                    a: scratch.windows.as_ptr(),
                    block_stride: rows * shape.block(),
                    b: weights,
                    width,
                    c: scratch.sums.as_mut_ptr(),
                    next: weights.wrapping_add(phase.depth * width),
                });
            }
            let channel = group * p.dense.outputs + panel * PANEL;
            for (r, row) in scratch.rows[..rows].iter().enumerate() {
                for lane in (0..width).step_by(LANES) {
                    let sums = scratch.sums.as_ptr().add(r * PANEL + lane);
                    let v = if phase.depth > 0 { K::load(sums) } else { K::zero() };
                    p.target.one(row.place, channel + lane, v);
                }
            }
        }
    }
}

/// Writes the windows of some outputs as the product reads them: number d of a window lies at row `d % block` of block
/// `d / block`; what lies outside the map is 0.
#[inline(always)]
unsafe fn pack<L: Lanes>(p: &Part, group: usize, rows: &[Row], windows: *mut f32) {
    let (layout, inputs) = (&p.source.layout, p.dense.inputs);
    let block = Depth::of(p.phase.depth).block();
    let [height, width] = layout.size.map(|n| n as isize);
    for (r, row) in rows.iter().enumerate() {
        let to = |d: usize| windows.wrapping_add((d / block * rows.len() + r) * block + d % block);
        if p.dense.of_images {
            // SAFETY: passed on
            unsafe { pack_image(p, row, block, to) }
            continue;
        }
        for (t, tap) in p.phase.lattice.taps.iter().enumerate() {
            let (y, x) = (row.begin[0] + tap.offset[0], row.begin[1] + tap.offset[1]);
            let is_inside = (0..height).contains(&y) && (0..width).contains(&x);
            // SAFETY: inside the map, and inside the windows, which hold rows × depth
            unsafe {
                let from = row.corner + if is_inside { layout.inside(y as usize, x as usize) } else { 0 };
                let from = p.source.map.add(from + group * inputs);
                for channel in (0..inputs).step_by(LANES) {
                    let v = if is_inside { L::load(from.add(channel)) } else { L::zero() };
                    v.store(to(t * inputs + channel));
                }
            }
        }
    }
}

/// The window of an output on an image: the numbers of taps side by side lie so, too.
#[inline(always)]
unsafe fn pack_image(p: &Part, row: &Row, block: usize, to: impl Fn(usize) -> *mut f32) {
    let (layout, inputs) = (&p.source.layout, p.dense.inputs);
    let [height, width] = layout.size;
    for run in &p.phase.runs {
        let (y, x) = (row.begin[0] + run.offset[0], row.begin[1] + run.offset[1]);
        // taps before, on and behind the map
        let on = if (0..height as isize).contains(&y) { run.taps } else { 0 };
        let before = on.min(x.min(0).unsigned_abs());
        let on = on.min((width as isize - x).max(0) as usize);
        let (begin, end) = (run.first * inputs, (run.first + run.taps) * inputs);
        let inside = begin + before * inputs..begin + on.max(before) * inputs;
        let mut d = begin;
        while d < end {
            let (is_inside, next) = match d {
                d if d < inside.start => (false, inside.start),
                d if d < inside.end => (true, inside.end),
                _ => (false, end),
            };
            let some = (next - d).min(block - d % block);
            // SAFETY: inside the map, and inside the windows, which hold rows × depth
            unsafe {
                match is_inside {
                    true => {
                        let x = (x + before as isize) as usize;
                        let at = row.corner + layout.inside(y as usize, x) + d - inside.start;
                        to(d).copy_from_nonoverlapping(p.source.map.add(at), some);
                    }
                    false => to(d).write_bytes(0, some),
                }
            }
            d += some;
        }
    }
    // SAFETY: as above
    (p.phase.lattice.taps.len() * inputs..p.phase.depth).for_each(|d| unsafe { *to(d) = 0.0 });
}
