//! First weights, and weight files.

use super::plan::Training;
use crate::error::{Error, Result};
use crate::kernel::learn::{Learned, Tensors};
use crate::rng::Streams;
use safetensors::tensor::{Dtype, TensorView};

/// What a network begins with. Convolutions: normal, of variance 2 over outputs times taps (He et al. 2015, eq. 14, as torchvision
/// has it, `fan_out`); linear layers: even within 1/√inputs (PyTorch's default), biases too; batch norms: 1 and 0, running mean 0 and
/// variance 1.
pub fn first(training: &Training) -> Tensors {
    let blueprint = &training.blueprint;
    let streams = Streams::new(training.seed, "train");
    let mut tensors = blueprint.zeros();
    for learned in blueprint.learned.iter().flatten() {
        match learned {
            Learned::Norm { gamma, variance, .. } => {
                tensors[*gamma].fill(1.0);
                tensors[*variance].fill(1.0);
            }
            Learned::Layer { weight, bias } => {
                let shape = &blueprint.tensors[*weight].1;
                let (outputs, of_output): (usize, usize) = (shape[0], shape[1..].iter().product());
                let mut stream = streams.stream(*weight, 0, "weights");
                let even = 1.0 / (of_output as f64).sqrt();
                let mut any = |spread: f64| (spread * (2.0 * f64::from(stream.uniform()) - 1.0)) as f32;
                if shape.len() == 2 {
                    tensors[*weight].iter_mut().for_each(|w| *w = any(even));
                    bias.iter().for_each(|bias| tensors[*bias].iter_mut().for_each(|b| *b = any(even)));
                } else {
                    let taps: usize = shape[2..].iter().product();
                    let spread = (2.0 / (outputs * taps) as f64).sqrt();
                    tensors[*weight].iter_mut().for_each(|w| *w = (spread * stream.normal()) as f32);
                }
            }
        }
    }
    tensors
}

/// A safetensors file of named tensors.
///
/// # Errors
/// Those of the format.
pub fn file(named: &[(String, Vec<usize>, &[f32])], note: Option<(&str, String)>) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> =
        named.iter().map(|(.., numbers)| numbers.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let problem = |e: safetensors::SafeTensorError| Error::usage(format!("weights: {e} (hint: please report it)"));
    let mut views = Vec::new();
    for ((name, shape, _), bytes) in named.iter().zip(&bytes) {
        views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(problem)?));
    }
    // one entry: of several the order would be another each time
    let note = note.map(|(key, text)| [(key.to_string(), text)].into());
    safetensors::serialize(views, note).map_err(problem)
}

/// The weight file of a model with these tensors.
///
/// # Errors
/// Those of the format.
pub fn of_model(training: &Training, tensors: &Tensors) -> Result<Vec<u8>> {
    let named: Vec<(String, Vec<usize>, &[f32])> = training
        .blueprint
        .tensors
        .iter()
        .zip(tensors)
        .map(|((name, shape), numbers)| (name.clone(), shape.clone(), numbers.as_slice()))
        .collect();
    file(&named, None)
}
