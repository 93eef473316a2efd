//! A linear readout into two classes in place of a network's last layer.

use super::bus;
use super::engine::{Engine, Loss};
use crate::error::Result;
use candle_core::Tensor;

/// Features of a network, and a score of them: the logits are −s/2 and s/2.
pub struct Readout<'a> {
    /// An engine whose logits are the features.
    pub features: &'a dyn Engine,
    /// One a feature.
    pub weights: &'a [f32],
    /// Added to the weighted sum.
    pub bias: f64,
}

impl Readout<'_> {
    fn logits_of(&self, features: &[f32]) -> [f32; 2] {
        // in double precision and in order, so that it is the same everywhere
        let sum = self.weights.iter().zip(features).map(|(w, f)| f64::from(*w) * f64::from(*f)).sum::<f64>();
        let half = ((sum + self.bias) / 2.0) as f32;
        [-half, half]
    }

    fn all(&self, features: &Tensor) -> Result<Tensor> {
        let rows = bus::down_rows(features)?;
        let logits: Vec<f32> = rows.iter().flat_map(|row| self.logits_of(row)).collect();
        bus::up(logits, (rows.len(), 2), features.device())
    }
}

/// The loss of the two logits as one of the features.
struct OfFeatures<'a> {
    readout: &'a Readout<'a>,
    loss: &'a dyn Loss,
}

impl Loss for OfFeatures<'_> {
    fn gradient(&self, row: usize, features: &[f32], gradient: &mut [f32]) {
        let mut slope = [0.0; 2];
        self.loss.gradient(row, &self.readout.logits_of(features), &mut slope);
        let along = (slope[1] - slope[0]) / 2.0;
        gradient.iter_mut().zip(self.readout.weights).for_each(|(g, w)| *g = along * w);
    }
}

impl Engine for Readout<'_> {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.all(&self.features.logits(images)?)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let (features, gradient) = self.features.logits_and_gradient(images, &OfFeatures { readout: self, loss })?;
        Ok((self.all(&features)?, gradient))
    }

    fn most_images(&self) -> usize {
        self.features.most_images()
    }

    fn release(&self) {
        self.features.release();
    }

    fn shrunk(&self) -> Option<usize> {
        self.features.shrunk()
    }
}
