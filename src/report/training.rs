//! What a training left: a row an epoch, a figure of how each model learned, and where and how long.

use super::draw::axis::Axis;
use super::draw::canvas::{Picture, render};
use super::draw::curves::{Curves, Form, Line, Panel, Point};
use super::draw::look::Look;
use super::draw::stamp::TRAINING;
use super::{FIGURE_FILES, FIGURES};
use crate::digest;
use crate::error::{Error, Result};
use crate::figure::FigureRecord;
use crate::record::{EpochRecord, TrainingProvenance};
use crate::table::csv;
use std::path::Path;

/// Writes `tables/training.csv`, the figure `training` and `provenance.json` below a folder.
///
/// # Errors
/// Those of the disk.
pub fn write(folder: &Path, name: &str, rows: &[EpochRecord], provenance: &[TrainingProvenance]) -> Result<()> {
    let mut files = vec![("tables/training.csv".to_string(), table(rows)?)];
    let json = serde_json::to_vec_pretty(provenance)
        .map_err(|e| Error::usage(format!("provenance: {e} (hint: please report it)")))?;
    files.push(("provenance.json".into(), json));
    if !rows.is_empty() {
        let Picture { svg, png, pdf, points } = figure(name, rows)?;
        for (end, bytes) in FIGURE_FILES.iter().zip([svg.into_bytes(), png, pdf, points]) {
            files.push((format!("{FIGURES}/{TRAINING}.{end}"), bytes));
        }
    }
    for (path, bytes) in files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

const COLUMNS: [&str; 13] = [
    "model",
    "recipe",
    "epoch",
    "updates",
    "learning_rate",
    "loss",
    "train_correct",
    "train_images",
    "clean_correct",
    "pgd_correct",
    "held_out",
    "eps",
    "stopped",
];

fn table(rows: &[EpochRecord]) -> Result<Vec<u8>> {
    let fields = |r: &EpochRecord| {
        vec![
            r.model.clone(),
            r.recipe.clone(),
            r.epoch.to_string(),
            r.updates.to_string(),
            r.learning_rate.clone(),
            r.loss.clone(),
            r.train_correct.to_string(),
            r.train_images.to_string(),
            r.clean_correct.to_string(),
            r.pgd_correct.to_string(),
            r.held_out.to_string(),
            r.eps.clone(),
            r.stopped.clone(),
        ]
    };
    csv::lines(&COLUMNS, rows.iter().map(fields))
}

/// A panel a model: what is right of held-out images, as they are and under PGD, and of the images that it learned.
fn figure(name: &str, rows: &[EpochRecord]) -> Result<Picture> {
    let (asked, id) = (FigureRecord::default(), digest::sha256(&table(rows)?));
    let look = Look::new(TRAINING, &asked, &id, name);
    let mut panels = Vec::new();
    for of_model in rows.chunk_by(|a, b| a.model == b.model) {
        let line = |style: usize, count: fn(&EpochRecord) -> [usize; 2]| Line {
            style,
            form: Form::Joined,
            points: of_model
                .iter()
                .map(|row| {
                    let [k, n] = count(row);
                    Point::share(row.epoch as f64, k, n, &row.model)
                })
                .collect(),
            budget: None,
        };
        let last = of_model.last().expect("a model has an epoch");
        panels.push(Panel {
            title: format!("{} ({}, Linf {})", last.model, last.recipe, last.eps),
            unit: "epoch".into(),
            share: "right / %".into(),
            axis: Axis::linear(last.epoch as f64),
            chance: None,
            lines: vec![
                line(0, |r| [r.clean_correct, r.held_out]),
                line(1, |r| [r.pgd_correct, r.held_out]),
                line(2, |r| [r.train_correct, r.train_images]),
            ],
        });
    }
    let legend = ["held out, clean", "held out, under PGD-10", "training images, as they were learned"];
    let note = "bands: 95 % Wilson intervals";
    render(&Curves::new(&look, panels, legend.map(String::from).to_vec(), note), &look)
}
