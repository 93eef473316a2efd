//! What is noted of a training, epoch by epoch.

use serde::{Deserialize, Serialize};

/// One epoch of one model. Numbers that are no counts are text, so that they are the same after a training was resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Name of the model.
    pub model: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Counted from 1.
    pub epoch: usize,
    /// Steps of the optimiser so far.
    pub updates: u64,
    /// Rate of the last of them.
    pub learning_rate: String,
    /// Mean of the epoch.
    pub loss: String,
    /// Images that were right as they were learned: moved and mirrored, and perturbed where the recipe does that.
    pub train_correct: usize,
    /// Of so many.
    pub train_images: usize,
    /// Held-out images that are right.
    pub clean_correct: usize,
    /// Those that stay so under PGD.
    pub pgd_correct: usize,
    /// Of so many.
    pub held_out: usize,
    /// Budget of that, as in the training file.
    pub eps: String,
    /// Why training ended with this epoch; empty: it did not, or it was the last.
    pub stopped: String,
}

/// Where and how a model was trained: what changes from run to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingProvenance {
    /// Name of the model.
    pub model: String,
    /// `cpu`, `cuda:0`.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Version of the program.
    pub version: String,
    /// Seconds of training and measuring, of all processes that took part.
    pub seconds: f64,
    /// Most memory of the last process, in MiB, where the system says it.
    pub peak_memory_mib: Option<u64>,
}
