//! `status`: how far a run is.

use super::price::time;
use super::registries::{print, print_csv};
use crate::error::{Error, Result};
use crate::notice::say;
use crate::record::unix_s;
use crate::store::Store;
use crate::sweep::status::{Count, Status, status};
use std::path::Path;

/// Says how far a run is: counts on stderr, workers as CSV, or all as JSON.
pub fn print_status(dir: &Path, json: bool) -> Result<()> {
    let store = Store::open(dir)?;
    if !store.has_plan() {
        return Err(Error::Absent(format!(
            "{} has no plan yet (hint: a run that has just begun writes it in a moment; else start it again)",
            dir.display()
        )));
    }
    let status = status(&store, unix_s())?;
    if json {
        return print((serde_json::to_string_pretty(&status).expect("plain data") + "\n").as_bytes());
    }
    lines(&status).iter().for_each(say);
    let row = |w: &crate::sweep::status::WorkerStatus| {
        let said = &w.said;
        vec![
            said.name.clone(),
            format!("{}/{}", said.shard, said.of),
            w.state.clone(),
            said.done.to_string(),
            format!("{:.0}", said.seconds),
            w.silent_s.to_string(),
            w.at.clone().unwrap_or_default(),
        ]
    };
    let rows = status.workers.iter().map(row).collect();
    print_csv(&["worker", "share", "state", "done", "seconds", "silent_s", "at"], rows)
}

/// `cells: 12 done, 2 running, 0 failed, 10 missing`, the chunks likewise, and the time left.
fn lines(status: &Status) -> Vec<String> {
    let line = |what: &str, c: &Count| {
        format!("{what}: {} done, {} running, {} failed, {} missing", c.done, c.running, c.failed, c.missing)
    };
    let mut lines = vec![line("cells", &status.cells)];
    lines.extend(status.chunks.as_ref().map(|chunks| line("chunks", chunks)));
    if status.afterwards_missing > 0 {
        lines.push(format!("verdicts of other networks and maps: {} missing", status.afterwards_missing));
    }
    let open = status.cells.missing + status.cells.running > 0;
    match status.seconds_left {
        Some(left) if open => lines.push(format!("about {} left, at the speed of the workers so far", time(left))),
        None if open => lines
            .push("nothing is known of the time left: no worker has stored anything yet, or none is at work (a run by one process counts as \
                   none: it says itself how far it is)".into()),
        _ => {}
    }
    lines
}
