//! Units of work: the cells that one run of an attack serves. It is what a run computes, what a resumed run finds missing, and
//! what a shard takes; a unit whose work is lost loses nothing else.

use super::plan::{Fitting, PlannedCell};
use crate::attack::STEPS;
use crate::oracle::Mark;
use crate::record::CellId;
use crate::terms::Budget;
use std::collections::BTreeMap;

/// Cells that one run serves.
#[derive(Clone)]
pub struct Unit<'a> {
    /// By ascending number of iterations, then by budget. Never empty.
    pub cells: Vec<&'a PlannedCell>,
}

impl<'a> Unit<'a> {
    /// The cell whose attack serves the whole unit.
    pub fn longest(&self) -> &'a PlannedCell {
        self.cells.last().expect("a unit has cells")
    }

    /// Its name: the id of its longest cell.
    pub fn id(&self) -> &'a CellId {
        &self.longest().id
    }

    /// Gradient steps that an image costs, if it stands to the end. A minimal threat gives passes, of which a step takes two.
    pub fn steps(&self) -> u64 {
        let (cell, steps) = (&self.longest().cell, self.longest().attack.cost());
        match cell.threat.eps {
            Budget::Minimal { passes } => steps.min((passes / 2).max(1)),
            _ => steps,
        }
    }

    /// The cell that must be stored before: this one goes on from there.
    pub fn after(&self) -> Option<&'a CellId> {
        self.longest().earlier.as_ref()
    }

    /// The pictures that must be made before.
    pub fn fit(&self) -> Option<&'a Fitting> {
        self.longest().fit.as_ref()
    }

    /// Where each of its cells ends, and what counts there.
    pub fn marks(&self) -> Vec<Mark> {
        let mark = |c: &&PlannedCell| Mark { end: c.attack.iterations().unwrap_or(usize::MAX), threat: c.cell.threat };
        self.cells.iter().map(mark).collect()
    }

    /// What its random streams are keyed by: the same for each of its cells, also where it is computed alone.
    pub fn streams(&self) -> String {
        family(self.longest())
    }

    /// Its work, in image × gradient steps.
    pub fn work(&self) -> u64 {
        self.longest().cell.data.take as u64 * self.steps()
    }
}

/// Cells in units, in the order of the first cell of each.
pub fn units(cells: Vec<&PlannedCell>) -> Vec<Unit<'_>> {
    let mut units: Vec<Unit> = Vec::new();
    let mut families: BTreeMap<String, usize> = BTreeMap::new();
    for cell in cells {
        // cells that go on from a smaller budget begin where their own attack left off there
        let shares = (cell.attack.serves_fewer() || cell.attack.seeks_nearest()) && cell.earlier.is_none();
        match shares.then(|| *families.entry(family(cell)).or_insert(units.len())) {
            Some(family) if family < units.len() => units[family].cells.push(cell),
            _ => units.push(Unit { cells: vec![cell] }),
        }
    }
    for unit in &mut units {
        unit.cells.sort_by(|a, b| {
            let by_end = a.attack.iterations().cmp(&b.attack.iterations());
            by_end.then(a.cell.threat.eps.to_f64().total_cmp(&b.cell.threat.eps.to_f64()))
        });
    }
    units
}

/// What the cells of one unit share: all but the number of iterations, where a shorter run is the beginning of a longer one;
/// all but the budget, where the attack looks for the nearest image.
fn family(cell: &PlannedCell) -> String {
    if cell.attack.seeks_nearest() {
        let mut same = cell.cell.clone();
        same.threat.eps = Budget::Minimal { passes: 0 };
        return same.family("");
    }
    cell.cell.family(STEPS)
}
