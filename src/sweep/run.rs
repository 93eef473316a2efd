//! Computes the cells that the store lacks.

use super::plan::{Plan, PlannedCell};
use crate::attack::Task;
use crate::error::{Error, Result};
use crate::judge::{self, Earlier, Judging, Trial, Verdict};
use crate::kernel::{Engine, Precision};
use crate::oracle::Memo;
use crate::record::{CellId, Provenance, SCHEMA, Witnesses};
use crate::rng::Streams;
use crate::store::{State, Store};
use candle_core::Device;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How to compute. Threads and batch change no result; another device changes last bits.
pub struct Machine {
    /// Where tensors live.
    pub device: Device,
    /// `cpu`, `cuda:0`, or `cuda:0 bf16` where gradients are not f32.
    pub device_name: String,
    /// Of gradients on CUDA.
    pub precision: Precision,
    /// Threads of the CPU kernels.
    pub threads: usize,
    /// Images a batch; `None`: as many as [`BATCH_BYTES`] holds.
    pub batch: Option<usize>,
}

/// Memory for the tensors of one batch: about ten of the batch's size live at once.
const BATCH_BYTES: usize = 1 << 30;

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
    /// A cell is stored.
    Stored,
    /// A cell failed; the text says which and why.
    Failed(String),
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
    clean: Vec<Verdict>,
    /// Goal that `memo` belongs to.
    memo_goal: String,
    memo: Memo,
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
    let runner = Runner { plan, store, machine, stop };
    runner.store_inputs()?;
    let mut missing = Vec::new();
    for cell in &plan.cells {
        if store.state(&cell.id)? != State::Done {
            missing.push(cell);
        }
    }
    let cached = plan.cells.len() - missing.len();
    let work = missing.iter().map(|c| c.cell.data.take as u64 * c.attack.cost()).sum();
    tell(Event::Begin { cells: plan.cells.len(), cached, work });
    let mut done = Done { cached, ..Done::default() };
    // what would stop the run stops it before hours are spent: weights that do not load, a clean accuracy that is wrong
    let mut tried: Vec<(usize, usize)> = Vec::new();
    for cell in &missing {
        if !tried.contains(&(cell.model, cell.data)) {
            tried.push((cell.model, cell.data));
            runner.prepare(cell)?;
        }
    }
    let mut prepared: Option<Prepared> = None;
    for cell in missing {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let ready = match prepared.take().filter(|p| (p.model, p.data) == (cell.model, cell.data)) {
            Some(same) => prepared.insert(same),
            None => prepared.insert(runner.prepare(cell)?),
        };
        if ready.memo_goal != cell.goal.name() {
            (ready.memo_goal, ready.memo) = (cell.goal.name(), runner.new_memo(cell));
        }
        match runner.compute(cell, ready, tell) {
            Ok(()) => {
                done.computed += 1;
                tell(Event::Stored);
            }
            Err(problem @ (Error::Tensor(_) | Error::Rung(_))) => {
                let text = problem.to_string();
                store.put_failed(&cell.cell, runner.provenance(cell, Instant::now(), Some(text.clone())))?;
                done.failed += 1;
                tell(Event::Failed(format!("cell {} ({}): {text}", cell.id, cell.cell.attack.name)));
            }
            Err(fatal) => return Err(fatal),
        }
    }
    Ok(done)
}

struct Runner<'a> {
    plan: &'a Plan,
    store: &'a Store,
    machine: &'a Machine,
    stop: &'a AtomicBool,
}

impl Runner<'_> {
    /// The plan and the clean images, so that reports need nothing but the store.
    fn store_inputs(&self) -> Result<()> {
        self.store.put_plan(&self.plan.record())?;
        for data in &self.plan.data {
            self.store.put_inputs(&data.subset.digest, &data.subset.inputs(data.dataset))?;
        }
        Ok(())
    }

    /// Loads the model, looks at the clean images, and refuses to go on where the clean accuracy cannot be right.
    fn prepare(&self, cell: &PlannedCell) -> Result<Prepared> {
        let (model, data) = (&self.plan.models[cell.model], &self.plan.data[cell.data]);
        let engine = model.engine(&self.machine.device, self.machine.precision)?;
        let subset = &data.subset;
        let pixels = Witnesses::U8(subset.pixels.clone());
        let batch = self.machine.batch_size(subset.values());
        let clean = judge::predict_stored(engine.as_ref(), &pixels, subset.side, &self.machine.device, batch)?;
        let correct = clean.iter().zip(&subset.labels).filter(|(v, label)| v.prediction == Some(**label)).count();
        model.check_clean_accuracy((data.dataset.population)(&data.split), correct, subset.len())?;
        Ok(Prepared {
            model: cell.model,
            data: cell.data,
            engine,
            clean,
            memo_goal: cell.goal.name(),
            memo: self.new_memo(cell),
        })
    }

    fn compute(&self, cell: &PlannedCell, ready: &Prepared, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let subset = &self.plan.data[cell.data].subset;
        let earlier = cell.earlier.as_ref().map(|id| self.earlier(id)).transpose()?;
        let trial = Trial {
            engine: ready.engine.as_ref(),
            device: &self.machine.device,
            subset,
            clean: &ready.clean,
            goal: cell.goal,
            seed: cell.cell.seed,
            witness: cell.witness,
            judging: Judging::WhereItMatters,
            earlier: earlier.as_ref(),
            batch: self.machine.batch_size(subset.values()),
            stop: self.stop,
        };
        let task = Task { threat: cell.threat, streams: Streams::new(cell.cell.seed, cell.id.as_str()) };
        let began = Instant::now();
        let cost = cell.attack.cost();
        let mut tell_settled = |images: usize| tell(Event::Settled { images, work: images as u64 * cost });
        tell_settled(subset.len() - trial.attacked().len());
        let (outcomes, witnesses) = trial.run(cell.attack.as_ref(), &task, &ready.memo, &mut tell_settled)?;
        self.store.put(&cell.cell, &outcomes, &witnesses, subset.side, self.provenance(cell, began, None))
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

    fn provenance(&self, cell: &PlannedCell, began: Instant, error: Option<String>) -> Provenance {
        Provenance {
            schema: SCHEMA,
            error,
            files: BTreeMap::new(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            model_file: self.plan.models[cell.model].path.as_ref().map(|p| p.display().to_string()),
            device: self.machine.device_name.clone(),
            threads: self.machine.threads,
            batch: self.machine.batch_size(self.plan.data[cell.data].subset.values()),
            time_s: began.elapsed().as_secs_f64(),
            finished_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        }
    }
}

impl Machine {
    /// Images a batch, for images of so many values.
    pub fn batch_size(&self, values: usize) -> usize {
        let fits = BATCH_BYTES / (10 * values * size_of::<f32>());
        self.batch.unwrap_or(fits.clamp(1, MOST_IN_A_BATCH))
    }
}
