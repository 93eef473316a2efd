//! Tables and figures from the store alone. Nothing here computes a prediction; the same cells give the same bytes.
//!
//! To add a table or chart: a file, a `mod` line, a line in [`TABLES`] or [`CHARTS`].

mod canvas;
mod class_max;
mod confusion;
mod curves;
mod explain;
mod gallery;
mod page;
mod patch_area;
pub mod patch_picture;
mod robust_accuracy;
pub mod sanity;
pub mod summary;
mod tables;

use crate::error::Result;
use crate::record::Cell;
use crate::store::Store;
use rayon::prelude::*;
use summary::Summary;

/// What reports are made of: one summary a planned cell, in the order of the plan.
pub struct Run<'a> {
    /// Name of the sweep.
    pub name: String,
    /// Where more is to be read.
    pub store: &'a Store,
    /// Cells in order.
    pub cells: Vec<Summary>,
    /// Models whose weights are unpinned.
    pub unpinned: Vec<String>,
    /// Digests of data that is.
    pub unpinned_data: Vec<String>,
    /// What must hold between them.
    pub sanity: Vec<sanity::Row>,
}

/// Draws nothing where there is nothing to show.
type Table = fn(&Run) -> Result<Option<Vec<u8>>>;

/// An SVG and a PNG.
type Chart = fn(&Run) -> Result<Option<canvas::Picture>>;

/// Every table: path below the run, and what writes it.
const TABLES: &[(&str, Table)] = &[
    ("tables/summary.csv", tables::summary),
    ("tables/targets.csv", tables::targets),
    ("tables/confusion.csv", confusion::table),
    ("tables/class-max.csv", class_max::table),
    ("tables/transfer.csv", tables::transfer),
    ("tables/explain.csv", explain::table),
    ("tables/sanity.csv", sanity::table),
];

/// The table of all images, the one that may not fit into memory: it is written as it is made.
pub const IMAGES: &str = "tables/images.csv";

/// The page to look at.
const PAGE: &str = "report.html";

/// Every figure: path below the run without extension, and what draws it.
const CHARTS: &[(&str, Chart)] = &[
    ("figures/robust-accuracy", robust_accuracy::draw),
    ("figures/gallery", gallery::draw),
    ("figures/confusion", confusion::draw),
    ("figures/patch-area", patch_area::draw),
    ("figures/class-max", class_max::draw),
    ("figures/grad-cam", explain::draw),
];

/// Pictures, each in a file of its own: paths below the run, and bytes.
type Pictures = fn(&Run) -> Result<Vec<(String, Vec<u8>)>>;

/// Everything that makes pictures, below [`PICTURES`].
const PICTURE_MAKERS: &[Pictures] = &[class_max::pictures, patch_picture::pictures];

/// Folder of all pictures.
const PICTURES: &str = "pictures";

impl Run<'_> {
    /// `yes` where a description names the weights of every model that decides the cell, `no` where one does not.
    pub fn weights_pinned(&self, cell: &Cell) -> &'static str {
        let trained = cell.train.iter().flat_map(|t| &t.models);
        let unpinned = trained.chain([&cell.model]).any(|m| self.unpinned.contains(&m.name));
        if unpinned { "no" } else { "yes" }
    }

    /// The same of the files of all data that decides the cell.
    pub fn data_pinned(&self, cell: &Cell) -> &'static str {
        let trained = cell.train.iter().map(|t| &t.data);
        let unpinned = trained.chain([&cell.data]).any(|d| self.unpinned_data.contains(&d.digest));
        if unpinned { "no" } else { "yes" }
    }

    /// Reads and summarises every cell of the run's plan.
    pub fn read(store: &Store) -> Result<Run<'_>> {
        let plan = store.read_plan()?;
        let cells = plan.cells.par_iter().map(|cell| Summary::read(store, cell)).collect::<Result<_>>()?;
        let (unpinned, unpinned_data) = (plan.unpinned, plan.unpinned_data);
        let mut run = Run { name: plan.name, store, cells, unpinned, unpinned_data, sanity: Vec::new() };
        run.sanity = sanity::ladder(&run)?;
        Ok(run)
    }
}

/// Every report of a run but [`IMAGES`]: path below it, and bytes.
pub fn render(run: &Run) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for (path, table) in TABLES {
        files.extend(table(run)?.map(|bytes| (path.to_string(), bytes)));
    }
    for (path, chart) in CHARTS {
        if let Some(picture) = chart(run)? {
            files.push((format!("{path}.svg"), picture.svg.into_bytes()));
            files.push((format!("{path}.png"), picture.png));
        }
    }
    for pictures in PICTURE_MAKERS {
        files.extend(pictures(run)?);
    }
    let page = page::page(run, &files)?;
    files.push((PAGE.to_string(), page));
    Ok(files)
}

/// Hands out the rows of [`IMAGES`] in order, those of each cell with its id, the heading with an empty one.
pub fn images(run: &Run, part: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
    tables::images(run, part)
}

/// Every path a report may have, pictures apart.
pub fn known_paths() -> impl Iterator<Item = String> {
    let charts = CHARTS.iter().flat_map(|(path, _)| [format!("{path}.svg"), format!("{path}.png")]);
    TABLES.iter().map(|(path, _)| *path).chain([IMAGES, PAGE]).map(String::from).chain(charts)
}

/// Writes every report; returns the paths below the run.
pub fn write(store: &Store) -> Result<Vec<String>> {
    write_of(&Run::read(store)?)
}

/// Writes every report of a run that is read already; returns the paths below it.
pub fn write_of(run: &Run) -> Result<Vec<String>> {
    let store = run.store;
    store.write_parts(IMAGES, |part| images(run, &mut |_, bytes| part(bytes)))?;
    let files = render(run)?;
    for (path, bytes) in &files {
        store.write(path, bytes)?;
    }
    // what an earlier plan gave and this one does not
    let pictures = store.files_below(PICTURES)?;
    let mut written: Vec<String> = files.into_iter().map(|(path, _)| path).collect();
    written.insert(1, IMAGES.to_string());
    for path in known_paths().chain(pictures).filter(|p| !written.contains(p)) {
        store.remove(&path)?;
    }
    Ok(written)
}
