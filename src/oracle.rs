//! What an attack may ask of a model, and the referee it hands its proposals to. Counts passes, notices faults.

use crate::error::{Error, Result};
use crate::goal::Aim;
use crate::kernel::Engine;
use crate::loss;
use candle_core::{D, Tensor};
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Decides on proposals; the judge implements it.
pub trait Referee {
    /// Judges one proposal for each of `rows` (images N×3×H×W in [0,1]) and says for each whether the image is settled:
    /// broken, or at fault. `gradient` is the one that led here, if any.
    fn judge(&mut self, rows: &[usize], proposal: &Proposal) -> Result<Vec<bool>>;
}

/// Images an attack proposes, one for each row it still works on.
pub struct Proposal<'a> {
    /// N×3×H×W, f32.
    pub images: &'a Tensor,
    /// Gradient of the attack's loss near `images`, N×3×H×W: what rounding to 8 bits should spare.
    pub gradient: Option<&'a Tensor>,
    /// Iteration, from 1.
    pub step: usize,
    /// Restart, from 0.
    pub restart: usize,
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
    /// Whether a gradient held NaN or Inf.
    pub not_finite: bool,
}

/// Gradients at the clean images, shared by all cells that attack the same images with the same goal: every budget of
/// FGSM, and the first step of every descent without random start. One slot a batch.
#[derive(Default)]
pub struct Memo(Vec<OnceCell<Tensor>>);

impl Memo {
    /// Slots for `batches` batches.
    pub fn new(batches: usize) -> Memo {
        Memo((0..batches).map(|_| OnceCell::new()).collect())
    }

    /// The slot of a batch.
    pub fn slot(&self, batch: usize) -> Option<&OnceCell<Tensor>> {
        self.0.get(batch)
    }
}

/// A model wrapped for one batch of one cell.
pub struct Oracle<'a> {
    engine: &'a dyn Engine,
    aims: &'a [Aim],
    referee: &'a mut dyn Referee,
    at_clean: Option<&'a OnceCell<Tensor>>,
    stop: &'a AtomicBool,
    spent: Vec<Spent>,
}

impl<'a> Oracle<'a> {
    /// An oracle over the images that `aims` speaks of, row by row.
    pub fn new(
        engine: &'a dyn Engine,
        aims: &'a [Aim],
        referee: &'a mut dyn Referee,
        at_clean: Option<&'a OnceCell<Tensor>>,
        stop: &'a AtomicBool,
    ) -> Oracle<'a> {
        Oracle { engine, aims, referee, at_clean, stop, spent: vec![Spent::default(); aims.len()] }
    }

    /// Logits N×classes of one image for each of `rows`.
    pub fn scores(&mut self, rows: &[usize], images: &Tensor) -> Result<Tensor> {
        self.check_stop()?;
        rows.iter().for_each(|r| self.spent[*r].forwards += 1);
        self.engine.logits(images)
    }

    /// Gradient N×3×H×W of the loss to be maximised (cross-entropy of the label, or minus that of the target), for one
    /// image for each of `rows`.
    pub fn gradient(&mut self, rows: &[usize], images: &Tensor) -> Result<Tensor> {
        self.check_stop()?;
        let aims = self.aims;
        let seed = |row: usize, logits: &[f32], gradient: &mut [f32]| {
            loss::cross_entropy(&aims[rows[row]], logits, gradient);
        };
        let (_, gradient) = self.engine.logits_and_gradient(images, &seed)?;
        self.account(rows, &gradient)?;
        Ok(gradient)
    }

    /// [`Oracle::gradient`] at the clean images of the whole batch, computed once for all cells that share them. It
    /// counts as if it had been computed here: a cell's row does not depend on its neighbours.
    pub fn gradient_at_clean(&mut self, images: &Tensor) -> Result<Tensor> {
        let rows: Vec<usize> = (0..self.aims.len()).collect();
        let Some(slot) = self.at_clean else {
            return self.gradient(&rows, images);
        };
        if let Some(known) = slot.get() {
            let known = known.clone();
            self.account(&rows, &known)?;
            return Ok(known);
        }
        let gradient = self.gradient(&rows, images)?;
        slot.set(gradient.clone()).ok();
        Ok(gradient)
    }

    /// Hands a proposal to the referee: for each of `rows` whether work on it can end.
    pub fn propose(&mut self, rows: &[usize], proposal: &Proposal) -> Result<Vec<bool>> {
        self.check_stop()?;
        rows.iter().for_each(|r| self.spent[*r].forwards += 1);
        let mut settled = self.referee.judge(rows, proposal)?;
        settled.iter_mut().zip(rows).for_each(|(s, r)| *s |= self.spent[*r].not_finite);
        Ok(settled)
    }

    /// What each row has cost.
    pub fn spent(&self) -> &[Spent] {
        &self.spent
    }

    fn account(&mut self, rows: &[usize], gradient: &Tensor) -> Result<()> {
        let sizes = gradient.flatten_from(1)?.abs()?.sum(D::Minus1)?.to_vec1::<f32>()?;
        for (row, size) in rows.iter().zip(sizes) {
            let spent = &mut self.spent[*row];
            spent.forwards += 1;
            spent.backwards += 1;
            spent.zero_gradient |= size == 0.0;
            spent.not_finite |= !size.is_finite();
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}
