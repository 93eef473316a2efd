//! The maximum over windows of a map, and the way back.

use crate::error::Result;
use candle_core::WithDType;
use rayon::prelude::*;

/// How windows of a maximum lie on a map.
#[derive(Clone, Copy)]
pub struct Pool {
    /// Height and width of a window.
    pub window: usize,
    stride: usize,
    padding: usize,
    height: usize,
    width: usize,
    /// Height and width after it.
    pub out: (usize, usize),
}

impl Pool {
    /// On a map of these channels, height and width.
    pub fn new(
        [_, height, width]: [usize; 3],
        window: usize,
        stride: usize,
        padding: usize,
        ceil: bool,
    ) -> Result<Pool> {
        let fits = window > 0 && stride > 0 && 2 * padding <= window && window <= height.min(width) + 2 * padding;
        if !fits || height.min(width) == 0 {
            let problem =
                format!("windows of {window} at stride {stride}, padding {padding}, on a {height}x{width} map");
            return Err(candle_core::Error::msg(problem).into());
        }
        let out = |size: usize| match (ceil, size + 2 * padding - window) {
            (false, room) => room / stride + 1,
            // the last window begins on the map or before it (PyTorch's pooling_output_shape)
            (true, room) => (room.div_ceil(stride) + 1).min((size + padding - 1) / stride + 1),
        };
        Ok(Pool { window, stride, padding, height, width, out: (out(height), out(width)) })
    }

    /// Place on the map of offset `d` in window `i` of a line; outside, the nearest place of the same window, which
    /// changes neither the maximum nor whose it is.
    pub fn place(&self, i: usize, d: usize, size: usize) -> usize {
        (i * self.stride + d).saturating_sub(self.padding).min(size - 1)
    }

    /// Rows or columns of window `i` that lie on the map.
    fn span(&self, i: usize, size: usize) -> std::ops::RangeInclusive<usize> {
        self.place(i, 0, size)..=self.place(i, self.window - 1, size)
    }

    /// Maxima of a map of one image, and where in its plane each was found.
    pub fn maxima<T: WithDType>(&self, x: &[T]) -> (Vec<T>, Vec<u32>) {
        let (of_plane, of_output) = (self.height * self.width, self.out.0 * self.out.1);
        let outputs = x.len() / of_plane * of_output;
        let (mut y, mut winners) = (vec![T::zero(); outputs], vec![0u32; outputs]);
        let planes = x.par_chunks(of_plane).zip(y.par_chunks_mut(of_output)).zip(winners.par_chunks_mut(of_output));
        let columns: Vec<Vec<usize>> =
            (0..self.window).map(|d| (0..self.out.1).map(|ox| self.place(ox, d, self.width)).collect()).collect();
        planes.for_each(|((plane, y), winners)| {
            let rows = y.chunks_mut(self.out.1).zip(winners.chunks_mut(self.out.1));
            rows.enumerate()
                .for_each(|(oy, (y, winners))| self.row(plane, self.span(oy, self.height), &columns, y, winners));
        });
        (y, winners)
    }

    /// One row of windows, which cover `rows` of the plane: the first of several maxima; NaN above all, the last of them.
    fn row<T: WithDType>(
        &self,
        plane: &[T],
        rows: std::ops::RangeInclusive<usize>,
        columns: &[Vec<usize>],
        y: &mut [T],
        winners: &mut [u32],
    ) {
        let first = rows.start() * self.width;
        for ((y, winner), x) in y.iter_mut().zip(winners.iter_mut()).zip(&columns[0]) {
            (*y, *winner) = (plane[first + x], (first + x) as u32);
        }
        for row in rows {
            let line = &plane[row * self.width..(row + 1) * self.width];
            for columns in columns {
                for ((y, winner), x) in y.iter_mut().zip(winners.iter_mut()).zip(columns) {
                    let v = line[*x];
                    #[allow(clippy::eq_op)] // is NaN
                    if v > *y || v != v {
                        (*y, *winner) = (v, (row * self.width + x) as u32);
                    }
                }
            }
        }
    }

    /// Sends each gradient to the place that won; where windows overlap, gradients add up.
    pub fn back<T: WithDType>(&self, g: &[T], winners: &[u32]) -> Vec<T> {
        let (of_plane, of_output) = (self.height * self.width, self.out.0 * self.out.1);
        let mut to = vec![T::zero(); g.len() / of_output * of_plane];
        let planes = to.par_chunks_mut(of_plane).zip(g.par_chunks(of_output)).zip(winners.par_chunks(of_output));
        planes.for_each(|((to, g), winners)| winners.iter().zip(g).for_each(|(w, g)| to[*w as usize] += *g));
        to
    }
}
