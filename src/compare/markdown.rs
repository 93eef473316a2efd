//! The comparison as a page for a pull request.

use super::view::{self, CELL_COLUMNS, CELLS, CLEAN_COLUMNS, SPEED_COLUMNS};
use super::{Comparison, Verdict};

/// What `--markdown` writes.
pub fn markdown(c: &Comparison) -> String {
    let any = |test: fn(Verdict) -> bool| c.cells.iter().any(|cell| test(cell.verdict));
    let head = match () {
        _ if !c.failures.is_empty() => "the gate fails",
        _ if any(Verdict::is_change) => "something changed",
        _ if any(|verdict| verdict != Verdict::Same) => "no significant change",
        _ => "nothing changed",
    };
    let mut out = format!("## {} against its baseline: {head}\n\n", escaped(&c.run.name));
    for failure in &c.failures {
        out += &format!("- **fails**: {}\n", escaped(failure));
    }
    if !c.cells.is_empty() {
        out += &format!("- cells: {}\n", view::cell_counts(c));
    }
    if let Some(counts) = view::bench_counts(c) {
        out += &format!("- benches: {counts}\n");
    }
    out += &format!(
        "- baseline: {} cells ({}), run: {} cells ({})\n",
        c.baseline.cells,
        escaped(&c.baseline.path),
        c.run.cells,
        escaped(&c.run.path)
    );
    for reason in view::reasons(c) {
        out += &format!("- other ids, {}\n", escaped(&reason));
    }
    out += &format!(
        "- a change counts with p ≤ {} (McNemar, Holm over all cells) and at least {} points\n",
        c.rules.alpha,
        100.0 * c.rules.min_effect
    );
    let cells = view::noteworthy(c);
    let shown = &cells[..cells.len().min(CELLS)];
    out += &table(CELL_COLUMNS, shown.iter().map(|(cell, label)| view::cell_row(cell, label)));
    if cells.len() > CELLS {
        out += &format!("\nand {} cells more.\n", cells.len() - CELLS);
    }
    out += &table(CLEAN_COLUMNS, view::moved(c).map(view::clean_row));
    out += &table(SPEED_COLUMNS, view::speed_rows(c).into_iter());
    let of_cells = shown.iter().map(|(cell, label)| (format!("{} ({})", label, cell.id), view::cell_details(cell)));
    let of_clean = view::moved(c)
        .map(|clean| (format!("clean accuracy of {}, {}", clean.model, clean.data), view::clean_details(clean)));
    let details: Vec<(String, Vec<String>)> = of_cells.chain(of_clean).filter(|(_, lines)| !lines.is_empty()).collect();
    if !details.is_empty() {
        out += "\n<details><summary>Images and reasons</summary>\n\n";
        for (what, lines) in details {
            out += &format!("- {}\n", escaped(&what));
            lines.iter().for_each(|line| out += &format!("  - {}\n", escaped(line)));
        }
        out += "\n</details>\n";
    }
    out
}

/// Nothing without rows.
fn table<const N: usize>(columns: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: String = rows.map(|row| format!("| {} |\n", row.map(|field| escaped(&field)).join(" | "))).collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("\n| {} |\n|{}\n{rows}", columns.join(" | "), "---|".repeat(N)),
    }
}

/// A text that stays one text in a table, whatever it holds.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
