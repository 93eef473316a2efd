//! Logits of images that differ from a base image in a few pixels: a convolution passes a changed pixel on to its 3×3
//! neighbours only, so the first layers are recomputed where the change reaches and taken from the base image elsewhere.
//!
//! What is recomputed are whole tiles, by the very kernels of the full pass: each tile with the pixels around it is a
//! small image of its own, 4×4 with a border of one, and goes through the layer like any image. From some layer on the
//! change reaches nearly everywhere; there the maps are completed and the full pass goes on.
//!
//! In exact numbers the logits would be those of the full pass. There, rounding spreads a change over the tile of a
//! Winograd convolution, beyond its window, so the last bits may differ. Ours depend on the base image, on the change, and
//! on how many layers are computed in part, which follows from the net and the number of pixels alone.

use super::compiled::Cpu;
use super::convolve::forward;
use super::crew::Crew;
use super::finish::Target;
use super::forward::Start;
use super::layer::Layer;
use super::map::{Buffer, Layout, TILE};
use super::reach::Reach;
use super::wave::Wave;
use super::workspace::{Corner, Patches, Workspace};
use crate::kernel::Change;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;

/// Floats of clean maps that are kept at a time, 256 MiB, where one image does not need more.
const CLEAN_FLOATS: usize = 1 << 26;

/// Pixels of a patch: a tile and what surrounds it.
const PATCH: usize = TILE + 2;

impl Cpu {
    /// Logits, one row a change, of base images 3×H×W one after the other with some pixels changed. The first `in_part`
    /// convolutions are computed only where the change reaches; `None`: as many as pay for its number of pixels.
    ///
    /// # Panics
    /// Where a change names an image or a place that is not there.
    pub fn changed(&self, base: &[f32], changes: &[Change], in_part: Option<usize>) -> Vec<f32> {
        let (values, plane) = (3 * self.side * self.side, self.side * self.side);
        assert!(base.len().is_multiple_of(values), "images of another size");
        let mut depths = HashMap::new();
        let mut edits: Vec<Edit> = Vec::with_capacity(changes.len());
        for (row, change) in changes.iter().enumerate() {
            let (places, images) = (change.pixels.iter().map(|(place, _)| *place), base.len() / values);
            assert!(change.image < images, "a change of image {} of {images}", change.image);
            places.for_each(|place| assert!(place < plane, "a change at place {place} of {plane}"));
            let pixels = change.pixels.len();
            let pays = || *depths.entry(pixels).or_insert_with(|| self.depth_that_pays(pixels));
            edits.push(Edit { row, change, depth: in_part.unwrap_or_else(pays).min(self.depth()), clean: 0 });
        }
        edits.sort_by_key(|e| (e.depth, e.change.image));
        let mut logits = vec![0.0; changes.len() * self.classes];
        for edits in edits.chunk_by_mut(|a, b| a.depth == b.depth) {
            let depth = edits[0].depth;
            let most = (CLEAN_FLOATS / Clean::floats(self, depth)).max(1);
            // the images that these need, numbered, and as many of them at a time as memory is set aside for
            let mut images: Vec<usize> = Vec::new();
            for edit in edits.iter_mut() {
                if images.last() != Some(&edit.change.image) {
                    images.push(edit.change.image);
                }
                edit.clean = images.len() - 1;
            }
            for edits in edits.chunk_by(|a, b| a.clean / most == b.clean / most) {
                let first = edits[0].clean;
                let some = &images[first..=edits[edits.len() - 1].clean];
                let clean =
                    Clean::new(self, depth, first, some.iter().map(|i| &base[i * values..][..values]).collect());
                clean.logits(edits, &mut logits);
            }
        }
        logits
    }
}

impl Layer {
    /// Layout of the outputs of so many tiles, after any pool.
    fn of_tiles(&self, tiles: usize) -> Layout {
        Layout::new(self.outputs, if self.pooled { TILE / 2 } else { TILE }, tiles)
    }
}

/// A change on its way.
#[derive(Clone, Copy)]
struct Edit<'a> {
    /// Row of its logits.
    row: usize,
    change: &'a Change,
    /// Convolutions computed in part.
    depth: usize,
    /// Number of its base image among those of this depth.
    clean: usize,
}

/// The first maps of some base images.
struct Clean<'a> {
    cpu: &'a Cpu,
    /// Number of the first: see [`Edit::clean`].
    first: usize,
    /// Normalised, as layer 0 reads them.
    images: (Buffer, Layout),
    /// What each of the first layers makes of them.
    maps: Vec<(Buffer, Layout)>,
}

impl<'a> Clean<'a> {
    /// Floats of one image with maps up to this depth.
    fn floats(cpu: &Cpu, depth: usize) -> usize {
        let maps = cpu.layers[..depth].iter().map(|l| Layout::new(l.outputs, l.side_after(), 1).len());
        Layout::images(cpu.side, 1).len() + maps.sum::<usize>()
    }

    /// Of images 3×H×W.
    fn new(cpu: &'a Cpu, depth: usize, first: usize, pixels: Vec<&[f32]>) -> Clean<'a> {
        let layout = Layout::images(cpu.side, pixels.len());
        let mut images = Buffer::new(layout.len());
        let each = images.par_chunks_exact_mut(layout.image).zip(pixels.par_iter());
        each.for_each(|(image, pixels)| cpu.normalise(pixels, image));
        let mut clean = Clean { cpu, first, images: (images, layout), maps: Vec::new() };
        for (i, layer) in cpu.layers[..depth].iter().enumerate() {
            let layout = Layout::new(layer.outputs, layer.side_after(), pixels.len());
            let mut map = Buffer::new(layout.len());
            let finish = layer.finish(std::ptr::null_mut(), std::ptr::null_mut());
            let target = Target { map: map.as_mut_ptr(), layout, side: layer.side, finish };
            forward(cpu, i, clean.before(i), target, 0..pixels.len(), &mut Crew::Team(cpu));
            clean.maps.push((map, layout));
        }
        clean
    }

    /// Logits of changes of these images, each to its row.
    fn logits(&self, edits: &[Edit], logits: &mut [f32]) {
        let cpu = self.cpu;
        let fill = |workspace: &mut Workspace, edits: &[Edit], images: Range<usize>, crew: &mut Crew| {
            self.fill(workspace, &edits[images.clone()], images.start, crew);
        };
        let start = Start { layer: self.maps.len(), fill: &fill };
        for edits in edits.chunks(cpu.shard() * rayon::current_num_threads()) {
            let (_, of_wave) = Wave::begin(cpu, edits.len()).forward(edits, &start);
            for (edit, of_row) in edits.iter().zip(of_wave.chunks_exact(cpu.classes)) {
                logits[edit.row * cpu.classes..][..cpu.classes].copy_from_slice(of_row);
            }
        }
    }

    /// What layer `i` reads.
    fn before(&self, i: usize) -> (&Buffer, Layout) {
        let (map, layout) = i.checked_sub(1).map_or(&self.images, |before| &self.maps[before]);
        (map, *layout)
    }

    /// Writes what the first layer behind these maps reads, for the workspace's images from `first` on.
    fn fill(&self, workspace: &mut Workspace, edits: &[Edit], first: usize, crew: &mut Crew) {
        let (cpu, depth) = (self.cpu, self.maps.len());
        let mut patches = cpu.patches.take(Patches::new);
        let mut reach: Vec<Reach> = edits.iter().map(|e| Reach::of(e.change, cpu.side)).collect();
        patches.tiles.clear();
        for (i, layer) in cpu.layers[..depth].iter().enumerate() {
            let tiles = reach.iter_mut().enumerate();
            let tiles = tiles.flat_map(|(n, reach)| reach.through(layer).into_iter().map(move |place| (n, place)));
            patches.gather(self, i, edits, tiles.collect());
            patches.forward(cpu, i, crew);
        }
        let (to, layout) = match depth.checked_sub(1).map(|last| cpu.layers[last].map) {
            Some(map) => (&mut workspace.maps[map], cpu.maps[map]),
            None => (&mut workspace.images, cpu.images),
        };
        let (from, of_clean) = self.before(depth);
        for (n, edit) in edits.iter().enumerate() {
            let image = &mut to[layout.corner(first + n)..][..layout.image];
            image.copy_from_slice(&from[of_clean.corner(edit.clean - self.first)..][..layout.image]);
            // a map without a border begins behind it
            let corner = 1 - layout.border;
            let side = layout.row / layout.channels;
            patches.paste(self, depth, (n, edit), Area { values: image, corner: (corner, corner), side });
        }
        cpu.patches.give_back(patches);
    }
}

/// A square part of a map, whose corner is given in a map with a border of one.
struct Area<'a> {
    values: &'a mut [f32],
    corner: Corner,
    side: usize,
}

impl Patches {
    /// Puts together what layer `i` reads for these tiles: clean, and over it what the layer before made.
    fn gather(&mut self, clean: &Clean, i: usize, edits: &[Edit], tiles: Vec<(usize, Corner)>) {
        let (from, layout) = clean.before(i);
        let stored = layout.row / layout.channels;
        let of_patch = PATCH * PATCH * layout.channels;
        let mut read = std::mem::replace(&mut self.read, Buffer::new(0));
        grow(&mut read, tiles.len() * of_patch);
        for ((n, (y, x)), patch) in tiles.iter().zip(read.chunks_exact_mut(of_patch)) {
            let corner = layout.corner(edits[*n].clean - clean.first) + y * layout.row + x * layout.channels;
            // images do not overhang to whole tiles; what a patch holds beyond them, no output inside reads
            let (rows, floats) = (PATCH.min(stored - y), PATCH.min(stored - x) * layout.channels);
            for (row, to) in patch.chunks_exact_mut(PATCH * layout.channels).take(rows).enumerate() {
                to[..floats].copy_from_slice(&from[corner + row * layout.row..][..floats]);
            }
            self.paste(clean, i, (*n, &edits[*n]), Area { values: patch, corner: (*y, *x), side: PATCH });
        }
        (self.read, self.tiles) = (read, tiles);
    }

    /// Layer `i` over what was gathered.
    fn forward(&mut self, cpu: &Cpu, i: usize, crew: &mut Crew) {
        let (layer, tiles) = (&cpu.layers[i], self.tiles.len());
        let source = match i {
            0 => Layout::images(TILE, tiles),
            _ => Layout::new(cpu.layers[i - 1].outputs, TILE, tiles),
        };
        let layout = layer.of_tiles(tiles);
        grow(&mut self.made, layout.len());
        let finish = layer.finish(std::ptr::null_mut(), std::ptr::null_mut());
        let target = Target { map: self.made.as_mut_ptr(), layout, side: TILE, finish };
        forward(cpu, i, (&self.read, source), target, 0..tiles, crew);
    }

    /// Writes what differs from the clean map before layer `i`, for edit number `n`, where it lies in the area.
    fn paste(&self, clean: &Clean, i: usize, (n, edit): (usize, &Edit), area: Area) {
        let cpu = clean.cpu;
        let Some(layer) = i.checked_sub(1).map(|before| &cpu.layers[before]) else {
            return edit.paste(cpu, area);
        };
        let tiles = layer.of_tiles(self.tiles.len());
        let scale = TILE / tiles.side;
        let first = self.tiles.partition_point(|(edit, _)| *edit < n);
        for (tile, (_, (y, x))) in self.tiles[first..].iter().take_while(|(edit, _)| *edit == n).enumerate() {
            let (y, x) = (y / scale, x / scale);
            let ys = overlap(y, tiles.side, layer.side_after(), area.corner.0, area.side);
            let xs = overlap(x, tiles.side, layer.side_after(), area.corner.1, area.side);
            if xs.is_empty() {
                continue;
            }
            let floats = xs.len() * tiles.channels;
            for row in ys {
                let from = tiles.at(first + tile, row - y, xs.start - x);
                let to = ((row + 1 - area.corner.0) * area.side + xs.start + 1 - area.corner.1) * tiles.channels;
                area.values[to..to + floats].copy_from_slice(&self.made[from..from + floats]);
            }
        }
    }
}

impl Edit<'_> {
    /// Writes its pixels, normalised, that lie in an area of the image.
    fn paste(&self, cpu: &Cpu, area: Area) {
        for (place, colour) in &self.change.pixels {
            let (y, x) = (place / cpu.side + 1, place % cpu.side + 1);
            let ((top, left), side) = (area.corner, area.side);
            if (top..top + side).contains(&y) && (left..left + side).contains(&x) {
                let pixel = &mut area.values[((y - top) * side + x - left) * 3..][..3];
                for (c, v) in pixel.iter_mut().enumerate() {
                    *v = (colour[c] - cpu.mean[c]) / cpu.std[c];
                }
            }
        }
    }
}

/// Along one side: pixels of a tile that begins at `tile` that lie in the map and in an area that begins at `corner`,
/// counted with a border.
fn overlap(tile: usize, size: usize, map: usize, corner: usize, area: usize) -> Range<usize> {
    tile.max(corner.saturating_sub(1))..(tile + size).min(map).min((corner + area).saturating_sub(1))
}

/// Makes room for at least so many floats; what it held is lost then.
fn grow(buffer: &mut Buffer, floats: usize) {
    if buffer.len() < floats {
        *buffer = Buffer::new(floats);
    }
}
