//! Which cells belong to a run, in which order.

use super::cell::Cell;
use crate::digest;
use crate::figure::FigureRecord;
use serde::{Deserialize, Serialize};

/// The plan of a run as stored: cells in the order of tables and charts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRecord {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Name of the sweep.
    pub name: String,
    /// Cells in order.
    pub cells: Vec<Cell>,
    /// Models whose weights no description names by their SHA-256. The cells name what they were computed with all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpinned: Vec<String>,
    /// Digests of data subsets that were read from files whose SHA-256 nothing names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpinned_data: Vec<String>,
    /// What is published of the clean accuracy of its models on the populations that its data is from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<PublishedRecord>,
    /// What its figures look like; decides no cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureRecord>,
}

/// A published clean accuracy that a subset of the same population is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRecord {
    /// Weights of the model.
    pub weights: String,
    /// Digest of the subset.
    pub data: String,
    /// Correct images of the publication.
    pub correct: u64,
    /// Of so many.
    pub of: u64,
    /// Who measured it.
    pub source: String,
}

impl PlanRecord {
    /// The id of the run: equal cells in equal order have equal ids, whatever the run is called.
    pub fn run_id(&self) -> String {
        let ids: String = self.cells.iter().map(|cell| cell.id() + "\n").collect();
        digest::sha256(ids.as_bytes())[..16].to_string()
    }

    /// Whether a description names the weights of every model that decides the cell.
    pub fn weights_pinned(&self, cell: &Cell) -> bool {
        let trained = cell.train.iter().flat_map(|t| &t.models);
        !trained.chain([&cell.model]).any(|m| self.unpinned.contains(&m.name))
    }

    /// The same of the files of all data that decides the cell.
    pub fn data_pinned(&self, cell: &Cell) -> bool {
        let trained = cell.train.iter().map(|t| &t.data);
        !trained.chain([&cell.data]).any(|d| self.unpinned_data.contains(&d.digest))
    }
}
