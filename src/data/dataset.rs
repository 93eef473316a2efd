//! A dataset: a line of the registry, and how a choice of its images is read.

use super::choice::Choice;
use super::corrupted;
use super::place::{ALL, Content, Place};
use super::source::Source;
use super::subset::Subset;
use super::walk;
use crate::error::{Error, Result, hint};
use std::cell::RefCell;
use std::path::PathBuf;

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
    /// Whether its images were corrupted before they were published: a sweep says how ([`CorruptionRecord`]).
    pub corrupted: bool,
    /// Whether the command line gives it ([`super::Given`]): no sweep file can name it.
    pub given: bool,
    /// Files and folders below the data folder where it is looked for first.
    pub places: &'static [&'static str],
    /// Its repository on the Hub, and the revision there that is read.
    pub hub: Option<(&'static str, &'static str)>,
    /// What its makers ask for, or its licence, where that is known; empty: it is not.
    pub terms: &'static str,
    /// Which published clean accuracies speak of this data (`[clean_accuracy]` of a model file), by split.
    pub population: fn(split: &str) -> Option<&'static str>,
    /// A whole split, its picture files unread.
    pub(super) load: fn(place: &Place) -> Result<Content>,
}

/// Of a dataset that is a folder.
pub struct Folder {
    /// Name below the data source where the sweep names no other; `None`: the sweep must.
    pub default: Option<&'static str>,
}

impl Dataset {
    /// What a dataset is unless it says otherwise.
    pub(super) const BASE: Dataset = Dataset {
        name: "",
        summary: "",
        splits: &[],
        classes: None,
        side: None,
        labelled: true,
        folder: None,
        prepared: false,
        table: false,
        corrupted: false,
        given: false,
        places: &[],
        hub: None,
        terms: "",
        population: |_| None,
        load: |_| Err(Error::Usage(String::new())),
    };

    /// The split where none is named.
    pub fn default_split(&self) -> &'static str {
        self.splits.first().copied().unwrap_or(ALL)
    }

    /// The images of a choice; no other picture is read. What they are to suffer is done to them here.
    pub fn subset(&self, source: &Source, choice: &Choice) -> Result<Subset> {
        let clean = self.stored(source, choice)?;
        match &choice.corruption {
            Some(corruption) if !self.corrupted => corrupted::corrupted(&clean, corruption),
            _ => Ok(clean),
        }
    }

    /// The images of a choice as they are stored.
    pub fn stored(&self, source: &Source, choice: &Choice) -> Result<Subset> {
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
            corruption: choice.corruption.as_ref().filter(|_| self.corrupted),
            dataset: self.name,
            allow_empty: choice.allow_empty,
            notes: RefCell::default(),
        };
        let subset = match (self.load)(&place)? {
            Content::Split(content) => content.subset(&place, choice),
            Content::Rows(rows) => rows.subset(&place, choice),
        }?;
        Ok(Subset { labelled: self.labelled, notes: place.notes.into_inner(), ..subset })
    }

    /// The folder of a dataset that is one; no other dataset looks at it.
    fn place(&self, source: &Source, choice: &Choice) -> Result<PathBuf> {
        let Some(folder) = &self.folder else { return Ok(PathBuf::new()) };
        let path = choice.path.clone().or(folder.default.map(|name| source.folder().join(name)));
        let path = path.ok_or_else(|| {
            Error::usage(format!("dataset `{}` needs `path`, its folder (hint: path = \"pictures\")", self.name))
        })?;
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
