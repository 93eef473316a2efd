//! The comparison on a terminal.

use super::Comparison;
use super::view::{self, CELL_COLUMNS, CELLS, CLEAN_COLUMNS, SPEED_COLUMNS};

/// What `compare` prints.
pub fn text(c: &Comparison) -> String {
    let mut out = String::new();
    for (what, side) in [("baseline", &c.baseline), ("run", &c.run)] {
        out += &format!("{what:9} {}, {} cells, {} benches ({})\n", side.name, side.cells, side.benches, side.path);
    }
    if !c.cells.is_empty() {
        out += &format!("{:9} {}\n", "cells", view::cell_counts(c));
    }
    if let Some(counts) = view::bench_counts(c) {
        out += &format!("{:9} {counts}\n", "benches");
    }
    view::reasons(c).iter().for_each(|reason| out += &format!("{:9} {reason}\n", "other ids"));
    let cells = view::noteworthy(c);
    let rows = cells.iter().take(CELLS).map(|(cell, label)| (view::cell_row(cell, label), view::cell_details(cell)));
    out += &table(CELL_COLUMNS, rows.collect());
    if cells.len() > CELLS {
        out += &format!("and {} cells more (--json has all)\n", cells.len() - CELLS);
    }
    let clean = view::moved(c).map(|clean| (view::clean_row(clean), view::clean_details(clean)));
    out += &table(CLEAN_COLUMNS, clean.collect());
    out += &table(SPEED_COLUMNS, view::speed_rows(c).into_iter().map(|row| (row, Vec::new())).collect());
    for failure in &c.failures {
        out += &format!("\ngate failed: {failure}\n");
    }
    out
}

/// Aligned columns under a heading, each row followed by its details; nothing without rows.
fn table<const N: usize>(columns: [&str; N], rows: Vec<([String; N], Vec<String>)>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let columns = columns.map(String::from);
    let width = |k: usize| rows.iter().map(|(row, _)| &row[k]).chain([&columns[k]]).map(|f| f.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|k| width(k).unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let fields: Vec<String> = row.iter().zip(&widths).map(|(field, width)| format!("{field:width$}")).collect();
        format!("{}\n", fields.join("  ").trim_end())
    };
    let mut out = format!("\n{}", line(&columns));
    for (row, details) in &rows {
        out += &line(row);
        details.iter().for_each(|detail| out += &format!("    {detail}\n"));
    }
    out
}
