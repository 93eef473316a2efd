//! Where a path of a sweep file leads: from the folder of the sweep file, as weights from that of their model file, then
//! from the current folder, then from the data folder.

use super::source::Source;
use super::{picture, walk};
use crate::digest;
use crate::error::{Error, Result};
use crate::placement::Picture;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// Side of a picture to be pasted, in pixels; larger ones are shrunk to it: no net sees more of them.
const MOST_PASTED: usize = 512;

/// What a path leads to.
pub struct Located {
    /// The first of the places where it may lead that has such a thing.
    pub path: PathBuf,
    /// Another one at a later place, which was not taken; in words.
    pub note: Option<String>,
}

/// The folder that a sweep names.
pub fn find_folder(path: &str, beside: &Path, source: &Source) -> Result<Located> {
    look_for(path, beside, source, Metadata::is_dir)?
        .map_err(|looked| Error::usage(format!("no folder {looked} (hint: `path` names the folder of the pictures)")))
}

/// A file or folder: looked for as [`find_folder`] does.
pub fn find_path(path: &str, beside: &Path, source: &Source) -> Result<Located> {
    look_for(path, beside, source, |_| true)?
        .map_err(|looked| Error::usage(format!("no file or folder {looked} (hint: `path` names the parquet files)")))
}

/// A picture to be pasted, and the SHA-256 of its file: looked for as [`find_folder`] does. The last is [`Located::note`].
pub fn find_picture(path: &str, beside: &Path, source: &Source) -> Result<(String, Picture, Option<String>)> {
    let found = look_for(path, beside, source, Metadata::is_file)?
        .map_err(|looked| Error::usage(format!("no picture {looked} (hint: `picture` names a file)")))?;
    let pixels = picture::read_rgba(&found.path)?;
    let bytes = std::fs::read(&found.path).map_err(Error::io("read", &found.path))?;
    let picture = Picture::from_rgba_u8(pixels.width() as usize, pixels.height() as usize, pixels.as_raw())?;
    Ok((digest::sha256(&bytes), picture.at_most(MOST_PASTED)?, found.note))
}

/// A model file that a sweep names: beside it, else from the current folder. `None`: there is none.
pub fn find_model_file(path: &str, beside: &Path) -> Result<Option<Located>> {
    first_of(path, vec![beside.join(path), PathBuf::from(path)], Metadata::is_file)
}

/// `Err` of the inner one: all the places, in words.
fn look_for(
    path: &str,
    beside: &Path,
    source: &Source,
    is_it: fn(&Metadata) -> bool,
) -> Result<Result<Located, String>> {
    let candidates = vec![beside.join(path), PathBuf::from(path), source.folder().join(path)];
    let mut looked: Vec<String> = candidates.iter().map(|c| c.display().to_string()).collect();
    looked.dedup();
    Ok(first_of(path, candidates, is_it)?.ok_or_else(|| looked.join(", nor ")))
}

/// The first candidate that is there. Later ones that lead elsewhere are noted.
fn first_of(path: &str, candidates: Vec<PathBuf>, is_it: fn(&Metadata) -> bool) -> Result<Option<Located>> {
    let mut there = Vec::new();
    for candidate in candidates {
        if walk::follow(&candidate)?.is_some_and(|found| is_it(&found)) {
            there.push(candidate);
        }
    }
    let mut there = there.into_iter();
    let Some(taken) = there.next() else { return Ok(None) };
    let real = |place: &Path| place.canonicalize().ok();
    let other = there.find(|other| real(other) != real(&taken));
    let note = other.map(|other| {
        format!(
            "`{path}` of the sweep file is {}; {} was not taken (hint: write the path in full)",
            taken.display(),
            other.display()
        )
    });
    Ok(Some(Located { path: taken, note }))
}
