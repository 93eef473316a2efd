//! What came out for each image.

use crate::terms::Norm;
use serde::{Deserialize, Serialize};

/// What came out for one image. Missing values are missing: `None` becomes an empty field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Index of the image in its split.
    pub example: usize,
    /// True class; `None`: there is none, as on a blank canvas.
    pub label: Option<usize>,
    /// Class the attack was to reach; `None` when untargeted.
    pub target: Option<usize>,
    /// Class predicted for the clean image; `None` where its logits are not finite.
    pub clean_prediction: Option<usize>,
    /// Class predicted for the witness; `None` where the image is an error row.
    pub adversarial_prediction: Option<usize>,
    /// Whether the image was right before and fooled after; `None` for an error row.
    pub success: Option<bool>,
    /// Largest absolute change in grey levels, witness against clean image.
    pub linf_255: Option<f64>,
    /// Euclidean distance, witness to clean image, pixels in [0,1].
    pub l2: Option<f64>,
    /// True logit minus best other, clean image.
    pub margin_clean: Option<f32>,
    /// True logit minus best other, witness.
    pub margin_adversarial: Option<f32>,
    /// Softmax probability of the predicted class, clean image.
    pub confidence_clean: Option<f32>,
    /// Softmax probability of the predicted class, witness.
    pub confidence_adversarial: Option<f32>,
    /// Softmax probability of the label, clean image.
    pub label_probability_clean: Option<f32>,
    /// Softmax probability of the label, witness.
    pub label_probability_adversarial: Option<f32>,
    /// Softmax probability of the target, clean image.
    pub target_probability_clean: Option<f32>,
    /// Softmax probability of the target, witness.
    pub target_probability_adversarial: Option<f32>,
    /// Logit of the target, witness.
    pub target_logit_adversarial: Option<f32>,
    /// Number of classes that score above the target, clean image (0: the target is predicted).
    pub target_rank_clean: Option<usize>,
    /// Number of classes that score above the target, witness.
    pub target_rank_adversarial: Option<usize>,
    /// Iteration that gave the witness, from 1; 0: the clean image stands.
    pub step: usize,
    /// Restart that gave the witness, from 0.
    pub restart: usize,
    /// Forward passes spent on the image, those of the judge's tests included.
    pub forwards: u64,
    /// Input gradients spent on the image.
    pub backwards: u64,
    /// Space-separated: `clean-wrong`, `boundary`, `split-vote`, `zero-gradient`, `short-step`, `carried`, `nan`,
    /// `outside`.
    pub flags: String,
    /// What the attack says of how the witness was made: where a patch lies, how an objective rose.
    pub note: String,
    /// Least distance to the aim over the first half of the iterations of each run: true logit minus best other, of a
    /// target the best other minus its own. Of the unrounded iterate where the rounded one was not judged. `None`: the
    /// attack counts no iterations or has one, or the image was settled in a first half, or is an error row or carried.
    #[serde(default)]
    pub margin_midway: Option<f32>,
    /// Sum of absolute changes, witness against clean image, pixels in [0,1]; `None` in stores from before this column.
    #[serde(default)]
    pub l1: Option<f64>,
    /// Number of changed components (a channel of a pixel is one), witness against clean image; `None` in stores from before.
    #[serde(default)]
    pub l0: Option<f64>,
}

/// How far a witness is from its clean image, in each norm that measures a distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distances {
    /// Largest absolute change in grey levels.
    pub linf_255: f64,
    /// Euclidean, pixels in [0,1].
    pub l2: f64,
    /// Sum of absolute changes, pixels in [0,1].
    pub l1: f64,
    /// Changed components.
    pub l0: f64,
}

impl Distances {
    /// The distance in this norm, in the units of its budgets; Euclidean where the norm measures none.
    pub fn of(&self, norm: Norm) -> f64 {
        match norm {
            Norm::Linf => self.linf_255 / 255.0,
            Norm::L1 => self.l1,
            Norm::L0 => self.l0,
            _ => self.l2,
        }
    }
}

/// Flag: wrong before any attack, so not attacked.
pub const CLEAN_WRONG: &str = "clean-wrong";
/// Flag: the witness's margin is below 1e-4, so another machine may decide otherwise.
pub const BOUNDARY: &str = "boundary";
/// Flag: at least one input gradient was zero everywhere.
pub const ZERO_GRADIENT: &str = "zero-gradient";
/// Flag: the votes behind a random defence are so near a draw that others may decide otherwise.
pub const SPLIT_VOTE: &str = "split-vote";
/// Flag: at least one input gradient was so small that f32 may have lost values of it; a step along it may be shorter than
/// asked.
pub const SHORT_STEP: &str = "short-step";
/// Flag: NaN or Inf in an image, its logits or its gradient; an error row.
pub const NOT_FINITE: &str = "nan";
/// Flag: broken at a smaller budget already; row and witness are that cell's, and cost nothing here.
pub const CARRIED: &str = "carried";
/// Flag: the attack proposed an image outside its threat set; an error row.
pub const OUTSIDE: &str = "outside";

/// Votes for a class, of so many draws of a random defence, from its softmax, which is (votes + a mean probability below 1)/(of + 1).
pub fn votes(softmax: f32, of: u32) -> u32 {
    (((of + 1) as f32 * softmax).floor() as u32).min(of)
}

impl Outcome {
    /// Votes for the class that is predicted for the witness, of so many draws of a random defence.
    pub fn votes(&self, of: u32) -> Option<u32> {
        self.confidence_adversarial.map(|share| votes(share, of))
    }

    /// Names of its fields, in the order of `outcomes.csv`.
    pub const COLUMNS: &[&str] = &[
        "example",
        "label",
        "target",
        "clean_prediction",
        "adversarial_prediction",
        "success",
        "linf_255",
        "l2",
        "margin_clean",
        "margin_adversarial",
        "confidence_clean",
        "confidence_adversarial",
        "label_probability_clean",
        "label_probability_adversarial",
        "target_probability_clean",
        "target_probability_adversarial",
        "target_logit_adversarial",
        "target_rank_clean",
        "target_rank_adversarial",
        "step",
        "restart",
        "forwards",
        "backwards",
        "flags",
        "note",
        "margin_midway",
        "l1",
        "l0",
    ];

    /// The distance of the witness in this norm, in the units of its budgets; `None` in an error row, where the norm measures
    /// none, and where the store is from before it was kept.
    pub fn distance(&self, norm: Norm) -> Option<f64> {
        match norm {
            Norm::Linf => self.linf_255.map(|d| d / 255.0),
            Norm::L2 => self.l2,
            Norm::L1 => self.l1,
            Norm::L0 => self.l0,
            _ => None,
        }
    }

    /// Whether `flag` is set.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|f| f == flag)
    }

    /// Whether a step was, or may have been, shorter than the attack asked for: then that the image stands says less.
    pub fn has_short_step(&self) -> bool {
        self.has(ZERO_GRADIENT) || self.has(SHORT_STEP)
    }

    /// The same row in the cell of a larger budget.
    pub fn carried(&self) -> Outcome {
        let mut row = Outcome { forwards: 0, backwards: 0, margin_midway: None, ..self.clone() };
        if !row.has(CARRIED) {
            row.flags = format!("{} {CARRIED}", row.flags).trim_start().to_string();
        }
        row
    }

    /// Whether an attack could succeed: the net was right, or there is no right answer.
    pub fn is_right_before(&self) -> bool {
        self.clean_prediction.is_some() && self.label.is_none_or(|l| self.clean_prediction == Some(l))
    }

    /// Whether this row reports a fault instead of a result.
    pub fn is_error(&self) -> bool {
        self.success.is_none()
    }
}

/// 8-bit or float images of a cell, N×3×height×width, in the order of its outcomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Witnesses {
    /// Judged as stored.
    U8(Vec<u8>),
    /// Judged as stored, pixels in [0,1].
    F32(Vec<f32>),
}

impl Witnesses {
    /// Grey levels, for pictures of them: floats to the nearest.
    pub fn into_levels(self) -> Vec<u8> {
        match self {
            Witnesses::U8(v) => v,
            Witnesses::F32(v) => v.into_iter().map(|v| (v * 255.0).round() as u8).collect(),
        }
    }
}
