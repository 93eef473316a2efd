//! Operations that move numbers, add some up and compute nothing else: each as one list of places.

use crate::kernel::Real;
use crate::kernel::graph::Op;

/// How an input's numbers and the output's belong together, row by row; where several meet, they add up.
pub enum Places {
    /// For each number of the output the place of the input's.
    From(Vec<usize>),
    /// For each number of the input the place of the output's.
    To(Vec<usize>),
}

impl Places {
    /// Adds the input `x` to the output `y`.
    pub fn forward<T: Real>(&self, x: &[T], y: &mut [T]) {
        match self {
            Places::From(places) => gather(x, places, y),
            Places::To(places) => scatter(x, places, y),
        }
    }

    /// Adds the gradient `g` with respect to the output to that with respect to the input, `x`.
    pub fn backward<T: Real>(&self, g: &[T], x: &mut [T]) {
        match self {
            Places::From(places) => scatter(g, places, x),
            Places::To(places) => gather(g, places, x),
        }
    }

    /// Of input `i` of an operation that moves numbers; `None`: it is another one.
    pub fn of<T>(op: &Op<T>, inputs: &[&[usize]], i: usize, shape: &[usize]) -> Option<Places> {
        let x = inputs[i];
        let (from, to) = (strides(x), strides(shape));
        Some(match op {
            Op::Concat { axis } => {
                let before: usize = inputs[..i].iter().map(|x| x[*axis]).sum();
                Places::To(places(before * to[*axis], x, &to))
            }
            Op::Transpose { axes } => {
                Places::From(places(0, shape, &axes.iter().map(|axis| from[*axis]).collect::<Vec<_>>()))
            }
            Op::Slice { axis, start, step, .. } => {
                let mut steps = from.clone();
                steps[*axis] *= step;
                Places::From(places(start * from[*axis], shape, &steps))
            }
            Op::Mean { axis } => {
                let mut rest = to;
                rest.insert(*axis, 0);
                Places::To(places(0, x, &rest))
            }
            Op::Upsample { times } => {
                let split = [x[0], x[1], times[0], x[2], times[1]];
                Places::From(places(0, &split, &[from[0], from[1], 0, from[2], 0]))
            }
            Op::Pad { padding } => Places::To(places(padding[0] * to[1] + padding[1], x, &to)),
            _ => return None,
        })
    }
}

/// For each number of a value of shape `to` the place of the one that broadcasting takes from a value of shape `from`.
pub fn spread(from: &[usize], to: &[usize]) -> Vec<usize> {
    let steps = strides(from);
    let aligned = (0..to.len()).map(|i| match (i + from.len()).checked_sub(to.len()) {
        Some(axis) if from[axis] > 1 => steps[axis],
        _ => 0,
    });
    places(0, to, &aligned.collect::<Vec<_>>())
}

/// Adds to each of `y` the number of `x` at its place.
fn gather<T: Real>(x: &[T], places: &[usize], y: &mut [T]) {
    y.iter_mut().zip(places).for_each(|(y, place)| *y += x[*place]);
}

/// Adds each of `x` to the number of `y` at its place.
pub fn scatter<T: Real>(x: &[T], places: &[usize], y: &mut [T]) {
    x.iter().zip(places).for_each(|(x, place)| y[*place] += *x);
}

/// How far apart in memory the indices of each axis lie.
fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// The places of all indices of a shape, row by row, from `start` with these strides.
fn places(start: usize, shape: &[usize], strides: &[usize]) -> Vec<usize> {
    shape.iter().zip(strides).fold(vec![start], |places, (size, stride)| {
        places.iter().flat_map(|place| (0..*size).map(move |i| place + i * stride)).collect()
    })
}
