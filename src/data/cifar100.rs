//! CIFAR-100 (Krizhevsky 2009): 32×32 images of a hundred classes, the fine labels.

use super::cifar::{Cifar, SIDE};
use super::dataset::Dataset;

/// Names of the classes, by label.
#[rustfmt::skip]
pub const CLASSES: &[&str] = &[
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

pub const DATASET: Dataset = Dataset {
    name: "cifar100",
    summary: "CIFAR-100: FOOLPROOF_DATA/cifar100/{test,train}.bin (CIFAR's binary format), else from the Hub",
    splits: &["test", "train"],
    classes: Some(CLASSES.len()),
    side: Some(SIDE),
    population: |split| (split == "test").then_some("cifar100-test"),
    places: &["cifar100/test.bin", "cifar100/train.bin", "cifar100/**/*.parquet"],
    hub: Some((CIFAR.repository, CIFAR.revision)),
    load: |place| CIFAR.load(place),
    ..Dataset::BASE
};

/// Commit, and the hash of the test file, as projects that use this data have them; that of the training file was not
/// to be had, so it is unpinned.
pub(super) const CIFAR: Cifar = Cifar {
    name: "cifar100",
    classes: CLASSES,
    labels: 2,
    repository: "uoft-cs/cifar100",
    revision: "aadb3af77e9048adbea6b47c21a81e47dd092ae5",
    files: [
        (
            "test",
            "cifar100/test-00000-of-00001.parquet",
            Some("98776c529bb146a9c791229df74a5cf076be9b43d82dbbd334b6a7788d73dc68"),
        ),
        ("train", "cifar100/train-00000-of-00001.parquet", None),
    ],
    archive: ["test.bin", "train.bin"],
};
