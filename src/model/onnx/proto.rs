//! What an ONNX file says (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>): the messages and fields that describe a
//! network, with the file's own texts. Documentation, hints for tools and training are passed over.

use super::protobuf::{Fields, Wire};

/// `ModelProto`.
#[derive(Debug, Default)]
pub struct Model<'a> {
    /// Sets of operators: domain (empty: ONNX's own) and version.
    pub opsets: Vec<(&'a str, i64)>,
    /// The network; `None`: the file has none.
    pub graph: Option<Graph<'a>>,
}

/// `GraphProto`.
#[derive(Debug, Default)]
pub struct Graph<'a> {
    /// Operators, in an order of computation.
    pub nodes: Vec<Node<'a>>,
    /// Weights.
    pub initializers: Vec<Tensor<'a>>,
    /// What is given; weights may be among them.
    pub inputs: Vec<Place<'a>>,
    /// What is asked for.
    pub outputs: Vec<Place<'a>>,
    /// Whether there are weights in a sparse form.
    pub sparse: bool,
}

/// `ValueInfoProto` of a tensor.
#[derive(Debug, Default)]
pub struct Place<'a> {
    /// Name of the value.
    pub name: &'a str,
    /// See [`Kind`]; 0: not said.
    pub kind: i64,
    /// Sizes, `None` where they are symbols or not said; `None` in place of all: not even their number is.
    pub dims: Option<Vec<Option<i64>>>,
}

/// `NodeProto`.
#[derive(Debug, Default)]
pub struct Node<'a> {
    /// May be empty.
    pub name: &'a str,
    /// Operator.
    pub operator: &'a str,
    /// Of the operator; empty: ONNX's own.
    pub domain: &'a str,
    /// Names of values; an empty one: left out.
    pub inputs: Vec<&'a str>,
    /// Names of values; an empty one: not wanted.
    pub outputs: Vec<&'a str>,
    /// In the file's order.
    pub attributes: Vec<Attribute<'a>>,
}

/// `AttributeProto`.
#[derive(Debug)]
pub struct Attribute<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its content.
    pub value: Content<'a>,
}

/// What an attribute holds.
#[derive(Debug)]
pub enum Content<'a> {
    /// A number.
    Float(f32),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(&'a [u8]),
    /// Numbers.
    Tensor(Tensor<'a>),
    /// Several numbers; none may be meant by this or the next.
    Floats(Vec<f32>),
    /// Several whole numbers.
    Ints(Vec<i64>),
    /// A network inside the network.
    Graph,
    /// Something else.
    Other,
}

/// `TensorProto`.
#[derive(Debug, Default)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape.
    pub dims: Vec<i64>,
    /// See [`Kind`].
    pub kind: i64,
    /// Numbers as they lie in memory, lowest byte first.
    pub raw: Option<&'a [u8]>,
    /// Numbers in single precision, in place of `raw`.
    pub floats: Vec<f32>,
    /// Numbers in double precision, in place of `raw`.
    pub doubles: Vec<f64>,
    /// Numbers of all others (f16 and bf16: their bits), in place of `raw`.
    pub ints: Vec<i64>,
    /// Where in another file the numbers are: keys and values.
    pub external: Vec<(&'a str, &'a str)>,
    /// Whether they are there.
    pub is_external: bool,
    /// Whether it holds a part of a tensor.
    pub segment: bool,
}

/// `TensorProto.DataType`: those that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Single precision cut to 16 bits.
    Bf16,
    /// Double precision.
    F64,
    /// Whole numbers of so many bytes, with sign.
    Int(usize),
    /// Whole numbers of so many bytes, without.
    Unsigned(usize),
    /// One byte, 0 or 1.
    Bool,
}

impl Kind {
    /// Of ONNX's number.
    pub fn of(number: i64) -> Result<Kind, String> {
        Ok(match number {
            1 => Kind::F32,
            2 => Kind::Unsigned(1),
            3 => Kind::Int(1),
            4 => Kind::Unsigned(2),
            5 => Kind::Int(2),
            6 => Kind::Int(4),
            7 => Kind::Int(8),
            9 => Kind::Bool,
            10 => Kind::F16,
            11 => Kind::F64,
            12 => Kind::Unsigned(4),
            13 => Kind::Unsigned(8),
            16 => Kind::Bf16,
            8 => return Err("texts, which are no numbers".into()),
            other => return Err(format!("numbers of kind {other}, which are not read")),
        })
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F64 => 8,
            Kind::Int(bytes) | Kind::Unsigned(bytes) => bytes,
            Kind::Bool => 1,
        }
    }

    /// Whether its numbers are no whole ones.
    pub fn is_float(self) -> bool {
        matches!(self, Kind::F32 | Kind::F16 | Kind::Bf16 | Kind::F64)
    }
}

impl<'a> Model<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Model<'a>, String> {
        let mut model = Model::default();
        for field in Fields::of(bytes) {
            match field? {
                (7, graph) if model.graph.is_none() => model.graph = Some(Graph::parse(graph.bytes()?)?),
                (7, _) => return Err("two networks".into()),
                (8, opset) => model.opsets.push(opset_of(opset.bytes()?)?),
                _ => {}
            }
        }
        Ok(model)
    }
}

fn opset_of(message: &[u8]) -> Result<(&str, i64), String> {
    let mut opset = ("", 0);
    for field in Fields::of(message) {
        match field? {
            (1, domain) => opset.0 = domain.text()?,
            (2, version) => opset.1 = version.int()?,
            _ => {}
        }
    }
    Ok(opset)
}

impl<'a> Graph<'a> {
    fn parse(message: &'a [u8]) -> Result<Graph<'a>, String> {
        let mut graph = Graph::default();
        for field in Fields::of(message) {
            match field? {
                (1, node) => graph.nodes.push(Node::parse(node.bytes()?)?),
                (5, tensor) => graph.initializers.push(Tensor::parse(tensor.bytes()?)?),
                (11, input) => graph.inputs.push(Place::parse(input.bytes()?)?),
                (12, output) => graph.outputs.push(Place::parse(output.bytes()?)?),
                (15, _) => graph.sparse = true,
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl<'a> Place<'a> {
    fn parse(message: &'a [u8]) -> Result<Place<'a>, String> {
        let mut place = Place::default();
        for field in Fields::of(message) {
            match field? {
                (1, name) => place.name = name.text()?,
                (2, kind) => {
                    for field in Fields::of(kind.bytes()?) {
                        if let (1, tensor) = field? {
                            place.describe(tensor.bytes()?)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(place)
    }

    /// `TypeProto.Tensor`.
    fn describe(&mut self, message: &[u8]) -> Result<(), String> {
        for field in Fields::of(message) {
            match field? {
                (1, kind) => self.kind = kind.int()?,
                (2, shape) => {
                    let mut dims = Vec::new();
                    for field in Fields::of(shape.bytes()?) {
                        if let (1, dim) = field? {
                            let mut size = None;
                            for field in Fields::of(dim.bytes()?) {
                                if let (1, value) = field? {
                                    size = Some(value.int()?);
                                }
                            }
                            dims.push(size);
                        }
                    }
                    self.dims = Some(dims);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Node<'a> {
    fn parse(message: &'a [u8]) -> Result<Node<'a>, String> {
        let mut node = Node::default();
        for field in Fields::of(message) {
            match field? {
                (1, input) => node.inputs.push(input.text()?),
                (2, output) => node.outputs.push(output.text()?),
                (3, name) => node.name = name.text()?,
                (4, operator) => node.operator = operator.text()?,
                (5, attribute) => node.attributes.push(Attribute::parse(attribute.bytes()?)?),
                (7, domain) => node.domain = domain.text()?,
                _ => {}
            }
        }
        Ok(node)
    }
}

impl<'a> Attribute<'a> {
    fn parse(message: &'a [u8]) -> Result<Attribute<'a>, String> {
        let (mut name, mut kind, mut value) = ("", 0, None);
        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        for field in Fields::of(message) {
            match field? {
                (1, wire) => name = wire.text()?,
                (2, wire) => value = Some(Content::Float(wire.float()?)),
                (3, wire) => value = Some(Content::Int(wire.int()?)),
                (4, wire) => value = Some(Content::Text(wire.bytes()?)),
                (5, wire) => value = Some(Content::Tensor(Tensor::parse(wire.bytes()?)?)),
                (6 | 11, _) => value = Some(Content::Graph),
                (7, wire) => wire.floats(&mut floats)?,
                (8, wire) => wire.ints(&mut ints)?,
                (9 | 10 | 14 | 15 | 21 | 22 | 23, _) => value = Some(Content::Other),
                (20, wire) => kind = wire.int()?,
                _ => {}
            }
        }
        // numbers that are 0 may be left out of the file: the kind then says what is meant
        let value = value.unwrap_or(match kind {
            1 => Content::Float(0.0),
            2 => Content::Int(0),
            3 => Content::Text(b""),
            6 => Content::Floats(floats),
            _ if !floats.is_empty() => Content::Floats(floats),
            _ => Content::Ints(ints),
        });
        Ok(Attribute { name, value })
    }
}

impl<'a> Tensor<'a> {
    /// Reads a tensor.
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(message: &'a [u8]) -> Result<Tensor<'a>, String> {
        let mut tensor = Tensor::default();
        for field in Fields::of(message) {
            match field? {
                (1, dims) => dims.ints(&mut tensor.dims)?,
                (2, kind) => tensor.kind = kind.int()?,
                (3, _) => tensor.segment = true,
                (4, floats) => floats.floats(&mut tensor.floats)?,
                // int32_data, int64_data, uint64_data
                (5 | 7 | 11, ints) => ints.ints(&mut tensor.ints)?,
                (8, name) => tensor.name = name.text()?,
                (9, raw) => tensor.raw = Some(raw.bytes()?),
                (10, doubles) => doubles.doubles(&mut tensor.doubles)?,
                (13, entry) => tensor.external.push(entry_of(entry)?),
                (14, place) => tensor.is_external = place.int()? == 1,
                _ => {}
            }
        }
        Ok(tensor)
    }
}

/// `StringStringEntryProto`.
fn entry_of<'a>(message: Wire<'a>) -> Result<(&'a str, &'a str), String> {
    let mut entry = ("", "");
    for field in Fields::of(message.bytes()?) {
        match field? {
            (1, key) => entry.0 = key.text()?,
            (2, value) => entry.1 = value.text()?,
            _ => {}
        }
    }
    Ok(entry)
}
