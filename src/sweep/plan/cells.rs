//! A plan: every cell of a sweep, with what is needed to compute it.

use crate::attack::Attack;
use crate::config::Problems;
use crate::data::{Choice, Dataset, Subset};
use crate::error::{Error, Result};
use crate::figure::FigureRecord;
use crate::model::ModelSource;
use crate::placement::Picture;
use crate::record::{Cell, CellId, FitRecord, HubFile, PlanRecord, PublishedRecord, SCHEMA};
use std::collections::BTreeSet;

/// Every cell of a sweep, with what is needed to compute it.
pub struct Plan {
    /// Name of the sweep.
    pub name: String,
    /// Models that cells refer to.
    pub models: Vec<ModelSource>,
    /// Data subsets that cells refer to.
    pub data: Vec<LoadedData>,
    /// In the order of tables and charts.
    pub cells: Vec<PlannedCell>,
    /// What its figures look like.
    pub figures: Vec<FigureRecord>,
    /// What has to be said of the paths in its file: those that lead to two places.
    pub notes: Vec<String>,
}

/// A subset with its dataset.
pub struct LoadedData {
    /// The dataset.
    pub dataset: &'static Dataset,
    /// Which of its images.
    pub choice: Choice,
    /// The images.
    pub subset: Subset,
}

/// A cell with what is needed to compute it.
pub struct PlannedCell {
    /// What is stored.
    pub cell: Cell,
    /// Its id.
    pub id: CellId,
    /// Index into [`Plan::models`].
    pub model: usize,
    /// Index into [`Plan::data`].
    pub data: usize,
    /// The attack at this budget.
    pub attack: Box<dyn Attack>,
    /// The cell with the next smaller budget that this one goes on from.
    pub earlier: Option<CellId>,
    /// The pictures that the attack pastes, if it pastes any.
    pub fit: Option<Fitting>,
    /// Models that judge the witnesses too: indices into [`Plan::models`].
    pub transfer_to: Vec<usize>,
    /// The layer whose maps explain predictions, if they are explained.
    pub explain: Option<String>,
    /// Images on which the attack is put to the binarisation test, if it is.
    pub binarise: Option<usize>,
}

/// What the pictures of an attack are made from.
#[derive(Clone)]
pub struct Fitting {
    /// What decides them.
    pub record: FitRecord,
    /// Nets that they are fitted to: indices into [`Plan::models`].
    pub models: Vec<usize>,
    /// Training images: index into [`Plan::data`].
    pub data: Option<usize>,
    /// A picture that the sweep names.
    pub given: Option<Picture>,
}

impl Plan {
    /// What was dropped or bent without being asked for: everything that has to be said of the input, once of images that suffer
    /// several things.
    pub fn warnings(&self) -> Vec<&str> {
        let of_data = self.data.iter().flat_map(|data| &data.subset.notes);
        once(self.notes.iter().chain(of_data).map(String::as_str))
    }

    /// The same of the input of one cell, its training images among it.
    pub fn notes_of(&self, cell: &PlannedCell) -> Vec<String> {
        let data = [Some(cell.data), cell.fit.as_ref().and_then(|fit| fit.data)];
        let of_data = data.iter().flatten().flat_map(|data| &self.data[*data].subset.notes);
        self.notes.iter().chain(of_data).cloned().collect()
    }

    /// Every cell is explained: by the maps of this layer, else of the one that the sweep asks for, else of the model's usual
    /// one.
    ///
    /// # Errors
    /// A layer that one of the models does not have.
    pub fn explain_all(&mut self, layer: Option<&str>) -> Result<()> {
        for cell in self.cells.iter_mut().filter(|c| c.explain.is_none() || layer.is_some()) {
            cell.explain = Some(self.models[cell.model].layer(layer).map_err(Error::usage)?.name);
        }
        Ok(())
    }

    /// What is not as sure as it could be: files of data that no hash pins, each with the hash it has now.
    pub fn unpinned_data(&self) -> Vec<String> {
        let of = |data: &LoadedData| {
            let unpinned = data.subset.sources.iter().filter(|file| !file.pinned);
            let line = |file: &HubFile| {
                let HubFile { repository, commit, path, sha256, .. } = file;
                format!(
                    "dataset `{}`: {path} of {repository} at {commit} is unpinned: SHA-256 {sha256}",
                    data.dataset.name
                )
            };
            unpinned.map(line).collect::<Vec<_>>()
        };
        once(self.data.iter().flat_map(of))
    }

    /// What is published of each model and the population of the images that it is attacked on.
    fn published(&self) -> Vec<PublishedRecord> {
        let pairs: BTreeSet<(usize, usize)> = self.cells.iter().map(|c| (c.model, c.data)).collect();
        let record = |(model, data): (usize, usize)| {
            let (model, data) = (&self.models[model], &self.data[data]);
            let published = model.published(data.population())?;
            Some(PublishedRecord {
                weights: model.digest.clone(),
                data: data.subset.digest.clone(),
                correct: published.correct,
                of: published.of,
                source: published.source.clone(),
            })
        };
        pairs.into_iter().filter_map(record).collect()
    }

    /// The plan as it is stored.
    pub fn record(&self) -> PlanRecord {
        let cells = self.cells.iter().map(|c| c.cell.clone()).collect();
        let unpinned = self.models.iter().filter(|m| !m.is_pinned()).map(|m| m.name.clone()).collect();
        let loose = self.data.iter().map(|d| &d.subset).filter(|s| s.sources.iter().any(|file| !file.pinned));
        let unpinned_data = loose.map(|subset| subset.digest.clone()).collect();
        PlanRecord {
            schema: SCHEMA,
            name: self.name.clone(),
            cells,
            unpinned,
            unpinned_data,
            published: self.published(),
            figures: self.figures.clone(),
        }
    }
}

/// Each of these once, in the order of the first.
fn once<T: Ord + Clone>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut known = BTreeSet::new();
    all.filter(|one| known.insert(one.clone())).collect()
}

impl PlannedCell {
    /// The same cell in another block of the sweep, which asks for this layer's maps.
    pub(super) fn explain_too(&mut self, layer: Option<String>, line: usize, problems: &Problems) {
        match (&self.explain, layer) {
            (Some(first), Some(other)) if *first != other => {
                let hint = "the maps of a cell are of one layer (hint: a sweep of its own, with another `name`)";
                problems
                    .add(line, format!("cell {} is explained by `{first}` already, not by `{other}`: {hint}", self.id));
            }
            (None, layer) => self.explain = layer,
            _ => {}
        }
    }
}

impl LoadedData {
    /// Which published clean accuracies speak of these images. Those that were picked one by one are no sample of anything, and no
    /// number of clean images speaks of corrupted ones.
    pub fn population(&self) -> Option<&'static str> {
        (self.dataset.population)(&self.choice.split)
            .filter(|_| self.choice.indices.is_none() && self.choice.corruption.is_none())
    }
}
