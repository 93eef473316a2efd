//! Logits of images that differ from a base image in a few pixels: most operations pass a changed pixel on to its neighbours
//! only, so the first units are recomputed where the change reaches and taken from the base image elsewhere.
//!
//! What is recomputed are whole tiles, by the very kernels of the full pass: each tile with what it reads is a small image of
//! its own, which brings its padding along, and goes through the unit like any image. From some unit on the change reaches
//! nearly everywhere; there the maps are completed and the full pass goes on.
//!
//! In exact numbers the logits would be those of the full pass. There, rounding spreads a change over the tile of a
//! Winograd convolution, beyond its window, so the last bits may differ. Ours depend on the base image, on the change, and
//! on how many units are computed in part, which follows from the network and the number of pixels alone.

use super::compiled::Cpu;
use super::convolve::Job;
use super::crew::Crew;
use super::finish::{Operand, Target};
use super::forward::Start;
use super::map::{Buffer, Layout, TILE};
use super::program::{Compiled, size_of};
use super::reach::{Corner, Local, Reach};
use super::wave::Wave;
use super::work::Work;
use super::workspace::Workspace;
use crate::kernel::Change;
use std::collections::HashMap;
use std::ops::Range;

/// Floats of clean maps that are kept at a time, 256 MiB, where one image does not need more.
const CLEAN_FLOATS: usize = 1 << 26;

impl Cpu {
    /// Logits, one row a change, of base images 3×H×W one after the other with some pixels changed. The first `in_part`
    /// units are computed only where the change reaches; `None`: as many as pay for its number of pixels.
    ///
    /// # Panics
    /// Where a change names an image or a place that is not there.
    pub fn changed(&self, base: &[f32], changes: &[Change], in_part: Option<usize>) -> Vec<f32> {
        let (values, plane) = (self.values(), self.size[0] * self.size[1]);
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
                let pixels: Vec<&[f32]> = some.iter().map(|i| &base[i * values..][..values]).collect();
                Clean::new(self, depth, first, &pixels).logits(edits, &mut logits);
            }
        }
        logits
    }
}

/// A change on its way.
#[derive(Clone, Copy)]
struct Edit<'a> {
    /// Row of its logits.
    row: usize,
    change: &'a Change,
    /// Units computed in part.
    depth: usize,
    /// Number of its base image among those of this depth.
    clean: usize,
}

/// The first values of some base images.
struct Clean<'a> {
    cpu: &'a Cpu,
    /// Number of the first: see [`Edit::clean`].
    first: usize,
    /// The images, normalised, and what each of the first units makes of them.
    maps: Vec<(Buffer, Layout)>,
    /// Of these values, those that later units read.
    wanted: Vec<usize>,
}

/// The tiles of a value that some changes reach, and what its unit made of them.
#[derive(Default)]
struct Patches {
    /// Number of the edit, and place of its first output before any pool, in order.
    tiles: Vec<(usize, Corner)>,
    made: Buffer,
}

impl<'a> Clean<'a> {
    /// Floats of an image with its first values.
    fn floats(cpu: &Cpu, depth: usize) -> usize {
        let of_image = |value: usize| if value == 0 { cpu.images.image } else { cpu.layout_of(value).image };
        (0..=depth).map(of_image).sum()
    }

    /// Of images 3×H×W.
    fn new(cpu: &'a Cpu, depth: usize, first: usize, pixels: &[&[f32]]) -> Clean<'a> {
        let n = pixels.len();
        let layout = |value: usize| {
            let layout = if value == 0 { cpu.images } else { cpu.layout_of(value) };
            Layout { capacity: n, ..layout }
        };
        let mut maps: Vec<(Buffer, Layout)> =
            (0..=depth).map(layout).map(|layout| (Buffer::new(layout.len()), layout)).collect();
        for (image, pixels) in maps[0].0.chunks_exact_mut(cpu.images.image).zip(pixels) {
            cpu.normalise(pixels, image);
        }
        for (i, u) in cpu.units[..depth].iter().enumerate() {
            let operand = |value: &usize| Operand { map: maps[*value].0.as_ptr(), layout: maps[*value].1 };
            let sources: Vec<Operand> = u.unit.reads.iter().map(operand).collect();
            let add = u.unit.add.as_ref().map(operand);
            let (layout, (_, size)) = (maps[i + 1].1, size_of(&u.unit.before_pool));
            let finish = u.finish(None);
            let target = Target { map: maps[i + 1].0.as_mut_ptr(), layout, size, add, finish };
            let crew = &mut Crew::Team(cpu);
            let job = Job { table: cpu.table, source: sources[0], target, images: 0..n, crew, shift: [0; 2] };
            u.compute(job, sources, None);
        }
        let reads = |u: &Compiled, v: usize| u.unit.reads.contains(&v) || u.unit.add == Some(v);
        let is_wanted = |v: &usize| *v == cpu.features || cpu.units[depth..].iter().any(|u| reads(u, *v));
        Clean { cpu, first, maps, wanted: (0..=depth).filter(is_wanted).collect() }
    }

    /// Logits of changes of these images, each to its row.
    fn logits(&self, edits: &[Edit], logits: &mut [f32]) {
        let cpu = self.cpu;
        let fill = |workspace: &mut Workspace, edits: &[Edit], images: Range<usize>, crew: &mut Crew| {
            self.fill(workspace, &edits[images.clone()], images.start, crew);
        };
        let start = Start { unit: self.maps.len() - 1, fill: &fill };
        for edits in edits.chunks(cpu.shard() * rayon::current_num_threads()) {
            let (_, of_wave) = Wave::begin(cpu, edits.len(), false).forward(edits, &start);
            for (edit, of_row) in edits.iter().zip(of_wave.chunks_exact(cpu.classes)) {
                logits[edit.row * cpu.classes..][..cpu.classes].copy_from_slice(of_row);
            }
        }
    }

    /// Writes what the first unit behind these values and all later ones read, for the workspace's images from `first` on.
    fn fill(&self, workspace: &mut Workspace, edits: &[Edit], first: usize, crew: &mut Crew) {
        let (cpu, depth) = (self.cpu, self.maps.len() - 1);
        let width = cpu.size[1];
        let reach_of = |e: &Edit| Reach::new(e.change.pixels.iter().map(|(place, _)| *place), width);
        let mut reach: Vec<Reach> = edits.iter().map(reach_of).collect();
        let mut patches: Vec<Patches> = vec![Patches::default()];
        for (i, u) in cpu.units[..depth].iter().enumerate() {
            let tiles = reach.iter_mut().enumerate();
            let tiles = tiles.flat_map(|(n, reach)| reach.through(u).into_iter().map(move |place| (n, place)));
            let tiles: Vec<(usize, Corner)> = tiles.collect();
            let made = self.compute(i, &tiles, &patches, edits, crew);
            patches.push(Patches { tiles, made });
        }
        for value in &self.wanted {
            let (to, layout) = match value.checked_sub(1) {
                Some(unit) => {
                    let slot = cpu.program.slots[cpu.units[unit].map];
                    (&mut workspace.maps[slot.buffer], slot.layout)
                }
                None => (&mut workspace.images, cpu.images),
            };
            let (from, of_clean) = &self.maps[*value];
            for (n, edit) in edits.iter().enumerate() {
                let image = &mut to[layout.corner(first + n)..][..layout.image];
                image.copy_from_slice(&from[of_clean.corner(edit.clean - self.first)..][..layout.image]);
                let area = Area { values: image, corner: (0, 0), layout: Layout { capacity: 1, ..layout } };
                self.paste(*value, &patches[*value], (n, edit), area);
            }
        }
    }

    /// What unit `i` makes of these tiles.
    fn compute(
        &self,
        i: usize,
        tiles: &[(usize, Corner)],
        patches: &[Patches],
        edits: &[Edit],
        crew: &mut Crew,
    ) -> Buffer {
        let (cpu, u) = (self.cpu, &self.cpu.units[i]);
        let local = u.local().expect("units that are computed in part are local");
        let layout = self.of_tiles(i + 1, tiles.len());
        let mut made = Buffer::new(layout.len());
        let gather = |value: usize, local: &Local| self.gather(value, local, tiles, patches, edits);
        // some kernels want the same memory as a tile with a border around it
        let has_border = matches!(u.work, Work::First(_) | Work::Winograd(..));
        let read = |value: &usize| {
            let (map, layout) = gather(*value, &local);
            (map, if has_border { Layout { size: [TILE; 2], border: 1, ..layout } } else { layout })
        };
        let read: Vec<(Buffer, Layout)> = u.unit.reads.iter().map(read).collect();
        let add = u.unit.add.map(|value| gather(value, &Local::POINT));
        let operand = |(map, layout): &(Buffer, Layout)| Operand { map: map.as_ptr(), layout: *layout };
        let sources: Vec<Operand> = read.iter().map(operand).collect();
        let finish = u.finish(None);
        let target = Target { map: made.as_mut_ptr(), layout, size: [TILE; 2], add: add.as_ref().map(operand), finish };
        let images = 0..tiles.len();
        let job = Job { table: cpu.table, source: sources[0], target, images, crew, shift: local.before };
        u.compute(job, sources, None);
        made
    }

    /// Layout of the outputs of so many tiles of a value, after any pool.
    fn of_tiles(&self, value: usize, tiles: usize) -> Layout {
        let u = &self.cpu.units[value - 1];
        let side = if u.unit.pooled { TILE / 2 } else { TILE };
        Layout::new(size_of(&u.unit.shape).0, [side; 2], false, tiles)
    }

    /// What an operation reads of a value for these tiles: clean, and over it what was made anew.
    fn gather(
        &self,
        value: usize,
        local: &Local,
        tiles: &[(usize, Corner)],
        patches: &[Patches],
        edits: &[Edit],
    ) -> (Buffer, Layout) {
        let (from, of_clean) = &self.maps[value];
        let [rows, columns] = local.region();
        let channels = of_clean.channels;
        let row = columns * channels;
        let layout =
            Layout { channels, size: [rows, columns], border: 0, row, image: rows * row, capacity: tiles.len() };
        let mut read = Buffer::new(layout.len());
        for ((n, (y, x)), patch) in tiles.iter().zip(read.chunks_exact_mut(layout.image)) {
            // the first input, counted with what lies before the map
            let (y, x) = (y * local.stride[0], x * local.stride[1]);
            let ys = inside(y, rows, local.before[0], of_clean.size[0]);
            let xs = inside(x, columns, local.before[1], of_clean.size[1]);
            if local.outside != 0.0 {
                patch.fill(local.outside);
            }
            let image = of_clean.corner(edits[*n].clean - self.first);
            for i in ys {
                let at = image + of_clean.inside(i - local.before[0], xs.start - local.before[1]);
                let to = (i - y) * row + (xs.start - x) * channels;
                let floats = xs.len() * channels;
                patch[to..to + floats].copy_from_slice(&from[at..at + floats]);
            }
            let area = Area { values: patch, corner: (y, x), layout: Layout { capacity: 1, ..layout } };
            self.paste_before(value, &patches[value], (*n, &edits[*n]), area, local.before);
        }
        (read, layout)
    }

    /// [`Clean::paste`] to an area whose corner is counted with what lies before the map.
    fn paste_before(&self, value: usize, p: &Patches, edit: (usize, &Edit), mut area: Area, before: [usize; 2]) {
        let moved = |at: usize, before: usize| (at.saturating_sub(before), before.saturating_sub(at));
        let ((y, above), (x, left)) = (moved(area.corner.0, before[0]), moved(area.corner.1, before[1]));
        // what lies before the map is cut off
        let [rows, columns] = area.layout.size;
        let skip = area.layout.inside(above.min(rows), left.min(columns));
        let layout = Layout { size: [rows.saturating_sub(above), columns.saturating_sub(left)], ..area.layout };
        if skip < area.values.len() {
            area = Area { values: &mut area.values[skip..], corner: (y, x), layout };
            self.paste(value, p, edit, area);
        }
    }

    /// Writes what differs from the clean map of a value, for edit number `n`, where it lies in the area.
    fn paste(&self, value: usize, patches: &Patches, (n, edit): (usize, &Edit), area: Area) {
        let Some(u) = value.checked_sub(1).map(|unit| &self.cpu.units[unit]) else {
            return edit.paste(self.cpu, area);
        };
        let (tiles, (_, size)) = (self.of_tiles(value, patches.tiles.len()), size_of(&u.unit.shape));
        let scale = TILE / tiles.size[0];
        let first = patches.tiles.partition_point(|(edit, _)| *edit < n);
        for (tile, (_, (y, x))) in patches.tiles[first..].iter().take_while(|(edit, _)| *edit == n).enumerate() {
            let (y, x) = (y / scale, x / scale);
            let ys = overlap(y, tiles.size[0], size[0], area.corner.0, area.layout.size[0]);
            let xs = overlap(x, tiles.size[1], size[1], area.corner.1, area.layout.size[1]);
            if xs.is_empty() {
                continue;
            }
            let floats = xs.len() * tiles.channels;
            for row in ys {
                let from = tiles.at(first + tile, row - y, xs.start - x);
                let to = area.layout.inside(row - area.corner.0, xs.start - area.corner.1);
                area.values[to..to + floats].copy_from_slice(&patches.made[from..from + floats]);
            }
        }
    }
}

/// A part of a map, and the place of its first pixel on the map.
struct Area<'a> {
    values: &'a mut [f32],
    corner: Corner,
    layout: Layout,
}

impl Edit<'_> {
    /// Writes its pixels, normalised, that lie in an area of the image.
    fn paste(&self, cpu: &Cpu, area: Area) {
        let ((top, left), [rows, columns]) = (area.corner, area.layout.size);
        for (place, colour) in &self.change.pixels {
            let (y, x) = (place / cpu.size[1], place % cpu.size[1]);
            if (top..top + rows).contains(&y) && (left..left + columns).contains(&x) {
                let at = area.layout.inside(y - top, x - left);
                for (c, v) in area.values[at..at + 3].iter_mut().enumerate() {
                    *v = (colour[c] - cpu.mean[c]) / cpu.std[c];
                }
            }
        }
    }
}

/// Of `count` places from `first` on, counted with `before` places before a map of `size`, those on the map, counted so too.
fn inside(first: usize, count: usize, before: usize, size: usize) -> Range<usize> {
    let end = (first + count).min(size + before);
    first.max(before).min(end)..end
}

/// Along one side: pixels of a tile that begins at `tile` that lie in the map and in an area that begins at `corner`.
fn overlap(tile: usize, size: usize, map: usize, corner: usize, area: usize) -> Range<usize> {
    tile.max(corner)..(tile + size).min(map).min(corner + area)
}
