//! A run, read from the store once: a summary a cell, and what must hold between them.

use super::ladder;
use super::summary::Summary;
use crate::error::{Error, Result};
use crate::figure::FigureRecord;
use crate::record::{Outcome, PlanRecord};
use crate::store::Store;
use rayon::prelude::*;

/// What reports are made of: one summary a planned cell, in the order of the plan.
pub struct Run<'a> {
    /// Where more is to be read.
    pub store: &'a Store,
    /// Its id, from those of its cells.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Cells in order.
    pub cells: Vec<Summary>,
    /// What must hold between them.
    pub sanity: Vec<ladder::Row>,
    /// Models whose weights nothing pins.
    pub unpinned: Vec<String>,
    /// Digests of subsets whose files nothing pins.
    pub unpinned_data: Vec<String>,
    /// What the plan asks figures to look like.
    pub figures: Vec<FigureRecord>,
}

/// Cells that are read at a time, of as many images as there are.
const CHUNK: usize = 16;

impl Run<'_> {
    /// Reads and summarises every cell of the run's plan.
    pub fn read(store: &Store) -> Result<Run<'_>> {
        Run::read_with(store, |_, _| Ok(()), |()| Ok(()))
    }

    /// [`Run::read`], reading every cell once on all threads; what `make` makes of a cell's outcomes is handed to `take` in
    /// the order of the plan.
    pub fn read_with<T: Send>(
        store: &Store,
        make: impl Fn(&Summary, Vec<Outcome>) -> Result<T> + Sync,
        mut take: impl FnMut(T) -> Result<()>,
    ) -> Result<Run<'_>> {
        let plan = store.read_plan()?;
        if let Some(figure) = plan.figures.iter().find(|figure| !figure.is_sound()) {
            return Err(Error::Store(format!(
                "plan.json asks for a figure that no sweep file may ask for: {figure:?}"
            )));
        }
        let mut cells = Vec::with_capacity(plan.cells.len());
        for chunk in plan.cells.chunks(CHUNK) {
            let read = chunk.par_iter().map(|cell| {
                let (summary, outcomes) = Summary::read(store, &plan, cell)?;
                let made = make(&summary, outcomes)?;
                Ok((summary, made))
            });
            for (summary, made) in read.collect::<Result<Vec<_>>>()? {
                cells.push(summary);
                take(made)?;
            }
        }
        let (id, sanity) = (plan.run_id(), ladder::ladder(store, &cells, &plan.published)?);
        let PlanRecord { name, unpinned, unpinned_data, figures, .. } = plan;
        Ok(Run { store, id, name, cells, sanity, unpinned, unpinned_data, figures })
    }
}
