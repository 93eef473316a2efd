//! Any table with a column of encoded pictures and one of labels: parquet files here (`path`) or on the Hub
//! (`repository`).

use super::columns::Columns;
use super::dataset::Dataset;
use super::place::{Content, Place};
use super::table;
use super::table::{Labels, Table, TableFile, is_like, is_of_split};
use crate::error::{Error, Result};
use crate::record::TableRecord;

pub const DATASET: Dataset = Dataset {
    name: "parquet",
    summary: "parquet files with pictures and labels: `path`, or `repository` of the Hub",
    splits: &[],
    prepared: true,
    table: true,
    load,
    ..Dataset::BASE
};

fn load(place: &Place) -> Result<Content> {
    let named = place.table.ok_or_else(|| Error::usage("dataset `parquet` needs `path` or `repository`"))?;
    let pins = [("revision", named.revision.is_some()), ("sha256", !named.sha256.is_empty())];
    if let (Some(_), Some((key, _))) = (&named.path, pins.iter().find(|(_, given)| *given)) {
        return Err(Error::usage(format!(
            "`{key}` is for files of the Hub, and goes without `path` (hint: what is read is pinned by the digest of its \
             images, which a run keeps)"
        )));
    }
    let files = match (&named.path, &named.repository) {
        (Some(path), None) => here(place, path, named)?,
        (None, Some(repository)) => on_hub(place, repository, named)?,
        _ => return Err(Error::usage("dataset `parquet` needs either `path` or `repository` (as \"owner/name\")")),
    };
    let columns = Columns { image: named.image.clone(), label: named.label.clone() };
    Ok(Table { files, columns, labels: Labels::AsWritten(named.classes), side: None, missing: None }.into())
}

/// Whether a file is among those that are named, by pattern or else by split.
fn is_meant(path: &str, split: &str, named: &TableRecord) -> bool {
    match &named.files {
        Some(pattern) => is_like(path, pattern),
        None => split == super::ALL || is_of_split(path, split),
    }
}

fn here(place: &Place, path: &str, named: &TableRecord) -> Result<Vec<TableFile>> {
    let (path, split) = (std::path::Path::new(path), place.split);
    if path.is_file() && named.files.is_some() {
        let path = path.display();
        return Err(Error::usage(format!("`path` is the file {path}, so `files` chooses none (hint: leave it out)")));
    }
    if path.is_file() {
        return Ok(vec![TableFile::Local(path.to_path_buf())]);
    }
    let files = table::below(place, path, |file| is_meant(file, split, named))?;
    match files.is_empty() {
        true if !path.exists() => Err(Error::Absent(format!(
            "dataset `parquet`: {} is not there (hint: `path` names a file or a folder)",
            path.display()
        ))),
        true => Err(Error::usage(format!(
            "dataset `parquet`: no parquet file of split `{split}` in {} (hint: `files` names them, as \"test-*.parquet\")",
            path.display()
        ))),
        false => Ok(files),
    }
}

fn on_hub(place: &Place, repository: &str, named: &TableRecord) -> Result<Vec<TableFile>> {
    let revision = named.revision.as_deref().unwrap_or("main");
    let files = match named.files.as_deref() {
        Some(path) if !path.contains('*') => vec![table::on_hub(repository, revision, path, None)],
        pattern => {
            let prefix = pattern.and_then(|p| p.split('*').next()).unwrap_or_default();
            let meant = |path: &str| is_meant(path, place.split, named);
            table::listed(&place.source.hub, repository, revision, prefix, meant)?
        }
    };
    if named.sha256.is_empty() {
        return Ok(files);
    }
    if named.sha256.len() != files.len() {
        return Err(Error::usage(format!(
            "`sha256` has {} hashes for {} files of `{repository}` (hint: one a file, in the order of their names)",
            named.sha256.len(),
            files.len()
        )));
    }
    let pin = |(file, hash): (TableFile, &String)| match file {
        TableFile::Remote { file, .. } => table::on_hub(repository, revision, &file.path, Some(hash)),
        local => local,
    };
    Ok(files.into_iter().zip(&named.sha256).map(pin).collect())
}
