//! What there is to learn of a network: its graph without weights, and which tensors each operation has.

use crate::kernel::graph::{Graph, Op};

/// The tensors of an operation, by their numbers in [`Blueprint::tensors`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// A convolution or linear layer: outputs × inputs × taps; and a bias.
    Layer {
        /// Number of the weight.
        weight: usize,
        /// Number of the bias, if there is one.
        bias: Option<usize>,
    },
    /// A batch norm.
    Norm {
        /// Factor γ.
        gamma: usize,
        /// Shift β.
        beta: usize,
        /// Running mean.
        mean: usize,
        /// Running variance.
        variance: usize,
    },
}

/// Name and shape of a tensor.
pub type Named = (String, Vec<usize>);

/// A network without weights. Batch norms are the [`Op::Scale`]s that have a [`Learned::Norm`].
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// An outline: operations and shapes.
    pub graph: Graph<f32>,
    /// Of each node, what it learns.
    pub learned: Vec<Option<Learned>>,
    /// Every tensor, in the order of computation.
    pub tensors: Vec<Named>,
}

impl Blueprint {
    /// Whether a tensor is a running statistic: it is no weight, and has no gradient.
    pub fn is_statistic(&self, tensor: usize) -> bool {
        self.learned
            .iter()
            .flatten()
            .any(|l| matches!(l, Learned::Norm { mean, variance, .. } if [mean, variance].contains(&&tensor)))
    }

    /// As many zeros as the tensors have numbers.
    pub fn zeros(&self) -> Vec<Vec<f32>> {
        self.tensors.iter().map(|(_, shape)| vec![0.0; shape.iter().product()]).collect()
    }

    /// Whether every operation is one that learners know.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), String> {
        for (node, learned) in self.graph.nodes().iter().zip(&self.learned) {
            let known = match &node.op {
                Op::Conv { .. } | Op::Linear { .. } => matches!(learned, Some(Learned::Layer { .. })),
                Op::Scale { axis, .. } => *axis == 0 && matches!(learned, Some(Learned::Norm { .. })),
                Op::Activate(function) => *function == crate::kernel::graph::Activation::Relu,
                Op::MaxPool { ceil, .. } => !ceil,
                Op::Add => {
                    let [a, b] = [0, 1].map(|i| self.graph.shape(node.inputs[i]));
                    a == b
                }
                Op::AdaptiveAverage { .. } => true,
                Op::Reshape { shape } => shape.len() == 1,
                _ => false,
            };
            if !known {
                return Err(format!("a {} is not learned here", node.op.name()));
            }
        }
        Ok(())
    }
}
