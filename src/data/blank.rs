//! Grey canvases of the network's side, which show no class: where class maximisation begins. Each has its number, and with
//! it random numbers of its own, so `take` says how many seeds there are.

use super::{Dataset, Pictures, Place, Split, cifar10, imagenet_folder};
use crate::error::Result;

pub const CIFAR10: Dataset = Dataset {
    name: "blank-cifar10",
    summary: "grey canvases for networks with CIFAR-10's classes",
    classes: Some(cifar10::CLASSES.len()),
    load: |_| Ok(split(cifar10::CLASSES.iter().map(|c| c.to_string()).collect())),
    ..BLANK
};

pub const IMAGENET: Dataset = Dataset {
    name: "blank-imagenet",
    summary: "grey canvases for networks with ImageNet's classes",
    classes: imagenet_folder::DATASET.classes,
    load: |_| Ok(split(imagenet_folder::class_names())),
    ..BLANK
};

/// Mid grey, near the mean of either dataset.
pub const GREY: u8 = 128;

/// More seeds than anybody draws.
const MOST: usize = 1000;

const BLANK: Dataset = Dataset {
    name: "",
    summary: "",
    splits: &["all"],
    classes: None,
    side: None,
    labelled: false,
    folder: None,
    population: |_| None,
    load: |_: &Place| -> Result<Split> { Ok(split(Vec::new())) },
};

fn split(classes: Vec<String>) -> Split {
    Split { classes, labels: vec![0; MOST], pictures: Pictures::Canvases }
}
