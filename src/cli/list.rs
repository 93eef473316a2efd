//! `list CONFIG`: the plan as CSV.

use super::options::Options;
use super::registries;
use super::run::say_what_is_read;
use crate::error::Result;
use crate::store::{State, Store};
use crate::sweep::plan;
use std::path::Path;

/// Prints one row a cell, with what the store has of it.
pub fn list(config: &Path, options: &Options) -> Result<()> {
    let plan = plan::load(config, &options.source())?;
    say_what_is_read(&plan, options.quiet);
    let store = Store::open(&options.out.join(&plan.name)).ok();
    let state = |id: &str| store.as_ref().map_or(Ok(State::Missing), |s| s.state(id));
    let mut rows = Vec::new();
    for planned in &plan.cells {
        let c = &planned.cell;
        let state = match state(&planned.id)? {
            State::Done => "done",
            State::Failed => "failed",
            State::Missing => "missing",
        };
        rows.push(vec![
            planned.id.clone(),
            c.model.name.clone(),
            c.data.text(),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name().to_string(),
            c.threat.eps_text(),
            c.goal.name(),
            c.mode.name().to_string(),
            c.witness.to_string(),
            c.precision.to_string(),
            c.seed.to_string(),
            state.to_string(),
        ]);
    }
    let columns = [
        "cell",
        "model",
        "dataset",
        "attack",
        "params",
        "norm",
        "eps",
        "goal",
        "mode",
        "witness",
        "precision",
        "seed",
        "state",
    ];
    registries::print_csv(&columns, rows)
}
