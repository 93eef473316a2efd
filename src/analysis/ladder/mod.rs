//! The sanity ladder: what must hold between the cells of a run unless an attack is broken or a net hides its gradients
//! (`docs/methodology.md` has each relation with its test and source). Nothing here looks at an image again.

mod autoattack;
mod hidden;
mod relations;
mod row;

pub use relations::{ATTACKS, Shapes};
pub use row::{Judgement, Row};

use super::summary::Summary;
use super::transfers::{Transferred, transferred};
use crate::error::{Error, Result};
use crate::record::PublishedRecord;
use crate::statistics::holm;
use crate::store::Store;
use autoattack::{more_than_its_parts, square_and_gradients};
use hidden::hidden;
use relations::{
    MORE, WhiteBoxes, adaptive, clean_accuracies, clean_predictions, falls_with_the_budget, fitted_here,
    kinds_of_attack, labelled, may_be_unbounded, more_is_not_weaker, no_budget, short_steps, still_rising, unbounded,
    zero_gradients,
};
use row::LOOK;

/// After Holm's correction: one run in a hundred without a fault has a relation that is called violated.
const BEYOND_CHANCE: f64 = 0.01;

/// The ladder of a run: relations in order, the cells of each in the order of the plan.
pub fn ladder(store: &Store, cells: &[Summary], published: &[PublishedRecord]) -> Result<Vec<Row>> {
    let mut shapes = Shapes::new();
    for s in cells.iter().filter(|s| s.rates.is_some() && may_be_unbounded(s)) {
        if !shapes.contains_key(&s.cell.data.digest) {
            let inputs = store.read_inputs(&s.cell.data.digest)?;
            shapes.insert(s.cell.data.digest.clone(), (inputs.classes.len(), 3 * inputs.size[0] * inputs.size[1]));
        }
    }
    let (mut white_box, mut own) = (Vec::new(), None);
    for (cell, s) in cells.iter().enumerate().filter(|(_, s)| labelled(s)) {
        let transfers = store.read_transfers(&s.id)?;
        let mut others = transfers.iter().filter(|(model, _)| model.weights != s.cell.model.weights).peekable();
        if others.peek().is_none() {
            continue;
        }
        let outcomes = store.read(&s.id)?.outcomes;
        for (model, rows) in others {
            let model = (model.name.clone(), model.weights.clone());
            let transferred = Transferred { cell, model, verdicts: transferred(&outcomes, rows) };
            white_box.extend(own.get_or_insert_with(|| WhiteBoxes::of(cells)).rows(&transferred));
        }
    }
    let mut rows = all(cells, &shapes, white_box);
    rows.extend(clean_accuracies(cells, published));
    rows.extend(hidden(store, cells)?);
    Ok(rows)
}

/// The ladder of some cells.
pub fn rows(cells: &[Summary], shapes: &Shapes, transfers: &[Transferred]) -> Vec<Row> {
    let own = WhiteBoxes::of(cells);
    all(cells, shapes, transfers.iter().flat_map(|t| own.rows(t)).collect())
}

/// The same, with what is said of the transfers: their verdicts are many, and are not kept.
fn all(cells: &[Summary], shapes: &Shapes, white_box: Vec<Row>) -> Vec<Row> {
    let complete: Vec<&Summary> = cells.iter().filter(|s| labelled(s)).collect();
    let mut rows = Vec::new();
    rows.extend(complete.iter().filter_map(|s| no_budget(s)));
    rows.extend(falls_with_the_budget(&complete));
    rows.extend(MORE.iter().flat_map(|key| more_is_not_weaker(&complete, key)));
    rows.extend(kinds_of_attack(&complete));
    rows.extend(adaptive(&complete));
    rows.extend(more_than_its_parts(&complete));
    rows.extend(square_and_gradients(&complete));
    rows.extend(complete.iter().filter_map(|s| unbounded(s, shapes)));
    rows.extend(fitted_here(&complete));
    rows.extend(white_box);
    rows.extend(clean_predictions(&complete));
    rows.extend(complete.iter().filter_map(|s| zero_gradients(s)));
    rows.extend(complete.iter().filter_map(|s| short_steps(s)));
    rows.extend(complete.iter().filter_map(|s| still_rising(s)));
    judge(rows)
}

/// The verdicts that depend on chance: Holm's correction needs all of them.
fn judge(mut rows: Vec<Row>) -> Vec<Row> {
    let tested: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].p.is_some()).collect();
    let p: Vec<f64> = tested.iter().map(|i| rows[*i].p.expect("filtered")).collect();
    for (i, corrected) in tested.into_iter().zip(holm(&p)) {
        let row = &mut rows[i];
        row.p_holm = Some(corrected);
        let found = match row.p {
            _ if corrected <= BEYOND_CHANCE => Judgement::Violated,
            Some(p) if p <= LOOK => Judgement::Suspicious,
            _ => Judgement::Ok,
        };
        row.verdict = row.verdict.max(found).min(row.worst);
    }
    rows
}

/// What is not ok, the worst first.
pub fn complaints(rows: &[Row]) -> Vec<&Row> {
    let mut bad: Vec<&Row> = rows.iter().filter(|r| r.verdict != Judgement::Ok).collect();
    bad.sort_by_key(|r| std::cmp::Reverse(r.verdict));
    bad
}

/// Exit status 3 where a relation is violated.
pub fn strict(rows: &[Row]) -> Result<()> {
    let violated: Vec<&Row> = rows.iter().filter(|r| r.verdict == Judgement::Violated).collect();
    match violated.first() {
        None => Ok(()),
        Some(first) => Err(Error::Gate(format!(
            "{} relations of the sanity ladder are violated, first: {} (hint: `tables/sanity.csv` has all; an attack is \
             broken or the net hides its gradients)",
            violated.len(),
            first.line()
        ))),
    }
}

#[cfg(test)]
pub(crate) mod tests;
