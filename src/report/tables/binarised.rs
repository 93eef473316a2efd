//! The binarisation tests of attacks, as a table.

use crate::analysis::binarised::{Tested, tested};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::statistics::wilson;
use crate::table::{Column, Table, row};

/// Columns of `binarised.csv`, normative.
const COLUMNS: [Column; 15] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("dataset"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::count("images"),
    Column::count("separated"),
    Column::count("fooled"),
    Column::number("success_rate"),
    Column::number("success_low"),
    Column::number("success_high"),
    Column::count("guessed"),
    Column::number("guess_rate"),
];

/// `binarised.csv`: one row a cell whose attack was put to the test.
pub fn table(run: &Run) -> Result<Option<Table>> {
    let mut found: Vec<(&Summary, Tested)> = Vec::new();
    for s in &run.cells {
        found.extend(tested(run.store, s)?.map(|test| (s, test)));
    }
    let row = |(s, test): (&Summary, Tested)| {
        let c = &s.cell;
        let share = |k: usize| (test.separated > 0).then(|| k as f64 / test.separated as f64);
        let interval = (test.separated > 0).then(|| wilson(test.fooled, test.separated));
        row![
            s.id.clone(),
            c.model.name.clone(),
            c.data.text(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name(),
            c.threat.eps_text(),
            test.images,
            test.separated,
            test.fooled,
            share(test.fooled),
            interval.map(|i| i.0),
            interval.map(|i| i.1),
            test.guessed,
            share(test.guessed),
        ]
    };
    Table::of(&COLUMNS, found.into_iter().map(row))
}
