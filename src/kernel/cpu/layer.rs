//! A convolution of the compiled net, and how many images and which maps each takes.

use super::conv::tiles_of_image;
use super::finish::{Finish, PoolBits};
use super::map::{Buffer, Layout};
use super::winograd::{Form, Kernels};
use std::sync::OnceLock;

/// Tiles that a thread takes at least through a layer at a time, if it has that many: enough for each load of weights
/// to pay (KERNEL study: flat from 22 tiles on).
const TILES_TOGETHER: usize = 64;

/// A convolution with what follows it.
pub struct Layer {
    /// Channels in and out, without padding.
    pub inputs: usize,
    pub outputs: usize,
    /// Side of its output before any pool.
    pub side: usize,
    pub pooled: bool,
    /// Layers between two pools are of one stage.
    pub stage: usize,
    /// outputs × inputs × 3 × 3.
    pub weight: Vec<f32>,
    pub bias: Buffer,
    /// Of the first layer, none: see [`First`].
    pub forward: Option<Kernels>,
    /// Made when a gradient is asked for.
    pub backward: OnceLock<Kernels>,
    /// Number of the map it writes.
    pub map: usize,
    /// Number of the map of the gradient with respect to its output before any pool.
    pub gradient: usize,
}

impl Layer {
    /// What follows it on the way forward; the bits go to the one of these that serves it, nowhere if that is null.
    pub fn finish(&self, relu: *mut u16, pool: *mut PoolBits) -> Finish {
        let bias = self.bias.as_ptr();
        if self.pooled { Finish::Pool { bias, bits: pool } } else { Finish::Relu { bias, bits: relu } }
    }

    pub fn side_after(&self) -> usize {
        if self.pooled { self.side / 2 } else { self.side }
    }
}

/// Images that a thread takes at a time through each stage.
pub fn chunks(layers: &[Layer]) -> Vec<usize> {
    let mut chunks: Vec<usize> = Vec::new();
    for stage in 0..=layers.last().expect("checked").stage {
        let side = layers.iter().find(|l| l.stage == stage).map_or(1, |l| l.side);
        let wanted = TILES_TOGETHER.div_ceil(tiles_of_image(Form::of(side), side));
        let before = chunks.last().copied().unwrap_or(1);
        chunks.push(wanted.next_multiple_of(before).max(before));
    }
    chunks
}

/// Gives each layer the maps it writes, as few as do: a map is read by the next layer only.
pub fn assign_maps(layers: &mut [Layer], chunks: &[usize]) -> Vec<Layout> {
    // a map that pooling gradients go to is never shared with others: where the side is odd its last row and column
    // are never written and must stay 0
    let mut maps: Vec<(Layout, bool)> = Vec::new();
    let mut find = |wanted: (Layout, bool), not: Option<usize>| {
        let found = (0..maps.len()).find(|m| maps[*m] == wanted && Some(*m) != not);
        found.unwrap_or_else(|| {
            maps.push(wanted);
            maps.len() - 1
        })
    };
    // as many images as the layer that reads it takes at a time
    let readers = layers.iter().skip(1).chain(layers.last());
    let capacities: Vec<usize> = readers.map(|l| chunks[l.stage]).collect();
    let mut before = None;
    for (layer, capacity) in layers.iter_mut().zip(&capacities) {
        layer.map = find((Layout::new(layer.outputs, layer.side_after(), *capacity), false), before);
        before = Some(layer.map);
    }
    let mut before = None;
    for (layer, capacity) in layers.iter_mut().zip(&capacities).rev() {
        layer.gradient = find((Layout::new(layer.outputs, layer.side, *capacity), layer.pooled), before);
        before = Some(layer.gradient);
    }
    maps.into_iter().map(|(layout, _)| layout).collect()
}
