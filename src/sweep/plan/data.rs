//! Resolves what a block says of images.

use super::cells::LoadedData;
use super::resolver::Resolver;
use super::takes::Takes;
use crate::config::{At, DataSpec, Problems};
use crate::data::{self, Choice, DATASETS, Dataset, MOST_PIXELS, Preparation, Source, Subset};

use crate::error::{Error, Result};
use crate::record::{CorruptionRecord, TableRecord};
use crate::size;
use std::path::Path;

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// No model file has more.
const MOST_CLASSES: u64 = 100_000;

/// The images that a file names which is no sweep, for a network that takes these pictures; `beside`: its folder, `seed`: that of
/// corruptions. What has to be said of paths comes with them.
pub fn images(
    problems: &Problems,
    beside: &Path,
    source: &Source,
    spec: &DataSpec,
    takes: &Takes,
    seed: u64,
) -> Option<(LoadedData, Vec<String>)> {
    let mut resolver = Resolver::new(problems, source, beside, seed);
    let at = resolver.data(spec, std::slice::from_ref(takes), source.limit)?;
    Some((resolver.data.swap_remove(at), resolver.notes.into_inner()))
}

impl Resolver<'_> {
    /// The images, for models that take these pictures, where one set of them is needed; no more than `limit`.
    pub(super) fn data(&mut self, spec: &DataSpec, takes: &[Takes], limit: Option<usize>) -> Option<usize> {
        match self.all_data(spec, takes, limit).as_slice() {
            [] => None,
            [one] => Some(*one),
            several => {
                let hint = "hint: one name as `corruption`, one number as `severity`";
                let problem =
                    format!("here images suffer one corruption at one severity, not {} ({hint})", several.len());
                self.problem(spec.name.line, problem);
                None
            }
        }
    }

    /// The images of a block: a set for each corruption and severity, all of the same examples. Nothing after a problem.
    pub(super) fn all_data(&mut self, spec: &DataSpec, takes: &[Takes], limit: Option<usize>) -> Vec<usize> {
        let Some((dataset, choice, corruptions)) = self.chosen(spec, takes, limit) else { return Vec::new() };
        let mut clean = None;
        let mut all = Vec::new();
        for corruption in corruptions {
            let choice = Choice { corruption, ..choice.clone() };
            let same = |d: &LoadedData| d.dataset.name == dataset.name && d.choice == choice;
            if let Some(known) = self.data.iter().position(same) {
                all.push(known);
                continue;
            }
            let subset = self.subset(dataset, &choice, &mut clean).and_then(|subset| self.with_room_for(subset));
            let Some(subset) = self.or_problem(spec.name.line, subset) else { return Vec::new() };
            self.data.push(LoadedData { dataset, subset, choice });
            all.push(self.data.len() - 1);
        }
        match self.others_than_the_first(&all) {
            Some(problem) => {
                self.problem(spec.name.line, problem);
                Vec::new()
            }
            None => all,
        }
    }

    /// Where the images of a corruption are not those of the others, as after an archive that was unpacked in part: no mean over them
    /// would say anything.
    fn others_than_the_first(&self, all: &[usize]) -> Option<String> {
        let of = |at: usize| (&self.data[at].subset.examples, &self.data[at].subset.labels);
        let text = |at: usize| self.data[at].choice.corruption.as_ref().map_or("none".into(), CorruptionRecord::text);
        let first = *all.first()?;
        let other = *all.iter().find(|at| of(**at) != of(first))?;
        let [n, m] = [first, other].map(|at| self.data[at].subset.len());
        Some(format!(
            "dataset `{}` has {n} images under `{}` and {m} or other ones under `{}` (hint: unpack the archives again)",
            self.data[first].dataset.name,
            text(first),
            text(other)
        ))
    }

    /// The images of a choice; those that suffer something here are decoded once for all that they suffer.
    fn subset(&self, dataset: &Dataset, choice: &Choice, clean: &mut Option<Subset>) -> Result<Subset> {
        let Some(corruption) = choice.corruption.as_ref().filter(|_| !dataset.corrupted) else {
            return dataset.subset(self.source, choice);
        };
        if clean.is_none() {
            *clean = Some(dataset.stored(self.source, choice)?);
        }
        let clean = clean.as_ref().expect("read above");
        data::corrupted(clean, corruption)
    }

    /// What a block says of images, and what they are to suffer.
    fn chosen(
        &self,
        spec: &DataSpec,
        takes: &[Takes],
        limit: Option<usize>,
    ) -> Option<(&'static Dataset, Choice, Vec<Option<CorruptionRecord>>)> {
        let line = spec.name.line;
        let dataset = self.or_problem(line, data::find(&spec.name.value))?;
        if dataset.given && self.source.given.is_none() {
            let hint = "hint: `folder` has pictures of your own, one folder a class; blank-cifar10 and blank-imagenet have canvases";
            self.problem(
                line,
                format!("dataset `{}` is what the command line gives, not a sweep ({hint})", dataset.name),
            );
            return None;
        }
        let split = spec.split.as_ref().map_or(dataset.default_split(), |s| s.value.as_str());
        let mut choice = Choice {
            every: spec.every,
            shuffle: spec.shuffle,
            limit,
            indices: spec.indices.clone(),
            allow_empty: spec.allow_empty.as_ref().is_some_and(|a| a.value),
            ..Choice::new(split, spec.first, spec.take)
        };
        self.refuse_keys_of_others(spec, dataset);
        if dataset.prepared {
            choice.preparation = Some(self.preparation(spec, takes)?);
        } else if dataset.side.is_none() {
            let size = takes.first()?.size; // else no model was found, which is reported there
            choice.preparation = self.or_problem(line, Preparation::unresized(size).map_err(Error::usage));
            // one canvas, if nothing is said
            choice.take = choice.take.or(Some(1));
        }
        if let Some(path) = spec.path.as_ref().filter(|_| dataset.folder.is_some()) {
            let found = data::find_folder(&path.value, self.beside, self.source);
            let found = self.or_problem(path.line, found)?;
            self.note(found.note);
            choice.path = Some(found.path);
        }
        if dataset.table {
            choice.table = Some(self.table(spec)?);
        }
        Some((dataset, choice, self.corruptions(spec, dataset, self.seed)?))
    }

    /// All images of a sweep lie in memory, and corruptions multiply them.
    fn with_room_for(&self, more: Subset) -> Result<Subset> {
        let bytes = self.data.iter().map(|d| d.subset.pixels.len()).sum::<usize>() + more.pixels.len();
        match bytes <= MOST_PIXELS {
            true => Ok(more),
            false => Err(Error::usage(format!(
                "the images of this sweep take more than {} GiB (hint: `take` fewer, or some of the corruptions a sweep file)",
                MOST_PIXELS >> 30
            ))),
        }
    }

    /// Keys that this dataset has not.
    pub(super) fn refuse_keys_of_others(&self, spec: &DataSpec, dataset: &Dataset) {
        let refuse = |key: &str, line: usize, has: fn(&Dataset) -> bool| {
            if !has(dataset) {
                let with: Vec<&str> = DATASETS.iter().filter(|d| has(d)).map(|d| d.name).collect();
                self.problem(
                    line,
                    format!("dataset `{}` has no `{key}` (hint: that is for {})", dataset.name, listed(&with)),
                );
            }
        };
        spec.path.iter().for_each(|path| refuse("path", path.line, |d| d.folder.is_some() || d.table));
        spec.allow_empty
            .iter()
            .for_each(|empty| refuse("allow_empty", empty.line, |d| d.folder.is_some() && d.prepared));
        spec.resize.iter().for_each(|resize| refuse("resize", resize.line, |d| d.prepared));
        spec.table.given().into_iter().for_each(|(key, line)| refuse(key, line, |d| d.table));
    }

    /// The parquet files that a sweep names.
    pub(super) fn table(&self, spec: &DataSpec) -> Option<TableRecord> {
        let text = |text: &Option<At<String>>| text.as_ref().map(|t| t.value.clone());
        let path = match &spec.path {
            Some(path) => {
                let found = self.or_problem(path.line, data::find_path(&path.value, self.beside, self.source))?;
                self.note(found.note);
                Some(found.path.display().to_string())
            }
            None => None,
        };
        if let Some(classes) = spec.table.classes.as_ref().filter(|c| c.value > MOST_CLASSES) {
            self.problem(classes.line, format!("`classes` is {}, more than {MOST_CLASSES}", classes.value));
            return None;
        }
        Some(TableRecord {
            path,
            repository: text(&spec.table.repository),
            revision: text(&spec.table.revision),
            files: text(&spec.table.files),
            image: text(&spec.table.image),
            label: text(&spec.table.label),
            classes: spec.table.classes.as_ref().map(|c| c.value as usize),
            sha256: spec.table.sha256.iter().map(|s| s.value.clone()).collect(),
        })
    }

    /// Pictures are cut to the size of the models, so there must be one; and resized as the models say, unless the sweep
    /// says otherwise, or they have that size already.
    pub(super) fn preparation(&self, spec: &DataSpec, takes: &[Takes]) -> Option<Preparation> {
        let first @ Takes { size, resize, filter } = *takes.first()?; // else no model was found, which is reported there
        let line = spec.name.line;
        if let Some(other) = takes.iter().find(|t| t.size != size) {
            self.problem(
                line,
                format!(
                    "pictures are cut to the size of the models, and these take {} and {} (hint: a [[sweep]] for each)",
                    size::text(size),
                    size::text(other.size)
                ),
            );
            return None;
        }
        if let (None, Some(other)) = (&spec.resize, takes.iter().find(|t| t.resize != resize)) {
            self.problem(
                line,
                format!(
                    "pictures are resized as the models say, and these say {resize} and {} (hint: `resize` here, or a \
                     [[sweep]] for each)",
                    other.resize
                ),
            );
            return None;
        }
        if takes.iter().any(|t| t.filter != filter) {
            let hint = "hint: a [[sweep]] for each";
            self.problem(line, format!("some of these models take bicubic interpolation, others bilinear ({hint})"));
            return None;
        }
        let made = first.preparation(spec.resize.as_ref().map(|asked| asked.value));
        let line = spec.resize.as_ref().map_or(line, |asked| asked.line);
        made.map_err(|problem| self.problem(line, problem)).ok()
    }
}
