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
        #[allow(clippy::eq_op)] // is NaN
        let beats = |v: T, most: T| v > most || v != v;
        self.windows(x.len(), |places, _| {
            winners
                .push(places.iter().copied().reduce(|best, place| if beats(x[place], x[best]) { place } else { best }));
        });
        winners
    }

    /// Means of all windows; of one that sees nothing it is 0.
    pub fn averages<T: Real>(&self, x: &[T]) -> Vec<T> {
        let mut y = Vec::new();
        self.windows(x.len(), |places, count| {
            y.push(places.iter().fold(T::zero(), |sum, place| sum + x[*place]) / T::from_f64(count as f64));
        });
        y
    }

    /// From the gradient `g` with respect to [`Pool::averages`] to that with respect to `n` numbers of the map.
    pub fn averages_back<T: Real>(&self, g: &[T], n: usize) -> Vec<T> {
        let (mut x, mut g) = (vec![T::zero(); n], g.iter());
        self.windows(n, |places, count| {
            let part = *g.next().expect("a gradient for each window") / T::from_f64(count as f64);
            places.iter().for_each(|place| x[*place] += part);
        });
        x
    }

    /// Shows for each window the places in memory that it sees, row by row, and how many an average is over.
    fn windows(&self, n: usize, mut see: impl FnMut(&[usize], usize)) {
        let ([height, width], mut places) = (self.size, Vec::new());
        for plane in (0..n).step_by(height * width) {
            for rows in &self.spans[0] {
                for columns in &self.spans[1] {
                    places.clear();
                    for row in &rows.places {
                        places.extend(columns.places.iter().map(|column| plane + row * width + column));
                    }
                    see(&places, (rows.count * columns.count).max(1));
                }
            }
        }
    }
}
