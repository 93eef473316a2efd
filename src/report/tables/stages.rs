//! The stages of attacks that run others one after the other, as a table: the only one that says how long something took.

use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::StageRecord;
use crate::table::{Column, Table, row};

/// Columns of `stages.csv`, normative.
const COLUMNS: [Column; 7] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("attack"),
    Column::text("stage"),
    Column::count("standing"),
    Column::count("passes"),
    Column::number("seconds"),
];

/// `stages.csv`: one row a stage of a complete cell, in their order.
pub fn table(run: &Run) -> Result<Option<Table>> {
    let rows = |s: &Summary| {
        let row = |stage: &StageRecord| {
            let (c, passes) = (&s.cell, stage.forwards.saturating_add(stage.backwards));
            let names = row![s.id.clone(), c.model.name.clone(), c.attack.name.clone(), stage.name.clone()];
            names.into_iter().chain(row![stage.standing, passes, stage.seconds]).collect::<Vec<_>>()
        };
        s.stages.iter().map(row).collect::<Vec<_>>()
    };
    Table::of(&COLUMNS, run.cells.iter().filter(|s| s.rates.is_some()).flat_map(rows))
}
