//! Scores of optimality, for programs and on a terminal. They are of several runs, so no report writes them.

use crate::analysis::optimality::{Rule, Score};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::figure::FigureRecord;
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::table::pages::NONE;
use crate::table::{Column, Table, csv, row};
use crate::terms::Budget;

/// Columns of `--csv`, normative.
const COLUMNS: [Column; 20] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("dataset"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::count("passes"),
    Column::text("goal"),
    Column::text("witness"),
    Column::count("seed"),
    Column::text("rule"),
    Column::count("n"),
    Column::number("scale"),
    Column::number("optimality"),
    Column::number("optimality_low"),
    Column::number("optimality_high"),
    Column::number("asr"),
    Column::number("passes_mean"),
    Column::count("improved"),
    Column::number("global"),
];

/// Columns of `--curve`, normative.
const CURVE: [Column; 6] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("attack"),
    Column::text("norm"),
    Column::count("passes"),
    Column::number("optimality"),
];

/// One row an attack on a net.
pub fn rows(scores: &[Vec<Score>], rule: Rule) -> Result<Vec<u8>> {
    let mut table = Table::new(&COLUMNS);
    for score in scores.iter().flatten() {
        let c = &score.cell.cell;
        let asked = row![
            score.cell.id.clone(),
            c.model.name.clone(),
            c.data.text(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name(),
            limit(score.cell),
            c.goal.name(),
            c.witness.name(),
            c.seed,
            rule.name(),
        ];
        let found = row![
            score.n,
            score.scale,
            score.optimality,
            score.interval.map(|i| i.0),
            score.interval.map(|i| i.1),
            share(score),
            passes(score.cell),
            score.improved,
            score.global,
        ];
        table.push(asked.into_iter().chain(found))?;
    }
    csv::bytes(&table)
}

/// One row for each number of passes at which the optimality of an attack changes.
pub fn curve(scores: &[Vec<Score>]) -> Result<Vec<u8>> {
    let mut table = Table::new(&CURVE);
    for score in scores.iter().flatten() {
        let c = &score.cell.cell;
        for (passes, optimality) in &score.by_passes {
            table.push(row![
                score.cell.id.clone(),
                c.model.name.clone(),
                c.attack.name.clone(),
                c.threat.norm.name(),
                *passes,
                *optimality,
            ])?;
        }
    }
    csv::bytes(&table)
}

/// Passes that the attack might ask for on an image.
fn limit(s: &Summary) -> Option<u64> {
    match s.cell.threat.eps {
        Budget::Minimal { passes } => Some(passes),
        Budget::Within(_) => None,
    }
}

/// Mean of the passes spent on an attacked image.
fn passes(s: &Summary) -> Option<f64> {
    let rates = s.rates.as_ref()?;
    Some(rates.forwards? + rates.backwards?)
}

fn share(score: &Score) -> Option<f64> {
    (score.n > 0).then(|| score.fooled as f64 / score.n as f64)
}

/// A table for each net, the best attack first.
pub fn text(run: &Run, scores: &[Vec<Score>]) -> String {
    let cells: Vec<&Summary> = scores.iter().flatten().map(|score| score.cell).collect();
    let general = FigureRecord::default();
    let look = Look::new("table", &general, &run.id, &run.name);
    let legend = Legend::of(&cells, &look);
    let mut out = String::new();
    for pool in scores {
        let Some(first) = pool.first() else { continue };
        let c = &first.cell.cell;
        let scale = first.scale.map_or("nothing found".to_string(), |scale| format!("scale {scale:.4}"));
        out += &format!(
            "{}, {}, {}, {}, {} witness: {} images, {scale}\n",
            c.model.name,
            c.data.text(),
            c.threat.norm.terms().title.unwrap_or(c.threat.norm.name()),
            c.goal,
            c.witness,
            first.n
        );
        let four = |v: Option<f64>| v.map_or(NONE.to_string(), |v| format!("{v:.4}"));
        let row = |score: &Score| {
            [
                legend.names[legend.style(score.cell)].clone(),
                limit(score.cell).map_or(NONE.to_string(), |n| n.to_string()),
                four(score.optimality),
                score.interval.map_or(NONE.to_string(), |(low, high)| format!("[{low:.4}, {high:.4}]")),
                share(score).map_or(NONE.to_string(), |v| format!("{:.1} %", 100.0 * v)),
                passes(score.cell).map_or(NONE.to_string(), |v| format!("{v:.0}")),
                score.improved.to_string(),
                four(score.global),
            ]
        };
        let heading = ["attack", "passes", "optimality", "95 %", "asr", "passes_mean", "improved", "global"];
        let rows: Vec<[String; 8]> = [heading.map(String::from)].into_iter().chain(pool.iter().map(row)).collect();
        out += &aligned(&rows);
        out += "\n";
    }
    out
}

/// Lines of fields under each other: names to the left, numbers to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |k: usize| rows.iter().map(|row| row[k].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let field = |(k, text): (usize, &String)| match k {
        0 => format!("{text:0$}", widths[k]),
        _ => format!("{text:>0$}", widths[k]),
    };
    let line = |row: &[String; N]| row.iter().enumerate().map(field).collect::<Vec<_>>().join("  ");
    rows.iter().map(|row| line(row).trim_end().to_string() + "\n").collect()
}
