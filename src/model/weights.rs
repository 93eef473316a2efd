//! Reads weight files from memory: safetensors and PyTorch's, tensors in F32, F16 or BF16. Numbers are converted when they
//! are taken, so a file of any size costs its own bytes and the network it becomes. Every number is checked for being finite.

use super::format::{Format, format_of};
use super::{naming, pickle};
use crate::kernel::Real;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};

/// Named tensors of a file.
pub struct Weights<'a> {
    tensors: BTreeMap<String, Stored<'a>>,
    notes: Vec<String>,
}

/// A tensor as it lies in the file.
#[derive(PartialEq)]
struct Stored<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
    /// Whether the numbers are those with the other sign.
    negated: bool,
}

/// Where the numbers are.
#[derive(PartialEq)]
enum Values<'a> {
    /// One after the other, little endian, of a type that may be one we do not read.
    Bytes(Dtype, &'a [u8]),
    /// The same, but a step along axis `i` is one of `strides[i]` numbers.
    Strided(Dtype, &'a [u8], Vec<usize>),
    /// Made elsewhere.
    Numbers(Vec<f64>),
}

/// Names that an error lists.
const MOST_LISTED: usize = 4;

impl<'a> Weights<'a> {
    /// Parses a weight file: what it is, its first bytes say. `state_dict`: key of the state dict, in a checkpoint of PyTorch's
    /// that has several. The error says what is wrong and how.
    pub fn parse(bytes: &'a [u8], state_dict: Option<&str>) -> Result<Weights<'a>, String> {
        let (mut tensors, mut notes) = (BTreeMap::new(), Vec::new());
        match format_of(bytes)? {
            format @ (Format::PyTorch | Format::Legacy) => {
                let (found, note) = match format {
                    Format::PyTorch => pickle::tensors(bytes, state_dict)?,
                    _ => pickle::legacy_tensors(bytes, state_dict)?,
                };
                tensors = pytorch(found)?;
                notes.extend(note);
            }
            Format::Safetensors if state_dict.is_some() => {
                return Err(
                    "a safetensors file is one state dict (hint: leave `state_dict` out of the model file)".into()
                );
            }
            Format::Safetensors => tensors.extend(safetensors(bytes)?),
        }
        // counters of the training, not used in inference
        tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
        unwrap(&mut tensors, &mut notes);
        if naming::keeps_an_attacker(tensors.keys().map(String::as_str)) {
            notes.push(without_attacker(&mut tensors)?);
            unwrap(&mut tensors, &mut notes);
        }
        Ok(Weights { tensors, notes })
    }

    /// Keys under which a checkpoint keeps state dicts, the one that [`Weights::parse`] takes first; `None`: the tensors beside
    /// them. Empty where the file is one state dict, or none that is read.
    pub fn state_dicts(bytes: &[u8]) -> Vec<Option<String>> {
        match format_of(bytes) {
            Ok(Format::PyTorch) => pickle::state_dicts(bytes).unwrap_or_default(),
            Ok(Format::Legacy) => pickle::legacy_state_dicts(bytes).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// What the user is to know of how the file was read, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Tensors made elsewhere: name, shape, values.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f64>)>) -> Weights<'a> {
        let stored = |(name, shape, values)| (name, Stored { shape, values: Values::Numbers(values), negated: false });
        Weights { tensors: tensors.into_iter().map(stored).collect(), notes: Vec::new() }
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
        self.tensors.get(name).map(|t| t.shape.as_slice()).ok_or_else(|| self.missing(name, ""))
    }

    /// Size of a tensor along an axis; `None`: no such tensor, or no such axis.
    pub fn size(&self, name: &str, axis: usize) -> Option<usize> {
        self.tensors.get(name)?.shape.get(axis).copied()
    }

    /// Why the numbers of a tensor are none of a network, with a way out; `None`: they may be, or there is no such tensor.
    pub fn unusable(&self, name: &str) -> Option<String> {
        let stored = self.tensors.get(name)?;
        let problem = stored.values.convert::<f32>(&stored.shape, 1.0).err()?;
        let way = match problem.contains("finite") {
            true => "other weights: in these the training failed, or the file is damaged",
            false => "save them in float32, as {name: tensor.float() for name, tensor in model.state_dict().items()}",
        };
        Some(format!("tensor `{name}`: {problem} (hint: {way})"))
    }

    /// How many tensors there are under the names of `first`, `first + 1`, …
    pub fn count(&self, first: usize, name: impl Fn(usize) -> String) -> usize {
        (first..).take_while(|i| self.contains(&name(*i))).count()
    }

    /// Says that a tensor is missing, and what there is.
    fn missing(&self, name: &str, expected: &str) -> String {
        let cut = |name: &str| format!("`{}`", name.chars().take(80).collect::<String>());
        let mut listed: Vec<String> = self.names().take(MOST_LISTED).map(cut).collect();
        if self.tensors.len() > MOST_LISTED {
            listed.push(format!("… {} in all", self.tensors.len()));
        }
        let found = if listed.is_empty() { "nothing".into() } else { listed.join(", ") };
        format!("tensor `{name}` is missing{expected}; the file has {found}")
    }

    /// The values of a tensor of exactly this shape.
    fn values<T: Real>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>, String> {
        let stored = match self.tensors.get(name) {
            None => return Err(self.missing(name, &format!(" (expected shape {shape:?})"))),
            Some(t) if t.shape != shape => {
                return Err(format!("tensor `{name}`: expected shape {shape:?}, found {:?}", t.shape));
            }
            Some(stored) => stored,
        };
        let sign = if stored.negated { -1.0 } else { 1.0 };
        stored.values.convert(shape, sign).map_err(|problem| format!("tensor `{name}`: {problem}"))
    }
}

/// Takes off what wrappers put before and inside names.
fn unwrap(tensors: &mut BTreeMap<String, Stored>, notes: &mut Vec<String>) {
    if let Some((names, note)) = naming::unwrapped(&tensors.keys().map(String::as_str).collect::<Vec<_>>()) {
        *tensors = names.into_iter().zip(std::mem::take(tensors).into_values()).collect();
        notes.push(note);
    }
}

/// Leaves out what lies beside the model ([`naming::keeps_an_attacker`]), and says so.
fn without_attacker(tensors: &mut BTreeMap<String, Stored>) -> Result<String, String> {
    for (name, again) in tensors.range("attacker.model.".to_string()..) {
        let Some(own) = name.strip_prefix("attacker.") else { break };
        if tensors.get(own).is_some_and(|first| first != again) {
            return Err(format!("tensor `{name}` is another than `{own}`, and one of them would be left out"));
        }
    }
    let before = tensors.len();
    tensors.retain(|name, _| name.starts_with("model."));
    Ok(format!(
        "{} tensors beside the model are left out: `attacker.…`, which is the model again, and the normalisation, which the \
         model file states",
        before - tensors.len()
    ))
}

fn safetensors<'a>(bytes: &'a [u8]) -> Result<BTreeMap<String, Stored<'a>>, String> {
    let unsound = |problem| format!("no sound safetensors file: {} (hint: download or save it again)", reason(problem));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(unsound)?;
    // the rest of the metadata is text for people; tensors of another framework lie in another order
    let framework = header.metadata().as_ref().and_then(|texts| texts.get("format"));
    if let Some(other) = framework.filter(|f| !["pt", "np"].contains(&f.as_str())) {
        let other: String = other.chars().take(80).collect();
        return Err(format!("tensors of the format `{other}`, which is not read (hint: save them from PyTorch)"));
    }
    let file = SafeTensors::deserialize(bytes).map_err(unsound)?;
    let stored = |(name, view): (String, TensorView<'a>)| {
        let values = Values::Bytes(view.dtype(), view.data());
        (name, Stored { shape: view.shape().to_vec(), values, negated: false })
    };
    Ok(file.tensors().into_iter().map(stored).collect())
}

/// What is wrong with a safetensors file, in our words.
fn reason(problem: SafeTensorError) -> String {
    use SafeTensorError as E;
    match problem {
        E::HeaderTooSmall | E::HeaderTooLarge | E::InvalidHeaderLength => {
            "its header is longer than the file, which may be cut off".into()
        }
        E::InvalidHeader(_) | E::InvalidHeaderDeserialization(_) | E::JsonError(_) => "its header is damaged".into(),
        E::MetadataIncompleteBuffer => "it is shorter or longer than its header says".into(),
        E::InvalidOffset(name) => {
            format!("tensor `{}` lies where it cannot", name.chars().take(80).collect::<String>())
        }
        _ => "a tensor in it has not as many bytes as its shape asks for".into(),
    }
}

fn pytorch(found: Vec<pickle::Tensor<'_>>) -> Result<BTreeMap<String, Stored<'_>>, String> {
    let mut tensors = BTreeMap::new();
    for tensor in found {
        let pickle::Tensor { name, dtype, shape, strides, negated, bytes } = tensor;
        let values = match strides == contiguous(&shape) {
            true => Values::Bytes(dtype, bytes),
            false => Values::Strided(dtype, bytes, strides),
        };
        if tensors.insert(name.clone(), Stored { shape, values, negated }).is_some() {
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
    /// The numbers times `sign`, which is 1 or -1.
    fn convert<T: Real>(&self, shape: &[usize], sign: f64) -> Result<Vec<T>, String> {
        match self {
            Values::Bytes(dtype, bytes) => numbers(*dtype, bytes, sign),
            Values::Strided(dtype, bytes, strides) => Ok(gather(&numbers(*dtype, bytes, sign)?, shape, strides)),
            Values::Numbers(values) => Ok(values.iter().map(|v| T::from_f64(sign * *v)).collect()),
        }
    }
}

/// Numbers that lie one after the other.
fn numbers<T: Real>(dtype: Dtype, bytes: &[u8], sign: f64) -> Result<Vec<T>, String> {
    fn read<const N: usize, T: Real>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Result<Vec<T>, String> {
        let (numbers, _) = bytes.as_chunks::<N>();
        match numbers.iter().position(|b| !number(*b).is_finite()) {
            Some(i) => Err(format!("expected finite numbers, found {} at {i}", number(numbers[i]))),
            None => Ok(numbers.iter().map(|b| T::from_f64(number(*b))).collect()),
        }
    }
    match dtype {
        Dtype::F32 => read(bytes, |b| sign * f64::from(f32::from_le_bytes(b))),
        Dtype::F16 => read(bytes, |b| sign * f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => read(bytes, |b| sign * bf16::from_le_bytes(b).to_f64()),
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
    names: BTreeSet<String>,
}

impl<'a> Taken<'a> {
    /// Nothing taken yet.
    pub fn of(weights: &'a Weights<'a>) -> Taken<'a> {
        Taken { weights, names: BTreeSet::new() }
    }

    /// Whether the file has it.
    pub fn is_there(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], String> {
        self.weights.shape(name)
    }

    /// Values of a tensor of exactly this shape.
    pub fn take<T: Real>(&mut self, name: String, shape: &[usize]) -> Result<Vec<T>, String> {
        let values = self.weights.values(&name, shape)?;
        self.names.insert(name);
        Ok(values)
    }

    /// Wants no tensor whose name begins so; says how many there are.
    pub fn leave_out(&mut self, before: &str) -> usize {
        let unwanted: Vec<String> = self.weights.names().filter(|n| n.starts_with(before)).map(String::from).collect();
        let count = unwanted.len();
        self.names.extend(unwanted);
        count
    }

    /// Refuses a tensor that nobody took; `network` says where it has no place.
    pub fn nothing_else(&self, network: &str) -> Result<(), String> {
        match self.weights.names().find(|n| !self.names.contains(*n)) {
            Some(extra) => Err(format!("tensor `{extra}` {:?} has no place in {network}", self.weights.shape(extra)?)),
            None => Ok(()),
        }
    }
}
