//! The CPU engine: a network compiled to units, each an operation with all that is done to its outputs, over prepacked weights.
//!
//! Each thread takes its own images through the whole network, a few at a time while maps are large, so that they stay in
//! its cache, and more as maps shrink, so that each pass over the weights serves many tiles. Threads meet only before
//! and after the fully connected layers at the end. Few images are shared instead: all threads work on the same unit, each
//! on other tiles or other output channels. Of images that differ from others in a few pixels the first units are computed only where
//! those pixels reach ([`incremental`]).
//!
//! An image's numbers come from the same operations in the same order whatever its neighbours, the threads, and the
//! instruction set ([`lanes`]), so its result is bit-identical everywhere: the judge needs no path of its own.

mod attention;
mod backward;
mod batch_norm;
mod buffers;
mod compiled;
mod connected;
mod conv;
mod convolve;
mod crew;
mod dense;
mod finish;
mod first;
mod forward;
mod incremental;
mod instructions;
mod lanes;
mod lattice;
mod learn;
mod linear;
mod map;
mod other;
mod outer;
mod plan;
mod product;
mod program;
mod reach;
mod rows;
mod smooth;
mod stem;
mod table;
mod unit;
mod wave;
mod windows;
mod winograd;
mod work;
mod workspace;

use super::{Change, Engine, Loss, lend};
use crate::error::Result;
use candle_core::{Device, Tensor};
use crew::Crew;
use forward::Start;
use std::ops::Range;
use wave::Wave;
use workspace::Workspace;

pub use compiled::Cpu;
pub use instructions::{INSTRUCTIONS, Instructions};
pub use learn::CpuLearner;

impl Cpu {
    /// Logits of images 3×H×W one after the other; and the gradients with respect to them, if `loss` gives those with
    /// respect to the logits.
    pub fn images(&self, pixels: &[f32], loss: Option<&dyn Loss>) -> (Vec<f32>, Vec<f32>) {
        let values = self.values();
        assert!(pixels.len().is_multiple_of(values), "images of another size");
        let n = pixels.len() / values;
        let mut logits = Vec::with_capacity(n * self.classes);
        let mut gradients = vec![0.0; if loss.is_some() { pixels.len() } else { 0 }];
        let together = self.shard() * rayon::current_num_threads();
        if loss.is_some() {
            // before any thread needs them: whoever makes them lends a hand elsewhere while it waits
            self.units.iter().for_each(|u| u.work.prepare_back());
        }
        for (wave, pixels) in pixels.chunks(together * values).enumerate() {
            let first = wave * together;
            let mut wave = Wave::begin(self, pixels.len() / values, loss.is_some());
            let classes = self.classes;
            let normalise = |workspace: &mut Workspace, pixels: &[f32], images: Range<usize>, _: &mut Crew| {
                workspace.normalise(self, images, pixels);
            };
            let (mut outputs, of_wave) = wave.forward(pixels, &Start { unit: 0, fill: &normalise });
            if let Some(loss) = loss {
                for (i, (z, g)) in of_wave.chunks_exact(classes).zip(outputs.chunks_exact_mut(classes)).enumerate() {
                    loss.gradient(first + i, z, g);
                }
                wave.backward(outputs, &mut gradients[first * values..][..pixels.len()]);
            }
            logits.extend(of_wave);
        }
        (logits, gradients)
    }

    /// What each unit does and makes, in the order of computation: for measurements.
    pub fn units(&self) -> Vec<String> {
        self.units.iter().map(|u| format!("{} -> {:?}", u.work.name(), u.unit.shape)).collect()
    }

    /// Takes so many images through a unit alone, on the way there or back, with whatever its maps hold: to measure it as it
    /// runs in the network.
    ///
    /// # Panics
    /// Where the network has no such unit.
    pub fn unit_alone(&self, unit: usize, images: usize, back: bool) {
        let chunk = self.chunks[self.units[unit].stage];
        let together = self.shard() * rayon::current_num_threads();
        for first in (0..images).step_by(together) {
            let pixels = vec![0.0; together.min(images - first) * self.values()];
            let mut gradients = vec![0.0; pixels.len()];
            let mut wave = Wave::begin(self, pixels.len() / self.values(), true);
            wave.each(&pixels, &mut gradients, |workspace, pixels, gradients, crew| {
                let images = pixels.len() / self.values();
                for first in (0..images).step_by(chunk) {
                    let some = first..(first + chunk).min(images);
                    match back {
                        false => workspace.forward_unit(self, unit, some, crew),
                        true => workspace.backward_unit(self, unit, some, gradients, crew),
                    }
                }
            });
        }
    }
}

impl Engine for Cpu {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let (logits, _) = lend(images, |pixels| self.images(pixels, None))?;
        Ok(Tensor::from_vec(logits, (images.dim(0)?, self.classes), &Device::Cpu)?)
    }

    fn logits_of_changes(&self, base: &Tensor, changes: &[Change]) -> Result<Tensor> {
        let logits = lend(base, |pixels| self.changed(pixels, changes, None))?;
        Ok(Tensor::from_vec(logits, (changes.len(), self.classes), &Device::Cpu)?)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let (logits, gradients) = lend(images, |pixels| self.images(pixels, Some(loss)))?;
        Ok((
            Tensor::from_vec(logits, (images.dim(0)?, self.classes), &Device::Cpu)?,
            Tensor::from_vec(gradients, images.shape(), &Device::Cpu)?,
        ))
    }
}
