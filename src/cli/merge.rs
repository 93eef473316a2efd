//! `merge`: whether a run that several computed is whole.

use super::whole::{drop_work, missing_cells};
use crate::error::{Error, Result};
use crate::notice::say;
use crate::store::Store;
use std::path::Path;

/// Checks that every planned cell is there, whole and sealed, and drops what was needed on the way.
pub fn merge(dir: &Path) -> Result<()> {
    let reader = Store::open(dir)?;
    let plan = reader.read_plan()?;
    missing_cells(&reader)?;
    let (mut failed, total) = (0, plan.cells.len());
    for cell in &plan.cells {
        let id = cell.id();
        match reader.read(&id)?.provenance.error {
            None => drop(reader.read_witnesses(&id)?),
            Some(_) => failed += 1,
        }
    }
    // alone, or not at all: others may be at work
    match Store::create(dir) {
        Ok(store) => drop_work(&store)?,
        Err(Error::Store(_)) => say(
            "what was needed on the way is left to whoever else is at work here (hint: merge again when they have ended)",
        ),
        Err(other) => return Err(other),
    }
    say(format_args!("{total} cells, none missing"));
    if failed == 0 { Ok(()) } else { Err(Error::CellsFailed { failed, total }) }
}
