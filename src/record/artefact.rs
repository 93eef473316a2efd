//! What is stored beside cells: clean images, pasted pictures, what other nets say, maps.

use serde::{Deserialize, Serialize};

/// Pictures that an attack pastes, as stored: 8-bit colours, and what is transparent.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPictures {
    /// Height and width of each in pixels.
    pub side: usize,
    /// K×3×side×side.
    pub rgb: Vec<u8>,
    /// K×side×side; `None`: all are opaque.
    pub alpha: Option<Vec<u8>>,
    /// Whether they were made along a gradient that was zero everywhere at some step.
    pub blind: bool,
}

/// What is said of the two maps of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// Index of the image in its split.
    pub example: usize,
    /// Largest value of the clean image's map.
    pub maximum_clean: f32,
    /// Largest value of the witness's map.
    pub maximum_adversarial: f32,
    /// Pearson's correlation of the two; `None` where one is constant.
    pub correlation: Option<f64>,
    /// Share of the clean map's mass on the pixels that the attack changed.
    pub share_clean: Option<f64>,
    /// Share of the witness's map's mass on them.
    pub share_adversarial: Option<f64>,
}

/// Maps of where a net looked (Grad-CAM), raw, one an outcome: N×height×width.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// One an outcome.
    pub rows: Vec<Explained>,
    /// The layer that the maps are of; `None`: stored before one could be chosen.
    pub layer: Option<String>,
    /// Height and width of a map.
    pub size: [usize; 2],
    /// Of the class predicted for the clean image, on it.
    pub clean: Vec<f32>,
    /// Of the class predicted for the witness, on it.
    pub adversarial: Vec<f32>,
}

/// What another net says of a witness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Index of the image in its split.
    pub example: usize,
    /// Class predicted for the clean image.
    pub clean_prediction: Option<usize>,
    /// Class predicted for the witness.
    pub prediction: Option<usize>,
    /// Softmax probability of the label, witness.
    pub label_probability: Option<f32>,
    /// Softmax probability of the target, witness.
    pub target_probability: Option<f32>,
    /// Number of classes that score above the target, witness.
    pub target_rank: Option<usize>,
}

/// What came of the binarisation test of an attack on one image (Zimmermann et al. 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binarised {
    /// Index of the image in its split.
    pub example: usize,
    /// Whether the attack found an image on the far side of the readout, where one is; `None`: no readout told the points apart.
    pub fooled: Option<bool>,
    /// Whether one of some hundred guesses did.
    pub guessed: Option<bool>,
}

/// The clean images that cells refer to, kept once a run so that a report needs nothing but the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Index of each image in its split.
    pub examples: Vec<usize>,
    /// True classes; empty in a run that was written before they were kept.
    pub labels: Vec<usize>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Height and width of an image in pixels.
    pub size: [usize; 2],
    /// N×3×height×width.
    pub pixels: Vec<u8>,
}
