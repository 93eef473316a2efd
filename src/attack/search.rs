//! Attacks that follow each image apart, as its paper writes them: a [`Search`] stands at a point, hears what the net says
//! there, and moves on. [`run`] asks for many of them at a time and fills the place of each that ends, so what a search does
//! depends on its own image alone, and batches stay full.

use crate::data::Batch;
use crate::error::Result;
use crate::goal::Aim;
use crate::loss;
use crate::oracle::{Oracle, Pass, Place, Proposal, up};
use candle_core::Tensor;
use rayon::prelude::*;

/// The search of one image.
pub trait Search: Send + Sync {
    /// Where it stands, 3×H×W in [0,1]: what the net is asked about next, and what is proposed.
    fn point(&self) -> &[f32];

    /// What it asks of the net there.
    fn asks(&self) -> Ask {
        Ask::LogOdds
    }

    /// For [`Ask::Slope`]: writes the gradient, with respect to the logits, of what it climbs.
    fn slope(&self, _logits: &[f32], _slope: &mut [f32]) {
        unreachable!("a search that asks for a slope has one")
    }

    /// Moves on, from the logits and the gradient at its point (empty after [`Ask::Logits`]). `false`: it is at its end.
    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool;

    /// How far it is. Steps count from 1: what stands at 0 is no proposal.
    fn place(&self) -> Place;

    /// Whether its point is proposed: it may ask about others.
    fn proposes(&self) -> bool {
        true
    }

    /// What to record beside the image.
    fn note(&self) -> String {
        String::new()
    }
}

/// What a search asks of the net at its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Logits alone.
    Logits,
    /// And the gradient of the log-odds, whose direction is the cross-entropy's ([`loss::log_odds`]).
    LogOdds,
    /// And the gradient of the margin ([`loss::margin`]).
    Margin,
    /// And the gradient of an objective of its own ([`Search::slope`]).
    Slope,
}

impl Ask {
    /// What it costs, forward and back each counted as one.
    fn passes(self) -> u64 {
        if self == Ask::Logits { 1 } else { 2 }
    }
}

/// An image, and its search.
struct Active<'s> {
    row: usize,
    aim: Aim,
    search: Box<dyn Search + 's>,
    /// How near to success it came without reaching it.
    closest: f32,
}

impl Active<'_> {
    /// Whether the judge is to see the point of these logits: where it is fooled, or comes closer than any before. What stands
    /// more firmly than others could not be the witness, so its rounding and its judgement are spared.
    fn is_proposed(&mut self, logits: &[f32]) -> bool {
        if !self.search.proposes() {
            return false;
        }
        let distance = self.aim.distance(logits);
        if distance > 0.0 && distance >= self.closest {
            return false;
        }
        // NaN is proposed: the judge makes it an error row
        if distance > 0.0 {
            self.closest = distance;
        }
        true
    }
}

/// Begins the search of a row.
pub type Begin<'b, 's> = dyn FnMut(usize, &Oracle) -> Result<Box<dyn Search + 's>> + 'b;

/// Runs the search of each of `rows` to its end, or until the image is settled.
///
/// # Errors
/// Those of the engine and the judge; Ctrl-C.
pub fn run(rows: &[usize], oracle: &mut Oracle, batch: &Batch, begin: &mut Begin) -> Result<()> {
    follow(rows, oracle, batch, begin, |_, _| true)
}

/// [`run`] as one stage of several: what stands after it is not done with.
///
/// # Errors
/// Those of [`run`].
pub fn run_stage(rows: &[usize], oracle: &mut Oracle, batch: &Batch, begin: &mut Begin) -> Result<()> {
    follow(rows, oracle, batch, begin, |oracle, row| !oracle.stands(row))
}

/// `is_done` says whether a row whose search has ended is done with.
fn follow(
    rows: &[usize],
    oracle: &mut Oracle,
    batch: &Batch,
    begin: &mut Begin,
    is_done: impl Fn(&Oracle, usize) -> bool,
) -> Result<()> {
    if oracle.allows_nothing() {
        oracle.leave(rows.iter().filter(|row| is_done(oracle, **row)).count());
        return Ok(());
    }
    let mut waiting = rows.iter().copied();
    let mut active: Vec<Active> = Vec::new();
    loop {
        for row in waiting.by_ref().take(batch.window - active.len()) {
            active.push(Active { row, aim: oracle.aim(row), search: begin(row, oracle)?, closest: f32::INFINITY });
        }
        if active.is_empty() {
            return Ok(());
        }
        // the others wait until they are more: a few images at a time use the weights badly
        let (asking, looking): (Vec<Active>, Vec<Active>) =
            active.into_iter().partition(|a| a.search.asks() != Ask::Logits);
        let (more, fewer) = if asking.len() >= looking.len() { (asking, looking) } else { (looking, asking) };
        let (still, ended) = move_on(more, oracle, batch)?;
        active = fewer;
        active.extend(still);
        oracle.leave(ended.into_iter().filter(|row| is_done(oracle, *row)).count());
    }
}

/// Asks about the points of all, proposes them, and lets each move on. Those that go on, and the rows of those that do not.
fn move_on<'s>(
    mut active: Vec<Active<'s>>,
    oracle: &mut Oracle,
    batch: &Batch,
) -> Result<(Vec<Active<'s>>, Vec<usize>)> {
    let rows: Vec<usize> = active.iter().map(|a| a.row).collect();
    let places: Vec<Place> = active.iter().map(|a| a.search.place()).collect();
    let points: Vec<&[f32]> = active.iter().map(|a| a.search.point()).collect();
    let [height, width] = batch.size();
    let images = up(points.concat(), (rows.len(), 3, height, width), batch.device())?;
    let pass = ask(&active, &rows, &images, &places, oracle)?;
    propose(&mut active, &rows, &images, &places, &pass, oracle)?;
    oracle.end_spent(&rows);
    let values = batch.values();
    let gradients = match active[0].search.asks() {
        Ask::Logits => Vec::new(),
        _ => pass.gradient().flatten_all()?.to_vec1::<f32>()?,
    };
    let goes_on = |(k, a): (usize, &mut Active)| {
        let gradient = gradients.get(k * values..(k + 1) * values).unwrap_or_default();
        a.search.hear(&pass.logits()[k], gradient)
    };
    let goes_on: Vec<bool> = active.par_iter_mut().enumerate().map(goes_on).collect();
    let mut ended = Vec::new();
    let mut goes_on = goes_on.into_iter();
    active.retain(|a| {
        let goes_on = goes_on.next().expect("one each");
        if goes_on {
            oracle.end_short(a.row, a.search.asks().passes());
        }
        let stays = goes_on && oracle.stands(a.row);
        ended.extend((!stays).then_some(a.row));
        stays
    });
    Ok((active, ended))
}

fn ask(active: &[Active], rows: &[usize], images: &Tensor, places: &[Place], oracle: &mut Oracle) -> Result<Pass> {
    if active[0].search.asks() == Ask::Logits {
        return oracle.look(rows, images, places);
    }
    if active.iter().all(|a| a.search.asks() == Ask::LogOdds) {
        return oracle.pass(rows, images, places, &vec![false; rows.len()]);
    }
    let slope = |k: usize, logits: &[f32], slope: &mut [f32]| {
        let Active { aim, search, .. } = &active[k];
        match search.asks() {
            Ask::Slope => search.slope(logits, slope),
            Ask::Margin => drop(loss::margin(aim, logits, slope)),
            Ask::LogOdds | Ask::Logits => drop(loss::log_odds(aim, logits, slope)),
        }
    };
    oracle.climb_each(rows, images, places, &slope)
}

fn propose(
    active: &mut [Active],
    rows: &[usize],
    images: &Tensor,
    places: &[Place],
    pass: &Pass,
    oracle: &mut Oracle,
) -> Result<()> {
    let is_proposed = |(k, a): (usize, &mut Active)| a.is_proposed(&pass.logits()[k]).then_some(k);
    let which: Vec<usize> = active.iter_mut().enumerate().filter_map(is_proposed).collect();
    let notes: Vec<String> = which.iter().map(|k| active[*k].search.note()).collect();
    if which.len() == active.len() {
        let (gradient, evidence) = (pass.gradient_if_any(), Some(pass.evidence()));
        let proposal = Proposal { images, gradient, evidence, places, notes: &notes };
        oracle.propose(rows, &proposal)?;
    } else if !which.is_empty() {
        let (images, pass) = pass.only(images, &which)?;
        let places: Vec<Place> = which.iter().map(|k| places[*k]).collect();
        let rows: Vec<usize> = which.iter().map(|k| rows[*k]).collect();
        let (gradient, evidence) = (pass.gradient_if_any(), Some(pass.evidence()));
        oracle.propose(&rows, &Proposal { images: &images, gradient, evidence, places: &places, notes: &notes })?;
    }
    Ok(())
}
