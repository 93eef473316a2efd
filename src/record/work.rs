//! Work under way: how a run is cut into pieces, what is found of them so far, and who is at work.

use super::cell::{CellId, ModelRecord};
use super::outcome::{Outcome, Witnesses};
use super::provenance::Provenance;
use serde::{Deserialize, Serialize};

/// What was found for some of the images of the cells that one run of an attack serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Where and how; `time_s` and `stages` are those of these images.
    pub provenance: Provenance,
    /// Height and width of an image in pixels.
    pub size: [usize; 2],
    /// Each cell's rows and images.
    pub cells: Vec<(CellId, Vec<Outcome>, Witnesses)>,
}

/// How the work of a run is cut, for those who see the store alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkRecord {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Id of the run ([`super::PlanRecord::run_id`]).
    pub run: String,
    /// Cells that one run of an attack serves, and how their images are cut.
    pub units: Vec<UnitRecord>,
    /// What is to be made of stored cells.
    pub after: Vec<AfterRecord>,
}

/// What is to be made of a stored cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterRecord {
    /// Its id.
    pub cell: CellId,
    /// Nets that judge its witnesses too.
    pub models: Vec<ModelRecord>,
    /// The layer whose maps explain predictions.
    pub layer: Option<String>,
    /// Images on which the attack is put to the binarisation test. Not written where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binarise: Option<usize>,
}

/// Cells that one run of an attack serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitRecord {
    /// Their ids; the last is the unit's name.
    pub cells: Vec<CellId>,
    /// First image of each chunk, and behind the last one.
    pub cuts: Vec<usize>,
    /// Multiplications with an addition that an image takes, if it stands to the end.
    pub cost: f64,
}

/// What a worker says of itself, every few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerRecord {
    /// Its name: no other has it.
    pub name: String,
    /// Its machine.
    pub host: String,
    /// Its process there.
    pub process: u32,
    /// Its share, from 0.
    pub shard: usize,
    /// Of so many.
    pub of: usize,
    /// Pieces of work that it has stored.
    pub done: usize,
    /// The work in them, as [`UnitRecord::cost`] has it.
    pub work: f64,
    /// Since it began.
    pub seconds: f64,
    /// Counts up: who sees it stand still knows that the worker is gone.
    pub beat: u64,
    /// When it said so, in seconds since 1970-01-01 UTC by its own clock.
    pub unix_s: u64,
    /// Its exit status; `None`: it has not ended.
    pub ended: Option<u8>,
}
