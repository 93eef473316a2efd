//! A network as a list of operations that name the values they read.

use crate::error::Result;
use crate::kernel::{Net, Step};
use candle_core::{DType, Device, Tensor, WithDType};

/// What a node computes.
#[derive(Debug, Clone)]
pub enum Op {
    /// Convolution with bias, zero padding on all sides.
    Conv {
        /// outputs × inputs × height × width.
        weight: Tensor,
        /// outputs.
        bias: Tensor,
        /// Between windows, both ways.
        stride: usize,
        /// Zeros on each side.
        padding: usize,
    },
    /// max(x, 0); slope 0 at 0, and NaN stays NaN.
    Relu,
    /// Maximum of windows; the first of several, and NaN above all.
    MaxPool {
        /// Height and width of a window.
        window: usize,
        /// Between windows, both ways.
        stride: usize,
        /// By how much the first windows stand out of the map; at most half a window. What lies outside never wins.
        padding: usize,
        /// Whether a window may reach beyond the map at the end (PyTorch's `ceil_mode`).
        ceil: bool,
    },
    /// Average over windows so that the map becomes side×side (PyTorch's AdaptiveAvgPool2d).
    AveragePool {
        /// Side after the operation.
        side: usize,
    },
    /// Fully connected over the flattened map.
    Linear {
        /// outputs × inputs.
        weight: Tensor,
        /// outputs.
        bias: Tensor,
    },
    /// Channels of all its inputs, one after the other.
    Concat,
    /// Sum of its inputs.
    Add,
}

/// A network as a list of operations.
pub struct Graph {
    pub(super) mean: Tensor,
    pub(super) std: Tensor,
    /// Operation, and the values it reads. Node i makes value i + 1; value 0 is the normalised image.
    pub(super) nodes: Vec<(Op, Vec<usize>)>,
}

/// From the logits N×classes to the gradient with respect to them.
pub type Seed<'a> = dyn Fn(&Tensor) -> Result<Tensor> + 'a;

impl Graph {
    /// Images are normalised by `mean` and `std` a channel, in the type of numbers and on the device of all weights.
    pub fn new(mean: [f64; 3], std: [f64; 3], dtype: DType, device: &Device) -> Result<Graph> {
        let channels =
            |v: [f64; 3]| -> Result<Tensor> { Ok(Tensor::new(&v, device)?.to_dtype(dtype)?.reshape((1, 3, 1, 1))?) };
        Ok(Graph { mean: channels(mean)?, std: channels(std)?, nodes: Vec::new() })
    }

    /// Adds an operation on earlier values (0: the images); returns its value. The last one's are the logits.
    pub fn push(&mut self, op: Op, inputs: &[usize]) -> usize {
        assert!(inputs.iter().all(|i| *i <= self.nodes.len()), "an operation reads earlier values");
        self.nodes.push((op, inputs.to_vec()));
        self.nodes.len()
    }

    /// The same graph with its weights on `device`.
    pub fn on(&self, device: &Device) -> Result<Graph> {
        let nodes = self.nodes.iter().map(|(op, inputs)| Ok((op.on(device)?, inputs.clone())));
        let nodes = nodes.collect::<Result<_>>()?;
        Ok(Graph { mean: self.mean.to_device(device)?, std: self.std.to_device(device)?, nodes })
    }

    /// A sequential network as a graph.
    pub fn of<T: WithDType>(net: &Net<T>, device: &Device) -> Result<Graph> {
        let mut graph = Graph::new(net.mean.map(T::to_f64), net.std.map(T::to_f64), T::DTYPE, device)?;
        let tensor = |v: &[T], shape: &[usize]| Tensor::from_slice(v, shape, device);
        let mut last = 0;
        for step in &net.steps {
            let (op, with_relu) = match step {
                Step::Conv { inputs, outputs, weight, bias } => {
                    let weight = tensor(weight, &[*outputs, *inputs, 3, 3])?;
                    (Op::Conv { weight, bias: tensor(bias, &[*outputs])?, stride: 1, padding: 1 }, true)
                }
                Step::MaxPool => (Op::MaxPool { window: 2, stride: 2, padding: 0, ceil: false }, false),
                Step::AveragePool { side } => (Op::AveragePool { side: *side }, false),
                Step::Linear { inputs, outputs, weight, bias, relu } => {
                    let weight = tensor(weight, &[*outputs, *inputs])?;
                    (Op::Linear { weight, bias: tensor(bias, &[*outputs])? }, *relu)
                }
            };
            last = graph.push(op, &[last]);
            if with_relu {
                last = graph.push(Op::Relu, &[last]);
            }
        }
        Ok(graph)
    }
}

impl Op {
    fn on(&self, device: &Device) -> Result<Op> {
        let mut op = self.clone();
        if let Op::Conv { weight, bias, .. } | Op::Linear { weight, bias } = &mut op {
            (*weight, *bias) = (weight.to_device(device)?, bias.to_device(device)?);
        }
        Ok(op)
    }
}
