//! Parts of a network that do not depend on the image, as Swin's second version has them in its table of relative positions:
//! they are computed when the file is read.

use super::builder::Builder;
use super::tensor::Tensor;
use super::value::{Data, Value};
use crate::kernel::graph::Op;
use crate::kernel::plain;

/// Products that one layer may take, so that it takes a part of a second. A larger layer stays a part of the network.
const MOST_PRODUCTS: usize = 1 << 27;

/// Products that count as one number of the room that there is, so that a file is read in seconds, whatever it holds.
const PRODUCTS_A_NUMBER: usize = 8;

impl Builder {
    /// A value that an operator has made of known numbers: its numbers, where all nodes from the `first` on that it was made of
    /// are layers and functions of numbers.
    ///
    /// # Errors
    /// No room for them.
    pub fn computed(&mut self, value: Value, first: usize) -> Result<Value, String> {
        let Data::Made(id) = value.data else { return Ok(value) };
        let mut values: Vec<Vec<f32>> = Vec::new();
        for (i, node) in self.graph.nodes().iter().enumerate().take(id).skip(first) {
            let shape = self.graph.shape(i + 1);
            let numbers: usize = shape.iter().product();
            let products = match &node.op {
                Op::Constant { values: constant, .. } => {
                    self.room.take(numbers)?;
                    values.push(constant.clone());
                    continue;
                }
                Op::Linear { weight, bias } => numbers.saturating_mul(weight.len() / bias.len().max(1)),
                Op::Reshape { .. } | Op::Scale { .. } | Op::Activate(_) => numbers,
                _ => return Ok(value),
            };
            let from = node.inputs[0];
            if products > MOST_PRODUCTS || from <= first {
                return Ok(value);
            }
            self.room.take(numbers + products / PRODUCTS_A_NUMBER)?;
            let read = plain::Value { shape: self.graph.shape(from), numbers: &values[from - first - 1] };
            let made = node.op.forward(&[read], shape);
            values.push(made);
        }
        Ok(match values.pop() {
            Some(numbers) => Value::known(Tensor::floats(value.dims, numbers)),
            None => value,
        })
    }
}
