//! Noise of the same budget: the control of every table. An attack that is not better than this is broken.

use super::descent::random_points;
use super::{Attack, Entry, Kind, Param, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::{Oracle, Place, Proposal};
use crate::rng::Stream;
use crate::threat::{Norm, Threat};
use candle_core::{Device, Tensor};

pub const ENTRY: Entry = Entry {
    name: "noise",
    revision: 2,
    summary: "noise of the same budget, the control of every table",
    source: "a control of our own, which knows nothing of the network",
    norms: &[Norm::Linf, Norm::L2, Norm::L1, Norm::L0, Norm::Pixels, Norm::Any],
    params: &[
        Param {
            name: "kind",
            kind: Kind::Choice(&["uniform", "gaussian", "salt-and-pepper"]),
            default: "uniform",
            summary: "uniform in the budget; normal, of standard deviation eps/2 (Linf) or length eps (L2, L1); or black and white",
        },
        Param {
            name: "draws",
            kind: Kind::Count,
            default: "1",
            summary: "tries per image; an attack that asks the net often should be compared with as many",
        },
    ],
    build: |params, _| {
        let kind = match params.choice("kind") {
            "uniform" => Distribution::Uniform,
            "gaussian" => Distribution::Gaussian,
            _ => Distribution::SaltAndPepper,
        };
        Ok(Box::new(Noise { kind, draws: params.count("draws") }))
    },
};

struct Noise {
    kind: Distribution,
    draws: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Distribution {
    Uniform,
    Gaussian,
    SaltAndPepper,
}

impl Attack for Noise {
    /// x' = clip(x + u), `draws` times.
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        for rows in all.chunks(batch.window) {
            let mut rows = rows.to_vec();
            for draw in 0..self.draws {
                let images = self.draw(&rows, draw, batch, task)?;
                let places = vec![Place { restart: draw, step: 1 }; rows.len()];
                let proposal =
                    Proposal { images: &images, gradient: None, evidence: None, places: &places, notes: &[] };
                let wanted = oracle.propose(&rows, &proposal)?;
                let before = rows.len();
                let mut wanted = wanted.into_iter();
                rows.retain(|_| wanted.next().expect("one a row") > 0);
                oracle.leave(before - rows.len());
                if rows.is_empty() {
                    break;
                }
            }
            oracle.leave(rows.len());
        }
        Ok(())
    }

    fn cost(&self) -> u64 {
        self.draws as u64
    }

    fn queries(&self) -> Option<u64> {
        Some(self.cost())
    }
}

impl Noise {
    /// One noisy image a row, N×3×H×W.
    fn draw(&self, rows: &[usize], draw: usize, batch: &Batch, task: &Task) -> Result<Tensor> {
        let x = batch.images(rows)?;
        let counts = matches!(task.threat.norm, Norm::Pixels | Norm::L0);
        if self.kind == Distribution::Uniform && !counts {
            return random_points(&x, rows, batch, draw, "noise", task);
        }
        let noisy = |(row, mut image): (&usize, Vec<f32>)| {
            let mut stream = task.streams.stream(batch.example(*row), draw, "noise");
            match task.threat.norm {
                Norm::Pixels => recolour(&mut image, task.threat, self.kind, &mut stream),
                Norm::L0 => recolour_components(&mut image, task.threat, self.kind, &mut stream),
                _ => shift(&mut image, task.threat, self.kind, &mut stream),
            }
            image
        };
        let images = x.flatten_from(1)?.to_vec2::<f32>()?;
        let values: Vec<f32> = rows.iter().zip(images).flat_map(noisy).collect();
        let moved = Tensor::from_vec(values, x.shape(), &Device::Cpu)?.to_device(x.device())?;
        if counts { Ok(moved) } else { task.threat.project(&moved, &x) }
    }
}

/// Adds noise to every value, or to as many as the budget allows.
fn shift(image: &mut [f32], threat: Threat, kind: Distribution, stream: &mut Stream) {
    let eps = threat.eps.to_f64();
    match (threat.norm, kind) {
        // every value to one end of its range
        (Norm::Linf | Norm::Any, Distribution::SaltAndPepper) => {
            image.iter_mut().for_each(|v| *v += if stream.below(2) == 0 { -eps as f32 } else { eps as f32 });
        }
        // pixels black or white until the budget is spent: the projection cuts the last one short
        (_, Distribution::SaltAndPepper) => {
            let power = if threat.norm == Norm::L1 { 1 } else { 2 };
            let (plane, mut spent) = (image.len() / 3, 0.0);
            for place in shuffled(plane, stream) {
                let to = stream.below(2) as f32;
                (0..3).for_each(|c| spent += f64::from((to - image[c * plane + place]).abs()).powi(power));
                (0..3).for_each(|c| image[c * plane + place] = to);
                if spent >= eps.powi(power) {
                    break;
                }
            }
        }
        (Norm::Linf | Norm::Any, _) => image.iter_mut().for_each(|v| *v += (stream.normal() * eps / 2.0) as f32),
        _ => {
            let direction: Vec<f64> = image.iter().map(|_| stream.normal()).collect();
            let length = match threat.norm {
                Norm::L1 => direction.iter().map(|v| v.abs()).sum::<f64>(),
                _ => direction.iter().map(|v| v * v).sum::<f64>().sqrt(),
            };
            let length = length.max(f64::MIN_POSITIVE);
            image.iter_mut().zip(direction).for_each(|(v, d)| *v += (d * eps / length) as f32);
        }
    }
}

/// Gives as many pixels as the budget allows another colour: uniform, normal around grey (Su et al. 2019: N(128, 127)), or
/// black or white.
fn recolour(image: &mut [f32], threat: Threat, kind: Distribution, stream: &mut Stream) {
    let plane = image.len() / 3;
    for place in shuffled(plane, stream).take(threat.pixels(image.len())) {
        let black_or_white = stream.below(2) as f32;
        for channel in 0..3 {
            image[channel * plane + place] = match kind {
                Distribution::SaltAndPepper => black_or_white,
                _ => level(kind, stream),
            };
        }
    }
}

/// The same for single components: a channel of a pixel each.
fn recolour_components(image: &mut [f32], threat: Threat, kind: Distribution, stream: &mut Stream) {
    for place in shuffled(image.len(), stream).take(threat.components(image.len())) {
        image[place] = level(kind, stream);
    }
}

/// One component of another colour.
fn level(kind: Distribution, stream: &mut Stream) -> f32 {
    match kind {
        Distribution::Uniform => stream.below(256) as f32 / 255.0,
        Distribution::Gaussian => (128.0 + 127.0 * stream.normal()).round().clamp(0.0, 255.0) as f32 / 255.0,
        Distribution::SaltAndPepper => stream.below(2) as f32,
    }
}

/// Numbers below `n` in random order, as they are needed (Fisher and Yates).
fn shuffled(n: usize, stream: &mut Stream) -> impl Iterator<Item = usize> + use<> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in 0..n {
        order.swap(i, i + stream.below(n - i));
    }
    order.into_iter()
}
