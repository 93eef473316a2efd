//! Where and how a cell was computed. Nothing here is a result.

use super::cell::{Cell, CellId};
use super::outcome::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which table a sweep names, for a dataset of parquet files. Where they lie is provenance; the digest says what was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRecord {
    /// A file, or a folder of files, here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `owner/name` of a dataset on the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Commit, branch or tag; `None`: `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Path of the files, with `*` for anything but `/`; `None`: those of the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Column of encoded pictures; `None`: `image` or `img`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Column of labels; `None`: `label` or `fine_label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Number of classes of files that do not name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// SHA-256 of the files, in their order; empty: unpinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sha256: Vec<String>,
}

/// A file of the Hub that a subset was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFile {
    /// `owner/name`.
    pub repository: String,
    /// Commit.
    pub commit: String,
    /// Path in the repository.
    pub path: String,
    /// Of its bytes.
    pub sha256: String,
    /// Whether that hash was known before the Hub was asked.
    pub pinned: bool,
}

/// Where and how a cell was computed, and the digests of its files. Nothing here is a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// `None`: the cell is complete. Otherwise why it failed, and there are no outcomes.
    pub error: Option<String>,
    /// File name to SHA-256 for the other files of the cell.
    pub files: BTreeMap<String, String>,
    /// Version of foolproof.
    pub version: String,
    /// Path of the model file, or `hub:owner/name@commit`; `None`: the model is found by its name.
    pub model_file: Option<String>,
    /// Commit of the Hub that the weights, and a description there, came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_commit: Option<String>,
    /// How the weights were read, where there was a choice: what was left out of names, which of several state dicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_notes: Vec<String>,
    /// Folder that the run was made in; `None`: no path of it counts from there, or it is older than this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Folder of the pictures where the sweep named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_path: Option<String>,
    /// Files that the sweep named, for a dataset of parquet files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_table: Option<TableRecord>,
    /// Files of the Hub that the images were read from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_files: Vec<HubFile>,
    /// What was said of the input: what lies among the pictures and was not read, pictures that were enlarged a lot, paths of
    /// the sweep file that lead to two places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Kind of machine: architecture, system and processor. The search is the same to the bit on machines of one kind
    /// only, and so is speed. `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Threads of the CPU kernels.
    pub threads: usize,
    /// Images a batch.
    pub batch: usize,
    /// Seconds from the first attack step to the last judgement.
    pub time_s: f64,
    /// Of an attack in stages, how it stood after each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageRecord>,
    /// The cell with more iterations whose run passed here on its way: `time_s` is that of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<CellId>,
    /// Seconds since 1970-01-01 UTC when the cell was finished.
    pub finished_unix_s: u64,
}

/// How an attack in stages stood after one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// Name of the stage.
    pub name: String,
    /// Images that still stand, of those that were attacked.
    pub standing: u64,
    /// Forward passes so far, those of the judge's tests included.
    pub forwards: u64,
    /// Input gradients so far.
    pub backwards: u64,
    /// Since the attack began.
    pub seconds: f64,
}

/// One stored cell, as read back.
#[derive(Debug, Clone)]
pub struct StoredCell {
    /// Its description.
    pub cell: Cell,
    /// Where it was computed, or why it failed.
    pub provenance: Provenance,
    /// One row an image; empty where the cell failed.
    pub outcomes: Vec<Outcome>,
}
