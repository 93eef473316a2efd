//! Batch norm in training mode (Ioffe and Szegedy 2015), with the sum and the ReLU behind it.

use super::super::batch_norm::Work;
use super::super::map::padded;
use super::crew::Crew;
use super::maps::Maps;
use crate::kernel::learn::{Learned, NORM_EPS, NORM_MOMENTUM};

/// y = relu(γ·(z − μ)/√(σ² + ε) + β + add), or what of it is asked for.
pub struct Norm {
    pub learned: Option<Learned>,
    pub z: usize,
    pub add: Option<usize>,
    pub relu: bool,
    pub to: usize,
    channels: usize,
    /// Of the last batch, a channel each: mean, 1/√(σ² + ε), and γ times that.
    mean: Vec<f32>,
    inverse: Vec<f64>,
    factor: Vec<f32>,
}

impl Norm {
    /// Nothing but handing on a map.
    pub fn of(z: usize, to: usize, channels: usize) -> Norm {
        let padded = padded(channels);
        Norm {
            learned: None,
            z,
            add: None,
            relu: false,
            to,
            channels,
            mean: vec![0.0; padded],
            inverse: vec![0.0; padded],
            factor: vec![1.0; padded],
        }
    }

    pub fn forward(&mut self, maps: &mut Maps, crew: &Crew, tensors: &mut [Vec<f32>]) {
        let (n, table) = (maps.images, crew.table);
        let z = maps.operand(self.z);
        let mut shift = vec![0.0; self.mean.len()];
        if let Some(Learned::Norm { gamma, beta, mean, variance }) = self.learned {
            self.measure(maps, crew, tensors, [mean, variance]);
            for c in 0..self.channels {
                let factor = f64::from(tensors[gamma][c]) * self.inverse[c];
                self.factor[c] = factor as f32;
                shift[c] = (f64::from(tensors[beta][c]) - f64::from(self.mean[c]) * factor) as f32;
            }
        }
        let (add, to, relu, factor) = (self.add.map(|v| maps.operand(v)), maps.into(self.to), self.relu, &self.factor);
        crew.groups(n, |images| {
            let mut work = Work::Apply { z, factor, shift: &shift, add, relu, to };
            // SAFETY: the maps hold the batch; groups write different images
            unsafe { (table.batch_norm)(&mut work, images) }
        });
    }

    /// Mean and variance of the batch, by sums of differences to its first place, which lose no digits where the mean is far
    /// from 0; and the running ones moved towards them.
    fn measure(&mut self, maps: &Maps, crew: &Crew, tensors: &mut [Vec<f32>], running: [usize; 2]) {
        let (n, z, table, channels) = (maps.images, maps.operand(self.z), crew.table, self.mean.len());
        let first = z.layout.at(0, 0, 0);
        let origin = &maps.values[self.z].buffer[first..first + channels];
        let sums = crew.totals(n, 2 * channels, |images, part| {
            let (sums, squares) = part.split_at_mut(channels);
            // SAFETY: the map holds the batch
            unsafe { (table.batch_norm)(&mut Work::Moments { z, origin, sums, squares }, images) }
        });
        let count = (n * z.layout.pixels()) as f64;
        for c in 0..self.channels {
            let (mean, square) = (sums[c] / count, sums[channels + c] / count);
            let variance = (square - mean * mean).max(0.0);
            let mean = f64::from(origin[c]) + mean;
            self.mean[c] = mean as f32;
            self.inverse[c] = 1.0 / (variance + NORM_EPS).sqrt();
            // of one number there is no unbiased variance; PyTorch refuses it
            let unbiased = variance * count / (count - 1.0).max(1.0);
            for (tensor, batch) in running.into_iter().zip([mean, unbiased]) {
                let running = &mut tensors[tensor][c];
                *running = ((1.0 - NORM_MOMENTUM) * f64::from(*running) + NORM_MOMENTUM * batch) as f32;
            }
        }
    }

    pub fn backward(&self, maps: &mut Maps, crew: &Crew, weights: Option<&mut [Vec<f32>]>) {
        let (n, table, channels) = (maps.images, crew.table, self.mean.len());
        let (gradient, z) = (maps.gradient(self.to), maps.operand(self.z));
        let (y, mean) = (self.relu.then(|| maps.operand(self.to)), &self.mean);
        if y.is_some() || self.learned.is_some() {
            let sums = crew.totals(n, 2 * channels, |images, part| {
                let (sums, with_z) = part.split_at_mut(channels);
                // SAFETY: the maps hold the batch; groups write different images
                unsafe { (table.batch_norm)(&mut Work::Sums { gradient, y, z, mean, sums, with_z }, images) }
            });
            if let Some(Learned::Norm { gamma, beta, .. }) = self.learned {
                self.back(maps, crew, &sums);
                if let Some(weights) = weights {
                    for c in 0..self.channels {
                        weights[gamma][c] += (sums[channels + c] * self.inverse[c]) as f32;
                        weights[beta][c] += sums[c] as f32;
                    }
                }
            }
        }
        // a sum hands its gradient to both sides
        let behind = self.learned.is_none().then_some(self.z);
        let sides: Vec<usize> = behind.into_iter().chain(self.add).collect();
        for (i, side) in sides.iter().enumerate() {
            let is_last = i + 1 == sides.len();
            if is_last && maps.hand_on(self.to, *side) {
                return;
            }
            let ((to, adds), from) = (maps.part(*side), gradient.read());
            crew.groups(n, |images| {
                // SAFETY: as above
                unsafe { (table.batch_norm)(&mut Work::Copy { from, adds, to }, images) }
            });
        }
        maps.drop_gradient(self.to);
    }

    /// γ/√(σ² + ε) · (g − Σg/N − (z − μ)/(σ² + ε) · Σg(z − μ)/N), with the sums over all N places of the batch.
    fn back(&self, maps: &mut Maps, crew: &Crew, sums: &[f64]) {
        let (n, table, channels) = (maps.images, crew.table, self.mean.len());
        let (g, z, (to, adds)) = (maps.gradient(self.to).read(), maps.operand(self.z), maps.part(self.z));
        let count = (n * z.layout.pixels()) as f64;
        let (mut with_z, mut shift) = (vec![0.0; channels], vec![0.0; channels]);
        for c in 0..self.channels {
            with_z[c] = (-self.inverse[c] * self.inverse[c] * sums[channels + c] / count) as f32;
            shift[c] = (-f64::from(self.factor[c]) * sums[c] / count) as f32;
        }
        let factors: [&[f32]; 3] = [&self.factor, &with_z, &shift];
        let mean = &self.mean;
        crew.groups(n, |images| {
            // SAFETY: the maps hold the batch; groups write different images
            unsafe { (table.batch_norm)(&mut Work::Back { g, z, mean, factors, adds, to }, images) }
        });
    }
}
