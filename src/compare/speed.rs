//! Speed: cells by the median ratio of their times, benches by asv's rule.

use super::pair::Pair;
use super::side::{Bench, Found, Measured, Outcomes, Place};
use crate::statistics::{least_mann_whitney, mann_whitney, median, median_interval};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Cells that took less say nothing: starting and storing would be measured.
const LEAST_SECONDS: f64 = 0.05;

/// Benches differ if a rank test says so at this level (asv's) and the ratio of medians is beyond the threshold.
const BENCH_ALPHA: f64 = 0.002;

/// What is said of a speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Within the threshold.
    Steady,
    /// Slower by more than the threshold.
    Slower,
    /// Faster by more than the threshold.
    Faster,
    /// Nothing can be said. Never a pass, never an alarm.
    Inconclusive,
    /// A bench that the run does not have.
    Missing,
    /// A bench that the baseline does not have.
    New,
}

impl Pace {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Pace::Steady => "steady",
            Pace::Slower => "slower",
            Pace::Faster => "faster",
            Pace::Inconclusive => "inconclusive",
            Pace::Missing => "missing",
            Pace::New => "new",
        }
    }
}

/// The speed of some cells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellSpeed {
    /// `all cells`, or the name of an attack.
    pub what: String,
    /// Number of cells with a time of their own on both sides.
    pub cells: usize,
    /// Median over them of run ÷ baseline, seconds a pass.
    pub ratio: f64,
    /// Its 95 % interval; `None` for too few cells.
    pub interval: Option<(f64, f64)>,
    /// What follows.
    pub pace: Pace,
    /// Why nothing follows.
    pub note: Option<String>,
}

/// The speed of a bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchSpeed {
    /// Its name.
    pub name: String,
    /// Median nanoseconds an iteration, baseline and run.
    pub nanoseconds: (Option<f64>, Option<f64>),
    /// Run ÷ baseline.
    pub ratio: Option<f64>,
    /// Of the rank test.
    pub p: Option<f64>,
    /// What follows.
    pub pace: Pace,
}

/// Ratios over all cells, and over those of each attack where there are several attacks.
pub fn cells(pairs: &[Pair], threshold: f64) -> Vec<CellSpeed> {
    let mut groups: BTreeMap<&str, Vec<(&Measured, &Measured, f64)>> = BTreeMap::new();
    for (baseline, run) in pairs.iter().filter_map(|(b, r)| b.zip(*r)) {
        if let Some(ratio) = ratio(baseline, run) {
            groups.entry(&run.cell.attack.name).or_default().push((baseline, run, ratio));
        }
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let all = groups.values().flatten().copied().collect();
    let mut speeds = vec![group("all cells", all, threshold)];
    if groups.len() > 1 {
        speeds.extend(groups.into_iter().map(|(attack, members)| group(attack, members, threshold)));
    }
    speeds
}

/// Seconds a pass, run ÷ baseline, where both sides measured them.
fn ratio(baseline: &Measured, run: &Measured) -> Option<f64> {
    let each = |cell: &Measured| match &cell.result {
        Outcomes::Complete(Found { time_s, forwards, backwards, served_by: None, .. }) => {
            let passes = forwards.saturating_add(*backwards) as f64;
            (*time_s >= LEAST_SECONDS && passes > 0.0).then_some(time_s / passes)
        }
        _ => None,
    };
    Some(each(run)? / each(baseline)?)
}

fn group(what: &str, members: Vec<(&Measured, &Measured, f64)>, threshold: f64) -> CellSpeed {
    let ratios: Vec<f64> = members.iter().map(|m| m.2).collect();
    let interval = median_interval(ratios.clone());
    let places: BTreeSet<(&Place, &Place)> = members.iter().map(|(b, r, _)| (&b.place, &r.place)).collect();
    let elsewhere = places.iter().find(|(b, r)| b != r || b.machine.is_none());
    let (pace, note) = match (elsewhere, interval) {
        (Some((b, r)), _) if b == r => (Pace::Inconclusive, Some("the machine is not known".to_string())),
        (Some((b, r)), _) => (Pace::Inconclusive, Some(format!("measured on {}, then on {}", b.text(), r.text()))),
        (None, None) => (Pace::Inconclusive, Some("an interval needs 6 cells".to_string())),
        (None, Some((low, high))) => (pace(low, high, threshold), None),
    };
    CellSpeed {
        what: what.to_string(),
        cells: ratios.len(),
        ratio: median(ratios).expect("a group has members"),
        interval,
        pace,
        note,
    }
}

/// What an interval of ratios says.
fn pace(low: f64, high: f64, threshold: f64) -> Pace {
    let (slow, fast) = (1.0 + threshold, 1.0 / (1.0 + threshold));
    match () {
        _ if low > slow => Pace::Slower,
        _ if high < fast => Pace::Faster,
        _ if low >= fast && high <= slow => Pace::Steady,
        _ => Pace::Inconclusive,
    }
}

impl Place {
    fn text(&self) -> String {
        let machine = self.machine.as_deref().unwrap_or("an unknown machine");
        format!("{} ({machine}, {} threads, batch {})", self.device, self.threads, self.batch)
    }
}

/// Benches of both sides by name.
pub fn benches(baseline: &[Bench], run: &[Bench], threshold: f64) -> Vec<BenchSpeed> {
    let mut both: BTreeMap<&str, (Option<&Bench>, Option<&Bench>)> = BTreeMap::new();
    baseline.iter().for_each(|b| both.entry(&b.name).or_default().0 = Some(b));
    run.iter().for_each(|r| both.entry(&r.name).or_default().1 = Some(r));
    both.into_iter().map(|(name, (b, r))| bench(name, b, r, threshold)).collect()
}

fn bench(name: &str, baseline: Option<&Bench>, run: Option<&Bench>, threshold: f64) -> BenchSpeed {
    let middle = |bench: Option<&Bench>| bench.and_then(|b| median(b.nanoseconds.clone()));
    let nanoseconds = (middle(baseline), middle(run));
    let speed = |ratio, p, pace| BenchSpeed { name: name.to_string(), nanoseconds, ratio, p, pace };
    let (Some(b), Some(r)) = (baseline, run) else {
        return speed(None, None, if run.is_some() { Pace::New } else { Pace::Missing });
    };
    let Some(ratio) = nanoseconds.0.zip(nanoseconds.1).map(|(b, r)| r / b) else {
        return speed(None, None, Pace::Inconclusive);
    };
    let p = mann_whitney(&b.nanoseconds, &r.nanoseconds);
    let pace = match () {
        // as few samples as these could never reach the level
        _ if least_mann_whitney(b.nanoseconds.len(), r.nanoseconds.len()) >= BENCH_ALPHA => Pace::Inconclusive,
        _ if p < BENCH_ALPHA && ratio > 1.0 + threshold => Pace::Slower,
        _ if p < BENCH_ALPHA && ratio < 1.0 / (1.0 + threshold) => Pace::Faster,
        _ => Pace::Steady,
    };
    speed(Some(ratio), Some(p), pace)
}
