//! CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich 2019): the test images under published corruptions, an array file a
//! corruption, all images at severity 1, then at 2, and so on, with the labels in one of their own.

use super::cifar::{SIDE, content};
use super::dataset::{Dataset, Folder};
use super::npy::Npy;
use super::place::{Content, Place};
use super::prepare::planes;
use super::{cifar10, cifar100};
use crate::corruption::SEVERITIES;
use crate::error::{Error, Result};
use crate::record::CorruptionRecord;
use std::path::Path;

pub const TEN: Dataset = Dataset {
    name: "cifar10-c",
    summary: "CIFAR-10-C: FOOLPROOF_DATA/CIFAR-10-C/{labels,CORRUPTION}.npy",
    classes: Some(cifar10::CLASSES.len()),
    folder: Some(Folder { default: Some("CIFAR-10-C") }),
    places: &["CIFAR-10-C/*.npy"],
    load: |place| load(place, cifar10::CLASSES),
    ..BASE
};

pub const HUNDRED: Dataset = Dataset {
    name: "cifar100-c",
    summary: "CIFAR-100-C: FOOLPROOF_DATA/CIFAR-100-C/{labels,CORRUPTION}.npy",
    classes: Some(cifar100::CLASSES.len()),
    folder: Some(Folder { default: Some("CIFAR-100-C") }),
    places: &["CIFAR-100-C/*.npy"],
    load: |place| load(place, cifar100::CLASSES),
    ..BASE
};

const BASE: Dataset = Dataset {
    splits: &["test"],
    side: Some(SIDE),
    corrupted: true,
    terms: "Creative Commons Attribution 4.0",
    ..Dataset::BASE
};

/// All images of one corruption at one severity.
fn load(place: &Place, classes: &[&str]) -> Result<Content> {
    let corruption = asked(place)?;
    let name = corruption.name.replace('-', "_");
    let mut images = open(place, &place.folder.join(format!("{name}.npy")))?;
    let mut labels = open(place, &place.folder.join("labels.npy"))?;
    let steps = usize::from(*SEVERITIES.end());
    let rows = match images.shape.as_slice() {
        [rows, SIDE, SIDE, 3] if rows % steps == 0 && *rows > 0 => *rows,
        shape => {
            let expected = format!("expected 5·N×{SIDE}×{SIDE}×3 (hint: the file of the archive, unchanged)");
            return Err(images.refused(&format!("an array of {shape:?}, {expected}")));
        }
    };
    if labels.shape != [rows] {
        let problem = format!("an array of {:?}, expected {rows} labels, one an image of {name}.npy", labels.shape);
        return Err(labels.refused(&format!("{problem} (hint: both files of one archive)")));
    }
    let numbers = labels.numbers(0..rows)?;
    if let Some(row) = numbers.iter().position(|label| !(0..classes.len() as i64).contains(label)) {
        let problem = format!("row {row} has label {}, expected 0 to {}", numbers[row], classes.len() - 1);
        return Err(labels.refused(&format!("{problem} (hint: the labels of another data set?)")));
    }
    let each = rows / steps;
    if let Some(row) = (each..rows).find(|row| numbers[*row] != numbers[row % each]) {
        let problem =
            format!("row {row} is the same image as row {} at another severity, and has another label", row % each);
        return Err(labels.refused(&problem));
    }
    let first = usize::from(corruption.severity - SEVERITIES.start()) * each;
    let wanted = first..first + each;
    let numbers = &numbers[wanted.clone()];
    let pixels = images.rows(wanted)?.chunks_exact(3 * SIDE * SIDE).flat_map(planes).collect();
    Ok(content(classes, numbers.iter().map(|label| *label as usize).collect(), pixels))
}

/// Which corruption is wanted.
pub(super) fn asked<'a>(place: &'a Place) -> Result<&'a CorruptionRecord> {
    place.corruption.ok_or_else(|| {
        Error::usage(format!("dataset `{}` needs `corruption` (hint: corruption = \"fog\")", place.dataset))
    })
}

fn open(place: &Place, path: &Path) -> Result<Npy> {
    match path.exists() {
        true => Npy::open(path),
        false => Err(Error::Absent(format!(
            "dataset `{}`: no file {} (hint: unpack its archive there, or name its folder by `path`)",
            place.dataset,
            path.display()
        ))),
    }
}
