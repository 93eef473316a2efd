//! Where one may ask for a class activation map of an ONNX file: outputs of its nodes that are maps.

use super::import::Imported;
use crate::kernel::graph::Op;
use crate::model::layer::Layer;

impl Imported {
    /// Every map that a node gives, by the name that the file gives it. Usual are those behind an activation, a sum or a
    /// concatenation, as blocks end with.
    pub fn layers(&self) -> Vec<Layer> {
        let layer = |(name, value): &(String, usize)| {
            let [_, height, width] = *self.graph.shape(*value) else { return None };
            let maker = value.checked_sub(1).map(|i| &self.graph.nodes()[i].op);
            let usual = matches!(maker, Some(Op::Activate(_) | Op::Add | Op::Concat { .. }));
            Some(Layer { name: name.clone(), size: [height, width], value: *value, usual })
        };
        self.names.iter().filter_map(layer).collect()
    }
}
