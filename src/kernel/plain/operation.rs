//! Every operation on values of one image, and its exact derivative.

use super::convolution::Convolution;
use super::line::{along, indexed, normalise, normalise_back, softmax, softmax_back};
use super::matrix::{Attention, product, product_of_rows, transposed};
use super::place::{Places, scatter, spread};
use super::pool::{Pool, adaptive_spans, spans};
use crate::kernel::Real;
use crate::kernel::graph::Op;

/// A value of one image.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a, T> {
    /// Its shape.
    pub shape: &'a [usize],
    /// Row by row.
    pub numbers: &'a [T],
}

impl<T: Real> Op<T> {
    /// The value of this shape that it makes of these (see [`Op::shape`]). All but convolutions in f32 have the same bits on
    /// every machine.
    ///
    /// # Panics
    /// Values that it does not take.
    pub fn forward(&self, inputs: &[Value<T>], shape: &[usize]) -> Vec<T> {
        if let Op::Constant { values, .. } = self {
            return values.clone();
        }
        let x = inputs[0];
        match self {
            Op::Conv { weight, bias, .. } => self.convolution(x.shape, shape).forward(x.numbers, weight, bias),
            Op::Scale { axis, factor, shift } => {
                let (factor, shift) = (numbers::<T>(factor), numbers(shift));
                let one = factor.len() - 1;
                indexed(x.shape, *axis, x.numbers, |i, v| factor[i.min(one)] * v + shift[i.min(one)])
            }
            Op::Activate(function) => x.numbers.iter().map(|v| function.value(*v)).collect(),
            Op::MaxPool { .. } => {
                let winners = self.pool(x.shape, shape).winners(x.numbers);
                winners
                    .iter()
                    .map(|place| place.map_or(T::from_f64(f64::NEG_INFINITY), |place| x.numbers[place]))
                    .collect()
            }
            Op::AveragePool { .. } | Op::AdaptiveAverage { .. } => self.pool(x.shape, shape).averages(x.numbers),
            Op::Linear { weight, bias } => {
                let mut y = product_of_rows(x.numbers, weight, weight.len() / bias.len());
                y.chunks_mut(bias.len()).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, bias)| *y += *bias));
                y
            }
            Op::Add => both(x, inputs[1], shape, |x, y| x + y),
            Op::Mul => both(x, inputs[1], shape, |x, y| x * y),
            Op::Reshape { .. } => x.numbers.to_vec(),
            Op::MatMul => {
                let (y, dims @ [m, k, n]) = (inputs[1], matrices(x, inputs[1]));
                let pairs = x.numbers.chunks(m * k).zip(y.numbers.chunks(k * n));
                pairs.flat_map(|(x, y)| product(x, y, dims)).collect()
            }
            Op::Softmax { axis } => along(x.shape, *axis, [x.numbers], |[x]| softmax(x)),
            Op::LayerNorm { axis, factor, shift, eps } => {
                let (factor, shift) = (numbers::<T>(factor), numbers::<T>(shift));
                along(x.shape, *axis, [x.numbers], |[x]| {
                    normalise(x, *eps);
                    x.iter_mut()
                        .zip(factor.iter().zip(&shift))
                        .for_each(|(x, (factor, shift))| *x = *factor * *x + *shift);
                })
            }
            Op::Attention { heads } => Attention { x: x.numbers, width: x.shape[1], heads: *heads }.forward(),
            Op::Concat { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Mean { .. }
            | Op::Upsample { .. }
            | Op::Pad { .. } => {
                let mut y = vec![T::zero(); shape.iter().product()];
                self.places(inputs, shape).zip(inputs).for_each(|(places, x)| places.forward(x.numbers, &mut y));
                self.divide(&mut y, x.shape);
                y
            }
            Op::Constant { .. } => unreachable!("it reads nothing"),
        }
    }

    /// Whether [`Op::backward`] reads numbers of the inputs or of the output.
    pub fn needs_values(&self) -> bool {
        use Op::{Activate, Attention, LayerNorm, MatMul, MaxPool, Mul, Softmax};
        matches!(
            self,
            Activate(_) | MaxPool { .. } | Mul | MatMul | Softmax { .. } | LayerNorm { .. } | Attention { .. }
        )
    }

    /// From the gradient with respect to its output to that with respect to each of its inputs, as exact derivatives;
    /// PyTorch's, where one is a matter of choice. Where no values are needed ([`Op::needs_values`]), slices may be empty;
    /// `output` is read by softmax alone.
    ///
    /// # Panics
    /// Values that it does not take.
    pub fn backward(&self, inputs: &[Value<T>], output: &[T], gradient: &[T]) -> Vec<Vec<T>> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|x| x.shape).collect();
        let (g, shape) = (gradient, self.shape(&shapes).expect("values that it takes"));
        let Some(x) = inputs.first().copied() else { return Vec::new() };
        let zeros = |x: &Value<T>| vec![T::zero(); x.shape.iter().product()];
        vec![match self {
            Op::Conv { weight, .. } => self.convolution(x.shape, &shape).backward(g, weight),
            Op::Scale { axis, factor, .. } => {
                let factor = numbers::<T>(factor);
                indexed(x.shape, *axis, g, |i, g| factor[i.min(factor.len() - 1)] * g)
            }
            Op::Activate(function) => x.numbers.iter().zip(g).map(|(x, g)| function.back(*x, *g)).collect(),
            Op::MaxPool { .. } => {
                let mut to = zeros(&x);
                let winners = self.pool(x.shape, &shape).winners(x.numbers);
                winners.iter().zip(g).for_each(|(place, g)| place.iter().for_each(|place| to[*place] += *g));
                to
            }
            Op::AveragePool { .. } | Op::AdaptiveAverage { .. } => {
                self.pool(x.shape, &shape).averages_back(g, x.shape.iter().product())
            }
            Op::Linear { weight, bias } => {
                let outputs = bias.len();
                product(g, weight, [g.len() / outputs, outputs, weight.len() / outputs])
            }
            Op::Add | Op::Mul => return self.both_back([x, inputs[1]], &shape, g),
            Op::Reshape { .. } => g.to_vec(),
            Op::MatMul => {
                let (y, [m, k, n]) = (inputs[1], matrices(x, inputs[1]));
                let of_x = g.chunks(m * n).zip(y.numbers.chunks(k * n)).flat_map(|(g, y)| product_of_rows(g, y, n));
                let pairs = x.numbers.chunks(m * k).zip(g.chunks(m * n));
                return vec![
                    of_x.collect(),
                    pairs.flat_map(|(x, g)| product(&transposed(x, k), g, [k, m, n])).collect(),
                ];
            }
            Op::Softmax { axis } => along(x.shape, *axis, [g, output], |[g, y]| softmax_back(g, y)),
            Op::LayerNorm { axis, factor, eps, .. } => {
                let factor = numbers::<T>(factor);
                along(x.shape, *axis, [g, x.numbers], |[g, x]| {
                    g.iter_mut().zip(&factor).for_each(|(g, factor)| *g *= *factor);
                    normalise_back(g, x, *eps);
                })
            }
            Op::Attention { heads } => Attention { x: x.numbers, width: x.shape[1], heads: *heads }.backward(g),
            Op::Concat { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Mean { .. }
            | Op::Upsample { .. }
            | Op::Pad { .. } => {
                let back = |(places, x): (Places, &Value<T>)| {
                    let mut to = zeros(x);
                    places.backward(g, &mut to);
                    self.divide(&mut to, x.shape);
                    to
                };
                return self.places(inputs, &shape).zip(inputs).map(back).collect();
            }
            Op::Constant { .. } => unreachable!("it reads nothing"),
        }]
    }

    /// Of sums and products.
    fn both_back(&self, inputs: [Value<T>; 2], shape: &[usize], g: &[T]) -> Vec<Vec<T>> {
        let back = |x: Value<T>, other: Value<T>| {
            let g = match self {
                Op::Mul => both(Value { shape, numbers: g }, other, shape, |g, other| g * other),
                _ => g.to_vec(),
            };
            if x.shape == shape {
                return g;
            }
            let mut to = vec![T::zero(); x.shape.iter().product()];
            scatter(&g, &spread(x.shape, shape), &mut to);
            to
        };
        let [x, y] = inputs;
        vec![back(x, y), back(y, x)]
    }

    fn convolution(&self, x: &[usize], shape: &[usize]) -> Convolution<'_> {
        let Op::Conv { window, groups, .. } = self else { unreachable!("asked for convolutions") };
        Convolution { window, groups: *groups, map: [x[0], x[1], x[2]], out: [shape[0], shape[1], shape[2]] }
    }

    fn pool(&self, x: &[usize], shape: &[usize]) -> Pool {
        let spans = |axis: usize| match self {
            Op::MaxPool { window, .. } => spans(window, axis, x[axis + 1], shape[axis + 1], false),
            Op::AveragePool { window, count_padding, .. } => {
                spans(window, axis, x[axis + 1], shape[axis + 1], *count_padding)
            }
            _ => adaptive_spans(x[axis + 1], shape[axis + 1]),
        };
        Pool { spans: [spans(0), spans(1)], size: [x[1], x[2]] }
    }

    /// See [`Places::of`], one for each input.
    fn places(&self, inputs: &[Value<T>], shape: &[usize]) -> impl Iterator<Item = Places> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|x| x.shape).collect();
        (0..inputs.len()).map(move |i| Places::of(self, &shapes, i, shape).expect("asked for operations that move"))
    }

    /// Makes a mean of a sum over an axis of this shape.
    fn divide(&self, sums: &mut [T], shape: &[usize]) {
        if let Op::Mean { axis } = self {
            let n = T::from_f64(shape[*axis] as f64);
            sums.iter_mut().for_each(|sum| *sum /= n);
        }
    }
}

/// Each rounded once.
fn numbers<T: Real>(v: &[f64]) -> Vec<T> {
    v.iter().map(|v| T::from_f64(*v)).collect()
}

/// A function of two values broadcast to this shape.
fn both<T: Real>(x: Value<T>, y: Value<T>, shape: &[usize], f: impl Fn(T, T) -> T) -> Vec<T> {
    if x.shape == y.shape {
        return x.numbers.iter().zip(y.numbers).map(|(x, y)| f(*x, *y)).collect();
    }
    let places = spread(x.shape, shape).into_iter().zip(spread(y.shape, shape));
    places.map(|(i, k)| f(x.numbers[i], y.numbers[k])).collect()
}

/// Rows of the first, columns of the first, and columns of the second of each pair of matrices.
fn matrices<T>(x: Value<T>, y: Value<T>) -> [usize; 3] {
    let rank = x.shape.len();
    [x.shape[rank - 2], x.shape[rank - 1], y.shape[rank - 1]]
}
