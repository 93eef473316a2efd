//! Labelled 8-bit images: the registry of datasets, and subsets pinned by a digest.

mod blank;
mod choice;
mod cifar;
mod cifar10;
mod cifar100;
mod cifar10_sample;
mod folder;
mod gif;
mod imagenet_1k;
mod imagenet_folder;
mod imagenette;
mod mini_imagenet;
mod name;
mod parquet;
mod path;
pub mod picture;
mod prepare;
pub mod resize;
mod shard;
mod table;
mod walk;

use crate::digest;
use crate::error::{Error, Result, hint};
use crate::hub::Hub;
use crate::kernel::bus::up;
use crate::kernel::pixels::to_unit;
use crate::record::{DataRecord, HubFile, Inputs, TableRecord};
use candle_core::{Device, Tensor};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

pub use choice::Choice;
pub use name::find_class;
pub use path::{Located, find_folder, find_model_file, find_path, find_picture};
pub use prepare::Preparation;

/// A dataset a sweep can name. To add one: a file, a `mod` line, a line in [`DATASETS`].
pub struct Dataset {
    /// Name in sweep files.
    pub name: &'static str,
    /// One line for `foolproof datasets`.
    pub summary: &'static str,
    /// Names of its splits; the first is the default. None: any name, [`ALL`] is the default.
    pub splits: &'static [&'static str],
    /// Number of its classes; `None`: its files decide.
    pub classes: Option<usize>,
    /// Height and width of its images in pixels; `None`: pictures of any size, prepared for the network.
    pub side: Option<usize>,
    /// Whether its images have a true class.
    pub labelled: bool,
    /// `Some`: its pictures lie in a folder that a sweep may name (`path`).
    pub folder: Option<Folder>,
    /// Whether its pictures are of any size, and prepared (`resize`).
    pub prepared: bool,
    /// Whether a sweep names its files and columns ([`TableRecord`]).
    pub table: bool,
    /// Which published clean accuracies speak of this data (`[clean_accuracy]` of a model file), by split.
    pub population: fn(split: &str) -> Option<&'static str>,
    /// A whole split, its picture files unread.
    load: fn(place: &Place) -> Result<Content>,
}

/// Of a dataset that is a folder.
pub struct Folder {
    /// Name below the data source where the sweep names no other; `None`: the sweep must.
    pub default: Option<&'static str>,
}

/// Every dataset.
pub const DATASETS: &[&Dataset] = &[
    &cifar10_sample::DATASET,
    &cifar10::DATASET,
    &cifar100::DATASET,
    &imagenet_1k::DATASET,
    &imagenette::DATASET,
    &imagenette::SMALL,
    &mini_imagenet::DATASET,
    &imagenet_folder::DATASET,
    &folder::DATASET,
    &parquet::DATASET,
    &blank::CIFAR10,
    &blank::IMAGENET,
];

/// The split of a dataset that has no other.
pub const ALL: &str = "all";

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|class| class.to_string()).collect()
}

/// Where datasets that are not built in come from.
#[derive(Debug, Clone)]
pub struct Source {
    folder: PathBuf,
    /// For datasets and models of the Hub.
    pub hub: Hub,
}

impl Source {
    /// The folder in the environment variable `FOOLPROOF_DATA`, else `datasets`, and the Hub as the environment says.
    pub fn from_env() -> Source {
        let folder = std::env::var_os("FOOLPROOF_DATA").map_or_else(|| "datasets".into(), PathBuf::from);
        Source { folder, hub: Hub::from_env() }
    }

    /// This folder, and no Hub.
    pub fn new(folder: impl AsRef<Path>) -> Source {
        Source { folder: folder.as_ref().to_path_buf(), hub: Hub::none() }
    }

    /// The folder of the data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Where a split is read from.
struct Place<'a> {
    source: &'a Source,
    split: &'a str,
    /// Of a dataset that is a folder; empty for the others.
    folder: PathBuf,
    /// Of a dataset that a sweep says all about.
    table: Option<&'a TableRecord>,
    /// For messages.
    dataset: &'static str,
    /// Whether a class may have no picture.
    allow_empty: bool,
    /// What has to be said of what lies there.
    notes: RefCell<Vec<String>>,
}

/// What a dataset has in a split.
enum Content {
    /// Everything that there is, its picture files unread.
    Split(Split),
    /// Files of rows, unopened.
    Table(table::Table),
}

/// A whole split.
struct Split {
    /// Names by label.
    classes: Vec<String>,
    labels: Vec<usize>,
    pictures: Pictures,
}

enum Pictures {
    /// N×3×side×side.
    Pixels { side: usize, pixels: Vec<u8> },
    /// One file each.
    Files(Vec<PathBuf>),
    /// As many grey canvases as are asked for, of the side of the network.
    Canvases,
}

/// Images of one split.
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
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// SHA-256 of indices, labels and pixels.
    pub digest: String,
    /// Whether labels mean anything; blank canvases have no true class.
    pub labelled: bool,
    /// Files of the Hub that it was read from.
    pub sources: Vec<HubFile>,
    /// What was done to its pictures; `None`: they are stored as networks take them.
    pub preparation: Option<Preparation>,
    /// What has to be said of it: what lies among its pictures and was not read, pictures that were enlarged a lot.
    pub notes: Vec<String>,
}

/// The dataset of this name.
pub fn find(name: &str) -> Result<&'static Dataset> {
    DATASETS
        .iter()
        .copied()
        .find(|d| d.name == name)
        .ok_or_else(|| Error::usage(format!("unknown dataset `{name}`{}", hint(name, DATASETS.iter().map(|d| d.name)))))
}

/// Bytes of the pixels of a subset, which lie in memory; ImageNet's 50,000 of side 299 take 12.5 GiB.
const MOST_PIXELS: usize = 16 << 30;

/// Side of a picture to be pasted, in pixels; larger ones are shrunk to it: no net sees more of them.
const MOST_PASTED: usize = 512;

impl Dataset {
    /// What a dataset is unless it says otherwise.
    const BASE: Dataset = Dataset {
        name: "",
        summary: "",
        splits: &[],
        classes: None,
        side: None,
        labelled: true,
        folder: None,
        prepared: false,
        table: false,
        population: |_| None,
        load: |_| Err(Error::Usage(String::new())),
    };

    /// The split where none is named.
    pub fn default_split(&self) -> &'static str {
        self.splits.first().copied().unwrap_or(ALL)
    }

    /// The images of a choice; no other picture is read.
    pub fn subset(&self, source: &Source, choice: &Choice) -> Result<Subset> {
        let split = choice.split.as_str();
        if !self.splits.is_empty() && !self.splits.contains(&split) {
            let known = hint(split, self.splits.iter().copied());
            return Err(Error::usage(format!("dataset `{}` has no split `{split}`{known}", self.name)));
        }
        let folder = self.place(source, choice)?;
        let place = Place {
            source,
            split,
            folder,
            table: choice.table.as_ref(),
            dataset: self.name,
            allow_empty: choice.allow_empty,
            notes: RefCell::default(),
        };
        let subset = match (self.load)(&place)? {
            Content::Split(content) => content.subset(&place, choice),
            Content::Table(table) => table.subset(&place, choice),
        }?;
        Ok(Subset { labelled: self.labelled, notes: place.notes.into_inner(), ..subset })
    }

    /// The folder of a dataset that is one; no other dataset looks at it.
    fn place(&self, source: &Source, choice: &Choice) -> Result<PathBuf> {
        let Some(folder) = &self.folder else { return Ok(PathBuf::new()) };
        let path = choice.path.clone().or(folder.default.map(|name| source.folder.join(name)));
        let path = path.ok_or_else(|| Error::usage(format!("dataset `{}` needs `path`, its folder", self.name)))?;
        match walk::is_folder(&path)? {
            true => Ok(path),
            false => Err(Error::Absent(format!(
                "dataset `{}`: no folder {} (hint: name it by `path`, or the folder above in FOOLPROOF_DATA)",
                self.name,
                path.display()
            ))),
        }
    }
}

impl Split {
    fn subset(self, place: &Place, choice: &Choice) -> Result<Subset> {
        let Split { classes, labels, pictures } = self;
        let examples = choice.examples(labels.len()).map_err(|problem| place.misfit(labels.len(), &problem))?;
        if let Some(Preparation { crop, .. }) = choice.preparation {
            place.room(examples.len(), crop)?;
        }
        let mut preparation = choice.preparation;
        let (side, pixels) = match (pictures, choice.preparation) {
            (Pictures::Pixels { side, pixels }, _) => {
                let values = 3 * side * side;
                (side, examples.iter().flat_map(|i| &pixels[i * values..(i + 1) * values]).copied().collect())
            }
            (Pictures::Files(files), Some(asked)) => {
                let asked = asked.settled(|| picture::read_size(&files[0]))?;
                let wanted: Vec<&Path> = examples.iter().map(|i| files[*i].as_path()).collect();
                let (pixels, note) = asked.read_all(&wanted)?;
                note.into_iter().for_each(|note| place.note(note));
                preparation = Some(asked);
                (asked.crop, pixels)
            }
            (Pictures::Canvases, Some(Preparation { crop, .. })) => {
                (crop, vec![blank::GREY; examples.len() * 3 * crop * crop])
            }
            (Pictures::Files(_) | Pictures::Canvases, None) => return Err(place.without_size()),
        };
        let labels = examples.iter().map(|i| labels[*i]).collect();
        Ok(Subset { preparation, ..Subset::new(examples, labels, pixels, side, classes) })
    }
}

impl Place<'_> {
    /// Keeps what has to be said.
    fn note(&self, text: impl std::fmt::Display) {
        self.notes.borrow_mut().push(format!("dataset `{}`: {text}", self.dataset));
    }

    /// The error of a choice that does not fit `n` images.
    fn misfit(&self, n: usize, problem: &str) -> Error {
        Error::usage(format!("dataset `{}` has {n} images in split `{}`: {problem}", self.dataset, self.split))
    }

    fn without_size(&self) -> Error {
        Error::usage(format!("dataset `{}`: no size to prepare its pictures for", self.dataset))
    }

    /// Bytes of so many squares, if there is room for them: asked before any picture is read.
    fn room(&self, images: usize, side: usize) -> Result<usize> {
        let refuse = |why: String| {
            Error::usage(format!(
                "dataset `{}`: {images} images of {side}×{side} pixels are {why} (hint: `take` fewer)",
                self.dataset
            ))
        };
        let bytes = images.checked_mul(3 * side * side).filter(|bytes| *bytes <= MOST_PIXELS);
        let bytes = bytes.ok_or_else(|| refuse(format!("more than {} GiB", MOST_PIXELS >> 30)))?;
        // that memory is not touched; without this the allocation would end the process
        let granted = Vec::<u8>::new().try_reserve_exact(bytes);
        granted.map(|()| bytes).map_err(|_| refuse("more than this machine has memory for".into()))
    }
}

impl Subset {
    /// A subset with its digest.
    pub fn new(examples: Vec<usize>, labels: Vec<usize>, pixels: Vec<u8>, side: usize, classes: Vec<String>) -> Subset {
        let mut text = format!("3x{side}x{side}\n").into_bytes();
        for (example, label) in examples.iter().zip(&labels) {
            text.extend_from_slice(format!("{example} {label}\n").as_bytes());
        }
        Subset {
            digest: digest::sha256_of(&[&text, &pixels]),
            examples,
            labels,
            pixels,
            side,
            classes,
            labelled: true,
            sources: Vec::new(),
            preparation: None,
            notes: Vec::new(),
        }
    }

    /// From the copy that a run keeps, if that is what the record says, to the digest.
    pub fn of(inputs: Inputs, record: &DataRecord) -> Option<Subset> {
        let Inputs { examples, labels, classes, side, pixels } = inputs;
        let sound = labels.len() == examples.len() && !classes.is_empty();
        let labelled = find(&record.name).ok()?.labelled;
        let subset = Subset { labelled, ..Subset::new(examples, labels, pixels, side, classes) };
        (sound && subset.digest == record.digest).then_some(subset)
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
    pub fn inputs(&self) -> Inputs {
        Inputs {
            examples: self.examples.clone(),
            labels: self.labels.clone(),
            classes: self.classes.clone(),
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

    /// These rows alone, as rows 0, 1, …: what `work` of a stage of an attack gets.
    pub fn only<T>(&self, rows: &[usize], work: impl FnOnce(&Batch) -> T) -> T {
        let rows: Vec<usize> = rows.iter().map(|row| self.rows[*row]).collect();
        work(&Batch { rows: &rows, subset: self.subset, starts: self.starts, device: self.device, window: self.window })
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

    /// Height and width of an image in pixels.
    pub fn side(&self) -> usize {
        self.subset.side
    }

    /// Where tensors live.
    pub fn device(&self) -> &Device {
        self.device
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
        up(values, (rows.len(), 3, side, side), self.device)
    }
}

/// 8-bit images as a tensor N×3×side×side in [0,1]: `v / 255` in f32, as PyTorch's `ToTensor`.
pub fn to_tensor(pixels: &[u8], side: usize, device: &Device) -> Result<Tensor> {
    let values = 3 * side * side;
    // they cross as bytes
    to_unit(&up(pixels.to_vec(), (pixels.len() / values, values), device)?, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_those_of_the_indices() {
        let sample = find("cifar10-sample").unwrap();
        let source = Source::new("nowhere");
        let all = sample.subset(&source, &Choice::new("test", 0, None)).unwrap();
        let some = sample.subset(&source, &Choice { every: 7, ..Choice::new("test", 1, Some(2)) }).unwrap();
        assert_eq!((some.examples.as_slice(), some.labels.as_slice()), ([1, 8].as_slice(), [8, 3].as_slice()));
        assert_eq!((some.image(0), some.image(1)), (all.image(1), all.image(8)));
        assert_eq!((all.classes.len(), all.classes[8].as_str()), (10, "ship"));
    }
}
