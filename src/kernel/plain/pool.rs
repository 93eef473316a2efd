//! Maxima and averages over windows of a map.

use crate::kernel::Real;
use crate::kernel::graph::Window;

/// What one window sees along an axis.
pub struct Span {
    /// Places on the map.
    places: Vec<usize>,
    /// How many an average counts.
    count: usize,
}

/// Windows along an axis of `size` places, `out` of them. `count_padding`: their averages count zeros of the padding.
pub fn spans(window: &Window, axis: usize, size: usize, out: usize, count_padding: bool) -> Vec<Span> {
    let padded = window.padding[axis] + size + window.padding[axis + 2];
    let span = |i| {
        let taps = 0..window.size[axis];
        let places: Vec<usize> = taps.clone().filter_map(|t| window.place(axis, i, t, size)).collect();
        let with_padding = |t: &usize| i * window.stride[axis] + t * window.dilation[axis] < padded;
        let count = if count_padding { taps.filter(with_padding).count() } else { places.len() };
        Span { places, count }
    };
    (0..out).map(span).collect()
}

/// Windows that make `out` of `size` places (PyTorch's `AdaptiveAvgPool2d`).
pub fn adaptive_spans(size: usize, out: usize) -> Vec<Span> {
    let places = |i: usize| (i * size / out..((i + 1) * size).div_ceil(out)).collect::<Vec<_>>();
    (0..out).map(|i| Span { count: places(i).len(), places: places(i) }).collect()
}

/// Windows on a map of these rows and columns.
pub struct Pool {
    /// Windows down and across.
    pub spans: [Vec<Span>; 2],
    /// Rows and columns of the map.
    pub size: [usize; 2],
}

impl Pool {
    /// For each window the place in memory of its maximum: the first of several, and NaN above all, the last of them; `None`
    /// where a window sees nothing of the map.
    pub fn winners<T: Real>(&self, x: &[T]) -> Vec<Option<usize>> {
        let mut winners = Vec::new();
        self.windows(x.len(), |plane, rows, columns| {
            let mut best: Option<(usize, T)> = None;
            for row in &rows.places {
                for place in columns.places.iter().map(|column| plane + row * self.size[1] + column) {
                    let v = x[place];
                    #[allow(clippy::eq_op)] // is NaN
                    if best.is_none_or(|(_, most)| v > most || v != v) {
                        best = Some((place, v));
                    }
                }
            }
            winners.push(best.map(|(place, _)| place));
        });
        winners
    }

    /// Means of all windows.
    pub fn averages<T: Real>(&self, x: &[T]) -> Vec<T> {
        let mut y = Vec::new();
        self.windows(x.len(), |plane, rows, columns| {
            let mut sum = T::zero();
            for row in &rows.places {
                let line = &x[plane + row * self.size[1]..];
                sum += columns.places.iter().fold(T::zero(), |sum, column| sum + line[*column]);
            }
            y.push(sum / share(rows, columns));
        });
        y
    }

    /// From the gradient `g` with respect to [`Pool::averages`] to that with respect to `n` numbers of the map.
    pub fn averages_back<T: Real>(&self, g: &[T], n: usize) -> Vec<T> {
        let (mut x, mut g) = (vec![T::zero(); n], g.iter());
        self.windows(n, |plane, rows, columns| {
            let part = *g.next().expect("a gradient for each window") / share(rows, columns);
            for row in &rows.places {
                let line = &mut x[plane + row * self.size[1]..];
                columns.places.iter().for_each(|column| line[*column] += part);
            }
        });
        x
    }

    /// Shows each window: where its plane begins, and what it sees down and across.
    fn windows(&self, n: usize, mut see: impl FnMut(usize, &Span, &Span)) {
        let [height, width] = self.size;
        for plane in (0..n).step_by(height * width) {
            for rows in &self.spans[0] {
                self.spans[1].iter().for_each(|columns| see(plane, rows, columns));
            }
        }
    }
}

/// How many numbers an average is over. A window that sees nothing has average 0.
fn share<T: Real>(rows: &Span, columns: &Span) -> T {
    T::from_f64((rows.count * columns.count).max(1) as f64)
}
