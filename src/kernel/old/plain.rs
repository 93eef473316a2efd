//! The reference engine: candle tensor operations, any float type, any device. Slow and obvious.
//!
//! candle's own gradients are not used: its max-pool gives a unique maximum a quarter of its gradient and its ReLU has
//! slope 1 at 0 (candle-core 0.11.1, `backprop.rs`). Each step here carries its exact gradient beside it.

use crate::error::Result;
use crate::kernel::net::{averages, transposed};
use crate::kernel::{Engine, Loss, Net, Step};
use candle_core::{Device, Tensor, WithDType};

/// A network whose weights lie on a device.
pub struct Plain {
    mean: Tensor,
    std: Tensor,
    layers: Vec<Layer>,
}

enum Layer {
    Conv {
        weight: Tensor,
        transposed: Tensor,
        bias: Tensor,
    },
    MaxPool,
    /// Row weights out×side: y = P x Pᵀ.
    AveragePool(Tensor),
    Linear {
        weight: Tensor,
        bias: Tensor,
        relu: bool,
    },
}

/// What a step leaves for its gradient.
enum Tape {
    /// 1 where the ReLU let through; `None` where there is no ReLU.
    Mask(Option<Tensor>),
    /// 1 at the first maximum of each window, one tensor a corner.
    Corners([Tensor; 4]),
    Nothing,
}

impl Plain {
    /// Copies the weights to `device`.
    pub fn new<T: WithDType>(net: &Net<T>, device: &Device) -> Result<Plain> {
        let tensor = |v: &[T], shape: &[usize]| Tensor::from_slice(v, shape, device);
        let shapes = net.shapes();
        let mut layers = Vec::new();
        for (step, shape) in net.steps.iter().zip(&shapes) {
            layers.push(match step {
                Step::Conv { inputs, outputs, weight, bias } => Layer::Conv {
                    weight: tensor(weight, &[*outputs, *inputs, 3, 3])?,
                    transposed: tensor(&transposed(weight, *inputs, *outputs), &[*inputs, *outputs, 3, 3])?,
                    bias: tensor(bias, &[1, *outputs, 1, 1])?,
                },
                Step::MaxPool => Layer::MaxPool,
                Step::AveragePool { side } => {
                    let rows: Vec<T> = averages(shape.side, *side).into_iter().map(T::from_f64).collect();
                    Layer::AveragePool(tensor(&rows, &[*side, shape.side])?)
                }
                Step::Linear { inputs, outputs, weight, bias, relu } => Layer::Linear {
                    weight: tensor(weight, &[*outputs, *inputs])?,
                    bias: tensor(bias, &[1, *outputs])?,
                    relu: *relu,
                },
            });
        }
        Ok(Plain { mean: tensor(&net.mean, &[1, 3, 1, 1])?, std: tensor(&net.std, &[1, 3, 1, 1])?, layers })
    }

    fn forward(&self, images: &Tensor, tapes: &mut Vec<(Tape, Vec<usize>)>) -> Result<Tensor> {
        let mut x = images.broadcast_sub(&self.mean)?.broadcast_div(&self.std)?;
        for layer in &self.layers {
            let (y, tape) = layer.forward(&x)?;
            tapes.push((tape, x.dims().to_vec()));
            x = y;
        }
        Ok(x)
    }

    /// Logits and image gradient for a gradient with respect to the logits, in the network's own float type.
    pub fn gradient(&self, images: &Tensor, seed: impl Fn(&Tensor) -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let mut tapes = Vec::new();
        let logits = self.forward(images, &mut tapes)?;
        let mut g = seed(&logits)?;
        for (layer, (tape, before)) in self.layers.iter().zip(&tapes).rev() {
            g = layer.backward(&g, tape, before)?;
        }
        Ok((logits, g.broadcast_div(&self.std)?))
    }
}

impl Engine for Plain {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.forward(images, &mut Vec::new())
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        self.gradient(images, |logits| Ok(loss.on_device(0, logits)?.to_dtype(logits.dtype())?))
    }
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Result<(Tensor, Tape)> {
        match self {
            Layer::Conv { weight, bias, .. } => relu(&x.conv2d(weight, 1, 1, 1, 1)?.broadcast_add(bias)?),
            Layer::MaxPool => max_pool(x),
            Layer::AveragePool(rows) => {
                let columns = rows.t()?.contiguous()?;
                let y = x.contiguous()?.broadcast_matmul(&columns)?;
                Ok((rows.broadcast_matmul(&y.contiguous()?)?, Tape::Nothing))
            }
            Layer::Linear { weight, bias, relu: with_relu } => {
                let y = x.flatten_from(1)?.matmul(&weight.t()?)?.broadcast_add(bias)?;
                if *with_relu { relu(&y) } else { Ok((y, Tape::Mask(None))) }
            }
        }
    }

    /// Gradient with respect to the layer's input, whose dimensions were `before`.
    fn backward(&self, g: &Tensor, tape: &Tape, before: &[usize]) -> Result<Tensor> {
        let masked = |mask: &Option<Tensor>| mask.as_ref().map_or(Ok(g.clone()), |m| g * m);
        Ok(match (self, tape) {
            (Layer::Conv { transposed, .. }, Tape::Mask(mask)) => masked(mask)?.conv2d(transposed, 1, 1, 1, 1)?,
            (Layer::MaxPool, Tape::Corners(corners)) => max_unpool(g, corners, before)?,
            (Layer::AveragePool(rows), Tape::Nothing) => {
                let up = rows.t()?.contiguous()?.broadcast_matmul(&g.contiguous()?)?;
                up.contiguous()?.broadcast_matmul(rows)?
            }
            (Layer::Linear { weight, .. }, Tape::Mask(mask)) => masked(mask)?.matmul(weight)?.reshape(before)?,
            _ => unreachable!("a layer reads its own tape"),
        })
    }
}

/// max(x, 0) with slope 0 at 0; NaN stays NaN.
fn relu(x: &Tensor) -> Result<(Tensor, Tape)> {
    let zeros = x.zeros_like()?;
    let mask = x.gt(&zeros)?.to_dtype(x.dtype())?;
    Ok((x.le(&zeros)?.where_cond(&zeros, x)?, Tape::Mask(Some(mask))))
}

/// The four corners of every 2×2 window of N×C×H×W, each N×C×⌊H/2⌋×⌊W/2⌋, in reading order.
fn corners(x: &Tensor) -> Result<[Tensor; 4]> {
    let (n, c, h, w) = x.dims4()?;
    let (h, w) = (h / 2, w / 2);
    let windows = x.narrow(2, 0, 2 * h)?.narrow(3, 0, 2 * w)?.contiguous()?.reshape((n, c, h, 2, w, 2))?;
    let corner = |dy: usize, dx: usize| -> Result<Tensor> {
        Ok(windows.narrow(3, dy, 1)?.narrow(5, dx, 1)?.contiguous()?.reshape((n, c, h, w))?)
    };
    Ok([corner(0, 0)?, corner(0, 1)?, corner(1, 0)?, corner(1, 1)?])
}

fn max_pool(x: &Tensor) -> Result<(Tensor, Tape)> {
    let all = corners(x)?;
    let max = all[0].maximum(&all[1])?.maximum(&all[2])?.maximum(&all[3])?;
    let mut free = max.ones_like()?;
    let mut masks = Vec::new();
    for corner in &all {
        let mask = (corner.ge(&max)?.to_dtype(x.dtype())? * &free)?;
        free = (free - &mask)?;
        masks.push(mask);
    }
    let masks = masks.try_into().expect("four corners");
    Ok((max, Tape::Corners(masks)))
}

/// Sends each gradient to the corner that won; an odd last row or column gets 0.
fn max_unpool(g: &Tensor, masks: &[Tensor; 4], before: &[usize]) -> Result<Tensor> {
    let (n, c, h, w) = g.dims4()?;
    let part = |i: usize| -> Result<Tensor> { Ok((g * &masks[i])?.reshape((n, c, h, 1, w, 1))?) };
    let top = Tensor::cat(&[part(0)?, part(1)?], 5)?;
    let bottom = Tensor::cat(&[part(2)?, part(3)?], 5)?;
    let full = Tensor::cat(&[top, bottom], 3)?.reshape((n, c, 2 * h, 2 * w))?;
    Ok(full.pad_with_zeros(2, 0, before[2] - 2 * h)?.pad_with_zeros(3, 0, before[3] - 2 * w)?)
}
