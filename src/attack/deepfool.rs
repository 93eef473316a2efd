//! DeepFool (Moosavi-Dezfooli et al. 2016): a step to the nearest of the boundaries to other classes, as if the net were
//! linear, until the net is fooled. SuperDeepFool (Abdollahpoorrostam et al. 2024) projects what DeepFool finds onto the normal
//! of the boundary there, goes on from that point, and at last bisects the way from the clean image.

use super::nearest::{Nearest, Start};
use super::search::{Ask, Search};
use super::vector::{difference, dual_length, length, sign};
use super::{Entry, Kind, Param, STEPS};
use crate::goal::Aim;
use crate::oracle::Place;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "deepfool",
    revision: 3,
    summary: "steps to the nearest boundary of the linearised net (Moosavi-Dezfooli et al. 2016)",
    source: "Moosavi-Dezfooli et al. 2016, arXiv:1511.04599; SuperDeepFool: Abdollahpoorrostam et al. 2024, arXiv:2303.12481",
    norms: &[Norm::Linf, Norm::L2],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "50", summary: "iterations of a run (foolbox: 50)" },
        Param {
            name: "variant",
            kind: Kind::Choice(&["foolbox", "super"]),
            default: "foolbox",
            summary: "one run, as foolbox has it, or SuperDeepFool, runs from better points (Abdollahpoorrostam 2024)",
        },
    ],
    build: |params, threat| {
        let (steps, is_super) = (params.count(STEPS), params.choice("variant") == "super");
        if is_super && threat.norm != Norm::L2 {
            return Err("`variant = \"super\"` projects in L2 alone (hint: threat `l2`)".into());
        }
        let begin = move |start: Start| -> Box<dyn Search> { Box::new(DeepFool::begin(start, steps, is_super)) };
        let passes = 2 * (CLASSES * steps) as u64 + 1;
        Ok(Box::new(Nearest {
            no_target: Some("goes for the nearest class, whichever it is (hint: `fmn` goes for a target)"),
            ..Nearest::new(passes, steps + 1, Box::new(begin))
        }))
    },
};

/// Other classes that are looked at: the most likely (foolbox: 10 with the label, as the authors).
const CLASSES: usize = 9;

/// By how much more than to the boundary the change goes, and what a step is longer than to it, in pixels (the authors' code).
const OVERSHOOT: f64 = 0.02;
const LONGER: f64 = 1e-4;

/// Halvings of the way from the clean image at the end (adversarial-library: 10; the authors' code: as many as are asked for).
const HALVINGS: usize = 10;

/// What the search is about.
enum Phase {
    /// DeepFool from `from`: a gradient for each class, then a step.
    Fool,
    /// The normal of the boundary to this class, where DeepFool ended.
    Normal(usize),
    /// Halves the way from the clean image to `from`, which is fooled: the shares that are not, and that are.
    Halve { low: f64, high: f64, left: usize },
}

struct DeepFool {
    steps: usize,
    is_super: bool,
    norm: Norm,
    aim: Aim,
    x: Vec<f32>,
    /// Where this run of DeepFool began.
    from: Vec<f32>,
    point: Vec<f32>,
    /// Sum of the steps of this run.
    total: Vec<f64>,
    /// Other classes, by falling clean logits.
    classes: Vec<usize>,
    phase: Phase,
    /// Index of the class whose gradient is asked for.
    asked: usize,
    /// Of the classes asked about at this point the nearest: distance, class, gradient.
    nearest: Option<(f64, usize, Vec<f32>)>,
    /// Class of the last step.
    last: usize,
    /// Steps of this run, runs, and points so far.
    step: usize,
    run: usize,
    points: usize,
}

impl DeepFool {
    fn begin(Start { x, aim, norm, .. }: Start, steps: usize, is_super: bool) -> DeepFool {
        DeepFool {
            steps,
            is_super,
            norm,
            aim,
            from: x.clone(),
            point: x.clone(),
            total: vec![0.0; x.len()],
            x,
            classes: Vec::new(),
            phase: Phase::Fool,
            asked: 0,
            nearest: None,
            last: 0,
            step: 0,
            run: 0,
            points: 0,
        }
    }

    /// The class whose gradient is asked for.
    fn class(&self, logits: &[f32]) -> usize {
        match self.phase {
            Phase::Normal(class) => class,
            _ if self.classes.is_empty() => likely(logits, self.aim.label)[0],
            _ => self.classes[self.asked],
        }
    }

    /// Hears of one class; after the last of them a step.
    fn fool(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        if self.classes.is_empty() {
            self.classes = likely(logits, self.aim.label);
        }
        if self.asked == 0 {
            let is_fooled = self.aim.is_reached(logits);
            if is_fooled && self.is_super && self.step == 0 {
                self.from = self.point.clone();
                return self.halve(0.0, 1.0, HALVINGS);
            }
            if is_fooled || self.step == self.steps {
                let class = if is_fooled { likely(logits, self.aim.label)[0] } else { self.last };
                self.phase = Phase::Normal(class);
                return self.is_super;
            }
        }
        let class = self.classes[self.asked];
        let gap = f64::from(logits[class]) - f64::from(logits[self.aim.label]);
        let distance = gap.abs() / dual_length(self.norm, gradient);
        if distance.is_finite() && self.nearest.as_ref().is_none_or(|(least, ..)| distance < *least) {
            self.nearest = Some((distance, class, gradient.to_vec()));
        }
        self.asked += 1;
        self.asked < self.classes.len() || self.cross()
    }

    /// Steps to the nearest boundary; `false`: the net is flat here.
    fn cross(&mut self) -> bool {
        let Some((distance, class, gradient)) = self.nearest.take() else { return false };
        let by = distance + LONGER;
        let along = match self.norm {
            Norm::Linf => by,
            _ => by / length(Norm::L2, &gradient),
        };
        for (total, g) in self.total.iter_mut().zip(&gradient) {
            *total += along * f64::from(if self.norm == Norm::Linf { sign(*g) } else { *g });
        }
        let at = |(from, total): (&f32, &f64)| (f64::from(*from) + (1.0 + OVERSHOOT) * total) as f32;
        let point = self.from.iter().zip(&self.total).map(at).collect();
        self.last = class;
        self.step += 1;
        self.stand(point)
    }

    /// x ← x + ⟨x̃ − x₀, w⟩·w, with w the unit normal of the boundary at x̃: the next run begins there.
    fn project(&mut self, gradient: &[f32]) -> bool {
        let steep = length(Norm::L2, gradient);
        if steep == 0.0 {
            return false;
        }
        let change = difference(&self.point, &self.x);
        let reach = change.iter().zip(gradient).map(|(d, g)| f64::from(*d) * f64::from(*g)).sum::<f64>() / steep;
        let at = |(from, g): (&f32, &f32)| (f64::from(*from) + reach * f64::from(*g) / steep) as f32;
        let point: Vec<f32> = self.from.iter().zip(gradient).map(at).collect();
        self.phase = Phase::Fool;
        (self.step, self.run) = (0, self.run + 1);
        self.total.fill(0.0);
        self.stand(point);
        self.from.copy_from_slice(&self.point);
        self.run < self.steps
    }

    fn halve(&mut self, low: f64, high: f64, left: usize) -> bool {
        self.phase = Phase::Halve { low, high, left };
        let share = 0.5 * (low + high);
        let at = |(x, far): (&f32, &f32)| (f64::from(*x) + share * f64::from(far - x)) as f32;
        let point = self.x.iter().zip(&self.from).map(at).collect();
        left > 0 && self.stand(point)
    }

    /// Stands at a point, clipped to the box.
    fn stand(&mut self, mut point: Vec<f32>) -> bool {
        point.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
        self.point = point;
        self.asked = 0;
        self.points += 1;
        true
    }
}

impl Search for DeepFool {
    fn point(&self) -> &[f32] {
        &self.point
    }

    fn asks(&self) -> Ask {
        match self.phase {
            Phase::Fool if self.step == self.steps => Ask::Logits,
            Phase::Halve { .. } => Ask::Logits,
            _ => Ask::Slope,
        }
    }

    fn slope(&self, logits: &[f32], slope: &mut [f32]) {
        slope.fill(0.0);
        slope[self.class(logits)] = 1.0;
        slope[self.aim.label] = -1.0;
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        match self.phase {
            Phase::Fool => self.fool(logits, gradient),
            Phase::Normal(_) => self.project(gradient),
            Phase::Halve { low, high, left } => {
                let middle = 0.5 * (low + high);
                let (low, high) = if self.aim.is_reached(logits) { (low, middle) } else { (middle, high) };
                self.halve(low, high, left - 1)
            }
        }
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.points }
    }

    /// Once at each point.
    fn proposes(&self) -> bool {
        self.asked == 0 && !matches!(self.phase, Phase::Normal(_))
    }
}

/// The other classes that are looked at, by falling logits.
fn likely(logits: &[f32], label: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..logits.len()).filter(|j| *j != label).collect();
    others.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    others.truncate(CLASSES);
    others
}
