//! A run, read from the store once: a summary a cell, and what must hold between them.

use super::ladder;
use super::paired::Shared;
use super::summary::Summary;
use crate::error::{Error, Result};
use crate::figure::FigureRecord;
use crate::record::{Cell, Outcome, PlanRecord};
use crate::store::Store;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

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
    /// Names of classes, by digest of a subset.
    classes: Mutex<BTreeMap<String, Arc<[String]>>>,
}

/// Cells that are read at a time, of as many images as there are.
const CHUNK: usize = 16;

/// Images of which lists are kept; those of further cells are read again where a chart or a card shows the cell. As many take
/// a few hundred MB.
const KEPT: usize = 8_000_000;

impl Run<'_> {
    /// Reads and summarises every cell of the run's plan.
    pub fn read(store: &Store) -> Result<Run<'_>> {
        Run::read_with(store, KEPT, |_, _| Ok(()), |()| Ok(()))
    }

    /// The same, with the lists of images of all cells, however many.
    pub fn read_whole(store: &Store) -> Result<Run<'_>> {
        Run::read_with(store, usize::MAX, |_, _| Ok(()), |()| Ok(()))
    }

    /// [`Run::read`], reading every cell once on all threads; what `make` makes of a cell's outcomes is handed to `take` in
    /// the order of the plan.
    pub fn read_for<T: Send>(
        store: &Store,
        make: impl Fn(&Summary, Vec<Outcome>) -> Result<T> + Sync,
        take: impl FnMut(T) -> Result<()>,
    ) -> Result<Run<'_>> {
        Run::read_with(store, KEPT, make, take)
    }

    fn read_with<T: Send>(
        store: &Store,
        most: usize,
        make: impl Fn(&Summary, Vec<Outcome>) -> Result<T> + Sync,
        mut take: impl FnMut(T) -> Result<()>,
    ) -> Result<Run<'_>> {
        let mut plan = store.read_plan()?;
        if let Some(figure) = plan.figures.iter().find(|figure| !figure.is_sound()) {
            return Err(Error::Store(format!(
                "plan.json asks for a figure that no sweep file may ask for: {figure:?}"
            )));
        }
        let (id, mut known, mut kept) = (plan.run_id(), Shared::default(), 0usize);
        let mut cells = Vec::with_capacity(plan.cells.len());
        let mut planned = std::mem::take(&mut plan.cells).into_iter();
        loop {
            let chunk: Vec<Cell> = planned.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            let read = chunk.into_par_iter().map(|cell| {
                let (summary, outcomes) = Summary::read(store, &plan, cell)?;
                let made = make(&summary, outcomes)?;
                Ok((summary, made))
            });
            for (mut summary, made) in read.collect::<Result<Vec<_>>>()? {
                summary.verdicts.share(&mut known);
                kept += summary.tally.fooled.len() + summary.tally.least.len();
                if kept > most {
                    summary.tally.drop_lists();
                }
                cells.push(summary);
                take(made)?;
            }
        }
        let sanity = ladder::ladder(store, &cells, &plan.published)?;
        let PlanRecord { name, unpinned, unpinned_data, figures, .. } = plan;
        Ok(Run { store, id, name, cells, sanity, unpinned, unpinned_data, figures, classes: Mutex::default() })
    }

    /// Names of the classes of a subset. Its file, which has the images too, is read once.
    pub fn classes(&self, digest: &str) -> Result<Arc<[String]>> {
        let mut known = self.classes.lock().expect("no holder panics");
        if !known.contains_key(digest) {
            known.insert(digest.to_string(), self.store.read_inputs(digest)?.classes.into());
        }
        Ok(known[digest].clone())
    }
}
