//! Convolutions and linear layers of one image as matrix products.
//!
//! A product is cut up by the layer's shape alone, and each part computed by one thread: neither the batch nor the number of
//! threads changes a bit.

use crate::error::Result;
use candle_core::{Tensor, WithDType};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;

/// Floats of the matrices of one part of a product: they stay in the second-level cache.
const PART: usize = 96 * 1024;

/// Outputs, or inputs on the way back, of a linear layer that one thread computes.
const LINES: usize = 512;

/// How a convolution lies on a map.
#[derive(Clone, Copy)]
pub struct Geometry {
    channels: usize,
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    outputs: usize,
    kernel: (usize, usize),
    /// Between windows, both ways.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
}

impl Geometry {
    /// Of weights outputs × inputs × height × width on a map of these channels, height and width.
    pub fn new(
        [channels, height, width]: [usize; 3],
        weight: &Tensor,
        stride: usize,
        padding: usize,
    ) -> Result<Geometry> {
        let (outputs, inputs, kh, kw) = weight.dims4()?;
        if inputs != channels || height + 2 * padding < kh || width + 2 * padding < kw || stride == 0 {
            let problem =
                format!("a {kh}x{kw} convolution of {inputs} channels on a {height}x{width} map of {channels}");
            return Err(candle_core::Error::msg(problem).into());
        }
        Ok(Geometry { channels, height, width, outputs, kernel: (kh, kw), stride, padding })
    }

    /// Height and width of the output.
    pub fn out(&self) -> (usize, usize) {
        let out = |size: usize, kernel: usize| (size + 2 * self.padding - kernel) / self.stride + 1;
        (out(self.height, self.kernel.0), out(self.width, self.kernel.1))
    }

    /// Rows and columns at the end that no window reached.
    pub fn unreached(&self) -> (usize, usize) {
        let rest = |size: usize, kernel: usize| (size + 2 * self.padding - kernel) % self.stride;
        (rest(self.height, self.kernel.0), rest(self.width, self.kernel.1))
    }

    /// Weights of one channel of the input and one of the output.
    fn kernel_taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Rows of the matrix that the weights multiply.
    fn taps(&self) -> usize {
        self.channels * self.kernel_taps()
    }

    /// Whether the map is that matrix already.
    fn is_product(&self) -> bool {
        (self.kernel, self.stride, self.padding) == ((1, 1), 1, 0)
    }

    /// Rows of the output in parts: of nearly equal size, at least two if there are two rows, and no larger than
    /// [`PART`] where one row allows it. `depth` floats are needed for each place.
    fn parts(&self, depth: usize) -> Vec<Range<usize>> {
        let (oh, ow) = self.out();
        let parts = (depth * oh * ow).div_ceil(PART).max(2).min(oh);
        (0..parts).map(|p| p * oh / parts..(p + 1) * oh / parts).collect()
    }

    /// Where row `tap` of the matrix meets row `oy` of the output: the row of the map and its first place in there, and
    /// the outputs whose place lies inside.
    fn meets(&self, tap: usize, oy: usize) -> Option<(usize, usize, Range<usize>)> {
        let (kh, kw) = self.kernel;
        let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
        let y = (oy * self.stride + ky).checked_sub(self.padding).filter(|y| *y < self.height)?;
        // x of output i is i·stride + kx − padding
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        let end = (self.width + self.padding).saturating_sub(kx).div_ceil(self.stride).min(self.out().1);
        (first < end).then(|| (c * self.height + y, first * self.stride + kx - self.padding, first..end))
    }

    /// The map as a matrix taps × places, for these rows of the output.
    fn unfold<T: WithDType>(&self, map: &[T], rows: Range<usize>, columns: &mut [T]) {
        let ow = self.out().1;
        for (tap, lines) in columns.chunks_mut(rows.len() * ow).enumerate() {
            for (oy, line) in rows.clone().zip(lines.chunks_mut(ow)) {
                let Some((row, x, inside)) = self.meets(tap, oy) else {
                    line.fill(T::zero());
                    continue;
                };
                line[..inside.start].fill(T::zero());
                line[inside.end..].fill(T::zero());
                let (line, from) = (&mut line[inside], &map[row * self.width..(row + 1) * self.width][x..]);
                match self.stride {
                    1 => line.copy_from_slice(&from[..line.len()]),
                    stride => line.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, v)| *to = *v),
                }
            }
        }
    }

    /// The transpose of [`Geometry::unfold`] for some channels of the map: sums.
    fn fold<T: WithDType>(&self, columns: &[T], rows: Range<usize>, map: &mut [T]) {
        let ow = self.out().1;
        for (tap, lines) in columns.chunks(rows.len() * ow).enumerate() {
            for (oy, line) in rows.clone().zip(lines.chunks(ow)) {
                let Some((row, x, inside)) = self.meets(tap, oy) else { continue };
                let (line, to) = (&line[inside], &mut map[row * self.width..(row + 1) * self.width][x..]);
                match self.stride {
                    1 => to.iter_mut().zip(line).for_each(|(to, v)| *to += *v),
                    stride => to.iter_mut().step_by(stride).zip(line).for_each(|(to, v)| *to += *v),
                }
            }
        }
    }

    /// Convolution with bias of one image, then a ReLU if asked for.
    pub fn convolve<T: WithDType>(&self, map: &[T], weight: &[T], bias: &[T], relu: bool) -> Vec<T> {
        let ((oh, ow), taps) = (self.out(), self.taps());
        let y = Mutex::new(vec![T::zero(); self.outputs * oh * ow]);
        let parts = self.parts(taps + self.outputs);
        parts.into_par_iter().for_each_init(Default::default, |(columns, sums): &mut (Vec<T>, Vec<T>), rows| {
            let (first, places) = (rows.start * ow, rows.len() * ow);
            let b = match self.is_product() {
                true => Matrix { values: &map[first..], row: oh * ow, column: 1 },
                false => {
                    columns.resize(taps * places, T::zero());
                    self.unfold(map, rows, columns);
                    Matrix { values: columns, row: places, column: 1 }
                }
            };
            sums.resize(self.outputs * places, T::zero());
            product(sums, Matrix { values: weight, row: taps, column: 1 }, b, [self.outputs, taps, places]);
            // threads write disjoint places, so their order is free
            let mut y = y.lock().expect("no thread panics here");
            for ((sums, y), bias) in sums.chunks(places).zip(y.chunks_mut(oh * ow)).zip(bias) {
                finish(sums, &mut y[first..first + places], *bias, relu);
            }
        });
        y.into_inner().expect("no thread panics here")
    }

    /// From the gradient `g` with respect to the output of [`Geometry::convolve`], without its ReLU, to that with respect
    /// to the map.
    pub fn back<T: WithDType>(&self, g: &[T], weight: &[T]) -> Vec<T> {
        let ((oh, ow), taps, of_kernel) = (self.out(), self.taps(), self.kernel_taps());
        let mut map = vec![T::zero(); self.channels * self.height * self.width];
        // narrow products are slow: 64 rows at least, but for a single channel
        let channels = self.channels.div_ceil((taps / 64).clamp(1, 4));
        map.par_chunks_mut(channels * self.height * self.width).enumerate().for_each_init(
            Vec::new,
            |columns, (group, map)| {
                let lines = map.len() / (self.height * self.width) * of_kernel;
                let a = Matrix { values: &weight[group * channels * of_kernel..], row: 1, column: taps };
                if self.is_product() {
                    let g = Matrix { values: g, row: oh * ow, column: 1 };
                    return product(map, a, g, [lines, self.outputs, oh * ow]);
                }
                for rows in self.parts(lines + self.outputs) {
                    let places = rows.len() * ow;
                    columns.resize(lines * places, T::zero());
                    let g = Matrix { values: &g[rows.start * ow..], row: oh * ow, column: 1 };
                    product(columns, a, g, [lines, self.outputs, places]);
                    self.fold(columns, rows, map);
                }
            },
        );
        map
    }
}

/// `sums` with bias, and a ReLU if asked for; NaN stays NaN.
fn finish<T: WithDType>(sums: &[T], y: &mut [T], bias: T, relu: bool) {
    match relu {
        true => y.iter_mut().zip(sums).for_each(|(y, sum)| {
            let v = *sum + bias;
            *y = if v <= T::zero() { T::zero() } else { v };
        }),
        false => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum + bias),
    }
}

/// weight (outputs × inputs) times `x`, plus bias.
pub fn connect<T: WithDType>(x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let mut y = vec![T::zero(); bias.len()];
    y.par_chunks_mut(LINES).zip(bias.par_chunks(LINES)).zip(weight.par_chunks(LINES * x.len())).for_each(
        |((y, bias), weight)| {
            let dims = [y.len(), x.len(), 1];
            product(
                y,
                Matrix { values: weight, row: x.len(), column: 1 },
                Matrix { values: x, row: 1, column: 1 },
                dims,
            );
            y.iter_mut().zip(bias).for_each(|(y, bias)| *y += *bias);
        },
    );
    y
}

/// From the gradient `g` with respect to the output of [`connect`] to that with respect to its `inputs` inputs.
pub fn connect_back<T: WithDType>(g: &[T], weight: &[T], inputs: usize) -> Vec<T> {
    let mut x = vec![T::zero(); inputs];
    x.par_chunks_mut(LINES).enumerate().for_each(|(part, x)| {
        let dims = [x.len(), g.len(), 1];
        let a = Matrix { values: &weight[part * LINES..], row: 1, column: inputs };
        product(x, a, Matrix { values: g, row: 1, column: 1 }, dims);
    });
    x
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

/// to (m×n, row by row) = a (m×k) · b (k×n), on this thread alone.
fn product<T: WithDType>(to: &mut [T], a: Matrix<T>, b: Matrix<T>, [m, k, n]: [usize; 3]) {
    assert!(to.len() == m * n && a.has(m, k) && b.has(k, n), "a matrix of another size");
    // SAFETY: the matrices lie in their slices, as asserted, and `to` overlaps with nothing; gemm's types are f32 and f64
    // here (see `Graph::in_memory`)
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
