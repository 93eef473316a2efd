//! Reads safetensors (F32, F16, BF16) from memory. Every number is checked for being finite.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// Named tensors in f64, so that folding rounds once.
pub struct Weights {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Weights {
    /// Parses a weight file. The error says which tensor is wrong and how.
    pub fn parse(bytes: &[u8]) -> Result<Weights, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| format!("no sound safetensors file: {e}"))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            // counters of the training, not used in inference
            if name.ends_with("num_batches_tracked") {
                continue;
            }
            let data = view.data();
            let values: Vec<f64> = match view.dtype() {
                Dtype::F32 => numbers(data, |b| f64::from(f32::from_le_bytes(b))),
                Dtype::F16 => numbers(data, |b| f16::from_le_bytes(b).to_f64()),
                Dtype::BF16 => numbers(data, |b| bf16::from_le_bytes(b).to_f64()),
                other => return Err(format!("tensor `{name}`: expected F32, F16 or BF16, found {other:?}")),
            };
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                return Err(format!("tensor `{name}`: expected finite numbers, found {} at {i}", values[i]));
            }
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        Ok(Weights { tensors })
    }

    /// Tensors made elsewhere: name, shape, values.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f64>)>) -> Weights {
        Weights { tensors: tensors.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect() }
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The values of a tensor of exactly this shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<&[f64], String> {
        match self.tensors.get(name) {
            None => Err(format!("tensor `{name}` is missing (expected shape {shape:?})")),
            Some((found, _)) if found != shape => {
                Err(format!("tensor `{name}`: expected shape {shape:?}, found {found:?}"))
            }
            Some((_, values)) => Ok(values),
        }
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], String> {
        self.tensors.get(name).map(|(shape, _)| shape.as_slice()).ok_or_else(|| format!("tensor `{name}` is missing"))
    }
}

/// Weights of which a builder takes one tensor after the other: in the end nothing may be left.
pub struct Taken<'a> {
    weights: &'a Weights,
    names: Vec<String>,
}

impl<'a> Taken<'a> {
    /// Nothing taken yet.
    pub fn of(weights: &'a Weights) -> Taken<'a> {
        Taken { weights, names: Vec::new() }
    }

    /// Values of a tensor of exactly this shape.
    pub fn take(&mut self, name: String, shape: &[usize]) -> Result<Vec<f64>, String> {
        let values = self.weights.get(&name, shape)?.to_vec();
        self.names.push(name);
        Ok(values)
    }

    /// Refuses a tensor that nobody took; `network` says where it has no place.
    pub fn nothing_else(&self, network: &str) -> Result<(), String> {
        match self.weights.names().find(|n| !self.names.iter().any(|taken| taken == n)) {
            Some(extra) => Err(format!("tensor `{extra}` {:?} has no place in {network}", self.weights.shape(extra)?)),
            None => Ok(()),
        }
    }
}

fn numbers<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks::<N>().0.iter().map(|b| number(*b)).collect()
}
