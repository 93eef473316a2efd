//! How networks are usually trained to have their images.

use crate::config::{ModelFile, ONNX};

/// (x - mean) / std, x in [0,1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Whose it is.
    pub name: &'static str,
    /// Subtracted from each channel.
    pub mean: [f64; 3],
    /// Divides each channel after that.
    pub std: [f64; 3],
}

const fn of(name: &'static str, mean: [f64; 3], std: [f64; 3]) -> Normalisation {
    Normalisation { name, mean, std }
}

/// Images as they are: of an ONNX file, that it normalises them itself.
pub const NONE: Normalisation = of("none", [0.0; 3], [1.0; 3]);

/// Those that are tried.
pub const NORMALISATIONS: [Normalisation; 7] = [
    of("ImageNet's", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    of("CIFAR-10's", [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    // a slip that pytorch-cifar made popular: the mean over images of their standard deviations
    of("CIFAR-10's, std of images", [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    of("CIFAR-100's", [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    of("from -1 to 1", [0.5; 3], [0.5; 3]),
    NONE,
    of("Caffe's, from 0 to 255", [123.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0], [1.0 / 255.0; 3]),
];

/// All, the most usual of such networks first: of equally good ones the first is taken.
pub fn in_order(file: &ModelFile) -> Vec<Normalisation> {
    let first = match (file.family.as_str(), file.is_small(), file.classes) {
        (ONNX, ..) => NONE.name,
        (_, true, 100) => "CIFAR-100's",
        (_, true, _) => "CIFAR-10's",
        (family, ..) if family.starts_with("vit_") => "from -1 to 1",
        _ => "ImageNet's",
    };
    let mut all = NORMALISATIONS.to_vec();
    all.sort_by_key(|n| n.name != first);
    all
}
