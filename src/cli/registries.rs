//! `models`, `datasets`, `attacks`: each registry as CSV.

use crate::attack::ATTACKS;
use crate::data::DATASETS;
use crate::error::{Error, Result};
use crate::model::{self, MODELS};
use std::path::Path;

/// Prints the built-in models.
pub fn models() -> Result<()> {
    let mut rows = Vec::new();
    for entry in &MODELS {
        let model = model::find(entry.name, Path::new("."))?;
        let f = &model.file;
        let (accuracy, source) = f.published.as_ref().map_or(Default::default(), |p| {
            (format!("{}/{} on {}", p.correct, p.of, p.population), p.source.clone())
        });
        rows.push(vec![
            model.name.clone(),
            f.family.clone(),
            f.width.to_string(),
            f.side.to_string(),
            f.classes.to_string(),
            model.digest.clone(),
            accuracy,
            source,
        ]);
    }
    print_csv(
        &[
            "model",
            "family",
            "width",
            "side",
            "classes",
            "sha256",
            "clean_accuracy",
            "source",
        ],
        rows,
    )
}

/// Prints the datasets.
pub fn datasets() -> Result<()> {
    let rows = DATASETS.iter().map(|d| {
        vec![
            d.name.into(),
            d.splits.join(" "),
            d.side.to_string(),
            d.classes.len().to_string(),
            d.summary.into(),
        ]
    });
    print_csv(&["dataset", "splits", "side", "classes", "summary"], rows.collect())
}

/// Prints the attacks, one row a parameter.
pub fn attacks() -> Result<()> {
    let mut rows = Vec::new();
    for a in ATTACKS {
        let norms: Vec<&str> = a.norms.iter().map(|n| n.name()).collect();
        let row = |param: &str, default: &str, summary: &str| {
            vec![
                a.name.to_string(),
                norms.join(" "),
                param.to_string(),
                default.to_string(),
                summary.to_string(),
            ]
        };
        rows.push(row("", "", a.summary));
        rows.extend(a.params.iter().map(|p| row(p.name, p.default, p.summary)));
    }
    print_csv(&["attack", "norms", "param", "default", "summary"], rows)
}

/// Writes rows to stdout; a closed pipe is no error.
pub fn print_csv(columns: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
    let mut write = || -> std::result::Result<(), csv::Error> {
        writer.write_record(columns)?;
        for row in &rows {
            writer.write_record(row)?;
        }
        writer.flush()?;
        Ok(())
    };
    match write() {
        Err(e) if matches!(e.kind(), csv::ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::BrokenPipe) => Ok(()),
        Err(e) => Err(Error::usage(format!("write to stdout: {e}"))),
        Ok(()) => Ok(()),
    }
}
