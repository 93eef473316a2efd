//! What passes between an attack, the oracle and the referee: proposals with their evidence, marks, rulings.

use crate::error::{Error, Result};
use crate::kernel::bus::select;
use crate::terms::{Budget, Threat};
use candle_core::{Tensor, TensorId};

/// Decides on proposals; the judge implements it.
pub trait Referee {
    /// Rules on one proposal for each of `rows`: a ruling for each of the row's marks that `marks` has open there.
    fn judge(&mut self, rows: &[usize], proposal: &Proposal, marks: &Marks) -> Result<Vec<Vec<Ruling>>>;
}

/// What the referee did with a proposal, for one mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// Index of the mark.
    pub mark: usize,
    /// Whether it cost a forward pass.
    pub judged: bool,
    /// Whether work on the image can end: it is broken, or at fault.
    pub settled: bool,
}

/// One cell that a run serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Iterations of a run that ends here; `usize::MAX` for an attack that does not count them.
    pub end: usize,
    /// The images that count here.
    pub threat: Threat,
}

/// The cells that one run serves. A run of 40 iterations begins as one of 10 does, so it passes the mark of a cell with 10 on
/// its way; a run that looks for the nearest image passes through the balls of many budgets. Each cell gets the rows, and the
/// costs, that it would have had alone.
pub struct Marks {
    /// By ascending end.
    marks: Vec<Mark>,
    /// By mark, then by row.
    pub(super) open: Vec<Vec<bool>>,
    /// Passes that the attack itself has asked for, by mark, then by row.
    pub(super) passes: Vec<Vec<u64>>,
}

impl Marks {
    pub(super) fn new(marks: &[Mark], rows: usize) -> Marks {
        let (open, passes) = (vec![vec![true; rows]; marks.len()], vec![vec![0; rows]; marks.len()]);
        Marks { marks: marks.to_vec(), open, passes }
    }

    /// Iterations of a run that ends at this mark.
    pub fn end(&self, mark: usize) -> usize {
        self.marks[mark].end
    }

    /// The images that count at this mark.
    pub fn threat(&self, mark: usize) -> Threat {
        self.marks[mark].threat
    }

    /// Whether no mark allows any change.
    pub(super) fn allow_nothing(&self) -> bool {
        self.marks.iter().all(|mark| mark.threat.eps == Budget::ZERO)
    }

    /// All threats, each once.
    pub fn threats(&self) -> Vec<Threat> {
        let mut threats: Vec<Threat> = Vec::new();
        for mark in &self.marks {
            if !threats.contains(&mark.threat) {
                threats.push(mark.threat);
            }
        }
        threats
    }

    /// Passes that the attack has asked for on the row, forward and back each counted as one.
    pub fn passes(&self, mark: usize, row: usize) -> u64 {
        self.passes[mark][row]
    }

    /// Whether so many iterations are at most half of a run that ends at this mark. Without a count there is no half.
    pub fn is_first_half(&self, mark: usize, step: usize) -> bool {
        self.end(mark) != usize::MAX && step <= self.end(mark) / 2
    }

    /// Marks for which the row is not settled and which `step` iterations have not passed.
    pub fn ahead(&self, row: usize, step: usize) -> impl Iterator<Item = usize> {
        (0..self.marks.len()).filter(move |m| self.open[*m][row] && step <= self.end(*m))
    }

    /// Iterations that a run of this row is still good for; 0: it is settled.
    pub(super) fn wanted(&self, row: usize) -> usize {
        (0..self.marks.len()).filter(|m| self.open[*m][row]).map(|m| self.end(m)).max().unwrap_or(0)
    }

    /// Whether the passes of a minimal threat are used up.
    pub(super) fn is_spent(&self, mark: usize, row: usize) -> bool {
        self.is_short(mark, row, 1)
    }

    /// Whether a minimal threat has fewer than so many passes left.
    pub(super) fn is_short(&self, mark: usize, row: usize, cost: u64) -> bool {
        matches!(self.threat(mark).eps, Budget::Minimal { passes } if self.passes[mark][row] + cost > passes)
    }
}

/// Images an attack proposes, one for each row it still works on.
pub struct Proposal<'a> {
    /// N×3×H×W, f32 in [0,1].
    pub images: &'a Tensor,
    /// Gradient of the attack's loss near `images`, N×3×H×W: what rounding to 8 bits should spare.
    pub gradient: Option<&'a Tensor>,
    /// What the net says at `images` themselves, if the attack has asked: it may spare the referee a forward pass.
    pub evidence: Option<Evidence<'a>>,
    /// How far each row is.
    pub places: &'a [Place],
    /// What to record of each image beside the image, such as where a patch lies; empty: nothing.
    pub notes: &'a [String],
}

/// What the net says at some images, from one of the oracle's own passes: an attack can hand it on, not make it up.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// Of the images.
    pub(super) of: TensorId,
    pub(super) logits: &'a [Vec<f32>],
    pub(super) gradient: Option<&'a Tensor>,
}

impl<'a> Evidence<'a> {
    /// One row an image; empty where its gradient was remembered.
    pub fn logits(&self) -> &'a [Vec<f32>] {
        self.logits
    }

    /// Of the log-odds that [`Oracle::pass`] climbs, N×3×H×W, whose length says how far rounding can move a margin.
    /// `None`: nothing is known of that, so only an image that is 8-bit already keeps its logits when it is rounded.
    pub fn gradient(&self) -> Option<&'a Tensor> {
        self.gradient
    }
}

/// How far a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Restart, from 0.
    pub restart: usize,
    /// Iterations done. 0: still where it started, which is no proposal.
    pub step: usize,
}

/// A pass forward, and back where a gradient was asked for. It cannot be changed, so that its evidence is what the net said.
pub struct Pass {
    /// Of the images that were asked about.
    pub(super) of: TensorId,
    pub(super) logits: Vec<Vec<f32>>,
    /// `None`: forward alone.
    pub(super) gradient: Option<Tensor>,
    /// Whether the loss is the log-odds of [`Oracle::pass`].
    pub(super) is_log_odds: bool,
}

impl Pass {
    /// One row of logits an image; empty where the gradient was remembered.
    pub fn logits(&self) -> &[Vec<f32>] {
        &self.logits
    }

    /// Gradient of the loss to be maximised, N×3×H×W: the log-odds against the label, or for the target
    /// ([`loss::log_odds`]); of [`Oracle::climb`] and [`Oracle::climb_each`], whatever was asked for.
    ///
    /// # Panics
    /// After [`Oracle::look`], which asks for none.
    pub fn gradient(&self) -> &Tensor {
        self.gradient.as_ref().expect("a pass back was asked for")
    }

    /// [`Pass::gradient`], where one was asked for.
    pub fn gradient_if_any(&self) -> Option<&Tensor> {
        self.gradient.as_ref()
    }

    /// The gradient alone.
    ///
    /// # Panics
    /// As [`Pass::gradient`].
    pub fn into_gradient(self) -> Tensor {
        self.gradient.expect("a pass back was asked for")
    }

    /// Some of the images that were asked about, and what the net said of them.
    ///
    /// # Errors
    /// Those of the tensor library; other images than those asked about.
    pub fn only(&self, images: &Tensor, which: &[usize]) -> Result<(Tensor, Pass)> {
        if images.id() != self.of {
            return Err(Error::usage("what the net said was of other images"));
        }
        let images = select(images, which)?;
        let gradient = self.gradient.as_ref().map(|g| select(g, which)).transpose()?;
        let logits = which.iter().map(|i| self.logits[*i].clone()).collect();
        let pass = Pass { of: images.id(), logits, gradient, is_log_odds: self.is_log_odds };
        Ok((images, pass))
    }

    /// For a proposal of the same images, by the same tensor.
    pub fn evidence(&self) -> Evidence<'_> {
        let gradient = self.gradient.as_ref().filter(|_| self.is_log_odds);
        Evidence { of: self.of, logits: &self.logits, gradient }
    }
}

/// What one image has cost so far, and what was noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Forward passes.
    pub forwards: u64,
    /// Input gradients.
    pub backwards: u64,
    /// Whether a gradient was zero everywhere.
    pub zero_gradient: bool,
    /// Whether a gradient was not, but so small that some of its values may have been lost ([`FAINT`]).
    pub faint_gradient: bool,
    /// Whether a gradient held NaN or Inf.
    pub not_finite: bool,
}
