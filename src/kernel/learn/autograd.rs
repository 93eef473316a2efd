//! The reference learner, by candle's automatic differentiation on any device. Slow and obvious; what a GPU takes.
//!
//! Two gradients of candle's are not used: its max-pool gives a unique maximum a share of its gradient, and its ReLU has slope 1 at
//! 0 (candle-core 0.11.1, `backprop.rs`). Both are made of operations whose gradients are right.

use super::{Blueprint, Learned, Learner, NORM_EPS, NORM_MOMENTUM};
use crate::error::{Error, Result};
use crate::kernel::graph::{Node, Op, Window};
use candle_core::{DType, Device, Tensor, Var};

/// A network that learns by candle.
pub struct Autograd {
    blueprint: Blueprint,
    device: Device,
    /// Weights as variables, by the numbers of their tensors; running statistics too, which are not looked at.
    variables: Vec<Var>,
    /// Images and logits of the last batch.
    last: Option<(Var, Tensor)>,
}

/// What padding is to a max-pool: less than anything a map holds.
const LOWEST: f64 = -1e30;

impl Autograd {
    /// Of a network.
    ///
    /// # Errors
    /// An operation that learners do not know.
    pub fn new(blueprint: &Blueprint, device: &Device) -> Result<Autograd, String> {
        blueprint.check()?;
        // candle has one stride and dilation for both directions
        let odd = |window: &Window| window.stride[0] != window.stride[1] || window.dilation[0] != window.dilation[1];
        if blueprint.graph.nodes().iter().any(|n| matches!(&n.op, Op::Conv { window, .. } if odd(window))) {
            return Err("a convolution with two strides or dilations is not learned on this device".into());
        }
        Ok(Autograd { blueprint: blueprint.clone(), device: device.clone(), variables: Vec::new(), last: None })
    }

    /// Every value of a batch; running statistics move.
    fn values(&self, images: &Tensor, tensors: &mut [Vec<f32>]) -> Result<Tensor> {
        let graph = &self.blueprint.graph;
        let channels =
            |numbers: [f64; 3]| Tensor::new(&numbers, &self.device)?.to_dtype(DType::F32)?.reshape((1, 3, 1, 1));
        let mut values = vec![images.broadcast_sub(&channels(graph.mean)?)?.broadcast_div(&channels(graph.std)?)?];
        for (i, (node, learned)) in graph.nodes().iter().zip(&self.blueprint.learned).enumerate() {
            let value = self.value(node, learned.as_ref(), &values, graph.shape(i + 1), tensors)?;
            values.push(value);
        }
        Ok(values.pop().expect("a network has values"))
    }

    fn value(
        &self,
        Node { op, inputs }: &Node<f32>,
        learned: Option<&Learned>,
        values: &[Tensor],
        shape: &[usize],
        tensors: &mut [Vec<f32>],
    ) -> Result<Tensor> {
        let x = &values[inputs[0]];
        Ok(match (op, learned) {
            (Op::Conv { window, groups, .. }, Some(Learned::Layer { weight, bias })) => {
                let [top, left, bottom, right] = window.padding;
                let mut x = x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
                // what no window reaches is cut off: candle's way back takes what is left over down for what is left over across
                for axis in [0, 1] {
                    x = x.narrow(2 + axis, 0, (shape[1 + axis] - 1) * window.stride[axis] + window.extent(axis))?;
                }
                let weight = self.variables[*weight].as_tensor();
                let y = x.conv2d(weight, 0, window.stride[0], window.dilation[0], *groups)?;
                match bias {
                    Some(bias) => y.broadcast_add(&self.variables[*bias].reshape((1, shape[0], 1, 1))?)?,
                    None => y,
                }
            }
            (Op::Linear { .. }, Some(Learned::Layer { weight, bias })) => {
                let y = x.matmul(&self.variables[*weight].t()?)?;
                match bias {
                    Some(bias) => y.broadcast_add(self.variables[*bias].as_tensor())?,
                    None => y,
                }
            }
            (Op::Scale { .. }, Some(Learned::Norm { gamma, beta, mean, variance })) => {
                let of_channel = |v: &Tensor| v.mean_keepdim((0, 2, 3));
                let centre = of_channel(x)?;
                let centred = x.broadcast_sub(&centre)?;
                let spread = of_channel(&centred.sqr()?)?;
                let count = x.elem_count() as f64 / shape[0] as f64;
                let unbiased = (&spread * (count / (count - 1.0).max(1.0)))?;
                for (tensor, batch) in [(mean, &centre), (variance, &unbiased)] {
                    let batch = batch.detach().flatten_all()?.to_vec1::<f32>()?;
                    for (running, batch) in tensors[*tensor].iter_mut().zip(batch) {
                        let moved = (1.0 - NORM_MOMENTUM) * f64::from(*running) + NORM_MOMENTUM * f64::from(batch);
                        *running = moved as f32;
                    }
                }
                let [gamma, beta] = [gamma, beta].map(|t| self.variables[*t].reshape((1, shape[0], 1, 1)));
                let normal = centred.broadcast_div(&(spread + NORM_EPS)?.sqrt()?)?;
                normal.broadcast_mul(&gamma?)?.broadcast_add(&beta?)?
            }
            (Op::Activate(_), _) => (x * x.detach().gt(0f64)?.to_dtype(x.dtype())?)?,
            (Op::Add, _) => (x + &values[inputs[1]])?,
            (Op::MaxPool { window, .. }, _) => max_pool(x, window, shape)?,
            (Op::AdaptiveAverage { out }, _) => {
                let [_, _, height, width] = [0, 1, 2, 3].map(|axis| x.dim(axis).unwrap_or(1));
                let x = averaged(x, 2, height, out[0])?;
                averaged(&x, 3, width, out[1])?
            }
            (Op::Reshape { .. }, _) => x.flatten_from(1)?,
            (other, _) => {
                return Err(Error::usage(format!("a {} is not learned here (hint: another network)", other.name())));
            }
        })
    }
}

/// Taps one after the other, of which the largest of each window is taken; padding never is.
fn max_pool(x: &Tensor, window: &Window, shape: &[usize]) -> Result<Tensor> {
    let [top, left, bottom, right] = window.padding;
    let padded = |x: &Tensor| x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right);
    let outside = (padded(&x.ones_like()?)?.affine(-LOWEST, LOWEST))?;
    let all = padded(x)?;
    let places = |axis: usize, tap: usize, out: usize| {
        let places = (0..out).map(|i| (i * window.stride[axis] + tap * window.dilation[axis]) as u32);
        Tensor::from_iter(places, x.device())
    };
    // tap × images × channels × height × width
    let taps = |of: &Tensor| -> Result<Tensor> {
        let mut taps = Vec::new();
        for (v, u) in (0..window.size[0]).flat_map(|v| (0..window.size[1]).map(move |u| (v, u))) {
            let rows = of.index_select(&places(0, v, shape[1])?, 2)?;
            taps.push(rows.index_select(&places(1, u, shape[2])?, 3)?);
        }
        Ok(Tensor::stack(&taps, 0)?)
    };
    let winner = taps(&(all.detach() + outside)?)?.argmax_keepdim(0)?;
    Ok(taps(&all)?.gather(&winner.contiguous()?, 0)?.squeeze(0)?)
}

/// Averages along an axis so that it gets this size (PyTorch's rule).
fn averaged(x: &Tensor, axis: usize, size: usize, out: usize) -> Result<Tensor> {
    let part = |i: usize| {
        let (first, end) = (i * size / out, ((i + 1) * size).div_ceil(out));
        x.narrow(axis, first, end - first)?.mean_keepdim(axis)
    };
    let parts: Vec<Tensor> = (0..out).map(part).collect::<candle_core::Result<_>>()?;
    Ok(Tensor::cat(&parts, axis)?)
}

impl Learner for Autograd {
    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<()> {
        let variable = |(numbers, (_, shape)): (&Vec<f32>, &super::blueprint::Named)| {
            Ok(Var::from_tensor(&Tensor::from_slice(numbers, shape.as_slice(), &self.device)?)?)
        };
        self.variables = tensors.iter().zip(&self.blueprint.tensors).map(variable).collect::<Result<_>>()?;
        Ok(())
    }

    fn forward(&mut self, images: &[f32], tensors: &mut [Vec<f32>]) -> Result<Vec<f32>> {
        let [height, width] = self.blueprint.graph.size();
        let n = images.len() / (3 * height * width);
        let images = Var::from_tensor(&Tensor::from_slice(images, (n, 3, height, width), &self.device)?)?;
        let logits = self.values(&images, tensors)?;
        let here = logits.flatten_all()?.to_vec1()?;
        self.last = Some((images, logits));
        Ok(here)
    }

    fn backward(&mut self, logits: &[f32], weights: Option<&mut [Vec<f32>]>, images: bool) -> Result<Option<Vec<f32>>> {
        let (of, made) = self.last.take().expect("a way forward before every way back");
        let seed = Tensor::from_slice(logits, made.shape(), &self.device)?;
        let gradients = (made * seed)?.sum_all()?.backward()?;
        if let Some(weights) = weights {
            for (i, (to, variable)) in weights.iter_mut().zip(&self.variables).enumerate() {
                let found = gradients.get(variable).filter(|_| !self.blueprint.is_statistic(i));
                if let Some(gradient) = found {
                    let here = gradient.flatten_all()?.to_vec1::<f32>()?;
                    to.iter_mut().zip(here).for_each(|(to, g)| *to += g);
                }
            }
        }
        let of_images = images.then(|| gradients.get(&of)).flatten();
        Ok(of_images.map(|g| g.flatten_all()?.to_vec1()).transpose()?)
    }
}
