//! The bytes of what a run keeps.

use crate::digest;
use crate::error::{Error, Result};
use crate::record::{Inputs, Outcome, StoredPictures, Witnesses};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// What a sealed JSON object says. `Err` says what is wrong with it.
pub fn unsealed<T: serde::de::DeserializeOwned>(text: String) -> Result<T, String> {
    let object = digest::unsealed(text).ok_or("its seal does not fit")?;
    serde_json::from_str(&object).map_err(|e| e.to_string())
}

/// Rows of `outcomes.csv`.
pub fn outcomes_csv(outcomes: &[Outcome]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for outcome in outcomes {
        writer.serialize(outcome).map_err(|e| Error::Store(format!("outcomes: {e}")))?;
    }
    writer.into_inner().map_err(|e| Error::Store(format!("outcomes: {e}")))
}

/// Bytes of the witnesses of a cell.
pub fn witness_file(outcomes: &[Outcome], witnesses: &Witnesses, [height, width]: [usize; 2]) -> Result<Vec<u8>> {
    let examples = little_endian(outcomes.iter().map(|o| o.example));
    let (dtype, bytes) = match witnesses {
        Witnesses::U8(v) => (Dtype::U8, v.clone()),
        Witnesses::F32(v) => (Dtype::F32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
    };
    let n = outcomes.len();
    tensor_file(vec![("examples", Dtype::I64, vec![n], examples), ("images", dtype, vec![n, 3, height, width], bytes)])
}

/// Reads what [`witness_file`] writes: the images, and their height and width.
pub fn parse_witnesses(bytes: &[u8]) -> Result<(Witnesses, [usize; 2]), String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let images = file.tensor("images").map_err(|e| e.to_string())?;
    let size = match *images.shape() {
        [_, 3, height, width] => [height, width],
        ref shape => return Err(format!("images of shape {shape:?}")),
    };
    let floats = || images.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    match images.dtype() {
        Dtype::U8 => Ok((Witnesses::U8(images.data().to_vec()), size)),
        Dtype::F32 => Ok((Witnesses::F32(floats()), size)),
        other => Err(format!("images of type {other:?}")),
    }
}

/// Bytes of clean images.
pub fn input_file(inputs: &Inputs) -> Result<Vec<u8>> {
    let n = inputs.examples.len();
    let classes = inputs.classes.join("\n").into_bytes();
    let mut tensors = vec![
        ("classes", Dtype::U8, vec![classes.len()], classes),
        ("examples", Dtype::I64, vec![n], little_endian(inputs.examples.iter().copied())),
        ("images", Dtype::U8, vec![n, 3, inputs.size[0], inputs.size[1]], inputs.pixels.clone()),
    ];
    if !inputs.labels.is_empty() {
        tensors.push(("labels", Dtype::I64, vec![n], little_endian(inputs.labels.iter().copied())));
    }
    tensor_file(tensors)
}

/// Reads what [`input_file`] writes.
pub fn parse_inputs(bytes: &[u8]) -> Result<Inputs, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let tensor = |name: &str| file.tensor(name).map_err(|e| e.to_string());
    let images = tensor("images")?;
    let classes = String::from_utf8(tensor("classes")?.data().to_vec()).map_err(|e| e.to_string())?;
    let numbers = |t: TensorView| t.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as usize).collect();
    let (examples, labels): (Vec<usize>, Vec<usize>) =
        (numbers(tensor("examples")?), tensor("labels").map(numbers).unwrap_or_default());
    let size = match *images.shape() {
        [n, 3, height, width] if n == examples.len() && n > 0 && height > 0 && width > 0 => [height, width],
        ref shape => return Err(format!("{} images of shape {shape:?}", examples.len())),
    };
    Ok(Inputs {
        examples,
        labels,
        classes: classes.split('\n').map(String::from).collect(),
        size,
        pixels: images.data().to_vec(),
    })
}

fn little_endian(numbers: impl Iterator<Item = usize>) -> Vec<u8> {
    numbers.flat_map(|n| (n as i64).to_le_bytes()).collect()
}

/// Bytes of named tensors: type, shape, values.
pub fn tensor_file(tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>) -> Result<Vec<u8>> {
    tensor_file_with(tensors, None)
}

/// The same with one text, under its name.
pub fn tensor_file_with(
    tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>,
    text: Option<(&str, String)>,
) -> Result<Vec<u8>> {
    let mut views = BTreeMap::new();
    for (name, dtype, shape, bytes) in &tensors {
        let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| Error::Store(format!("{name}: {e}")))?;
        views.insert(*name, view);
    }
    let text = text.map(|(name, text)| HashMap::from([(name.to_string(), text)]));
    safetensors::serialize(views, text).map_err(|e| Error::Store(format!("arrays: {e}")))
}

/// Rows as CSV.
pub fn csv_of(rows: &[impl Serialize]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| Error::Store(format!("rows: {e}")))?;
    }
    writer.into_inner().map_err(|e| Error::Store(format!("rows: {e}")))
}

/// Tensor that is there where pictures were made without a gradient at some step.
const BLIND: &str = "zero_gradient";

/// Bytes of pictures.
pub fn picture_file(pictures: &StoredPictures) -> Result<Vec<u8>> {
    let StoredPictures { side, rgb, alpha, blind } = pictures;
    let n = rgb.len() / (3 * side * side).max(1);
    let mut tensors = Vec::new();
    if let Some(alpha) = alpha {
        tensors.push(("alpha", Dtype::U8, vec![n, *side, *side], alpha.clone()));
    }
    if *blind {
        tensors.push((BLIND, Dtype::U8, vec![1], vec![1]));
    }
    tensors.push(("rgb", Dtype::U8, vec![n, 3, *side, *side], rgb.clone()));
    tensor_file(tensors)
}

/// Reads what [`picture_file`] writes.
pub fn parse_pictures(bytes: &[u8]) -> Result<StoredPictures, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let rgb = file.tensor("rgb").map_err(|e| e.to_string())?;
    match rgb.shape() {
        [_, 3, height, width] if height == width && *width > 0 => {}
        shape => return Err(format!("pictures of shape {shape:?}")),
    }
    Ok(StoredPictures {
        side: rgb.shape().last().copied().unwrap_or(0),
        rgb: rgb.data().to_vec(),
        alpha: file.tensor("alpha").ok().map(|a| a.data().to_vec()),
        blind: file.tensor(BLIND).is_ok(),
    })
}
