//! Labelled images to try a network on.

use super::weights::Found;
use crate::config::{ModelFile, ONNX, quoted};
use crate::data::resize::Filter;
use crate::data::{
    Choice, DATASETS, Dataset, Preparation, Source, Subset, find as find_dataset, find_folder, picture, picture_files,
};
use crate::error::{Error, Result, hint};
use crate::notice::say;
use std::path::{Path, PathBuf};

/// Images that were asked for.
pub struct Wanted {
    dataset: &'static Dataset,
    path: Option<PathBuf>,
}

/// Images that are read.
pub struct Images {
    /// With their labels.
    pub subset: Subset,
    /// The dataset's name.
    pub name: &'static str,
    path: Option<PathBuf>,
    choice: Choice,
}

/// Pictures whose size is looked at.
const MOST_LOOKED_AT: usize = 100;

/// Networks for larger images are rare; pictures of one size that are larger come from a camera or a page.
const LARGEST: u32 = 384;

/// The network that the program carries images for.
pub fn built_in(file: &ModelFile) -> Option<Wanted> {
    let dataset = find_dataset("cifar10-sample").ok()?;
    let fits = dataset.classes == Some(file.classes) && dataset.side.is_some_and(|side| file.size == [side; 2]);
    fits.then_some(Wanted { dataset, path: None })
}

/// A dataset by its name, or a folder of pictures, one folder a class.
///
/// # Errors
/// Neither; a dataset that a sweep must say more of, or without classes.
pub fn find(text: &str, source: &Source) -> Result<Wanted> {
    // what the command line gives has names that folders have, too
    let Some(dataset) = DATASETS.iter().find(|d| d.name == text && !d.given) else {
        let Ok(found) = find_folder(text, Path::new("."), source) else {
            let known = hint(text, DATASETS.iter().filter(|d| d.labelled && !d.given).map(|d| d.name));
            return Err(Error::usage(format!("--data {text}: no dataset, and no folder{known}")));
        };
        return Ok(Wanted { dataset: find_dataset("folder")?, path: Some(found.path) });
    };
    let problem = |why: &str, way: &str| Err(Error::usage(format!("--data {text}: {why} (hint: {way})")));
    match (dataset.labelled, dataset.table, &dataset.folder) {
        (false, ..) => problem("its images have no true class", "a dataset with labels, or a folder of pictures"),
        (_, true, _) => problem("a sweep must name its files", "without --data, and fill in `data` in the sweep"),
        (.., Some(folder)) if folder.default.is_none() => problem("it is a folder", "name the folder itself"),
        _ => Ok(Wanted { dataset, path: None }),
    }
}

impl Wanted {
    /// Height and width where all images have the same.
    pub fn size(&self) -> Option<[usize; 2]> {
        self.dataset.side.map(|side| [side; 2])
    }

    /// The side of pictures that look as if they had been made for a network: squares of one size, and not large.
    pub fn usual_size(&self) -> Option<[usize; 2]> {
        let (files, _) = picture_files(&[self.path.clone()?]).ok()?;
        let mut sizes = files.iter().take(MOST_LOOKED_AT).map(|file| picture::read_size(file).ok());
        let (width, height) = sizes.next()??;
        let same = width == height && width <= LARGEST && sizes.all(|size| size == Some((width, height)));
        same.then_some([height as usize, width as usize])
    }
}

impl Images {
    /// So many of them in random order, prepared for this network; all where there are fewer.
    ///
    /// # Errors
    /// Images that cannot be had, or that are of other classes or of another size than the network's.
    pub fn load(wanted: &Wanted, take: usize, file: &ModelFile, source: &Source) -> Result<Images> {
        let Wanted { dataset, path } = wanted;
        let mut choice = Choice { path: path.clone(), ..Choice::new(dataset.default_split(), 0, Some(take)) };
        // the program carries few, in one order
        choice.shuffle = (dataset.name != "cifar10-sample").then_some(0);
        if dataset.prepared {
            let filter = if file.bicubic { Filter::Bicubic } else { Filter::Bilinear };
            let made = Preparation::usual(file.resize_to_write(), file.size);
            choice.preparation = Some(Preparation { filter, ..made.map_err(Error::usage)? });
        }
        let subset = dataset.subset(source, &choice).or_else(|_| {
            choice.take = None;
            dataset.subset(source, &choice)
        })?;
        subset.notes.iter().for_each(|note| say(format_args!("warning: {note}")));
        let named = if file.family == ONNX { "the network" } else { file.family.as_str() };
        if subset.classes.len() != file.classes || subset.size != file.size {
            return Err(Error::usage(format!(
                "--data: dataset `{}` has images of {} in {} classes, and {named} takes {} and has {} classes \
                 (hint: images of these classes)",
                dataset.name,
                crate::size::in_words(subset.size),
                subset.classes.len(),
                crate::size::in_words(file.size),
                file.classes
            )));
        }
        Ok(Images { subset, name: dataset.name, path: path.clone(), choice })
    }

    /// The `data` of a sweep in `folder`.
    pub fn spec(&self, folder: &Path) -> String {
        let mut spec = format!("{{ name = \"{}\"", self.name);
        if let Some(path) = &self.path {
            spec += &format!(", path = {}", quoted(&path_from(path, folder)));
        }
        if let Some(seed) = self.choice.shuffle {
            spec += &format!(", shuffle = {seed}");
        }
        if let Some(take) = self.choice.take {
            spec += &format!(", take = {take}");
        }
        spec + " }"
    }
}

/// A path as a file in `folder` names it: from there where it lies below, else in full.
pub fn path_from(path: &Path, folder: &Path) -> String {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let below =
        std::path::absolute(folder).ok().and_then(|folder| Some(whole.strip_prefix(folder).ok()?.to_path_buf()));
    below.unwrap_or(whole).display().to_string()
}

/// Datasets that a network may be for.
pub fn candidates(found: &Found) -> Vec<&'static str> {
    let file = &found.source.file;
    let fits = |d: &&&Dataset| {
        d.labelled
            && !d.given
            && d.classes.is_some_and(|n| n == file.classes)
            && d.side.is_none_or(|side| file.size == [side; 2])
    };
    DATASETS.iter().filter(fits).map(|d| d.name).collect()
}
