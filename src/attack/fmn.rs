//! Fast minimum norm (Pintor et al. 2021): a step of length α along the unit gradient of the margin, then the change is
//! projected into the ball of radius ε, which shrinks by γ after a point that is fooled and grows by γ after one that is not.
//! Until the first is found, ε is the distance at which the margin would end if it were linear. α and γ fall as half a cosine.

use super::nearest::{Nearest, Start, cosine};
use super::search::{Ask, Search};
use super::vector::{difference, dual_length, length, longest};
use super::{Entry, Kind, Param, STEPS};
use crate::goal::Aim;
use crate::oracle::Place;
use crate::threat::{Norm, l1};

pub const ENTRY: Entry = Entry {
    name: "fmn",
    revision: 3,
    summary: "fast minimum norm: the least change that fools (Pintor et al. 2021)",
    source: "Pintor et al. 2021, arXiv:2102.12827",
    norms: &[Norm::Linf, Norm::L2, Norm::L1, Norm::L0],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "100", summary: "iterations (foolbox: 100)" },
        Param {
            name: "step_size",
            kind: Kind::Positive,
            default: "1",
            summary: "L2 length of the first step; the last is a hundredth (Pintor et al. 2021: 1)",
        },
    ],
    build: |params, _| {
        let (steps, alpha) = (params.count(STEPS), params.number("step_size"));
        let begin = move |start: Start| -> Box<dyn Search> { Box::new(Fmn::begin(start, steps, alpha)) };
        Ok(Box::new(Nearest::new(2 * steps as u64, steps, Box::new(begin))))
    },
};

/// γ, first and last (the authors' code).
const GAMMA: [f64; 2] = [0.05, 0.001];

/// How much farther than where a linear margin ends the first ball reaches: a point at the very boundary may round to the wrong
/// side, and would stay there. Not in the authors' code.
const CROSSING: f64 = 1.0 + 1e-4;

/// The last α as a share of the first (the authors' code).
const LAST_ALPHA: f64 = 0.01;

struct Fmn {
    steps: usize,
    /// α at the start.
    alpha: f64,
    norm: Norm,
    aim: Aim,
    x: Vec<f32>,
    point: Vec<f32>,
    /// Radius of the ball; infinite before the first step, but of L0 1.
    eps: f64,
    /// Length that no change needs more of.
    longest: f64,
    /// Length of the shortest change found; [`Fmn::longest`] where there is none.
    best: f64,
    is_found: bool,
    step: usize,
}

impl Fmn {
    fn begin(Start { x, aim, norm, .. }: Start, steps: usize, alpha: f64) -> Fmn {
        let longest = longest(norm, &x);
        let eps = if norm == Norm::L0 { 1.0 } else { f64::INFINITY };
        Fmn { steps, alpha, norm, aim, point: x.clone(), x, eps, longest, best: longest, is_found: false, step: 0 }
    }

    /// ε after a point where the net said so.
    fn next_eps(&self, is_fooled: bool, gamma: f64, size: f64, to_boundary: impl Fn() -> f64) -> f64 {
        let eps = self.eps;
        let next = match (is_fooled, self.norm) {
            // whole components
            (true, Norm::L0) => (eps - 1.0).min((eps * (1.0 - gamma)).floor()).min(self.best).max(0.0),
            (false, Norm::L0) => (eps + 1.0).max((eps * (1.0 + gamma)).floor()),
            (true, _) => (eps * (1.0 - gamma)).min(self.best),
            (false, _) if self.is_found => eps * (1.0 + gamma),
            (false, _) => (size + to_boundary()) * CROSSING,
        };
        next.min(self.longest)
    }
}

impl Search for Fmn {
    fn point(&self) -> &[f32] {
        &self.point
    }

    fn asks(&self) -> Ask {
        Ask::Margin
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        let alpha = cosine(self.alpha, LAST_ALPHA * self.alpha, self.step, self.steps);
        let gamma = cosine(GAMMA[0], GAMMA[1], self.step, self.steps);
        let size = length(self.norm, &difference(&self.point, &self.x));
        let is_fooled = self.aim.is_reached(logits);
        if is_fooled {
            self.is_found = true;
            self.best = self.best.min(size);
        }
        let to_boundary = || f64::from(self.aim.distance(logits).abs()) / dual_length(self.norm, gradient);
        self.eps = self.next_eps(is_fooled, gamma, size, to_boundary);
        let steep = length(Norm::L2, gradient);
        if steep > 0.0 {
            let along = alpha / steep;
            self.point.iter_mut().zip(gradient).for_each(|(p, g)| *p += (along * f64::from(*g)) as f32);
        }
        project(self.norm, &mut self.point, &self.x, self.eps);
        self.step += 1;
        self.step < self.steps
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.step }
    }
}

/// Brings `point` into the ball of radius `eps` about `x` and into the box, which L1 alone does at once.
fn project(norm: Norm, point: &mut [f32], x: &[f32], eps: f64) {
    match norm {
        Norm::Linf => {
            let eps = eps as f32;
            point.iter_mut().zip(x).for_each(|(p, x)| *p = p.clamp(x - eps, x + eps));
        }
        Norm::L2 => {
            let scale = eps / length(norm, &difference(point, x));
            if scale < 1.0 {
                point.iter_mut().zip(x).for_each(|(p, x)| *p = (f64::from(*x) + scale * f64::from(*p - *x)) as f32);
            }
        }
        Norm::L1 => l1::project_image(point, x, eps),
        Norm::L0 => keep_largest(point, x, eps as usize),
        _ => unreachable!("a norm that is not claimed"),
    }
    point.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
}

/// Undoes all but the `count` largest changes, at least one; equal ones stand or fall together.
fn keep_largest(point: &mut [f32], x: &[f32], count: usize) {
    let mut sizes: Vec<f32> = difference(point, x).into_iter().map(f32::abs).collect();
    let last = count.clamp(1, sizes.len()) - 1;
    let (_, least, _) = sizes.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
    let least = *least;
    point.iter_mut().zip(x).filter(|(p, x)| (**p - **x).abs() < least).for_each(|(p, x)| *p = *x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_ends_in_ball_and_box() {
        let x = [0.5f32, 0.9, 0.0, 0.25, 1.0];
        let far = [0.7f32, 1.4, -0.3, 0.25, 0.6];
        for (norm, eps) in [(Norm::Linf, 0.25), (Norm::L2, 0.3), (Norm::L1, 0.4), (Norm::L0, 2.0)] {
            let mut point = far;
            project(norm, &mut point, &x, eps);
            let size = length(norm, &difference(&point, &x));
            assert!(size <= eps + 1e-6 && size > 0.0, "{norm:?}: {size}");
            assert!(point.iter().all(|p| (0.0..=1.0).contains(p)), "{norm:?}: {point:?}");
        }
        let mut point = far;
        keep_largest(&mut point, &x, 2);
        assert_eq!(point, [0.5, 1.4, 0.0, 0.25, 0.6]);
        keep_largest(&mut point, &x, 0);
        assert_eq!(point, [0.5, 1.4, 0.0, 0.25, 1.0], "at least one");
    }
}
