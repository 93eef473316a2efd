//! All runs of APGD on one image.

use super::run::{Run, project};
use super::targets::{Choice, Targets};
use crate::attack::search::{Ask, Search};
use crate::attack::vector::length;
use crate::attack::{Params, STEPS, Task};
use crate::data::Batch;
use crate::goal::Aim;
use crate::loss::Objective;
use crate::oracle::{Oracle, Place};
use crate::rng::{Stream, Streams};
use crate::threat::Norm;

/// What one image's search does.
#[derive(Clone, Copy)]
pub struct Settings {
    pub steps: usize,
    pub loss: Objective,
    /// For APGD-T.
    pub targets: Option<Choice>,
    pub restarts: usize,
    pub eot: usize,
    /// Whether a run in L1 begins in larger balls.
    pub large_radii: bool,
}

impl Settings {
    pub fn of(params: &Params) -> Settings {
        let targeted = params.choice("loss") == "targeted";
        Settings {
            steps: params.count(STEPS),
            loss: if params.choice("loss") == "ce" { Objective::CrossEntropy } else { Objective::Dlr },
            targets: targeted.then(|| params.count_or("targets").map_or(Choice::Malt, Choice::Largest)),
            restarts: params.count("restarts"),
            eot: params.count("eot"),
            large_radii: params.flag("large_radii"),
        }
    }

    /// Gradients that a standing image costs.
    pub fn cost(&self) -> u64 {
        let targets = self.targets.map_or(1, Choice::most);
        ((self.steps + 1) * targets * self.restarts * self.eot) as u64
    }
}

/// One image to be attacked, with all that its search depends on.
#[derive(Clone)]
pub struct Image {
    pub norm: Norm,
    /// 3×H×W.
    pub x: Vec<f32>,
    pub aim: Aim,
    pub streams: Streams,
    pub example: usize,
}

impl Image {
    pub fn of(row: usize, oracle: &Oracle, batch: &Batch, task: &Task) -> Image {
        Image {
            norm: task.threat.norm,
            x: batch.image(row),
            aim: oracle.aim(row),
            streams: task.streams.clone(),
            example: batch.example(row),
        }
    }
}

/// Radii in L1 over the ball's, and the shares of the steps spent there; the rest in the ball itself (2021, section 3.4).
const LARGER: [(f64, f64); 2] = [(3.0, 0.3), (2.0, 0.3)];

/// All runs on one image: targets, restarts of each, and in L1 the balls of each.
pub struct Climb {
    settings: Settings,
    image: Image,
    eps: f64,
    /// Keys the random starts.
    purpose: &'static str,
    /// What is asked of the net before the first run.
    choosing: Option<Targets>,
    /// What each target's runs aim at; the goal itself where targets are not chosen.
    aims: Vec<Aim>,
    /// Runs begun, over all targets, restarts and balls.
    target: usize,
    restart: usize,
    ball: usize,
    run: Run,
    /// Gradients at the present point, and their sum.
    heard: usize,
    sum: Vec<f32>,
    /// Whether there are too few classes for the loss.
    falls_back: bool,
}

impl Climb {
    pub fn new(settings: Settings, image: Image, eps: f64, purpose: &'static str) -> Climb {
        let choosing = settings.targets.map(|choice| Targets::new(choice, image.aim.label));
        let aims = if choosing.is_some() { Vec::new() } else { vec![image.aim] };
        // stands in for the first run, which the rest decides
        let run = Run::new(image.norm, eps, image.x.clone(), image.x.clone(), true, 1, 0.0);
        let mut climb = Climb {
            settings,
            image,
            eps,
            purpose,
            choosing,
            aims,
            target: 0,
            restart: 0,
            ball: 0,
            run,
            heard: 0,
            sum: Vec::new(),
            falls_back: false,
        };
        climb.run = climb.first_ball();
        climb
    }

    /// Whether a run goes through larger balls first.
    fn shrinks(&self) -> bool {
        self.image.norm == Norm::L1 && self.settings.large_radii
    }

    /// Radius and steps of the present ball.
    fn ball(&self) -> (f64, usize) {
        let steps = self.settings.steps;
        let share = |s: f64| (s * steps as f64).ceil() as usize;
        if !self.shrinks() {
            return (self.eps, steps);
        }
        let spent: usize = LARGER.iter().map(|(_, s)| share(*s)).sum();
        LARGER.get(self.ball).map_or((self.eps, steps.saturating_sub(spent)), |(r, s)| (r * self.eps, share(*s)))
    }

    /// A run from a random start.
    fn first_ball(&self) -> Run {
        let (eps, steps) = self.ball();
        let Image { norm, x, streams, example, .. } = &self.image;
        let run = self.target * self.settings.restarts + self.restart;
        let start = random_start(*norm, x, eps, &mut streams.stream(*example, run, self.purpose));
        Run::new(*norm, eps, x.clone(), start, !self.shrinks(), steps, self.floor())
    }

    /// The next ball, from the best point of the one before.
    fn next_ball(&mut self) {
        self.ball += 1;
        let (eps, steps) = self.ball();
        let Image { norm, x, .. } = &self.image;
        let mut start = self.run.best().to_vec();
        project(*norm, &mut start, x, eps);
        self.run = Run::new(*norm, eps, x.clone(), start, false, steps, self.floor());
    }

    /// The authors' code compares the loss after the first step with the zero of a row of their table that is empty still: a
    /// cross-entropy always rises there.
    fn floor(&self) -> f64 {
        if self.settings.loss == Objective::CrossEntropy { f64::NEG_INFINITY } else { 0.0 }
    }

    /// The next run, if there is one.
    fn next_run(&mut self) -> bool {
        if self.shrinks() && self.ball < LARGER.len() {
            self.next_ball();
            return true;
        }
        (self.ball, self.restart) = (0, self.restart + 1);
        if self.restart == self.settings.restarts {
            (self.restart, self.target) = (0, self.target + 1);
        }
        if self.target == self.aims.len() {
            return false;
        }
        self.run = self.first_ball();
        true
    }

    /// Chooses the targets; `false`: there is none.
    fn choose(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        let Some(choosing) = &mut self.choosing else { return true };
        if let Some(targets) = choosing.hear(logits, gradient, self.image.norm) {
            let label = self.image.aim.label;
            self.aims = targets.into_iter().map(|target| Aim { label, target: Some(target) }).collect();
            self.choosing = None;
            return !self.aims.is_empty();
        }
        true
    }
}

impl Search for Climb {
    fn point(&self) -> &[f32] {
        if self.choosing.is_some() { &self.image.x } else { self.run.point() }
    }

    fn asks(&self) -> Ask {
        match &self.choosing {
            Some(choosing) => choosing.asks(),
            None if self.settings.loss == Objective::CrossEntropy => Ask::LogOdds,
            None => Ask::Slope,
        }
    }

    fn slope(&self, logits: &[f32], slope: &mut [f32]) {
        match &self.choosing {
            Some(choosing) => choosing.slope(slope),
            None => drop(self.settings.loss.climb(&self.aims[self.target], logits, slope)),
        }
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        if self.choosing.is_some() {
            return self.choose(logits, gradient);
        }
        let aim = self.aims[self.target];
        self.falls_back = self.settings.loss.among(logits.len(), aim.target.is_some()) != self.settings.loss;
        let loss = self.settings.loss.climb(&aim, logits, &mut vec![0.0; logits.len()]);
        if self.settings.eot == 1 {
            return self.run.hear(loss, gradient) || self.next_run();
        }
        match self.heard {
            0 => self.sum = gradient.to_vec(),
            _ => self.sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g),
        }
        self.heard += 1;
        if self.heard < self.settings.eot {
            return true;
        }
        self.heard = 0;
        let mean: Vec<f32> = self.sum.iter().map(|s| s / self.settings.eot as f32).collect();
        self.run.hear(loss, &mean) || self.next_run()
    }

    fn place(&self) -> Place {
        Place { restart: self.target * self.settings.restarts + self.restart, step: self.run.done() + 1 }
    }

    /// Not while it looks at the clean image, nor in a larger ball.
    fn proposes(&self) -> bool {
        self.choosing.is_none() && !(self.shrinks() && self.ball < LARGER.len())
    }

    fn note(&self) -> String {
        let target = self.settings.targets.map(|_| format!("toward={}", self.aims[self.target].target.unwrap_or(0)));
        // fewer classes than were asked for, or than the loss needs
        let asked = self.settings.targets.map_or(0, Choice::most);
        let fewer = (asked > self.aims.len()).then(|| format!("targets={}", self.aims.len()));
        let fallback = self.falls_back.then(|| "loss=margin".to_string());
        target.into_iter().chain(fewer).chain(fallback).collect::<Vec<_>>().join(" ")
    }
}

/// Where a run begins: in Linf uniform, scaled so that the largest change is eps; in L2 of length eps in a normal direction; in
/// L1 a standard normal change, projected; then in the box.
fn random_start(norm: Norm, x: &[f32], eps: f64, stream: &mut Stream) -> Vec<f32> {
    let change: Vec<f32> = match norm {
        Norm::Linf => x.iter().map(|_| 2.0 * stream.uniform() - 1.0).collect(),
        _ => x.iter().map(|_| stream.normal() as f32).collect(),
    };
    let scale = if norm == Norm::L1 { 1.0 } else { eps / length(norm, &change).max(f64::MIN_POSITIVE) };
    let mut start: Vec<f32> = x.iter().zip(&change).map(|(x, d)| x + (f64::from(*d) * scale) as f32).collect();
    project(norm, &mut start, x, eps);
    start
}
