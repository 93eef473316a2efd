//! The 50,000 validation pictures of ILSVRC 2012 (Russakovsky et al. 2015), from the Hub, which asks for a token and for
//! consent to its terms. Labels are places among the sorted wnids.

use super::columns::Columns;
use super::dataset::Dataset;
use super::place::{Content, Place};
use super::table::{Labels, Table};
use super::{imagenet_folder, table};
use crate::error::Result;

pub const DATASET: Dataset = Dataset {
    name: "imagenet-1k",
    summary: "ImageNet's 50,000 validation pictures, from the Hub (gated: HF_TOKEN)",
    splits: &["validation"],
    classes: Some(1000),
    prepared: true,
    places: &["imagenet-1k/**/*.parquet"],
    hub: Some((REPOSITORY, REVISION)),
    terms: "gated: accept its terms on the page of the repository, and give a token (HF_TOKEN)",
    population: |_| Some("imagenet-val"),
    load,
    ..Dataset::BASE
};

const REPOSITORY: &str = "ILSVRC/imagenet-1k";
const REVISION: &str = "49e2ee26f3810fb5a7536bbf732a7b07389a47b5";
const SHARDS: usize = 14;

/// The hashes of the shards are hidden from those without consent, so they are unpinned.
fn load(place: &Place) -> Result<Content> {
    let path = |shard: usize| format!("data/validation-{shard:05}-of-{SHARDS:05}.parquet");
    let remote = || Ok((0..SHARDS).map(|shard| table::on_hub(REPOSITORY, REVISION, &path(shard), None)).collect());
    let files = table::local_first(place, "imagenet-1k", "", remote)?;
    let labels = Labels::Classes(imagenet_folder::class_names());
    Ok(Table { files, columns: Columns::default(), labels, side: None, missing: None }.into())
}
