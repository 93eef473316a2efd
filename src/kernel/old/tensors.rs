//! A graph by candle's operations, on any device: the whole batch, operation by operation.

use super::conv::Geometry;
use super::network::{Graph, Op, Seed};
use super::pool::Pool;
use crate::error::Result;
use crate::kernel::net::averages;
use candle_core::{DType, Device, Tensor};

/// What an operation leaves for its gradient, beside its inputs: 1 where the maximum of each window is, one tensor for
/// each place in a window.
type Tape = Vec<Tensor>;

/// Logits N×classes.
pub fn logits(graph: &Graph, images: &Tensor) -> Result<Tensor> {
    Ok(forward(graph, images)?.0.last().expect("never empty").flatten_from(1)?)
}

/// Every value, and what each node leaves.
fn forward(graph: &Graph, images: &Tensor) -> Result<(Vec<Tensor>, Vec<Tape>)> {
    let mut values = vec![images.broadcast_sub(&graph.mean)?.broadcast_div(&graph.std)?];
    let mut tapes = Vec::new();
    for (op, inputs) in &graph.nodes {
        let inputs: Vec<&Tensor> = inputs.iter().map(|i| &values[*i]).collect();
        let (value, tape) = op.forward(&inputs)?;
        values.push(value);
        tapes.push(tape);
    }
    Ok((values, tapes))
}

/// See [`Graph::back_to`].
pub fn back_to(graph: &Graph, images: &Tensor, until: usize, seed: &Seed) -> Result<(Tensor, Tensor, Tensor)> {
    let (values, tapes) = forward(graph, images)?;
    let last = values.last().expect("never empty");
    let logits = last.flatten_from(1)?;
    let mut gradients: Vec<Option<Tensor>> = vec![None; values.len()];
    gradients[graph.nodes.len()] = Some(seed(&logits)?.reshape(last.shape())?);
    for (i, ((op, inputs), tape)) in graph.nodes.iter().zip(tapes).enumerate().skip(until).rev() {
        // nobody reads it, or nobody whose value matters
        let Some(gradient) = gradients[i + 1].take() else { continue };
        let read: Vec<&Tensor> = inputs.iter().map(|i| &values[*i]).collect();
        for (input, part) in inputs.iter().zip(op.backward(&gradient, &read, tape)?) {
            gradients[*input] = Some(match gradients[*input].take() {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
    }
    let gradient = gradients[until].take().map_or_else(|| values[until].zeros_like(), Ok)?;
    Ok((logits, values[until].clone(), gradient))
}

/// Channels, height and width.
fn map_shape(x: &Tensor) -> Result<[usize; 3]> {
    let (_, channels, height, width) = x.dims4()?;
    Ok([channels, height, width])
}

impl Op {
    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Tape)> {
        let x = inputs[0];
        Ok(match self {
            Op::Conv { weight, bias, stride, padding } => {
                Geometry::new(map_shape(x)?, weight, *stride, *padding)?;
                let y = x.conv2d(weight, *padding, *stride, 1, 1)?;
                (y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?, Vec::new())
            }
            Op::Relu => {
                let zeros = x.zeros_like()?;
                (x.le(&zeros)?.where_cond(&zeros, x)?, Vec::new())
            }
            Op::MaxPool { window, stride, padding, ceil } => {
                max_pool(x, Pool::new(map_shape(x)?, *window, *stride, *padding, *ceil)?)?
            }
            Op::AveragePool { side } => {
                let rows = average_rows(x.dim(2)?, *side, x)?;
                let y = x.contiguous()?.broadcast_matmul(&rows.t()?.contiguous()?)?;
                (rows.broadcast_matmul(&y.contiguous()?)?, Vec::new())
            }
            Op::Linear { weight, bias } => (x.flatten_from(1)?.matmul(&weight.t()?)?.broadcast_add(bias)?, Vec::new()),
            Op::Concat => (Tensor::cat(inputs, 1)?, Vec::new()),
            Op::Add => {
                let mut sum = x.clone();
                for y in &inputs[1..] {
                    sum = (sum + *y)?;
                }
                (sum, Vec::new())
            }
        })
    }

    /// Gradient with respect to each input.
    fn backward(&self, g: &Tensor, inputs: &[&Tensor], tape: Tape) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        Ok(match self {
            Op::Conv { weight, stride, padding, .. } => {
                vec![convolve_back(g, weight, Geometry::new(map_shape(x)?, weight, *stride, *padding)?)?]
            }
            Op::Relu => {
                // let through where the input is above 0, and where it is NaN, as in PyTorch
                let zeros = x.zeros_like()?;
                vec![x.le(&zeros)?.where_cond(&zeros, g)?]
            }
            Op::MaxPool { window, stride, padding, ceil } => {
                vec![max_unpool(g, &tape, Pool::new(map_shape(x)?, *window, *stride, *padding, *ceil)?, x)?]
            }
            Op::AveragePool { side } => {
                let rows = average_rows(x.dim(2)?, *side, x)?;
                let up = rows.t()?.contiguous()?.broadcast_matmul(&g.contiguous()?)?;
                vec![up.contiguous()?.broadcast_matmul(&rows)?]
            }
            Op::Linear { weight, .. } => vec![g.matmul(weight)?.reshape(x.shape())?],
            Op::Concat => {
                let mut first = 0;
                let mut part = |x: &&Tensor| -> Result<Tensor> {
                    let channels = x.dim(1)?;
                    first += channels;
                    Ok(g.narrow(1, first - channels, channels)?.contiguous()?)
                };
                inputs.iter().map(&mut part).collect::<Result<_>>()?
            }
            Op::Add => vec![g.clone(); inputs.len()],
        })
    }
}

/// [`averages`] in the type and on the device of `like`.
fn average_rows(side: usize, out: usize, like: &Tensor) -> Result<Tensor> {
    let rows = Tensor::from_vec(averages(side, out), (out, side), &Device::Cpu)?;
    Ok(rows.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// From the gradient `g` with respect to the output of a convolution to that with respect to its input.
fn convolve_back(g: &Tensor, weight: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let Geometry { height, width, stride, padding, .. } = geometry;
    let (rows, columns) = geometry.unreached();
    let reached = g.conv_transpose2d(weight, padding, rows.min(columns), stride, 1)?;
    let (rows, columns) = (reached.dim(2)?, reached.dim(3)?);
    Ok(reached.pad_with_zeros(2, 0, height - rows)?.pad_with_zeros(3, 0, width - columns)?)
}

/// Rows, or columns, at offset `d` of each window.
fn line(pool: Pool, d: usize, size: usize, out: usize, x: &Tensor) -> Result<Tensor> {
    let index: Vec<u32> = (0..out).map(|i| pool.place(i, d, size) as u32).collect();
    Ok(Tensor::new(index, x.device())?)
}

fn max_pool(x: &Tensor, pool: Pool) -> Result<(Tensor, Tape)> {
    let ((oh, ow), (_, _, h, w)) = (pool.out, x.dims4()?);
    let x = x.contiguous()?;
    let mut best: Option<Tensor> = None;
    let mut masks: Vec<Tensor> = Vec::new();
    for d in 0..pool.window * pool.window {
        let (ys, xs) = (line(pool, d / pool.window, h, oh, &x)?, line(pool, d % pool.window, w, ow, &x)?);
        let corner = x.index_select(&ys, 2)?.index_select(&xs, 3)?;
        let Some(max) = &best else {
            masks.push(corner.ones_like()?);
            best = Some(corner);
            continue;
        };
        // NaN is not equal to itself
        let wins = (corner.gt(max)?.to_dtype(DType::U8)? + corner.ne(&corner)?.to_dtype(DType::U8)?)?;
        let wins = wins.gt(&wins.zeros_like()?)?;
        best = Some(wins.where_cond(&corner, max)?);
        let stays = wins.eq(&wins.zeros_like()?)?.to_dtype(x.dtype())?;
        for mask in &mut masks {
            *mask = (&*mask * &stays)?;
        }
        masks.push(wins.to_dtype(x.dtype())?);
    }
    Ok((best.expect("windows are not empty"), masks))
}

/// Sends each gradient to the place that won; where windows overlap, gradients add up.
fn max_unpool(g: &Tensor, masks: &[Tensor], pool: Pool, x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (oh, ow) = pool.out;
    let zeros = |h: usize, w: usize| Tensor::zeros((n, c, h, w), g.dtype(), g.device());
    let mut to = zeros(h, w)?;
    for (d, mask) in masks.iter().enumerate() {
        let (ys, xs) = (line(pool, d / pool.window, h, oh, x)?, line(pool, d % pool.window, w, ow, x)?);
        let columns = zeros(oh, w)?.index_add(&xs, &(g * mask)?, 3)?;
        to = to.index_add(&ys, &columns, 2)?;
    }
    Ok(to)
}
