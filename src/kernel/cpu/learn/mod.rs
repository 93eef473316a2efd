//! The CPU's learner: a batch goes through the network layer by layer, all threads on each, and all its maps stay for the way
//! back. Convolutions and their gradients with respect to what they read are those of the engine, in its layouts; batch norm,
//! sum and ReLU are one pass.
//!
//! Sums over a batch are made of sums over groups of [`crew::GROUP`] images, in order: no result depends on the number of threads.

mod convolution;
mod crew;
mod linear;
mod lower;
mod maps;
mod norm;
mod pool;
mod weight;

use super::instructions::Instructions;
use super::table::Table;
use crate::error::Result;
use crate::kernel::learn::{Blueprint, Learner};
use crew::Crew;
use lower::Unit;
use maps::{Map, Maps};

/// A network that learns on the CPU.
pub struct CpuLearner {
    units: Vec<Unit>,
    maps: Maps,
    /// Values that are vectors, and their gradients.
    vectors: Vec<Vec<f32>>,
    of_vectors: Vec<Vec<f32>>,
    logits: usize,
    classes: usize,
    crew: Crew,
}

impl CpuLearner {
    /// Of a network.
    ///
    /// # Errors
    /// An operation that learners do not know.
    pub fn new(blueprint: &Blueprint) -> Result<CpuLearner, String> {
        CpuLearner::with(blueprint, Instructions::chosen())
    }

    /// The same on a given instruction set.
    ///
    /// # Errors
    /// As above.
    ///
    /// # Panics
    /// Where this machine does not have it.
    pub fn with(blueprint: &Blueprint, instructions: Instructions) -> Result<CpuLearner, String> {
        blueprint.check()?;
        let graph = &blueprint.graph;
        let (units, maps) = lower::lower(blueprint)?;
        let values = graph.nodes().len() + 1;
        let most = |of: fn(&Unit) -> usize| units.iter().map(of).max().unwrap_or(0);
        let widest = [most(Unit::winograd_channels), graph.size()[1], most(Unit::first_outputs)];
        Ok(CpuLearner {
            units,
            maps,
            vectors: vec![Vec::new(); values],
            of_vectors: vec![Vec::new(); values],
            logits: values - 1,
            classes: graph.classes(),
            crew: Crew::new(Table::of(instructions), widest),
        })
    }
}

impl Learner for CpuLearner {
    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<()> {
        for unit in &mut self.units {
            match unit {
                Unit::Convolution(conv) => conv.set(tensors),
                Unit::Linear(linear) => linear.set(tensors),
                _ => {}
            }
        }
        Ok(())
    }

    fn forward(&mut self, images: &[f32], tensors: &mut [Vec<f32>]) -> Result<Vec<f32>> {
        self.maps.begin(images);
        let n = self.maps.images;
        let CpuLearner { units, maps, vectors, crew, .. } = self;
        for unit in units {
            match unit {
                Unit::Convolution(conv) => conv.forward(maps, crew),
                Unit::Norm(norm) => norm.forward(maps, crew, tensors),
                Unit::MaxPool(pool) => pool.forward(maps, crew),
                Unit::Average(average) => average.forward(maps),
                Unit::Flatten { from, to } => vectors[*to] = maps.values[*from].flat(n),
                Unit::Linear(linear) => vectors[linear.to] = linear.forward(&vectors[linear.from], n),
                Unit::Relu { from, to } => vectors[*to] = vectors[*from].iter().map(|v| v.max(0.0)).collect(),
            }
        }
        Ok(vectors[self.logits].clone())
    }

    fn backward(
        &mut self,
        logits: &[f32],
        mut weights: Option<&mut [Vec<f32>]>,
        images: bool,
    ) -> Result<Option<Vec<f32>>> {
        let n = self.maps.images;
        assert!(logits.len() == n * self.classes, "the gradient of another batch");
        self.of_vectors[self.logits] = logits.to_vec();
        let mut of_images = images.then(|| vec![0.0; n * self.maps.image_values()]);
        let CpuLearner { units, maps, vectors, of_vectors, crew, .. } = self;
        for unit in units.iter_mut().rev() {
            match unit {
                Unit::Convolution(conv) => {
                    if let Some(weights) = weights.as_deref_mut() {
                        conv.add_weights(maps, crew, weights);
                    }
                    match conv.reads_images() {
                        true => {
                            if let Some(of_images) = &mut of_images {
                                conv.backward_images(maps, crew, of_images);
                            }
                        }
                        false => conv.backward(maps, crew),
                    }
                    maps.drop_gradient(conv.to);
                }
                Unit::Norm(norm) => norm.backward(maps, crew, weights.as_deref_mut()),
                Unit::MaxPool(pool) => pool.backward(maps, crew),
                Unit::Average(average) => average.backward(maps),
                Unit::Flatten { from, to } => {
                    let gradient = std::mem::take(&mut of_vectors[*to]);
                    maps.take_flat(*from, &gradient);
                }
                Unit::Linear(linear) => {
                    let gradient = std::mem::take(&mut of_vectors[linear.to]);
                    if let Some(weights) = weights.as_deref_mut() {
                        linear.add_weights(&vectors[linear.from], &gradient, n, weights);
                    }
                    of_vectors[linear.from] = linear.backward(&gradient, n);
                }
                Unit::Relu { from, to } => {
                    let gradient = std::mem::take(&mut of_vectors[*to]);
                    let seen = gradient.iter().zip(&vectors[*to]).map(|(g, y)| if *y > 0.0 { *g } else { 0.0 });
                    of_vectors[*from] = seen.collect();
                }
            }
        }
        Ok(of_images)
    }
}

impl Map {
    /// All numbers, image by image, channel by channel, as vectors have them.
    fn flat(&self, images: usize) -> Vec<f32> {
        let [height, width] = self.layout.size;
        let mut flat = Vec::with_capacity(images * self.channels * height * width);
        for image in 0..images {
            for c in 0..self.channels {
                for y in 0..height {
                    flat.extend((0..width).map(|x| self.buffer[self.layout.at(image, y, x) + c]));
                }
            }
        }
        flat
    }
}
