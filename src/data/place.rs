//! Where a split is read from, and what a dataset has there.

use super::choice::Choice;
use super::prepare::Preparation;
use super::prepared::Prepared;
use super::source::Source;
use super::subset::Subset;
use crate::error::{Error, Result};
use crate::record::{CorruptionRecord, TableRecord};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// The grey of a canvas.
pub(super) const GREY: u8 = 128;

/// Bytes of the pixels of a subset, which lie in memory; ImageNet's 50,000 of side 299 take 12.5 GiB.
pub const MOST_PIXELS: usize = 16 << 30;

/// Where a split is read from.
pub(super) struct Place<'a> {
    pub(super) source: &'a Source,
    pub(super) split: &'a str,
    /// Of a dataset that is a folder; empty for the others.
    pub(super) folder: PathBuf,
    /// Of a dataset that a sweep says all about.
    pub(super) table: Option<&'a TableRecord>,
    /// Of a dataset whose images were corrupted before they were published: which of them.
    pub(super) corruption: Option<&'a CorruptionRecord>,
    /// For messages.
    pub(super) dataset: &'static str,
    /// Whether a class may have no picture.
    pub(super) allow_empty: bool,
    /// What has to be said of what lies there.
    pub(super) notes: RefCell<Vec<String>>,
}

impl Place<'_> {
    /// Keeps what has to be said.
    pub(super) fn note(&self, text: impl std::fmt::Display) {
        self.notes.borrow_mut().push(format!("dataset `{}`: {text}", self.dataset));
    }

    /// The error of a choice that does not fit `n` images.
    pub(super) fn misfit(&self, n: usize, problem: &str) -> Error {
        Error::usage(format!("dataset `{}` has {n} images in split `{}`: {problem}", self.dataset, self.split))
    }

    pub(super) fn without_size(&self) -> Error {
        Error::usage(format!("dataset `{}`: no size to prepare its pictures for", self.dataset))
    }

    /// Bytes of so many images, if there is room for them: asked before any picture is read.
    pub(super) fn room(&self, images: usize, [height, width]: [usize; 2]) -> Result<usize> {
        let refuse = |why: String| {
            Error::usage(format!(
                "dataset `{}`: {images} images of {width}×{height} pixels are {why} (hint: `take` fewer)",
                self.dataset
            ))
        };
        let bytes = images.checked_mul(3 * height * width).filter(|bytes| *bytes <= MOST_PIXELS);
        let bytes = bytes.ok_or_else(|| refuse(format!("more than {} GiB", MOST_PIXELS >> 30)))?;
        // that memory is not touched; without this the allocation would end the process
        let granted = Vec::<u8>::new().try_reserve_exact(bytes);
        granted.map(|()| bytes).map_err(|_| refuse("more than this machine has memory for".into()))
    }
}

/// What a dataset has in a split.
pub(super) enum Content {
    /// Everything that there is, its picture files unread.
    Split(Split),
    /// Files of rows, unopened.
    Rows(Box<dyn Rows>),
}

/// Files of rows, opened one after the other.
pub(super) trait Rows {
    /// The images of a choice.
    fn subset(self: Box<Self>, place: &Place, choice: &Choice) -> Result<Subset>;
}

/// A whole split.
pub(super) struct Split {
    /// Names by label.
    pub(super) classes: Vec<String>,
    pub(super) labels: Vec<usize>,
    pub(super) pictures: Pictures,
}

pub(super) enum Pictures {
    /// N×3×side×side.
    Pixels { side: usize, pixels: Vec<u8> },
    /// One file each.
    Files(Vec<PathBuf>),
    /// As many grey canvases as are asked for, of the size that the network takes.
    Canvases,
}

impl Split {
    pub(super) fn subset(self, place: &Place, choice: &Choice) -> Result<Subset> {
        let Split { classes, labels, pictures } = self;
        let examples = choice.examples(labels.len()).map_err(|problem| place.misfit(labels.len(), &problem))?;
        if let Some(Preparation { crop, .. }) = choice.preparation {
            place.room(examples.len(), crop)?;
        }
        let mut preparation = choice.preparation;
        let (size, pixels) = match (pictures, choice.preparation) {
            (Pictures::Pixels { side, pixels }, _) => {
                let values = 3 * side * side;
                ([side; 2], examples.iter().flat_map(|i| &pixels[i * values..(i + 1) * values]).copied().collect())
            }
            (Pictures::Files(files), Some(asked)) => {
                let wanted: Vec<&Path> = examples.iter().map(|i| files[*i].as_path()).collect();
                let prepared = Prepared::of(place.source, asked, &files[0], &wanted, &examples, &labels)?;
                prepared.note.into_iter().for_each(|note| place.note(note));
                preparation = Some(prepared.preparation);
                (prepared.preparation.crop, prepared.pixels)
            }
            (Pictures::Canvases, Some(Preparation { crop, .. })) => {
                (crop, vec![GREY; examples.len() * 3 * crop[0] * crop[1]])
            }
            (Pictures::Files(_) | Pictures::Canvases, None) => return Err(place.without_size()),
        };
        let labels = examples.iter().map(|i| labels[*i]).collect();
        Ok(Subset { preparation, ..Subset::new(examples, labels, pixels, size, classes) })
    }
}

/// The split of a dataset that has no other.
pub const ALL: &str = "all";

pub(super) fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|class| class.to_string()).collect()
}
