//! Carlini and Wagner's L2 attack (2017): x' = (tanh(t + w) + 1)/2 with t = atanh(2x − 1), so that the box is everywhere; Adam
//! over w down ‖x' − x‖² + c·max(margin, 0), and a search for the least c that still fools.
//!
//! Their κ, by which a margin has to be overcome, is left out: the nearest image that is fooled counts.

use super::adam::{self, MOMENTS};
use super::nearest::{Nearest, Start};
use super::search::{Ask, Search};
use super::{Entry, Kind, Param, STEPS};
use crate::goal::Aim;
use crate::loss;
use crate::oracle::Place;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "cw",
    revision: 3,
    summary: "penalised least squares behind a tanh, with a search for the weight (Carlini and Wagner 2017)",
    source: "Carlini and Wagner 2017, arXiv:1608.04644",
    norms: &[Norm::L2],
    params: &[
        Param {
            name: STEPS,
            kind: Kind::Count,
            default: "10000",
            summary: "iterations of a search, at most (Carlini and Wagner 2017: 10000)",
        },
        Param {
            name: "searches",
            kind: Kind::Count,
            default: "9",
            summary: "values of c that are tried (Carlini and Wagner 2017: 9)",
        },
        Param {
            name: "step_size",
            kind: Kind::Positive,
            default: "0.01",
            summary: "of Adam (Carlini and Wagner 2017: 0.01)",
        },
        Param {
            name: "constant",
            kind: Kind::Positive,
            default: "0.001",
            summary: "c at first, for logits of the usual size (Carlini and Wagner 2017: 0.001)",
        },
        Param {
            name: "abort_early",
            kind: Kind::Flag,
            default: "true",
            summary: "end a search whose loss has not fallen for a tenth of its steps (Carlini and Wagner 2017)",
        },
    ],
    build: |params, _| {
        let [steps, searches] = [STEPS, "searches"].map(|name| params.count(name));
        let [step_size, c] = ["step_size", "constant"].map(|name| params.number(name));
        let plan = Plan { steps, searches, step_size, c, abort_early: params.flag("abort_early") };
        let begin = move |start: Start| -> Box<dyn Search> { Box::new(CarliniWagner::begin(start, plan)) };
        let passes = 2 * (steps * searches) as u64;
        Ok(Box::new(Nearest::new(passes, steps, Box::new(begin))))
    },
};

/// Keeps atanh finite at both ends of the box; growth of c while nothing is found, and the largest c; the loss is to fall below so
/// much of what it was; with so many searches the last one repeats the least c that fooled (all: the authors' code).
const INSIDE: f64 = 1.0 - 1e-6;
const GROWTH: f64 = 10.0;
const LARGEST: f64 = 1e10;
const FALL: f64 = 0.9999;
const REPEATS: usize = 10;

/// The parameters.
#[derive(Clone, Copy)]
struct Plan {
    steps: usize,
    searches: usize,
    step_size: f64,
    c: f64,
    abort_early: bool,
}

struct CarliniWagner {
    plan: Plan,
    aim: Aim,
    /// What a logit counts for ([`loss::to_usual_size`]).
    scale: f64,
    x: Vec<f32>,
    /// atanh(2x − 1).
    t: Vec<f32>,
    w: Vec<f32>,
    moments: Vec<f32>,
    point: Vec<f32>,
    /// The weight, the largest that did not fool, and the least that did.
    c: f64,
    low: f64,
    high: Option<f64>,
    /// Whether this search has fooled, and its loss when it was last looked at.
    is_found: bool,
    before: f64,
    search: usize,
    step: usize,
}

impl CarliniWagner {
    fn begin(Start { x, aim, .. }: Start, plan: Plan) -> CarliniWagner {
        let t = x.iter().map(|x| ((2.0 * f64::from(*x) - 1.0) * INSIDE).atanh() as f32).collect();
        let mut begun = CarliniWagner {
            plan,
            aim,
            scale: 1.0,
            w: vec![0.0; x.len()],
            moments: vec![0.0; MOMENTS * x.len()],
            point: x.clone(),
            x,
            t,
            c: plan.c,
            low: 0.0,
            high: None,
            is_found: false,
            before: f64::INFINITY,
            search: 0,
            step: 0,
        };
        begun.stand();
        begun
    }

    fn stand(&mut self) {
        for ((p, t), w) in self.point.iter_mut().zip(&self.t).zip(&self.w) {
            *p = ((f64::from(t + w).tanh() + 1.0) / 2.0) as f32;
        }
    }

    /// The next weight, from the clean image again; `false`: there is none.
    fn next_search(&mut self) -> bool {
        if self.is_found {
            self.high = Some(self.high.map_or(self.c, |high| high.min(self.c)));
        } else {
            self.low = self.low.max(self.c);
        }
        self.search += 1;
        self.c = match self.high {
            Some(high) if self.plan.searches >= REPEATS && self.search == self.plan.searches - 1 => high,
            Some(high) => 0.5 * (self.low + high),
            None => (GROWTH * self.c).min(LARGEST),
        };
        (self.is_found, self.before, self.step) = (false, f64::INFINITY, 0);
        self.w.fill(0.0);
        self.moments.fill(0.0);
        self.stand();
        self.search < self.plan.searches
    }
}

impl Search for CarliniWagner {
    fn point(&self) -> &[f32] {
        &self.point
    }

    fn asks(&self) -> Ask {
        Ask::Margin
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        if (self.search, self.step) == (0, 0) {
            self.scale = loss::to_usual_size(logits);
        }
        self.is_found |= self.aim.is_reached(logits);
        let margin = f64::from(self.aim.distance(logits)).max(0.0) * self.scale;
        let square: f64 = self.point.iter().zip(&self.x).map(|(p, x)| f64::from(p - x).powi(2)).sum();
        let loss = square + self.c * margin;
        if self.plan.abort_early && self.step.is_multiple_of((self.plan.steps / 10).max(1)) {
            if loss > FALL * self.before {
                return self.next_search();
            }
            self.before = loss;
        }
        let weight = if margin > 0.0 { self.c * self.scale } else { 0.0 };
        // what is to be climbed, through x' = (tanh + 1)/2, whose slope is 2x'(1 − x')
        let climb = |((g, p), x): ((&f32, &f32), &f32)| {
            let p = f64::from(*p);
            ((weight * f64::from(*g) - 2.0 * (p - f64::from(*x))) * 2.0 * p * (1.0 - p)) as f32
        };
        let along: Vec<f32> = gradient.iter().zip(&self.point).zip(&self.x).map(climb).collect();
        self.step += 1;
        adam::ascend(&mut self.w, &along, &mut self.moments, self.plan.step_size, self.step);
        if self.step == self.plan.steps {
            return self.next_search();
        }
        self.stand();
        true
    }

    fn place(&self) -> Place {
        Place { restart: self.search, step: self.step }
    }
}
