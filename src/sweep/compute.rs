//! Computes a piece of work: what a model says of clean images, what an attack finds for a chunk of them.

use super::chunks::{self, ranges};
use super::fits::{self, Kept};
use super::plan::PlannedCell;
use super::runner::{Event, Runner};
use super::units::Unit;
use crate::attack::{StageReport, Task};
use crate::digest;
use crate::error::{Error, Result};
use crate::judge::{self, Earlier, Judging, Trial, Verdict};
use crate::kernel::{Engine, Precision};
use crate::oracle::Memo;
use crate::record::{Cell, CellId, Chunk, Outcome, StageRecord, Witnesses, unix_s};
use crate::rng::Streams;
use crate::store::State;
use crate::terms::Through;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

/// Gradients at clean images are kept for the cells that share them while they fit into this.
const MEMO_BYTES: usize = 1 << 30;

/// A model on its device with what it says of the clean images of one subset.
pub(super) struct Prepared {
    pub(super) model: usize,
    pub(super) data: usize,
    engine: Box<dyn Engine>,
    /// The net as attacks ask it, where that is not as the judge does.
    attacked: Option<(Asking, Box<dyn Engine>)>,
    clean: Vec<Verdict>,
    /// What the cell of a smaller budget left, for those that go on from there.
    earlier: Option<(CellId, Earlier)>,
    /// Goal that `memo` belongs to, and how the net was asked.
    memo_of: (String, Asking),
    memo: Memo,
}

/// How attacks ask a net: in which precision, how its defence is met, and by which draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asking {
    precision: Precision,
    through: Option<Through>,
    /// Draws a gradient, and their seed; `None`: nothing is random.
    eot: Option<(u32, u64)>,
}

impl Asking {
    /// As the judge asks a net without a defence.
    const PLAIN: Asking = Asking { precision: Precision::F32, through: None, eot: None };

    fn of(cell: &Cell) -> Asking {
        Asking { precision: cell.precision, through: cell.through, eot: cell.eot.map(|k| (k, cell.seed)) }
    }
}

impl Prepared {
    /// The net as an attack asks it.
    fn attacked_through(&self) -> (&dyn Engine, Precision) {
        let own = self.attacked.as_ref().map(|(asking, engine)| (engine.as_ref(), asking.precision));
        own.unwrap_or((self.engine.as_ref(), Precision::F32))
    }

    /// Gets ready for a cell of the same model and images.
    fn turn_to(&mut self, cell: &PlannedCell, runner: &Runner) -> Result<()> {
        let asking = Asking::of(&cell.cell);
        if self.attacked.as_ref().map_or(Asking::PLAIN, |(known, _)| *known) != asking {
            self.attacked = None; // before there is another: both may not fit
            if asking != Asking::PLAIN {
                let Asking { precision, through, eot } = asking;
                let model = &runner.plan.models[cell.model];
                let engine =
                    model.attacked(&runner.machine.device, precision, through, eot.unwrap_or((1, cell.cell.seed)))?;
                self.attacked = Some((asking, engine));
            }
        }
        let of = (cell.cell.goal.name(), asking);
        if self.memo_of != of {
            (self.memo_of, self.memo) = (of, runner.new_memo(cell));
        }
        Ok(())
    }

    /// Reads what a cell goes on from, once for all its chunks.
    fn remember(&mut self, cell: Option<&CellId>, runner: &Runner) -> Result<()> {
        if let Some(id) = cell.filter(|id| self.earlier.as_ref().is_none_or(|(known, _)| known != *id)) {
            self.earlier = Some((id.clone(), runner.earlier(id)?));
        }
        Ok(())
    }
}

/// How sure a success must be for the search to end: as asked; of a vote, by more than chance, where a blind attack looks no
/// further anyway.
fn sure(cell: &Cell) -> Option<f32> {
    let asked = cell.confidence.map(|p| p.to_f64() as f32);
    asked.or_else(|| cell.votes.filter(|_| cell.through != Some(Through::Straight)).map(judge::clear_majority))
}

/// What an attack told of a stage, as it is stored.
fn stage_record(of: &StageReport) -> StageRecord {
    let StageReport { name, standing, forwards, backwards, seconds } = of.clone();
    StageRecord { name: name.into(), standing, forwards, backwards, seconds }
}

impl Runner<'_> {
    /// Loads the model, unless it is loaded, looks at the clean images, and refuses to go on where the clean accuracy cannot be
    /// right.
    pub(super) fn prepare(&self, cell: &PlannedCell, loaded: Option<Box<dyn Engine>>) -> Result<Prepared> {
        let (model, data) = (&self.plan.models[cell.model], &self.plan.data[cell.data]);
        let engine = loaded.map_or_else(|| model.engine(&self.machine.device, Precision::F32), Ok)?;
        let subset = &data.subset;
        let clean = self.clean(cell, engine.as_ref())?;
        let correct = clean.iter().zip(&subset.labels).filter(|(v, label)| v.prediction == Some(**label)).count();
        model.check_clean_accuracy(data.population(), correct, subset.len())?;
        Ok(Prepared {
            model: cell.model,
            data: cell.data,
            engine,
            attacked: None,
            clean,
            earlier: None,
            memo_of: (cell.cell.goal.name(), Asking::PLAIN),
            memo: self.new_memo(cell),
        })
    }

    /// What the model of a cell says of its clean images; from the store where it is kept there.
    fn clean(&self, cell: &PlannedCell, engine: &dyn Engine) -> Result<Vec<Verdict>> {
        let cuts = self.clean_cuts(cell)?;
        // one piece alone is soon computed again, unless others need it too
        let is_kept = cuts.len() > 2 || self.store.is_shared();
        let mut verdicts = Vec::new();
        for range in ranges(&cuts) {
            verdicts.extend(match is_kept {
                true => self.clean_chunk(cell, &range, engine)?,
                false => self.predict_clean(cell, &range, engine)?,
            });
        }
        Ok(verdicts)
    }

    /// Where clean images are cut for a pass of their own.
    pub(super) fn clean_cuts(&self, cell: &PlannedCell) -> Result<Vec<usize>> {
        let pass = self.plan.models[cell.model].multiply_adds()? as f64;
        Ok(chunks::even_cuts(self.plan.data[cell.data].subset.len(), pass, self.machine))
    }

    /// Name of the clean pass that a cell needs: its model's over its images.
    pub(super) fn clean_name(&self, cell: &PlannedCell) -> String {
        let of = serde_json::to_string(&(&cell.cell.model, &cell.cell.data.digest)).expect("plain data");
        digest::sha256(of.as_bytes())[..16].to_string()
    }

    /// What the model says of a range of clean images, from the store, else computed and stored.
    pub(super) fn clean_chunk(
        &self,
        cell: &PlannedCell,
        range: &Range<usize>,
        engine: &dyn Engine,
    ) -> Result<Vec<Verdict>> {
        let name = self.clean_name(cell);
        if let Some(logits) = self.store.read_clean(&name, range) {
            return Ok(logits.into_iter().map(Verdict::new).collect());
        }
        let verdicts = self.predict_clean(cell, range, engine)?;
        let logits: Vec<&[f32]> = verdicts.iter().map(|v| v.logits.as_slice()).collect();
        self.store.put_clean(&name, range, &logits)?;
        Ok(verdicts)
    }

    fn predict_clean(&self, cell: &PlannedCell, range: &Range<usize>, engine: &dyn Engine) -> Result<Vec<Verdict>> {
        self.check_stop()?;
        let subset = &self.plan.data[cell.data].subset;
        let values = subset.values();
        let pixels = Witnesses::U8(subset.pixels[range.start * values..range.end * values].to_vec());
        judge::predict_stored(engine, &pixels, subset.size, &self.machine.device, self.machine.batch_size(values))
    }

    /// What is stored of a range of a unit, if it has all cells that are asked for.
    pub(super) fn stored_chunk(&self, unit: &Unit, name: &CellId, range: &Range<usize>) -> Option<Chunk> {
        let mut chunk = self.store.read_chunk(name, range)?;
        let is_wanted = |id: &CellId| unit.cells.iter().any(|cell| cell.id == *id);
        chunk.cells.retain(|(id, ..)| is_wanted(id));
        (chunk.cells.len() == unit.cells.len()).then_some(chunk)
    }

    /// What the attack of a unit finds for a range of its images. `name` is that of the unit with all its cells.
    pub(super) fn compute_chunk(
        &self,
        unit: &Unit,
        name: &CellId,
        images: &Range<usize>,
        ready: &mut Prepared,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Chunk> {
        let cell = unit.longest();
        ready.turn_to(cell, self)?;
        ready.remember(unit.after(), self)?;
        let subset = &self.plan.data[cell.data].subset;
        let marks = unit.marks();
        let trial = Trial {
            engine: ready.engine.as_ref(),
            attacked_through: ready.attacked_through(),
            device: &self.machine.device,
            subset,
            images: images.clone(),
            clean: &ready.clean,
            goal: cell.cell.goal,
            seed: cell.cell.seed,
            witness: cell.cell.witness,
            // what an attack hears is not what the judge hears, or rounding can decide more than its gradient says
            judging: match cell.cell.through {
                Some(_) => Judging::Every,
                None => Judging::WhereItMatters,
            },
            blind: cell.cell.through == Some(Through::Straight),
            votes: cell.cell.votes,
            on_device: !self.machine.device.is_cpu(),
            marks: &marks,
            earlier: ready.earlier.as_ref().filter(|_| unit.after().is_some()).map(|(_, earlier)| earlier),
            confidence: sure(&cell.cell),
            every_image: cell.attack.changes_every_image(),
            batch: self.machine.batch_size(subset.values()),
            stop: self.stop,
        };
        let (pictures, blind) = match unit.fit() {
            Some(fit) => fits::pictures(self, cell, fit, tell)?,
            None => (Vec::new(), false),
        };
        // chunks of one cell may be under way at the same time
        let state = if images.len() == subset.len() { name.clone() } else { format!("{name}-{}", images.start) };
        let kept = Kept::new(self.store, &state, self.stop);
        let streams = Streams::new(cell.cell.seed, unit.streams());
        let stages = Mutex::default();
        let (threat, witness) = (cell.cell.threat, cell.cell.witness);
        let task = Task { threat, streams, witness, pictures: &pictures, blind, checkpoint: &kept, stages };
        let began = Instant::now();
        let cost = unit.steps();
        let mut tell_settled = |images: usize| tell(Event::Settled { images, work: images as u64 * cost });
        tell_settled(images.len() - trial.attacked().len());
        let found = trial.run(cell.attack.as_ref(), &task, &ready.memo, &mut tell_settled);
        [trial.engine, trial.attacked_through.0].iter().filter_map(|e| e.shrunk()).for_each(|n| tell(Event::Shrunk(n)));
        let found = found?;
        let mut provenance = self.provenance(cell, began, None);
        provenance.stages = task.stages.into_inner().expect("no attack panics").iter().map(stage_record).collect();
        let cells = unit.cells.iter().zip(found).map(|(served, (rows, images))| (served.id.clone(), rows, images));
        let chunk = Chunk { provenance, size: subset.size, cells: cells.collect() };
        self.store.drop_checkpoint(&state)?;
        Ok(chunk)
    }

    /// Stores the cells of a unit, all of whose images are here: those of fewer iterations first, so that the one with the most,
    /// whose name the unit has, is missing while any is.
    pub(super) fn put_cells(&self, unit: &Unit, found: &Chunk) -> Result<()> {
        for served in &unit.cells {
            let (_, outcomes, witnesses) = found
                .cells
                .iter()
                .find(|(id, ..)| *id == served.id)
                .expect("a chunk has every cell that was asked for");
            let mut provenance = found.provenance.clone();
            provenance.finished_unix_s = unix_s();
            // what stands is judged once more at the end
            if let Some(last) = provenance.stages.last_mut() {
                let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum();
                (last.forwards, last.backwards) = (sum(|o| o.forwards), sum(|o| o.backwards));
            }
            provenance.served_by = (served.id != *unit.id()).then(|| unit.id().clone());
            self.store.put(&served.cell, outcomes, witnesses, found.size, provenance)?;
        }
        Ok(())
    }

    /// Stores that the cells of a unit failed.
    pub(super) fn put_failed(&self, unit: &Unit, text: &str, tell: &mut dyn FnMut(Event)) -> Result<()> {
        for cell in &unit.cells {
            self.store.put_failed(&cell.cell, self.provenance(cell, Instant::now(), Some(text.to_string())))?;
            tell(Event::Failed(format!("cell {} ({}): {text}", cell.id, cell.cell.attack.name)));
        }
        Ok(())
    }

    /// What the cell of a smaller budget left.
    fn earlier(&self, id: &CellId) -> Result<Earlier> {
        match self.store.state(id)? {
            State::Done => Ok(Earlier::new(self.store.read(id)?.outcomes, self.store.read_witnesses(id)?)),
            State::Failed => Err(Error::Rung(format!("it goes on from cell {id}, which failed"))),
            State::Missing => {
                Err(Error::Absent(format!("it goes on from cell {id}, which is not there (hint: run again)")))
            }
        }
    }

    fn new_memo(&self, cell: &PlannedCell) -> Memo {
        let subset = &self.plan.data[cell.data].subset;
        let fits = subset.pixels.len() * size_of::<f32>() <= MEMO_BYTES;
        Memo::new(if fits { subset.len() } else { 0 })
    }
}
