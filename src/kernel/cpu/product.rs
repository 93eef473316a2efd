//! The matrix product under every convolution: rows of a column matrix times weights packed in panels.
//!
//! Each output is one chain of fused multiply-adds, in the order of the inner dimension, whatever the number of rows
//! and whatever the instruction set: a fused multiply-add is exact in AVX2, NEON and software alike. So a result does
//! not depend on batch, chunk, thread or machine, and a witness judged here is judged the same everywhere.

use candle_core::WithDType;
use std::ops::Range;

/// Outputs of one panel: two AVX2 vectors of f32.
pub const LANES: usize = 16;

/// A float with an exact fused multiply-add, and the fastest product this machine has for it.
pub trait Real: WithDType {
    /// `self · b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// [`Panels::multiply`] for matrices that fit together.
    fn multiply(panels: &Panels<Self>, a: &[Self], out: &mut [Self]) {
        multiply_plain(panels, a, out);
    }
}

impl Real for f32 {
    fn mul_add(self, b: f32, c: f32) -> f32 {
        f32::mul_add(self, b, c)
    }

    fn multiply(panels: &Panels<f32>, a: &[f32], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the two features, as just asked.
            return unsafe { avx2::multiply(panels, a, out) };
        }
        multiply_plain(panels, a, out);
    }
}

/// Of the reference in tests; speed does not matter.
impl Real for f64 {
    fn mul_add(self, b: f64, c: f64) -> f64 {
        f64::mul_add(self, b, c)
    }
}

/// A matrix k×n in panels of [`LANES`] columns, each k×LANES, the last filled up with zeros; and what is added.
pub struct Panels<T> {
    k: usize,
    n: usize,
    weights: Vec<T>,
    bias: Vec<T>,
}

impl<T: Real> Panels<T> {
    /// Packs the matrix `at(row, column)`; `bias` has n values, or none for zeros.
    pub fn pack(k: usize, n: usize, bias: &[T], at: impl Fn(usize, usize) -> T) -> Panels<T> {
        let count = n.div_ceil(LANES);
        let mut weights = vec![T::zero(); count * k * LANES];
        for (p, panel) in weights.chunks_exact_mut(k * LANES).enumerate() {
            for (row, lanes) in panel.chunks_exact_mut(LANES).enumerate() {
                for (column, lane) in (p * LANES..n).zip(lanes) {
                    *lane = at(row, column);
                }
            }
        }
        let mut padded = bias.to_vec();
        padded.resize(count * LANES, T::zero());
        Panels { k, n, weights, bias: padded }
    }

    /// Inner dimension.
    pub fn depth(&self) -> usize {
        self.k
    }

    /// Outputs of a row.
    pub fn width(&self) -> usize {
        self.n
    }

    /// `out` (m×n) = bias + `a` (m×k) · self.
    pub fn multiply(&self, a: &[T], out: &mut [T]) {
        assert!(a.len() * self.n == out.len() * self.k && out.len().is_multiple_of(self.n), "mismatched matrices");
        T::multiply(self, a, out);
    }

    /// Weights k×LANES, bias and output columns of each panel.
    fn panels(&self) -> impl Iterator<Item = (&[[T; LANES]], &[T; LANES], Range<usize>)> {
        let biases = self.bias.as_chunks::<LANES>().0;
        let weights = self.weights.chunks_exact(self.k * LANES).map(|panel| panel.as_chunks::<LANES>().0);
        weights.zip(biases).enumerate().map(|(p, (w, b))| (w, b, p * LANES..self.n.min((p + 1) * LANES)))
    }
}

/// One row at a time: the plain version, and the only one off x86-64.
fn multiply_plain<T: Real>(panels: &Panels<T>, a: &[T], out: &mut [T]) {
    for (weights, bias, columns) in panels.panels() {
        for (row, out) in a.chunks_exact(panels.k).zip(out.chunks_exact_mut(panels.n)) {
            let mut sums = *bias;
            for (x, lanes) in row.iter().zip(weights) {
                for (s, w) in sums.iter_mut().zip(lanes) {
                    *s = x.mul_add(*w, *s);
                }
            }
            out[columns.clone()].copy_from_slice(&sums[..columns.len()]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{LANES, Panels};
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps};
    use std::ops::Range;

    /// Most rows at once: with 2 vectors each, 12 of the 16 registers hold sums.
    const ROWS: usize = 6;

    /// Several rows share each load of weights.
    #[target_feature(enable = "avx2,fma")]
    pub fn multiply(panels: &Panels<f32>, a: &[f32], out: &mut [f32]) {
        for (weights, bias, columns) in panels.panels() {
            for (rows, out) in a.chunks(ROWS * panels.k).zip(out.chunks_mut(ROWS * panels.n)) {
                let columns = columns.clone();
                match rows.len() / panels.k {
                    6 => block::<6>(rows, weights, bias, out, columns),
                    5 => block::<5>(rows, weights, bias, out, columns),
                    4 => block::<4>(rows, weights, bias, out, columns),
                    3 => block::<3>(rows, weights, bias, out, columns),
                    2 => block::<2>(rows, weights, bias, out, columns),
                    _ => block::<1>(rows, weights, bias, out, columns),
                }
            }
        }
    }

    /// R rows times one panel, all sums in registers. (Left to itself the compiler spills or goes scalar.)
    #[target_feature(enable = "avx2,fma")]
    fn block<const R: usize>(
        a: &[f32],
        weights: &[[f32; LANES]],
        bias: &[f32; LANES],
        out: &mut [f32],
        columns: Range<usize>,
    ) {
        let k = weights.len();
        assert_eq!(a.len(), R * k);
        let mut sums = [[_mm256_set1_ps(0.0); 2]; R];
        // SAFETY: bias and each row of weights are LANES = 16 floats, two vectors; row r < R and i < k lie in `a`, whose
        // length was just checked.
        unsafe {
            for sum in &mut sums {
                *sum = [_mm256_loadu_ps(bias.as_ptr()), _mm256_loadu_ps(bias.as_ptr().add(8))];
            }
            for (i, lanes) in weights.iter().enumerate() {
                let (low, high) = (_mm256_loadu_ps(lanes.as_ptr()), _mm256_loadu_ps(lanes.as_ptr().add(8)));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*a.as_ptr().add(r * k + i));
                    sum[0] = _mm256_fmadd_ps(x, low, sum[0]);
                    sum[1] = _mm256_fmadd_ps(x, high, sum[1]);
                }
            }
        }
        let n = out.len() / R;
        for (sum, out) in sums.iter().zip(out.chunks_exact_mut(n)) {
            let mut lanes = [0.0; LANES];
            // SAFETY: `lanes` holds 16 floats, two vectors.
            unsafe {
                _mm256_storeu_ps(lanes.as_mut_ptr(), sum[0]);
                _mm256_storeu_ps(lanes.as_mut_ptr().add(8), sum[1]);
            }
            out[columns.clone()].copy_from_slice(&lanes[..columns.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers: every product and sum is exact, so all orders give the same.
    fn number(i: usize) -> f32 {
        ((i * 7 + i / 5) % 11) as f32 - 5.0
    }

    #[test]
    fn equals_the_plain_triple_loop_on_odd_shapes() {
        for (m, k, n) in [(1, 1, 1), (2, 27, 32), (5, 9, 17), (6, 18, 16), (13, 45, 3), (7, 100, 33)] {
            let (a, b, bias): (Vec<f32>, Vec<f32>, Vec<f32>) =
                ((0..m * k).map(number).collect(), (0..k * n).map(number).collect(), (0..n).map(number).collect());
            let panels = Panels::pack(k, n, &bias, |r, c| b[r * n + c]);
            let mut out = vec![f32::NAN; m * n];
            panels.multiply(&a, &mut out);
            for i in 0..m {
                for j in 0..n {
                    let plain = bias[j] + (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f32>();
                    assert_eq!(out[i * n + j], plain, "{m}x{k}x{n} at {i},{j}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_and_row_count_gives_the_same_bits() {
        let (m, k, n) = (11, 301, 37);
        let value = |i: usize| (i as f32 * 0.7).sin();
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let panels = Panels::pack(k, n, &[], |r, c| value(r * 31 + c * 7));
        let (mut fast, mut portable) = (vec![0.0; m * n], vec![0.0; m * n]);
        panels.multiply(&a, &mut fast);
        multiply_plain(&panels, &a, &mut portable);
        assert_eq!(fast, portable);
        for i in 0..m {
            let mut alone = vec![0.0; n];
            panels.multiply(&a[i * k..(i + 1) * k], &mut alone);
            assert_eq!(alone, fast[i * n..(i + 1) * n], "row {i}");
        }
    }
}
