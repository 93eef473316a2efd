//! The state of long work as bytes: named lists of numbers and what they are the state of, in the format of safetensors.
//!
//! Bytes that are cut short, of another program or of an older one are no state: the work then begins anew.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};

/// Where it says what it is the state of, in the file's metadata.
const OF: &str = "state";

/// The two lists of a curve.
const CURVE: [&str; 2] = ["curve.step", "curve.value"];

/// Named lists of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// What it is the state of.
    of: String,
    /// Little-endian.
    lists: BTreeMap<String, (Dtype, Vec<u8>)>,
}

/// Numbers that a state holds.
pub trait Number: Copy {
    /// Their type in the file.
    const DTYPE: Dtype;
    /// Adds its bytes, little-endian.
    fn put(self, to: &mut Vec<u8>);
    /// From as many bytes as [`Number::put`] adds.
    fn of(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($number:ty: $dtype:ident),*) => {$(
        impl Number for $number {
            const DTYPE: Dtype = Dtype::$dtype;
            fn put(self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }
            fn of(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("as many bytes as it has"))
            }
        }
    )*};
}
number!(f32: F32, f64: F64, u64: U64);

impl State {
    /// Without lists. What differs in `of` cannot go on from each other.
    pub fn new(of: impl Into<String>) -> State {
        State { of: of.into(), lists: BTreeMap::new() }
    }

    /// Whether it is the state of this.
    pub fn is_of(&self, of: &str) -> bool {
        self.of == of
    }

    /// With one list more.
    pub fn with<N: Number>(mut self, name: &str, values: &[N]) -> State {
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|v| v.put(&mut bytes));
        self.lists.insert(name.into(), (N::DTYPE, bytes));
        self
    }

    /// With how an objective rose: (step, objective).
    pub fn with_curve<N: Number>(self, curve: &[(usize, N)]) -> State {
        let (steps, values): (Vec<u64>, Vec<N>) = curve.iter().map(|(step, value)| (*step as u64, *value)).unzip();
        self.with(CURVE[0], &steps).with(CURVE[1], &values)
    }

    /// A list of this name and type.
    pub fn list<N: Number>(&self, name: &str) -> Option<Vec<N>> {
        let (dtype, bytes) = self.lists.get(name)?;
        (*dtype == N::DTYPE).then(|| bytes.chunks_exact(size_of::<N>()).map(N::of).collect())
    }

    /// The only number of a list.
    pub fn number<N: Number>(&self, name: &str) -> Option<N> {
        let list = self.list(name)?;
        if let [only] = list.as_slice() { Some(*only) } else { None }
    }

    /// What [`State::with_curve`] was given.
    pub fn curve<N: Number>(&self) -> Option<Vec<(usize, N)>> {
        let (steps, values) = (self.list::<u64>(CURVE[0])?, self.list::<N>(CURVE[1])?);
        (steps.len() == values.len()).then(|| steps.iter().map(|s| *s as usize).zip(values).collect())
    }

    /// As a file of safetensors; the same state gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self.lists.iter().map(|(name, (dtype, bytes))| {
            let length = bytes.len() * 8 / dtype.bitsize();
            (name, TensorView::new(*dtype, vec![length], bytes).expect("as long as its shape says"))
        });
        let metadata = HashMap::from([(OF.to_string(), self.of.clone())]);
        safetensors::serialize(views, Some(metadata)).expect("lists without gaps")
    }

    /// A state that [`State::to_bytes`] wrote; `None`: the bytes are none.
    pub fn parse(bytes: &[u8]) -> Option<State> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let of = header.metadata().as_ref()?.get(OF)?.clone();
        let file = SafeTensors::deserialize(bytes).ok()?;
        let list = |(name, view): (String, TensorView)| (name, (view.dtype(), view.data().to_vec()));
        Some(State { of, lists: file.tensors().into_iter().map(list).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let values = [1.5, -0.0, f32::MIN_POSITIVE, f32::MAX];
        State::new("test 1")
            .with("a", &values)
            .with("none", &[0f32; 0])
            .with("step", &[7u64])
            .with_curve(&[(0, 0.1f64), (9, 2.0)])
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let read = State::parse(&state().to_bytes()).unwrap();
        assert_eq!((&read, read.to_bytes()), (&state(), state().to_bytes()));
        assert!(read.is_of("test 1") && !read.is_of("test 2"));
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read.list("a").unwrap()), bits(&[1.5, -0.0, f32::MIN_POSITIVE, f32::MAX]));
        assert_eq!((read.list("none"), read.number("step")), (Some(Vec::<f32>::new()), Some(7u64)));
        assert_eq!(read.curve(), Some(vec![(0, 0.1f64), (9, 2.0)]));
    }

    #[test]
    fn another_name_another_type_and_another_length_are_none() {
        let state = state();
        assert_eq!((state.list::<f32>("b"), state.list::<u64>("a"), state.number::<f32>("a")), (None, None, None));
        assert_eq!(state.curve::<f32>(), None);
        assert_eq!(state.with("curve.step", &[1u64]).curve::<f64>(), None);
    }

    #[test]
    fn bytes_that_are_cut_short_changed_in_their_header_or_foreign_are_no_state() {
        let bytes = state().to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(State::parse(&bytes[..end]), None, "{end}");
        }
        assert_eq!(State::parse(&[&bytes[..], &[0]].concat()), None);
        let old = [&0u64.to_le_bytes()[..], b"foolproof patch fit 1\n16\n", &[0; 64]].concat();
        let foreign =
            safetensors::serialize([("a", TensorView::new(Dtype::U8, vec![1], &[3]).unwrap())], None).unwrap();
        for other in [&old[..], b"0:-1.25 32:4.5\0", &foreign] {
            assert_eq!(State::parse(other), None);
        }
    }
}
