//! Rates and intervals of one cell (`docs/methodology.md` says what each means and why).

use super::least::{Least, least};
use super::paired::{Verdict, Verdicts};
use crate::error::Result;
use crate::record::{
    CARRIED, Cell, CellId, Outcome, PlanRecord, Provenance, SHORT_STEP, SPLIT_VOTE, StageRecord, StoredCell,
    ZERO_GRADIENT,
};
use crate::statistics::{median, wilson};
use crate::store::Store;
use crate::terms::Norm;
use std::borrow::Cow;

/// A cell in one row.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its description.
    pub cell: Cell,
    /// Its id.
    pub id: CellId,
    /// `ok`, `failed` or `missing`.
    pub status: &'static str,
    /// Why it failed.
    pub error: Option<String>,
    /// Number of images, those the goal drops left out; `None` where nothing is stored.
    pub n: Option<usize>,
    /// Rates; `None` unless `ok`.
    pub rates: Option<Rates>,
    /// What came out for each image, by number; empty unless `ok`.
    pub verdicts: Verdicts,
    /// What hints at an attack that failed.
    pub indicators: Indicators,
    /// What tables and charts need of the images; empty unless `ok`.
    pub tally: Tally,
    /// The stages of an attack that runs others one after the other. How long each took is no result.
    pub stages: Vec<StageRecord>,
    /// A description names the weights of every model that decides the cell.
    pub weights_pinned: bool,
    /// The same of the files of all data that decides it.
    pub data_pinned: bool,
}

/// Failure indicators of one cell, as counts of images (Pintor et al. 2022).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Indicators {
    /// For which a gradient was asked, or for the patch that they wear.
    pub with_gradient: usize,
    /// Of these, with one that was zero everywhere.
    pub zero_gradient: usize,
    /// Of these, with one that was not, and so small that a step along it may have been shorter than asked.
    pub short_step: usize,
    /// Images whose verdict other draws of a random defence may turn.
    pub split_votes: usize,
    /// Attacked and not fooled, where it is known how close the first half of the iterations came.
    pub standing: usize,
    /// Of these, still rising: the second half brought more than [`AT_REST`] of all that was gained.
    pub rising: usize,
    /// Median of that share; `None`: no such image.
    pub late_gain: Option<f32>,
}

/// The most that the second half of the iterations may bring of all that was gained, where a loss counts as come to rest
/// (`docs/methodology.md` has the figures behind it). It is a half where a loss rises evenly.
pub const AT_REST: f64 = 1.0 / 3.0;

impl Indicators {
    /// Of a cell without error rows.
    pub fn of(outcomes: &[Outcome]) -> Indicators {
        let count = |test: &dyn Fn(&&Outcome) -> bool| outcomes.iter().filter(test).count();
        let late: Vec<f64> = outcomes.iter().filter_map(late_gain).collect();
        // rows that are carried have their flags from another cell
        let asked = |o: &Outcome| (o.backwards > 0 || o.has_short_step()) && !o.has(CARRIED);
        Indicators {
            with_gradient: count(&|o| asked(o)),
            zero_gradient: count(&|o| asked(o) && o.has(ZERO_GRADIENT)),
            short_step: count(&|o| asked(o) && o.has(SHORT_STEP) && !o.has(ZERO_GRADIENT)),
            split_votes: count(&|o| o.has(SPLIT_VOTE)),
            standing: late.len(),
            rising: late.iter().filter(|share| **share > AT_REST).count(),
            late_gain: median(late).map(|share| share as f32),
        }
    }
}

/// Of all that an attack gained on an image that stands, the share that came in the second half of its iterations: 0 where
/// nothing was gained, or nothing then. Where the first half left it no closer than the clean image, as a random start may,
/// all that was gained came late.
fn late_gain(o: &Outcome) -> Option<f64> {
    let midway = f64::from(o.margin_midway.filter(|_| o.success == Some(false) && o.is_right_before())?);
    let (clean, end) = distances(o).filter(|(clean, end)| clean.is_finite() && end.is_finite())?;
    let (late, all) = (midway - end, clean.max(midway) - end);
    Some(if late > 0.0 { late / all } else { 0.0 })
}

/// How far the logits are from the aim, clean image and witness, where neither reaches it: of a target, the logit of the
/// class predicted minus its own is the logarithm of the odds.
fn distances(o: &Outcome) -> Option<(f64, f64)> {
    let odds = |best: Option<f32>, target: Option<f32>| Some(f64::from(best?).ln() - f64::from(target?).ln());
    match o.target {
        None => Some((f64::from(o.margin_clean?), f64::from(o.margin_adversarial?))),
        Some(_) => Some((
            odds(o.confidence_clean, o.target_probability_clean)?,
            odds(o.confidence_adversarial, o.target_probability_adversarial)?,
        )),
    }
}

/// What is kept of the images of a complete cell, so that no chart reads it again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Images fooled, in the order of the outcomes.
    pub fooled: Vec<Fooled>,
    /// Of a minimal threat, what was found for each image that was right, by number.
    pub least: Vec<Least>,
    /// The largest change of a fooled image in the norm of the threat; `None`: none was fooled, or none was measured.
    pub most_change: Option<f32>,
    /// Of a minimal threat, whether a distance was found for some image.
    pub finds: bool,
    /// Whether both lists were dropped, because a run has too many: [`Summary::fooled`] and [`Summary::least`] read them again.
    pub dropped: bool,
    /// Most forward passes spent on an image.
    pub most_forwards: u64,
    /// Images whose target is predicted: before, after.
    pub target: [usize; 2],
    /// Images whose target is among the five best: before, after.
    pub target_top5: [usize; 2],
    /// Mean probability of the label: before, after.
    pub label_probability: [Option<f64>; 2],
    /// Mean probability of the target: before, after.
    pub target_probability: [Option<f64>; 2],
}

/// An image that was right and is wrong now, or has reached its target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fooled {
    /// Index of the image in its split.
    pub example: u32,
    /// Iteration that did it, from 1.
    pub step: u32,
    /// Restart that did it, from 0.
    pub restart: u32,
    /// Forward passes spent on it.
    pub forwards: u32,
    /// Largest change in grey levels; not a number where it is missing.
    pub linf_255: f32,
    /// Euclidean distance; not a number where it is missing.
    pub l2: f32,
    /// Sum of absolute changes; not a number where it is missing.
    pub l1: f32,
    /// Changed components; not a number where it is missing.
    pub l0: f32,
}

impl Fooled {
    /// The distance in this norm as axes have it: grey levels in Linf, else the units of its budgets; Euclidean where the norm
    /// measures none.
    pub fn change(&self, norm: Norm) -> f32 {
        match norm {
            Norm::Linf => self.linf_255,
            Norm::L1 => self.l1,
            Norm::L0 => self.l0,
            _ => self.l2,
        }
    }
}

impl Tally {
    /// Drops the lists of images.
    pub fn drop_lists(&mut self) {
        (self.fooled, self.least, self.dropped) = (Vec::new(), Vec::new(), true);
    }

    /// Of a cell without error rows.
    fn of(cell: &Cell, outcomes: &[Outcome]) -> Tally {
        let small = |v: u64| u32::try_from(v).unwrap_or(u32::MAX);
        let missing = f64::from(f32::NAN);
        let fooled = outcomes.iter().filter(|o| o.success == Some(true)).map(|o| Fooled {
            example: small(o.example as u64),
            step: small(o.step as u64),
            restart: small(o.restart as u64),
            forwards: small(o.forwards),
            linf_255: o.linf_255.unwrap_or(missing) as f32,
            l2: o.l2.unwrap_or(missing) as f32,
            l1: o.l1.unwrap_or(missing) as f32,
            l0: o.l0.unwrap_or(missing) as f32,
        });
        let ranks = |within: usize| {
            let count = |rank: fn(&Outcome) -> Option<usize>| {
                outcomes.iter().filter(|o| rank(o).is_some_and(|r| r < within)).count()
            };
            [count(|o| o.target_rank_clean), count(|o| o.target_rank_adversarial)]
        };
        let probability = |of: fn(&Outcome) -> Option<f32>| mean(outcomes.iter().filter_map(of));
        let (fooled, least): (Vec<Fooled>, _) = (fooled.collect(), least(cell, outcomes));
        let changes = fooled.iter().map(|f| f.change(cell.threat.norm)).filter(|change| change.is_finite());
        Tally {
            most_change: changes.max_by(f32::total_cmp),
            finds: least.iter().any(|l| l.distance.is_finite()),
            fooled,
            least,
            dropped: false,
            most_forwards: outcomes.iter().map(|o| o.forwards).max().unwrap_or(0),
            target: ranks(1),
            target_top5: ranks(5),
            label_probability: [
                probability(|o| o.label_probability_clean),
                probability(|o| o.label_probability_adversarial),
            ],
            target_probability: [
                probability(|o| o.target_probability_clean),
                probability(|o| o.target_probability_adversarial),
            ],
        }
    }
}

/// `None` where there is nothing.
pub fn mean(values: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), v| (sum + f64::from(v), n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// What a complete cell says.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// Number of images.
    pub n: usize,
    /// Whether the images have a true class: without one there is no accuracy.
    pub labelled: bool,
    /// Right before the attack; without true classes, all.
    pub clean_correct: usize,
    /// Right before, and not fooled.
    pub robust_correct: usize,
    /// Wrong class after the attack, whatever it was before.
    pub wrong: usize,
    /// 95 % Wilson interval of robust_correct / n.
    pub robust_interval: Option<(f64, f64)>,
    /// Median over successes of the largest change in grey levels.
    pub median_linf_255: Option<f64>,
    /// Median over successes of the Euclidean distance.
    pub median_l2: Option<f64>,
    /// Forward passes an attacked image.
    pub forwards: Option<f64>,
    /// Input gradients an attacked image.
    pub backwards: Option<f64>,
    /// Share of attacked images that met an all-zero gradient.
    pub zero_gradient: Option<f64>,
}

impl Summary {
    /// Reads and summarises a planned cell, and gives its outcomes too.
    pub fn read(store: &Store, plan: &PlanRecord, cell: Cell) -> Result<(Summary, Vec<Outcome>)> {
        let id = cell.id();
        let stored = if store.has(&id) { Some(store.read(&id)?) } else { None };
        let (status, error) = match &stored {
            None => ("missing", None),
            Some(StoredCell { provenance: Provenance { error: Some(e), .. }, .. }) => ("failed", Some(e.clone())),
            Some(stored) => match error_rows(&stored.outcomes) {
                Some(error) => ("failed", Some(error)),
                None => ("ok", None),
            },
        };
        let done = stored.filter(|s| s.provenance.error.is_none());
        let n = done.as_ref().map(|s| s.outcomes.len());
        let (outcomes, stages) = done.map(|s| (s.outcomes, s.provenance.stages)).unwrap_or_default();
        let mut summary = Summary {
            id,
            status,
            error,
            n,
            rates: None,
            verdicts: Verdicts::default(),
            indicators: Indicators::default(),
            tally: Tally::default(),
            stages,
            weights_pinned: plan.weights_pinned(&cell),
            data_pinned: plan.data_pinned(&cell),
            cell,
        };
        if status == "ok" {
            summary.rates = Some(Rates::of(&outcomes));
            summary.verdicts = outcomes.iter().map(Verdict::of).collect();
            summary.indicators = Indicators::of(&outcomes);
            summary.tally = Tally::of(&summary.cell, &outcomes);
        }
        Ok((summary, outcomes))
    }

    /// The images that it fooled, in the order of its outcomes.
    pub fn fooled(&self, store: &Store) -> Result<Cow<'_, [Fooled]>> {
        Ok(match self.tally.dropped {
            false => Cow::Borrowed(&self.tally.fooled),
            true => Cow::Owned(self.tally_again(store)?.fooled),
        })
    }

    /// Of a minimal threat, what it found for each image that was right, by number.
    pub fn least(&self, store: &Store) -> Result<Cow<'_, [Least]>> {
        Ok(match self.tally.dropped {
            false => Cow::Borrowed(&self.tally.least),
            true => Cow::Owned(self.tally_again(store)?.least),
        })
    }

    fn tally_again(&self, store: &Store) -> Result<Tally> {
        Ok(Tally::of(&self.cell, &store.read(&self.id)?.outcomes))
    }
}

/// What is wrong with the cell if some of its rows are error rows: a failed attack is never shown as a weak one.
pub fn error_rows(outcomes: &[Outcome]) -> Option<String> {
    let faults: Vec<&Outcome> = outcomes.iter().filter(|o| o.is_error()).collect();
    let first = faults.first()?;
    Some(format!(
        "{} of {} images are error rows, first example {}: {}",
        faults.len(),
        outcomes.len(),
        first.example,
        first.flags
    ))
}

impl Rates {
    /// Rates of a cell without error rows.
    pub fn of(outcomes: &[Outcome]) -> Rates {
        let n = outcomes.len();
        let count = |test: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|o| test(o)).count();
        let clean_correct = count(&Outcome::is_right_before);
        let attacked_images = count(&|o| o.forwards > 0).max(clean_correct);
        let fooled = count(&|o| o.success == Some(true));
        let successes = || outcomes.iter().filter(|o| o.success == Some(true));
        let attacked = |total: u64| (attacked_images > 0).then(|| total as f64 / attacked_images as f64);
        Rates {
            n,
            labelled: outcomes.iter().any(|o| o.label.is_some()),
            clean_correct,
            robust_correct: clean_correct - fooled,
            wrong: count(&|o| o.label.is_some() && o.adversarial_prediction != o.label),
            robust_interval: (n > 0 && outcomes[0].label.is_some()).then(|| wilson(clean_correct - fooled, n)),
            median_linf_255: median(successes().filter_map(|o| o.linf_255).collect()),
            median_l2: median(successes().filter_map(|o| o.l2).collect()),
            forwards: attacked(outcomes.iter().map(|o| o.forwards).sum()),
            backwards: attacked(outcomes.iter().map(|o| o.backwards).sum()),
            zero_gradient: attacked(count(&|o| o.has(ZERO_GRADIENT)) as u64),
        }
    }

    /// Right before the attack, of all.
    pub fn clean_accuracy(&self) -> Option<f64> {
        share(self.clean_correct, self.n).filter(|_| self.labelled)
    }

    /// Right before and not fooled, of all.
    pub fn robust_accuracy(&self) -> Option<f64> {
        share(self.robust_correct, self.n).filter(|_| self.labelled)
    }

    /// Fooled, of those right before.
    pub fn attack_success_rate(&self) -> Option<f64> {
        share(self.clean_correct - self.robust_correct, self.clean_correct)
    }

    /// Wrong after the attack, of all.
    pub fn error_rate(&self) -> Option<f64> {
        share(self.wrong, self.n).filter(|_| self.labelled)
    }
}

fn share(k: usize, n: usize) -> Option<f64> {
    (n > 0).then(|| k as f64 / n as f64)
}
