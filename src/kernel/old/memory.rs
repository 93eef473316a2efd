//! A graph in plain memory, one image at a time; a ReLU behind a convolution is done with it, value by value.

use super::conv::{Geometry, connect, connect_back};
use super::network::{Graph, Op, Seed};
use super::pool::Pool;
use crate::error::Result;
use crate::kernel::bus::lend_values;
use crate::kernel::net::window;
use candle_core::{Device, Tensor, WithDType};
use rayon::prelude::*;

/// A value of one image: channels × height × width.
struct Map<T> {
    shape: [usize; 3],
    /// Empty where nobody will read them.
    values: Vec<T>,
}

/// What one image leaves for its way back.
struct Pass<T> {
    values: Vec<Map<T>>,
    /// For each node, where in its plane each maximum was found.
    winners: Vec<Vec<u32>>,
}

/// Logits N×classes.
pub fn logits<T: WithDType>(graph: &Graph, images: &Tensor) -> Result<Tensor> {
    logits_of(&all_forward::<T>(graph, images, 0)?)
}

/// See [`Graph::back_to`].
pub fn back_to<T: WithDType>(
    graph: &Graph,
    images: &Tensor,
    until: usize,
    seed: &Seed,
) -> Result<(Tensor, Tensor, Tensor)> {
    let passes = all_forward::<T>(graph, images, until)?;
    let logits = logits_of(&passes)?;
    let seed = seed(&logits)?;
    let of_image = logits.dim(1)?;
    let gradients = lend_values::<T, _>(&seed, |seed| {
        let images = passes.par_iter().zip(seed.par_chunks(of_image));
        images.map(|(pass, seed)| pass.back_to(graph, until, seed)).collect::<Result<Vec<_>>>()
    })??;
    let [channels, height, width] = passes[0].values[until].shape;
    let shape = (passes.len(), channels, height, width);
    let value = passes.iter().flat_map(|p| p.values[until].values.iter().copied()).collect();
    Ok((
        logits,
        Tensor::from_vec(value, shape, &Device::Cpu)?,
        Tensor::from_vec(gradients.concat(), shape, &Device::Cpu)?,
    ))
}

fn all_forward<T: WithDType>(graph: &Graph, images: &Tensor, keep: usize) -> Result<Vec<Pass<T>>> {
    let (_, channels, height, width) = images.dims4()?;
    lend_values::<T, _>(images, |images| {
        let each = images.par_chunks((channels * height * width).max(1));
        each.map(|image| Pass::forward(graph, image, [channels, height, width], keep)).collect()
    })?
}

fn logits_of<T: WithDType>(passes: &[Pass<T>]) -> Result<Tensor> {
    let logits = passes.iter().flat_map(|p| p.values.last().expect("never empty").values.iter().copied());
    Ok(Tensor::from_vec(logits.collect(), (passes.len(), ()), &Device::Cpu)?)
}

impl<T: WithDType> Pass<T> {
    /// Computes every value; all that a gradient needs is kept, and value `keep`.
    fn forward(graph: &Graph, image: &[T], shape: [usize; 3], keep: usize) -> Result<Pass<T>> {
        let joined = graph.joined(keep);
        let (mut values, mut winners) = (vec![normalised(graph, image, shape)?], Vec::new());
        for (i, (op, inputs)) in graph.nodes.iter().enumerate() {
            let x = &values[inputs[0]];
            let mut places = Vec::new();
            let map = match op {
                Op::Conv { weight, bias, stride, padding } => {
                    let geometry = Geometry::new(x.shape, weight, *stride, *padding)?;
                    let (height, width) = geometry.out();
                    let values = with_weights(weight, bias, |weight: &[T], bias| {
                        geometry.convolve(&x.values, weight, bias, joined[i])
                    })?;
                    Map { shape: [bias.elem_count(), height, width], values }
                }
                Op::Relu if i > 0 && joined[i - 1] => {
                    let before = &mut values[i];
                    Map { shape: before.shape, values: std::mem::take(&mut before.values) }
                }
                Op::Relu => {
                    let relu = |v: &T| if *v <= T::zero() { T::zero() } else { *v };
                    Map { shape: x.shape, values: x.values.iter().map(relu).collect() }
                }
                Op::MaxPool { window, stride, padding, ceil } => {
                    let pool = Pool::new(x.shape, *window, *stride, *padding, *ceil)?;
                    let values;
                    (values, places) = pool.maxima(&x.values);
                    Map { shape: [x.shape[0], pool.out.0, pool.out.1], values }
                }
                Op::AveragePool { side } => {
                    Map { shape: [x.shape[0], *side, *side], values: average(&x.values, x.shape, *side) }
                }
                Op::Linear { weight, bias } => {
                    fits(weight, x.values.len())?;
                    let values = with_weights(weight, bias, |weight: &[T], bias| connect(&x.values, weight, bias))?;
                    Map { shape: [values.len(), 1, 1], values }
                }
                Op::Concat => {
                    let parts: Vec<&Map<T>> = inputs.iter().map(|i| &values[*i]).collect();
                    same(&parts, 1)?;
                    let all: Vec<&[T]> = parts.iter().map(|p| p.values.as_slice()).collect();
                    let channels = parts.iter().map(|p| p.shape[0]).sum();
                    Map { shape: [channels, x.shape[1], x.shape[2]], values: all.concat() }
                }
                Op::Add => {
                    same(&inputs.iter().map(|i| &values[*i]).collect::<Vec<_>>(), 0)?;
                    let mut sum = x.values.clone();
                    inputs[1..].iter().for_each(|i| add(&mut sum, &values[*i].values));
                    Map { shape: x.shape, values: sum }
                }
            };
            values.push(map);
            winners.push(places);
        }
        Ok(Pass { values, winners })
    }

    /// From the gradient with respect to the logits to that with respect to value `until`.
    fn back_to(&self, graph: &Graph, until: usize, seed: &[T]) -> Result<Vec<T>> {
        let mut gradients: Vec<Option<Vec<T>>> = vec![None; self.values.len()];
        gradients[graph.nodes.len()] = Some(seed.to_vec());
        for (i, (op, inputs)) in graph.nodes.iter().enumerate().skip(until).rev() {
            // nobody reads it, or nobody whose value matters
            let Some(mut g) = gradients[i + 1].take() else { continue };
            let shape = self.values[inputs[0]].shape;
            let mut send = |input: usize, part: Vec<T>| match &mut gradients[input] {
                Some(sum) => add(sum, &part),
                none => *none = Some(part),
            };
            match op {
                Op::Conv { weight, stride, padding, .. } => {
                    let geometry = Geometry::new(shape, weight, *stride, *padding)?;
                    send(inputs[0], lend_values::<T, _>(weight, |weight| geometry.back(&g, weight))?);
                }
                Op::Relu => {
                    // let through where the output is above 0, and where it is NaN, as in PyTorch
                    g.iter_mut().zip(&self.values[i + 1].values).for_each(|(g, y)| {
                        if *y <= T::zero() {
                            *g = T::zero();
                        }
                    });
                    send(inputs[0], g);
                }
                Op::MaxPool { window, stride, padding, ceil } => {
                    let pool = Pool::new(shape, *window, *stride, *padding, *ceil)?;
                    send(inputs[0], pool.back(&g, &self.winners[i]));
                }
                Op::AveragePool { side } => send(inputs[0], average_back(&g, shape, *side)),
                Op::Linear { weight, .. } => {
                    let size = shape.iter().product();
                    send(inputs[0], lend_values::<T, _>(weight, |weight| connect_back(&g, weight, size))?);
                }
                Op::Concat => {
                    let mut rest = g.as_slice();
                    for input in inputs {
                        let part;
                        (part, rest) = rest.split_at(self.values[*input].shape.iter().product());
                        send(*input, part.to_vec());
                    }
                }
                Op::Add => inputs.iter().for_each(|input| send(*input, g.clone())),
            }
        }
        let size = self.values[until].shape.iter().product();
        Ok(gradients[until].take().unwrap_or_else(|| vec![T::zero(); size]))
    }
}

impl Graph {
    /// For each node whether it is a convolution whose value nobody reads but the ReLU behind it.
    fn joined(&self, keep: usize) -> Vec<bool> {
        let mut readers = vec![0; self.nodes.len() + 1];
        self.nodes.iter().flat_map(|(_, inputs)| inputs).for_each(|i| readers[*i] += 1);
        let relu_of = |value: usize| matches!(self.nodes.get(value), Some((Op::Relu, inputs)) if inputs == &[value]);
        let joins = |(i, (op, _)): (usize, &(Op, Vec<usize>))| {
            matches!(op, Op::Conv { .. }) && readers[i + 1] == 1 && i + 1 != keep && relu_of(i + 1)
        };
        self.nodes.iter().enumerate().map(joins).collect()
    }
}

/// Lends both.
fn with_weights<T: WithDType, U>(weight: &Tensor, bias: &Tensor, look: impl FnOnce(&[T], &[T]) -> U) -> Result<U> {
    lend_values::<T, _>(weight, |weight| lend_values::<T, _>(bias, |bias| look(weight, bias)))?
}

/// (image − mean) / std, channel by channel.
fn normalised<T: WithDType>(graph: &Graph, image: &[T], shape: [usize; 3]) -> Result<Map<T>> {
    let values = with_weights(&graph.mean, &graph.std, |mean: &[T], std: &[T]| {
        let planes = image.chunks(shape[1] * shape[2]).zip(mean.iter().zip(std));
        planes.flat_map(|(plane, (mean, std))| plane.iter().map(move |v| (*v - *mean) / *std)).collect::<Vec<T>>()
    })?;
    if values.len() != image.len() {
        return Err(candle_core::Error::msg(format!("images of {} channels, not 3", shape[0])).into());
    }
    Ok(Map { shape, values })
}

fn add<T: WithDType>(sum: &mut [T], part: &[T]) {
    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += *part);
}

/// Whether a linear layer has so many inputs.
fn fits(weight: &Tensor, inputs: usize) -> Result<()> {
    match weight.dims2()?.1 == inputs {
        true => Ok(()),
        false => {
            let problem = format!("a linear layer of {:?} on a map of {inputs} values", weight.dims());
            Err(candle_core::Error::msg(problem).into())
        }
    }
}

/// Whether all maps have one shape, from dimension `from` on.
fn same<T>(maps: &[&Map<T>], from: usize) -> Result<()> {
    match maps.iter().all(|m| m.shape[from..] == maps[0].shape[from..]) {
        true => Ok(()),
        false => {
            let shapes: Vec<_> = maps.iter().map(|m| m.shape).collect();
            Err(candle_core::Error::msg(format!("maps of different shapes: {shapes:?}")).into())
        }
    }
}

/// Mean of each window of an average pool to side×side.
fn average<T: WithDType>(x: &[T], [channels, height, width]: [usize; 3], side: usize) -> Vec<T> {
    let mut y = Vec::with_capacity(channels * side * side);
    for plane in x.chunks(height * width) {
        for (i, j) in (0..side * side).map(|k| (k / side, k % side)) {
            let (rows, columns) = (window(i, height, side), window(j, width, side));
            let share = T::from_f64(1.0 / (rows.len() * columns.len()) as f64);
            let mut sum = T::zero();
            for row in rows {
                plane[row * width..][columns.clone()].iter().for_each(|v| sum += *v);
            }
            y.push(sum * share);
        }
    }
    y
}

/// The transpose of [`average`].
fn average_back<T: WithDType>(g: &[T], [channels, height, width]: [usize; 3], side: usize) -> Vec<T> {
    let mut x = vec![T::zero(); channels * height * width];
    for (plane, g) in x.chunks_mut(height * width).zip(g.chunks(side * side)) {
        for (k, g) in g.iter().enumerate() {
            let (rows, columns) = (window(k / side, height, side), window(k % side, width, side));
            let part = *g * T::from_f64(1.0 / (rows.len() * columns.len()) as f64);
            for row in rows {
                plane[row * width..][columns.clone()].iter_mut().for_each(|v| *v += part);
            }
        }
    }
    x
}
