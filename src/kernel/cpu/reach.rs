//! Where changed pixels reach, layer by layer, and up to which layer it pays to follow them.

use super::compiled::Cpu;
use super::first::WINDOW;
use super::layer::Layer;
use super::map::TILE;
use super::winograd::Form;
use super::workspace::Corner;
use crate::kernel::Change;
use std::ops::Range;

/// What a tile costs here, against one of the full pass: it is gathered first, and fewer share a pass over the weights.
/// (An estimate. On `vgg11-half` and VGG16 at 224 one layer more or less than it chooses was as fast within 10 %.)
const COST_OF_A_TILE: f64 = 1.3;

/// Changes, and pixels of each at most, by which the cost is estimated.
const SAMPLE: usize = 64;

/// The golden ratio less one: its multiples spread over the unit interval.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl Cpu {
    /// Convolutions that can be computed in part: tile by tile, and followed by another.
    pub(super) fn depth(&self) -> usize {
        let whole = self.layers.iter().position(|l| Form::of(l.side) == Form::Pair);
        whole.unwrap_or(self.layers.len()).min(self.layers.len() - 1)
    }

    /// How many convolutions to compute in part where so many pixels change, by multiplications: those of the tiles
    /// that changes reach, over places spread evenly, against those of whole maps. (Neither the number of changes nor
    /// their places may decide it, since last bits depend on it. What the clean maps cost shows only where an image has
    /// few changes: at most as much again as their full pass.)
    pub(super) fn depth_that_pays(&self, pixels: usize) -> usize {
        let plane = self.side * self.side;
        let spread = |n: usize| (n as f64 * GOLDEN).fract() * plane as f64;
        let pixels = pixels.min(SAMPLE);
        let places = |n: usize| (0..pixels).map(move |i| (spread(n * pixels + i) as usize).min(plane - 1));
        let mut reach: Vec<Reach> = (0..SAMPLE).map(|n| Reach::new(places(n), self.side)).collect();
        let (mut saved, mut most, mut depth) = (0.0, 0.0, 0);
        for (i, layer) in self.layers[..self.depth()].iter().enumerate() {
            let tiles: usize = reach.iter_mut().map(|r| r.through(layer).len()).sum();
            let tiles = tiles as f64 / SAMPLE as f64 * COST_OF_A_TILE;
            saved += layer.cost(layer.side) - tiles * layer.cost(TILE);
            if saved > most {
                (most, depth) = (saved, i + 1);
            }
        }
        depth
    }
}

impl Layer {
    /// Multiplications over a map of this side.
    fn cost(&self, side: usize) -> f64 {
        let products = match &self.forward {
            Some(kernels) => side.div_ceil(TILE).pow(2) * kernels.form.products() * kernels.inputs * kernels.outputs,
            None => side * side * WINDOW * self.outputs,
        };
        products as f64
    }
}

/// Where the changed pixels of one image reach in the map before a layer: a window of rows and columns each.
pub struct Reach(Vec<[Range<usize>; 2]>);

impl Reach {
    pub fn new(places: impl Iterator<Item = usize>, side: usize) -> Reach {
        Reach(places.map(|place| [place / side, place % side].map(|at| at..at + 1)).collect())
    }

    pub fn of(change: &Change, side: usize) -> Reach {
        Reach::new(change.pixels.iter().map(|(place, _)| *place), side)
    }

    /// Tiles of the layer's outputs that it reaches, in order; after which it stands in the map behind the layer.
    pub fn through(&mut self, layer: &Layer) -> Vec<Corner> {
        let mut tiles = Vec::new();
        for window in &mut self.0 {
            for along in window.iter_mut() {
                *along = along.start.saturating_sub(1)..(along.end + 1).min(layer.side);
            }
            let [ys, xs] = window.each_ref().map(|along| along.start / TILE..along.end.div_ceil(TILE));
            tiles.extend(ys.flat_map(|y| xs.clone().map(move |x| (y * TILE, x * TILE))));
            if layer.pooled {
                for along in window.iter_mut() {
                    *along = along.start / 2..along.end.div_ceil(2).min(layer.side / 2);
                }
            }
        }
        // of an odd side the last row and column end in a pool
        self.0.retain(|window| window.iter().all(|along| !along.is_empty()));
        tiles.sort_unstable();
        tiles.dedup();
        tiles
    }
}
