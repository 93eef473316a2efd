//! mini-ImageNet (Vinyals et al. 2016): 100 classes of ImageNet. Labels are ImageNet's indices, made from the names that
//! its files give their classes.

use super::columns::Columns;
use super::dataset::Dataset;
use super::place::{Content, Place};
use super::table;
use super::table::{Labels, Table};
use crate::error::Result;

pub const DATASET: Dataset = Dataset {
    name: "mini-imagenet",
    summary: "100 classes of ImageNet, from the Hub; labels are ImageNet's",
    splits: &["test", "validation", "train"],
    classes: Some(1000),
    prepared: true,
    places: &["mini-imagenet/**/*.parquet"],
    hub: Some((REPOSITORY, REVISION)),
    load,
    ..Dataset::BASE
};

const REPOSITORY: &str = "timm/mini-imagenet";
/// No commit was to be had, so it is unpinned.
const REVISION: &str = "main";

fn load(place: &Place) -> Result<Content> {
    let prefix = format!("data/{}-", place.split);
    let remote = || table::listed(&place.source.hub, REPOSITORY, REVISION, &prefix, |_| true);
    let files = table::local_first(place, "mini-imagenet", "", remote)?;
    Ok(Table { files, columns: Columns::default(), labels: Labels::OfImagenet(&[]), side: None, missing: None }.into())
}
