//! The engine for any other network: operations that name the values they read, run in order, and back in reverse order
//! with exact derivatives (PyTorch's, where one is a matter of choice). Where a value is read twice, gradients add up.
//!
//! On the CPU (`memory`) each image goes its own way in plain memory, so that its result depends on no other image and on
//! no number of threads. Elsewhere (`tensors`) candle's operations serve.
//!
//! candle's own gradients are not used: see [`plain`].

mod conv;
mod memory;
mod network;
pub mod plain;
mod pool;
mod tensors;

use super::{Engine, Loss};
use crate::error::Result;
use candle_core::{DType, Device, Tensor};
use network::Seed;
use rayon::prelude::*;

pub use network::{Graph, Op};

impl Graph {
    /// Whether `memory` serves: on the CPU, in single or double precision.
    fn in_memory(&self) -> Option<DType> {
        let dtype = self.mean.dtype();
        Some(dtype).filter(|t| self.mean.device().is_cpu() && matches!(t, DType::F32 | DType::F64))
    }

    /// Logits N×classes, value `until` and the gradient with respect to it, for a gradient with respect to the logits.
    fn back_to(&self, images: &Tensor, until: usize, seed: &Seed) -> Result<(Tensor, Tensor, Tensor)> {
        let images = images.to_dtype(self.mean.dtype())?;
        match self.in_memory() {
            Some(DType::F32) => memory::back_to::<f32>(self, &images, until, seed),
            Some(_) => memory::back_to::<f64>(self, &images, until, seed),
            None => tensors::back_to(self, &images, until, seed),
        }
    }

    /// [`Graph::back_to`] for each image apart where they are computed apart anyway: then all that one leaves for its way
    /// back is dropped before the next begins. `seed` gets the row of its first image.
    fn rows_back_to(
        &self,
        images: &Tensor,
        until: usize,
        seed: impl Fn(usize, &Tensor) -> Result<Tensor> + Sync,
    ) -> Result<[Tensor; 3]> {
        let n = images.dim(0)?;
        if self.in_memory().is_none() || n < 2 {
            return Ok(self.back_to(images, until, &|logits| seed(0, logits))?.into());
        }
        let row = |row| -> Result<[Tensor; 3]> {
            Ok(self.back_to(&images.narrow(0, row, 1)?, until, &|logits| seed(row, logits))?.into())
        };
        let rows = (0..n).into_par_iter().map(row).collect::<Result<Vec<_>>>()?;
        let all = |part: usize| Tensor::cat(&rows.iter().map(|r| &r[part]).collect::<Vec<_>>(), 0);
        Ok([all(0)?, all(1)?, all(2)?])
    }

    /// Logits N×classes and image gradient for a gradient with respect to the logits, in the graph's own float type.
    pub fn gradient(&self, images: &Tensor, seed: impl Fn(&Tensor) -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let (logits, _, gradient) = self.back_to(images, 0, &seed)?;
        Ok((logits, gradient.broadcast_div(&self.std)?))
    }

    /// Value number `value` for each image, and the gradient with respect to it of the logit of the image's class: what a
    /// class activation map is made of. Both have the value's shape, N×K×h×w for a map.
    pub fn class_activation(&self, images: &Tensor, classes: &[usize], value: usize) -> Result<(Tensor, Tensor)> {
        let one_hot = |first: usize, logits: &Tensor| -> Result<Tensor> {
            let (n, of) = logits.dims2()?;
            let mut seed = vec![0f32; n * of];
            for (row, class) in seed.chunks_mut(of).zip(&classes[first..]) {
                let place = row
                    .get_mut(*class)
                    .ok_or_else(|| candle_core::Error::msg(format!("class {class} of a network of {of} classes")))?;
                *place = 1.0;
            }
            Ok(Tensor::from_vec(seed, (n, of), &Device::Cpu)?.to_dtype(logits.dtype())?.to_device(logits.device())?)
        };
        assert!(
            images.dim(0)? == classes.len() && value <= self.nodes.len(),
            "a class for each image, a value of ours"
        );
        let [_, activation, gradient] = self.rows_back_to(images, value, one_hot)?;
        Ok((activation, gradient))
    }
}

impl Engine for Graph {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let images = images.to_dtype(self.mean.dtype())?;
        match self.in_memory() {
            Some(DType::F32) => memory::logits::<f32>(self, &images),
            Some(_) => memory::logits::<f64>(self, &images),
            None => tensors::logits(self, &images),
        }
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let seed = |first: usize, logits: &Tensor| Ok(loss.on_device(first, logits)?.to_dtype(logits.dtype())?);
        let [logits, _, gradient] = self.rows_back_to(images, 0, seed)?;
        Ok((logits, gradient.broadcast_div(&self.std)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of one operation without normalisation, by memory and by tensors: value and gradient.
    fn both_ways(op: Op, x: &Tensor) -> [(Tensor, Tensor); 2] {
        let mut graph = Graph::new([0.0; 3], [1.0; 3], x.dtype(), &Device::Cpu).unwrap();
        graph.push(op, &[0]);
        // the gradient counts through, so that every place has its own; in steps of 1/64, whose sums are exact
        let seed = |z: &Tensor| -> Result<Tensor> {
            let n = z.elem_count() as u32;
            Ok(Tensor::arange(0, n, z.device())?.to_dtype(z.dtype())?.reshape(z.shape())?.affine(1.0 / 64.0, 0.0)?)
        };
        let memory = match x.dtype() {
            DType::F32 => memory::back_to::<f32>(&graph, x, 0, &seed),
            _ => memory::back_to::<f64>(&graph, x, 0, &seed),
        };
        let tensors = tensors::back_to(&graph, x, 0, &seed);
        [memory, tensors].map(|r| r.map(|(y, _, g)| (y, g)).unwrap())
    }

    /// In [0, 1), without a pattern (multiples of the golden ratio's bits).
    fn scattered(i: usize) -> f64 {
        ((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as f64 / (1u64 << 44) as f64
    }

    #[test]
    fn convolutions_of_tensors_are_those_in_memory() {
        let random = |shape: &[usize]| {
            let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| scattered(i) - 0.5).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        for (side, kernel, stride, padding) in
            [(9, 3, 1, 1), (11, 7, 2, 0), (12, 7, 2, 3), (6, 1, 1, 0), (7, 1, 2, 0), (10, 3, 3, 2), (5, 5, 4, 2)]
        {
            let (x, weight) = (random(&[2, 3, side, side]), random(&[4, 3, kernel, kernel]));
            let bias = random(&[4]);
            let [ours, theirs] = both_ways(Op::Conv { weight, bias, stride, padding }, &x);
            let pairs = [(ours.0, theirs.0), (ours.1, theirs.1)];
            for (ours, theirs) in pairs {
                assert_eq!(ours.dims(), theirs.dims());
                let off = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
                assert!(off < 1e-11, "{side} {kernel} {stride} {padding}: {off}");
            }
        }
    }

    #[test]
    fn a_maximum_of_tensors_is_the_maximum_in_memory() {
        for (side, window, stride, padding, ceil) in [
            (7, 3, 2, 0, true),
            (8, 3, 2, 0, true),
            (8, 3, 2, 0, false),
            (5, 2, 2, 0, false),
            (6, 4, 1, 0, true),
            (7, 3, 2, 1, false),
            (8, 3, 2, 1, true),
            (5, 4, 3, 2, true),
            (2, 4, 1, 2, false),
        ] {
            // few different values, so that ties are many; and some NaN
            let values: Vec<f32> = (0..2 * 3 * side * side)
                .map(|i| if i % 41 == 7 { f32::NAN } else { ((scattered(i) * 4.0).floor() - 2.0) as f32 })
                .collect();
            let x = Tensor::from_vec(values, (2, 3, side, side), &Device::Cpu).unwrap();
            let [a, b] = both_ways(Op::MaxPool { window, stride, padding, ceil }, &x);
            let bits = |t: &Tensor| -> Vec<Option<u32>> {
                let v = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                v.iter().map(|v| (!v.is_nan()).then_some(v.to_bits())).collect()
            };
            assert_eq!((bits(&a.0), bits(&a.1)), (bits(&b.0), bits(&b.1)), "{side} {window} {stride} {padding} {ceil}");
        }
    }
}
