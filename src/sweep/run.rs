//! Computes the cells that the store lacks.

use super::afterwards;
use super::fits::{self, Kept};
use super::plan::{Plan, PlannedCell};
use super::units::{Unit, units};
use crate::attack::{Task, Training};
use crate::error::{Error, Result};
use crate::judge::{self, Earlier, Judging, Trial, Verdict};
use crate::kernel::{Engine, Precision};
use crate::oracle::Memo;
use crate::record::{CellId, Provenance, SCHEMA, Witnesses};
use crate::rng::Streams;
use crate::store::{State, Store};
use candle_core::Device;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How to compute. Threads and batch change no result; another device changes last bits.
pub struct Machine {
    /// Where tensors live.
    pub device: Device,
    /// `cpu` or `cuda:0`.
    pub device_name: String,
    /// Threads of the CPU kernels.
    pub threads: usize,
    /// Images a batch; `None`: as many as [`BATCH_BYTES`] holds, on a GPU [`DEVICE_BATCH_BYTES`].
    pub batch: Option<usize>,
}

/// Memory for the tensors of one batch: about ten of the batch's size live at once.
const BATCH_BYTES: usize = 1 << 30;

/// The same on a GPU, which is fed well by 256 images of 224 pixels.
const DEVICE_BATCH_BYTES: usize = 2 << 30;

/// More at once would not be faster.
const MOST_IN_A_BATCH: usize = 512;

/// Gradients at clean images are kept for the cells that share them while they fit into this.
const MEMO_BYTES: usize = 1 << 30;

/// What happens while a plan runs.
pub enum Event {
    /// Before anything is computed. `work` is in image × gradient steps.
    Begin {
        /// Cells of the plan.
        cells: usize,
        /// Cells that are stored already.
        cached: usize,
        /// What is left to do.
        work: u64,
    },
    /// Some images of a cell are settled.
    Settled {
        /// How many.
        images: usize,
        /// Their share of the work.
        work: u64,
    },
    /// So much of the pictures that an attack pastes is made, from 0 to 1.
    Fitted(f64),
    /// Of what is made of stored witnesses, so many cells are done.
    After {
        /// What is made: "transfers" or "maps".
        what: &'static str,
        /// Cells done.
        done: usize,
        /// Cells in all.
        of: usize,
    },
    /// Something that the user is to know of what was read.
    Note(String),
    /// A cell is stored.
    Stored,
    /// A cell failed; the text says which and why.
    Failed(String),
    /// The device had no memory for a batch; from now on the net takes so many images at a time.
    Shrunk(usize),
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Cells computed now.
    pub computed: usize,
    /// Cells found stored.
    pub cached: usize,
    /// Cells that failed now.
    pub failed: usize,
}

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
    let mut missing = Vec::new();
    for cell in &plan.cells {
        if store.state(&cell.id)? != State::Done {
            missing.push(cell);
        }
    }
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

pub(super) struct Runner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
    pub(super) machine: &'a Machine,
    pub(super) stop: &'a AtomicBool,
    /// Models whose notes are told.
    noted: RefCell<BTreeSet<usize>>,
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
        let clean = judge::predict_stored(engine.as_ref(), &pixels, subset.side, &self.machine.device, batch)?;
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
        let task = Task { threat: cell.cell.threat, streams, pictures: &pictures, blind, checkpoint: &kept };
        let began = Instant::now();
        let cost = cell.attack.cost();
        let mut tell_settled = |images: usize| tell(Event::Settled { images, work: images as u64 * cost });
        tell_settled(subset.len() - trial.attacked().len());
        let found = trial.run(cell.attack.as_ref(), &task, &ready.memo, &mut tell_settled);
        [trial.engine, trial.attacked_through.0].iter().filter_map(|e| e.shrunk()).for_each(|n| tell(Event::Shrunk(n)));
        let found = found?;
        for (served, (outcomes, witnesses)) in unit.cells.iter().zip(found) {
            let mut provenance = self.provenance(served, began, None);
            provenance.served_by = (served.id != cell.id).then(|| cell.id.clone());
            self.store.put(&served.cell, &outcomes, &witnesses, subset.side, provenance)?;
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

    /// The current folder, where a model or data was found from it.
    pub(super) fn folder(&self, model: usize, data: usize) -> Option<String> {
        let choice = &self.plan.data[data].choice;
        let model = self.plan.models[model].origin.as_deref().filter(|origin| origin.ends_with(".toml"));
        let table = choice.table.as_ref().and_then(|table| table.path.as_deref());
        let paths = [model.map(Path::new), choice.path.as_deref(), table.map(Path::new)];
        let relative = paths.into_iter().flatten().any(Path::is_relative);
        std::env::current_dir().ok().filter(|_| relative).map(|folder| folder.display().to_string())
    }

    pub(super) fn provenance(&self, cell: &PlannedCell, began: Instant, error: Option<String>) -> Provenance {
        Provenance {
            schema: SCHEMA,
            error,
            files: BTreeMap::new(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            model_file: self.plan.models[cell.model].origin.clone(),
            model_commit: self.plan.models[cell.model].commit.clone(),
            model_notes: self.plan.models[cell.model].notes().to_vec(),
            folder: self.folder(cell.model, cell.data),
            data_path: self.plan.data[cell.data].choice.path.as_ref().map(|p| p.display().to_string()),
            data_table: self.plan.data[cell.data].choice.table.clone(),
            data_files: self.plan.data[cell.data].subset.sources.clone(),
            notes: self.plan.notes_of(cell),
            device: self.machine.device_name.clone(),
            machine: Some(kind_of_machine(self.machine.device.is_cpu())),
            threads: self.machine.threads,
            batch: self.machine.batch_size(self.plan.data[cell.data].subset.values()),
            time_s: began.elapsed().as_secs_f64(),
            served_by: None,
            finished_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        }
    }
}

/// `x86_64 linux, AMD EPYC, cpu family 25, model 17`; for a GPU, its model too. What the system does not tell is left out.
fn kind_of_machine(cpu: bool) -> String {
    let value = |text: &str, key: &str| {
        let mut entries = text.lines().filter_map(|line| line.split_once(':'));
        let found = entries.find(|(k, _)| k.trim() == key);
        found.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut parts = vec![format!("{} {}", std::env::consts::ARCH, std::env::consts::OS)];
    parts.extend(value(&processors, "model name"));
    for key in ["cpu family", "model", "CPU implementer", "CPU part"] {
        parts.extend(value(&processors, key).map(|v| format!("{key} {v}")));
    }
    if !cpu {
        let gpus = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
        let texts = gpus.filter_map(|gpu| std::fs::read_to_string(gpu.path().join("information")).ok());
        parts.extend(texts.filter_map(|text| value(&text, "Model")).min());
    }
    parts.join(", ")
}

/// The largest batch up to `most` that the CUDA engine does not round up: 2ᵏ or 3·2ᵏ images.
fn whole_batch(most: usize) -> usize {
    let power = 1 << most.ilog2();
    if power / 2 * 3 <= most && power > 1 { power / 2 * 3 } else { power }
}

impl Machine {
    /// Images a batch, for images of so many values.
    pub fn batch_size(&self, values: usize) -> usize {
        let fits = |bytes: usize| (bytes / (10 * values * size_of::<f32>())).clamp(1, MOST_IN_A_BATCH);
        self.batch.unwrap_or_else(|| match self.device.is_cpu() {
            true => fits(BATCH_BYTES),
            false => whole_batch(fits(DEVICE_BATCH_BYTES)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_batch_is_a_power_of_two_or_three_times_one() {
        let whole = [1, 2, 3, 4, 5, 6, 7, 8, 178, 191, 192, 255, 256, 356, 512].map(whole_batch);
        assert_eq!(whole, [1, 2, 3, 4, 4, 6, 6, 8, 128, 128, 192, 192, 256, 256, 512]);
    }
}
