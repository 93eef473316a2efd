//! CIFAR-10 (Krizhevsky 2009): 32×32 images of ten classes.

use super::cifar::{Cifar, SIDE};
use super::dataset::Dataset;

/// Names of the classes, by label.
pub const CLASSES: &[&str] =
    &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

pub const DATASET: Dataset = Dataset {
    name: "cifar10",
    summary: "CIFAR-10: FOOLPROOF_DATA/cifar10/{test,train}.bin (CIFAR's binary format), else from the Hub",
    splits: &["test", "train"],
    classes: Some(CLASSES.len()),
    side: Some(SIDE),
    population: |split| (split == "test").then_some("cifar10-test"),
    places: &["cifar10/test.bin", "cifar10/train.bin", "cifar10/**/*.parquet"],
    hub: Some((CIFAR.repository, CIFAR.revision)),
    load: |place| CIFAR.load(place),
    ..Dataset::BASE
};

/// Commit and hashes as several projects that use this data agree on them.
pub(super) const CIFAR: Cifar = Cifar {
    name: "cifar10",
    classes: CLASSES,
    labels: 1,
    repository: "uoft-cs/cifar10",
    revision: "0b2714987fa478483af9968de7c934580d0bb9a2",
    files: [
        (
            "test",
            "plain_text/test-00000-of-00001.parquet",
            Some("841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de"),
        ),
        (
            "train",
            "plain_text/train-00000-of-00001.parquet",
            Some("8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883"),
        ),
    ],
    archive: ["test_batch.bin", "data_batch_1.bin to data_batch_5.bin, joined,"],
};
