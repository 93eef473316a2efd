//! ImageNet-C (Hendrycks and Dietterich 2019): the validation pictures under published corruptions, in
//! `CORRUPTION/SEVERITY/wnid/`, as they are unpacked or below the folder of their kind.

use super::cifar_c::asked;
use super::dataset::{Dataset, Folder};
use super::imagenet_folder;
use super::place::{Content, Place};
use super::walk;
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::path::PathBuf;

pub const DATASET: Dataset = Dataset {
    name: "imagenet-c",
    summary: "ImageNet-C: FOOLPROOF_DATA/ImageNet-C/CORRUPTION/SEVERITY/wnid/*.JPEG",
    splits: &["all"],
    classes: Some(1000),
    folder: Some(Folder { default: Some("ImageNet-C") }),
    prepared: true,
    corrupted: true,
    terms: "Creative Commons Attribution 4.0",
    load,
    ..Dataset::BASE
};

/// The archives that it is published in, each a folder of corruptions.
const KINDS: [&str; 5] = ["noise", "blur", "weather", "digital", "extra"];

fn load(place: &Place) -> Result<Content> {
    let folder = folder(place)?;
    let inner = Place { folder, notes: RefCell::default(), ..*place };
    let content = imagenet_folder::load(&inner)?;
    place.notes.borrow_mut().extend(inner.notes.into_inner());
    Ok(content)
}

/// The folder of one corruption at one severity.
fn folder(place: &Place) -> Result<PathBuf> {
    let corruption = asked(place)?;
    let below = PathBuf::from(corruption.name.replace('-', "_")).join(corruption.severity.to_string());
    let places = [place.folder.clone()].into_iter().chain(KINDS.map(|kind| place.folder.join(kind)));
    for folder in places.map(|folder| folder.join(&below)) {
        if walk::is_folder(&folder)? {
            return Ok(folder);
        }
    }
    Err(Error::Absent(format!(
        "dataset `{}`: no folder {} (hint: unpack its archives there, or name their folder by `path`)",
        place.dataset,
        place.folder.join(below).display()
    )))
}
