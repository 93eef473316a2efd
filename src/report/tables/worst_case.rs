//! The worst case over all attacks of a budget as a table: the answer of a sweep.

use crate::analysis::worst::{WorstCase, worst_cases};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::statistics::wilson;
use crate::table::{Column, Table, row};

/// Columns of `worst-case.csv`, normative.
const COLUMNS: [Column; 16] = [
    Column::text("model"),
    Column::text("dataset"),
    Column::text("norm"),
    Column::text("eps"),
    Column::text("goal"),
    Column::text("witness"),
    Column::text("attacks"),
    Column::text("cells"),
    Column::count("lacking"),
    Column::count("n"),
    Column::count("clean_correct"),
    Column::count("robust_correct"),
    Column::number("clean_accuracy"),
    Column::number("robust_accuracy"),
    Column::number("robust_low"),
    Column::number("robust_high"),
];

/// `worst-case.csv`: one row for each budget at which two attacks or more have a complete cell.
pub fn table(run: &Run) -> Result<Option<Table>> {
    let cells: Vec<&Summary> = run.cells.iter().collect();
    let row = |w: WorstCase| {
        let c = &w.cells[0].cell;
        let share = |k: usize| k as f64 / w.n as f64;
        let (low, high) = wilson(w.robust, w.n);
        let asked = row![
            c.model.name.clone(),
            c.data.text(),
            c.threat.norm.name(),
            c.threat.eps_text(),
            c.goal.name(),
            c.witness.name(),
            w.attacks().join(" "),
            w.ids(),
        ];
        let counts = row![w.lacking, w.n, w.right, w.robust, share(w.right), share(w.robust), low, high];
        asked.into_iter().chain(counts).collect::<Vec<_>>()
    };
    Table::of(&COLUMNS, worst_cases(&cells).into_iter().map(row))
}
