//! Tables and figures from the store alone. Nothing here computes a prediction; the same cells give the same bytes.
//!
//! To add a table or chart: a file in `tables` or `charts`, a `mod` line there, a line in [`TABLES`], [`READABLE`] or [`CHARTS`] (and, for a chart, its
//! name in [`crate::figure::KINDS`]).

pub mod charts;
pub mod columns;
mod draw;
mod page;
pub mod tables;
pub mod training;

use crate::analysis::Run;
use crate::error::Result;
use crate::figure::FigureRecord;
use crate::notice::say;
use crate::store::Store;
use crate::table::pages::Pages;
use crate::table::{Table, csv, parquet};
use charts::{
    class_max, confusion, corruption, cost, distance, explain, gallery, patch_area, patch_picture, robust_accuracy,
    security_curve, side_by_side, success_queries, success_steps, transfer_matrix,
};
use draw::canvas::Picture;
use draw::font::lacking;
use draw::look::Look;
use draw::stamp::NAMESPACE;
use page::Excerpt;
use std::collections::BTreeSet;
use tables::images::not_what_cells_give;
use tables::{binarised, cells, corruptions, defences, distances, images, readable, sanity, stages, worst_case};

/// Nothing where there is nothing to show.
type Tabled = fn(&Run) -> Result<Option<Table>>;

/// A table to be read by people.
type Readable = fn(&Run) -> Result<Option<Pages>>;

/// Draws nothing where there is nothing to show.
type Chart = fn(&Run, &Look) -> Result<Option<Picture>>;

/// Every table but that of all images, which does not fit into memory ([`images`]): path below the run without extension,
/// and what is in it. It is written as CSV and as Parquet.
const TABLES: &[(&str, Tabled)] = &[
    ("tables/summary", cells::summary),
    ("tables/worst-case", worst_case::table),
    ("tables/corruptions", corruptions::table),
    ("tables/corruption-mean", corruptions::means),
    ("tables/defences", defences::table),
    ("tables/binarised", binarised::table),
    ("tables/distances", distances::table),
    (TIMED, stages::table),
    ("tables/targets", cells::targets),
    ("tables/confusion", confusion::table),
    ("tables/class-max", class_max::table),
    ("tables/transfer", cells::transfer),
    ("tables/explain", explain::table),
    ("tables/sanity", sanity::table),
];

/// The one table that says how long something took. It is not on the page, which is the same for every run of a sweep.
const TIMED: &str = "tables/stages";

/// The page to look at.
const PAGE: &str = "report.html";

/// Every table for people, as Markdown and LaTeX: path below the run without extension, and what it says.
const READABLE: &[(&str, Readable)] = &[
    ("tables/summary", readable::summary),
    ("tables/corruptions", corruptions::readable),
    ("tables/defences", defences::readable),
    ("tables/targets", readable::targets),
    ("tables/class-max", class_max::readable),
    ("tables/transfer", readable::transfer),
    ("tables/sanity", sanity::readable),
];

/// Every figure: its name, and what draws it.
const CHARTS: &[(&str, Chart)] = &[
    ("side-by-side", side_by_side::draw),
    ("corruption", corruption::draw),
    ("robust-accuracy", robust_accuracy::draw),
    ("security-curve", security_curve::draw),
    ("success-steps", success_steps::draw),
    ("success-queries", success_queries::draw),
    ("patch-area", patch_area::draw),
    ("distance", distance::draw),
    ("cost", cost::draw),
    ("transfer", transfer_matrix::draw),
    ("gallery", gallery::draw),
    ("confusion", confusion::draw),
    ("class-max", class_max::draw),
    ("grad-cam", explain::draw),
];

/// Pictures, each in a file of its own: paths below the run, and bytes.
type Pictures = fn(&Run) -> Result<Vec<(String, Vec<u8>)>>;

/// Everything that makes pictures, below [`PICTURES`].
const PICTURE_MAKERS: &[Pictures] = &[class_max::pictures, patch_picture::pictures, side_by_side::pictures];

/// Folder of all figures.
const FIGURES: &str = "figures";

/// Folder of all pictures.
const PICTURES: &str = "pictures";

/// What a figure consists of: drawings, and the plotted points.
const FIGURE_FILES: [&str; 4] = ["svg", "png", "pdf", "csv"];

/// Every report of a run but the table of all images: path below it, and bytes.
pub fn render(run: &Run) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    render_to(run, &mut |path, bytes| {
        files.push((path, bytes));
        Ok(())
    })?;
    Ok(files)
}

/// The same, one file after the other: those of a large run are long.
fn render_to(run: &Run, to: &mut dyn FnMut(String, Vec<u8>) -> Result<()>) -> Result<()> {
    let (mut tables, mut drawings) = (Vec::new(), Vec::new());
    for (path, table) in TABLES {
        if let Some(table) = table(run)? {
            if *path != TIMED {
                tables.push((format!("{path}.csv"), Excerpt::of(&table)));
            }
            let csv = csv::bytes(&table)?;
            to(format!("{path}.parquet"), parquet::bytes(table)?)?;
            to(format!("{path}.csv"), csv)?;
        }
    }
    let source = readable::source(run);
    for (path, table) in READABLE {
        if let Some(pages) = table(run)? {
            to(format!("{path}.md"), pages.markdown(&source).into_bytes())?;
            to(format!("{path}.tex"), pages.latex(&source).into_bytes())?;
        }
    }
    for (kind, asked) in &FigureRecord::resolved(&run.figures) {
        let look = Look::new(kind, asked, &run.id, &run.name);
        let draw = CHARTS.iter().find(|(name, _)| name == kind).expect("a test compares both lists").1;
        if let Some(Picture { svg, png, pdf, points }) = draw(run, &look)? {
            drawings.push((format!("{FIGURES}/{}.svg", look.name), svg.clone().into_bytes()));
            for (end, bytes) in FIGURE_FILES.iter().zip([svg.into_bytes(), png, pdf, points]) {
                to(format!("{FIGURES}/{}.{end}", look.name), bytes)?;
            }
        }
    }
    for pictures in PICTURE_MAKERS {
        pictures(run)?.into_iter().try_for_each(|(path, bytes)| to(path, bytes))?;
    }
    to(PAGE.to_string(), page::page(run, &drawings, &tables)?)
}

/// Reads the run once and writes every report; returns the run, and the paths below it.
pub fn write(store: &Store) -> Result<(Run<'_>, Vec<String>)> {
    let (mut csv, parquet) = (store.begin(images::CSV)?, store.begin(images::PARQUET)?);
    let (run, parquet) = images::stream(store, |_, bytes| csv.append(bytes), parquet)?;
    csv.finish()?;
    parquet.finish()?;
    let mut written: Vec<String> = [images::CSV, images::PARQUET].map(String::from).into();
    let mut letters = BTreeSet::new();
    render_to(&run, &mut |path, bytes| {
        store.write(&path, &bytes)?;
        if path.starts_with(FIGURES) && path.ends_with(".svg") {
            letters.extend(lacking(&String::from_utf8_lossy(&bytes)));
        }
        written.push(path);
        Ok(())
    })?;
    say_what_the_font_lacks(&letters);
    // what an earlier plan gave and this one does not
    let now: BTreeSet<&String> = written.iter().collect();
    for path in earlier(store)?.iter().filter(|path| !now.contains(path)) {
        store.remove(path)?;
    }
    Ok((run, written))
}

/// Says which letters of figures are boxes in all files but the SVG, for which viewers have fonts of their own.
fn say_what_the_font_lacks(letters: &BTreeSet<char>) {
    if !letters.is_empty() {
        let first: String = letters.iter().take(10).collect();
        say(format_args!(
            "warning: the figures' font lacks {} letters ({first}): they are boxes in PNG and PDF (hint: the SVG has them)",
            letters.len()
        ));
    }
}

/// Paths that an earlier report may have written: tables by name, pictures, and figures that say they are ours.
fn earlier(store: &Store) -> Result<Vec<String>> {
    let mut paths = store.files_below(PICTURES)?;
    paths.push(PAGE.to_string());
    paths.extend(TABLES.iter().flat_map(|(path, _)| ["csv", "parquet"].map(|end| format!("{path}.{end}"))));
    paths.extend(READABLE.iter().flat_map(|(path, _)| ["md", "tex"].map(|end| format!("{path}.{end}"))));
    let four = |path: &str| FIGURE_FILES.map(|end| format!("{path}.{end}"));
    paths.extend(CHARTS.iter().flat_map(|(name, _)| four(&format!("{FIGURES}/{name}"))));
    for svg in store.files_below(FIGURES)? {
        if let Some(path) = svg.strip_suffix(".svg")
            && String::from_utf8_lossy(&store.read_bytes(&svg)?).contains(NAMESPACE)
        {
            paths.extend(four(path));
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Tables and figures that are not what the cells give, each with a hint. A report that was never written is none.
pub fn stale(store: &Store) -> Result<Vec<String>> {
    let (problem, run) = images::stale(store)?;
    let mut problems: Vec<String> = problem.into_iter().collect();
    let rendered = render(&run)?;
    let given: BTreeSet<&str> = rendered.iter().map(|(path, _)| path.as_str()).collect();
    for path in earlier(store)?.iter().filter(|path| !given.contains(path.as_str())) {
        if store.dir().join(path).exists() {
            problems.push(not_what_cells_give("all cells", path));
        }
    }
    for (path, bytes) in &rendered {
        if !store.dir().join(path).exists() {
            continue;
        }
        let stored = store.read_bytes(path)?;
        if stored != *bytes {
            let table = path.starts_with("tables/") && path.ends_with(".csv");
            let cell = if table { first_cell_that_differs(&stored, bytes) } else { "all cells".into() };
            problems.push(not_what_cells_give(&cell, path));
        }
    }
    Ok(problems)
}

/// Names the cell in the first line of a table that is not as it should be; the heading speaks of all, and so
/// does a table whose lines do not begin with a cell.
fn first_cell_that_differs(stored: &[u8], expected: &[u8]) -> String {
    let mut stored = stored.split(|b| *b == b'\n');
    let mut lines = expected.split(|b| *b == b'\n').enumerate();
    match lines.find(|(_, line)| stored.next() != Some(line)) {
        Some((i, line)) if i > 0 && !line.is_empty() && expected.starts_with(b"cell,") => {
            let id = line.split(|b| *b == b',').next().unwrap_or_default();
            format!("cell {}", String::from_utf8_lossy(id))
        }
        _ => "all cells".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_figure_has_its_chart() {
        let names: Vec<&str> = CHARTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, crate::figure::KINDS);
    }
}
