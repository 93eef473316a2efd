//! Operations along one axis, line by line.

use crate::kernel::Real;

/// Changes each line along `axis` of a value of this shape; `change` gets it with those of `N` − 1 others, and what it
/// makes of the first is kept.
pub fn along<T: Real, const N: usize>(
    shape: &[usize],
    axis: usize,
    values: [&[T]; N],
    mut change: impl FnMut(&mut [Vec<T>; N]),
) -> Vec<T> {
    let (n, apart) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut lines: [Vec<T>; N] = std::array::from_fn(|_| vec![T::zero(); n]);
    let mut changed = values[0].to_vec();
    for first in (0..changed.len()).step_by(n * apart).flat_map(|block| block..block + apart) {
        for (line, value) in lines.iter_mut().zip(values) {
            line.iter_mut().zip(value[first..].iter().step_by(apart)).for_each(|(to, v)| *to = *v);
        }
        change(&mut lines);
        changed[first..].iter_mut().step_by(apart).zip(&lines[0]).for_each(|(to, v)| *to = *v);
    }
    changed
}

/// Each number of a value of this shape by a function of its index along `axis` and of itself.
pub fn indexed<T: Real>(shape: &[usize], axis: usize, x: &[T], f: impl Fn(usize, T) -> T) -> Vec<T> {
    let (n, apart) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut y = x.to_vec();
    y.chunks_mut(apart).enumerate().for_each(|(i, part)| part.iter_mut().for_each(|v| *v = f(i % n, *v)));
    y
}

fn sum<T: Real>(terms: impl Iterator<Item = T>) -> T {
    terms.fold(T::zero(), |sum, term| sum + term)
}

/// eˣ over its sum.
pub fn softmax<T: Real>(x: &mut [T]) {
    let most = x.iter().fold(x[0], |most, v| if *v > most { *v } else { most });
    x.iter_mut().for_each(|v| *v = (*v - most).exp());
    let share = T::one() / sum(x.iter().copied());
    x.iter_mut().for_each(|v| *v *= share);
}

/// From the gradient with respect to the softmax `y` to that with respect to its input.
pub fn softmax_back<T: Real>(g: &mut [T], y: &[T]) {
    let mean = sum(g.iter().zip(y).map(|(g, y)| *g * *y));
    g.iter_mut().zip(y).for_each(|(g, y)| *g = *y * (*g - mean));
}

/// (x − mean)/√(variance + eps); returns what it multiplied by.
pub fn normalise<T: Real>(x: &mut [T], eps: f64) -> T {
    let n = T::from_f64(x.len() as f64);
    let mean = sum(x.iter().copied()) / n;
    x.iter_mut().for_each(|v| *v -= mean);
    let variance = sum(x.iter().map(|v| *v * *v)) / n;
    let scale = T::one() / (variance + T::from_f64(eps)).sqrt();
    x.iter_mut().for_each(|v| *v *= scale);
    scale
}

/// From the gradient with respect to the value of [`normalise`] to that with respect to its input `x`, which is lost.
pub fn normalise_back<T: Real>(g: &mut [T], x: &mut [T], eps: f64) {
    let scale = normalise(x, eps);
    let n = T::from_f64(x.len() as f64);
    let (mean, along) = (sum(g.iter().copied()) / n, sum(g.iter().zip(x.iter()).map(|(g, x)| *g * *x)) / n);
    g.iter_mut().zip(x).for_each(|(g, x)| *g = scale * (*g - mean - *x * along));
}
