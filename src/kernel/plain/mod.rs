//! The reference engine: every operation on the CPU in plain memory, in f32 or f64. Slow and obvious.
//!
//! Each image goes its own way, so that its result depends on no other image and on no number of threads. candle's own
//! gradients are not used: its max-pool gives a unique maximum a quarter of its gradient and its ReLU has slope 1 at 0
//! (candle-core 0.11.1, `backprop.rs`). The derivatives here are exact; PyTorch's, where one is a matter of choice.

mod activation;
mod convolution;
mod line;
mod matrix;
mod operation;
mod place;
mod pool;

pub use operation::Value;

use super::bus::{self, lend_values};
use super::graph::Graph;
use super::{Engine, Loss, Real};
use crate::error::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// A network computed operation by operation.
pub struct Plain<T> {
    graph: Graph<T>,
}

impl<T: Real> Plain<T> {
    /// Of this network.
    pub fn new(graph: Graph<T>) -> Plain<T> {
        Plain { graph }
    }

    /// Every value of an image 3×H×W in [0,1].
    fn values(&self, image: &[T]) -> Vec<Vec<T>> {
        let channels = self.graph.mean.iter().zip(&self.graph.std).map(|(m, s)| (T::from_f64(*m), T::from_f64(*s)));
        let planes = image.chunks(image.len() / 3).zip(channels);
        let mut values: Vec<Vec<T>> =
            vec![planes.flat_map(|(plane, (mean, std))| plane.iter().map(move |v| (*v - mean) / std)).collect()];
        for (i, node) in self.graph.nodes().iter().enumerate() {
            let value = node.op.forward(&self.inputs(&node.inputs, &values), self.graph.shape(i + 1));
            values.push(value);
        }
        values
    }

    /// Values with these numbers.
    fn inputs<'a>(&'a self, numbers: &[usize], values: &'a [Vec<T>]) -> Vec<Value<'a, T>> {
        numbers.iter().map(|i| Value { shape: self.graph.shape(*i), numbers: &values[*i] }).collect()
    }

    /// The gradient with respect to value `until`, from that with respect to the logits.
    fn back(&self, values: &[Vec<T>], until: usize, seed: Vec<T>) -> Vec<T> {
        let mut gradients: Vec<Option<Vec<T>>> = vec![None; values.len()];
        gradients[values.len() - 1] = Some(seed);
        for (i, node) in self.graph.nodes().iter().enumerate().skip(until).rev() {
            // nobody reads it, or nobody whose value matters
            let Some(gradient) = gradients[i + 1].take() else { continue };
            let parts = node.op.backward(&self.inputs(&node.inputs, values), &values[i + 1], &gradient);
            for (input, part) in node.inputs.iter().zip(parts) {
                match &mut gradients[*input] {
                    Some(sum) => sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part),
                    none => *none = Some(part),
                }
            }
        }
        gradients[until].take().unwrap_or_else(|| vec![T::zero(); values[until].len()])
    }

    /// Logits N×classes, value `until` and the gradient with respect to it; `seed` makes of an image's row and logits the
    /// gradient with respect to them.
    fn back_to(
        &self,
        images: &Tensor,
        until: usize,
        seed: impl Fn(usize, &[T]) -> Vec<T> + Sync,
    ) -> Result<[Tensor; 3]> {
        let rows = self.each(images, |row, image| {
            let mut values = self.values(image);
            let logits = values.last().expect("never empty").clone();
            let gradient = self.back(&values, until, seed(row, &logits));
            [logits, values.swap_remove(until), gradient]
        })?;
        let tensor = |part: usize, shape: &[usize]| Plain::tensor(rows.iter().map(|row| &row[part]), shape);
        let shape = self.graph.shape(until);
        Ok([tensor(0, &[self.graph.classes()])?, tensor(1, shape)?, tensor(2, shape)?])
    }

    /// From a gradient N×3×H×W with respect to normalised images to that with respect to images.
    fn of_images(&self, gradient: &Tensor) -> Result<Tensor> {
        let std = Tensor::new(&self.graph.std, &Device::Cpu)?.to_dtype(T::DTYPE)?;
        Ok(gradient.broadcast_div(&std.reshape((1, 3, 1, 1))?)?)
    }

    /// Logits N×classes and image gradient, in `T`, for a gradient with respect to the logits.
    ///
    /// # Errors
    /// Images of another size; those of `seed` and of the tensor library.
    pub fn gradient(&self, images: &Tensor, seed: impl Fn(&Tensor) -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let seeds = bus::down::<T>(&seed(&self.logits(images)?)?)?;
        let classes = self.graph.classes();
        let [logits, _, gradient] =
            self.back_to(images, 0, |row, _| seeds[row * classes..(row + 1) * classes].to_vec())?;
        Ok((logits, self.of_images(&gradient)?))
    }

    /// Value number `value` for each image, and the gradient with respect to it of the logit of the image's class: what a
    /// class activation map is made of. Both have the value's shape, N×K×h×w for a map.
    ///
    /// # Errors
    /// Images of another size, a class that the network has not.
    ///
    /// # Panics
    /// Not a class for each image; a value that is not there.
    pub fn class_activation(&self, images: &Tensor, classes: &[usize], value: usize) -> Result<(Tensor, Tensor)> {
        let of = self.graph.classes();
        if let Some(class) = classes.iter().find(|class| **class >= of) {
            return Err(candle_core::Error::msg(format!("class {class} of a network of {of} classes")).into());
        }
        assert!(
            images.dim(0)? == classes.len() && value <= self.graph.nodes().len(),
            "a class for each image, a value of ours"
        );
        let one_hot =
            |row: usize, _: &[T]| (0..of).map(|k| if k == classes[row] { T::one() } else { T::zero() }).collect();
        let [_, activation, gradient] = self.back_to(images, value, one_hot)?;
        Ok((activation, gradient))
    }

    /// What `compute` makes of each image N×3×H×W, by its row, on all threads.
    fn each<U: Send>(&self, images: &Tensor, compute: impl Fn(usize, &[T]) -> U + Sync) -> Result<Vec<U>> {
        let (_, channels, height, width) = images.dims4()?;
        if channels != 3 || [height, width] != self.graph.size() {
            let [h, w] = self.graph.size();
            let problem = format!("images of {channels}x{height}x{width} for a network of 3x{h}x{w}");
            return Err(candle_core::Error::msg(problem).into());
        }
        let images = images.to_dtype(T::DTYPE)?;
        lend_values::<T, _>(&images, |images| {
            let rows = images.par_chunks(channels * height * width).enumerate();
            rows.map(|(row, image)| compute(row, image)).collect()
        })
    }

    /// One tensor of rows of this shape.
    fn tensor<'a>(rows: impl ExactSizeIterator<Item = &'a Vec<T>>, shape: &[usize]) -> Result<Tensor> {
        let shape = [&[rows.len()], shape].concat();
        Ok(Tensor::from_vec(rows.flatten().copied().collect(), shape, &Device::Cpu)?)
    }
}

impl<T: Real> Engine for Plain<T> {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let logits = self.each(images, |_, image| self.values(image).pop().expect("never empty"))?;
        Plain::tensor(logits.iter(), &[self.graph.classes()])
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let classes = self.graph.classes();
        let seed = |row, logits: &[T]| {
            let logits: Vec<f32> = logits.iter().map(|z| z.to_f64() as f32).collect();
            let mut gradient = vec![0.0; classes];
            loss.gradient(row, &logits, &mut gradient);
            gradient.iter().map(|g| T::from_f64(f64::from(*g))).collect()
        };
        let [logits, _, gradient] = self.back_to(images, 0, seed)?;
        Ok((logits, self.of_images(&gradient)?))
    }
}
