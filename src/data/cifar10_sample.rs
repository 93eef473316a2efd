//! The 20 labelled CIFAR-10 test images that foolbox 3.3.4 ships (MIT; see `datasets/README.md`), compiled in.

use super::dataset::Dataset;
use super::place::{Content, Place};
use super::{cifar, cifar10};
use crate::error::{Error, Result};

pub const DATASET: Dataset = Dataset {
    name: "cifar10-sample",
    summary: "20 CIFAR-10 test images, compiled in",
    splits: &["test"],
    classes: Some(cifar10::CLASSES.len()),
    side: Some(cifar::SIDE),
    terms: "the pictures come with foolbox 3.3.4 (MIT); datasets/README.md has its licence",
    population: |_| Some("cifar10-test"),
    load,
    ..Dataset::BASE
};

macro_rules! png {
    ($name:literal) => {
        include_bytes!(concat!("../../datasets/cifar10-sample/cifar10_", $name, ".png"))
    };
}

/// (label, PNG file), in the order of the test set.
const IMAGES: [(usize, &[u8]); 20] = [
    (3, png!("00_3")),
    (8, png!("01_8")),
    (8, png!("02_8")),
    (0, png!("03_0")),
    (6, png!("04_6")),
    (6, png!("05_6")),
    (1, png!("06_1")),
    (6, png!("07_6")),
    (3, png!("08_3")),
    (1, png!("09_1")),
    (0, png!("10_0")),
    (9, png!("11_9")),
    (5, png!("12_5")),
    (7, png!("13_7")),
    (9, png!("14_9")),
    (8, png!("15_8")),
    (5, png!("16_5")),
    (7, png!("17_7")),
    (8, png!("18_8")),
    (6, png!("19_6")),
];

fn load(_: &Place) -> Result<Content> {
    let mut pixels = Vec::with_capacity(IMAGES.len() * 3 * 32 * 32);
    for (_, png) in IMAGES {
        let picture = image::load_from_memory_with_format(png, image::ImageFormat::Png)
            .map_err(|e| Error::usage(format!("built-in picture: {e}")))?
            .into_rgb8();
        for channel in 0..3 {
            pixels.extend(picture.pixels().map(|p| p.0[channel]));
        }
    }
    Ok(cifar::content(cifar10::CLASSES, IMAGES.iter().map(|(label, _)| *label).collect(), pixels))
}
