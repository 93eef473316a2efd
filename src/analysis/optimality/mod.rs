//! Optimality: how near each attack comes to the nearest images that any of them found (Cinà et al., AttackBench, AAAI 2025). Areas
//! are exact here, each score has an interval, and what is nearest may be frozen, so that an attack that is added moves no score.

mod area;
mod pool;
mod reference;

pub use area::Rule;
pub use pool::entrants;
pub use reference::Reference;

use super::groups::{Key, grouped};
use super::summary::Summary;
use super::worst::nearest;
use crate::error::{Error, Result};
use crate::rng::Streams;
use area::{Curve, Sample, curve, optimality};
use pool::{attack, pool, population};
use std::collections::{BTreeMap, BTreeSet};

/// Samples of the bootstrap: 50 of them lie on either side of an interval.
const DRAWS: usize = 2000;

/// Left out on either side of a 95 % interval.
const TAIL: usize = DRAWS / 40;

/// What is said of one attack on one net, the images of a run, in one norm.
pub struct Score<'a> {
    /// Its cell.
    pub cell: &'a Summary,
    /// Images that were right before, and that all attacks of the pool met.
    pub n: usize,
    /// The largest of the least distances: farther ones count as this.
    pub scale: Option<f64>,
    /// 1: nobody found a nearer image. `None`: nobody found one, or AttackBench's rule has no scale.
    pub optimality: Option<f64>,
    /// 95 % interval over the images; all attacks of the pool met the same samples.
    pub interval: Option<(f64, f64)>,
    /// Images that it fooled at any distance.
    pub fooled: usize,
    /// Images on which it found less than the frozen reference, or else than all other attacks.
    pub improved: usize,
    /// Mean of its optimality over all nets that were attacked with these images; `None`: it did not attack all of them.
    pub global: Option<f64>,
    /// Optimality at every budget of passes at which it changes, up to its limit.
    pub by_passes: Vec<(u64, f64)>,
}

/// Scores of [`entrants`], pool by pool in the order of the plan, in each the best first.
///
/// # Errors
/// Where the frozen reference knows nothing of a pool.
pub fn scores<'a>(entrants: &[&'a Summary], frozen: Option<&Reference>, rule: Rule) -> Result<Vec<Vec<Score<'a>>>> {
    let pools = grouped(entrants, pool);
    let mut scores = pools.iter().map(|cells| of_pool(cells, frozen, rule)).collect::<Result<Vec<_>>>()?;
    let mut nets: BTreeMap<Key, usize> = BTreeMap::new();
    pools.iter().for_each(|cells| *nets.entry(population(cells[0])).or_default() += 1);
    let mut found: BTreeMap<(Key, Key), Vec<f64>> = BTreeMap::new();
    let of = |score: &Score| (population(score.cell), attack(score.cell));
    for score in scores.iter().flatten() {
        found.entry(of(score)).or_default().extend(score.optimality);
    }
    for score in scores.iter_mut().flatten() {
        let values = &found[&of(score)];
        let everywhere = values.len() == nets[&population(score.cell)];
        score.global = everywhere.then(|| values.iter().sum::<f64>() / values.len() as f64);
    }
    let worth = |score: &Score| score.optimality.unwrap_or(f64::NEG_INFINITY);
    scores.iter_mut().for_each(|pool| pool.sort_by(|a, b| worth(b).total_cmp(&worth(a))));
    Ok(scores)
}

/// Scores of the attacks on one net.
fn of_pool<'a>(cells: &[&'a Summary], frozen: Option<&Reference>, rule: Rule) -> Result<Vec<Score<'a>>> {
    let frozen = match frozen {
        None => None,
        Some(reference) => Some(reference.of(cells[0]).ok_or_else(|| {
            let c = &cells[0].cell;
            Error::usage(format!(
                "the frozen reference has no distances for {} on {} in {} ({}, {} witness) (hint: `foolproof optimality \
                 --bless FILE RUN…` makes one of all runs that are to be compared)",
                c.model.name,
                c.data.text(),
                c.threat.norm.name(),
                c.goal,
                c.witness
            ))
        })?),
    };
    let mut images: BTreeSet<u32> = cells[0].tally.least.iter().map(|l| l.example).collect();
    let met = cells[1..].iter().map(|s| s.tally.least.iter().map(|l| l.example).collect::<BTreeSet<u32>>());
    met.chain(frozen.map(|f| f.keys().copied().collect())).for_each(|met| images.retain(|image| met.contains(image)));
    let distances = |s: &Summary| -> Vec<f64> {
        s.tally.least.iter().filter(|l| images.contains(&l.example)).map(|l| l.distance).collect()
    };
    let all: Vec<Vec<f64>> = cells.iter().map(|s| distances(s)).collect();
    let best: Vec<f64> = match frozen {
        Some(frozen) => images.iter().map(|image| frozen[image]).collect(),
        None => {
            let least = nearest(cells.iter().map(|s| s.tally.least.as_slice()));
            least.iter().filter(|l| images.contains(&l.example)).map(|l| l.distance).collect()
        }
    };
    let scale = scale(rule, &best);
    let (n, wrong) = (images.len(), cells[0].n.unwrap_or(0).saturating_sub(cells[0].tally.least.len()));
    let curves: Vec<Curve> = all.iter().map(|d| curve(d.iter().copied())).collect();
    let best_curve = curve(best.iter().copied());
    let at = |curves: &[Curve], weights: &[u32]| -> Vec<Option<f64>> {
        let Some(scale) = scale else { return vec![None; curves.len()] };
        let sample = Sample { weights, wrong, scale };
        curves.iter().map(|curve| optimality(rule, curve, &best_curve, &sample)).collect()
    };
    let found = at(&curves, &vec![1; n]);
    let intervals = intervals(n, curves.len(), |weights| at(&curves, weights));
    let by_passes = |s: &Summary| -> Vec<(u64, f64)> {
        let least: Vec<_> = s.tally.least.iter().filter(|l| images.contains(&l.example)).collect();
        let passes: BTreeSet<u64> = least.iter().filter(|l| l.distance.is_finite()).map(|l| l.pass).collect();
        let score = |b: u64| {
            let until = curve(least.iter().map(|l| if l.pass <= b { l.distance } else { f64::INFINITY }));
            Some((b, at(&[until], &vec![1; n])[0]?))
        };
        passes.into_iter().filter_map(score).collect()
    };
    let improved = |k: usize| {
        let least = |i: usize| match frozen {
            Some(_) => best[i],
            None => all.iter().enumerate().filter(|(j, _)| *j != k).map(|(_, d)| d[i]).fold(f64::INFINITY, f64::min),
        };
        (0..n).filter(|i| all[k][*i] < least(*i)).count()
    };
    let score = |(k, cell): (usize, &&'a Summary)| Score {
        cell,
        n,
        scale,
        optimality: found[k],
        interval: intervals[k],
        fooled: all[k].iter().filter(|d| d.is_finite()).count(),
        improved: improved(k),
        global: None,
        by_passes: by_passes(cell),
    };
    Ok(cells.iter().enumerate().map(score).collect())
}

/// The largest of the least distances. AttackBench's is that of all images, and no number where one stands against everyone.
fn scale(rule: Rule, best: &[f64]) -> Option<f64> {
    if rule == Rule::AttackBench && best.iter().any(|d| d.is_infinite()) {
        return None;
    }
    best.iter().copied().filter(|d| d.is_finite()).max_by(f64::total_cmp)
}

/// Of `scores`, one an attack, their 95 % intervals over the images: of 2,000 samples with replacement, the same for all attacks,
/// the values that leave out a fortieth on either side (the percentile interval of Efron 1979). Drawn from a seed of their own.
fn intervals(n: usize, attacks: usize, scores: impl Fn(&[u32]) -> Vec<Option<f64>>) -> Vec<Option<(f64, f64)>> {
    let streams = Streams::new(0, "optimality");
    let mut drawn: Vec<Vec<f64>> = vec![Vec::with_capacity(DRAWS); attacks];
    for draw in 0..DRAWS {
        let mut stream = streams.stream(draw, 0, "bootstrap");
        let mut weights = vec![0; n];
        (0..n).for_each(|_| weights[stream.below(n)] += 1);
        drawn.iter_mut().zip(scores(&weights)).for_each(|(drawn, score)| drawn.extend(score));
    }
    let interval = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        // a sample of images at the scale alone has no score
        (values.len() > 2 * TAIL).then(|| (values[TAIL], values[values.len() - 1 - TAIL]))
    };
    drawn.into_iter().map(interval).collect()
}

#[cfg(test)]
mod tests;
