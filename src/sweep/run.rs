//! Computes the cells that the store lacks, in one process.

use super::afterwards;
use super::chunks::{self, ranges};
use super::compute::Prepared;
use super::fits;
use super::plan::{Plan, PlannedCell};
use super::runner::Runner;
use super::units::{Unit, units};
use crate::attack::Training;
use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::store::{State, Store};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

pub use super::runner::{Done, Event, Machine};

/// Computes and stores every cell that is missing or failed before. Ctrl-C (`stop`) ends it between two passes; what
/// is stored stays.
pub fn run(
    plan: &Plan,
    store: &Store,
    machine: &Machine,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<Done> {
    let runner = Runner { plan, store, machine, stop, noted: RefCell::default() };
    runner.store_inputs()?;
    let states = store.states(plan.cells.iter().map(|cell| &cell.id))?;
    let missing: Vec<&PlannedCell> =
        plan.cells.iter().zip(states).filter(|(_, state)| *state != State::Done).map(|(cell, _)| cell).collect();
    let cached = plan.cells.len() - missing.len();
    runner.check_precision(&missing)?;
    let units = units(missing);
    let work = units.iter().map(Unit::work).sum();
    tell(Event::Begin { cells: plan.cells.len(), cached, work });
    let mut done = Done { cached, ..Done::default() };
    runner.try_what_may_stop_it(&units, tell)?;
    let mut prepared: Option<Prepared> = None;
    for unit in &units {
        runner.check_stop()?;
        let cell = unit.longest();
        let ready = match prepared.take().filter(|p| (p.model, p.data) == (cell.model, cell.data)) {
            Some(same) => prepared.insert(same),
            None => prepared.insert(runner.prepare(cell, None)?),
        };
        match runner.compute(unit, ready, tell) {
            Ok(()) => {
                done.computed += unit.cells.len();
                unit.cells.iter().for_each(|_| tell(Event::Stored));
            }
            // nobody else computes what it goes on from
            Err(problem @ (Error::Tensor(_) | Error::Rung(_) | Error::Absent(_))) => {
                runner.put_failed(unit, &problem.to_string(), tell)?;
                done.failed += unit.cells.len();
            }
            Err(fatal) => return Err(fatal),
        }
    }
    drop(prepared); // its memory serves the other nets
    afterwards::all(&runner, tell)?;
    store.drop_work()?;
    Ok(done)
}

impl Runner<'_> {
    /// The plan and the clean images, so that reports need nothing but the store.
    pub(super) fn store_inputs(&self) -> Result<()> {
        self.store.put_plan(&self.plan.record())?;
        // training images are no part of any report
        let attacked: BTreeSet<usize> = self.plan.cells.iter().map(|c| c.data).collect();
        for data in attacked.into_iter().map(|d| &self.plan.data[d]) {
            self.store.put_inputs(&data.subset.digest, &data.subset.inputs())?;
        }
        Ok(())
    }

    /// Refuses gradients that the CPU does not compute.
    pub(super) fn check_precision(&self, cells: &[&PlannedCell]) -> Result<()> {
        match cells.iter().find(|c| c.cell.precision != Precision::F32 && self.machine.device.is_cpu()) {
            Some(cell) => Err(Error::usage(format!(
                "precision `{}` needs a GPU: the CPU computes in f32 (hint: --device cuda, or leave `precision` out)",
                cell.cell.precision.name()
            ))),
            None => Ok(()),
        }
    }

    /// What would stop the run stops it before hours are spent: weights that do not load, a clean accuracy that is wrong, no
    /// training picture of the class that is to be pasted.
    fn try_what_may_stop_it(&self, units: &[Unit], tell: &mut dyn FnMut(Event)) -> Result<()> {
        let mut tried: BTreeSet<(usize, usize)> = BTreeSet::new();
        for cell in units.iter().flat_map(|unit| &unit.cells) {
            if tried.insert((cell.model, cell.data)) {
                self.prepare(cell, None)?;
                self.tell_notes(cell.model, tell);
            }
            if let Some(fit) = cell.fit.as_ref().filter(|_| cell.attack.training() != Training::ImagesAndNets) {
                fits::pictures(self, cell, fit, &mut |_| {})?;
            }
        }
        Ok(())
    }

    /// Tells how the weights of a model were read that has been loaded, once.
    pub(super) fn tell_notes(&self, model: usize, tell: &mut dyn FnMut(Event)) {
        if self.noted.borrow_mut().insert(model) {
            let source = &self.plan.models[model];
            source.notes().iter().for_each(|note| tell(Event::Note(format!("weights of `{}`: {note}", source.name))));
        }
    }

    /// Computes the chunks of a unit that are not stored yet, and stores its cells.
    fn compute(&self, unit: &Unit, ready: &mut Prepared, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let cuts = chunks::cuts(self, unit)?;
        let (mut found, images) = (Vec::new(), unit.longest().cell.data.take);
        for range in ranges(&cuts) {
            if let Some(kept) = self.stored_chunk(unit, unit.id(), &range) {
                tell(Event::Settled { images: range.len(), work: range.len() as u64 * unit.steps() });
                found.push(kept);
                continue;
            }
            self.check_stop()?;
            let chunk = self.compute_chunk(unit, unit.id(), &range, ready, tell)?;
            // the last one is about to be stored in its cell
            if range.end < images {
                self.store.put_chunk(unit.id(), &range, &chunk)?;
            }
            found.push(chunk);
        }
        let all = chunks::joined(found).expect("a unit has images");
        self.put_cells(unit, &all)?;
        self.store.drop_chunks(unit.id())
    }
}
