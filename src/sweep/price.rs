//! What a plan costs, before it is run.

use super::plan::{Plan, PlannedCell};
use super::probe::{Probed, STEPS, probe};
use super::run::Machine;
use super::units::{Unit, units};
use crate::error::Result;
use crate::kernel::Precision;
use crate::store::{State, Store};
use crate::terms::{Goal, Threat, WitnessKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is missing of a plan, and what it takes.
#[derive(Debug, Default)]
pub struct Price {
    /// Cells that the store lacks.
    pub missing: usize,
    /// Gradient steps of all images, a pass forward and a pass back each, if every image stands to the end.
    pub steps: u64,
    /// Seconds on this machine, if every image stands to the end.
    pub most_seconds: f64,
    /// Seconds, if images that a few steps of a descent fool fall as early in every attack that stops there.
    pub seconds: f64,
    /// Models whose speed was measured now, not read from what is stored.
    pub probed: usize,
    /// Bytes of witnesses and clean images, before any compression.
    pub bytes: u64,
}

/// The time that all probes may take together.
const PROBE: Duration = Duration::from_secs(2);

/// A stored cell that took less says nothing of speed.
const LEAST_SECONDS: f64 = 0.05;

/// What the store has of each cell of a plan.
///
/// # Errors
/// A store that cannot be read.
pub fn states(plan: &Plan, store: Option<&Store>) -> Result<Vec<State>> {
    let missing = || Ok(vec![State::Missing; plan.cells.len()]);
    store.map_or_else(missing, |store| store.states(plan.cells.iter().map(|cell| &cell.id)))
}

/// The price of what the store lacks.
///
/// # Errors
/// Weights that do not load; a store that cannot be read.
pub fn price(plan: &Plan, store: Option<&Store>, machine: &Machine) -> Result<Price> {
    let (mut missing, mut done): (Vec<&PlannedCell>, Vec<&PlannedCell>) = Default::default();
    for (cell, state) in plan.cells.iter().zip(states(plan, store)?) {
        if state == State::Done { done.push(cell) } else { missing.push(cell) }
    }
    let mut price = Price { missing: missing.len(), bytes: bytes(plan, &missing), ..Price::default() };
    let mut by_model: BTreeMap<usize, Vec<Unit>> = BTreeMap::new();
    for unit in units(missing) {
        by_model.entry(unit.longest().model).or_default().push(unit);
    }
    done.retain(|cell| by_model.contains_key(&cell.model));
    let known = stored_speeds(store, &done, machine)?;
    let unknown = by_model.keys().filter(|model| !known.contains_key(model)).count() as u32;
    for (model, units) in by_model {
        let steps: u64 = units.iter().map(Unit::work).sum();
        price.steps += steps;
        // what is stored was measured with images that fell
        if let Some(seconds) = known.get(&model) {
            price.most_seconds += steps as f64 * seconds;
            price.seconds += steps as f64 * seconds;
            continue;
        }
        price.probed += 1;
        let engine = plan.models[model].engine(&machine.device, Precision::F32)?;
        let subset = &plan.data[units[0].longest().data].subset;
        let probed = probe(engine.as_ref(), subset, &threats(&units), machine, PROBE / unknown)?;
        price.most_seconds += steps as f64 * probed.seconds;
        price.seconds += units.iter().map(|unit| expected(unit, &probed)).sum::<f64>() * probed.seconds;
    }
    Ok(price)
}

/// Threats of which it matters how many images stand, the ones with the most work first.
fn threats(units: &[Unit]) -> Vec<Threat> {
    let mut works: Vec<(Threat, u64)> = Vec::new();
    for unit in units.iter().filter(|unit| ends_early(unit.longest())) {
        let threat = unit.longest().cell.threat;
        match works.iter_mut().find(|(known, _)| *known == threat) {
            Some((_, sum)) => *sum += unit.work(),
            None => works.push((threat, unit.work())),
        }
    }
    works.sort_by_key(|(_, work)| std::cmp::Reverse(*work));
    works.into_iter().map(|(threat, _)| threat).collect()
}

/// Whether an attack is over with an image that falls, and a descent says something of when it does.
fn ends_early(cell: &PlannedCell) -> bool {
    let PlannedCell { cell, attack, fit, .. } = cell;
    let is_searched = cell.threat.norm.is_ball() && cell.threat.eps.radius().is_some() && !attack.seeks_nearest();
    is_searched && cell.goal == Goal::Untargeted && cell.confidence.is_none() && fit.is_none()
}

/// Gradient steps of a unit, if as many images stand as stood when they were probed.
fn expected(unit: &Unit, probed: &Probed) -> f64 {
    let (cell, work) = (unit.longest(), unit.work() as f64);
    let standing = probed.standing(cell.cell.threat).filter(|_| ends_early(cell)).unwrap_or(1.0);
    let early = work.min(cell.cell.data.take as f64 * f64::from(STEPS));
    standing * work + (1.0 - standing) * early
}

/// What witnesses take, and each set of clean images once.
fn bytes(plan: &Plan, missing: &[&PlannedCell]) -> u64 {
    let of = |cell: &&&PlannedCell| {
        let value = if cell.cell.witness == WitnessKind::F32 { size_of::<f32>() } else { 1 };
        (plan.data[cell.data].subset.pixels.len() * value) as u64
    };
    let mut data: Vec<usize> = missing.iter().map(|cell| cell.data).collect();
    data.sort_unstable();
    data.dedup();
    let clean = data.iter().map(|data| plan.data[*data].subset.pixels.len() as u64);
    missing.iter().map(|cell| of(&cell)).sum::<u64>() + clean.sum::<u64>()
}

/// Seconds a step by model, of the cells that are stored and were computed with as many threads on such a device.
fn stored_speeds(store: Option<&Store>, done: &[&PlannedCell], machine: &Machine) -> Result<BTreeMap<usize, f64>> {
    let mut sums: BTreeMap<usize, (f64, u64)> = BTreeMap::new();
    for cell in done {
        let Some(store) = store else { break };
        let provenance = store.cell_provenance(&cell.id)?;
        let alike = provenance.device == machine.device_name && provenance.threads == machine.threads;
        if alike && provenance.served_by.is_none() && provenance.time_s >= LEAST_SECONDS {
            let sum = sums.entry(cell.model).or_default();
            sum.0 += provenance.time_s;
            sum.1 += cell.cell.data.take as u64 * cell.attack.cost();
        }
    }
    Ok(sums.into_iter().map(|(model, (seconds, steps))| (model, seconds / steps.max(1) as f64)).collect())
}
