//! Primal-dual proximal gradient descent (Matyasko and Chau 2021): Adam down a soft count of the margin, then the proximal step of
//! the norm in Adam's metric; how much the one weighs against the other is a dual variable, which rises while the net is right and
//! falls while it is fooled.

use super::adam::{self, MOMENTS};
use super::nearest::{Nearest, Start};
use super::search::{Ask, Search};
use super::vector::{difference, length};
use super::{Entry, Kind, Param, STEPS};
use crate::goal::Aim;
use crate::loss;
use crate::oracle::Place;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "pdpgd",
    revision: 3,
    summary: "primal-dual proximal gradient descent: the least change that fools (Matyasko and Chau 2021)",
    source: "Matyasko and Chau 2021, arXiv:2106.01538; defaults of adversarial-library",
    norms: &[Norm::Linf, Norm::L2, Norm::L1, Norm::L0],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "500", summary: "iterations (adversarial-library: 500)" },
        Param {
            name: "step_size",
            kind: Kind::Positive,
            default: "0.1",
            summary: "of Adam at first; it falls to a hundredth (adversarial-library: 0.1)",
        },
    ],
    build: |params, _| {
        let (steps, step_size) = (params.count(STEPS), params.number("step_size"));
        let begin = move |start: Start| -> Box<dyn Search> { Box::new(Pdpgd::begin(start, steps, step_size)) };
        Ok(Box::new(Nearest::new(2 * steps as u64, steps, Box::new(begin))))
    },
};

/// The last step as a share of the first; of the dual variable the first step, and the last as a share of it; weight of the norm
/// over that of the margin at first, and at least, as of the margin over the norm; memory of the weights (adversarial-library).
const LAST_STEP: f64 = 0.01;
const DUAL_STEP: f64 = 0.1;
const LAST_DUAL_STEP: f64 = 0.1;
const FIRST_RATIO: f64 = 0.01;
const LEAST_RATIO: f64 = 1e-6;
const MEMORY: f64 = 0.9;

/// Proximal steps at most, and the relative change that ends them (Melchior et al. 2019, as in adversarial-library).
const PROXIMAL_STEPS: usize = 5;
const SETTLED: f64 = 0.01;

struct Pdpgd {
    steps: usize,
    step_size: f64,
    norm: Norm,
    aim: Aim,
    /// What a logit counts for ([`loss::to_usual_size`]).
    scale: f64,
    x: Vec<f32>,
    point: Vec<f32>,
    moments: Vec<f32>,
    /// λ: the logarithm of the weight of the margin over that of the norm.
    dual: f64,
    /// Share of the margin in both weights, averaged over the steps.
    share: f64,
    step: usize,
}

impl Pdpgd {
    fn begin(Start { x, aim, norm, .. }: Start, steps: usize, step_size: f64) -> Pdpgd {
        let dual = -FIRST_RATIO.ln();
        let (point, moments) = (x.clone(), vec![0.0; MOMENTS * x.len()]);
        Pdpgd { steps, step_size, norm, aim, scale: 1.0, x, point, moments, dual, share: logistic(dual), step: 0 }
    }

    /// Of several points the one that is near `change`, in Adam's metric, and short: μ is the weight of its length.
    fn proximal(&mut self, step_size: f64) {
        let (metric, most) = adam::lengths(&self.moments, self.step);
        if most == 0.0 {
            return;
        }
        let mu = (1.0 - self.share) / self.share * step_size / most;
        let far = difference(&self.point, &self.x);
        let mut change = far.clone();
        for _ in 0..PROXIMAL_STEPS {
            let mut next: Vec<f32> = (0..far.len())
                .map(|i| (f64::from(change[i]) - metric[i] / most * f64::from(change[i] - far[i])) as f32)
                .collect();
            shrink(self.norm, &mut next, mu);
            next.iter_mut().zip(&self.x).for_each(|(d, x)| *d = (*d + x).clamp(0.0, 1.0) - x);
            let moved = length(Norm::L2, &difference(&next, &change)) / length(Norm::L2, &next);
            change = next;
            // NaN where nothing is left
            if moved <= SETTLED || moved.is_nan() {
                break;
            }
        }
        self.point.iter_mut().zip(&self.x).zip(&change).for_each(|((p, x), d)| *p = (x + d).clamp(0.0, 1.0));
    }
}

impl Search for Pdpgd {
    fn point(&self) -> &[f32] {
        &self.point
    }

    fn asks(&self) -> Ask {
        Ask::Margin
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        if self.step == 0 {
            self.scale = loss::to_usual_size(logits);
        }
        let margin = self.scale * f64::from(self.aim.distance(logits));
        // of ln(1 + exp margin)
        let weight = logistic(margin) * self.scale;
        let along: Vec<f32> = gradient.iter().map(|g| (weight * f64::from(*g)) as f32).collect();
        let done = self.step as f64 / self.steps as f64;
        let left = (self.steps - 1 - self.step) as f64 / (self.steps - 1).max(1) as f64;
        let step_size = self.step_size * LAST_STEP.powf(done);
        self.step += 1;
        adam::ascend(&mut self.point, &along, &mut self.moments, step_size, self.step);
        self.point.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
        self.proximal(step_size);
        let dual_step = DUAL_STEP * (LAST_DUAL_STEP + (1.0 - LAST_DUAL_STEP) * left);
        let up = if margin > 0.0 {
            dual_step
        } else if margin < 0.0 {
            -dual_step
        } else {
            0.0
        };
        self.dual = (self.dual + up).clamp(LEAST_RATIO.ln(), -LEAST_RATIO.ln());
        self.share = MEMORY * self.share + (1.0 - MEMORY) * logistic(self.dual);
        self.step < self.steps
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.step }
    }
}

/// 1/(1 + exp −v).
fn logistic(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

/// The proximal step of a norm: the `z` of least ½‖z − change‖² + μ·‖z‖. In place of L0 stands Σ|z|^⅔, as the authors advise.
fn shrink(norm: Norm, change: &mut [f32], mu: f64) {
    match norm {
        Norm::L1 => {
            change.iter_mut().for_each(|d| *d = (f64::from(d.abs()) - mu).max(0.0).copysign(f64::from(*d)) as f32)
        }
        Norm::L2 => {
            let rest = (1.0 - mu / length(Norm::L2, change)).max(0.0);
            change.iter_mut().for_each(|d| *d = (rest * f64::from(*d)) as f32);
        }
        Norm::Linf => {
            let level = level(change, mu) as f32;
            change.iter_mut().for_each(|d| *d = d.clamp(-level, level));
        }
        Norm::L0 => change.iter_mut().for_each(|d| *d = two_thirds(f64::from(*d), mu) as f32),
        _ => unreachable!("a norm that is not claimed"),
    }
}

/// The level above which sizes add up to `mu`; 0 where they do not. By Newton's steps from below, which end (Michelot 1986).
fn level(change: &[f32], mu: f64) -> f64 {
    let (mut level, mut before) = (0.0, usize::MAX);
    loop {
        let (mut sum, mut count) = (0.0, 0);
        for size in change.iter().map(|d| f64::from(d.abs())).filter(|size| *size > level) {
            (sum, count) = (sum + size, count + 1);
        }
        if count == 0 || count >= before {
            return level;
        }
        level = ((sum - mu) / count as f64).max(0.0);
        before = count;
    }
}

/// The `z` of least ½(z − d)² + μ|z|^⅔ (Cao, Sun and Xu 2013).
fn two_thirds(d: f64, mu: f64) -> f64 {
    // their form is (z − d)² + 2μ|z|^⅔
    let weight = 2.0 * mu;
    if d.abs() <= 2.0 / 3.0 * (3.0 * weight.powi(3)).powf(0.25) {
        return 0.0;
    }
    let angle = (27.0 * d * d / 16.0 * weight.powf(-1.5)).acosh() / 3.0;
    let a = 2.0 / 3f64.sqrt() * weight.powf(0.25) * angle.cosh().sqrt();
    ((a + (2.0 * d.abs() / a - a * a).max(0.0).sqrt()) / 2.0).powi(3).copysign(d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    /// No point nearby, nor 0, is better.
    #[test]
    fn a_proximal_step_ends_at_the_least() {
        let mut s = Streams::new(0, "proximal").stream(0, 0, "values");
        for norm in [Norm::Linf, Norm::L2, Norm::L1, Norm::L0] {
            for case in 0..60 {
                let d: Vec<f32> = (0..12).map(|_| s.normal() as f32).collect();
                let mu = f64::from(s.uniform()) * [0.1, 1.0, 6.0][case % 3];
                let size = |z: &[f32]| match norm {
                    Norm::L0 => z.iter().map(|v| f64::from(v.abs()).powf(2.0 / 3.0)).sum(),
                    _ => length(norm, z),
                };
                let of = |z: &[f32]| 0.5 * length(Norm::L2, &difference(z, &d)).powi(2) + mu * size(z);
                let mut z = d.clone();
                shrink(norm, &mut z, mu);
                let least = of(&z);
                assert!(least <= of(&[0.0; 12]) + 1e-6, "{norm:?} {case}");
                for _ in 0..100 {
                    let by = [0.3, 0.01][s.below(2)];
                    let other: Vec<f32> = z.iter().map(|v| v + (by * s.normal()) as f32).collect();
                    assert!(least <= of(&other) + 1e-6, "{norm:?} {case} {mu}: {least} {}", of(&other));
                }
            }
        }
    }
}
