//! Operations that make every output from a few inputs around it, row by row: no products, so that reading and writing is
//! what they cost.

use super::finish::{Operand, Place, Target};
use super::lanes::{LANES, Lanes};
use super::lattice::{Lattice, Tap};
use crate::kernel::graph::Window;
use std::ops::Range;

/// Taps of a max-pool at most.
pub const MOST_TAPS: usize = 64;

/// Outputs of a row that a depthwise convolution makes at once with the same weights.
const TOGETHER: usize = 4;

/// Outputs of a row that it makes with all their channels before the next: what they read stays in the first cache.
const RUN: usize = 16;

/// Some rows of outputs of one image.
pub struct Rows<'a> {
    pub work: RowWork<'a>,
    pub source: Operand,
    pub target: Target,
    pub image: usize,
    /// Of the target, or of the lattice.
    pub rows: Range<usize>,
}

/// What to compute. Channels are padded; numbers a channel are as many as those.
#[derive(Clone, Copy)]
pub enum RowWork<'a> {
    /// factor·x + shift.
    Scale {
        factor: &'a [f32],
        shift: &'a [f32],
    },
    /// The same of images, whose three channels lie without padding.
    Lift {
        factor: &'a [f32],
        shift: &'a [f32],
    },
    /// `channels` channels from one place among the channels to another.
    Copy {
        from: usize,
        to: usize,
        channels: usize,
    },
    /// Each channel by itself; weights are tap × channels, windows moved by a shift.
    Depthwise {
        lattice: &'a Lattice,
        weights: &'a [f32],
        shift: [usize; 2],
    },
    /// The first largest of a window, NaN above all. One bit a tap says which it was, unless nobody wants to know.
    MaxPool {
        window: &'a Window,
        won: *mut u16,
    },
    /// From outputs back to the inputs that won.
    MaxPoolBack {
        window: &'a Window,
        won: *const u16,
    },
    /// Over the channels of a place, of which `channels` count; for each place the normalised numbers are kept behind sixteen
    /// times 1/√(variance + eps), unless nobody wants them.
    LayerNorm {
        factor: &'a [f32],
        shift: &'a [f32],
        eps: f32,
        channels: usize,
        kept: *mut f32,
    },
    LayerNormBack {
        factor: &'a [f32],
        channels: usize,
        kept: *const f32,
    },
    /// Mean of a window.
    Average {
        windows: &'a Windows,
    },
    /// From means back to their windows.
    AverageBack {
        windows: &'a Windows,
    },
}

// SAFETY: what is kept of a pixel is written by the piece that computes it
unsafe impl Sync for Rows<'_> {}

/// Windows of an average, along rows and along columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Places of each window on the map.
    pub places: [Vec<Range<usize>>; 2],
    /// By how many each is divided.
    pub counts: [Vec<usize>; 2],
    /// Windows that each place belongs to.
    pub readers: [Vec<Range<usize>>; 2],
}

impl Windows {
    /// From places and counts on a map of this size.
    pub fn new(places: [Vec<Range<usize>>; 2], counts: [Vec<usize>; 2], size: [usize; 2]) -> Windows {
        let readers = [0, 1].map(|axis| {
            let windows: &Vec<Range<usize>> = &places[axis];
            let of = |place: usize| {
                windows.partition_point(|w| w.end <= place)..windows.partition_point(|w| w.start <= place)
            };
            (0..size[axis]).map(of).collect()
        });
        Windows { places, counts, readers }
    }
}

/// Computes it.
///
/// # Safety
/// The instruction set of L is there; source and target are different maps that hold the image; nobody else uses these rows
/// of the target meanwhile; bits are good for the whole shard.
#[inline(always)]
pub unsafe fn compute<L: Lanes>(r: &Rows) {
    let (map, layout) = (r.source.map, &r.source.layout);
    // SAFETY: the contract; each place is inside the map that it is read from
    unsafe {
        let map = map.add(layout.corner(r.image));
        let at = |y: usize, x: usize, channel: usize| L::load(map.add(layout.inside(y, x) + channel));
        match r.work {
            RowWork::Scale { factor, shift } => each::<L>(r, |y, x, c| {
                at(y, x, c).mul_add(L::load(factor.as_ptr().add(c)), L::load(shift.as_ptr().add(c)))
            }),
            RowWork::Lift { factor, shift } => each::<L>(r, |y, x, c| {
                let mut lanes = [0.0; LANES];
                for (i, lane) in lanes.iter_mut().enumerate().take(3) {
                    *lane = (*map.add(layout.inside(y, x) + i)).mul_add(factor[c + i], shift[c + i]);
                }
                L::load(lanes.as_ptr())
            }),
            RowWork::Copy { from, to, channels } => copy::<L>(r, from, to, channels),
            RowWork::Depthwise { lattice, weights, shift } => depthwise::<L>(r, lattice, weights, shift),
            RowWork::MaxPool { window, won } => max_pool::<L>(r, window, won),
            RowWork::MaxPoolBack { window, won } => max_pool_back::<L>(r, window, won),
            RowWork::LayerNorm { factor, shift, eps, channels, kept } => {
                let apply = (factor, shift, eps);
                for (place, from, kept) in places(r, kept) {
                    layer_norm::<L>(r, place, from, kept, apply, channels);
                }
            }
            RowWork::LayerNormBack { factor, channels, kept } => {
                for (place, from, kept) in places(r, kept.cast_mut()) {
                    layer_norm_back::<L>(r, place, from, kept, factor, channels);
                }
            }
            RowWork::Average { windows } => each::<L>(r, |y, x, c| {
                let mut sum = L::zero();
                for i in windows.places[0][y].clone() {
                    for j in windows.places[1][x].clone() {
                        sum = sum.add(at(i, j, c));
                    }
                }
                divided(sum, windows.counts[0][y] * windows.counts[1][x])
            }),
            RowWork::AverageBack { windows } => each::<L>(r, |y, x, c| {
                let mut sum = L::zero();
                for i in windows.readers[0][y].clone() {
                    for j in windows.readers[1][x].clone() {
                        sum = sum.add(divided(at(i, j, c), windows.counts[0][i] * windows.counts[1][j]));
                    }
                }
                sum
            }),
        }
    }
}

/// Puts v(row, column, channel) for every pixel of the rows.
#[inline(always)]
unsafe fn each<L: Lanes>(r: &Rows, v: impl Fn(usize, usize, usize) -> L) {
    let first = r.target.image(r.image);
    for y in r.rows.clone() {
        for x in 0..r.target.size[1] {
            let place = r.target.place(first, y, x);
            for channel in (0..r.target.layout.channels).step_by(LANES) {
                // SAFETY: a pixel and channels of the target
                unsafe { r.target.one(place, channel, v(y, x, channel)) }
            }
        }
    }
}

/// Floats that a layer norm keeps of a place with so many channels, padded.
pub fn kept_of_layer_norm(channels: usize) -> usize {
    LANES + channels
}

/// Each place of the rows: where it goes, where its channels lie, and where what is kept of it lies. An iterator, since a closure
/// that is not inlined is compiled without the instruction set.
#[inline(always)]
fn places(r: &Rows, kept: *mut f32) -> impl Iterator<Item = (Place, *const f32, *mut f32)> {
    let [height, width] = r.target.size;
    let (first, of_place) = (r.target.image(r.image), kept_of_layer_norm(r.target.layout.channels));
    r.rows.clone().flat_map(move |y| (0..width).map(move |x| (y, x))).map(move |(y, x)| {
        let from = r.source.map.wrapping_add(r.source.layout.at(r.image, y, x));
        let at = ((r.image * height + y) * width + x) * of_place;
        let kept = if kept.is_null() { kept } else { kept.wrapping_add(at) };
        (r.target.place(first, y, x), from, kept)
    })
}

/// The sum of sixteen lanes, by halves.
#[inline(always)]
unsafe fn total<L: Lanes>(v: L) -> f32 {
    let mut lanes = [0.0f32; LANES];
    // SAFETY: sixteen floats
    unsafe { v.store(lanes.as_mut_ptr()) };
    for half in [8, 4, 2, 1] {
        (0..half).for_each(|i| lanes[i] += lanes[i + half]);
    }
    lanes[0]
}

/// (x − mean)/√(variance + eps)·factor + shift over the channels of a place.
#[inline(always)]
unsafe fn layer_norm<L: Lanes>(
    r: &Rows,
    place: Place,
    from: *const f32,
    kept: *mut f32,
    (factor, shift, eps): (&[f32], &[f32], f32),
    channels: usize,
) {
    // lanes of the last vector that count
    let lanes = |c: usize| if c + LANES <= channels { u16::MAX } else { (1 << (channels - c)) - 1 };
    // SAFETY: channels of the place, and of numbers that are as many
    unsafe {
        let mut sum = L::zero();
        for c in (0..channels).step_by(LANES) {
            sum = sum.add(L::load(from.add(c)).keep(lanes(c)));
        }
        let mean = L::splat(total(sum) / channels as f32);
        let mut sum = L::zero();
        for c in (0..channels).step_by(LANES) {
            let off = L::load(from.add(c)).sub(mean).keep(lanes(c));
            sum = off.mul_add(off, sum);
        }
        let scale = L::splat(1.0 / (total(sum) / channels as f32 + eps).sqrt());
        if !kept.is_null() {
            scale.store(kept);
        }
        for c in (0..channels).step_by(LANES) {
            let normal = L::load(from.add(c)).sub(mean).mul_add(scale, L::zero());
            if !kept.is_null() {
                normal.store(kept.add(LANES + c));
            }
            let y = normal.mul_add(L::load(factor.as_ptr().add(c)), L::load(shift.as_ptr().add(c)));
            r.target.one(place, c, y);
        }
    }
}

/// With n the normalised numbers and h = g·factor: (h − mean(h) − n·mean(h·n))/√(variance + eps).
#[inline(always)]
unsafe fn layer_norm_back<L: Lanes>(
    r: &Rows,
    place: Place,
    from: *const f32,
    kept: *const f32,
    factor: &[f32],
    channels: usize,
) {
    // SAFETY: as in `layer_norm`; factors beyond the channels that count are 0
    unsafe {
        let (mut sum, mut product) = (L::zero(), L::zero());
        let scaled = |c: usize| L::load(from.add(c)).mul_add(L::load(factor.as_ptr().add(c)), L::zero());
        for c in (0..channels).step_by(LANES) {
            let h = scaled(c);
            sum = sum.add(h);
            product = h.mul_add(L::load(kept.add(LANES + c)), product);
        }
        let mean = L::splat(total(sum) / channels as f32);
        let along = L::splat(total(product) / channels as f32);
        let (scale, zero) = (L::load(kept), L::zero());
        for c in (0..channels).step_by(LANES) {
            let n = L::load(kept.add(LANES + c));
            let rest = n.mul_add(zero.sub(along), scaled(c).sub(mean));
            r.target.one(place, c, rest.mul_add(scale, zero));
        }
    }
}

/// The window along an axis whose tap `t` meets a place.
#[inline(always)]
fn meets(window: &Window, axis: usize, place: usize, t: usize) -> Option<usize> {
    let begin = (place + window.padding[axis]).checked_sub(t * window.dilation[axis])?;
    begin.is_multiple_of(window.stride[axis]).then(|| begin / window.stride[axis])
}

/// Every lane divided, unless by one.
#[inline(always)]
unsafe fn divided<L: Lanes>(v: L, by: usize) -> L {
    if by == 1 {
        return v;
    }
    let mut lanes = [0.0f32; LANES];
    // SAFETY: sixteen floats
    unsafe {
        v.store(lanes.as_mut_ptr());
        lanes.iter_mut().for_each(|v| *v /= by.max(1) as f32);
        L::load(lanes.as_ptr())
    }
}

/// The largest of each window, and which lanes found it at which tap.
#[inline(always)]
unsafe fn max_pool<L: Lanes>(r: &Rows, window: &Window, won: *mut u16) {
    let (layout, [down, across]) = (&r.source.layout, window.size);
    let ([height, width], groups) = (layout.size, layout.channels / LANES);
    let (first, corner) = (r.target.image(r.image), layout.corner(r.image));
    // taps that lie on the map, and where
    let mut seen = [(0usize, 0usize); MOST_TAPS];
    for (i, j) in r.rows.clone().flat_map(|i| (0..r.target.size[1]).map(move |j| (i, j))) {
        let mut taps = 0;
        for ty in 0..down {
            let Some(y) = window.place(0, i, ty, height) else { continue };
            for tx in 0..across {
                let Some(x) = window.place(1, j, tx, width) else { continue };
                seen[taps] = (ty * across + tx, corner + layout.inside(y, x));
                taps += 1;
            }
        }
        let (place, seen) = (r.target.place(first, i, j), &seen[..taps]);
        let pixel = (r.image * r.target.size[0] + i) * r.target.size[1] + j;
        for channel in (0..layout.channels).step_by(LANES) {
            // SAFETY: places on the map; bits of this pixel
            unsafe {
                // a window that sees nothing
                let mut best = L::splat(f32::NEG_INFINITY);
                let mut wins = [0u16; MOST_TAPS];
                for (n, (_, at)) in seen.iter().enumerate() {
                    let v = L::load(r.source.map.add(at + channel));
                    let larger = if n == 0 { u16::MAX } else { v.greater(best) | v.unordered(v) };
                    best = if n == 0 { v } else { v.keep(larger).add(best.keep(!larger)) };
                    wins[..n].iter_mut().for_each(|w| *w &= !larger);
                    wins[n] = larger;
                }
                r.target.one(place, channel, best);
                if !won.is_null() {
                    for ((tap, _), wins) in seen.iter().zip(wins) {
                        *won.add((pixel * down * across + tap) * groups + channel / LANES) = wins;
                    }
                }
            }
        }
    }
}

/// From each output back to the input that won.
#[inline(always)]
unsafe fn max_pool_back<L: Lanes>(r: &Rows, window: &Window, won: *const u16) {
    let (layout, taps) = (&r.source.layout, window.size[0] * window.size[1]);
    let ([down, across], groups) = (layout.size, layout.channels / LANES);
    let (first, corner) = (r.target.image(r.image), layout.corner(r.image));
    // outputs whose windows see the place: where their gradients and bits are
    let mut seen = [(0usize, 0usize); MOST_TAPS];
    for (y, x) in r.rows.clone().flat_map(|y| (0..r.target.size[1]).map(move |x| (y, x))) {
        let mut outputs = 0;
        for ty in 0..window.size[0] {
            let Some(i) = meets(window, 0, y, ty).filter(|i| *i < down) else { continue };
            for tx in 0..window.size[1] {
                let Some(j) = meets(window, 1, x, tx).filter(|j| *j < across) else { continue };
                let bits = (((r.image * down + i) * across + j) * taps + ty * window.size[1] + tx) * groups;
                seen[outputs] = (corner + layout.inside(i, j), bits);
                outputs += 1;
            }
        }
        let place = r.target.place(first, y, x);
        for channel in (0..layout.channels).step_by(LANES) {
            // SAFETY: places on the map; bits of its pixels
            unsafe {
                let mut sum = L::zero();
                for (at, bits) in &seen[..outputs] {
                    let g = L::load(r.source.map.add(at + channel));
                    sum = sum.add(g.keep(*won.add(bits + channel / LANES)));
                }
                r.target.one(place, channel, sum);
            }
        }
    }
}

/// A tap of a depthwise convolution in a row of outputs: where its weights are, and the column and the place that it has for the
/// first output, which may lie before the row.
#[derive(Clone, Copy, Default)]
struct RowTap {
    weight: usize,
    column: isize,
    at: usize,
}

/// Each channel by itself: outputs of a row whose taps all lie on the map some at once, those at its ends one by one.
#[inline(always)]
unsafe fn depthwise<L: Lanes>(r: &Rows, lattice: &Lattice, weights: &[f32], shift: [usize; 2]) {
    let (target, layout) = (r.target, &r.source.layout);
    let [height, width] = layout.size.map(|n| n as isize);
    let ([_, across], stride, step) =
        (lattice.count(target.size), lattice.stride[1], lattice.stride[1] * layout.channels);
    assert!(weights.len() >= layout.channels && lattice.taps.len() <= MOST_TAPS);
    let (image, corner) = (target.image(r.image), layout.corner(r.image));
    let column = |tap: &Tap| shift[1] as isize + tap.offset[1];
    let on = |column: isize, x: usize| (0..width).contains(&(column + (x * stride) as isize));
    let whole = |x: usize| lattice.taps.iter().all(|tap| on(column(tap), x));
    let first = (0..across).find(|x| whole(*x)).unwrap_or(across);
    let last = (first..across).find(|x| !whole(*x)).unwrap_or(across);
    let (mut seen, mut places) = ([RowTap::default(); MOST_TAPS], vec![Place::default(); across]);
    for i in r.rows.clone() {
        let mut taps = 0;
        for tap in &lattice.taps {
            let y = (i * lattice.stride[0] + shift[0]) as isize + tap.offset[0];
            if (0..height).contains(&y) {
                let column = column(tap);
                let at = corner + layout.inside(y as usize, 0);
                let at = at.wrapping_add_signed(column * layout.channels as isize);
                seen[taps] = RowTap { weight: tap.number * layout.channels, column, at };
                taps += 1;
            }
        }
        let seen = &seen[..taps];
        let y = lattice.origin[0] + i * lattice.step[0];
        for (x, to) in places.iter_mut().enumerate() {
            *to = target.place(image, y, lattice.origin[1] + x * lattice.step[1]);
        }
        // a run of outputs with all their channels lies together in memory
        for run in (0..across).step_by(RUN).map(|x| x..(x + RUN).min(across)) {
            let inner = run.start.max(first).min(run.end)..run.end.min(last).max(run.start);
            for channel in (0..layout.channels).step_by(LANES) {
                let (weights, map) = (weights.as_ptr().wrapping_add(channel), r.source.map.wrapping_add(channel));
                // SAFETY: taps are read only inside the map; targets are pixels of the lattice
                unsafe {
                    let mut x = inner.start;
                    while x + TOGETHER <= inner.end {
                        let mut sums = [L::zero(); TOGETHER];
                        for tap in seen {
                            let weight = L::load(weights.add(tap.weight));
                            let from = map.wrapping_add(tap.at.wrapping_add(x * step));
                            for (q, sum) in sums.iter_mut().enumerate() {
                                *sum = L::load(from.add(q * step)).mul_add(weight, *sum);
                            }
                        }
                        for (sum, place) in sums.into_iter().zip(&places[x..]) {
                            target.one(*place, channel, sum);
                        }
                        x += TOGETHER;
                    }
                    for x in (run.start..inner.start).chain(x..run.end) {
                        let mut sum = L::zero();
                        for tap in seen.iter().filter(|tap| on(tap.column, x)) {
                            let from = map.wrapping_add(tap.at.wrapping_add(x * step));
                            sum = L::load(from).mul_add(L::load(weights.add(tap.weight)), sum);
                        }
                        target.one(places[x], channel, sum);
                    }
                }
            }
        }
    }
}

/// Channels from one place to another: whole vectors where both begin with one, else number by number. On the way to the
/// first channels a gradient is finished; channels that are put behind others are not.
#[inline(always)]
unsafe fn copy<L: Lanes>(r: &Rows, from: usize, to: usize, channels: usize) {
    let (layout, first) = (&r.source.layout, r.target.image(r.image));
    for y in r.rows.clone() {
        for x in 0..r.target.size[1] {
            let place = r.target.place(first, y, x);
            for c in (0..channels).step_by(LANES) {
                let some = LANES.min(channels - c);
                // SAFETY: channels of a pixel of either map
                unsafe {
                    let source = r.source.map.add(layout.at(r.image, y, x) + from + c);
                    if to.is_multiple_of(LANES) && some == LANES {
                        r.target.one(place, to + c, L::load(source));
                    } else if to.is_multiple_of(LANES) {
                        let mut lanes = [0.0f32; LANES];
                        (0..some).for_each(|i| lanes[i] = *source.add(i));
                        r.target.one(place, to + c, L::load(lanes.as_ptr()));
                    } else {
                        r.target.raw(place, to + c, std::slice::from_raw_parts(source, some));
                    }
                }
            }
            // what fills the last vector; channels behind these come later
            let end = to + channels;
            // SAFETY: as above
            unsafe { r.target.raw(place, end, &[0.0; LANES][..end.next_multiple_of(LANES) - end]) }
        }
    }
}
