//! The sanity ladder as a table.

use crate::analysis::Run;
use crate::analysis::ladder::{Row, complaints};
use crate::error::Result;
use crate::table::pages::{self, Group, Pages, Stands};
use crate::table::{Column, Table, row};

/// Columns of `sanity.csv`, normative.
const COLUMNS: [Column; 13] = [
    Column::text("relation"),
    Column::text("verdict"),
    Column::text("model"),
    Column::text("cell"),
    Column::text("against"),
    Column::count("n"),
    Column::count("count"),
    Column::count("against_count"),
    Column::count("only"),
    Column::count("only_against"),
    Column::chance("p"),
    Column::chance("p_holm"),
    Column::text("why"),
];

/// `sanity.csv`: one row a relation and pair of cells.
pub fn table(run: &Run) -> Result<Option<Table>> {
    Table::of(
        &COLUMNS,
        run.sanity.iter().map(|r| {
            row![
                r.relation,
                r.verdict.name(),
                &r.model,
                &r.cell,
                r.against.as_deref(),
                r.n,
                r.count,
                r.against_count,
                r.only.map(|o| o.0),
                r.only.map(|o| o.1),
                r.p,
                r.p_holm,
                &r.why,
            ]
        }),
    )
}

/// For people: what is not ok, the worst first, under a line that says how many are.
pub fn readable(run: &Run) -> Result<Option<Pages>> {
    if run.sanity.is_empty() {
        return Ok(None);
    }
    let complaints = complaints(&run.sanity);
    let all = run.sanity.len();
    let title = format!("{} of {all} relations of the sanity ladder are ok", all - complaints.len());
    let row = |r: &&Row| {
        let cells = [Some(&r.cell), r.against.as_ref()].into_iter().flatten();
        let cells = cells.map(|id| id.get(..8).unwrap_or(id)).collect::<Vec<_>>().join(" ");
        let why = format!("{}: {}", r.model, r.why);
        let fields = vec![r.relation.into(), r.verdict.name().into(), cells, why];
        pages::Row { fields, bold: None }
    };
    let columns =
        &[("relation", Stands::Above), ("verdict", Stands::Left), ("cells", Stands::Left), ("why", Stands::Wrapped)];
    let note = "Suspicious is worth a look; violated is beyond chance: an attack is broken, or the network hides its gradients.";
    let groups = vec![Group { title, rows: complaints.iter().map(row).collect() }];
    Ok(Some(Pages { columns, groups, note }))
}
