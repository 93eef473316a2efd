//! Whether a run is whole, and what is dropped then.

use crate::error::{Error, Result};
use crate::notice::say;
use crate::store::Store;
use crate::sweep::status::missing_afterwards;

/// Cells that are named; the rest are counted.
const NAMED: usize = 20;

/// Names the planned cells that the store lacks, and what is to be made of others.
///
/// # Errors
/// [`Error::Missing`] where there are any.
pub fn missing_cells(store: &Store) -> Result<()> {
    let plan = store.read_plan()?;
    let mut lines = Vec::new();
    for cell in &plan.cells {
        let id = cell.id();
        if !store.has(&id) {
            let budget = cell.budget_text();
            lines.push(format!(
                "missing: cell {id} ({}, {} {}, {budget})",
                cell.model.name,
                cell.attack.name,
                cell.params()
            ));
        }
    }
    let (cells, of) = (lines.len(), plan.cells.len());
    lines.extend(missing_afterwards(store)?);
    if lines.is_empty() {
        return Ok(());
    }
    let missing = lines.len();
    lines.truncate(NAMED);
    if missing > NAMED {
        lines.push(format!("missing: {} more", missing - NAMED));
    }
    lines.push(format!("{cells} of {of} cells are missing, and {} verdicts and maps of others (hint: run the sweep again, or a worker: they go on)", missing - cells));
    Err(Error::Missing(lines))
}

/// Drops what was needed on the way to a run that is whole, unless somebody may still be at work.
pub fn drop_work(store: &Store) -> Result<()> {
    match store.at_work_elsewhere() {
        None => store.drop_work(),
        Some(worker) => {
            say(format_args!(
                "what was needed on the way stays in {}: worker {worker} has not said that it ended (hint: merge again in ten \
                 minutes, or delete it)",
                store.dir().join("work").display()
            ));
            Ok(())
        }
    }
}
