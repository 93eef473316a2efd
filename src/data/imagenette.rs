//! Imagenette (Howard 2019): ten easy classes of ImageNet. Labels are ImageNet's indices.

use super::columns::Columns;
use super::dataset::Dataset;
use super::place::{Content, Place};
use super::table;
use super::table::{Labels, Table};
use crate::error::Result;

/// Short sides of 320 pixels. That its files lie where they are looked for was not seen, but for those of 160 it was.
pub const DATASET: Dataset = Dataset {
    name: "imagenette",
    summary: "ten classes of ImageNet, short side 320, from the Hub (place unverified); labels are ImageNet's",
    places: &["imagenette/**/*.parquet"],
    load: |place| load(place, "imagenette", "320px"),
    ..IMAGENETTE
};

/// Short sides of 160 pixels, a tenth of the bytes.
pub const SMALL: Dataset = Dataset {
    name: "imagenette-160px",
    summary: "the same with a short side of 160",
    places: &["imagenette-160px/**/*.parquet"],
    load: |place| load(place, "imagenette-160px", "160px"),
    ..IMAGENETTE
};

const IMAGENETTE: Dataset = Dataset {
    splits: &["validation", "train"],
    classes: Some(1000),
    prepared: true,
    hub: Some((REPOSITORY, REVISION)),
    ..Dataset::BASE
};

const REPOSITORY: &str = "frgfm/imagenette";
const REVISION: &str = "4b23ffb92a8029db9958bdfdbd6978427d09b1a0";

/// By label.
pub const CLASSES: &[&str] = &[
    "tench",
    "English springer",
    "cassette player",
    "chain saw",
    "church",
    "French horn",
    "garbage truck",
    "gas pump",
    "golf ball",
    "parachute",
];

fn load(place: &Place, name: &str, size: &str) -> Result<Content> {
    let hub = &place.source.hub;
    let prefix = format!("{size}/{}-", place.split);
    // a mirror of the repository has the same pictures in three sizes
    let local = place.source.folder().join(name);
    let sized = ["160px", "320px", "full_size"].iter().any(|size| local.join(size).is_dir());
    let within = if sized { format!("{size}/") } else { String::new() };
    let remote = || table::listed(hub, REPOSITORY, REVISION, &prefix, |_| true);
    let files = table::local_first(place, name, &within, remote)?;
    Ok(Table { files, columns: Columns::default(), labels: Labels::OfImagenet(CLASSES), side: None, missing: None }
        .into())
}

#[cfg(test)]
mod tests {
    use super::super::imagenet_folder::class_named;

    #[test]
    fn its_labels_are_these_of_imagenet() {
        let classes: Option<Vec<usize>> = super::CLASSES.iter().map(|name| class_named(name)).collect();
        assert_eq!(classes.unwrap(), [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]);
    }
}
