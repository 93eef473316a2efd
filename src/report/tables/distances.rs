//! The least distances of minimal threats as a table.

use crate::analysis::least::{quartiles, sorted};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::table::{Column, Table, row};

/// Columns of `distances.csv`, normative.
const COLUMNS: [Column; 9] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("attack"),
    Column::text("norm"),
    Column::count("n"),
    Column::count("failed"),
    Column::number("q25"),
    Column::number("q50"),
    Column::number("q75"),
];

/// `distances.csv`: one row a complete cell of a minimal threat.
pub fn table(run: &Run) -> Result<Option<Table>> {
    let minimal = |s: &&Summary| s.rates.is_some() && s.cell.threat.eps.is_minimal();
    let row = |s: &Summary| {
        let (c, distances) = (&s.cell, sorted(&s.least(run.store)?));
        let failed = distances.iter().filter(|d| d.is_infinite()).count();
        let [q25, q50, q75] = quartiles(&distances);
        let names = row![s.id.clone(), c.model.name.clone(), c.attack.name.clone(), c.threat.norm.name()];
        Ok(names.into_iter().chain(row![distances.len(), failed, q25, q50, q75]))
    };
    let rows = run.cells.iter().filter(minimal).map(row).collect::<Result<Vec<_>>>()?;
    Table::of(&COLUMNS, rows)
}
