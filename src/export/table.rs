//! One table of everything, for pandas and polars: a row an image and cell, with the cell's description in every row, so
//! that no join is needed. `tables/images.parquet` of a report has the same rows, fewer columns, and the cell by its id only.

use super::{Request, Written, file_name};
use crate::analysis::Summary;
use crate::error::{Error, Result};
use crate::record::Outcome;
use crate::store::Pending;
use crate::table::csv::yes_or_no;
use crate::table::parquet::{Columns, Parquet};
use rayon::prelude::*;

/// Columns that describe the cell; those of an outcome follow.
const CELL: [&str; 18] = [
    "run",
    "cell",
    "model",
    "network",
    "weights",
    "dataset",
    "attack",
    "params",
    "norm",
    "eps",
    "eps_value",
    "goal",
    "mode",
    "witness",
    "precision",
    "seed",
    "weights_pinned",
    "data_pinned",
];

/// Cells that are read at a time.
const CHUNK: usize = 8;

/// `<name>.parquet`.
pub fn write(request: &Request) -> Result<Written> {
    let plan = request.store.read_plan()?;
    let (id, path) = (plan.run_id(), request.to.join(format!("{}.parquet", file_name(&plan.name))));
    let names: Vec<&str> = CELL.iter().chain(Outcome::COLUMNS).copied().collect();
    let mut file = Parquet::new(Pending::at(path.clone())?, &names)?;
    let mut without = 0;
    for cells in plan.cells.chunks(CHUNK) {
        let read = cells.par_iter().map(|cell| {
            let (summary, outcomes) = Summary::read(request.store, &plan, cell)?;
            Columns::parse(&names, &rows(&id, &summary, &outcomes)?)
        });
        for columns in read.collect::<Result<Vec<_>>>()? {
            without += usize::from(columns.rows() == 0);
            file.append(columns)?;
        }
    }
    file.finish()?.finish()?;
    let notes = (without > 0).then(|| format!("{without} cells have no rows: they failed or are missing"));
    Ok(Written { files: vec![path], notes: notes.into_iter().collect() })
}

/// CSV without a heading.
fn rows(run: &str, s: &Summary, outcomes: &[Outcome]) -> Result<Vec<u8>> {
    let c = &s.cell;
    let eps = c.threat.eps.to_f64().to_string();
    let (data, params, seed) = (c.data.text(), c.params(), c.seed.to_string());
    let cell: [&str; CELL.len()] = [
        run,
        &s.id,
        &c.model.name,
        &c.model.network,
        &c.model.weights,
        &data,
        &c.attack.name,
        &params,
        c.threat.norm.name(),
        &c.threat.eps_text(),
        &eps,
        &c.goal.name(),
        c.mode.name(),
        c.witness.name(),
        c.precision.name(),
        &seed,
        yes_or_no(s.weights_pinned),
        yes_or_no(s.data_pinned),
    ];
    let problem = |e: csv::Error| Error::Store(format!("rows of cell {}: {e}", s.id));
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for outcome in outcomes {
        writer.serialize((cell, outcome)).map_err(problem)?;
    }
    writer.into_inner().map_err(|e| Error::Store(format!("rows of cell {}: {e}", s.id)))
}
