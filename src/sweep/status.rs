//! How far a run is, from its store alone.

use crate::error::Result;
use crate::record::{AfterRecord, UnitRecord, WorkerRecord, unix_s};
use crate::store::Store;
use serde::Serialize;
use std::collections::BTreeSet;

/// How far a run is.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its cells.
    pub cells: Count,
    /// Its chunks: of images of cells that one run of an attack serves. `None`: nobody has cut it.
    pub chunks: Option<Count>,
    /// Verdicts of other nets on stored cells, and maps of them, that are not there yet.
    pub afterwards_missing: usize,
    /// Who is or was at work.
    pub workers: Vec<WorkerStatus>,
    /// Until all is done, by the speed of those at work; `None`: nobody is, or nothing is known of it.
    pub seconds_left: Option<f64>,
}

/// How many, by state.
#[derive(Debug, Default, Serialize)]
pub struct Count {
    /// Stored.
    pub done: usize,
    /// Being computed now, as far as is known.
    pub running: usize,
    /// Stored as failed.
    pub failed: usize,
    /// Neither.
    pub missing: usize,
}

/// What is known of a worker.
#[derive(Debug, Serialize)]
pub struct WorkerStatus {
    /// What it said last.
    #[serde(flatten)]
    pub said: WorkerRecord,
    /// What it computes; `None`: it waits, or is at its end.
    pub at: Option<String>,
    /// Seconds since, by the clocks of two machines.
    pub silent_s: u64,
    /// `at work`, `silent`, `ended` or `ended with N`.
    pub state: String,
}

const AT_WORK: &str = "at work";

/// A worker speaks every ten seconds; clocks of machines differ by less than this.
const SILENT_AFTER_S: u64 = 100;

/// Looks at a run.
///
/// # Errors
/// A store that cannot be read.
pub fn status(store: &Store, now_unix_s: u64) -> Result<Status> {
    let plan = store.read_plan()?;
    let there: BTreeSet<String> = store.ids()?.into_iter().collect();
    let failed: BTreeSet<&String> = there.iter().filter(|id| store.is_failed(id)).collect();
    let mut cells = Count::default();
    for id in plan.cells.iter().map(|cell| cell.id()) {
        match (there.contains(&id), failed.contains(&id)) {
            (false, _) => cells.missing += 1,
            (true, true) => cells.failed += 1,
            (true, false) => cells.done += 1,
        }
    }
    let mut workers: Vec<WorkerStatus> = store.workers().into_iter().map(|said| known_of(said, now_unix_s)).collect();
    for (what, holder) in store.claims() {
        if let Some(worker) = workers.iter_mut().find(|w| w.said.name == holder && w.state == AT_WORK) {
            worker.at = Some(what);
        }
    }
    let at_work: Vec<&WorkerStatus> = workers.iter().filter(|w| w.state == AT_WORK).collect();
    // passes over clean images, fits and the like are of no cell
    let is_chunk = |at: &&str| !at.contains('-');
    let at: BTreeSet<&str> = at_work.iter().filter_map(|w| w.at.as_deref()).filter(is_chunk).collect();
    // a claim stands a moment longer than its work, and where its worker was killed then, until he is gone
    let units: BTreeSet<&str> = at.iter().filter_map(|at| at.split(',').next()).collect();
    cells.running =
        plan.cells.iter().map(|cell| cell.id()).filter(|id| units.contains(id.as_str()) && !there.contains(id)).count();
    let (mut chunks, mut left) = (None, 0.0);
    if let Some(work) = store.read_work() {
        let mut count = Count::default();
        let stored = store.all_chunks();
        for unit in &work.units {
            let of_unit = stored.get(unit.cells.last().map_or("", String::as_str));
            left += count_unit(unit, &there, &failed, of_unit, &at, &mut count);
        }
        chunks = Some(count);
    }
    cells.missing -= cells.running;
    // what a worker has done since it began says how fast it is
    let said = at_work.iter().map(|worker| &worker.said);
    let speed: f64 = said.filter(|w| w.work > 0.0).map(|w| w.work / w.seconds.max(1.0)).sum();
    let seconds_left = (chunks.is_some() && (speed > 0.0 || left == 0.0)).then(|| left / speed.max(f64::MIN_POSITIVE));
    let afterwards_missing = missing_afterwards(store)?.len();
    Ok(Status { cells, chunks, afterwards_missing, workers, seconds_left })
}

/// Whether a worker has said lately that it is at work.
pub fn is_somebody_at_work(store: &Store) -> bool {
    let now = unix_s();
    store.workers().into_iter().any(|said| known_of(said, now).state == AT_WORK)
}

/// What the plan asks of stored cells that is not there, a line each: other nets' verdicts, maps, tests.
pub fn missing_afterwards(store: &Store) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for after in store.read_work().map_or_else(Vec::new, |work| work.after) {
        let AfterRecord { cell, models, layer, binarise } = &after;
        if store.is_failed(cell) || !store.has(cell) {
            continue; // of a failed one nothing is made, and a missing one is named itself
        }
        let unasked = models.iter().filter(|model| !store.has_transfer(cell, model));
        lines.extend(unasked.map(|model| format!("missing: what `{}` says of cell {cell}", model.name)));
        if layer.is_some() && store.explained_layer(cell)? != *layer {
            lines.push(format!("missing: the maps of cell {cell}"));
        }
        if let Some(wanted) = *binarise
            && store.read_binarised(cell)?.len() < wanted
        {
            lines.push(format!("missing: the binarisation test of cell {cell}"));
        }
    }
    Ok(lines)
}

/// Counts the chunks of a unit, and gives the work that is left.
fn count_unit(
    unit: &UnitRecord,
    there: &BTreeSet<String>,
    failed: &BTreeSet<&String>,
    stored: Option<&BTreeSet<(usize, usize)>>,
    claimed: &BTreeSet<&str>,
    count: &mut Count,
) -> f64 {
    let settled = unit.cells.iter().all(|id| there.contains(id));
    let is_failed = unit.cells.iter().any(|id| failed.contains(id));
    let mut left = 0.0;
    for cut in unit.cuts.windows(2) {
        match () {
            () if settled && is_failed => count.failed += 1,
            () if settled || stored.is_some_and(|s| s.contains(&(cut[0], cut[1]))) => count.done += 1,
            () => {
                let name = format!("{},{},{}", unit.cells.last().map_or("", String::as_str), cut[0], cut[1]);
                match claimed.contains(name.as_str()) {
                    true => count.running += 1,
                    false => count.missing += 1,
                }
                left += unit.cost * (cut[1] - cut[0]) as f64;
            }
        }
    }
    left
}

fn known_of(said: WorkerRecord, now: u64) -> WorkerStatus {
    let silent_s = now.saturating_sub(said.unix_s);
    let state = match said.ended {
        Some(0) => "ended".to_string(),
        Some(status) => format!("ended with {status}"),
        None if silent_s > SILENT_AFTER_S => "silent".to_string(),
        None => AT_WORK.to_string(),
    };
    WorkerStatus { said, at: None, silent_s, state }
}
