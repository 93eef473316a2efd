//! Plain data that is stored: what a cell is, what came out for each image, where it was computed.

mod artefact;
mod cell;
mod outcome;
mod plan;
mod provenance;
mod training;
mod work;

pub use artefact::{Binarised, Explained, Explanation, Inputs, StoredPictures, Transfer};
pub use cell::{
    AttackRecord, Cell, CellId, CorruptionRecord, DEFENCE, DataRecord, FitRecord, ModelRecord, SCHEMA, TrainRecord,
};
pub use outcome::{
    BOUNDARY, CARRIED, CLEAN_WRONG, Distances, NOT_FINITE, OUTSIDE, Outcome, SHORT_STEP, SPLIT_VOTE, Witnesses,
    ZERO_GRADIENT, votes,
};
pub use plan::{PlanRecord, PublishedRecord};
pub use provenance::{HubFile, Provenance, StageRecord, StoredCell, TableRecord};
pub use training::{EpochRecord, TrainingProvenance};
pub use work::{AfterRecord, Chunk, UnitRecord, WorkRecord, WorkerRecord};

/// The present as records have it: seconds since 1970-01-01 UTC, by this machine's clock.
pub fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
pub(crate) mod tests;
