//! What resolves a sweep file: what is found so far, and its problems.

use super::cells::LoadedData;
use crate::attack::{self, Params};
use crate::config::{At, Problems};
use crate::data::Source;
use crate::error::{Result, hint};
use crate::model::ModelSource;
use crate::placement::Picture;
use std::cell::RefCell;
use std::path::Path;

/// More cells than this are a slip of the pen, and are refused before anything is allocated.
pub(super) const MOST_CELLS: usize = 100_000;

pub(super) struct Resolver<'a> {
    pub(super) problems: &'a Problems,
    pub(super) source: &'a Source,
    pub(super) beside: &'a Path,
    /// Of every random choice.
    pub(super) seed: u64,
    pub(super) models: Vec<(String, ModelSource)>,
    /// Names of models that cannot be had.
    pub(super) refused: Vec<String>,
    pub(super) data: Vec<LoadedData>,
    pub(super) notes: RefCell<Vec<String>>,
}

/// An attack of a block: its registry line, complete parameters, line in the file.
pub(super) struct ResolvedAttack {
    pub(super) entry: &'static attack::Entry,
    pub(super) params: Params,
    pub(super) line: usize,
    /// The picture that its parameters name.
    pub(super) given: Option<Picture>,
}

/// What a block says of training.
pub(super) struct ResolvedTrain {
    /// Empty: the attacked net itself.
    pub(super) models: Vec<usize>,
    pub(super) data: usize,
}

/// What is wrong with parameters, each with the index into those given.
pub(super) type ParamProblems = Vec<(usize, String)>;

impl<'a> Resolver<'a> {
    /// Nothing is found yet.
    pub(super) fn new(problems: &'a Problems, source: &'a Source, beside: &'a Path, seed: u64) -> Resolver<'a> {
        let (models, refused, data, notes) = Default::default();
        Resolver { problems, source, beside, seed, models, refused, data, notes }
    }

    pub(super) fn problem(&self, line: usize, problem: impl Into<String>) {
        self.problems.add(line, problem);
    }

    /// Keeps what has to be said of a path, once.
    pub(super) fn note(&self, note: Option<String>) {
        let mut notes = self.notes.borrow_mut();
        let new = note.filter(|note| !notes.contains(note));
        notes.extend(new);
    }

    pub(super) fn choose<T: Copy>(
        &self,
        text: &At<String>,
        what: &str,
        known: impl IntoIterator<Item = T>,
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        let known: Vec<T> = known.into_iter().collect();
        let found = known.iter().copied().find(|value| name(*value) == text.value);
        if found.is_none() {
            let hint = hint(&text.value, known.iter().map(|value| name(*value)));
            self.problem(text.line, format!("unknown {what} `{}`{hint}", text.value));
        }
        found
    }

    pub(super) fn or_problem<T>(&self, line: usize, result: Result<T>) -> Option<T> {
        result.map_err(|e| self.problem(line, e.to_string())).ok()
    }
}
