//! What an attack may ask of a model. Counts passes, notices faults.

use super::log_odds::LogOdds;
use super::protocol::{Evidence, Mark, Marks, Pass, Place, Proposal, Referee, Ruling, Spent};
use crate::error::{Error, Result};
use crate::goal::Aim;
use crate::kernel::bus::{down, down_rows};
use crate::kernel::bus::{select, up};
use crate::kernel::{Change, Engine, Loss};
use crate::kernel::{changed, lend};
use candle_core::Tensor;
use rayon::prelude::*;
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Below this the largest value of a gradient lies so near the smallest that f32 has in full, 2^-126, that values 24 bits below
/// it lose digits or are lost: a step along it may be shorter than asked.
pub const FAINT: f32 = f32::MIN_POSITIVE * (1 << 24) as f32;

/// Gradients at the clean images, shared by all cells that attack the same images with the same goal: every budget of
/// FGSM, and the first step of every descent without random start. One slot an image of the subset.
#[derive(Default)]
pub struct Memo(Vec<OnceCell<Vec<f32>>>);

impl Memo {
    /// Slots for `images` images.
    pub fn new(images: usize) -> Memo {
        Memo((0..images).map(|_| OnceCell::new()).collect())
    }
}

/// A model wrapped for one cell.
pub struct Oracle<'a> {
    engine: &'a dyn Engine,
    aims: &'a [Aim],
    referee: &'a mut dyn Referee,
    memo: &'a Memo,
    /// Slot of each row in the memo.
    slots: &'a [usize],
    stop: &'a AtomicBool,
    /// Told how many rows the attack is done with.
    done: &'a mut dyn FnMut(usize),
    marks: Marks,
    /// By mark, then by row.
    spent: Vec<Vec<Spent>>,
    /// Where the rows that the attack speaks of stand among all; `None`: they are all ([`Oracle::for_rows`]).
    narrowed: Option<Vec<usize>>,
}

impl<'a> Oracle<'a> {
    /// An oracle over the images that `aims` speaks of, row by row; `slots` are their indices in `memo`. `marks` are the
    /// cells that the attack serves, by ascending end.
    pub fn new(
        engine: &'a dyn Engine,
        aims: &'a [Aim],
        referee: &'a mut dyn Referee,
        (memo, slots): (&'a Memo, &'a [usize]),
        marks: &[Mark],
        stop: &'a AtomicBool,
        done: &'a mut dyn FnMut(usize),
    ) -> Oracle<'a> {
        let spent = vec![vec![Spent::default(); aims.len()]; marks.len()];
        let marks = Marks::new(marks, aims.len());
        Oracle { engine, aims, referee, memo, slots, stop, done, marks, spent, narrowed: None }
    }

    /// Lets `work` speak of these rows alone, as rows 0, 1, …: what a stage of an attack gets, whose batch is narrowed alike
    /// (`Batch::only`).
    ///
    /// # Errors
    /// Those of `work`.
    pub fn for_rows<T>(&mut self, rows: &[usize], work: impl FnOnce(&mut Oracle<'a>) -> Result<T>) -> Result<T> {
        let narrowed = self.among_all(rows);
        let before = self.narrowed.replace(narrowed);
        let done = work(self);
        self.narrowed = before;
        done
    }

    /// Whether work on a row can go on: it is neither broken for all cells, nor at fault, nor are its passes used up.
    pub fn stands(&self, row: usize) -> bool {
        self.marks.wanted(self.at(row)) > 0
    }

    /// Whether no change is allowed: then there is nothing to look for.
    pub fn allows_nothing(&self) -> bool {
        self.marks.allow_nothing()
    }

    /// Where a row that the attack speaks of stands among all.
    fn at(&self, row: usize) -> usize {
        self.narrowed.as_ref().map_or(row, |rows| rows[row])
    }

    fn among_all(&self, rows: &[usize]) -> Vec<usize> {
        rows.iter().map(|row| self.at(*row)).collect()
    }

    /// Logits and gradient at one image for each of `rows`, which stands at its of `places`. Where `at_clean` says that an
    /// image is the clean one, its gradient is computed once for all cells that share it, and counts as if it had been
    /// computed here: a cell's row does not depend on its neighbours.
    pub fn pass(&mut self, rows: &[usize], images: &Tensor, places: &[Place], at_clean: &[bool]) -> Result<Pass> {
        self.check_stop()?;
        let rows = &self.among_all(rows)[..];
        let memo = self.memo;
        let slot = |i: usize| memo.0.get(self.slots[rows[i]]).filter(|_| at_clean[i]);
        let known = |i: usize| slot(i).and_then(|s| s.get());
        let missing: Vec<usize> = (0..rows.len()).filter(|i| known(*i).is_none()).collect();
        let pass = if missing.len() == rows.len() {
            self.compute(rows, images)?
        } else {
            let of_missing: Vec<usize> = missing.iter().map(|i| rows[*i]).collect();
            let mut values: Vec<&[f32]> = (0..rows.len()).map(|i| known(i).map_or(&[][..], Vec::as_slice)).collect();
            let (mut logits, mut computed) = (vec![Vec::new(); rows.len()], Vec::new());
            if !missing.is_empty() {
                let pass = self.compute(&of_missing, &select(images, &missing)?)?;
                computed = down::<f32>(pass.gradient())?;
                missing.iter().zip(pass.logits).for_each(|(i, z)| logits[*i] = z);
            }
            let of_image = images.elem_count() / rows.len();
            missing.iter().zip(computed.chunks_exact(of_image)).for_each(|(i, g)| values[*i] = g);
            let gradient = up(values.concat(), images.shape(), images.device())?;
            Pass { of: images.id(), logits, gradient: Some(gradient), is_log_odds: true }
        };
        if missing.iter().any(|i| slot(*i).is_some()) {
            let gradient = down::<f32>(pass.gradient())?;
            let of_image = gradient.len() / rows.len();
            for (i, slot) in missing.iter().filter_map(|i| slot(*i).map(|s| (*i, s))) {
                slot.set(gradient[i * of_image..][..of_image].to_vec()).ok();
            }
        }
        self.account(rows, places, pass.gradient(), &[])?;
        Ok(pass)
    }

    /// [`Oracle::pass`] for another objective than the log-odds, given by its slope, at any images.
    pub fn climb(&mut self, rows: &[usize], images: &Tensor, places: &[Place], slope: &Slope) -> Result<Pass> {
        self.check_stop()?;
        let rows = &self.among_all(rows)[..];
        let pass = climb(self.engine, rows.iter().map(|r| self.aims[*r]).collect(), images, slope)?;
        self.account(rows, places, pass.gradient(), &[])?;
        Ok(pass)
    }

    /// [`Oracle::climb`] for an objective of each image's own, `slope` being told which of `rows` it is asked for.
    ///
    /// # Errors
    /// Those of the engine; Ctrl-C.
    pub fn climb_each(&mut self, rows: &[usize], images: &Tensor, places: &[Place], slope: &dyn Loss) -> Result<Pass> {
        self.check_stop()?;
        let rows = &self.among_all(rows)[..];
        let (logits, gradient) = self.engine.logits_and_gradient(images, slope)?;
        let logits = down_rows(&logits)?;
        self.account(rows, places, &gradient, &logits)?;
        Ok(Pass { of: images.id(), logits, gradient: Some(gradient), is_log_odds: false })
    }

    /// Logits alone, at one image for each of `rows`. Each costs its row a forward pass.
    ///
    /// # Errors
    /// Those of the engine; Ctrl-C.
    pub fn look(&mut self, rows: &[usize], images: &Tensor, places: &[Place]) -> Result<Pass> {
        self.check_stop()?;
        let rows = &self.among_all(rows)[..];
        let logits = down_rows(&self.engine.logits(images)?)?;
        rows.iter().zip(places).for_each(|(row, place)| self.count_forward(*row, *place));
        Ok(Pass { of: images.id(), logits, gradient: None, is_log_odds: false })
    }

    /// Counts a forward pass of a row that no pass back follows.
    fn count_forward(&mut self, row: usize, place: Place) {
        for mark in self.marks.ahead(row, place.step).collect::<Vec<_>>() {
            self.spent[mark][row].forwards += 1;
            self.marks.passes[mark][row] += 1;
        }
    }

    fn compute(&self, rows: &[usize], images: &Tensor) -> Result<Pass> {
        let loss = LogOdds { aims: rows.iter().map(|r| self.aims[*r]).collect() };
        let (logits, gradient) = self.engine.logits_and_gradient(images, &loss)?;
        Ok(Pass { of: images.id(), logits: down_rows(&logits)?, gradient: Some(gradient), is_log_odds: true })
    }

    /// Whether a gradient of a row was zero everywhere, and whether one was faint.
    pub fn noticed(&self, row: usize) -> [bool; 2] {
        let row = self.at(row);
        let any = |of: fn(&Spent) -> bool| self.spent.iter().any(|spent| of(&spent[row]));
        [any(|s| s.zero_gradient), any(|s| s.faint_gradient)]
    }

    /// Notes of a row that an attack had no slope to follow: where it looks at a part of the gradient alone, or at gradients
    /// of other images.
    pub fn met_zero_gradient(&mut self, row: usize) {
        let row = self.at(row);
        self.spent.iter_mut().for_each(|spent| spent[row].zero_gradient = true);
    }

    /// Counts the passes that a row cost before its run was stopped and taken up again, and recalls what was noticed.
    pub fn resume(&mut self, row: usize, passes: usize, [zero_gradient, faint_gradient]: [bool; 2]) {
        let row = self.at(row);
        self.marks.passes.iter_mut().for_each(|of_mark| of_mark[row] += 2 * passes as u64);
        for spent in &mut self.spent {
            spent[row].forwards += passes as u64;
            spent[row].backwards += passes as u64;
            spent[row].zero_gradient |= zero_gradient;
            spent[row].faint_gradient |= faint_gradient;
        }
    }

    /// What the attack is to do with a row.
    pub fn aim(&self, row: usize) -> Aim {
        self.aims[self.at(row)]
    }

    /// Logits of the clean images `base` of `rows`, N×3×H×W, with some pixels changed: one row a change, whose `image`
    /// is an index into `rows`. Each costs its row a forward pass. Of each row the one nearest to success is handed to
    /// the referee: the others cannot succeed before it.
    ///
    /// Changes must be to 8-bit colours (v/255), so that what is asked is what is judged.
    pub fn try_changes(
        &mut self,
        rows: &[usize],
        base: &Tensor,
        changes: &[Change],
        places: &[Place],
    ) -> Result<(Vec<Vec<f32>>, Vec<usize>)> {
        self.check_stop()?;
        let rows = &self.among_all(rows)[..];
        let logits = down_rows(&self.engine.logits_of_changes(base, changes)?)?;
        let mut nearest: Vec<Option<(f32, usize)>> = vec![None; rows.len()];
        for (k, (change, logits)) in changes.iter().zip(&logits).enumerate() {
            let (row, place) = (rows[change.image], places[change.image]);
            self.count_forward(row, place);
            let distance = self.aims[row].distance(logits);
            let best = &mut nearest[change.image];
            // NaN is handed on at once: the referee makes it an error row
            if best.is_none_or(|(d, _)| distance < d || distance.is_nan() && !d.is_nan()) {
                *best = Some((distance, k));
            }
        }
        let mut wanted: Vec<usize> = rows.iter().map(|row| self.marks.wanted(*row)).collect();
        let chosen: Vec<(usize, usize)> =
            nearest.iter().enumerate().filter_map(|(i, n)| n.map(|(_, k)| (i, k))).collect();
        if chosen.is_empty() {
            return Ok((logits, wanted));
        }
        let picked: Vec<Change> = chosen.iter().map(|(_, k)| changes[*k].clone()).collect();
        let images = changed(base, &picked)?;
        let known: Vec<Vec<f32>> = chosen.iter().map(|(_, k)| logits[*k].clone()).collect();
        let of: Vec<usize> = chosen.iter().map(|(i, _)| rows[*i]).collect();
        let places: Vec<Place> = chosen.iter().map(|(i, _)| places[*i]).collect();
        // the images are 8-bit already
        let evidence = Some(Evidence { of: images.id(), logits: &known, gradient: None });
        let proposal = Proposal { images: &images, gradient: None, evidence, places: &places, notes: &[] };
        for ((i, _), still) in chosen.iter().zip(self.hand_on(&of, &proposal)?) {
            wanted[*i] = still;
        }
        Ok((logits, wanted))
    }

    /// Hands a proposal to the referee. For each of `rows`: the iterations that a run of it is still good for; 0 where it
    /// is settled.
    ///
    /// # Errors
    /// Those of the referee; evidence of other images than those proposed.
    pub fn propose(&mut self, rows: &[usize], proposal: &Proposal) -> Result<Vec<usize>> {
        self.check_stop()?;
        self.hand_on(&self.among_all(rows), proposal)
    }

    /// Ends the minimal marks of these rows whose passes are used up: to be called where not every point is proposed.
    pub fn end_spent(&mut self, rows: &[usize]) {
        rows.iter().for_each(|row| self.end_short(*row, 1));
    }

    /// Ends the minimal marks of a row that have fewer passes left than the next question costs.
    pub fn end_short(&mut self, row: usize, cost: u64) {
        let row = self.at(row);
        for mark in 0..self.spent.len() {
            if self.marks.is_short(mark, row, cost) {
                self.marks.open[mark][row] = false;
            }
        }
    }

    fn hand_on(&mut self, rows: &[usize], proposal: &Proposal) -> Result<Vec<usize>> {
        if proposal.evidence.is_some_and(|e| e.of != proposal.images.id() || e.logits.len() != rows.len()) {
            return Err(Error::usage("an attack handed on what the net said of other images than it proposes"));
        }
        let rulings = self.referee.judge(rows, proposal, &self.marks)?;
        for (row, rulings) in rows.iter().zip(rulings) {
            for Ruling { mark, judged, settled } in rulings {
                let spent = &mut self.spent[mark][*row];
                spent.forwards += u64::from(judged);
                self.marks.open[mark][*row] = !(settled || spent.not_finite || self.marks.is_spent(mark, *row));
            }
        }
        Ok(rows.iter().map(|row| self.marks.wanted(*row)).collect())
    }

    /// Passes forward and back that all rows have cost so far, at the mark that ends last.
    pub fn passes_so_far(&self) -> (u64, u64) {
        let last = self.spent.last().map_or(&[][..], Vec::as_slice);
        last.iter().fold((0, 0), |(forwards, backwards), s| (forwards + s.forwards, backwards + s.backwards))
    }

    /// Says that the attack is done with so many rows: for progress only.
    pub fn leave(&mut self, rows: usize) {
        if rows > 0 {
            (self.done)(rows);
        }
    }

    /// What each row has cost, by mark, then by row.
    pub fn spent(&self) -> &[Vec<Spent>] {
        &self.spent
    }

    /// `logits` that went with the gradient, where an objective may be flat once the image is fooled: that hinders nothing.
    fn account(&mut self, rows: &[usize], places: &[Place], gradient: &Tensor, logits: &[Vec<f32>]) -> Result<()> {
        for (k, ((row, place), most)) in rows.iter().zip(places).zip(largest(gradient)?).enumerate() {
            let is_fooled = logits.get(k).is_some_and(|logits| self.aims[*row].is_reached(logits));
            // a run that ends here asks for no gradient any more
            let ahead: Vec<usize> =
                self.marks.ahead(*row, place.step).filter(|m| place.step < self.marks.end(*m)).collect();
            for mark in ahead {
                self.marks.passes[mark][*row] += 2;
                let spent = &mut self.spent[mark][*row];
                spent.forwards += 1;
                spent.backwards += 1;
                spent.zero_gradient |= most == 0.0 && !is_fooled;
                spent.faint_gradient |= most > 0.0 && most < FAINT;
                spent.not_finite |= !most.is_finite();
            }
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Largest absolute value of each image's gradient, N×3×H×W; not finite where any is not. A sum would overflow where no value
/// does.
fn largest(gradient: &Tensor) -> Result<Vec<f32>> {
    let of_image = gradient.elem_count() / gradient.dim(0)?;
    // without their sign, the bits of floats are in the order of the numbers, with Inf and NaN above all
    let most = |g: &[f32]| f32::from_bits(g.iter().map(|v| v.abs().to_bits()).max().unwrap_or(0));
    if gradient.device().is_cpu() {
        return lend(gradient, |g| g.par_chunks(of_image).map(most).collect());
    }
    // two numbers an image come back instead of all; the sum tells what is not finite, of which a maximum may say nothing
    let sizes = gradient.abs()?.flatten_from(1)?;
    let sum = (&sizes * 2f64.powi(-24))?.sum(1)?;
    let [most, sum] = [down::<f32>(&sizes.max(1)?)?, down::<f32>(&sum)?];
    Ok(most.into_iter().zip(sum).map(|(most, sum)| if sum.is_finite() { most } else { f32::NAN }).collect())
}

/// Gradient of an objective, to be *maximised*, with respect to the logits of an image with this aim.
pub type Slope<'a> = dyn Fn(&Aim, &[f32], &mut [f32]) + Sync + 'a;

/// Logits of images N×3×H×W, and the gradient of an objective there, one aim an image.
pub fn climb(engine: &dyn Engine, aims: Vec<Aim>, images: &Tensor, slope: &Slope) -> Result<Pass> {
    let loss = |row: usize, logits: &[f32], gradient: &mut [f32]| slope(&aims[row], logits, gradient);
    let (logits, gradient) = engine.logits_and_gradient(images, &loss)?;
    Ok(Pass { of: images.id(), logits: down_rows(&logits)?, gradient: Some(gradient), is_log_odds: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_largest_of_a_gradient_shows_what_is_lost_in_it() {
        for (values, expected) in [
            ([0.0, -0.0], Some(0.0)),
            ([1e-40, -3e-42], Some(1e-40)),
            ([3e38, -3.4e38], Some(3.4e38)),
            ([1.0, f32::NAN], None),
            ([f32::NEG_INFINITY, 1.0], None),
        ] {
            let gradient = Tensor::from_slice(&values, (1, 1, 1, 2), &Device::Cpu).unwrap();
            let most = largest(&gradient).unwrap()[0];
            assert_eq!(Some(most).filter(|m| m.is_finite()), expected, "{values:?}");
        }
    }
}
