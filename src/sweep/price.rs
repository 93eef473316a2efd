//! What a plan costs, before it is run.

use super::plan::{Plan, PlannedCell};
use super::run::Machine;
use super::units::{Unit, units};
use crate::data;
use crate::error::Result;
use crate::judge;
use crate::kernel::{Engine, Precision};
use crate::record::Witnesses;
use crate::store::{State, Store};
use crate::terms::WitnessKind;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What is missing of a plan, and what it takes.
#[derive(Debug, Default)]
pub struct Price {
    /// Cells that the store lacks.
    pub missing: usize,
    /// Gradient steps of all images, a pass forward and a pass back each, if every image stands to the end.
    pub steps: u64,
    /// Seconds on this machine.
    pub seconds: f64,
    /// Models whose speed was measured now, not read from what is stored. That is an upper bound: images that fall leave early.
    pub probed: usize,
    /// Bytes of witnesses and clean images, before any compression.
    pub bytes: u64,
}

/// The time that all probes may take together.
const PROBE: Duration = Duration::from_secs(2);

/// A stored cell that took less says nothing of speed.
const LEAST_SECONDS: f64 = 0.05;

/// The price of what the store lacks.
///
/// # Errors
/// Weights that do not load; a store that cannot be read.
pub fn price(plan: &Plan, store: Option<&Store>, machine: &Machine) -> Result<Price> {
    let mut missing: Vec<&PlannedCell> = Vec::new();
    let mut done: Vec<&PlannedCell> = Vec::new();
    for cell in &plan.cells {
        let state = store.map_or(Ok(State::Missing), |store| store.state(&cell.id))?;
        if state == State::Done { done.push(cell) } else { missing.push(cell) }
    }
    let mut price = Price { missing: missing.len(), bytes: bytes(plan, &missing), ..Price::default() };
    let mut steps: BTreeMap<usize, u64> = BTreeMap::new();
    for unit in units(missing) {
        *steps.entry(unit.longest().model).or_default() += Unit::work(&unit);
    }
    let known = stored_speeds(store, &done, machine)?;
    let unknown = steps.keys().filter(|model| !known.contains_key(model)).count() as u32;
    for (model, steps) in steps {
        price.steps += steps;
        let seconds_a_step = match known.get(&model) {
            Some(seconds) => *seconds,
            None => {
                price.probed += 1;
                probe(plan, model, machine, PROBE / unknown)?
            }
        };
        price.seconds += steps as f64 * seconds_a_step;
    }
    Ok(price)
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

/// Seconds a step of a model, measured for so long on its first images: at least once, after a first pass that is not timed.
fn probe(plan: &Plan, model: usize, machine: &Machine, time: Duration) -> Result<f64> {
    let engine = plan.models[model].engine(&machine.device, Precision::F32)?;
    let data = plan.cells.iter().find(|cell| cell.model == model).expect("a cell that is missing").data;
    let subset = &plan.data[data].subset;
    let images = machine.batch_size(subset.values()).min(subset.len()).max(1);
    let pixels = &subset.pixels[..images * subset.values()];
    let batch = data::to_tensor(pixels, subset.size, &machine.device)?;
    let first = Witnesses::U8(pixels.to_vec());
    judge::predict_stored(engine.as_ref(), &first, subset.size, &machine.device, images)?;
    let (began, mut rounds) = (Instant::now(), 0u32);
    while rounds == 0 || began.elapsed() < time {
        step(engine.as_ref(), &batch)?;
        rounds += 1;
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(rounds) / images as f64)
}

/// A pass forward and back of a batch.
fn step(engine: &dyn Engine, batch: &candle_core::Tensor) -> Result<()> {
    let loss = |_: usize, _: &[f32], gradient: &mut [f32]| gradient.fill(1.0);
    engine.logits_and_gradient(batch, &loss).map(drop)
}
