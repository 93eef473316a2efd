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
    /// With bias.
    pub fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let mut y = vec![T::zero(); self.out.iter().product()];
        let (mut columns, mut sums) = (Vec::new(), Vec::new());
        for (group, rows) in self.parts() {
            let (x, weight) = (part(x, group, self.groups), part(weight, group, self.groups));
            let lines = self.lines(group, &rows);
            let dims @ [outputs, taps, places] = self.dims(&rows);
            columns.clear();
            columns.resize(taps * places, T::zero());
            self.meet(&rows, |line, first| {
                let to = &mut columns[line];
                match self.window.stride[1] {
                    1 => to.copy_from_slice(&x[first..first + to.len()]),
                    stride => to.iter_mut().zip(x[first..].iter().step_by(stride)).for_each(|(to, v)| *to = *v),
                }
            });
            sums.resize(outputs * places, T::zero());
            product(&mut sums, (weight, [taps, 1]), &columns, dims);
            for ((sums, line), bias) in sums.chunks(places).zip(lines).zip(part(bias, group, self.groups)) {
                y[line].iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum + *bias);
            }
        }
        y
    }

    /// From the gradient `g` with respect to [`Convolution::forward`] to that with respect to the map.
    pub fn backward<T: Real>(&self, g: &[T], weight: &[T]) -> Vec<T> {
        let mut x = vec![T::zero(); self.map.iter().product()];
        let of_group = x.len() / self.groups;
        let mut columns = Vec::new();
        for (group, rows) in self.parts() {
            let [outputs, taps, places] = self.dims(&rows);
            let g: Vec<T> = self.lines(group, &rows).flat_map(|line| g[line].iter().copied()).collect();
            columns.resize(taps * places, T::zero());
            let weight = part(weight, group, self.groups);
            product(&mut columns, (weight, [1, taps]), &g, [taps, outputs, places]);
            let x = &mut x[group * of_group..][..of_group];
            self.meet(&rows, |line, first| {
                let (from, to) = (&columns[line], &mut x[first..]);
                match self.window.stride[1] {
                    1 => to.iter_mut().zip(from).for_each(|(to, v)| *to += *v),
                    stride => to.iter_mut().step_by(stride).zip(from).for_each(|(to, v)| *to += *v),
                }
            });
        }
        x
    }

    /// Outputs of a group, weights of each, and places of these rows.
    fn dims(&self, rows: &Range<usize>) -> [usize; 3] {
        let [height, width] = self.window.size;
        [self.out[0] / self.groups, self.map[0] / self.groups * height * width, rows.len() * self.out[2]]
    }

    /// Each group with rows of the output, in parts no larger than [`PART`] where one row allows it.
    fn parts(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let ([outputs, taps, width], height) = (self.dims(&(0..1)), self.out[1]);
        let rows = (PART / ((taps + outputs) * width)).max(1);
        let parts = move |group| (0..height).step_by(rows).map(move |row| (group, row..(row + rows).min(height)));
        (0..self.groups).flat_map(parts)
    }

    /// Where these rows of each output of a group lie in memory.
    fn lines(&self, group: usize, rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let ([outputs, _, places], [_, height, width], first) = (self.dims(rows), self.out, rows.start);
        let start = move |output| ((group * outputs + output) * height + first) * width;
        (0..outputs).map(move |output| start(output)..start(output) + places)
    }

    /// The matrix taps × places for these rows of the output shows a tap on the map at some places of each row: where they
    /// lie in the matrix, and where the first is in the channels of a group. Zeros elsewhere.
    fn meet(&self, rows: &Range<usize>, mut see: impl FnMut(Range<usize>, usize)) {
        let ([_, height, width], [kh, kw], [_, taps, places]) = (self.map, self.window.size, self.dims(rows));
        let (stride, left) = (self.window.stride[1], self.window.padding[1]);
        for tap in 0..taps {
            let (channel, ky, shift) = (tap / (kh * kw), tap / kw % kh, tap % kw * self.window.dilation[1]);
            // column of window i is i·stride + shift − left
            let first = left.saturating_sub(shift).div_ceil(stride);
            let end = (width + left).saturating_sub(shift).div_ceil(stride).min(self.out[2]);
            for (i, row) in rows.clone().enumerate().filter(|_| first < end) {
                if let Some(y) = self.window.place(0, row, ky, height) {
                    let line = tap * places + i * self.out[2];
                    see(line + first..line + end, (channel * height + y) * width + first * stride + shift - left);
                }
            }
        }
    }
}

/// One of so many parts of equal length.
fn part<T>(all: &[T], i: usize, parts: usize) -> &[T] {
    &all[all.len() / parts * i..][..all.len() / parts]
}

/// to (m×n) = a (m×k) · b (k×n), row by row, but for a, from whose rows and columns to the next it is so far.
fn product<T: Real>(to: &mut [T], (a, step): (&[T], [usize; 2]), b: &[T], [m, k, n]: [usize; 3]) {
    let fits = a.len() == m * k && (step == [k, 1] || step == [1, m]);
    assert!(fits && to.len() == m * n && b.len() == k * n, "a matrix of another size");
    let ([a_row, a_column], row) = (step.map(|s| s as isize), n as isize);
    let (to, a, b) = (to.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    let (zero, one, alone) = (T::zero(), T::one(), gemm::Parallelism::None);
    // SAFETY: the matrices fill their slices, as asserted, and `to` overlaps with nothing; `Real` is f32 and f64, which are
    // types of gemm's
    unsafe {
        gemm::gemm(m, n, k, to, 1, row, false, a, a_column, a_row, b, 1, row, zero, one, false, false, false, alone)
    }
}
