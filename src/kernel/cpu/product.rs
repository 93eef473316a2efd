//! The matrix product under every convolution: some rows times one panel of weights, all sums in registers.
//!
//! Each output is one chain of fused multiply-adds over the depth, from 0 on, in order: it does not depend on how many
//! rows share a block.

use super::lanes::Lanes;

/// Output channels that lie side by side in the packed weights.
pub const PANEL: usize = 32;

/// Rows × panel. Row r, depth d of the left side lies at
/// `a + (d / block) * block_stride + r * row_stride + d % block`; see [`Depth`] for block and row stride.
pub struct Product {
    /// Rows.
    pub rows: usize,
    /// How the left side lies.
    pub shape: Depth,
    /// Blocks of depth.
    pub blocks: usize,
    /// Left side.
    pub a: *const f32,
    /// Floats from a block of depth to the next.
    pub block_stride: usize,
    /// Weights, depth × width.
    pub b: *const f32,
    /// 32, or 16 in a last panel.
    pub width: usize,
    /// Sums, rows × [`PANEL`].
    pub c: *mut f32,
    /// Weights that are needed next: fetched meanwhile.
    pub next: *const f32,
}

/// Depths, as layouts of the left side that have a kernel of their own: with the strides known, a factor is one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Blocks of 64 in rows of 64.
    Deep,
    /// Blocks of 32 in rows of 32.
    Middle,
    /// Blocks of 16 in rows of 16.
    Shallow,
    /// The 3×3 windows of RGB images: blocks of 9 (three pixels of a row) in rows of 3 (a pixel).
    Windows,
}

impl Depth {
    /// For a depth that is a multiple of 16.
    pub fn of(depth: usize) -> Depth {
        match depth {
            d if d % 64 == 0 => Depth::Deep,
            d if d % 32 == 0 => Depth::Middle,
            _ => Depth::Shallow,
        }
    }

    /// Depth of a block.
    pub fn block(self) -> usize {
        match self {
            Depth::Deep => 64,
            Depth::Middle => 32,
            Depth::Shallow => 16,
            Depth::Windows => 9,
        }
    }
}

/// Computes it.
///
/// # Safety
/// The instruction set of L is there; `a`, `b` and `c` are good for what [`Product`] says of them.
#[inline(always)]
pub unsafe fn multiply<L: Lanes>(p: &Product) {
    // SAFETY: passed on
    unsafe {
        match p.shape {
            Depth::Deep => all_rows::<L, 64, 64>(p),
            Depth::Middle => all_rows::<L, 32, 32>(p),
            Depth::Shallow => all_rows::<L, 16, 16>(p),
            Depth::Windows => all_rows::<L, 3, 9>(p),
        }
    }
}

/// Rows in nearly equal portions that fit into registers.
#[inline(always)]
unsafe fn all_rows<L: Lanes, const ROW: usize, const BLOCK: usize>(p: &Product) {
    let portions = p.rows.div_ceil(L::ROWS);
    let (base, larger) = (p.rows / portions, p.rows % portions);
    // the first portion fetches the first half of the next weights, the second the other; a lone one both
    let half = p.blocks * BLOCK * PANEL / 2;
    let mut row = 0;
    for portion in 0..portions {
        let rows = base + usize::from(portion < larger);
        // SAFETY: rows row..row+rows of a and c; what is only fetched may lie anywhere
        unsafe {
            let (a, c) = (p.a.add(row * ROW), p.c.add(row * PANEL));
            let fetch = p.next.wrapping_add(if portion == 1 { half } else { 0 });
            let also = p.next.wrapping_add(if portions == 1 { half } else { 0 });
            macro_rules! dispatch {
                ($($n:literal)*) => { match rows {
                    $($n if $n <= L::ROWS => columns::<L, $n, ROW, BLOCK>(p, a, c, fetch, also),)*
                    _ => unreachable!("a portion fits into registers"),
                } };
            }
            dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
        row += rows;
    }
}

/// The columns of the panel, as many at once as fit.
#[inline(always)]
unsafe fn columns<L: Lanes, const ROWS: usize, const ROW: usize, const BLOCK: usize>(
    p: &Product,
    a: *const f32,
    c: *mut f32,
    fetch: *const f32,
    also: *const f32,
) {
    // SAFETY: columns 0..width of b and c
    unsafe {
        if L::VECTORS == 2 && p.width == PANEL {
            block::<L, ROWS, 2, ROW, BLOCK>(p, a, p.b, c, fetch, also);
        } else {
            for first in (0..p.width).step_by(16) {
                block::<L, ROWS, 1, ROW, BLOCK>(p, a, p.b.add(first), c.add(first), fetch, also);
            }
        }
    }
}

#[inline(always)]
unsafe fn block<L: Lanes, const ROWS: usize, const VECTORS: usize, const ROW: usize, const BLOCK: usize>(
    p: &Product,
    mut a: *const f32,
    mut b: *const f32,
    c: *mut f32,
    mut fetch: *const f32,
    mut also: *const f32,
) {
    // SAFETY: row r < ROWS, depth below blocks·BLOCK, columns of VECTORS vectors: inside a, b and c by the contract
    unsafe {
        let mut sums = [[L::zero(); VECTORS]; ROWS];
        for _ in 0..p.blocks {
            for d in 0..BLOCK {
                L::prefetch(fetch);
                L::prefetch(also);
                fetch = fetch.wrapping_add(16);
                also = also.wrapping_add(16);
                let mut weights = [L::zero(); VECTORS];
                for (v, weight) in weights.iter_mut().enumerate() {
                    *weight = L::load(b.add(v * 16));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat(*a.add(r * ROW + d));
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = x.mul_add(weight, *sum);
                    }
                }
                b = b.add(p.width);
            }
            a = a.add(p.block_stride);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                sum.store(c.add(r * PANEL + v * 16));
            }
        }
    }
}

/// [`Lanes`] with the product compiled as a function of its own.
///
/// # Safety
/// As for [`Lanes`].
pub unsafe trait Kernel: Lanes {
    /// [`multiply`].
    ///
    /// # Safety
    /// As there.
    unsafe fn multiply(p: &Product);
}
