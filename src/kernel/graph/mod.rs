//! Networks as plain data: one list of operations that name the values they read, whatever the network.

mod fold;
mod op;

pub use op::{Activation, Op, Window};

use super::real::Real;

/// An operation and the values it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<T> {
    /// What it computes.
    pub op: Op<T>,
    /// Numbers of the values it reads, each made before it.
    pub inputs: Vec<usize>,
}

/// A network for RGB images in [0,1]. Value 0 is the normalised image, node i makes value i + 1, the last value is the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph<T> {
    /// Subtracted from each channel.
    pub mean: [f64; 3],
    /// Divides each channel after that.
    pub std: [f64; 3],
    nodes: Vec<Node<T>>,
    shapes: Vec<Vec<usize>>,
    is_outline: bool,
}

impl<T: Real> Graph<T> {
    /// Nothing but the normalisation of images 3×height×width.
    pub fn new([height, width]: [usize; 2], mean: [f64; 3], std: [f64; 3]) -> Graph<T> {
        Graph { mean, std, nodes: Vec::new(), shapes: vec![vec![3, height, width]], is_outline: false }
    }

    /// The same of a network of which only shapes are wanted: convolutions, linear layers and constants may come without their
    /// weights, which would be most of its memory. It computes nothing.
    pub fn outline(size: [usize; 2], mean: [f64; 3], std: [f64; 3]) -> Graph<T> {
        Graph { is_outline: true, ..Graph::new(size, mean, std) }
    }

    /// Adds an operation on these values, and gives the number of the one it makes.
    ///
    /// # Errors
    /// Values that it does not take, and why.
    pub fn push(&mut self, op: Op<T>, inputs: &[usize]) -> Result<usize, String> {
        let shapes: Option<Vec<&[usize]>> = inputs.iter().map(|i| self.shapes.get(*i).map(Vec::as_slice)).collect();
        let shapes = shapes.ok_or("a value that is not made yet")?;
        let shape = if self.is_outline { op.outlined(&shapes)? } else { op.shape(&shapes)? };
        self.shapes.push(shape);
        self.nodes.push(Node { op, inputs: inputs.to_vec() });
        Ok(self.nodes.len())
    }

    /// Its operations, in the order of computation.
    pub fn nodes(&self) -> &[Node<T>] {
        &self.nodes
    }

    /// The same, handed over.
    pub fn into_nodes(self) -> Vec<Node<T>> {
        self.nodes
    }

    /// Shape of a value of one image.
    pub fn shape(&self, value: usize) -> &[usize] {
        &self.shapes[value]
    }

    /// Height and width of the images.
    pub fn size(&self) -> [usize; 2] {
        [self.shapes[0][1], self.shapes[0][2]]
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.shapes[self.nodes.len()].iter().product()
    }

    /// The same network up to what its last linear layer reads: its features.
    ///
    /// # Errors
    /// A network that does not end in a linear layer, or whose features are no vector.
    pub fn into_features(mut self) -> Result<Graph<T>, String> {
        let last = self.nodes.pop().filter(|node| matches!(node.op, Op::Linear { .. }));
        let value = last.ok_or("its last operation is no linear layer")?.inputs[0];
        self.nodes.truncate(value);
        self.shapes.truncate(value + 1);
        match self.shapes[value].len() {
            1 => Ok(self),
            _ => Err(format!("its last linear layer reads {:?}, no vector", self.shapes[value])),
        }
    }

    /// Multiplications with an addition each that the logits of one image take, of convolutions and products of matrices: all but
    /// a few percent of the work of a network. That of an outline is the same.
    pub fn multiply_adds(&self) -> u64 {
        let of = |(i, node): (usize, &Node<T>)| {
            let inputs: Vec<&[usize]> = node.inputs.iter().map(|v| self.shape(*v)).collect();
            node.op.multiply_adds(&inputs, self.shape(i + 1))
        };
        self.nodes.iter().enumerate().map(of).sum()
    }

    /// How many nodes read each value.
    pub fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.shapes.len()];
        self.nodes.iter().flat_map(|n| &n.inputs).for_each(|i| readers[*i] += 1);
        readers
    }
}

impl<T> Graph<T> {
    /// The same network with its weights as other numbers.
    fn with<U>(&self, numbers: impl Fn(&[T]) -> Vec<U>) -> Graph<U> {
        let nodes = self.nodes.iter().map(|node| Node { op: node.op.with(&numbers), inputs: node.inputs.clone() });
        let (mean, std, is_outline) = (self.mean, self.std, self.is_outline);
        Graph { mean, std, nodes: nodes.collect(), shapes: self.shapes.clone(), is_outline }
    }
}

impl Graph<f64> {
    /// Every weight rounded once.
    pub fn to_f32(&self) -> Graph<f32> {
        self.with(|v| v.iter().map(|v| *v as f32).collect())
    }
}

impl Graph<f32> {
    /// The same numbers in double precision.
    pub fn to_f64(&self) -> Graph<f64> {
        self.with(|v| v.iter().map(|v| f64::from(*v)).collect())
    }
}
