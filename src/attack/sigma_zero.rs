//! σ-zero (Cinà et al. 2025): Adam along max(margin, 0) + mean of δ²/(δ² + σ), a smooth count of changed components, then every
//! component of a size below τ is set to 0; τ rises after a point that is fooled and falls after one that is not.

use super::adam::{self, MOMENTS};
use super::nearest::{Nearest, Start, cosine};
use super::search::{Ask, Search};
use super::vector::length;
use super::{Entry, Kind, Param, STEPS};
use crate::goal::Aim;
use crate::loss;
use crate::oracle::Place;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "sigma-zero",
    revision: 3,
    summary: "σ-zero: the fewest components whose change fools (Cinà et al. 2025)",
    source: "Cinà et al. 2025, arXiv:2402.01879",
    norms: &[Norm::L0],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "1000", summary: "iterations (Cinà et al. 2025: 1000)" },
        Param {
            name: "step_size",
            kind: Kind::Positive,
            default: "1",
            summary: "of Adam at first; the last is a tenth (Cinà et al. 2025: 1)",
        },
        Param {
            name: "sigma",
            kind: Kind::Positive,
            default: "0.001",
            summary: "square of the change that counts as half a component (Cinà et al. 2025: 0.001)",
        },
        Param {
            name: "threshold",
            kind: Kind::Number,
            default: "0.3",
            summary: "τ at first: smaller changes are undone (Cinà et al. 2025: 0.3)",
        },
    ],
    build: |params, _| {
        let steps = params.count(STEPS);
        let numbers = ["step_size", "sigma", "threshold"].map(|name| params.number(name));
        if numbers[2] > 1.0 {
            return Err("`threshold` is at most 1: no change is larger".into());
        }
        let begin = move |start: Start| -> Box<dyn Search> { Box::new(SigmaZero::begin(start, steps, numbers)) };
        Ok(Box::new(Nearest::new(2 * steps as u64, steps, Box::new(begin))))
    },
};

/// The last step as a share of the first, and by how much of a step τ moves (the authors' code).
const LAST_STEP: f64 = 0.1;
const THRESHOLD_STEP: f64 = 0.01;

struct SigmaZero {
    steps: usize,
    /// η at the start.
    step_size: f64,
    sigma: f64,
    /// τ.
    threshold: f64,
    aim: Aim,
    /// What a logit counts for ([`loss::to_usual_size`]).
    scale: f64,
    x: Vec<f32>,
    point: Vec<f32>,
    moments: Vec<f32>,
    step: usize,
}

impl SigmaZero {
    fn begin(Start { x, aim, .. }: Start, steps: usize, [step_size, sigma, threshold]: [f64; 3]) -> SigmaZero {
        let (point, moments) = (x.clone(), vec![0.0; MOMENTS * x.len()]);
        SigmaZero { steps, step_size, sigma, threshold, aim, scale: 1.0, x, point, moments, step: 0 }
    }

    /// η of a step, of which the first two are the same, as in the authors' code.
    fn step_size(&self, step: usize) -> f64 {
        cosine(self.step_size, LAST_STEP * self.step_size, step.saturating_sub(1), self.steps)
    }
}

impl Search for SigmaZero {
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
        let is_fooled = self.aim.is_reached(logits);
        let weight = if is_fooled { 0.0 } else { self.scale };
        let values = self.x.len() as f64;
        // what is to be climbed: less margin, fewer components
        let climb = |((g, p), x): ((&f32, &f32), &f32)| {
            let d = f64::from(p - x);
            let near = d * d + self.sigma;
            (weight * f64::from(*g) - 2.0 * d * self.sigma / (near * near * values)) as f32
        };
        let mut along: Vec<f32> = gradient.iter().zip(&self.point).zip(&self.x).map(climb).collect();
        let steep = length(Norm::Linf, &along) as f32;
        if steep > 0.0 {
            along.iter_mut().for_each(|v| *v /= steep);
        }
        let eta = self.step_size(self.step);
        self.step += 1;
        adam::ascend(&mut self.point, &along, &mut self.moments, eta, self.step);
        let by = THRESHOLD_STEP * self.step_size(self.step);
        self.threshold = (self.threshold + if is_fooled { by } else { -by }).clamp(0.0, 1.0);
        for (p, x) in self.point.iter_mut().zip(&self.x) {
            *p = p.clamp(0.0, 1.0);
            if f64::from((*p - x).abs()) < self.threshold {
                *p = *x;
            }
        }
        self.step < self.steps
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.step }
    }
}
