//! The one shared gradient loop: x ← project(x + α·steepest(∇loss)), every iterate proposed to the judge.

use super::Task;
use crate::data::Batch;
use crate::error::Result;
use crate::loss::Objective;
use crate::oracle::{Evidence, Oracle, Pass, Place, Proposal, index, select, up};
use crate::terms::{Budget, WitnessKind};
use crate::threat::{Norm, Threat};
use candle_core::Tensor;

/// Steepest ascent of the loss inside a threat set.
pub struct Descent {
    /// The loss.
    pub objective: Objective,
    /// Iterations.
    pub steps: usize,
    /// α, in units of [0,1] pixels.
    pub step_size: f64,
    /// Begin at a random point of the threat set instead of the clean image.
    pub random_start: bool,
    /// Where there is the best point of a smaller budget, begin there, in one run.
    pub warm_start: bool,
    /// Runs of the whole loop; only images that still stand take part in the next.
    pub restarts: usize,
}

impl Descent {
    /// Runs it for every row of `batch`. An image that is settled leaves at once, and a waiting one takes its place.
    pub fn run(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let mut waiting = 0..batch.len();
        let mut active = Active::default();
        loop {
            let next: Vec<usize> = waiting.by_ref().take(batch.window - active.rows.len()).collect();
            active.enter(&next, batch, self.starts(&next, 0, batch, task)?)?;
            let Some(points) = &active.points else { return Ok(()) };

            // what the net says here serves the judge of these iterates, then the step to the next
            let at_clean: Vec<bool> = (0..active.rows.len()).map(|i| self.is_clean(&active, i, batch)).collect();
            let pass = self.ask(&active, points, &at_clean, oracle)?;
            active.notes = self.notes(&active, &pass, oracle);
            let points = active.points.as_ref().expect("some are active");
            active.wanted = oracle.propose(&active.rows, &active.proposal(points, Some(pass.evidence())))?;
            active.led(pass.into_gradient());
            active.keep(oracle)?;

            let Some(points) = &mut active.points else { continue };
            points.x_adv = task.threat.step(&points.x_adv, &points.gradient, self.step_size, &points.x)?;
            active.places.iter_mut().for_each(|p| p.step += 1);
            self.end_runs(&mut active, oracle, batch, task)?;
        }
    }

    /// Why no 8-bit image can come of it: its steps together are lost where pixels are rounded to grey levels.
    pub fn caveat(&self, threat: &Threat, witness: WitnessKind) -> Option<String> {
        let levels = 255.0 * self.step_size * self.steps as f64;
        let is_lost = threat.norm == Norm::Linf && witness == WitnessKind::U8 && !self.random_start && levels < 0.5;
        (is_lost && threat.eps != Budget::ZERO).then(|| {
            format!(
                "its {} steps move no pixel by half a grey level, so that no image changes where it is rounded to 8 bits (hint: \
                 a longer `step_size`, or `witness = \"f32\"`)",
                self.steps
            )
        })
    }

    /// What the net says at all iterates.
    fn ask(&self, active: &Active, points: &Points, at_clean: &[bool], oracle: &mut Oracle) -> Result<Pass> {
        let (rows, places) = (&active.rows, &active.places);
        match self.objective {
            Objective::CrossEntropy => oracle.pass(rows, &points.x_adv, places, at_clean),
            objective => oracle.climb(rows, &points.x_adv, places, &|aim, logits, slope| {
                objective.climb(aim, logits, slope);
            }),
        }
    }

    /// Of each row that another loss was climbed, where there are too few classes for the one that is asked for.
    fn notes(&self, active: &Active, pass: &Pass, oracle: &Oracle) -> Vec<String> {
        let instead = |(row, logits): (&usize, &Vec<f32>)| {
            let climbed = self.objective.among(logits.len(), oracle.aim(*row).target.is_some());
            if climbed == self.objective { String::new() } else { "loss=margin".to_string() }
        };
        match self.objective {
            Objective::Dlr => active.rows.iter().zip(pass.logits()).map(instead).collect(),
            _ => Vec::new(),
        }
    }

    /// Proposes the last iterates of a run; where they fail, the next run begins, if there is one.
    fn end_runs(&self, active: &mut Active, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let end = |active: &Active, i: usize| active.wanted[i].min(self.steps);
        let all = 0..active.rows.len();
        let last: Vec<usize> = all.clone().filter(|i| active.places[*i].step == end(active, *i)).collect();
        if !last.is_empty() {
            let ending = active.select(&last)?;
            let points = ending.points.as_ref().expect("some end");
            let wanted = oracle.propose(&ending.rows, &ending.proposal(points, None))?;
            last.iter().zip(wanted).for_each(|(i, wanted)| active.wanted[*i] = wanted);
        }
        // beyond its end is a run whose longest mark has been settled on the way
        let over: Vec<usize> = all.filter(|i| active.places[*i].step >= end(active, *i)).collect();
        let mut again = Vec::new();
        for i in over {
            let restart = active.places[i].restart + 1;
            // one that goes on from a smaller budget has had its runs inside this one
            let runs = if self.is_warm(active.rows[i], batch) { 1 } else { self.restarts };
            if active.wanted[i] > 0 && restart < runs {
                active.places[i] = Place { restart, step: 0 };
                again.push(i);
            } else {
                active.wanted[i] = 0;
            }
        }
        for restart in 1..self.restarts {
            let which: Vec<usize> = again.iter().copied().filter(|i| active.places[*i].restart == restart).collect();
            let rows: Vec<usize> = which.iter().map(|i| active.rows[*i]).collect();
            active.restart(&which, self.starts(&rows, restart, batch, task)?)?;
        }
        active.keep(oracle)
    }

    /// Where a run begins, N×3×H×W; `None` without rows.
    fn starts(&self, rows: &[usize], restart: usize, batch: &Batch, task: &Task) -> Result<Option<Tensor>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let warm: Vec<bool> = rows.iter().map(|r| self.is_warm(*r, batch)).collect();
        let x = batch.images(rows)?;
        let cold = match self.random_start {
            true => random_points(&x, rows, batch, restart, "start", task)?,
            false => x,
        };
        Ok(Some(match warm.iter().any(|w| *w) {
            true => choose(&warm, &batch.starts(rows)?, &cold)?,
            false => cold,
        }))
    }

    fn is_warm(&self, row: usize, batch: &Batch) -> bool {
        self.warm_start && batch.is_warm(row)
    }

    /// Whether the active row stands at its clean image.
    fn is_clean(&self, active: &Active, i: usize, batch: &Batch) -> bool {
        let place = active.places[i];
        place.step == 0 && !self.random_start && !self.is_warm(active.rows[i], batch)
    }
}

/// Refuses a step that rounds away: pixels are f32, and beyond ½ 6e-8 apart. Of an L2 step of this length an image of 224
/// pixels has 2.6e-7 a value.
pub fn check_step(threat: &Threat, step_size: f64) -> std::result::Result<(), String> {
    let least = if threat.norm == Norm::Linf { 1e-6 } else { 1e-4 };
    match threat.eps != Budget::ZERO && step_size < least {
        true => Err(format!("a step of {step_size:.1e} is lost where pixels are rounded: {least} at least")),
        false => Ok(()),
    }
}

/// A random point of the threat set of each image of `x`, clipped to the box.
pub fn random_points(
    x: &Tensor,
    rows: &[usize],
    batch: &Batch,
    restart: usize,
    purpose: &str,
    task: &Task,
) -> Result<Tensor> {
    let change = |row: &usize| {
        let mut stream = task.streams.stream(batch.example(*row), restart, purpose);
        task.threat.random_change(batch.values(), &mut stream)
    };
    let change: Vec<f32> = rows.iter().flat_map(change).collect();
    let change = up(change, x.shape(), x.device())?;
    task.threat.project(&(x + change)?, x)
}

/// The images that are being worked on.
#[derive(Default)]
struct Active {
    /// Their rows in the batch.
    rows: Vec<usize>,
    /// How far each is.
    places: Vec<Place>,
    /// Iterations that a run of each is still good for; 0: it leaves.
    wanted: Vec<usize>,
    /// What to record beside each; empty: nothing.
    notes: Vec<String>,
    /// `None` when there is none.
    points: Option<Points>,
}

/// N×3×H×W each.
struct Points {
    /// Clean images.
    x: Tensor,
    x_adv: Tensor,
    /// Gradient that led to `x_adv`; 0 at a start.
    gradient: Tensor,
}

impl Points {
    fn each(&self, f: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Points> {
        Ok(Points { x: f(&self.x)?, x_adv: f(&self.x_adv)?, gradient: f(&self.gradient)? })
    }
}

impl Active {
    /// Takes up rows at their starts.
    fn enter(&mut self, rows: &[usize], batch: &Batch, starts: Option<Tensor>) -> Result<()> {
        let Some(x_adv) = starts else { return Ok(()) };
        self.rows.extend(rows);
        self.places.extend(rows.iter().map(|_| Place { restart: 0, step: 0 }));
        self.wanted.extend(rows.iter().map(|_| usize::MAX));
        let new = Points { x: batch.images(rows)?, gradient: x_adv.zeros_like()?, x_adv };
        self.points = Some(match self.points.take() {
            None => new,
            Some(old) => Points {
                x: Tensor::cat(&[old.x, new.x], 0)?,
                x_adv: Tensor::cat(&[old.x_adv, new.x_adv], 0)?,
                gradient: Tensor::cat(&[old.gradient, new.gradient], 0)?,
            },
        });
        Ok(())
    }

    /// The iterates of all rows.
    fn proposal<'a>(&'a self, points: &'a Points, evidence: Option<Evidence<'a>>) -> Proposal<'a> {
        let (images, gradient) = (&points.x_adv, Some(&points.gradient));
        Proposal { images, gradient, evidence, places: &self.places, notes: &self.notes }
    }

    /// The gradient that leads on from here.
    fn led(&mut self, gradient: Tensor) {
        self.points.as_mut().expect("some are active").gradient = gradient;
    }

    /// Some of them.
    fn select(&self, which: &[usize]) -> Result<Active> {
        let points = match (&self.points, which.len()) {
            (None, _) | (_, 0) => None,
            (Some(points), _) => {
                let index = index(which, points.x.device())?;
                Some(points.each(|t| t.index_select(&index, 0))?)
            }
        };
        let (rows, places) = which.iter().map(|i| (self.rows[*i], self.places[*i])).unzip();
        let notes = which.iter().filter_map(|i| self.notes.get(*i).cloned()).collect();
        Ok(Active { rows, places, wanted: which.iter().map(|i| self.wanted[*i]).collect(), notes, points })
    }

    /// Drops those that are wanted no more.
    fn keep(&mut self, oracle: &mut Oracle) -> Result<()> {
        let kept: Vec<usize> = (0..self.rows.len()).filter(|i| self.wanted[*i] > 0).collect();
        if kept.len() < self.rows.len() {
            oracle.leave(self.rows.len() - kept.len());
            *self = self.select(&kept)?;
        }
        Ok(())
    }

    /// Puts rows at new starts.
    fn restart(&mut self, which: &[usize], starts: Option<Tensor>) -> Result<()> {
        let (Some(starts), Some(points)) = (starts, &mut self.points) else { return Ok(()) };
        // row i of both together is row i of the old, or of the starts if i begins anew
        let mut index: Vec<usize> = (0..self.rows.len()).collect();
        which.iter().enumerate().for_each(|(k, i)| index[*i] = self.rows.len() + k);
        points.x_adv = select(&Tensor::cat(&[&points.x_adv, &starts], 0)?, &index)?;
        Ok(())
    }
}

/// Row by row of `a` where `first` says so, else of `b`.
fn choose(first: &[bool], a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let n = first.len();
    let index: Vec<usize> = (0..n).map(|i| if first[i] { i } else { n + i }).collect();
    select(&Tensor::cat(&[a, b], 0)?, &index)
}
