//! Writes small ONNX files, field by field (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>).
#![allow(dead_code)] // each test binary uses its part

/// A model in the making.
#[derive(Clone)]
pub struct Onnx {
    nodes: Vec<u8>,
    weights: Vec<u8>,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
    opset: i64,
    /// Behind the last field.
    pub more: Vec<u8>,
}

/// An attribute of a node.
#[derive(Clone)]
pub enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
    /// Row by row.
    Tensor(&'a [i64], &'a [f32]),
    /// A network in a network, of no nodes.
    Graph,
}

/// A size of an input: a number, or open.
pub const OPEN: i64 = -1;

impl Onnx {
    /// Of images of this shape, with one output.
    pub fn new(input: &[i64], opset: i64) -> Onnx {
        let (nodes, weights) = (Vec::new(), Vec::new());
        let inputs = field(11, &place("image", 1, input));
        Onnx { nodes, weights, inputs, outputs: field(12, &place("logits", 1, &[])), opset, more: Vec::new() }
    }

    /// With a node, whose name is that of its first output with `node-` before it.
    pub fn node(mut self, operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, Attribute)]) -> Onnx {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
        node.extend(outputs.iter().flat_map(|name| field(2, name.as_bytes())));
        node.extend(field(3, format!("node-{}", outputs[0]).as_bytes()));
        let (domain, operator) = operator.rsplit_once(':').unwrap_or(("", operator));
        node.extend(field(4, operator.as_bytes()));
        node.extend(attributes.iter().flat_map(|(name, value)| field(5, &attribute(name, value))));
        node.extend(field(7, domain.as_bytes()));
        self.nodes.extend(field(1, &node));
        self
    }

    /// With weights in f32.
    pub fn weight(self, name: &str, dims: &[i64], numbers: &[f32]) -> Onnx {
        let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.raw(name, 1, dims, &raw)
    }

    /// With whole numbers, as a vector.
    pub fn whole(self, name: &str, numbers: &[i64]) -> Onnx {
        let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.raw(name, 7, &[numbers.len() as i64], &raw)
    }

    /// With numbers of a kind as they lie in memory.
    pub fn raw(mut self, name: &str, kind: i64, dims: &[i64], raw: &[u8]) -> Onnx {
        let tensor = [tensor(name, kind, dims), field(9, raw)].concat();
        self.weights.extend(field(5, &tensor));
        self
    }

    /// With weights in f32 that lie in another file.
    pub fn external(mut self, name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Onnx {
        let entry =
            |(key, value): &(&str, &str)| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
        let entries = entries.iter().flat_map(entry).collect();
        let tensor = [tensor(name, 1, dims), entries, number(14, 1)].concat();
        self.weights.extend(field(5, &tensor));
        self
    }

    /// With another input.
    pub fn input(mut self, name: &str, kind: i64, dims: &[i64]) -> Onnx {
        self.inputs.extend(field(11, &place(name, kind, dims)));
        self
    }

    /// With this input alone.
    pub fn only_input(mut self, name: &str, kind: i64, dims: &[i64]) -> Onnx {
        self.inputs = field(11, &place(name, kind, dims));
        self
    }

    /// With another output.
    pub fn output(mut self, name: &str) -> Onnx {
        self.outputs.extend(field(12, &place(name, 1, &[])));
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let graph = [&self.nodes, &field(2, b"graph"), &self.weights, &self.inputs, &self.outputs];
        let graph: Vec<u8> = graph.into_iter().flatten().copied().collect();
        let opset = [field(1, b""), number(2, self.opset)].concat();
        [number(1, 8), field(2, b"test"), field(7, &graph), field(8, &opset), self.more.clone()].concat()
    }
}

/// A field of bytes.
pub fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A field of a whole number.
pub fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn tensor(name: &str, kind: i64, dims: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| number(1, *d)).collect();
    [dims, number(2, kind), field(8, name.as_bytes())].concat()
}

fn place(name: &str, kind: i64, dims: &[i64]) -> Vec<u8> {
    let dim = |d: &i64| field(1, &if *d == OPEN { field(2, b"any") } else { number(1, *d) });
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, kind), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn attribute(name: &str, value: &Attribute) -> Vec<u8> {
    let (content, kind) = match value {
        Attribute::Float(value) => ([varint(2 << 3 | 5), value.to_le_bytes().to_vec()].concat(), 1),
        Attribute::Int(value) => (number(3, *value), 2),
        Attribute::Text(text) => (field(4, text.as_bytes()), 3),
        Attribute::Tensor(dims, numbers) => {
            let floats: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            (field(5, &[tensor("", 1, dims), field(4, &floats)].concat()), 4)
        }
        Attribute::Graph => (field(6, b""), 5),
        Attribute::Ints(values) => (values.iter().flat_map(|v| number(8, *v)).collect(), 7),
    };
    [field(1, name.as_bytes()), content, number(20, kind)].concat()
}
