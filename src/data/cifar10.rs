//! CIFAR-10 (Krizhevsky 2009) in its binary format: records of one label byte and 3072 pixel bytes, channel first.
//! Read from `cifar10/test.bin` and `cifar10/train.bin` below the data folder.

use super::{Dataset, Pictures, Place, Split};
use crate::error::{Error, Result};

/// Names of the classes, by label.
pub const CLASSES: &[&str] =
    &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

pub const DATASET: Dataset = Dataset {
    name: "cifar10",
    summary: "CIFAR-10, read from FOOLPROOF_DATA/cifar10/{test,train}.bin (CIFAR's binary format)",
    splits: &["test", "train"],
    classes: Some(CLASSES.len()),
    side: Some(SIDE),
    labelled: true,
    folder: None,
    population: |split| (split == "test").then_some("cifar10-test"),
    load,
};

/// Height and width of its images.
pub(super) const SIDE: usize = 32;

const PIXELS: usize = 3 * SIDE * SIDE;

/// A split from labels and pixels.
pub(super) fn split(labels: Vec<usize>, pixels: Vec<u8>) -> Split {
    let classes = CLASSES.iter().map(|c| c.to_string()).collect();
    Split { classes, labels, pictures: Pictures::Pixels { side: SIDE, pixels } }
}

fn load(place: &Place) -> Result<Split> {
    let (source, name) = (place.source, place.split);
    let path = source.folder.join("cifar10").join(format!("{name}.bin"));
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::usage(format!(
            "dataset `cifar10`: no file {} (hint: put {} of CIFAR-10's binary version there, or name the folder above \
             cifar10/ in FOOLPROOF_DATA)",
            path.display(),
            if name == "test" { "test_batch.bin" } else { "data_batch_1.bin to data_batch_5.bin, joined," }
        )),
        _ => Error::io("read", &path)(e),
    })?;
    let parsed = parse(&bytes);
    let (labels, pixels) =
        parsed.map_err(|problem| Error::usage(format!("dataset `cifar10`: {}: {problem}", path.display())))?;
    Ok(split(labels, pixels))
}

fn parse(bytes: &[u8]) -> Result<(Vec<usize>, Vec<u8>), String> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(1 + PIXELS) {
        return Err(format!("{} bytes, expected a multiple of 3073 (a label and 3072 pixels an image)", bytes.len()));
    }
    let (mut labels, mut pixels) = (Vec::new(), Vec::with_capacity(bytes.len()));
    for (i, record) in bytes.chunks_exact(1 + PIXELS).enumerate() {
        let label = usize::from(record[0]);
        if label >= CLASSES.len() {
            return Err(format!("image {i} has label {label}, expected 0 to 9"));
        }
        labels.push(label);
        pixels.extend_from_slice(&record[1..]);
    }
    Ok((labels, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_files_and_wrong_labels_are_refused() {
        assert!(parse(&[]).is_err());
        assert!(parse(&vec![0; 3072]).unwrap_err().contains("3072 bytes"));
        assert!(parse(&vec![10; 3073]).unwrap_err().contains("label 10"));
        let (labels, pixels) = parse(&vec![9; 2 * 3073]).unwrap();
        assert_eq!((labels, pixels.len()), (vec![9, 9], 2 * 3072));
    }
}
