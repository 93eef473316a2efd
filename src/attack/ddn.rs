//! Decoupled direction and norm (Rony et al. 2019): a step of length α along the unit gradient, then the change is brought to
//! the length ε, which shrinks by γ after a point that is fooled and grows by γ after one that is not. So the points circle
//! around the nearest image that is fooled.

use super::nearest::{Nearest, Start, cosine};
use super::search::Search;
use super::vector::{TINY, difference, in_8_bits, length, longest};
use super::{Entry, Kind, Param, STEPS};
use crate::goal::Aim;
use crate::oracle::Place;
use crate::rng::Stream;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "ddn",
    revision: 4,
    summary: "decoupled direction and norm: the least L2 change that fools (Rony et al. 2019)",
    source: "Rony et al. 2019, arXiv:1811.09600; defaults of adversarial-library",
    norms: &[Norm::L2],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "100", summary: "iterations (adversarial-library: 100)" },
        Param {
            name: "quantise",
            kind: Kind::Flag,
            default: "true",
            summary: "round every iterate to 8 bits (adversarial-library: levels = 256)",
        },
    ],
    build: |params, _| {
        let (steps, quantise) = (params.count(STEPS), params.flag("quantise"));
        let begin = move |start: Start| -> Box<dyn Search> { Box::new(Ddn::begin(start, steps, quantise)) };
        let shortest = FIRST_LENGTH * (1.0 - GAMMA).powf(steps as f64);
        Ok(Box::new(Nearest { shortest, rounds: quantise, ..Nearest::new(2 * steps as u64, steps, Box::new(begin)) }))
    },
};

/// ε at the start, and γ (Rony et al. 2019, section 4).
const FIRST_LENGTH: f64 = 1.0;
const GAMMA: f64 = 0.05;

/// α falls from the first to the last as half a cosine (section 4).
const ALPHA: [f64; 2] = [1.0, 0.01];

struct Ddn {
    steps: usize,
    quantise: bool,
    aim: Aim,
    stream: Stream,
    x: Vec<f32>,
    point: Vec<f32>,
    /// Length of the next change.
    eps: f64,
    /// Length that no change needs more of.
    longest: f64,
    step: usize,
}

impl Ddn {
    fn begin(Start { x, aim, stream, .. }: Start, steps: usize, quantise: bool) -> Ddn {
        let longest = longest(Norm::L2, &x);
        Ddn { steps, quantise, aim, stream, point: x.clone(), x, eps: FIRST_LENGTH, longest, step: 0 }
    }

    /// A random direction, where the gradient is zero everywhere.
    fn any_direction(&self) -> Vec<f32> {
        let mut stream = self.stream.at(self.step as u64);
        self.x.iter().map(|_| stream.normal() as f32).collect()
    }
}

impl Search for Ddn {
    fn point(&self) -> &[f32] {
        &self.point
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        let factor = if self.aim.is_reached(logits) { 1.0 - GAMMA } else { 1.0 + GAMMA };
        self.eps = (self.eps * factor).min(self.longest);
        let random = gradient.iter().all(|g| *g == 0.0).then(|| self.any_direction());
        let along = random.as_deref().unwrap_or(gradient);
        let by = cosine(ALPHA[0], ALPHA[1], self.step, self.steps) / length(Norm::L2, along);
        let mut delta = difference(&self.point, &self.x);
        delta.iter_mut().zip(along).for_each(|(d, g)| *d = (f64::from(*d) + by * f64::from(*g)) as f32);
        let scale = self.eps / length(Norm::L2, &delta).max(TINY);
        for ((p, x), d) in self.point.iter_mut().zip(&self.x).zip(&delta) {
            let moved = (x + (scale * f64::from(*d)) as f32).clamp(0.0, 1.0);
            *p = if self.quantise { in_8_bits(moved) } else { moved };
        }
        self.step += 1;
        self.step < self.steps
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.step }
    }
}
