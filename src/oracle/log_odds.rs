//! The loss that [`super::Oracle::pass`] climbs, on the host and where the logits lie.

use crate::error::Result;
use crate::goal::Aim;
use crate::kernel::Loss;
use crate::kernel::bus::up;
use crate::loss;
use candle_core::{D, DType, Tensor};

/// [`loss::log_odds`] of a batch, one aim a row.
pub struct LogOdds {
    pub aims: Vec<Aim>,
}

impl Loss for LogOdds {
    fn gradient(&self, row: usize, logits: &[f32], gradient: &mut [f32]) {
        loss::log_odds(&self.aims[row], logits, gradient);
    }

    /// The same in tensor operations, so that nothing goes by way of the host.
    fn on_device(&self, first: usize, logits: &Tensor) -> Result<Tensor> {
        let (n, classes) = logits.dims2()?;
        let (logits, device) = (logits.to_dtype(DType::F32)?, logits.device());
        let aims = &self.aims[first..first + n];
        let class: Vec<u32> = aims.iter().map(|a| a.target.unwrap_or(a.label) as u32).collect();
        let sign: Vec<f32> = aims.iter().map(|a| if a.target.is_some() { -1.0 } else { 1.0 }).collect();
        let class = up(class, (n, 1), device)?.broadcast_as((n, classes))?;
        let is_class = Tensor::arange(0, classes as u32, device)?.broadcast_as((n, classes))?.eq(&class)?;
        // the softmax of the others alone; 0, or NaN where a logit is not finite, is added to all
        let others = is_class.where_cond(&Tensor::full(f32::NEG_INFINITY, (n, classes), device)?, &logits)?;
        let weights = others.broadcast_sub(&others.max_keepdim(D::Minus1)?)?.exp()?;
        let weights = is_class.where_cond(&weights.zeros_like()?, &weights)?;
        let shares = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let gradient = is_class.where_cond(&shares.ones_like()?.neg()?, &shares)?;
        let broken = (logits * 0.0)?.sum_keepdim(D::Minus1)?;
        Ok(gradient.broadcast_mul(&up(sign, (n, 1), device)?)?.broadcast_add(&broken)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_loss_is_the_same_on_the_device() {
        let aims = vec![
            Aim { label: 2, target: None },
            Aim { label: 0, target: Some(3) },
            Aim { label: 1, target: None },
            Aim { label: 4, target: Some(0) },
            Aim { label: 1, target: None },
            Aim { label: 1, target: None },
            Aim { label: 3, target: Some(2) },
        ];
        let rows = [
            [1.5, -0.3, 0.8, 2.0, 0.0],
            [3.0, 3.0, 3.0, 3.0, 3.0],
            [0.0, 90.0, -40.0, 1.0, 2.0],
            [f32::NAN; 5],
            [0.0, 1e4, -40.0, 1.0, 2.0],
            [0.0, f32::INFINITY, 3.0, 1.0, 2.0],
            [1e-30, 3e-30, -1e-30, 1e-30, 2e-30],
        ];
        let loss = LogOdds { aims };
        for first in [0, 1] {
            let left = rows.len() - first;
            let logits = Tensor::from_slice(rows[first..].as_flattened(), (left, 5), &Device::Cpu).unwrap();
            let there = loss.on_device(first, &logits).unwrap().to_vec2::<f32>().unwrap();
            for (i, there) in there.iter().enumerate() {
                let mut here = [0.0; 5];
                loss.gradient(first + i, &rows[first + i], &mut here);
                for (a, b) in here.iter().zip(there) {
                    assert!((a - b).abs() <= 1e-6 || a.is_nan() && b.is_nan(), "{here:?} {there:?}");
                }
            }
        }
    }
}
