//! What is done with the outputs of a convolution before they are stored: bias, ReLU and max-pool on the way forward,
//! the masks of both on the way back. Of the activations only these masks are kept.
//!
//! NaN as in PyTorch: ReLU and max-pool let it through, and its gradient passes a ReLU.

use super::lanes::{LANES, Lanes};
use super::map::Layout;

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

/// What to do with the outputs. Bits are indexed by image (within the shard), row, column, sixteen channels; pointers
/// are good for the whole shard, or null where bits on the way forward are not wanted.
#[derive(Clone, Copy)]
pub enum Finish {
    /// Bias, ReLU; its bits are written.
    Relu { bias: *const f32, bits: *mut u16 },
    /// Bias, ReLU, 2×2 maximum (ties to the first); the bits are written.
    Pool { bias: *const f32, bits: *mut PoolBits },
    /// A gradient goes back through a ReLU.
    Mask { bits: *const u16 },
    /// A gradient goes back through a pool and a ReLU, to a map of twice the side.
    Unpool { bits: *const PoolBits },
}

/// Where the outputs of a convolution go.
#[derive(Clone, Copy)]
pub struct Target {
    /// Base of the map.
    pub map: *mut f32,
    /// Its layout: of the pooled map for [`Finish::Pool`], of the unpooled one for [`Finish::Unpool`].
    pub layout: Layout,
    /// Side of the convolution's own output.
    pub side: usize,
    /// What to do.
    pub finish: Finish,
}

// SAFETY: threads that share a target write different pixels or different channels of it.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
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
        let (layout, side) = (&self.layout, self.side);
        let groups = layout.channels / LANES;
        let group = channel / LANES;
        // SAFETY: only pixels inside the map are touched, by the bounds of the loops
        unsafe {
            let zero = L::zero();
            match self.finish {
                Finish::Relu { bias, bits } => {
                    let bias = L::load(bias.add(channel));
                    for (y, row) in (y..side).zip(v) {
                        for (x, v) in (x..side).zip(row) {
                            let t = v.add(bias);
                            if !bits.is_null() {
                                *bits.add(((image * side + y) * side + x) * groups + group) = t.not_at_most(zero);
                            }
                            zero.max(t).store(self.map.add(layout.at(image, y, x) + channel));
                        }
                    }
                }
                Finish::Pool { bias, bits } => {
                    let bias = L::load(bias.add(channel));
                    for (y, rows) in (y / 2..side / 2).zip(v.as_chunks::<2>().0) {
                        for (i, x) in (x / 2..side / 2).take(S / 2).enumerate() {
                            let window = [rows[0][2 * i], rows[0][2 * i + 1], rows[1][2 * i], rows[1][2 * i + 1]];
                            let (largest, right, lower) = largest(window);
                            let t = largest.add(bias);
                            if !bits.is_null() {
                                *bits.add(((image * (side / 2) + y) * (side / 2) + x) * groups + group) =
                                    PoolBits { relu: t.not_at_most(zero), right, lower };
                            }
                            zero.max(t).store(self.map.add(layout.at(image, y, x) + channel));
                        }
                    }
                }
                Finish::Mask { bits } => {
                    for (y, row) in (y..side).zip(v) {
                        for (x, v) in (x..side).zip(row) {
                            let kept = v.keep(*bits.add(((image * side + y) * side + x) * groups + group));
                            kept.store(self.map.add(layout.at(image, y, x) + channel));
                        }
                    }
                }
                Finish::Unpool { bits } => {
                    for (y, row) in (y..side).zip(v) {
                        for (x, v) in (x..side).zip(row) {
                            let b = *bits.add(((image * side + y) * side + x) * groups + group);
                            let corner = self.map.add(layout.at(image, 2 * y, 2 * x) + channel);
                            v.keep(b.relu & !b.lower & !b.right).store(corner);
                            v.keep(b.relu & !b.lower & b.right).store(corner.add(layout.channels));
                            v.keep(b.relu & b.lower & !b.right).store(corner.add(layout.row));
                            v.keep(b.relu & b.lower & b.right).store(corner.add(layout.row + layout.channels));
                        }
                    }
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

impl PoolBits {
    /// Whether the ReLU of a lane let through, and which place of the window won, in reading order.
    pub fn lane(self, lane: usize) -> (bool, usize) {
        let bit = |bits: u16| usize::from(bits >> lane & 1);
        (bit(self.relu) == 1, 2 * bit(self.lower) + bit(self.right))
    }
}
