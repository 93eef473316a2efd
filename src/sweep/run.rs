//! Computes the cells that the store lacks.

use super::afterwards;
use super::fits::{self, Kept};
use super::plan::{Plan, PlannedCell};
use super::runner::Runner;
use super::units::{Unit, units};
use crate::attack::{StageReport, Task, Training};
use crate::error::{Error, Result};
use crate::judge::{self, Earlier, Judging, Trial, Verdict};
use crate::kernel::{Engine, Precision};
use crate::oracle::Memo;
use crate::record::{CellId, Outcome, StageRecord, Witnesses};
use crate::rng::Streams;
use crate::store::{State, Store};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use super::runner::{Done, Event, Machine};

/// Gradients at clean images are kept for the cells that share them while they fit into this.
const MEMO_BYTES: usize = 1 << 30;

/// A model on its device with what it says of the clean images of one subset.
struct Prepared {
    model: usize,
    data: usize,
    engine: Box<dyn Engine>,
    /// The net for gradients in another precision than the judge's.
    coarse: Option<(Precision, Box<dyn Engine>)>,
    clean: Vec<Verdict>,
    /// Goal and precision that `memo` belongs to.
    memo_of: (String, Precision),
    memo: Memo,
}

impl Prepared {
    /// The net as an attack asks it.
    fn attacked_through(&self) -> (&dyn Engine, Precision) {
        self.coarse.as_ref().map_or((self.engine.as_ref(), Precision::F32), |(p, engine)| (engine.as_ref(), *p))
    }

    /// Gets ready for a cell of the same model and images.
    fn turn_to(&mut self, cell: &PlannedCell, runner: &Runner) -> Result<()> {
        if self.attacked_through().1 != cell.cell.precision {
            self.coarse = None; // before there is another: both may not fit
            if cell.cell.precision != Precision::F32 {
                let model = &runner.plan.models[cell.model];
                self.coarse = Some((cell.cell.precision, model.engine(&runner.machine.device, cell.cell.precision)?));
            }
        }
        let of = (cell.cell.goal.name(), cell.cell.precision);
        if self.memo_of != of {
            (self.memo_of, self.memo) = (of, runner.new_memo(cell));
        }
        Ok(())
    }
}

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
    if let Some(cell) = missing.iter().find(|c| c.cell.precision != Precision::F32 && machine.device.is_cpu()) {
        return Err(Error::usage(format!(
            "precision `{}` needs a GPU: the CPU computes in f32 (hint: --device cuda, or leave `precision` out)",
            cell.cell.precision.name()
        )));
    }
    let units = units(missing);
    let work = units.iter().map(Unit::work).sum();
    tell(Event::Begin { cells: plan.cells.len(), cached, work });
    let mut done = Done { cached, ..Done::default() };
    // what would stop the run stops it before hours are spent: weights that do not load, a clean accuracy that is wrong,
    // no training picture of the class that is to be pasted
    let mut tried: Vec<(usize, usize)> = Vec::new();
    for cell in units.iter().flat_map(|unit| &unit.cells) {
        if !tried.contains(&(cell.model, cell.data)) {
            tried.push((cell.model, cell.data));
            runner.prepare(cell)?;
            runner.tell_notes(cell.model, tell);
        }
        if let Some(fit) = cell.fit.as_ref().filter(|_| cell.attack.training() != Training::ImagesAndNets) {
            fits::pictures(&runner, cell, fit, &mut |_| {})?;
        }
    }
    let mut prepared: Option<Prepared> = None;
    for unit in &units {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let cell = unit.longest();
        let ready = match prepared.take().filter(|p| (p.model, p.data) == (cell.model, cell.data)) {
            Some(same) => prepared.insert(same),
            None => prepared.insert(runner.prepare(cell)?),
        };
        ready.turn_to(cell, &runner)?;
        match runner.compute(unit, ready, tell) {
            Ok(()) => {
                done.computed += unit.cells.len();
                unit.cells.iter().for_each(|_| tell(Event::Stored));
            }
            Err(problem @ (Error::Tensor(_) | Error::Rung(_))) => {
                let text = problem.to_string();
                for cell in &unit.cells {
                    store.put_failed(&cell.cell, runner.provenance(cell, Instant::now(), Some(text.clone())))?;
                    tell(Event::Failed(format!("cell {} ({}): {text}", cell.id, cell.cell.attack.name)));
                }
                done.failed += unit.cells.len();
            }
            Err(fatal) => return Err(fatal),
        }
    }
    drop(prepared); // its memory serves the other nets
    afterwards::transfer(&runner, tell)?;
    afterwards::explain(&runner, tell)?;
    Ok(done)
}

/// What an attack told of a stage, as it is stored.
fn stage_record(of: &StageReport) -> StageRecord {
    let StageReport { name, standing, forwards, backwards, seconds } = of.clone();
    StageRecord { name: name.into(), standing, forwards, backwards, seconds }
}

impl Runner<'_> {
    /// The plan and the clean images, so that reports need nothing but the store.
    fn store_inputs(&self) -> Result<()> {
        self.store.put_plan(&self.plan.record())?;
        // training images are no part of any report
        let attacked: BTreeSet<usize> = self.plan.cells.iter().map(|c| c.data).collect();
        for data in attacked.into_iter().map(|d| &self.plan.data[d]) {
            self.store.put_inputs(&data.subset.digest, &data.subset.inputs())?;
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

    /// Loads the model, looks at the clean images, and refuses to go on where the clean accuracy cannot be right.
    fn prepare(&self, cell: &PlannedCell) -> Result<Prepared> {
        let (model, data) = (&self.plan.models[cell.model], &self.plan.data[cell.data]);
        let engine = model.engine(&self.machine.device, Precision::F32)?;
        let subset = &data.subset;
        let pixels = Witnesses::U8(subset.pixels.clone());
        let batch = self.machine.batch_size(subset.values());
        let clean = judge::predict_stored(engine.as_ref(), &pixels, subset.size, &self.machine.device, batch)?;
        let correct = clean.iter().zip(&subset.labels).filter(|(v, label)| v.prediction == Some(**label)).count();
        model.check_clean_accuracy(data.population(), correct, subset.len())?;
        Ok(Prepared {
            model: cell.model,
            data: cell.data,
            engine,
            coarse: None,
            clean,
            memo_of: (cell.cell.goal.name(), Precision::F32),
            memo: self.new_memo(cell),
        })
    }

    fn compute(&self, unit: &Unit, ready: &Prepared, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let cell = unit.longest();
        let subset = &self.plan.data[cell.data].subset;
        let earlier = unit.after().map(|id| self.earlier(id)).transpose()?;
        let marks = unit.marks();
        let trial = Trial {
            engine: ready.engine.as_ref(),
            attacked_through: ready.attacked_through(),
            device: &self.machine.device,
            subset,
            clean: &ready.clean,
            goal: cell.cell.goal,
            seed: cell.cell.seed,
            witness: cell.cell.witness,
            judging: Judging::WhereItMatters,
            on_device: !self.machine.device.is_cpu(),
            marks: &marks,
            earlier: earlier.as_ref(),
            confidence: cell.cell.confidence.map(|p| p.to_f64() as f32),
            every_image: cell.attack.changes_every_image(),
            batch: self.machine.batch_size(subset.values()),
            stop: self.stop,
        };
        let (pictures, blind) = match unit.fit() {
            Some(fit) => fits::pictures(self, cell, fit, tell)?,
            None => (Vec::new(), false),
        };
        let kept = Kept::new(self.store, &cell.id, self.stop);
        let streams = Streams::new(cell.cell.seed, unit.streams());
        let stages = Mutex::default();
        let (threat, witness) = (cell.cell.threat, cell.cell.witness);
        let task = Task { threat, streams, witness, pictures: &pictures, blind, checkpoint: &kept, stages };
        let began = Instant::now();
        let cost = cell.attack.cost();
        let mut tell_settled = |images: usize| tell(Event::Settled { images, work: images as u64 * cost });
        tell_settled(subset.len() - trial.attacked().len());
        let found = trial.run(cell.attack.as_ref(), &task, &ready.memo, &mut tell_settled);
        [trial.engine, trial.attacked_through.0].iter().filter_map(|e| e.shrunk()).for_each(|n| tell(Event::Shrunk(n)));
        let found = found?;
        let stages = task.stages.into_inner().expect("no attack panics");
        for (served, (outcomes, witnesses)) in unit.cells.iter().zip(found) {
            let mut provenance = self.provenance(served, began, None);
            provenance.stages = stages.iter().map(stage_record).collect();
            // what stands is judged once more at the end
            if let Some(last) = provenance.stages.last_mut() {
                let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum();
                (last.forwards, last.backwards) = (sum(|o| o.forwards), sum(|o| o.backwards));
            }
            provenance.served_by = (served.id != cell.id).then(|| cell.id.clone());
            self.store.put(&served.cell, &outcomes, &witnesses, subset.size, provenance)?;
        }
        self.store.drop_checkpoint(&cell.id)
    }

    /// What the cell of a smaller budget left.
    fn earlier(&self, id: &CellId) -> Result<Earlier> {
        match self.store.state(id)? {
            State::Done => Ok(Earlier::new(self.store.read(id)?.outcomes, self.store.read_witnesses(id)?)),
            _ => Err(Error::Rung(format!("it goes on from cell {id}, which failed"))),
        }
    }

    fn new_memo(&self, cell: &PlannedCell) -> Memo {
        let subset = &self.plan.data[cell.data].subset;
        let fits = subset.pixels.len() * size_of::<f32>() <= MEMO_BYTES;
        Memo::new(if fits { subset.len() } else { 0 })
    }
}
