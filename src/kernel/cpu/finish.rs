//! What is done with the outputs of an operation before they are stored: bias, a sum, a function and max-pool on the way
//! forward; on the way back another gradient is added, and what the function lets through. Of activations only bits are
//! kept, and slopes where a function has more than two.
//!
//! NaN as in PyTorch: ReLU and max-pool let it through, and its gradient passes a ReLU.

use super::lanes::{LANES, Lanes};
use super::map::Layout;
use super::smooth::smooth;
use crate::kernel::graph::{Activation, Window};

/// The pool that a convolution can do with its outputs.
pub const PAIRS: Window = Window { size: [2; 2], stride: [2; 2], dilation: [1; 2], padding: [0; 4] };

/// One bit a channel for sixteen channels of a pooled pixel.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct PoolBits {
    /// Whether the ReLU let it through.
    relu: u16,
    /// Whether the winner stood in the right column.
    right: u16,
    /// Whether the winner stood in the lower row.
    lower: u16,
}

/// What to do with the outputs. Bits and slopes are indexed by image (within the shard), row, column, sixteen channels;
/// pointers are good for the whole shard, or null where they are not wanted on the way forward.
#[derive(Clone, Copy)]
pub enum Finish {
    /// Bias, and no function.
    Bias { bias: *const f32 },
    /// Bias, ReLU; its bits are written.
    Relu { bias: *const f32, bits: *mut u16 },
    /// Bias, the nearest number between two bounds; the bits of what lies strictly between are written.
    Clip { bias: *const f32, bounds: [f32; 2], bits: *mut u16 },
    /// Bias, any function; its slopes are written.
    Smooth { bias: *const f32, function: Activation, slopes: *mut f32 },
    /// Bias, ReLU, 2×2 maximum (ties to the first); the bits are written.
    Pool { bias: *const f32, bits: *mut PoolBits },
    /// A gradient as it is.
    Pass,
    /// A gradient goes back through a ReLU or bounds.
    Mask { bits: *const u16 },
    /// A gradient goes back through a function.
    Slopes { slopes: *const f32 },
    /// A gradient goes back through a pool and a ReLU, to a map of twice the side.
    Unpool { bits: *const PoolBits },
}

/// Where the outputs of an operation go.
#[derive(Clone, Copy)]
pub struct Target {
    /// Base of the map.
    pub map: *mut f32,
    /// Its layout: of the pooled map for [`Finish::Pool`], of the unpooled one for [`Finish::Unpool`].
    pub layout: Layout,
    /// Height and width of the operation's own output.
    pub size: [usize; 2],
    /// A map of that size that is added.
    pub add: Option<Operand>,
    /// What to do.
    pub finish: Finish,
}

/// A map that is only read.
#[derive(Clone, Copy)]
pub struct Operand {
    /// Base of the map.
    pub map: *const f32,
    /// Its layout.
    pub layout: Layout,
}

// SAFETY: threads that share a target write different pixels or different channels of it.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// A pixel of a target: where it is stored, where the operand of the sum lies, and its number in bits and slopes.
#[derive(Clone, Copy, Default)]
pub struct Place {
    to: usize,
    add: usize,
    pixel: usize,
}

impl Target {
    /// The first pixel of an image.
    #[inline(always)]
    pub fn image(&self, image: usize) -> Place {
        Place {
            to: self.layout.corner(image),
            add: self.add.map_or(0, |add| add.layout.corner(image)),
            pixel: image * self.size[0] * self.size[1],
        }
    }

    /// A pixel of the operation's own output, from the first of its image.
    #[inline(always)]
    pub fn place(&self, image: Place, y: usize, x: usize) -> Place {
        let (y_to, x_to) = if let Finish::Unpool { .. } = self.finish { (2 * y, 2 * x) } else { (y, x) };
        Place {
            to: image.to + self.layout.inside(y_to, x_to),
            add: image.add + self.add.map_or(0, |add| add.layout.inside(y, x)),
            pixel: image.pixel + y * self.size[1] + x,
        }
    }

    /// Takes the output of a pixel for the sixteen channels from `channel` on.
    ///
    /// # Safety
    /// As for [`Target::put`]; not for [`Finish::Pool`], which needs whole windows.
    #[inline(always)]
    pub unsafe fn one<L: Lanes>(&self, place: Place, channel: usize, v: L) {
        let group = place.pixel * (self.layout.channels / LANES) + channel / LANES;
        // SAFETY: a pixel and channels of the map and of what is kept, by the contract
        unsafe {
            let (zero, to) = (L::zero(), self.map.add(place.to + channel));
            let sum = |v: L| match &self.add {
                Some(add) => v.add(L::load(add.map.add(place.add + channel))),
                None => v,
            };
            match self.finish {
                Finish::Bias { bias } => sum(v.add(L::load(bias.add(channel)))).store(to),
                Finish::Relu { bias, bits } => {
                    let t = sum(v.add(L::load(bias.add(channel))));
                    if !bits.is_null() {
                        *bits.add(group) = t.not_at_most(zero);
                    }
                    zero.max(t).store(to);
                }
                Finish::Clip { bias, bounds, bits } => {
                    let t = sum(v.add(L::load(bias.add(channel))));
                    let [low, high] = bounds.map(|b| L::splat(b));
                    if !bits.is_null() {
                        *bits.add(group) = t.not_at_most(low) & high.not_at_most(t);
                    }
                    // the smaller by the larger of the negatives, so that NaN stays
                    zero.sub(zero.sub(high).max(zero.sub(low.max(t)))).store(to);
                }
                Finish::Smooth { bias, function, slopes } => {
                    let t = sum(v.add(L::load(bias.add(channel))));
                    let mut lanes = [0.0; LANES];
                    t.store(lanes.as_mut_ptr());
                    let (y, slope) = smooth(function, lanes);
                    L::load(y.as_ptr()).store(to);
                    if !slopes.is_null() {
                        L::load(slope.as_ptr()).store(slopes.add(group * LANES));
                    }
                }
                Finish::Pool { .. } => unreachable!("a pool takes windows"),
                Finish::Pass => sum(v).store(to),
                Finish::Mask { bits } => sum(v).keep(*bits.add(group)).store(to),
                Finish::Slopes { slopes } => sum(v).mul_add(L::load(slopes.add(group * LANES)), zero).store(to),
                Finish::Unpool { bits } => {
                    let (b, v) = (*bits.add(group), sum(v));
                    v.keep(b.relu & !b.lower & !b.right).store(to);
                    v.keep(b.relu & !b.lower & b.right).store(to.add(self.layout.channels));
                    v.keep(b.relu & b.lower & !b.right).store(to.add(self.layout.row));
                    v.keep(b.relu & b.lower & b.right).store(to.add(self.layout.row + self.layout.channels));
                }
            }
        }
    }

    /// Stores channels as they are.
    ///
    /// # Safety
    /// As for [`Target::put`].
    #[inline(always)]
    pub unsafe fn raw(&self, place: Place, channel: usize, values: &[f32]) {
        // SAFETY: channels of a pixel of the map
        unsafe { values.as_ptr().copy_to_nonoverlapping(self.map.add(place.to + channel), values.len()) }
    }

    /// Takes S×S outputs whose first is pixel (y, x) of `image`, for the sixteen channels from `channel` on. What lies
    /// outside the map is dropped.
    ///
    /// # Safety
    /// The instruction set of L is there; image, pixel and channels lie in the map, whose pointers are good; for
    /// [`Finish::Pool`] S, y and x are even; nobody else uses these pixels and channels meanwhile.
    #[inline(always)]
    pub unsafe fn put<L: Lanes, const S: usize>(
        &self,
        image: usize,
        y: usize,
        x: usize,
        channel: usize,
        v: &[[L; S]; S],
    ) {
        // SAFETY: passed on
        unsafe {
            match (self.finish, self.add) {
                (Finish::Pool { bias, bits }, _) => self.put_pool::<L, S>(image, (y, x), channel, v, (bias, bits)),
                // what most convolutions end in is compiled for itself, so that nothing is decided pixel by pixel
                (Finish::Relu { bias, bits }, None) => {
                    let target = Target { finish: Finish::Relu { bias, bits }, add: None, ..*self };
                    target.put_square::<L, S>(image, (y, x), channel, v);
                }
                (Finish::Mask { bits }, None) => {
                    let target = Target { finish: Finish::Mask { bits }, add: None, ..*self };
                    target.put_square::<L, S>(image, (y, x), channel, v);
                }
                (Finish::Unpool { bits }, None) => {
                    let target = Target { finish: Finish::Unpool { bits }, add: None, ..*self };
                    target.put_square::<L, S>(image, (y, x), channel, v);
                }
                // and what a learner's end in
                (Finish::Bias { bias }, None) => {
                    let target = Target { finish: Finish::Bias { bias }, add: None, ..*self };
                    target.put_square::<L, S>(image, (y, x), channel, v);
                }
                (Finish::Pass, None) => {
                    let target = Target { finish: Finish::Pass, add: None, ..*self };
                    target.put_square::<L, S>(image, (y, x), channel, v);
                }
                _ => self.put_square::<L, S>(image, (y, x), channel, v),
            }
        }
    }

    /// [`Target::put`] pixel by pixel.
    #[inline(always)]
    unsafe fn put_square<L: Lanes, const S: usize>(
        &self,
        image: usize,
        (y, x): (usize, usize),
        channel: usize,
        v: &[[L; S]; S],
    ) {
        let ([height, width], first) = (self.size, self.image(image));
        for (y, row) in (y..height).zip(v) {
            for (x, v) in (x..width).zip(row) {
                // SAFETY: a pixel inside the map, by the bounds of the loops
                unsafe { self.one(self.place(first, y, x), channel, *v) }
            }
        }
    }

    /// [`Target::put`] with a pool.
    #[inline(always)]
    unsafe fn put_pool<L: Lanes, const S: usize>(
        &self,
        image: usize,
        (y, x): (usize, usize),
        channel: usize,
        v: &[[L; S]; S],
        (bias, bits): (*const f32, *mut PoolBits),
    ) {
        let [height, width] = self.size.map(|n| n / 2);
        let (groups, group) = (self.layout.channels / LANES, channel / LANES);
        // SAFETY: as in `put`
        unsafe {
            let (zero, bias) = (L::zero(), L::load(bias.add(channel)));
            for (y, rows) in (y / 2..height).zip(v.as_chunks::<2>().0) {
                for (i, x) in (x / 2..width).take(S / 2).enumerate() {
                    let window = [rows[0][2 * i], rows[0][2 * i + 1], rows[1][2 * i], rows[1][2 * i + 1]];
                    let (largest, right, lower) = largest(window);
                    let t = largest.add(bias);
                    if !bits.is_null() {
                        *bits.add(((image * height + y) * width + x) * groups + group) =
                            PoolBits { relu: t.not_at_most(zero), right, lower };
                    }
                    zero.max(t).store(self.map.add(self.layout.at(image, y, x) + channel));
                }
            }
        }
    }
}

/// The largest of a window in reading order, the first where several are, NaN before all; and whether it stood right
/// and below.
#[inline(always)]
unsafe fn largest<L: Lanes>(window: [L; 4]) -> (L, u16, u16) {
    // SAFETY: arithmetic only
    unsafe {
        let [a, b, c, d] = window;
        if a.unordered(b) | c.unordered(d) != 0 {
            return largest_with_nan(window);
        }
        let (right_above, right_below) = (b.greater(a), d.greater(c));
        let (above, below) = (b.max(a), d.max(c));
        let lower = below.greater(above);
        (below.max(above), (lower & right_below) | (!lower & right_above), lower)
    }
}

/// [`largest`] lane by lane, by PyTorch's rule: a later value wins if it is greater or NaN.
#[cold]
#[inline(never)]
fn largest_with_nan<L: Lanes>(window: [L; 4]) -> (L, u16, u16) {
    let mut lanes = [[0.0f32; LANES]; 4];
    let (mut right, mut lower) = (0, 0);
    // SAFETY: `lanes` are sixteen floats each; whoever holds an L has its instruction set
    unsafe {
        for (v, lanes) in window.iter().zip(&mut lanes) {
            v.store(lanes.as_mut_ptr());
        }
        for lane in 0..LANES {
            let values = lanes.map(|v| v[lane]);
            let later = |best: usize, place: usize| {
                if values[place] > values[best] || values[place].is_nan() { place } else { best }
            };
            let winner = (1..4).fold(0, later);
            lanes[0][lane] = values[winner];
            right |= (winner as u16 & 1) << lane;
            lower |= (winner as u16 >> 1) << lane;
        }
        (L::load(lanes[0].as_ptr()), right, lower)
    }
}
