//! The product under every weight gradient: sums over places of what lies there on the one side times what lies there on the
//! other. Each sum is one chain of fused multiply-adds in the order of the places.

use super::lanes::{LANES, Lanes};

/// Places that lie at even distances on both sides.
#[derive(Clone, Copy)]
pub struct Places {
    /// Row 0 of the first place.
    pub a: *const f32,
    /// Column 0 of the first place.
    pub b: *const f32,
    /// How many.
    pub count: usize,
}

/// c[row][column] += Σ a[place][row] · b[place][column].
pub struct Outer<'a> {
    pub places: &'a [Places],
    /// Floats from a place to the next, on either side.
    pub steps: [usize; 2],
    pub rows: usize,
    /// A multiple of 16.
    pub columns: usize,
    pub c: *mut f32,
    /// Floats from a row of c to the next.
    pub row: usize,
}

/// Computes it.
///
/// # Safety
/// The instruction set of L is there; rows and columns of all places are good memory, and so is c.
#[inline(always)]
pub unsafe fn accumulate<L: Lanes>(o: &Outer) {
    let portions = o.rows.div_ceil(L::ROWS);
    for portion in 0..portions {
        let rows = o.rows * portion / portions..o.rows * (portion + 1) / portions;
        macro_rules! dispatch {
            ($($n:literal)*) => { match rows.len() {
                // SAFETY: passed on
                $($n if $n <= L::ROWS => unsafe { some_rows::<L, $n>(o, rows.start) },)*
                _ => unreachable!("a portion fits into registers"),
            } };
        }
        dispatch!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
}

#[inline(always)]
unsafe fn some_rows<L: Lanes, const ROWS: usize>(o: &Outer, row: usize) {
    let mut column = 0;
    // SAFETY: passed on
    unsafe {
        while L::VECTORS == 2 && column + 2 * LANES <= o.columns {
            block::<L, ROWS, 2>(o, row, column);
            column += 2 * LANES;
        }
        while column < o.columns {
            block::<L, ROWS, 1>(o, row, column);
            column += LANES;
        }
    }
}

#[inline(always)]
unsafe fn block<L: Lanes, const ROWS: usize, const VECTORS: usize>(o: &Outer, row: usize, column: usize) {
    // SAFETY: rows row..row + ROWS and columns column..column + 16·VECTORS of all places and of c
    unsafe {
        let c = o.c.add(row * o.row + column);
        let mut sums = [[L::zero(); VECTORS]; ROWS];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = L::load(c.add(r * o.row + v * LANES));
            }
        }
        for places in o.places {
            let (mut a, mut b) = (places.a.add(row), places.b.add(column));
            for _ in 0..places.count {
                let mut columns = [L::zero(); VECTORS];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = L::load(b.add(v * LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat(*a.add(r));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = x.mul_add(column, *sum);
                    }
                }
                (a, b) = (a.wrapping_add(o.steps[0]), b.wrapping_add(o.steps[1]));
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                sum.store(c.add(r * o.row + v * LANES));
            }
        }
    }
}
