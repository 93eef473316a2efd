//! One table of everything, for pandas and polars: a row an image and cell, with the cell's description in every row, so
//! that no join is needed. `tables/images.parquet` of a report has the same rows, fewer columns, and the cell by its id only.

use super::request::{Request, Written, file_name};
use crate::analysis::Summary;
use crate::error::Result;
use crate::record::Outcome;
use crate::store::Pending;
use crate::table::csv::yes_or_no;
use crate::table::parquet::Parquet;
use crate::table::{Column, Field, Table, row};
use crate::terms::Ratio;
use rayon::prelude::*;

/// Columns that describe the cell; those of an outcome follow.
const CELL: [Column; 18] = [
    Column::text("run"),
    Column::text("cell"),
    Column::text("model"),
    Column::text("network"),
    Column::text("weights"),
    Column::text("dataset"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::exact("eps_value"),
    Column::text("goal"),
    Column::text("mode"),
    Column::text("witness"),
    Column::text("precision"),
    Column::count("seed"),
    Column::text("weights_pinned"),
    Column::text("data_pinned"),
];

/// Cells that are read at a time.
const CHUNK: usize = 8;

/// Columns of an outcome, in the order of `outcomes.csv`.
const OUTCOME: [Column; 28] = [
    Column::count("example"),
    Column::count("label"),
    Column::count("target"),
    Column::count("clean_prediction"),
    Column::count("adversarial_prediction"),
    Column::flag("success"),
    Column::exact("linf_255"),
    Column::exact("l2"),
    Column::exact("margin_clean"),
    Column::exact("margin_adversarial"),
    Column::exact("confidence_clean"),
    Column::exact("confidence_adversarial"),
    Column::exact("label_probability_clean"),
    Column::exact("label_probability_adversarial"),
    Column::exact("target_probability_clean"),
    Column::exact("target_probability_adversarial"),
    Column::exact("target_logit_adversarial"),
    Column::count("target_rank_clean"),
    Column::count("target_rank_adversarial"),
    Column::count("step"),
    Column::count("restart"),
    Column::exact("forwards"),
    Column::exact("backwards"),
    Column::text("flags"),
    Column::text("note"),
    Column::exact("margin_midway"),
    Column::exact("l1"),
    Column::exact("l0"),
];

/// `<name>.parquet`.
pub fn write(request: &Request) -> Result<Written> {
    let plan = request.store.read_plan()?;
    let (id, path) = (plan.run_id(), request.to.join(format!("{}.parquet", file_name(&plan.name))));
    let columns = [&CELL[..], &OUTCOME[..]].concat();
    let mut file = Parquet::new(Pending::at(path.clone())?, &columns)?;
    let mut without = 0;
    for cells in plan.cells.chunks(CHUNK) {
        let read = cells.par_iter().map(|cell| {
            let (summary, outcomes) = Summary::read(request.store, &plan, cell.clone())?;
            let mut table = Table::new(&columns);
            let of_cell = of_cell(&id, &summary);
            outcomes.iter().try_for_each(|o| table.push(of_cell.iter().cloned().chain(of_outcome(o))))?;
            Ok(table)
        });
        for table in read.collect::<Result<Vec<_>>>()? {
            without += usize::from(table.rows() == 0);
            file.append(table)?;
        }
    }
    file.finish()?.finish()?;
    let notes = (without > 0).then(|| format!("{without} cells have no rows: they failed or are missing"));
    Ok(Written { files: vec![path], notes: notes.into_iter().collect() })
}

fn of_cell<'a>(run: &'a str, s: &'a Summary) -> [Field<'a>; CELL.len()] {
    let c = &s.cell;
    row![
        run,
        &s.id,
        &c.model.name,
        &c.model.network,
        &c.model.weights,
        c.data.text(),
        &c.attack.name,
        c.params(),
        c.threat.norm.name(),
        c.threat.eps_text(),
        c.threat.eps.radius().map(Ratio::to_f64),
        c.goal.name(),
        c.mode.name(),
        c.witness.name(),
        c.precision.name(),
        c.seed,
        yes_or_no(s.weights_pinned),
        yes_or_no(s.data_pinned),
    ]
}

fn of_outcome(o: &Outcome) -> [Field<'_>; OUTCOME.len()] {
    row![
        o.example,
        o.label,
        o.target,
        o.clean_prediction,
        o.adversarial_prediction,
        o.success,
        o.linf_255,
        o.l2,
        o.margin_clean,
        o.margin_adversarial,
        o.confidence_clean,
        o.confidence_adversarial,
        o.label_probability_clean,
        o.label_probability_adversarial,
        o.target_probability_clean,
        o.target_probability_adversarial,
        o.target_logit_adversarial,
        o.target_rank_clean,
        o.target_rank_adversarial,
        o.step,
        o.restart,
        o.forwards,
        o.backwards,
        &o.flags,
        &o.note,
        o.margin_midway,
        o.l1,
        o.l0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_an_outcome() {
        assert_eq!(OUTCOME.map(|column| column.name), Outcome::COLUMNS);
    }
}
