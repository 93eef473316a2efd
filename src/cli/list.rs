//! `list CONFIG`: the plan as CSV, and its price.

use super::options::Options;
use super::price::{say_price, size};
use super::registries;
use super::run::say_what_is_read;
use crate::error::Result;
use crate::hub::{Hub, RemoteFile};
use crate::notice::say;
use crate::store::{State, Store};
use crate::sweep::plan;
use crate::sweep::price::states;
use std::path::Path;

/// Prints one row a cell, with what the store has of it; then, for people, what the missing ones cost. Downloads nothing.
pub fn list(config: &Path, options: &Options) -> Result<()> {
    let machine = options.machine()?;
    let mut source = options.source();
    source.hub = source.hub.dry();
    let plan = plan::load(config, &source);
    say_what_to_download(&source.hub, plan.is_ok());
    let plan = plan?;
    say_what_is_read(&plan, options.quiet);
    let store = Store::open(&options.out.join(&plan.name)).ok();
    let mut rows = Vec::new();
    for (planned, state) in plan.cells.iter().zip(states(&plan, store.as_ref())?) {
        let c = &planned.cell;
        let state = match state {
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
    registries::print_csv(&columns, rows)?;
    if !options.quiet {
        say_price(&plan, store.as_ref(), &machine)?;
    }
    Ok(())
}

/// Bytes that the network would bring; where it would bring some, there is no plan yet.
fn say_what_to_download(hub: &Hub, planned: bool) {
    let wanted = hub.wanted();
    let bytes: u64 = wanted.iter().map(|(_, bytes)| bytes).sum();
    for (RemoteFile { repository, path, .. }, bytes) in &wanted {
        say(format_args!("to download: {path} of {repository}, {}", size(*bytes)));
    }
    if !wanted.is_empty() && !planned {
        say(format_args!("to download: {} in all, at least; what else there is shows when it is here", size(bytes)));
    }
}
