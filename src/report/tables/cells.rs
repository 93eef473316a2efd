//! CSV tables. Rates are fractions with six digits; what is missing is an empty field.

use crate::analysis::Run;
use crate::analysis::summary::Rates;
use crate::analysis::transfers::{Asked, asked};
use crate::error::Result;
use crate::statistics::wilson;
use crate::table::csv::csv;
use crate::table::csv::{six, text, yes_or_no};

/// Columns of `summary.csv`, normative.
const SUMMARY: [&str; 29] = [
    "cell",
    "model",
    "dataset",
    "n",
    "attack",
    "params",
    "norm",
    "eps",
    "goal",
    "mode",
    "witness",
    "precision",
    "status",
    "clean_correct",
    "robust_correct",
    "clean_accuracy",
    "robust_accuracy",
    "robust_low",
    "robust_high",
    "attack_success_rate",
    "error_rate",
    "median_linf_255",
    "median_l2",
    "forwards",
    "backwards",
    "zero_gradient",
    "weights_pinned",
    "data_pinned",
    "error",
];

/// Columns of `targets.csv`: targeted cells only.
const TARGETS: [&str; 21] = [
    "cell",
    "model",
    "attack",
    "params",
    "norm",
    "eps",
    "goal",
    "n",
    "target_rate_before",
    "target_rate_after",
    "target_top5_before",
    "target_top5_after",
    "target_low",
    "target_high",
    "target_top5_low",
    "target_top5_high",
    "label_probability_before",
    "label_probability_after",
    "target_probability_before",
    "target_probability_after",
    "fitted_to",
];

/// Columns of `transfer.csv`: cells whose witnesses another model judges.
const TRANSFER: [&str; 14] = [
    "cell",
    "model",
    "attack",
    "params",
    "norm",
    "eps",
    "goal",
    "transfer_to",
    "n",
    "clean_accuracy",
    "accuracy",
    "target_rate",
    "label_probability",
    "target_probability",
];

/// One row a cell.
pub fn summary(run: &Run) -> Result<Option<Vec<u8>>> {
    let rows = run.cells.iter().map(|s| {
        let c = &s.cell;
        let rates = |f: &dyn Fn(&Rates) -> String| s.rates.as_ref().map_or(String::new(), f);
        let mut row = vec![s.id.clone(), c.model.name.clone(), c.data.text()];
        row.push(text(s.n));
        row.extend([c.attack.name.clone(), c.params(), c.threat.norm.name().to_string(), c.threat.eps_text()]);
        row.extend([c.goal.name(), c.mode.name().to_string(), c.witness.to_string(), c.precision.to_string()]);
        row.push(s.status.to_string());
        row.push(rates(&|r| r.clean_correct.to_string()));
        row.push(rates(&|r| r.robust_correct.to_string()));
        row.push(rates(&|r| six(r.clean_accuracy())));
        row.push(rates(&|r| six(r.robust_accuracy())));
        row.push(rates(&|r| six(r.robust_interval.map(|i| i.0))));
        row.push(rates(&|r| six(r.robust_interval.map(|i| i.1))));
        row.push(rates(&|r| six(r.attack_success_rate())));
        row.push(rates(&|r| six(r.error_rate())));
        row.push(rates(&|r| six(r.median_linf_255)));
        row.push(rates(&|r| six(r.median_l2)));
        row.push(rates(&|r| six(r.forwards)));
        row.push(rates(&|r| six(r.backwards)));
        row.push(rates(&|r| six(r.zero_gradient)));
        row.extend([s.weights_pinned, s.data_pinned].map(yes_or_no).map(String::from));
        row.push(s.error.clone().unwrap_or_default());
        row
    });
    csv(&SUMMARY, rows).map(Some)
}

/// One row a targeted cell: how often the target is predicted, and among the five best, before and after.
pub fn targets(run: &Run) -> Result<Option<Vec<u8>>> {
    let mut rows = Vec::new();
    for s in run.cells.iter().filter(|s| s.cell.goal.is_targeted()) {
        let Some(n) = s.rates.as_ref().map(|r| r.n) else { continue };
        let share = |k: usize| six((n > 0).then(|| k as f64 / n as f64));
        let interval = |k: usize| (n > 0).then(|| wilson(k, n));
        let (c, t) = (&s.cell, &s.tally);
        let fitted_to: Vec<&str> = c.train.iter().flat_map(|t| t.models.iter().map(|m| m.name.as_str())).collect();
        rows.push(vec![
            s.id.clone(),
            c.model.name.clone(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name().to_string(),
            c.threat.eps_text(),
            c.goal.name(),
            n.to_string(),
            share(t.target[0]),
            share(t.target[1]),
            share(t.target_top5[0]),
            share(t.target_top5[1]),
            six(interval(t.target[1]).map(|i| i.0)),
            six(interval(t.target[1]).map(|i| i.1)),
            six(interval(t.target_top5[1]).map(|i| i.0)),
            six(interval(t.target_top5[1]).map(|i| i.1)),
            six(t.label_probability[0]),
            six(t.label_probability[1]),
            six(t.target_probability[0]),
            six(t.target_probability[1]),
            fitted_to.join(" "),
        ]);
    }
    if rows.is_empty() { Ok(None) } else { csv(&TARGETS, rows.into_iter()).map(Some) }
}

/// One row a cell and other model: what that says of the same witnesses.
pub fn transfer(run: &Run) -> Result<Option<Vec<u8>>> {
    let row = |a: Asked| {
        let share = |k: Option<usize>| six(k.filter(|_| a.n > 0).map(|k| k as f64 / a.n as f64));
        let c = &a.summary.cell;
        vec![
            a.summary.id.clone(),
            c.model.name.clone(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name().to_string(),
            c.threat.eps_text(),
            c.goal.name(),
            a.model.clone(),
            a.n.to_string(),
            share(a.clean_right),
            share(a.right),
            share(a.target),
            six(a.probabilities[0]),
            six(a.probabilities[1]),
        ]
    };
    let rows: Vec<Vec<String>> = asked(run.store, &run.cells)?.into_iter().map(row).collect();
    if rows.is_empty() { Ok(None) } else { csv(&TRANSFER, rows.into_iter()).map(Some) }
}
