//! Convolutions of one image as matrix products, on the thread that asks.

use crate::kernel::Real;
use crate::kernel::graph::Window;
use std::ops::Range;

/// Numbers of the matrices of one part of a product: they stay in the second-level cache.
const PART: usize = 96 * 1024;

/// How a convolution lies on a map.
pub struct Convolution<'a> {
    /// How windows lie.
    pub window: &'a Window,
    /// Of channels in and out.
    pub groups: usize,
    /// Channels, rows and columns of the map.
    pub map: [usize; 3],
    /// Channels, rows and columns after it.
    pub out: [usize; 3],
}

impl Convolution<'_> {
    /// Outputs of a group, and weights of each.
    fn group(&self) -> [usize; 2] {
        let [height, width] = self.window.size;
        [self.out[0] / self.groups, self.map[0] / self.groups * height * width]
    }

    /// With bias.
    pub fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let ([outputs, taps], [_, height, width]) = (self.group(), self.out);
        let mut y = vec![T::zero(); bias.len() * height * width];
        let (mut columns, mut sums) = (Vec::new(), Vec::new());
        let groups = x.chunks(x.len() / self.groups).zip(weight.chunks(outputs * taps)).zip(bias.chunks(outputs));
        for ((x, weight), (y, bias)) in
            groups.zip(y.chunks_mut(outputs * height * width)).map(|(((x, w), b), y)| ((x, w), (y, b)))
        {
            for rows in self.parts() {
                let (first, places) = (rows.start * width, rows.len() * width);
                columns.resize(taps * places, T::zero());
                self.unfold(x, rows, &mut columns);
                sums.resize(outputs * places, T::zero());
                product(
                    &mut sums,
                    Matrix { values: weight, row: taps, column: 1 },
                    Matrix { values: &columns, row: places, column: 1 },
                    [outputs, taps, places],
                );
                for ((sums, y), bias) in sums.chunks(places).zip(y.chunks_mut(height * width)).zip(bias) {
                    y[first..first + places].iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum + *bias);
                }
            }
        }
        y
    }

    /// From the gradient `g` with respect to [`Convolution::forward`] to that with respect to the map.
    pub fn backward<T: Real>(&self, g: &[T], weight: &[T]) -> Vec<T> {
        let ([outputs, taps], [_, height, width]) = (self.group(), self.out);
        let mut x = vec![T::zero(); self.map.iter().product()];
        let of_group = x.len() / self.groups;
        let mut columns = Vec::new();
        let groups = x.chunks_mut(of_group).zip(weight.chunks(outputs * taps));
        for ((x, weight), g) in groups.zip(g.chunks(outputs * height * width)) {
            for rows in self.parts() {
                let places = rows.len() * width;
                columns.resize(taps * places, T::zero());
                product(
                    &mut columns,
                    Matrix { values: weight, row: 1, column: taps },
                    Matrix { values: &g[rows.start * width..], row: height * width, column: 1 },
                    [taps, outputs, places],
                );
                self.fold(&columns, rows, x);
            }
        }
        x
    }

    /// Rows of the output in parts no larger than [`PART`] where one row allows it.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let ([outputs, taps], [_, height, width]) = (self.group(), self.out);
        let rows = (PART / ((taps + outputs) * width)).max(1);
        (0..height).step_by(rows).map(move |row| row..(row + rows).min(height))
    }

    /// The channels of a group as a matrix taps × places, for these rows of the output.
    fn unfold<T: Real>(&self, x: &[T], rows: Range<usize>, columns: &mut [T]) {
        let width = self.out[2];
        for (tap, lines) in columns.chunks_mut(rows.len() * width).enumerate() {
            for (row, line) in rows.clone().zip(lines.chunks_mut(width)) {
                let Some((first, inside)) = self.meets(tap, row) else {
                    line.fill(T::zero());
                    continue;
                };
                line[..inside.start].fill(T::zero());
                line[inside.end..].fill(T::zero());
                let from = x[first..].iter().step_by(self.window.stride[1]);
                line[inside].iter_mut().zip(from).for_each(|(to, v)| *to = *v);
            }
        }
    }

    /// The transpose of [`Convolution::unfold`]: sums.
    fn fold<T: Real>(&self, columns: &[T], rows: Range<usize>, x: &mut [T]) {
        let width = self.out[2];
        for (tap, lines) in columns.chunks(rows.len() * width).enumerate() {
            for (row, line) in rows.clone().zip(lines.chunks(width)) {
                let Some((first, inside)) = self.meets(tap, row) else { continue };
                let to = x[first..].iter_mut().step_by(self.window.stride[1]);
                to.zip(&line[inside]).for_each(|(to, v)| *to += *v);
            }
        }
    }

    /// Where a tap of a row of windows meets the map: its first place there, and the windows whose tap lies on it.
    fn meets(&self, tap: usize, row: usize) -> Option<(usize, Range<usize>)> {
        let ([_, height, width], [kh, kw]) = (self.map, self.window.size);
        let (channel, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
        let y = self.window.place(0, row, ky, height)?;
        // x of window i is i·stride + shift − left
        let (stride, left, shift) = (self.window.stride[1], self.window.padding[1], kx * self.window.dilation[1]);
        let first = left.saturating_sub(shift).div_ceil(stride);
        let end = (width + left).saturating_sub(shift).div_ceil(stride).min(self.out[2]);
        let place = || (channel * height + y) * width + first * stride + shift - left;
        (first < end).then(|| (place(), first..end))
    }
}

/// A matrix in memory: element (i, j) lies at `i * row + j * column`.
#[derive(Clone, Copy)]
struct Matrix<'a, T> {
    values: &'a [T],
    row: usize,
    column: usize,
}

impl<T> Matrix<'_, T> {
    fn has(&self, rows: usize, columns: usize) -> bool {
        rows * columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// to (m×n, row by row) = a (m×k) · b (k×n).
fn product<T: Real>(to: &mut [T], a: Matrix<T>, b: Matrix<T>, [m, k, n]: [usize; 3]) {
    assert!(to.len() == m * n && a.has(m, k) && b.has(k, n), "a matrix of another size");
    // SAFETY: the matrices lie in their slices, as asserted, and `to` overlaps with nothing; `Real` is f32 and f64, which
    // are types of gemm's
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            T::zero(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
