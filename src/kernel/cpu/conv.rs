//! A part of one 3×3 convolution, by one thread: transform some tiles, multiply them with some panels of weights,
//! transform back, finish and store.

use super::finish::Target;
use super::lanes::{LANES, Lanes};
use super::map::{Buffer, LINE, Layout, TILE};
use super::product::{Kernel, PANEL, Product};
use super::winograd::{Form, Kernels, pair_in, pair_out, tile_in, tile_out};
use std::ops::Range;

/// Transformed tiles of one block: three portions of rows of the widest product; what stays in a thread's cache while
/// weights pass by. From 512 channels on, weights come from the last cache or memory, and a pass serves more tiles.
/// (Measured at 28 to 64: flat within 2 %.)
const TILES_OF_A_BLOCK: usize = 36;
const TILES_OF_A_DEEP_BLOCK: usize = 60;
const DEEP: usize = 512;

/// Panels that share a pass over the transformed tiles, where those do not fit into the second cache.
const PANELS_TOGETHER: usize = 4;

/// Which part of a convolution.
pub struct Block<'a> {
    /// Weights.
    pub kernels: &'a Kernels,
    /// Base of the map it reads.
    pub source: *const f32,
    /// Layout of that map.
    pub layout: Layout,
    /// Where it goes.
    pub target: Target,
    /// First image; tiles are counted from its first on.
    pub first: usize,
    /// Tiles.
    pub tiles: Range<usize>,
    /// Panels of outputs.
    pub panels: Range<usize>,
}

/// Transformed inputs and products of one thread.
pub struct Scratch {
    /// [product][block of channels][tile][channel of the block].
    inputs: Buffer,
    /// [panel][product][tile][channel of the panel].
    products: Buffer,
}

/// Tiles of an image in a convolution whose output has this height and width.
pub fn tiles_of_image(form: Form, size: [usize; 2]) -> usize {
    match form {
        Form::Tiles => size[0].div_ceil(TILE) * size[1].div_ceil(TILE),
        Form::Pair => 1,
    }
}

/// Tiles that a block takes at most.
pub fn tiles_of_block(inputs: usize) -> usize {
    if inputs >= DEEP { TILES_OF_A_DEEP_BLOCK } else { TILES_OF_A_BLOCK }
}

/// Panels that share a pass.
fn panels_together(inputs: usize) -> usize {
    if inputs >= DEEP { PANELS_TOGETHER } else { 1 }
}

/// Floats from the tiles of a product to those of the next: an odd number of lines, since powers of two would fall
/// into the same places of a cache.
fn stride(floats: usize) -> usize {
    (floats.div_ceil(LINE) | 1) * LINE
}

impl Scratch {
    /// Enough for convolutions over at most so many channels (padded) on either side.
    pub fn new(channels: usize) -> Scratch {
        let inputs = [channels.min(DEEP - LANES), channels].map(|c| stride(tiles_of_block(c) * c)).into_iter().max();
        let products = PANELS_TOGETHER * stride(TILES_OF_A_DEEP_BLOCK * PANEL);
        let most = Form::Tiles.products();
        Scratch { inputs: Buffer::new(most * inputs.expect("two")), products: Buffer::new(most * products) }
    }
}

/// Computes it.
///
/// # Safety
/// The instruction set of K is there. `source` and `target` are good for the images of these tiles; nobody writes to the
/// one, nobody else uses these tiles and panels of the other meanwhile. `scratch` was made for these channels.
#[inline(always)]
pub unsafe fn block<K: Kernel>(b: &Block, scratch: &mut Scratch) {
    let kernels = b.kernels;
    assert!(b.layout.channels == kernels.inputs && b.panels.end <= kernels.panels());
    let (tiles, products) = (b.tiles.len(), kernels.form.products());
    let (of_inputs, of_products) = (stride(tiles * kernels.inputs), stride(tiles * PANEL));
    let together = panels_together(kernels.inputs);
    assert!(
        products * of_inputs <= scratch.inputs.len() && together * products * of_products <= scratch.products.len()
    );
    let (inputs, sums) = (scratch.inputs.as_mut_ptr(), scratch.products.as_mut_ptr());
    // SAFETY: tiles lie in the maps by the contract, everything else in scratch and weights by the assertions
    unsafe {
        match kernels.form {
            Form::Tiles => tiles_in::<K>(b, inputs, of_inputs),
            Form::Pair => pairs_in::<K>(b, inputs, of_inputs),
        }
        let mut first = b.panels.start;
        while first < b.panels.end {
            let last = (first + together).min(b.panels.end);
            for product in 0..products {
                for panel in first..last {
                    let next = match (panel + 1 < last, product + 1 < products) {
                        (true, _) => kernels.at(panel + 1, product),
                        (false, true) => kernels.at(first, product + 1),
                        (false, false) => kernels.at(last % kernels.panels(), 0),
                    };
                    K::multiply(&Product {
                        rows: tiles,
                        shape: kernels.shape(),
                        blocks: kernels.inputs / kernels.shape().block(),
                        a: inputs.add(product * of_inputs),
                        block_stride: tiles * kernels.shape().block(),
                        b: kernels.values.as_ptr().add(kernels.at(panel, product)),
                        width: kernels.width(panel),
                        c: sums.add(((panel - first) * products + product) * of_products),
                        next: kernels.values.as_ptr().add(next),
                    });
                }
            }
            for (i, tile) in b.tiles.clone().enumerate() {
                for panel in first..last {
                    for channel in (0..kernels.width(panel)).step_by(LANES) {
                        let at = sums.add((panel - first) * products * of_products + i * PANEL + channel);
                        match kernels.form {
                            Form::Tiles => tile_back::<K>(b, tile, panel * PANEL + channel, at, of_products),
                            Form::Pair => pair_back::<K>(b, tile, panel * PANEL + channel, at, of_products),
                        }
                    }
                }
            }
            first = last;
        }
    }
}

/// Image, row and column of the tile's first pixel.
#[inline(always)]
fn place(b: &Block, tile: usize) -> (usize, usize, usize) {
    let [down, across] = b.layout.size.map(|n| n.div_ceil(TILE));
    let (image, tile) = (tile / (down * across), tile % (down * across));
    (b.first + image, tile / across * TILE, tile % across * TILE)
}

/// A row of a matrix of columns. A loop, as everywhere here: a closure that is not inlined is compiled without the instruction
/// set, and `map` of an array is not always.
#[inline(always)]
fn across<L: Lanes, const COLUMNS: usize, const ROWS: usize>(
    columns: &[[L; ROWS]; COLUMNS],
    row: usize,
) -> [L; COLUMNS] {
    let mut values = [columns[0][row]; COLUMNS];
    for (value, column) in values.iter_mut().zip(columns) {
        *value = column[row];
    }
    values
}

/// Transforms tiles of 6×6 pixels to 36 points.
#[inline(always)]
unsafe fn tiles_in<L: Lanes>(b: &Block, points: *mut f32, stride: usize) {
    let (layout, tiles) = (&b.layout, b.tiles.len());
    let block = b.kernels.shape().block();
    // SAFETY: a tile and its border lie in the map, which overhangs to whole tiles
    unsafe {
        for (i, tile) in b.tiles.clone().enumerate() {
            let (image, y, x) = place(b, tile);
            let corner = b.source.add(layout.corner(image) + y * layout.row + x * layout.channels);
            for channel in (0..layout.channels).step_by(LANES) {
                let from = corner.add(channel);
                let mut half = [[L::zero(); 6]; 6];
                for (column, half) in half.iter_mut().enumerate() {
                    let from = from.add(column * layout.channels);
                    let mut d = [L::zero(); 6];
                    for (row, d) in d.iter_mut().enumerate() {
                        *d = L::load(from.add(row * layout.row));
                    }
                    *half = tile_in(d);
                }
                let to = points.add((channel / block * tiles + i) * block + channel % block);
                for row in 0..6 {
                    let points = tile_in(across(&half, row));
                    for (column, v) in points.into_iter().enumerate() {
                        v.store(to.add((row * 6 + column) * stride));
                    }
                }
            }
        }
    }
}

/// Transforms maps of 2×2 pixels to 9 points.
#[inline(always)]
unsafe fn pairs_in<L: Lanes>(b: &Block, points: *mut f32, stride: usize) {
    let (layout, tiles) = (&b.layout, b.tiles.len());
    let block = b.kernels.shape().block();
    // SAFETY: the four pixels lie in the map
    unsafe {
        for (i, tile) in b.tiles.clone().enumerate() {
            let corner = b.source.add(layout.corner(b.first + tile));
            for channel in (0..layout.channels).step_by(LANES) {
                let at = |y: usize, x: usize| corner.add(y * layout.row + x * layout.channels + channel);
                let left = pair_in([L::load(at(0, 0)), L::load(at(1, 0))]);
                let right = pair_in([L::load(at(0, 1)), L::load(at(1, 1))]);
                let to = points.add((channel / block * tiles + i) * block + channel % block);
                for row in 0..3 {
                    for (column, v) in pair_in([left[row], right[row]]).into_iter().enumerate() {
                        v.store(to.add((row * 3 + column) * stride));
                    }
                }
            }
        }
    }
}

/// Transforms 36 sums of one tile and sixteen channels back to 4×4 outputs.
#[inline(always)]
unsafe fn tile_back<L: Lanes>(b: &Block, tile: usize, channel: usize, sums: *const f32, stride: usize) {
    let (image, y, x) = place(b, tile);
    // SAFETY: 36 vectors from `sums` on, `stride` apart; the tile lies in the target
    unsafe {
        let mut half = [[L::zero(); 4]; 6];
        for (column, half) in half.iter_mut().enumerate() {
            let mut m = [L::zero(); 6];
            for (row, m) in m.iter_mut().enumerate() {
                *m = L::load(sums.add((row * 6 + column) * stride));
            }
            *half = tile_out(m);
        }
        let mut outputs = [[L::zero(); 4]; 4];
        for (row, outputs) in outputs.iter_mut().enumerate() {
            *outputs = tile_out(across(&half, row));
        }
        b.target.put::<L, 4>(image, y, x, channel, &outputs);
    }
}

/// Transforms 9 sums of one 2×2 map and sixteen channels back to its outputs.
#[inline(always)]
unsafe fn pair_back<L: Lanes>(b: &Block, tile: usize, channel: usize, sums: *const f32, stride: usize) {
    // SAFETY: 9 vectors from `sums` on, `stride` apart; the map lies in the target
    unsafe {
        let mut half = [[L::zero(); 2]; 3];
        for (column, half) in half.iter_mut().enumerate() {
            let mut m = [L::zero(); 3];
            for (row, m) in m.iter_mut().enumerate() {
                *m = L::load(sums.add((row * 3 + column) * stride));
            }
            *half = pair_out(m);
        }
        let mut outputs = [[L::zero(); 2]; 2];
        for (row, outputs) in outputs.iter_mut().enumerate() {
            *outputs = pair_out(across(&half, row));
        }
        b.target.put::<L, 2>(b.first + tile, 0, 0, channel, &outputs);
    }
}
