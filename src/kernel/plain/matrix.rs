//! Products of matrices by plain loops, whose order is fixed: the same bits on every machine.

use super::line::{softmax, softmax_back};
use crate::kernel::Real;

/// Sums that are summed apart, so that a dot product becomes vector code.
const LANES: usize = 8;

/// a (m×k) times b (k×n).
pub fn product<T: Real>(a: &[T], b: &[T], [m, k, n]: [usize; 3]) -> Vec<T> {
    let mut y = vec![T::zero(); m * n];
    for (y, a) in y.chunks_mut(n).zip(a.chunks(k)) {
        for (a, b) in a.iter().zip(b.chunks(n)) {
            y.iter_mut().zip(b).for_each(|(y, b)| *y += *a * *b);
        }
    }
    y
}

/// a (m×k) times the transpose of b (n×k).
pub fn product_of_rows<T: Real>(a: &[T], b: &[T], k: usize) -> Vec<T> {
    let mut y = Vec::with_capacity(a.len() / k * (b.len() / k));
    a.chunks(k).for_each(|a| y.extend(b.chunks(k).map(|b| dot(a, b))));
    y
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += *a * *b);
    }
    sums.into_iter().fold(T::zero(), |all, sum| all + sum)
}

/// Columns become rows.
pub fn transposed<T: Real>(a: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| a[column..].iter().step_by(columns).copied()).collect()
}

/// Softmax attention of tokens whose rows, `width` numbers, are queries, keys and values of all heads.
pub struct Attention<'a, T> {
    /// Tokens × width.
    pub x: &'a [T],
    /// Three times the numbers of all heads.
    pub width: usize,
    /// How many.
    pub heads: usize,
}

impl<T: Real> Attention<'_, T> {
    /// Numbers of a head.
    fn depth(&self) -> usize {
        self.width / 3 / self.heads
    }

    fn tokens(&self) -> usize {
        self.x.len() / self.width
    }

    /// Queries (part 0), keys (1) or values (2) of a head: tokens × depth.
    fn part(&self, part: usize, head: usize) -> Vec<T> {
        columns(self.x, self.width, (part * self.heads + head) * self.depth(), self.depth())
    }

    /// How much each token looks at each: tokens × tokens.
    fn weights(&self, head: usize) -> Vec<T> {
        let mut weights = product_of_rows(&self.part(0, head), &self.part(1, head), self.depth());
        let scale = T::from_f64(1.0 / (self.depth() as f64).sqrt());
        weights.iter_mut().for_each(|w| *w *= scale);
        weights.chunks_mut(self.tokens()).for_each(softmax);
        weights
    }

    /// Tokens × width/3.
    pub fn forward(&self) -> Vec<T> {
        let (tokens, depth) = (self.tokens(), self.depth());
        let mut y = vec![T::zero(); self.x.len() / 3];
        for head in 0..self.heads {
            let values = product(&self.weights(head), &self.part(2, head), [tokens, tokens, depth]);
            put(&values, &mut y, self.width / 3, head * depth, depth);
        }
        y
    }

    /// From the gradient `g` with respect to [`Attention::forward`] to that with respect to `x`.
    pub fn backward(&self, g: &[T]) -> Vec<T> {
        let (tokens, depth) = (self.tokens(), self.depth());
        let scale = T::from_f64(1.0 / (depth as f64).sqrt());
        let mut x = vec![T::zero(); self.x.len()];
        for head in 0..self.heads {
            let (weights, g) = (self.weights(head), columns(g, self.width / 3, head * depth, depth));
            let mut looks = product_of_rows(&g, &self.part(2, head), depth);
            for (g, y) in looks.chunks_mut(tokens).zip(weights.chunks(tokens)) {
                softmax_back(g, y);
                g.iter_mut().for_each(|g| *g *= scale);
            }
            let dims = [tokens, tokens, depth];
            let parts = [
                product(&looks, &self.part(1, head), dims),
                product(&transposed(&looks, tokens), &self.part(0, head), dims),
                product(&transposed(&weights, tokens), &g, dims),
            ];
            for (part, values) in parts.iter().enumerate() {
                put(values, &mut x, self.width, (part * self.heads + head) * depth, depth);
            }
        }
        x
    }
}

/// Some columns of rows of `width` numbers.
fn columns<T: Real>(x: &[T], width: usize, first: usize, count: usize) -> Vec<T> {
    x.chunks(width).flat_map(|row| row[first..first + count].iter().copied()).collect()
}

/// The way back of [`columns`].
fn put<T: Real>(values: &[T], x: &mut [T], width: usize, first: usize, count: usize) {
    let rows = x.chunks_mut(width).zip(values.chunks(count));
    rows.for_each(|(row, values)| row[first..first + count].copy_from_slice(values));
}
