//! One layer over some images, cut into pieces for those who work on it.

use super::compiled::Cpu;
use super::conv::{Block, tiles_of_block, tiles_of_image};
use super::crew::Crew;
use super::finish::Target;
use super::first;
use super::map::{Buffer, Layout};
use super::winograd::Kernels;
use super::workspace::Shared;
use std::ops::Range;

/// Tiles for which a thread of a team reads weights that the other threads read too; of heavy weights, those that come
/// from memory (in floats), only for a whole block.
const FEW_TILES: usize = 12;
const HEAVY_WEIGHTS: usize = 1 << 20;

/// Rows that a thread takes at a time of an image that threads share.
const ROWS_TOGETHER: usize = 8;

/// Layer `i` over some images of a map.
pub fn forward(
    cpu: &Cpu,
    i: usize,
    (source, layout): (&Buffer, Layout),
    target: Target,
    images: Range<usize>,
    crew: &mut Crew,
) {
    if let Some(kernels) = &cpu.layers[i].forward {
        return convolve(cpu, kernels, source, layout, target, images, crew);
    }
    let source = Shared(source.as_ptr().cast_mut());
    let bands = bands(layout.side, crew);
    crew.each(images.len() * bands.len(), |piece, scratch| {
        let part = first::Forward {
            first: &cpu.first,
            source: source.get(),
            layout,
            target,
            image: images.start + piece / bands.len(),
            rows: bands[piece % bands.len()].clone(),
        };
        // SAFETY: the images are normalised, the map and bits hold them; pieces write different rows
        unsafe { (cpu.table.first_forward)(&part, &mut scratch.first) }
    });
}

/// One convolution over some images, cut into pieces of tiles and, where a team has too few tiles to go round, of
/// output channels.
pub fn convolve(
    cpu: &Cpu,
    kernels: &Kernels,
    source: &Buffer,
    layout: Layout,
    target: Target,
    images: Range<usize>,
    crew: &mut Crew,
) {
    let source = Shared(source.as_ptr().cast_mut());
    let tiles = images.len() * tiles_of_image(kernels.form, layout.side);
    let most = tiles_of_block(kernels.inputs);
    let (mut blocks, mut groups) = (tiles.div_ceil(most), 1);
    if crew.size() > 1 {
        // each piece of the same tiles transforms them anew, each of the same channels reads the same weights
        let few = if kernels.values.len() < HEAVY_WEIGHTS { FEW_TILES } else { most };
        match tiles >= crew.size() * few {
            true => blocks = blocks.next_multiple_of(crew.size()),
            false => groups = crew.size().min(kernels.panels()),
        }
    }
    crew.each(blocks * groups, |piece, scratch| {
        let (b, g) = (piece / groups, piece % groups);
        let part = Block {
            kernels,
            source: source.get(),
            layout,
            target,
            first: images.start,
            tiles: tiles * b / blocks..tiles * (b + 1) / blocks,
            panels: kernels.panels() * g / groups..kernels.panels() * (g + 1) / groups,
        };
        // SAFETY: source and target are different maps that hold these images; pieces differ in tiles or panels
        unsafe { (cpu.table.block)(&part, &mut scratch.conv) }
    });
}

/// Rows of an image in pieces: all of them for one thread.
pub fn bands(side: usize, crew: &Crew) -> Vec<Range<usize>> {
    let rows = if crew.size() == 1 { side } else { ROWS_TOGETHER };
    (0..side).step_by(rows).map(|y| y..(y + rows).min(side)).collect()
}
