//! What an ONNX value is while a file is read.

use super::tensor::{Numbers, Tensor};
use std::rc::Rc;

/// A value as the network for one image has it: the axis of the batch has size 1, or what is left when the images are
/// divided out of it.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its shape in ONNX's terms, for a batch of one image.
    pub dims: Vec<usize>,
    /// Where the images of a batch are; `None`: it is the same for all of them.
    pub batch: Option<Batch>,
    /// What it is.
    pub data: Data,
}

/// Where the images of a batch lie in a value: along one axis, which may hold other things too, as a view that makes one
/// axis of images and heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Axis.
    pub axis: usize,
    /// What lies around the images in it: index = (outer · images + image) · inner + …
    pub outer: usize,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Data {
    /// Numbers that do not depend on the image.
    Known(Numbers),
    /// A value of the graph, row by row the same numbers in whatever shape.
    Made(usize),
    /// Not computed: only a quotient with it is.
    Root(Rc<Root>),
}

/// factor · √(mean of x² along an axis + eps), or one over it.
#[derive(Debug, Clone)]
pub struct Root {
    /// x.
    pub x: Value,
    /// Axis.
    pub axis: usize,
    /// Added to the mean.
    pub eps: f64,
    /// Before the root.
    pub factor: f64,
    /// One over it.
    pub inverse: bool,
}

impl Value {
    /// Numbers that are the same for all images.
    pub fn known(tensor: Tensor) -> Value {
        Value { dims: tensor.dims, batch: None, data: Data::Known(tensor.numbers) }
    }

    /// A value of the graph.
    pub fn made(dims: Vec<usize>, batch: Option<Batch>, id: usize) -> Value {
        Value { dims, batch, data: Data::Made(id) }
    }

    /// The numbers, where they are known.
    pub fn tensor(&self) -> Option<Tensor> {
        match &self.data {
            Data::Known(numbers) => Some(Tensor { dims: self.dims.clone(), numbers: numbers.clone() }),
            _ => None,
        }
    }

    /// The number that all of its places hold, where it is known and one for all.
    pub fn only(&self) -> Option<f64> {
        match &self.data {
            Data::Known(_) => self.tensor()?.only(),
            _ => None,
        }
    }

    /// Whether its numbers are known.
    pub fn is_known(&self) -> bool {
        matches!(self.data, Data::Known(_))
    }

    /// The same data with another shape of as many numbers.
    pub fn relabelled(&self, dims: Vec<usize>, batch: Option<Batch>) -> Value {
        Value { dims, batch, data: self.data.clone() }
    }

    /// Whether both are the same value of the graph in the same shape.
    pub fn same(&self, other: &Value) -> bool {
        matches!((&self.data, &other.data), (Data::Made(a), Data::Made(b)) if a == b) && self.dims == other.dims
    }
}
