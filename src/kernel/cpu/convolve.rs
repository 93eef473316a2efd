//! One operation over some images, cut into pieces for those who work on it.

use super::attention::Head;
use super::conv::{Block, tiles_of_block, tiles_of_image};
use super::crew::{Crew, bands_of};
use super::dense::{self, Dense};
use super::finish::{Operand, Target};
use super::first::{self, First};
use super::lattice::Lattice;
use super::rows::{RowWork, Rows};
use super::table::Table;
use super::unit::as_map;
use super::winograd::Kernels;
use super::workspace::Shared;
use crate::kernel::graph::Window;
use std::ops::Range;
use std::ptr;

/// Tiles for which a thread of a team reads weights that the other threads read too; of heavy weights, those that come
/// from memory (in floats), only for a whole block.
const FEW_TILES: usize = 12;
const HEAVY_WEIGHTS: usize = 1 << 20;

/// What every operation needs to know: the kernels, what is read and what is written, and for which images.
pub struct Job<'a, 'b> {
    pub table: &'static Table,
    pub source: Operand,
    pub target: Target,
    pub images: Range<usize>,
    pub crew: &'a mut Crew<'b>,
    /// By how much windows are moved: what is read may begin with what was padding (see [`super::incremental`]).
    pub shift: [usize; 2],
}

// SAFETY: several threads read the same map
unsafe impl Sync for Operand {}
// SAFETY: as above
unsafe impl Send for Operand {}

impl Job<'_, '_> {
    /// Pieces of `items` outputs that a thread takes `most` at a time, and of panels of their channels where a team has too
    /// few of them to go round.
    fn pieces(&self, items: usize, most: usize, (weights, panels): (usize, usize)) -> (usize, usize) {
        let (mut blocks, mut groups) = (items.div_ceil(most), 1);
        if self.crew.size() > 1 {
            // each piece of the same outputs transforms them anew, each of the same channels reads the same weights
            let few = if weights < HEAVY_WEIGHTS { FEW_TILES } else { most };
            match items >= self.crew.size() * few {
                true => blocks = blocks.next_multiple_of(self.crew.size()),
                false => groups = self.crew.size().min(panels),
            }
        }
        (blocks, groups)
    }

    /// A 3×3 convolution of images.
    pub fn first(self, first: &First) {
        let Job { table, source, target, images, crew, .. } = self;
        let bands = crew.bands(source.layout.size[0]);
        crew.each(images.len() * bands.len(), |piece, scratch| {
            let part = first::Forward {
                first,
                source: { source }.map,
                layout: source.layout,
                target,
                image: images.start + piece / bands.len(),
                rows: bands[piece % bands.len()].clone(),
            };
            // SAFETY: the images are normalised, the map and bits hold them; pieces write different rows
            unsafe { (table.first_forward)(&part, &mut scratch.first) }
        });
    }

    /// A 3×3 convolution by Winograd's algorithm.
    pub fn winograd(self, kernels: &Kernels) {
        let tiles = self.images.len() * tiles_of_image(kernels.form, self.source.layout.size);
        let most = tiles_of_block(kernels.inputs);
        let (blocks, groups) = self.pieces(tiles, most, (kernels.values.len(), kernels.panels()));
        let Job { table, source, target, images, crew, .. } = self;
        crew.each(blocks * groups, |piece, scratch| {
            let (b, g) = (piece / groups, piece % groups);
            let part = Block {
                kernels,
                source: { source }.map,
                layout: source.layout,
                target,
                first: images.start,
                tiles: tiles * b / blocks..tiles * (b + 1) / blocks,
                panels: kernels.panels() * g / groups..kernels.panels() * (g + 1) / groups,
            };
            // SAFETY: source and target are different maps that hold these images; pieces differ in tiles or panels
            unsafe { (table.block)(&part, &mut scratch.conv) }
        });
    }

    /// Any convolution by packed windows.
    pub fn dense(mut self, dense: &Dense) {
        for phase in &dense.phases {
            let [down, across] = phase.lattice.count(self.target.size);
            let outputs = self.images.len() * down * across;
            let (blocks, groups) = self.pieces(outputs, phase.rows(), (phase.len(), dense.panels()));
            let Job { table, source, target, ref images, ref mut crew, shift } = self;
            crew.each(blocks * groups, |piece, scratch| {
                let (b, g) = (piece / groups, piece % groups);
                let part = dense::Part {
                    dense,
                    phase,
                    source,
                    target,
                    shift,
                    first: images.start,
                    outputs: outputs * b / blocks..outputs * (b + 1) / blocks,
                    panels: dense.panels() * g / groups..dense.panels() * (g + 1) / groups,
                };
                // SAFETY: as above; phases write different pixels
                unsafe { (table.dense)(&part, &mut scratch.dense) }
            });
        }
    }

    /// Each channel by itself, by lattices that share the outputs among them: some rows of all of them, then the next, so that
    /// what they read and write stays in the cache.
    pub fn depthwise(&mut self, lattices: &[Lattice], weights: &[f32]) {
        let (size, shift) = (self.target.size, self.shift);
        let count = |lattice: &Lattice| lattice.count(size)[0];
        let rows = lattices.iter().map(count).max().unwrap_or(0);
        let works = lattices.iter().map(|lattice| (RowWork::Depthwise { lattice, weights, shift }, count(lattice)));
        self.some_rows(&bands_of(rows), &works.collect::<Vec<_>>());
    }

    /// The largest of every window.
    pub fn max_pool(&mut self, window: &Window, won: *mut u16) {
        let [up, left, down, right] = window.padding;
        let padding = [up - self.shift[0], left - self.shift[1], down, right];
        self.rows(RowWork::MaxPool { window: &Window { padding, ..*window }, won });
    }

    /// An operation row by row.
    pub fn rows(&mut self, work: RowWork) {
        let rows = self.target.size[0];
        self.some_rows(&self.crew.bands(rows), &[(work, rows)]);
    }

    /// Attention with so many heads, whose output has this shape, or the way back of it.
    pub fn attention(&mut self, heads: usize, shape: &[usize], kept: Option<Shared>, back: bool) {
        let [channels, tokens, _] = as_map(shape);
        let Job { table, source, target, images, crew, .. } = self;
        let (table, source, target): (&Table, Operand, Target) = (table, *source, *target);
        crew.each(images.len() * heads, |piece, scratch| {
            let image = images.start + piece / heads;
            let kept = kept.map_or(ptr::null_mut(), |kept| kept.get().wrapping_add(image * 3 * channels * tokens));
            let part = Head { image, head: piece % heads, tokens, width: channels / heads, channels, kept };
            let compute = if back { table.attention_back } else { table.attention };
            // SAFETY: source and target are different maps that hold these images; pieces write different channels
            unsafe { compute(&part, source, &{ target }, &mut scratch.attention) }
        });
    }

    /// Something else, image by image.
    pub fn each_image(&mut self, work: impl Fn(usize, &Target) + Sync) {
        let (target, images) = (self.target, self.images.clone());
        self.crew.each(images.len(), |n, _| work(images.start + n, &{ target }));
    }

    /// Band after band, each by all works that have rows there, of so many each.
    fn some_rows(&mut self, bands: &[Range<usize>], works: &[(RowWork, usize)]) {
        let Job { table, source, target, images, crew, .. } = self;
        let (table, source, target): (&Table, Operand, Target) = (table, *source, *target);
        let works = &Pieces(works);
        crew.each(images.len() * bands.len(), |piece, _| {
            let (image, band) = (images.start + piece / bands.len(), &bands[piece % bands.len()]);
            for (work, rows) in { works }.0 {
                let rows = band.start.min(*rows)..band.end.min(*rows);
                // SAFETY: source and target are different maps that hold these images; pieces write different rows
                unsafe { (table.rows)(&Rows { work: *work, source, target, image, rows }) }
            }
        });
    }
}

/// Work that several threads do.
struct Pieces<'a>(&'a [(RowWork<'a>, usize)]);

// SAFETY: bits of a pool are written by the piece that computes their pixel
unsafe impl Sync for Pieces<'_> {}
