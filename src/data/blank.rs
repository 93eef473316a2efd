//! Grey canvases of the network's size, which show no class: where class maximisation begins. Each has its number, and with
//! it random numbers of its own, so `take` says how many seeds there are.

use super::dataset::Dataset;
use super::place::{Content, Pictures, Split, names};
use super::{cifar10, imagenet_folder};

pub const CIFAR10: Dataset = Dataset {
    name: "blank-cifar10",
    summary: "grey canvases for networks with CIFAR-10's classes",
    classes: Some(cifar10::CLASSES.len()),
    load: |_| Ok(split(names(cifar10::CLASSES))),
    ..BLANK
};

pub const IMAGENET: Dataset = Dataset {
    name: "blank-imagenet",
    summary: "grey canvases for networks with ImageNet's classes",
    classes: imagenet_folder::DATASET.classes,
    load: |_| Ok(split(imagenet_folder::class_names())),
    ..BLANK
};

/// More seeds than anybody draws.
const MOST: usize = 1000;

const BLANK: Dataset = Dataset { splits: &["all"], labelled: false, ..Dataset::BASE };

pub(super) fn split(classes: Vec<String>) -> Content {
    Content::Split(Split { classes, labels: vec![0; MOST], pictures: Pictures::Canvases })
}
