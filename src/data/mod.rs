//! Labelled 8-bit images: the registry of datasets, and subsets pinned by a digest.

mod cifar10;
mod cifar10_sample;

use crate::digest;
use crate::error::{Error, Result, hint};
use crate::record::Inputs;
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};

/// A dataset a sweep can name. To add one: a file, a `mod` line, a line in [`DATASETS`].
pub struct Dataset {
    /// Name in sweep files.
    pub name: &'static str,
    /// One line for `foolproof datasets`.
    pub summary: &'static str,
    /// Names of its splits; the first is the default.
    pub splits: &'static [&'static str],
    /// Names of its classes, by label.
    pub classes: &'static [&'static str],
    /// Height and width of its images in pixels.
    pub side: usize,
    /// Which published clean accuracies speak of this data (`[clean_accuracy]` of a model file), by split.
    pub population: fn(split: &str) -> Option<&'static str>,
    /// Labels and pixels (N×3×side×side) of a whole split.
    load: fn(source: &Source, split: &str) -> Result<Labelled>,
}

/// Labels, and pixels N×3×side×side.
type Labelled = (Vec<usize>, Vec<u8>);

/// Every dataset.
pub const DATASETS: &[&Dataset] = &[&cifar10_sample::DATASET, &cifar10::DATASET];

/// Where datasets that are not built in lie.
#[derive(Debug, Clone)]
pub struct Source(PathBuf);

impl Source {
    /// The folder in the environment variable `FOOLPROOF_DATA`, else `datasets`.
    pub fn from_env() -> Source {
        Source(std::env::var_os("FOOLPROOF_DATA").map_or_else(|| "datasets".into(), PathBuf::from))
    }

    /// This folder.
    pub fn new(folder: impl AsRef<Path>) -> Source {
        Source(folder.as_ref().to_path_buf())
    }
}

/// Consecutive images of one split.
#[derive(Debug, Clone)]
pub struct Subset {
    /// Index of each image in its split: its stable name.
    pub examples: Vec<usize>,
    /// True classes.
    pub labels: Vec<usize>,
    /// N×3×side×side, RGB.
    pub pixels: Vec<u8>,
    /// Height and width of an image in pixels.
    pub side: usize,
    /// SHA-256 of indices, labels and pixels.
    pub digest: String,
    /// Whether labels mean anything; blank canvases have no true class.
    pub labelled: bool,
}

/// The dataset of this name.
pub fn find(name: &str) -> Result<&'static Dataset> {
    DATASETS
        .iter()
        .copied()
        .find(|d| d.name == name)
        .ok_or_else(|| Error::usage(format!("unknown dataset `{name}`{}", hint(name, DATASETS.iter().map(|d| d.name)))))
}

impl Dataset {
    /// Images `first..first+take` of a split; `take` = `None`: all from `first` on.
    pub fn subset(&self, source: &Source, split: &str, first: usize, take: Option<usize>) -> Result<Subset> {
        if !self.splits.contains(&split) {
            let known = hint(split, self.splits.iter().copied());
            return Err(Error::usage(format!("dataset `{}` has no split `{split}`{known}", self.name)));
        }
        let (labels, pixels) = (self.load)(source, split)?;
        let take = take.unwrap_or(labels.len().saturating_sub(first));
        let end = first.checked_add(take).filter(|end| take > 0 && *end <= labels.len()).ok_or_else(|| {
            let n = labels.len();
            Error::usage(format!(
                "dataset `{}` has {n} images in split `{split}`: first = {first}, take = {take} does not fit",
                self.name
            ))
        })?;
        let values = 3 * self.side * self.side;
        Ok(Subset::new(
            (first..end).collect(),
            labels[first..end].to_vec(),
            pixels[first * values..end * values].to_vec(),
            self.side,
        ))
    }
}

impl Subset {
    /// A subset with its digest.
    pub fn new(examples: Vec<usize>, labels: Vec<usize>, pixels: Vec<u8>, side: usize) -> Subset {
        let mut text = format!("3x{side}x{side}\n").into_bytes();
        for (example, label) in examples.iter().zip(&labels) {
            text.extend_from_slice(format!("{example} {label}\n").as_bytes());
        }
        text.extend_from_slice(&pixels);
        Subset { digest: digest::sha256(&text), examples, labels, pixels, side, labelled: true }
    }

    /// True class of image `i`; `None`: there is none.
    pub fn label(&self, i: usize) -> Option<usize> {
        self.labelled.then_some(self.labels[i])
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of values of one image, 3·side².
    pub fn values(&self) -> usize {
        3 * self.side * self.side
    }

    /// As it is kept beside the cells of a run.
    pub fn inputs(&self, dataset: &Dataset) -> Inputs {
        Inputs {
            examples: self.examples.clone(),
            classes: dataset.classes.iter().map(|c| c.to_string()).collect(),
            side: self.side,
            pixels: self.pixels.clone(),
        }
    }

    /// The 8-bit pixels of image `i`, 3×side×side.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.values()..(i + 1) * self.values()]
    }
}

/// Images that an attack works on, a window of them at a time as tensors, the others as they are stored: memory does
/// not grow with their number.
pub struct Batch<'a> {
    subset: &'a Subset,
    rows: &'a [usize],
    starts: Option<&'a [Option<Vec<f32>>]>,
    device: &'a Device,
    /// Most rows that an attack may work on at a time.
    pub window: usize,
}

impl<'a> Batch<'a> {
    /// The images `rows` of `subset`. Images of the subset that have a start in `starts` are to be attacked from there.
    pub fn new(
        subset: &'a Subset,
        rows: &'a [usize],
        starts: Option<&'a [Option<Vec<f32>>]>,
        device: &'a Device,
        window: usize,
    ) -> Batch<'a> {
        Batch { subset, rows, starts, device, window }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Index of a row's image in its split.
    pub fn example(&self, row: usize) -> usize {
        self.subset.examples[self.rows[row]]
    }

    /// Number of values of one image.
    pub fn values(&self) -> usize {
        self.subset.values()
    }

    /// Clean images, N×3×H×W in [0,1].
    pub fn images(&self, rows: &[usize]) -> Result<Tensor> {
        let pixels: Vec<u8> = rows.iter().flat_map(|r| self.subset.image(self.rows[*r])).copied().collect();
        to_tensor(&pixels, self.subset.side, self.device)
    }

    /// Whether a row is to be attacked from a point already found.
    pub fn is_warm(&self, row: usize) -> bool {
        self.starts.is_some_and(|s| s[self.rows[row]].is_some())
    }

    /// Where to attack from, N×3×H×W: the point already found, else the clean image.
    pub fn starts(&self, rows: &[usize]) -> Result<Tensor> {
        let start = |row: &usize| {
            let image = self.rows[*row];
            let clean = || self.subset.image(image).iter().map(|v| f32::from(*v) / 255.0).collect();
            self.starts.and_then(|s| s[image].clone()).unwrap_or_else(clean)
        };
        let values: Vec<f32> = rows.iter().flat_map(start).collect();
        let side = self.subset.side;
        Ok(Tensor::from_vec(values, (rows.len(), 3, side, side), &Device::Cpu)?.to_device(self.device)?)
    }
}

/// 8-bit images as a tensor N×3×side×side in [0,1]: `v / 255` in f32, as PyTorch's `ToTensor`.
pub fn to_tensor(pixels: &[u8], side: usize, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = pixels.iter().map(|v| f32::from(*v) / 255.0).collect();
    let n = pixels.len() / (3 * side * side);
    Ok(Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu)?.to_device(device)?)
}
