//! CSV tables. Rates are fractions with six digits; what is missing is an empty field.

use crate::analysis::summary::Rates;
use crate::analysis::transfers::{Asked, asked};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::statistics::wilson;
use crate::table::csv::yes_or_no;
use crate::table::{Column, Table, row};

/// Columns of `summary.csv`, normative.
const SUMMARY: [Column; 29] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("dataset"),
    Column::count("n"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::text("goal"),
    Column::text("mode"),
    Column::text("witness"),
    Column::text("precision"),
    Column::text("status"),
    Column::count("clean_correct"),
    Column::count("robust_correct"),
    Column::number("clean_accuracy"),
    Column::number("robust_accuracy"),
    Column::number("robust_low"),
    Column::number("robust_high"),
    Column::number("attack_success_rate"),
    Column::number("error_rate"),
    Column::number("median_linf_255"),
    Column::number("median_l2"),
    Column::number("forwards"),
    Column::number("backwards"),
    Column::number("zero_gradient"),
    Column::text("weights_pinned"),
    Column::text("data_pinned"),
    Column::text("error"),
];

/// Columns of `targets.csv`: targeted cells only.
const TARGETS: [Column; 21] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::text("goal"),
    Column::count("n"),
    Column::number("target_rate_before"),
    Column::number("target_rate_after"),
    Column::number("target_top5_before"),
    Column::number("target_top5_after"),
    Column::number("target_low"),
    Column::number("target_high"),
    Column::number("target_top5_low"),
    Column::number("target_top5_high"),
    Column::number("label_probability_before"),
    Column::number("label_probability_after"),
    Column::number("target_probability_before"),
    Column::number("target_probability_after"),
    Column::text("fitted_to"),
];

/// Columns of `transfer.csv`: cells whose witnesses another model judges.
const TRANSFER: [Column; 14] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::text("goal"),
    Column::text("transfer_to"),
    Column::count("n"),
    Column::number("clean_accuracy"),
    Column::number("accuracy"),
    Column::number("target_rate"),
    Column::number("label_probability"),
    Column::number("target_probability"),
];

/// One row a cell.
pub fn summary(run: &Run) -> Result<Option<Table>> {
    let row = |s: &Summary| {
        let (c, r) = (&s.cell, s.rates.as_ref());
        let head = row![s.id.clone(), c.model.name.clone(), c.data.text(), s.n, c.attack.name.clone(), c.params()];
        let asked = row![
            c.threat.norm.name(),
            c.threat.eps_text(),
            c.goal.name(),
            c.mode.name(),
            c.witness.name(),
            c.precision.name(),
            s.status,
        ];
        let rates = row![
            r.map(|r| r.clean_correct),
            r.map(|r| r.robust_correct),
            r.and_then(Rates::clean_accuracy),
            r.and_then(Rates::robust_accuracy),
            r.and_then(|r| r.robust_interval).map(|i| i.0),
            r.and_then(|r| r.robust_interval).map(|i| i.1),
            r.and_then(Rates::attack_success_rate),
            r.and_then(Rates::error_rate),
            r.and_then(|r| r.median_linf_255),
            r.and_then(|r| r.median_l2),
            r.and_then(|r| r.forwards),
            r.and_then(|r| r.backwards),
            r.and_then(|r| r.zero_gradient),
        ];
        let rest = row![yes_or_no(s.weights_pinned), yes_or_no(s.data_pinned), s.error.clone()];
        head.into_iter().chain(asked).chain(rates).chain(rest)
    };
    let mut table = Table::new(&SUMMARY);
    run.cells.iter().try_for_each(|s| table.push(row(s)))?;
    Ok(Some(table))
}

/// One row a targeted cell: how often the target is predicted, and among the five best, before and after.
pub fn targets(run: &Run) -> Result<Option<Table>> {
    let mut rows = Vec::new();
    for s in run.cells.iter().filter(|s| s.cell.goal.is_targeted()) {
        let Some(n) = s.rates.as_ref().map(|r| r.n) else { continue };
        let share = |k: usize| (n > 0).then(|| k as f64 / n as f64);
        let interval = |k: usize| (n > 0).then(|| wilson(k, n));
        let (c, t) = (&s.cell, &s.tally);
        let fitted_to: Vec<&str> = c.train.iter().flat_map(|t| t.models.iter().map(|m| m.name.as_str())).collect();
        rows.push(row![
            s.id.clone(),
            c.model.name.clone(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name(),
            c.threat.eps_text(),
            c.goal.name(),
            n,
            share(t.target[0]),
            share(t.target[1]),
            share(t.target_top5[0]),
            share(t.target_top5[1]),
            interval(t.target[1]).map(|i| i.0),
            interval(t.target[1]).map(|i| i.1),
            interval(t.target_top5[1]).map(|i| i.0),
            interval(t.target_top5[1]).map(|i| i.1),
            t.label_probability[0],
            t.label_probability[1],
            t.target_probability[0],
            t.target_probability[1],
            fitted_to.join(" "),
        ]);
    }
    Table::of(&TARGETS, rows)
}

/// One row a cell and other model: what that says of the same witnesses.
pub fn transfer(run: &Run) -> Result<Option<Table>> {
    let row = |a: Asked| {
        let share = |k: Option<usize>| k.filter(|_| a.n > 0).map(|k| k as f64 / a.n as f64);
        let c = &a.summary.cell;
        row![
            a.summary.id.clone(),
            c.model.name.clone(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name(),
            c.threat.eps_text(),
            c.goal.name(),
            a.model.clone(),
            a.n,
            share(a.clean_right),
            share(a.right),
            share(a.target),
            a.probabilities[0],
            a.probabilities[1],
        ]
    };
    Table::of(&TRANSFER, asked(run.store, &run.cells)?.into_iter().map(row))
}
