//! The sanity ladder as a table.

use crate::analysis::Run;
use crate::analysis::ladder::{Row, complaints};
use crate::error::Result;
use crate::table::csv::csv;
use crate::table::pages::{self, Group, Pages, Stands};

/// Columns of `sanity.csv`, normative.
const COLUMNS: [&str; 13] = [
    "relation",
    "verdict",
    "model",
    "cell",
    "against",
    "n",
    "count",
    "against_count",
    "only",
    "only_against",
    "p",
    "p_holm",
    "why",
];

/// `sanity.csv`: one row a relation and pair of cells.
pub fn table(run: &Run) -> Result<Option<Vec<u8>>> {
    if run.sanity.is_empty() {
        return Ok(None);
    }
    let number = |n: Option<usize>| n.map_or(String::new(), |n| n.to_string());
    let chance = |p: Option<f64>| p.map_or(String::new(), |p| format!("{p:.3e}"));
    let rows = run.sanity.iter().map(|r| {
        vec![
            r.relation.to_string(),
            r.verdict.name().to_string(),
            r.model.clone(),
            r.cell.clone(),
            r.against.clone().unwrap_or_default(),
            r.n.to_string(),
            r.count.to_string(),
            number(r.against_count),
            number(r.only.map(|o| o.0)),
            number(r.only.map(|o| o.1)),
            chance(r.p),
            chance(r.p_holm),
            r.why.clone(),
        ]
    });
    csv(&COLUMNS, rows).map(Some)
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
