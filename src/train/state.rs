//! A training in the middle: all that decides how it goes on, in one file that is written whole or not at all.

use super::plan::Training;
use super::weights;
use crate::digest;
use crate::disk;
use crate::error::{Error, Result};
use crate::kernel::learn::Tensors;
use crate::record::EpochRecord;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is no tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Digest of the description that it is of.
    pub description: String,
    /// Epochs that are done, and batches of the next one.
    pub epoch: usize,
    pub batch: usize,
    /// Steps of the optimiser.
    pub updates: u64,
    /// Sum of the losses of this epoch's steps, as bits: text would round it.
    pub loss: u64,
    /// Steps of this epoch, images that were right, and how many there were.
    pub steps: u64,
    pub correct: usize,
    pub seen: usize,
    /// Of Fast-AT: images of a batch that withstood PGD-5 after the epoch before.
    pub withstood: Option<usize>,
    /// Why it ended before its last epoch; empty: it did not.
    pub stopped: String,
    pub rows: Vec<EpochRecord>,
    /// Of all processes that took part; it decides nothing.
    pub seconds: f64,
    /// SHA-256 of the tensors.
    sha256: String,
}

/// The whole.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub progress: Progress,
    pub tensors: Tensors,
    pub velocity: Tensors,
    /// The moving average of the tensors, if the recipe has one.
    pub average: Tensors,
    /// What the model was after the epoch before, where that may be the end.
    pub before: Tensors,
    /// Of free training: the changes that go on from batch to batch.
    pub changes: Tensors,
}

/// What the entry beside the tensors is called.
const NOTE: &str = "progress";

impl State {
    /// Nothing learned yet.
    pub fn first(training: &Training) -> State {
        let tensors = weights::first(training);
        let progress = Progress {
            description: training.digest(),
            epoch: 0,
            batch: 0,
            updates: 0,
            loss: 0f64.to_bits(),
            steps: 0,
            correct: 0,
            seen: 0,
            withstood: None,
            stopped: String::new(),
            rows: Vec::new(),
            seconds: 0.0,
            sha256: String::new(),
        };
        State {
            average: if training.recipe.ema.is_some() { tensors.clone() } else { Vec::new() },
            velocity: training.blueprint.zeros(),
            before: Vec::new(),
            changes: Vec::new(),
            progress,
            tensors,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self, training: &Training) -> bool {
        self.progress.epoch >= training.recipe.epochs || !self.progress.stopped.is_empty()
    }

    /// The weights that the model has by now.
    pub fn model(&self) -> &Tensors {
        match (self.progress.stopped.is_empty(), self.average.is_empty()) {
            (false, _) => &self.before,
            (true, false) => &self.average,
            (true, true) => &self.tensors,
        }
    }

    fn parts(&self) -> [(&'static str, &Tensors); 5] {
        [
            ("tensors", &self.tensors),
            ("velocity", &self.velocity),
            ("average", &self.average),
            ("before", &self.before),
            ("changes", &self.changes),
        ]
    }

    /// Writes it in place of the one before.
    ///
    /// # Errors
    /// Weights that are not finite; those of the disk.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut named: Vec<(String, Vec<usize>, &[f32])> = Vec::new();
        for (part, tensors) in self.parts() {
            named.extend(tensors.iter().enumerate().map(|(i, t)| (format!("{part}.{i}"), vec![t.len()], t.as_slice())));
        }
        let progress = Progress { sha256: sha256(&self.parts()), ..self.progress.clone() };
        let note = serde_json::to_string(&progress)
            .map_err(|e| Error::usage(format!("progress: {e} (hint: please report it)")))?;
        let bytes = weights::file(&named, Some((NOTE, note)))?;
        disk::replace(path, &bytes)
    }

    /// The one that was saved, if there is one.
    ///
    /// # Errors
    /// A file that is damaged; one of another description.
    pub fn load(path: &Path, training: &Training) -> Result<Option<State>> {
        let bytes = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(Error::io("read", path))?,
        };
        let damaged = || {
            Error::usage(format!("{}: no sound state of a training (hint: `--restart` begins anew)", path.display()))
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|_| damaged())?;
        let note = header.metadata().as_ref().and_then(|note| note.get(NOTE)).ok_or_else(damaged)?;
        let progress: Progress = serde_json::from_str(note).map_err(|_| damaged())?;
        let file = SafeTensors::deserialize(&bytes).map_err(|_| damaged())?;
        let part = |name: &str| -> Tensors {
            let tensor = |i: usize| file.tensor(&format!("{name}.{i}")).ok();
            let numbers = |t: safetensors::tensor::TensorView| {
                t.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
            };
            (0..).map_while(tensor).map(numbers).collect()
        };
        let (tensors, velocity) = (part("tensors"), part("velocity"));
        let (average, before, changes) = (part("average"), part("before"), part("changes"));
        let state = State { progress, tensors, velocity, average, before, changes };
        if sha256(&state.parts()) != state.progress.sha256 {
            return Err(damaged());
        }
        match state.progress.description == training.digest() {
            true => Ok(Some(state)),
            false => Err(Error::usage(format!(
                "{}: a training of `{}` by another recipe, network, seed or data lies there (hint: another `model` or `name`, or \
                 `--restart` to lose it)",
                path.display(),
                training.model
            ))),
        }
    }
}

fn sha256(parts: &[(&str, &Tensors)]) -> String {
    let bytes = |t: &Vec<f32>| t.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let all: Vec<Vec<u8>> = parts.iter().flat_map(|(_, tensors)| tensors.iter().map(bytes)).collect();
    digest::sha256_of(&all.iter().map(Vec::as_slice).collect::<Vec<_>>())
}
