//! `models`, `datasets`, `attacks`: each registry as CSV.

use super::hang_up;
use crate::attack::ATTACKS;
use crate::config::{Place, UNPINNED};
use crate::corruption::{CORRUPTIONS, Corruption, LIKE};
use crate::data::DATASETS;
use crate::defence::DEFENCES;
use crate::error::{Error, Result};
use crate::model::MODELS;
use crate::size;
use std::io::Write;

/// Names of the models.
pub fn names_of_models() -> Vec<&'static str> {
    MODELS.iter().map(|m| m.name).collect()
}

/// Names of the datasets.
pub fn names_of_datasets() -> Vec<&'static str> {
    DATASETS.iter().map(|d| d.name).collect()
}

/// Names of the attacks.
pub fn names_of_attacks() -> Vec<&'static str> {
    ATTACKS.iter().map(|a| a.name).collect()
}

/// Prints the models that are known by name; loads nothing.
pub fn models() -> Result<()> {
    let mut rows = Vec::new();
    for entry in &MODELS {
        let f = entry.file()?;
        let (place, repository, revision) = match &f.place {
            Place::Hub { repository, revision, .. } => ("hub", repository.as_str(), revision.as_str()),
            Place::File(_) if entry.is_embedded() => ("compiled in", "", ""),
            Place::File(_) => ("file", "", ""),
        };
        let (accuracy, source) = f
            .published
            .as_ref()
            .map_or(Default::default(), |p| (format!("{}/{} on {}", p.correct, p.of, p.population), p.source.clone()));
        let (robust, robust_source) = f.robust.as_ref().map_or(Default::default(), |r| {
            let a = &r.accuracy;
            let left = format!("{}/{} on {} by {} in {} at {}", a.correct, a.of, a.population, r.attack, r.norm, r.eps);
            (left, a.source.clone())
        });
        rows.push(vec![
            entry.name.into(),
            f.family.clone(),
            f.own.get("width").map_or_else(String::new, |w| w.to_string()),
            size::text(f.size),
            f.classes.to_string(),
            f.sha256.as_deref().unwrap_or(UNPINNED).into(),
            accuracy,
            source,
            place.into(),
            repository.into(),
            revision.into(),
            robust,
            robust_source,
        ]);
    }
    let columns = [
        "model",
        "family",
        "width",
        "side",
        "classes",
        "sha256",
        "clean_accuracy",
        "source",
        "weights",
        "hub",
        "revision",
        "robust_accuracy",
        "robust_source",
    ];
    print_csv(&columns, rows)
}

/// Prints the datasets.
pub fn datasets() -> Result<()> {
    let number = |n: Option<usize>| n.map_or(String::new(), |n| n.to_string());
    let rows = DATASETS
        .iter()
        .map(|d| vec![d.name.into(), d.splits.join(" "), number(d.side), number(d.classes), d.summary.into()]);
    print_csv(&["dataset", "splits", "side", "classes", "summary"], rows.collect())
}

/// Prints the attacks, one row a parameter.
pub fn attacks() -> Result<()> {
    let mut rows = Vec::new();
    for a in ATTACKS {
        let norms: Vec<&str> = a.norms.iter().map(|n| n.name()).collect();
        let row = |param: &str, default: &str, summary: &str| {
            vec![a.name.to_string(), norms.join(" "), param.to_string(), default.to_string(), summary.to_string()]
        };
        rows.push(row("", "", a.summary));
        rows.extend(a.params.iter().map(|p| row(p.name, p.default, p.summary)));
    }
    print_csv(&["attack", "norms", "param", "default", "summary"], rows)
}

/// Prints the stages that a defence may have, a row each and a row a constant; loads nothing.
pub fn defences() -> Result<()> {
    let yes_or_no = |flag: bool| if flag { "yes" } else { "no" };
    let mut rows = Vec::new();
    for d in DEFENCES {
        let mut row = |key: &str, default: &str, summary: &str| {
            let kind = [d.name, yes_or_no(d.is_random), yes_or_no(d.has_derivative), key, default, summary, d.source];
            rows.push(kind.map(String::from).to_vec());
        };
        row("", "", d.summary);
        d.keys.iter().for_each(|key| row(key.name, key.default, key.summary));
    }
    print_csv(&["defence", "random", "derivative", "key", "default", "summary", "source"], rows)
}

/// Prints the corruptions, a row each; loads nothing.
pub fn corruptions() -> Result<()> {
    let row = |c: &Corruption| {
        let made = c.generate.map_or(String::new(), |_| c.name.to_string() + LIKE);
        let common = if c.is_common { "yes" } else { "no" };
        vec![c.name.to_string(), made, common.to_string(), c.summary.to_string()]
    };
    print_csv(&["corruption", "made here", "common", "summary"], CORRUPTIONS.iter().map(row).collect())
}

/// Writes rows to stdout.
pub fn print_csv(columns: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    let problem =
        |e: &dyn std::fmt::Display| Error::usage(format!("write to stdout: {e} (hint: is there room where it goes?)"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns).map_err(|e| problem(&e))?;
    for row in &rows {
        writer.write_record(row).map_err(|e| problem(&e))?;
    }
    print(&writer.into_inner().map_err(|e| problem(&e))?)
}

/// Writes to stdout; a reader that has gone away is no error, be it a pipe's or a terminal that was closed.
pub fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe && !hang_up::is_of_terminal(&e) => {
            Err(Error::usage(format!("write to stdout: {e} (hint: is there room where it goes?)")))
        }
        _ => Ok(()),
    }
}
