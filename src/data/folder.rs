//! Any pictures, one folder a class: the sorted names of the folders are the classes.

use super::{Content, Dataset, Folder, Pictures, Place, Split, picture};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

pub const DATASET: Dataset = Dataset {
    name: "folder",
    summary: "pictures of your own, one folder a class; `path` names the folder above",
    splits: &["all"],
    folder: Some(Folder { default: None }),
    prepared: true,
    load,
    ..Dataset::BASE
};

/// Picture files with their classes.
#[derive(Default)]
pub(super) struct Listing {
    files: Vec<PathBuf>,
    labels: Vec<usize>,
}

impl Listing {
    pub fn push(&mut self, file: PathBuf, class: usize) {
        self.files.push(file);
        self.labels.push(class);
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub fn into_content(self, classes: Vec<String>) -> Content {
        Content::Split(Split { classes, labels: self.labels, pictures: Pictures::Files(self.files) })
    }
}

fn load(place: &Place) -> Result<Content> {
    let folder = &place.folder;
    let (mut classes, mut listing) = (Vec::new(), Listing::default());
    for class_folder in entries(folder)?.into_iter().filter(|e| e.is_dir()) {
        let name = class_folder.file_name().and_then(|n| n.to_str()).filter(|n| !n.contains(char::is_control));
        let name = name.ok_or_else(|| {
            Error::usage(format!("folder {}: its name is no plain text (hint: rename it)", class_folder.display()))
        })?;
        pictures(&class_folder)?.into_iter().for_each(|picture| listing.push(picture, classes.len()));
        classes.push(name.to_string());
    }
    match listing.is_empty() {
        true => Err(Error::usage(format!(
            "dataset `folder`: no picture in the folders of {} (hint: one folder a class, with files named as {})",
            folder.display(),
            picture::ENDINGS.map(|e| format!("*.{e}")).join(", ")
        ))),
        false => Ok(listing.into_content(classes)),
    }
}

/// What lies in a folder, sorted by name, but for what is hidden.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read folder", folder))? {
        let entry = entry.map_err(Error::io("read folder", folder))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

/// The picture files of a folder, sorted by name.
pub(super) fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|e| e.is_file() && picture::is_picture(e)).collect())
}
