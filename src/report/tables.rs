//! CSV tables. Rates are fractions with six digits; what is missing is an empty field.

use super::Run;
use super::summary::{Rates, Summary, wilson};
use crate::error::{Error, Result};
use crate::record::{Cell, Outcome, Transfer};
use rayon::prelude::*;
use std::borrow::Cow;

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

/// Columns of `images.csv`, normative.
const IMAGES: [&str; 17] = [
    "cell",
    "example",
    "label",
    "clean_prediction",
    "adversarial_prediction",
    "success",
    "linf_255",
    "l2",
    "margin_clean",
    "margin_adversarial",
    "step",
    "restart",
    "forwards",
    "backwards",
    "flags",
    "weights_pinned",
    "data_pinned",
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
        let mut row = vec![s.id.clone(), c.model.name.clone(), dataset(c)];
        row.push(text(s.n));
        row.extend([c.attack.name.clone(), c.params(), c.threat.norm.clone(), c.threat.eps.clone()]);
        row.extend([c.goal.clone(), c.mode_name().to_string(), c.witness.clone(), c.precision.clone()]);
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
        row.push(run.weights_pinned(c).to_string());
        row.push(run.data_pinned(c).to_string());
        row.push(s.error.clone().unwrap_or_default());
        row
    });
    csv(&SUMMARY, rows).map(Some)
}

/// One row an image and cell, handed to `part` cell by cell with the cell's id, the heading without one: of a large run they
/// would not fit into memory. The fields are those of `outcomes.csv`, so they are copied and not parsed.
pub fn images(run: &Run, part: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
    part("", &csv(&IMAGES, std::iter::empty())?)?;
    let cells: Vec<&Summary> = stored(run).collect();
    for some in cells.chunks(AT_ONCE) {
        let rows: Vec<Vec<u8>> = some.par_iter().map(|s| images_of(run, s)).collect::<Result<_>>()?;
        some.iter().zip(&rows).try_for_each(|(s, rows)| part(&s.id, rows))?;
    }
    Ok(())
}

/// Cells whose rows are held at once.
const AT_ONCE: usize = 64;

fn images_of(run: &Run, s: &Summary) -> Result<Vec<u8>> {
    let problem = |e: csv::Error| Error::Store(format!("cell {}: outcomes.csv: {e}", s.id));
    let bytes = run.store.read_rows(&s.id)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let heading = reader.byte_headers().map_err(problem)?.clone();
    let place = |name: &&str| heading.iter().position(|h| h == name.as_bytes());
    // the first column and the last two are the cell's
    let Some(places) = IMAGES[1..IMAGES.len() - 2].iter().map(place).collect::<Option<Vec<usize>>>() else {
        // a cell without images has no heading either
        let foreign = || Error::Store(format!("cell {}: outcomes.csv lacks a column", s.id));
        return if bytes.is_empty() { Ok(Vec::new()) } else { Err(foreign()) };
    };
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(bytes.len()));
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(problem)? {
        writer.write_field(&s.id).map_err(problem)?;
        for place in &places {
            writer.write_field(plain(&record[*place]).as_ref()).map_err(problem)?;
        }
        for pinned in [run.weights_pinned(&s.cell), run.data_pinned(&s.cell)] {
            writer.write_field(pinned).map_err(problem)?;
        }
        writer.write_record(None::<&[u8]>).map_err(problem)?;
    }
    writer.into_inner().map_err(|e| Error::Store(format!("table: {e}")))
}

/// A stored number as tables have it: 8 for 8.0, no exponents. Both forms have the fewest digits that tell it from its
/// neighbours, so no digit changes.
fn plain(field: &[u8]) -> Cow<'_, [u8]> {
    let number = |text: &str| text.parse::<f64>().ok().map(|v| v.to_string().into_bytes());
    let looks_so = field.ends_with(b".0") || (field.contains(&b'e') && field.iter().any(u8::is_ascii_digit));
    let changed = looks_so.then(|| std::str::from_utf8(field).ok().and_then(number)).flatten();
    changed.map_or(Cow::Borrowed(field), Cow::Owned)
}

/// One row a targeted cell: how often the target is predicted, and among the five best, before and after.
pub fn targets(run: &Run) -> Result<Option<Vec<u8>>> {
    let targeted: Vec<&Summary> = stored(run).filter(|s| s.rates.is_some() && s.cell.goal != "untargeted").collect();
    let row = |s: &&Summary| -> Result<Vec<String>> {
        let outcomes = run.store.read(&s.id)?.outcomes;
        let share = |rank: &dyn Fn(&Outcome) -> Option<usize>, within: usize| {
            let hits = outcomes.iter().filter(|o| rank(o).is_some_and(|r| r < within)).count();
            six((!outcomes.is_empty()).then(|| hits as f64 / outcomes.len() as f64))
        };
        let interval = |within: usize| {
            let hits = outcomes.iter().filter(|o| o.target_rank_adversarial.is_some_and(|r| r < within)).count();
            (!outcomes.is_empty()).then(|| wilson(hits, outcomes.len()))
        };
        let probability = |of: &dyn Fn(&Outcome) -> Option<f32>| six(mean(outcomes.iter().filter_map(of)));
        let c = &s.cell;
        let fitted_to: Vec<&str> = c.train.iter().flat_map(|t| t.models.iter().map(|m| m.name.as_str())).collect();
        Ok(vec![
            s.id.clone(),
            c.model.name.clone(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.clone(),
            c.threat.eps.clone(),
            c.goal.clone(),
            outcomes.len().to_string(),
            share(&|o| o.target_rank_clean, 1),
            share(&|o| o.target_rank_adversarial, 1),
            share(&|o| o.target_rank_clean, 5),
            share(&|o| o.target_rank_adversarial, 5),
            six(interval(1).map(|i| i.0)),
            six(interval(1).map(|i| i.1)),
            six(interval(5).map(|i| i.0)),
            six(interval(5).map(|i| i.1)),
            probability(&|o| o.label_probability_clean),
            probability(&|o| o.label_probability_adversarial),
            probability(&|o| o.target_probability_clean),
            probability(&|o| o.target_probability_adversarial),
            fitted_to.join(" "),
        ])
    };
    let rows: Vec<Vec<String>> = targeted.par_iter().map(row).collect::<Result<_>>()?;
    if rows.is_empty() { Ok(None) } else { csv(&TARGETS, rows.into_iter()).map(Some) }
}

/// One row a cell and other model: what that says of the same witnesses.
pub fn transfer(run: &Run) -> Result<Option<Vec<u8>>> {
    let mut rows = Vec::new();
    for s in stored(run) {
        for (model, found) in run.store.read_transfers(&s.id)? {
            let labels: Vec<Option<usize>> = run.store.read(&s.id)?.outcomes.iter().map(|o| o.label).collect();
            let labelled = labels.iter().any(Option::is_some);
            let share = |of: &dyn Fn(usize, &Transfer) -> bool, wanted: bool| {
                let hits = found.iter().enumerate().filter(|(k, t)| of(*k, t)).count();
                six((wanted && !found.is_empty()).then(|| hits as f64 / found.len() as f64))
            };
            let c = &s.cell;
            rows.push(vec![
                s.id.clone(),
                c.model.name.clone(),
                c.attack.name.clone(),
                c.params(),
                c.threat.norm.clone(),
                c.threat.eps.clone(),
                c.goal.clone(),
                model.name.clone(),
                found.len().to_string(),
                share(&|k, t| t.clean_prediction == labels[k], labelled),
                share(&|k, t| t.prediction == labels[k], labelled),
                share(&|_, t| t.target_rank == Some(0), c.goal != "untargeted"),
                six(mean(found.iter().filter_map(|t| t.label_probability))),
                six(mean(found.iter().filter_map(|t| t.target_probability))),
            ]);
        }
    }
    if rows.is_empty() { Ok(None) } else { csv(&TRANSFER, rows.into_iter()).map(Some) }
}

/// `None` where there is nothing.
fn mean(values: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), v| (sum + f64::from(v), n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

fn stored<'a>(run: &'a Run) -> impl Iterator<Item = &'a Summary> {
    run.cells.iter().filter(|s| s.n.is_some())
}

/// `cifar10:test[0..1000]`.
pub fn dataset(cell: &Cell) -> String {
    cell.data.text()
}

/// A table in bytes.
pub(super) fn csv(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let problem = |e: csv::Error| Error::Store(format!("table: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns).map_err(problem)?;
    for row in rows {
        writer.write_record(row).map_err(problem)?;
    }
    writer.into_inner().map_err(|e| Error::Store(format!("table: {e}")))
}

/// A field, empty where there is no value.
pub fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |v| v.to_string())
}

/// Six digits, empty where there is no value.
pub fn six(value: Option<f64>) -> String {
    value.map_or(String::new(), |v| format!("{v:.6}"))
}

#[cfg(test)]
mod tests {
    use super::plain;

    /// The stored form of a number, and what it would be written as from the number itself.
    #[test]
    fn stored_numbers_are_copied_as_tables_write_them() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let (wide, narrow) =
            ([0.0, 8.0, 0.1, 1e-7, -2.5e-9, 123456789.0, 1e20], [0.0f32, -3.0, 1e-8, 0.3, 5.5e-20, 1e9]);
        wide.iter().for_each(|v| writer.serialize(v).unwrap());
        narrow.iter().for_each(|v| writer.serialize(v).unwrap());
        let stored = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let expected = wide.iter().map(f64::to_string).chain(narrow.iter().map(f32::to_string));
        let found = stored.lines().map(|l| String::from_utf8(plain(l.as_bytes()).into_owned()).unwrap());
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        for text in ["true", "false", "", "clean-wrong zero-gradient", "12", "-0.25", "e"] {
            assert_eq!(plain(text.as_bytes()), text.as_bytes());
        }
    }
}
