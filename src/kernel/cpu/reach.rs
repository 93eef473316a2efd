//! Where changed pixels reach, unit by unit, and up to which unit it pays to follow them: a property of the graph.

use super::compiled::Cpu;
use super::conv::tiles_of_image;
use super::lattice::Lattice;
use super::map::{TILE, padded};
use super::program::{Compiled, size_of};
use super::winograd::Form;
use super::work::Work;
use std::ops::Range;

/// What a tile costs here, against one of the full pass: it is gathered first, and fewer share a pass over the weights.
/// (An estimate. On `vgg11-half` and VGG16 at 224 one layer more or less than it chooses was as fast within 10 %.)
const COST_OF_A_TILE: f64 = 1.3;

/// Changes, and pixels of each at most, by which the cost is estimated.
const SAMPLE: usize = 64;

/// The golden ratio less one: its multiples spread over the unit interval.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Row and column of the first pixel of a tile.
pub type Corner = (usize, usize);

/// Which inputs an output reads: those from `stride·i − before` on, so many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Local {
    pub stride: [usize; 2],
    pub before: [usize; 2],
    pub extent: [usize; 2],
    /// What stands for inputs outside the map.
    pub outside: f32,
}

impl Local {
    /// Of one input at the same place.
    pub const POINT: Local = Local { stride: [1; 2], before: [0; 2], extent: [1; 2], outside: 0.0 };

    /// Of the taps of a lattice.
    fn of(lattice: &Lattice) -> Local {
        let offsets = |axis: usize| lattice.taps.iter().map(move |tap| tap.offset[axis]);
        let ends = |axis| (offsets(axis).min().unwrap_or(0).min(0), offsets(axis).max().unwrap_or(0).max(0));
        let before = [0, 1].map(|axis| ends(axis).0.unsigned_abs());
        let extent = [0, 1].map(|axis| (ends(axis).1 - ends(axis).0) as usize + 1);
        Local { stride: lattice.stride, before, extent, outside: 0.0 }
    }

    /// Inputs that a tile of outputs reads, along each side.
    pub fn region(&self) -> [usize; 2] {
        [0, 1].map(|axis| (TILE - 1) * self.stride[axis] + self.extent[axis])
    }

    /// Outputs that some inputs reach along an axis, of `size`.
    fn reached(&self, axis: usize, inputs: &Range<usize>, size: usize) -> Range<usize> {
        let first =
            (inputs.start + self.before[axis] + 1).saturating_sub(self.extent[axis]).div_ceil(self.stride[axis]);
        let last = (inputs.end - 1 + self.before[axis]) / self.stride[axis];
        first..(last + 1).min(size).max(first)
    }
}

impl Compiled {
    /// What its outputs read, where that is a window; else a change reaches everywhere.
    pub fn local(&self) -> Option<Local> {
        let nine = Local { before: [1; 2], extent: [3; 2], ..Local::POINT };
        match &self.work {
            Work::First(_) => Some(nine),
            // a whole map at once
            Work::Winograd(kernels, _) => Some(nine).filter(|_| kernels.form == Form::Tiles),
            Work::Stem(dense, _) | Work::Dense(dense, _) => Some(Local::of(&dense.phases[0].lattice)),
            Work::Depthwise(lattice, ..) => Some(Local::of(lattice)),
            Work::MaxPool(window) => Some(Local {
                stride: window.stride,
                before: [window.padding[0], window.padding[1]],
                extent: [0, 1].map(|axis| window.extent(axis)),
                outside: f32::NEG_INFINITY,
            }),
            Work::Lift(..) | Work::Scale(..) | Work::Concat | Work::LayerNorm(..) => Some(Local::POINT),
            Work::Average(_) | Work::Attention(_) | Work::Other(_) => None,
        }
    }

    /// Multiplications over so many tiles of its outputs before any pool, or over all.
    fn cost(&self, tiles: Option<f64>) -> f64 {
        let (outputs, size) = size_of(&self.unit.before_pool);
        let of_pixel = |depth: usize| (depth * padded(outputs)) as f64;
        let of_tile = match &self.work {
            Work::Winograd(kernels, _) => (kernels.form.products() * kernels.inputs * kernels.outputs) as f64,
            Work::First(_) => of_pixel(super::first::WINDOW) * (TILE * TILE) as f64,
            Work::Stem(dense, _) | Work::Dense(dense, _) => dense.phases[0].len() as f64 * (TILE * TILE) as f64,
            Work::Depthwise(lattice, ..) => of_pixel(lattice.taps.len()) * (TILE * TILE) as f64,
            _ => of_pixel(1) * (TILE * TILE) as f64,
        };
        of_tile * tiles.unwrap_or(tiles_of_image(Form::Tiles, size) as f64)
    }
}

/// Where the changed pixels of one image reach in each value: windows of rows and columns.
pub struct Reach(Vec<Vec<[Range<usize>; 2]>>);

impl Reach {
    /// In images of this width.
    pub fn new(places: impl Iterator<Item = usize>, width: usize) -> Reach {
        Reach(vec![places.map(|place| [place / width, place % width].map(|at| at..at + 1)).collect()])
    }

    /// Tiles of the next unit's outputs before any pool that it reaches, in order. The unit must be local.
    pub fn through(&mut self, u: &Compiled) -> Vec<Corner> {
        let (_, size) = size_of(&u.unit.before_pool);
        let local = u.local().expect("a local unit");
        let mut windows: Vec<[Range<usize>; 2]> = Vec::new();
        for (locals, value) in
            u.unit.reads.iter().map(|v| (local, v)).chain(u.unit.add.iter().map(|v| (Local::POINT, v)))
        {
            let through = |w: &[Range<usize>; 2]| [0, 1].map(|axis| locals.reached(axis, &w[axis], size[axis]));
            windows.extend(self.0[*value].iter().map(through));
        }
        let contains = |a: &[Range<usize>; 2], b: &[Range<usize>; 2]| {
            (0..2).all(|axis| a[axis].start <= b[axis].start && b[axis].end <= a[axis].end)
        };
        let mut kept: Vec<[Range<usize>; 2]> = Vec::new();
        for window in windows.into_iter().filter(|w| w.iter().all(|along| !along.is_empty())) {
            if !kept.iter().any(|other| contains(other, &window)) {
                kept.retain(|other| !contains(&window, other));
                kept.push(window);
            }
        }
        let mut tiles = Vec::new();
        for window in &mut kept {
            let [ys, xs] = window.each_ref().map(|along| along.start / TILE..along.end.div_ceil(TILE));
            tiles.extend(ys.flat_map(|y| xs.clone().map(move |x| (y * TILE, x * TILE))));
            if u.unit.pooled {
                for (along, size) in window.iter_mut().zip(size) {
                    *along = along.start / 2..along.end.div_ceil(2).min(size / 2);
                }
            }
        }
        // of an odd side the last row and column end in a pool
        kept.retain(|window| window.iter().all(|along| !along.is_empty()));
        self.0.push(kept);
        tiles.sort_unstable();
        tiles.dedup();
        tiles
    }
}

impl Cpu {
    /// Units from the first on that can be computed in part, and are followed by another.
    pub fn depth(&self) -> usize {
        let whole = self.units.iter().position(|u| u.local().is_none());
        whole.unwrap_or(self.units.len()).min(self.units.len() - 1)
    }

    /// How many units to compute in part where so many pixels change, by multiplications: those of the tiles that changes
    /// reach, over places spread evenly, against those of whole maps. (Neither the number of changes nor their places may
    /// decide it, since last bits depend on it. What the clean maps cost shows only where an image has few changes: at most
    /// as much again as their full pass.)
    pub(super) fn depth_that_pays(&self, pixels: usize) -> usize {
        let plane = self.size[0] * self.size[1];
        let spread = |n: usize| (n as f64 * GOLDEN).fract() * plane as f64;
        let pixels = pixels.min(SAMPLE);
        let places = |n: usize| (0..pixels).map(move |i| (spread(n * pixels + i) as usize).min(plane - 1));
        let mut reach: Vec<Reach> = (0..SAMPLE).map(|n| Reach::new(places(n), self.size[1])).collect();
        let (mut saved, mut most, mut depth) = (0.0, 0.0, 0);
        for (i, u) in self.units[..self.depth()].iter().enumerate() {
            let tiles: usize = reach.iter_mut().map(|r| r.through(u).len()).sum();
            saved += u.cost(None) - u.cost(Some(tiles as f64 / SAMPLE as f64 * COST_OF_A_TILE));
            if saved > most {
                (most, depth) = (saved, i + 1);
            }
        }
        depth
    }
}
