//! The nightly gate: a run held against a baseline, image by image. Reads stores, baselines and folders of criterion and
//! nothing else; the rules stand in `docs/methodology.md`.

mod baseline;
mod criterion;
mod junit;
mod markdown;
mod pair;
mod reading;
mod side;
mod speed;
mod text;
mod view;

pub use baseline::{bless, render as baseline};
pub use junit::junit;
pub use markdown::markdown;
pub use pair::Difference;
pub use side::{Bench, Examples, Fate, Fates, Found, Marks, Measured, Outcomes, Place, Side};
pub use speed::{BenchSpeed, CellSpeed, Pace};
pub use text::text;

use crate::error::Result;
use crate::record::{Cell, CellId, DataRecord, ModelRecord};
use crate::statistics::{holm, mcnemar, wilson};
use pair::Pair;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Version of the JSON.
const SCHEMA: u32 = 1;

/// When a difference counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rules {
    /// Chance of any false alarm, over all cells of a night.
    pub alpha: f64,
    /// Least change of an accuracy, as a fraction of the images.
    pub min_effect: f64,
    /// Least change of a speed: 0.1 means 1.1 times as long.
    pub slower: f64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { alpha: 0.05, min_effect: 0.005, slower: 0.1 }
    }
}

/// What makes the gate fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FailOn {
    /// An accuracy that changed significantly, either way; a cell that failed or is missing.
    Regressed,
    /// That, and a cell that should be the same to the bit and is not.
    Changed,
    /// Cells or a bench slower by more than this fraction.
    Slower(f64),
}

/// What is said of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Complete in the baseline, failed now.
    Failed,
    /// In the baseline, not in the run.
    Missing,
    /// Fewer images are right: the model or the data became worse, or the attack stronger.
    Regressed,
    /// More images withstand the attack: unless the model was to become better, the attack broke.
    Weakened,
    /// More clean images are right.
    Improved,
    /// Should be the same to the bit and is not.
    Changed,
    /// Failed in the baseline, complete now.
    Recovered,
    /// Failed in the baseline too.
    StillFailed,
    /// In the run, not in the baseline.
    New,
    /// Not the same, or not known to be, and no significant difference.
    Steady,
    /// The same to the bit.
    Same,
}

impl Verdict {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Failed => "failed",
            Verdict::Missing => "missing",
            Verdict::Regressed => "regressed",
            Verdict::Weakened => "weakened",
            Verdict::Improved => "improved",
            Verdict::Changed => "changed",
            Verdict::Recovered => "recovered",
            Verdict::StillFailed => "still-failed",
            Verdict::New => "new",
            Verdict::Steady => "steady",
            Verdict::Same => "same",
        }
    }

    /// Whether `--fail-on regressed` fails.
    pub fn is_regression(self) -> bool {
        matches!(self, Verdict::Failed | Verdict::Missing | Verdict::Regressed | Verdict::Weakened)
    }

    /// Whether `--fail-on changed` fails.
    pub fn is_change(self) -> bool {
        self.is_regression() || matches!(self, Verdict::Improved | Verdict::Changed)
    }
}

/// Whether a cell is the same to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bits {
    /// Every row and witness is.
    Equal,
    /// It is not, and must be: the same id, on CPUs of one kind.
    Differ,
    /// It is not, and need not be.
    NotRequired,
}

/// The same images under two conditions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paired {
    /// Images on both sides.
    pub n: usize,
    /// Images on one side only.
    pub unpaired: usize,
    /// Right ones of `n`, baseline.
    pub before: usize,
    /// Right ones of `n`, run.
    pub after: usize,
    /// 95 % Wilson interval of `before / n`.
    pub before_interval: (f64, f64),
    /// 95 % Wilson interval of `after / n`.
    pub after_interval: (f64, f64),
    /// Images that were right and are not: numbers in their split.
    pub lost: Vec<usize>,
    /// Images that were not right and are.
    pub won: Vec<usize>,
    /// Of McNemar's exact test.
    pub p: f64,
    /// Adjusted by Holm's procedure over all cells and clean accuracies.
    pub p_holm: f64,
}

/// A cell of the baseline, the run, or both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What is said of it.
    pub verdict: Verdict,
    /// Its id in the run, or in the baseline where the run lacks it.
    pub id: CellId,
    /// Its id in the baseline, where that is another.
    pub baseline_id: Option<CellId>,
    /// Its description, from the side `id` is of.
    pub cell: Cell,
    /// Why the ids differ.
    pub differences: Vec<Difference>,
    /// `None` unless complete on both sides.
    pub bits: Option<Bits>,
    /// Where bits must be equal: images whose row or witness differs.
    pub changed: Vec<usize>,
    /// Images that are right and withstand the attack; `None` unless complete on both sides.
    pub robust: Option<Paired>,
    /// Why it failed or is missing.
    pub note: Option<String>,
}

/// The clean accuracy of one model on one set of images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Clean {
    /// What is said of it.
    pub verdict: Verdict,
    /// The model of the run.
    pub model: String,
    /// The images of the run.
    pub data: String,
    /// A cell that it was read from, in the run.
    pub cell: CellId,
    /// Right images.
    pub right: Paired,
}

/// Which sides were compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideNamed {
    /// Name of the sweep.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// Cells that it has.
    pub cells: usize,
    /// Benches that it has.
    pub benches: usize,
}

/// Everything that was found; as JSON, what `--json` writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Version of this.
    pub schema: u32,
    /// What the run is held against.
    pub baseline: SideNamed,
    /// The run.
    pub run: SideNamed,
    /// When a difference counts.
    pub rules: Rules,
    /// Why the gate fails; empty: it does not, or nothing was to make it fail.
    pub failures: Vec<String>,
    /// Cells in the order of the run, then those it lacks.
    pub cells: Vec<Compared>,
    /// Clean accuracies.
    pub clean: Vec<Clean>,
    /// Speed of cells.
    pub speed: Vec<CellSpeed>,
    /// Speed of benches.
    pub benches: Vec<BenchSpeed>,
}

/// Holds `run` against `baseline`.
pub fn compare(baseline: &Side, run: &Side, rules: Rules) -> Result<Comparison> {
    let pairs = pair::pair(&baseline.cells, &run.cells);
    let mut cells: Vec<Compared> = pairs.iter().map(|pair| compared(*pair, baseline, run)).collect::<Result<_>>()?;
    let mut clean = clean(&pairs);
    let tests = || cells.iter().filter_map(|c| c.robust.as_ref()).chain(clean.iter().map(|c| &c.right));
    let adjusted = holm(&tests().map(|t| t.p).collect::<Vec<_>>());
    let tests = cells.iter_mut().filter_map(|c| c.robust.as_mut()).chain(clean.iter_mut().map(|c| &mut c.right));
    tests.zip(adjusted).for_each(|(test, p)| test.p_holm = p);
    for cell in &mut cells {
        cell.verdict = match cell.robust.as_ref().and_then(|robust| rules.direction(robust)) {
            Some(Direction::Down) => Verdict::Regressed,
            Some(Direction::Up) => Verdict::Weakened,
            None => cell.verdict,
        };
    }
    for accuracy in &mut clean {
        accuracy.verdict = match rules.direction(&accuracy.right) {
            Some(Direction::Down) => Verdict::Regressed,
            Some(Direction::Up) => Verdict::Improved,
            None => accuracy.verdict,
        };
    }
    let named = |side: &Side| SideNamed {
        name: side.name.clone(),
        path: side.path.clone(),
        cells: side.cells.len(),
        benches: side.benches.len(),
    };
    Ok(Comparison {
        schema: SCHEMA,
        baseline: named(baseline),
        run: named(run),
        rules,
        failures: Vec::new(),
        cells,
        clean,
        speed: speed::cells(&pairs, rules.slower),
        benches: speed::benches(&baseline.benches, &run.benches, rules.slower),
    })
}

/// Which way an accuracy changed.
enum Direction {
    Down,
    Up,
}

impl Rules {
    /// `None` where the change is not significant, or too small to matter.
    fn direction(&self, test: &Paired) -> Option<Direction> {
        let effect = test.lost.len().abs_diff(test.won.len()) as f64 / test.n as f64;
        // 5 of 1,000 are half a point, whatever the floats say
        let counts = test.p_holm <= self.alpha && effect > 0.0 && effect >= self.min_effect - 1e-12;
        counts.then_some(if test.after < test.before { Direction::Down } else { Direction::Up })
    }
}

/// A pair without the statistics' verdict.
fn compared((before, now): Pair, baseline: &Side, run: &Side) -> Result<Compared> {
    let of = now.or(before).expect("a pair has a side");
    let mut compared = Compared {
        verdict: Verdict::New,
        id: of.id.clone(),
        baseline_id: before.map(|b| b.id.clone()).filter(|id| *id != of.id),
        cell: of.cell.clone(),
        differences: Vec::new(),
        bits: None,
        changed: Vec::new(),
        robust: None,
        note: None,
    };
    if let Some(Outcomes::Failed(why)) = now.map(|m| &m.result) {
        compared.note = Some(why.clone());
    }
    let Some(before) = before else {
        return Ok(compared);
    };
    let Some(now) = now else {
        compared.verdict = Verdict::Missing;
        let planned = run.absent.contains(&before.id);
        compared.note = Some(if planned { "planned, not computed" } else { "not in the run's plan" }.to_string());
        return Ok(compared);
    };
    compared.differences = pair::differences(&before.cell, &now.cell);
    let (old, new) = match (&before.result, &now.result) {
        (Outcomes::Complete(old), Outcomes::Complete(new)) => (old, new),
        (Outcomes::Complete(_), Outcomes::Failed(_)) => {
            compared.verdict = Verdict::Failed;
            return Ok(compared);
        }
        (Outcomes::Failed(why), Outcomes::Complete(_)) => {
            compared.verdict = Verdict::Recovered;
            compared.note = Some(format!("before: {why}"));
            return Ok(compared);
        }
        (Outcomes::Failed(_), Outcomes::Failed(_)) => {
            compared.verdict = Verdict::StillFailed;
            return Ok(compared);
        }
    };
    let images = images_of_both(old, new);
    if images.is_empty() {
        compared.verdict = Verdict::Failed;
        compared.note = Some("no image is on both sides".into());
        return Ok(compared);
    }
    compared.robust = Some(Paired::of(&images, old, new, Fate::is_robust));
    let bits = bits(before, now, old, new);
    compared.bits = Some(bits);
    compared.verdict = match bits {
        Bits::Equal => Verdict::Same,
        Bits::Differ => Verdict::Changed,
        Bits::NotRequired => Verdict::Steady,
    };
    if bits == Bits::Differ {
        compared.changed = images_that_differ((old, &baseline.marks(before)?), (new, &run.marks(now)?));
    }
    Ok(compared)
}

/// Results depend on the id alone where CPUs of one kind computed them; whoever does not know the kind is held to it.
fn bits(before: &Measured, now: &Measured, old: &Found, new: &Found) -> Bits {
    let equal = (&old.outcomes, &old.witnesses) == (&new.outcomes, &new.witnesses);
    let on_cpu = |m: &Measured| m.place.device == "cpu";
    let kinds = before.place.machine.as_ref().zip(now.place.machine.as_ref());
    let required = before.id == now.id && on_cpu(before) && on_cpu(now) && kinds.is_none_or(|(b, n)| b == n);
    match (equal, required) {
        (true, _) => Bits::Equal,
        (false, true) => Bits::Differ,
        (false, false) => Bits::NotRequired,
    }
}

/// Numbers of the images whose marks differ, or that one side lacks.
fn images_that_differ(old: (&Found, &Marks), new: (&Found, &Marks)) -> Vec<usize> {
    let marked = |(found, marks): (&Found, &Marks)| -> BTreeSet<(usize, u16)> {
        found.examples.iter().zip(marks.0.iter().copied()).collect()
    };
    let (old, new) = (marked(old), marked(new));
    let differ: BTreeSet<usize> = old.symmetric_difference(&new).map(|(example, _)| *example).collect();
    differ.into_iter().collect()
}

/// Images that both sides have, with their two fates.
fn images_of_both(old: &Found, new: &Found) -> Vec<(usize, Fate, Fate)> {
    let fates = |found: &'_ Found| -> Vec<(usize, Fate)> { found.examples.iter().zip(found.fates.0.clone()).collect() };
    if old.examples == new.examples {
        return fates(old).into_iter().zip(&new.fates.0).map(|((example, old), new)| (example, old, *new)).collect();
    }
    let before: BTreeMap<usize, Fate> = fates(old).into_iter().collect();
    let both = |(example, now)| before.get(&example).map(|old| (example, *old, now));
    fates(new).into_iter().filter_map(both).collect()
}

impl Paired {
    /// `images` are those of both sides, at least one; `is_right` is what counts.
    fn of(images: &[(usize, Fate, Fate)], old: &Found, new: &Found, is_right: fn(Fate) -> bool) -> Paired {
        let n = images.len();
        let numbers = |wanted: &dyn Fn(bool, bool) -> bool| -> Vec<usize> {
            images.iter().filter(|(_, o, n)| wanted(is_right(*o), is_right(*n))).map(|(example, ..)| *example).collect()
        };
        let (lost, won) = (numbers(&|old, new| old && !new), numbers(&|old, new| !old && new));
        let (before, after) = (numbers(&|old, _| old).len(), numbers(&|_, new| new).len());
        Paired {
            n,
            unpaired: old.fates.0.len() + new.fates.0.len() - 2 * n,
            before,
            after,
            before_interval: wilson(before, n),
            after_interval: wilson(after, n),
            p: mcnemar(lost.len(), won.len()),
            p_holm: 1.0,
            lost,
            won,
        }
    }
}

/// One clean accuracy for each model and set of images on either side: all cells of them say the same, so the pair with the
/// most images speaks for them.
fn clean(pairs: &[Pair]) -> Vec<Clean> {
    type Key<'a> = (&'a ModelRecord, &'a DataRecord);
    let mut found: Vec<((Key, Key), Clean)> = Vec::new();
    for (before, now) in pairs.iter().filter_map(|(b, r)| b.zip(*r)) {
        let (Outcomes::Complete(old), Outcomes::Complete(new)) = (&before.result, &now.result) else {
            continue;
        };
        let images = images_of_both(old, new);
        if images.is_empty() {
            continue;
        }
        let right = Paired::of(&images, old, new, Fate::is_right);
        let unchanged = right.lost.is_empty() && right.won.is_empty();
        let clean = Clean {
            verdict: if unchanged { Verdict::Same } else { Verdict::Steady },
            model: now.cell.model.name.clone(),
            data: now.cell.data.text(),
            cell: now.id.clone(),
            right,
        };
        let key = ((&before.cell.model, &before.cell.data), (&now.cell.model, &now.cell.data));
        match found.iter_mut().find(|(k, _)| *k == key) {
            Some((_, there)) if there.right.n >= clean.right.n => {}
            Some((_, there)) => *there = clean,
            None => found.push((key, clean)),
        }
    }
    found.into_iter().map(|(_, clean)| clean).collect()
}

impl Comparison {
    /// Notes why the gate fails, if it does.
    pub fn judge(&mut self, fail_on: &[FailOn]) {
        let verdicts: Vec<Verdict> =
            self.cells.iter().map(|c| c.verdict).chain(self.clean.iter().map(|c| c.verdict)).collect();
        let counted = |test: fn(Verdict) -> bool| {
            let alarms: Vec<Verdict> = verdicts.iter().copied().filter(|v| test(*v)).collect();
            (!alarms.is_empty()).then(|| counts(&alarms))
        };
        for rule in fail_on {
            let failure = match rule {
                FailOn::Regressed => counted(Verdict::is_regression),
                FailOn::Changed => counted(Verdict::is_change),
                FailOn::Slower(_) => self.slower(),
            };
            self.failures.extend(failure.filter(|f| !self.failures.contains(f)));
        }
    }

    fn slower(&self) -> Option<String> {
        let cells = self.speed.iter().filter(|s| s.pace == Pace::Slower).map(|s| (s.what.clone(), s.ratio));
        let benches = self.benches.iter().filter(|b| b.pace == Pace::Slower);
        let benches = benches.map(|b| (b.name.clone(), b.ratio.unwrap_or(f64::NAN)));
        let slower: Vec<String> =
            cells.chain(benches).map(|(what, ratio)| format!("{what} takes {ratio:.2} times as long")).collect();
        (!slower.is_empty()).then(|| slower.join(", "))
    }

    /// As JSON, pretty-printed.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data") + "\n"
    }
}

/// `2 regressed, 38 same`, the gravest first.
fn counts(verdicts: &[Verdict]) -> String {
    let mut sorted = verdicts.to_vec();
    sorted.sort();
    let groups = sorted.chunk_by(|a, b| a == b);
    groups.map(|g| format!("{} {}", g.len(), g[0].name())).collect::<Vec<_>>().join(", ")
}
