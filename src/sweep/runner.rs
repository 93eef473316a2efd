//! What a run works with: the machine, the plan, the store; and what it tells.

use super::plan::{Plan, PlannedCell};
use crate::error::{Error, Result};
use crate::record::{Provenance, SCHEMA, unix_s};
use crate::store::Store;
use candle_core::Device;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How to compute. Threads and batch change no result; another device changes last bits.
pub struct Machine {
    /// Where tensors live.
    pub device: Device,
    /// `cpu` or `cuda:0`.
    pub device_name: String,
    /// Threads of the CPU kernels.
    pub threads: usize,
    /// Images a batch; `None`: as many as [`BATCH_BYTES`] holds, on a GPU [`DEVICE_BATCH_BYTES`].
    pub batch: Option<usize>,
    /// Images a chunk; `None`: as many as make about a minute of work ([`super::chunks`]).
    pub chunk: Option<usize>,
}

/// Memory for the tensors of one batch: about ten of the batch's size live at once.
const BATCH_BYTES: usize = 1 << 30;

/// The same on a GPU, which is fed well by 256 images of 224 pixels.
const DEVICE_BATCH_BYTES: usize = 2 << 30;

/// More at once would not be faster.
const MOST_IN_A_BATCH: usize = 512;

/// What happens while a plan runs.
pub enum Event {
    /// Before anything is computed. `work` is in image × gradient steps.
    Begin {
        /// Cells of the plan.
        cells: usize,
        /// Cells that are stored already.
        cached: usize,
        /// What is left to do.
        work: u64,
    },
    /// Some images of a cell are settled.
    Settled {
        /// How many.
        images: usize,
        /// Their share of the work.
        work: u64,
    },
    /// So much of the pictures that an attack pastes is made, from 0 to 1.
    Fitted(f64),
    /// Of what is made of stored witnesses, so many cells are done.
    After {
        /// What is made: "transfers", "maps" or "binarisation tests".
        what: &'static str,
        /// Cells done.
        done: usize,
        /// Cells in all.
        of: usize,
    },
    /// Something that the user is to know of what was read.
    Note(String),
    /// A cell is stored.
    Stored,
    /// A cell failed; the text says which and why.
    Failed(String),
    /// The device had no memory for a batch; from now on the net takes so many images at a time.
    Shrunk(usize),
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Cells computed now.
    pub computed: usize,
    /// Cells found stored.
    pub cached: usize,
    /// Cells that failed now.
    pub failed: usize,
}

pub(super) struct Runner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
    pub(super) machine: &'a Machine,
    pub(super) stop: &'a AtomicBool,
    /// Models whose notes are told.
    pub(super) noted: RefCell<BTreeSet<usize>>,
}

/// `x86_64 linux, AMD EPYC, cpu family 25, model 17`; for a GPU, its model too. What the system does not tell is left out.
fn kind_of_machine(cpu: bool) -> String {
    let value = |text: &str, key: &str| {
        let mut entries = text.lines().filter_map(|line| line.split_once(':'));
        let found = entries.find(|(k, _)| k.trim() == key);
        found.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut parts = vec![format!("{} {}", std::env::consts::ARCH, std::env::consts::OS)];
    parts.extend(value(&processors, "model name"));
    for key in ["cpu family", "model", "CPU implementer", "CPU part"] {
        parts.extend(value(&processors, key).map(|v| format!("{key} {v}")));
    }
    if !cpu {
        let gpus = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
        let texts = gpus.filter_map(|gpu| std::fs::read_to_string(gpu.path().join("information")).ok());
        parts.extend(texts.filter_map(|text| value(&text, "Model")).min());
    }
    parts.join(", ")
}

/// The largest batch up to `most` that the CUDA engine does not round up: 2ᵏ or 3·2ᵏ images.
fn whole_batch(most: usize) -> usize {
    let power = 1 << most.ilog2();
    if power / 2 * 3 <= most && power > 1 { power / 2 * 3 } else { power }
}

impl Machine {
    /// Images a batch, for images of so many values.
    pub fn batch_size(&self, values: usize) -> usize {
        let fits = |bytes: usize| (bytes / (10 * values * size_of::<f32>())).clamp(1, MOST_IN_A_BATCH);
        self.batch.unwrap_or_else(|| match self.device.is_cpu() {
            true => fits(BATCH_BYTES),
            false => whole_batch(fits(DEVICE_BATCH_BYTES)),
        })
    }
}

impl Runner<'_> {
    /// # Errors
    /// [`Error::Interrupted`] after Ctrl-C.
    pub(super) fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The current folder, where a model or data was found from it.
    pub(super) fn folder(&self, model: usize, data: usize) -> Option<String> {
        let choice = &self.plan.data[data].choice;
        let model = self.plan.models[model].origin.as_deref().filter(|origin| origin.ends_with(".toml"));
        let table = choice.table.as_ref().and_then(|table| table.path.as_deref());
        let paths = [model.map(Path::new), choice.path.as_deref(), table.map(Path::new)];
        let relative = paths.into_iter().flatten().any(Path::is_relative);
        std::env::current_dir().ok().filter(|_| relative).map(|folder| folder.display().to_string())
    }

    pub(super) fn provenance(&self, cell: &PlannedCell, began: Instant, error: Option<String>) -> Provenance {
        Provenance {
            schema: SCHEMA,
            error,
            files: BTreeMap::new(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            model_file: self.plan.models[cell.model].origin.clone(),
            model_commit: self.plan.models[cell.model].commit.clone(),
            model_notes: self.plan.models[cell.model].notes(),
            folder: self.folder(cell.model, cell.data),
            data_path: self.plan.data[cell.data].choice.path.as_ref().map(|p| p.display().to_string()),
            data_table: self.plan.data[cell.data].choice.table.clone(),
            data_files: self.plan.data[cell.data].subset.sources.clone(),
            notes: self.plan.notes_of(cell),
            device: self.machine.device_name.clone(),
            machine: Some(kind_of_machine(self.machine.device.is_cpu())),
            threads: self.machine.threads,
            batch: self.machine.batch_size(self.plan.data[cell.data].subset.values()),
            time_s: began.elapsed().as_secs_f64(),
            stages: Vec::new(),
            served_by: None,
            finished_unix_s: unix_s(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_batch_is_a_power_of_two_or_three_times_one() {
        let whole = [1, 2, 3, 4, 5, 6, 7, 8, 178, 191, 192, 255, 256, 356, 512].map(whole_batch);
        assert_eq!(whole, [1, 2, 3, 4, 4, 6, 6, 8, 128, 128, 192, 192, 256, 256, 512]);
    }
}
