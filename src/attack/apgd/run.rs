//! One run of APGD on one image: so many steps from a start, inside one ball.

use crate::attack::vector::{length, sign};
use crate::threat::{Norm, l1};

/// α of the first step over eps, and of every step that follows a return to the best point in L1 (Croce and Hein 2020,
/// Algorithm 1; 2021 for L1).
fn first_step(norm: Norm) -> f64 {
    if norm == Norm::L1 { 1.0 } else { 2.0 }
}

/// Weight of the step against the momentum, from the second step on (2020, section 3).
const MOMENTUM: f32 = 0.75;

/// The step is halved where the loss rose in at most this share of the steps since the last checkpoint (ρ, 2020, section 3.1).
const RISES: f64 = 0.75;

/// First checkpoint, by how much the way to the next one shortens, and its least length, as shares of the steps (2020,
/// section 3.1).
const CHECKPOINTS: [f64; 3] = [0.22, 0.03, 0.06];

/// Between checkpoints in L1, as a share of the steps (2021, section 3.3).
const CHECKPOINT_L1: f64 = 0.04;

/// Share of the entries that a first step in L1 moves, from a random start (2021, section 3.3).
const FIRST_TOP: f64 = 0.2;

/// The number of entries that move follows the sparsity of the best point: that over this (2021, section 3.3).
const SPARSER: f64 = 1.5;

/// Where the best point has become sparser than this share of what it was, a step is as long as at first again; else it shrinks
/// by [`SPARSER`], to a tenth at least (2021, section 3.3).
const STILL_SPARSER: f64 = 0.95;
const SHORTEST_L1: f64 = 0.1;

/// Smallest divisor of a length (authors' code).
const TINY: f64 = 1e-12;

/// One run on one image, values 3×H×W.
pub(super) struct Run {
    norm: Norm,
    eps: f64,
    /// The clean image.
    x: Vec<f32>,
    /// Where it stands, and where it stood before.
    x_adv: Vec<f32>,
    before: Vec<f32>,
    best: Best,
    step_size: f64,
    /// Steps of the run, and those done.
    steps: usize,
    done: usize,
    /// Steps from one checkpoint to the next, and those done since the last.
    wait: usize,
    waited: usize,
    /// Steps since the last checkpoint in which the loss rose.
    rises: usize,
    last_loss: f64,
    /// What the loss of step 0 is compared with.
    floor: f64,
    /// At the last checkpoint: the best loss, and whether the step was halved.
    best_then: f64,
    halved_then: bool,
    /// In L1: share of the entries that a step moves, and changed entries of the best point at the last checkpoint.
    top: f64,
    changed_then: f64,
}

/// The point of the highest loss.
struct Best {
    x_adv: Vec<f32>,
    gradient: Vec<f32>,
    loss: f64,
}

impl Run {
    /// `steps` from `start` inside the ball of radius `eps` around `x`. `is_random`: the start says nothing of the
    /// sparsity that pays. `floor`: the value of the loss that the authors' code compares that of the first step with, the zero
    /// of an empty row of their table.
    pub(super) fn new(
        norm: Norm,
        eps: f64,
        x: Vec<f32>,
        start: Vec<f32>,
        is_random: bool,
        steps: usize,
        floor: f64,
    ) -> Run {
        let share = |s: f64| ((s * steps as f64) as usize).max(1);
        let wait = if norm == Norm::L1 { share(CHECKPOINT_L1) } else { share(CHECKPOINTS[0]) };
        let values = x.len() as f64;
        let changed = if is_random { values } else { changed(&start, &x) };
        let top = if is_random { FIRST_TOP } else { changed / values / SPARSER };
        let best = Best { x_adv: start.clone(), gradient: Vec::new(), loss: f64::NEG_INFINITY };
        Run {
            norm,
            eps,
            before: start.clone(),
            x_adv: start,
            x,
            best,
            step_size: first_step(norm) * eps,
            steps,
            done: 0,
            wait,
            waited: 0,
            rises: 0,
            last_loss: f64::NEG_INFINITY,
            floor,
            best_then: f64::NEG_INFINITY,
            halved_then: true,
            top,
            changed_then: changed,
        }
    }

    /// Where it stands.
    pub(super) fn point(&self) -> &[f32] {
        &self.x_adv
    }

    /// Steps done.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// The point of the highest loss.
    pub(super) fn best(&self) -> &[f32] {
        &self.best.x_adv
    }

    /// Moves on from the loss and its gradient where it stands. `false`: that was the last point.
    pub(super) fn hear(&mut self, loss: f64, gradient: &[f32]) -> bool {
        let is_start = self.best.gradient.is_empty();
        if is_start || loss > self.best.loss {
            self.best = Best { x_adv: self.x_adv.clone(), gradient: gradient.to_vec(), loss };
        }
        let back = match is_start {
            true => {
                (self.best_then, self.last_loss) = (loss, self.floor);
                false
            }
            false => self.check(loss),
        };
        if self.done == self.steps {
            return false;
        }
        // after a return the momentum still speaks of the iterate before
        let (from, gradient) = match back {
            true => (self.best.x_adv.clone(), self.best.gradient.clone()),
            false => (std::mem::take(&mut self.x_adv), gradient.to_vec()),
        };
        let next = self.step(&from, &gradient);
        (self.before, self.x_adv) = (from, next);
        self.done += 1;
        true
    }

    /// What a step has brought. Whether the run goes back to its best point.
    fn check(&mut self, loss: f64) -> bool {
        self.rises += usize::from(loss > self.last_loss);
        self.last_loss = loss;
        self.waited += 1;
        if self.waited < self.wait {
            return false;
        }
        let back = if self.norm == Norm::L1 { self.check_l1() } else { self.check_ball() };
        (self.waited, self.rises) = (0, 0);
        back
    }

    fn check_ball(&mut self) -> bool {
        let oscillates = self.rises as f64 <= RISES * self.wait as f64;
        let halve = oscillates || !self.halved_then && self.best_then >= self.best.loss;
        (self.halved_then, self.best_then) = (halve, self.best.loss);
        if halve {
            self.step_size /= 2.0;
        }
        let share = |s: f64| ((s * self.steps as f64) as usize).max(1);
        self.wait = self.wait.saturating_sub(share(CHECKPOINTS[1])).max(share(CHECKPOINTS[2]));
        halve
    }

    fn check_l1(&mut self) -> bool {
        let changed = changed(&self.best.x_adv, &self.x);
        let sparser = changed / self.changed_then < STILL_SPARSER;
        self.top = changed / self.x.len() as f64 / SPARSER;
        self.changed_then = changed;
        let longest = first_step(self.norm) * self.eps;
        self.step_size = if sparser { longest } else { (self.step_size / SPARSER).max(SHORTEST_L1 * longest) };
        sparser
    }

    /// z = P(x + s·direction), then P(x + a(z − x) + (1 − a)(x − x_before)) with a = 1 at the first step; L1 has no momentum.
    fn step(&self, from: &[f32], gradient: &[f32]) -> Vec<f32> {
        let direction = direction(self.norm, gradient, self.top);
        let size = self.step_size as f32;
        let mut to: Vec<f32> = from.iter().zip(&direction).map(|(x, d)| x + size * d).collect();
        project(self.norm, &mut to, &self.x, self.eps);
        if self.norm == Norm::L1 {
            return to;
        }
        let a = if self.done == 0 { 1.0 } else { MOMENTUM };
        let mixed = |((to, from), before): ((&f32, &f32), &f32)| from + (to - from) * a + (from - before) * (1.0 - a);
        let mut next: Vec<f32> = to.iter().zip(from).zip(&self.before).map(mixed).collect();
        project(self.norm, &mut next, &self.x, self.eps);
        next
    }
}

/// Changed entries.
fn changed(x_adv: &[f32], x: &[f32]) -> f64 {
    x_adv.iter().zip(x).filter(|(a, b)| a != b).count() as f64
}

/// A step of length 1: the sign of a gradient, the gradient over its length, or in L1 the signs of the share `top` of its entries
/// that are largest, over their number.
fn direction(norm: Norm, gradient: &[f32], top: f64) -> Vec<f32> {
    match norm {
        Norm::Linf => gradient.iter().map(|g| sign(*g)).collect(),
        Norm::L2 => {
            // by the largest value first: squares of the smallest gradients that f32 has would be lost
            let most = length(Norm::Linf, gradient);
            if most == 0.0 {
                return vec![0.0; gradient.len()];
            }
            let unit = |g: &f32| f64::from(*g) / most;
            let long = gradient.iter().map(|g| unit(g) * unit(g)).sum::<f64>().sqrt();
            gradient.iter().map(|g| (unit(g) / long) as f32).collect()
        }
        _ => {
            let values = gradient.len();
            let place = (((1.0 - top) * values as f64).max(0.0) as usize).min(values - 1);
            let mut sizes: Vec<f32> = gradient.iter().map(|g| g.abs()).collect();
            let least = *sizes.select_nth_unstable_by(place, f32::total_cmp).1;
            let kept = |g: &f32| if g.abs() >= least { sign(*g) } else { 0.0 };
            let count = gradient.iter().filter(|g| kept(g) != 0.0).count();
            gradient.iter().map(|g| kept(g) / count.max(1) as f32).collect()
        }
    }
}

/// Into the ball of radius `eps` around `x`, and into the box: one after the other in L2, both at once in L1.
pub(super) fn project(norm: Norm, x_adv: &mut [f32], x: &[f32], eps: f64) {
    match norm {
        Norm::Linf => {
            let eps = eps as f32;
            x_adv.iter_mut().zip(x).for_each(|(a, x)| *a = a.min(x + eps).max(x - eps).clamp(0.0, 1.0));
        }
        Norm::L2 => {
            let square = |(a, x): (&f32, &f32)| (f64::from(*a) - f64::from(*x)).powi(2);
            let long = x_adv.iter().zip(x).map(square).sum::<f64>().sqrt();
            let scale = (eps / long.max(TINY)).min(1.0);
            let inside = |a: f32, x: f32| (f64::from(x) + (f64::from(a) - f64::from(x)) * scale) as f32;
            x_adv.iter_mut().zip(x).for_each(|(a, x)| *a = inside(*a, *x).clamp(0.0, 1.0));
        }
        _ => l1::project_image(x_adv, x, eps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a linear loss g·x.
    fn climb(norm: Norm, eps: f64, gradient: &[f32], steps: usize) -> Vec<f32> {
        let x = vec![0.5f32; gradient.len()];
        let mut run = Run::new(norm, eps, x.clone(), x, true, steps, 0.0);
        loop {
            let loss = run.point().iter().zip(gradient).map(|(x, g)| f64::from(x * g)).sum();
            if !run.hear(loss, gradient) {
                return run.best().to_vec();
            }
        }
    }

    #[test]
    fn a_linear_loss_is_climbed_to_the_edge() {
        let g = [3.0f32, -1.0, 0.5, 0.0];
        let value = |x: &[f32]| x.iter().zip(&g).map(|(x, g)| f64::from((x - 0.5) * g)).sum::<f64>();
        for (norm, dual) in [(Norm::Linf, 4.5), (Norm::L2, 10.25f64.sqrt()), (Norm::L1, 3.0)] {
            let gain = value(&climb(norm, 0.1, &g, 100));
            assert!((gain - 0.1 * dual).abs() < 1e-3 * dual, "{norm:?}: {gain} of {}", 0.1 * dual);
        }
    }

    #[test]
    fn a_loss_that_does_not_rise_halves_the_step_at_every_checkpoint() {
        let x = vec![0.5f32; 3];
        let mut run = Run::new(Norm::Linf, 0.1, x.clone(), x, true, 100, 0.0);
        // a first loss that no later one reaches
        run.hear(1.0, &[1.0, 1.0, 1.0]);
        let mut sizes = vec![run.step_size];
        for _ in 0..100 {
            run.hear(-1.0, &[1.0, 1.0, 1.0]);
            if *sizes.last().unwrap() != run.step_size {
                sizes.push(run.step_size);
            }
        }
        // checkpoints after 22, 19, 16, 13, 10, 7, 6 steps, at 22, 41, 57, 70, 80, 87, 93, 99
        assert_eq!(sizes.len(), 9, "{sizes:?}");
        assert!(sizes.windows(2).all(|w| w[1] == w[0] / 2.0));
        assert_eq!(run.point().len(), 3);
        assert!(!run.hear(-1.0, &[1.0; 3]) && run.done() == 100);
    }

    #[test]
    fn a_step_of_l1_moves_as_many_entries_as_the_best_point_says() {
        let g: Vec<f32> = (1..=10).map(|i| i as f32).collect();
        let moved = |top| direction(Norm::L1, &g, top).iter().filter(|d| **d != 0.0).count();
        assert_eq!((moved(0.2), moved(1.0), moved(0.0)), (2, 10, 1));
        let length: f32 = direction(Norm::L1, &g, 0.3).iter().sum();
        assert!((length - 1.0).abs() < 1e-6);
    }
}
