//! Reads weight files from memory: safetensors and PyTorch's, tensors in F32, F16 or BF16. Numbers are converted when they
//! are taken, so a file of any size costs its own bytes and the network it becomes. Every number is checked for being finite.

use super::pickle;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// Named tensors of a file.
pub struct Weights<'a> {
    tensors: BTreeMap<String, Stored<'a>>,
}

/// A tensor as it lies in the file.
struct Stored<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
}

/// Where the numbers are.
enum Values<'a> {
    /// One after the other, little endian, of a type that may be one we do not read.
    Bytes(Dtype, &'a [u8]),
    /// The same, but a step along axis `i` is one of `strides[i]` numbers.
    Strided(Dtype, &'a [u8], Vec<usize>),
    /// Made elsewhere.
    Numbers(Vec<f64>),
}

/// What numbers become: f32 for computing, f64 where something is folded first.
pub trait Number: Copy {
    /// Rounded once.
    fn of(value: f64) -> Self;
}

impl Number for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }
}

impl Number for f64 {
    fn of(value: f64) -> f64 {
        value
    }
}

/// Before every name in files that were saved from several GPUs (`torch.nn.DataParallel`).
const PARALLEL: &str = "module.";

impl<'a> Weights<'a> {
    /// Parses a weight file: what it is, its first bytes say. The error says what is wrong and how.
    pub fn parse(bytes: &'a [u8]) -> Result<Weights<'a>, String> {
        let mut tensors = match pickle::is_pytorch(bytes)? {
            true => pytorch(bytes)?,
            false => safetensors(bytes)?,
        };
        // counters of the training, not used in inference
        tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
        if !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(PARALLEL)) {
            tensors = tensors.into_iter().map(|(name, t)| (name[PARALLEL.len()..].to_string(), t)).collect();
        }
        Ok(Weights { tensors })
    }

    /// Tensors made elsewhere: name, shape, values.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f64>)>) -> Weights<'a> {
        let stored = |(name, shape, values)| (name, Stored { shape, values: Values::Numbers(values) });
        Weights { tensors: tensors.into_iter().map(stored).collect() }
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], String> {
        self.tensors.get(name).map(|t| t.shape.as_slice()).ok_or_else(|| format!("tensor `{name}` is missing"))
    }

    /// The values of a tensor of exactly this shape.
    fn values<T: Number>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>, String> {
        let stored = match self.tensors.get(name) {
            None => return Err(format!("tensor `{name}` is missing (expected shape {shape:?})")),
            Some(t) if t.shape != shape => {
                return Err(format!("tensor `{name}`: expected shape {shape:?}, found {:?}", t.shape));
            }
            Some(stored) => stored,
        };
        stored.values.convert(shape).map_err(|problem| format!("tensor `{name}`: {problem}"))
    }
}

fn safetensors<'a>(bytes: &'a [u8]) -> Result<BTreeMap<String, Stored<'a>>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| format!("no sound safetensors file: {e}"))?;
    let stored = |(name, view): (String, TensorView<'a>)| {
        (name, Stored { shape: view.shape().to_vec(), values: Values::Bytes(view.dtype(), view.data()) })
    };
    Ok(file.tensors().into_iter().map(stored).collect())
}

fn pytorch(bytes: &[u8]) -> Result<BTreeMap<String, Stored<'_>>, String> {
    let mut tensors = BTreeMap::new();
    for tensor in pickle::tensors(bytes)? {
        let pickle::Tensor { name, dtype, shape, strides, bytes } = tensor;
        let values = match strides == contiguous(&shape) {
            true => Values::Bytes(dtype, bytes),
            false => Values::Strided(dtype, bytes, strides),
        };
        if tensors.insert(name.clone(), Stored { shape, values }).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    Ok(tensors)
}

/// Strides of a tensor whose numbers lie one after the other, the last axis fastest.
pub(super) fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

impl Values<'_> {
    fn convert<T: Number>(&self, shape: &[usize]) -> Result<Vec<T>, String> {
        match self {
            Values::Bytes(dtype, bytes) => numbers(*dtype, bytes),
            Values::Strided(dtype, bytes, strides) => Ok(gather(&numbers(*dtype, bytes)?, shape, strides)),
            Values::Numbers(values) => Ok(values.iter().map(|v| T::of(*v)).collect()),
        }
    }
}

/// Numbers that lie one after the other.
fn numbers<T: Number>(dtype: Dtype, bytes: &[u8]) -> Result<Vec<T>, String> {
    fn read<const N: usize, T: Number>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Result<Vec<T>, String> {
        let (numbers, _) = bytes.as_chunks::<N>();
        match numbers.iter().position(|b| !number(*b).is_finite()) {
            Some(i) => Err(format!("expected finite numbers, found {} at {i}", number(numbers[i]))),
            None => Ok(numbers.iter().map(|b| T::of(number(*b))).collect()),
        }
    }
    match dtype {
        Dtype::F32 => read(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F16 => read(bytes, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => read(bytes, |b| bf16::from_le_bytes(b).to_f64()),
        other => Err(format!("expected F32, F16 or BF16, found {other:?}")),
    }
}

/// The numbers in the order of their places, from where the strides say that they lie.
fn gather<T: Copy>(values: &[T], shape: &[usize], strides: &[usize]) -> Vec<T> {
    let mut gathered = vec![0usize];
    for (size, stride) in shape.iter().zip(strides) {
        gathered = gathered.iter().flat_map(|at| (0..*size).map(move |i| at + i * stride)).collect();
    }
    gathered.into_iter().map(|at| values[at]).collect()
}

/// Weights of which a builder takes one tensor after the other: in the end nothing may be left.
pub struct Taken<'a> {
    weights: &'a Weights<'a>,
    names: Vec<String>,
}

impl<'a> Taken<'a> {
    /// Nothing taken yet.
    pub fn of(weights: &'a Weights<'a>) -> Taken<'a> {
        Taken { weights, names: Vec::new() }
    }

    /// Whether the file has it.
    pub fn is_there(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// Values of a tensor of exactly this shape.
    pub fn take<T: Number>(&mut self, name: String, shape: &[usize]) -> Result<Vec<T>, String> {
        let values = self.weights.values(&name, shape)?;
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
