//! From the bytes of a file to the graph: names resolved, node by node.

use super::builder::Builder;
use super::call::Call;
use super::external::whole;
use super::operators;
use super::proto::{self, Kind, Model};
use super::tensor::{Room, Tensor, count};
use super::value::{Batch, Data, Value};
use crate::kernel::graph::{Graph, Op};
use crate::size;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;

/// A network from an ONNX file.
#[derive(Debug)]
pub struct Imported {
    /// The network.
    pub graph: Graph<f32>,
    /// Outputs of nodes by the file's names: values of the graph that its logits depend on, in the order of computation.
    pub names: Vec<(String, usize)>,
    /// What the user is to know, a line each.
    pub notes: Vec<String>,
}

/// Versions of ONNX's operators that are read. Exporters of the last years write 11 to 21; ONNX's own tests are of 6 to 28.
pub const OPSETS: RangeInclusive<i64> = 6..=28;

/// Reads a classifier: images N×channels×height×width (or channels last) of three channels or one, logits N×classes. External
/// data may lie in `folder`. Where the file leaves the size open, it is `size`. Of a grey image the first channel counts.
///
/// # Errors
/// What the file has that there is no operation for, by its node and operator, and what would do; what is damaged.
pub fn import(
    bytes: &[u8],
    folder: Option<&Path>,
    size: Option<[usize; 2]>,
    mean: [f64; 3],
    std: [f64; 3],
) -> Result<Imported, String> {
    let bytes = whole(bytes, folder)?;
    let file = File::parse(&bytes)?;
    let layout = Layout::of(file.input(), size)?;
    let mut graph = Graph::new(layout.size, mean, std);
    let image = layout.image(&mut graph)?;
    let output = file.network(graph, layout.images, image, true)?;
    output.check_logits()?;
    output.finished()
}

/// Height and width of the images that a file takes; `None`: it leaves them open.
///
/// # Errors
/// No ONNX model, or one that takes no images.
pub fn image_size(bytes: &[u8]) -> Result<Option<[usize; 2]>, String> {
    let file = File::parse(bytes)?;
    match Layout::of(file.input(), None) {
        Ok(layout) => Ok(Some(layout.size)),
        // of any size they are taken
        Err(problem) => Layout::of(file.input(), Some([1; 2])).map(|_| None).map_err(|_| problem),
    }
}

/// Reads a network on any numbers, for tests of single operators: the image 3×1×width holds its input row by row, and its
/// output is taken row by row. The first axis is that of a batch where `is_batch`, and every other shape is the file's.
///
/// # Errors
/// See [`import`].
pub fn import_numbers(bytes: &[u8], is_batch: bool) -> Result<Imported, String> {
    let file = File::parse(bytes)?;
    let dims = file.input().dims.as_ref().and_then(|dims| dims.iter().map(|d| usize::try_from((*d)?).ok()).collect());
    let mut dims: Vec<usize> = dims.ok_or("an input of open size")?;
    let mut images = 1;
    if let (Some(first), true) = (dims.first_mut(), is_batch) {
        images = std::mem::replace(first, 1);
    }
    let n = count(&dims)?;
    let mut graph = Graph::new([1, n.div_ceil(3).max(1)], [0.0; 3], [1.0; 3]);
    let id = graph.push(Op::Reshape { shape: vec![3 * n.div_ceil(3)] }, &[0])?;
    let id = graph.push(Op::Slice { axis: 0, start: 0, end: n, step: 1 }, &[id])?;
    let batch = (images > 1).then_some(Batch { axis: 0, outer: 1 });
    let output = file.network(graph, Some(images), Value::made(dims, batch, id), false)?;
    if output.value.batch != batch {
        return Err("its output does not begin with the batch".into());
    }
    output.finished()
}

/// A file before its nodes are read.
struct File<'a> {
    graph: proto::Graph<'a>,
    /// Which of the graph's inputs is no weight.
    input: usize,
    opset: i64,
    room: Room,
}

impl<'a> File<'a> {
    fn parse(bytes: &'a [u8]) -> Result<File<'a>, String> {
        let model =
            Model::parse(bytes).map_err(|problem| format!("the file is no ONNX model, or damaged: {problem}"))?;
        let own = model.opsets.iter().find(|(domain, _)| ["", "ai.onnx"].contains(domain));
        let opset = own.map_or(1, |(_, version)| *version);
        if !OPSETS.contains(&opset) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(format!(
                "version {opset} of ONNX's operators, of which {first} to {last} are read (hint: `opset_version=18` when \
                 exporting, or `onnx.version_converter.convert_version`)"
            ));
        }
        let graph = model.graph.ok_or("the file has no network")?;
        if graph.sparse {
            return Err("sparse weights are not read (hint: save them in full)".into());
        }
        let is_weight = |place: &proto::Place| graph.initializers.iter().any(|t| t.name == place.name);
        let inputs: Vec<usize> = (0..graph.inputs.len()).filter(|i| !is_weight(&graph.inputs[*i])).collect();
        let [input] = inputs.as_slice() else {
            let names: Vec<&str> = inputs.iter().map(|i| graph.inputs[*i].name).collect();
            return Err(format!("inputs {names:?}: a classifier has one, its images"));
        };
        let (input, room) = (*input, Room::for_bytes(bytes.len()));
        Ok(File { graph, input, opset, room })
    }

    fn input(&self) -> &proto::Place<'a> {
        &self.graph.inputs[self.input]
    }

    /// Reads every node, with batches of so many images (`None`: of any number), and the image as a value. Logits may be
    /// less one number an image.
    fn network(
        self,
        graph: Graph<f32>,
        images: Option<usize>,
        image: Value,
        are_logits: bool,
    ) -> Result<Output, String> {
        let output = self.graph.outputs.first().ok_or("the network has no output")?;
        let mut builder = Builder::new(graph, images, self.room);
        let mut values = Values::of(&self.graph)?;
        values.give(self.graph.inputs[self.input].name, image)?;
        if let Some(other) = self.graph.outputs.get(1) {
            builder.note(format!("of several outputs the first is taken, `{}`, not `{}`", output.name, other.name));
        }
        let mut names = Vec::new();
        for node in &self.graph.nodes {
            let name = if node.name.is_empty() { node.outputs.first().unwrap_or(&"") } else { &node.name };
            let problem = |problem: String| format!("node `{name}` ({}): {problem}", node.operator);
            let inputs =
                node.inputs.iter().map(|input| values.take(input, &mut builder)).collect::<Result<Vec<_>, _>>();
            let is_last =
                are_logits && node.outputs.first() == Some(&output.name) && !values.is_wanted_again(output.name);
            let inputs = inputs.map_err(problem)?;
            let (is_constant, first) = (inputs.iter().flatten().all(Value::is_known), builder.graph.nodes().len());
            let mut call = Call::new(node, self.opset, is_last, inputs);
            let mut made = operators::run(&mut builder, &mut call).map_err(problem)?;
            if is_constant {
                let computed = made.into_iter().map(|value| builder.computed(value, first));
                made = computed.collect::<Result<_, _>>().map_err(problem)?;
            }
            if let Some(attribute) = call.unknown_attribute() {
                return Err(problem(format!("attribute `{attribute}` is not understood")));
            }
            for (i, output) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                match made.get(i) {
                    Some(value) => {
                        if let Data::Made(id) = value.data {
                            names.push((output.to_string(), id));
                        }
                        values.give(output, value.clone()).map_err(problem)?;
                    }
                    None if !values.is_wanted(output) => {}
                    None => return Err(problem(format!("its output {i} is read and not computed"))),
                }
            }
        }
        let value = values.take(output.name, &mut builder)?.ok_or("the output has no name")?;
        Ok(Output { builder, value, names, name: output.name.into() })
    }
}

/// Values that are given, by name, as long as something is to read them.
struct Values<'a> {
    given: HashMap<&'a str, Value>,
    weights: HashMap<&'a str, &'a proto::Tensor<'a>>,
    /// How often each is still to be read.
    readers: HashMap<&'a str, usize>,
}

impl<'a> Values<'a> {
    fn of(graph: &'a proto::Graph<'a>) -> Result<Values<'a>, String> {
        let (mut weights, mut readers) = (HashMap::new(), HashMap::new());
        for tensor in &graph.initializers {
            if weights.insert(tensor.name, tensor).is_some() {
                return Err(format!("two weights of the name `{}`", tensor.name));
            }
        }
        let outputs = graph.outputs.iter().take(1).map(|output| &output.name);
        for name in graph.nodes.iter().flat_map(|node| &node.inputs).chain(outputs) {
            *readers.entry(*name).or_insert(0) += 1;
        }
        Ok(Values { given: HashMap::new(), weights, readers })
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.readers.get(name).is_some_and(|n| *n > 0)
    }

    fn is_wanted_again(&self, name: &str) -> bool {
        self.readers.get(name).is_some_and(|n| *n > 1)
    }

    /// Gives a value its name.
    fn give(&mut self, name: &'a str, value: Value) -> Result<(), String> {
        if self.weights.contains_key(name) {
            return Err(format!("two values of the name `{name}`"));
        }
        if self.is_wanted(name) && self.given.insert(name, value).is_some() {
            return Err(format!("two values of the name `{name}`"));
        }
        Ok(())
    }

    /// A value by its name, for the last time where nothing else reads it; `None`: it is left out.
    fn take(&mut self, name: &'a str, builder: &mut Builder) -> Result<Option<Value>, String> {
        if name.is_empty() {
            return Ok(None);
        }
        let readers = self.readers.get_mut(name).ok_or_else(|| format!("`{name}` is read, and nothing gives it"))?;
        *readers -= 1;
        let is_last = *readers == 0;
        if let Some(value) = self.given.get(name) {
            let value = value.clone();
            if is_last {
                self.given.remove(name);
            }
            return Ok(Some(value));
        }
        let Some(tensor) = self.weights.get(name) else {
            return Err(format!("it reads `{name}`, which nothing before it gives"));
        };
        let of_tensor = |problem: String| format!("`{name}`: {problem}");
        let read = Tensor::read(tensor).map_err(of_tensor)?;
        builder.room.take(read.room()).map_err(of_tensor)?;
        if Kind::of(tensor.kind).is_ok_and(|kind| kind.is_float() && kind != Kind::F32) {
            builder.note("weights of another precision are computed as f32".into());
        }
        let value = Value::known(read);
        if !is_last {
            self.given.insert(name, value.clone());
        }
        Ok(Some(value))
    }
}

/// How the file's input holds images.
struct Layout {
    images: Option<usize>,
    channels: usize,
    channels_last: bool,
    size: [usize; 2],
}

impl Layout {
    fn of(input: &proto::Place, size: Option<[usize; 2]>) -> Result<Layout, String> {
        let problem = |what: String| format!("input `{}`: {what}", input.name);
        match Kind::of(input.kind) {
            Ok(kind) if kind.is_float() => {}
            _ => {
                return Err(problem(
                    "images are floats from 0 to 1 here (hint: export a network that takes floats)".into(),
                ));
            }
        }
        let Some([n, c, h, w]) = input.dims.as_ref().and_then(|dims| <[Option<i64>; 4]>::try_from(dims.clone()).ok())
        else {
            return Err(problem(format!("shape {:?}: images are N×channels×height×width", input.dims)));
        };
        let is_image = |channels: Option<i64>| [Some(1), Some(3)].contains(&channels);
        let channels_last = !is_image(c) && is_image(w);
        let (c, sides) = if channels_last { (w, [c, h]) } else { (c, [h, w]) };
        let channels = match c {
            None => 3,
            Some(1) => 1,
            Some(3) => 3,
            Some(other) => return Err(problem(format!("{other} channels: an image has 3, or 1 where it is grey"))),
        };
        let sides = sides.map(|side| side.and_then(|s| usize::try_from(s).ok()).filter(|s| *s > 0));
        let size = sized(sides, size).map_err(problem)?;
        let images = n.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        if images.is_some_and(|n| n > MOST_IMAGES) {
            return Err(problem(format!("batches of {images:?}")));
        }
        Ok(Layout { images, channels, channels_last, size })
    }

    /// The image as the file's input.
    fn image(&self, graph: &mut Graph<f32>) -> Result<Value, String> {
        let (mut id, [height, width]) = (0, self.size);
        if self.channels == 1 {
            id = graph.push(Op::Slice { axis: 0, start: 0, end: 1, step: 1 }, &[id])?;
        }
        let mut dims = vec![1, self.channels, height, width];
        if self.channels_last {
            id = graph.push(Op::Transpose { axes: vec![1, 2, 0] }, &[id])?;
            dims = vec![1, height, width, self.channels];
        }
        let batch = (self.images != Some(1)).then_some(Batch { axis: 0, outer: 1 });
        Ok(Value::made(dims, batch, id))
    }
}

/// Height and width of images, from the file where it says them, else as wanted.
fn sized(own: [Option<usize>; 2], wanted: Option<[usize; 2]>) -> Result<[usize; 2], String> {
    let own = match (own, wanted) {
        ([Some(h), Some(w)], _) => [h, w],
        ([h, w], Some(wanted)) => [h.unwrap_or(wanted[0]), w.unwrap_or(wanted[1])],
        _ => return Err("its height and width are open (hint: `side` or `size` in the model file)".into()),
    };
    let [h, w] = own;
    match wanted {
        Some(wanted) if wanted != own => {
            let line = if h == w { format!("side = {h}") } else { format!("size = [{h}, {w}]") };
            let [own, wanted] = [own, wanted].map(size::in_words);
            Err(format!("images of {own}, not of {wanted} (hint: `{line}` in the model file)"))
        }
        _ if h.max(w) > MOST_SIDE => Err(format!("images of more than {MOST_SIDE} pixels a side")),
        _ => Ok(own),
    }
}

/// What a network gives.
struct Output {
    builder: Builder,
    value: Value,
    names: Vec<(String, usize)>,
    name: String,
}

impl Output {
    fn problem(&self, what: &str) -> String {
        format!("output `{}`: {what}", self.name)
    }

    /// Refuses what is not classes along one axis, and images along another.
    fn check_logits(&self) -> Result<(), String> {
        let dims = &self.value.dims;
        let apart = self.value.batch.is_none_or(|b| dims[b.axis] == 1);
        match apart && dims.iter().filter(|size| **size > 1).count() <= 1 {
            true => Ok(()),
            false => {
                let dims = self.builder.true_dims(&self.value);
                Err(self.problem(&format!("shape {dims:?}: logits are images × classes")))
            }
        }
    }

    /// The graph whose last value it is.
    fn finished(mut self) -> Result<Imported, String> {
        if self.value.is_known() {
            return Err(self.problem("it does not depend on the image"));
        }
        let shape = [count(&self.value.dims)?];
        let id = self.builder.made(&self.value, &shape).map_err(|problem| self.problem(&problem))?;
        let Builder { mut graph, mut notes, .. } = self.builder;
        let logits = before_softmax(&graph, id);
        if logits != id {
            notes.push(
                "the network ends in Softmax, which is left out: what is attacked are the logits before it, whose predictions \
                 and probabilities are those of the file"
                    .into(),
            );
        } else if is_behind_softmax(&graph, id) {
            notes.push(
                "what the network gives is computed from a softmax over all classes: it is attacked as it is, and its \
                 gradients vanish where it is sure (hint: export it up to its logits)"
                    .into(),
            );
        }
        if logits != graph.nodes().len() {
            // what comes behind it is not wanted
            graph.push(Op::Reshape { shape: shape.to_vec() }, &[logits])?;
        }
        let needed = needed(&graph);
        let names = self.names.into_iter().filter(|(_, id)| needed[*id]).collect();
        Ok(Imported { graph, names, notes })
    }
}

/// The value whose softmax over all classes this one is; else this one. Probabilities are no logits: the gradient vanishes where
/// the network is sure, and their own softmax says less than they do.
fn before_softmax(graph: &Graph<f32>, value: usize) -> usize {
    let mut last = value;
    while let Some(node) = last.checked_sub(1).map(|i| &graph.nodes()[i]) {
        match node.op {
            Op::Reshape { .. } => last = node.inputs[0],
            Op::Softmax { axis } => {
                let shape = graph.shape(last);
                let is_over_all = shape[axis] == shape.iter().product::<usize>();
                return if is_over_all { node.inputs[0] } else { value };
            }
            _ => break,
        }
    }
    value
}

/// Whether this value is made of a softmax over all its numbers, one by one or scaled.
fn is_behind_softmax(graph: &Graph<f32>, value: usize) -> bool {
    let all: usize = graph.shape(value).iter().product();
    let mut last = value;
    while let Some(node) = last.checked_sub(1).map(|i| &graph.nodes()[i]) {
        match node.op {
            Op::Softmax { axis } => return graph.shape(last)[axis] == all,
            // of two, the one that depends on the image
            Op::Reshape { .. } | Op::Activate(_) | Op::Scale { .. } => last = node.inputs[0],
            Op::Add | Op::Mul => {
                let is_constant = |v: &usize| *v > 0 && matches!(graph.nodes()[v - 1].op, Op::Constant { .. });
                match node.inputs.iter().find(|v| !is_constant(v)) {
                    Some(other) if node.inputs.iter().any(is_constant) => last = *other,
                    _ => return false,
                }
            }
            _ => return false,
        }
    }
    false
}

/// Which values the last one depends on.
fn needed(graph: &Graph<f32>) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len() + 1];
    *needed.last_mut().expect("the image at least") = true;
    for (i, node) in graph.nodes().iter().enumerate().rev() {
        if needed[i + 1] {
            node.inputs.iter().for_each(|x| needed[*x] = true);
        }
    }
    needed
}

/// A larger side is a slip of the pen, as in a model file.
const MOST_SIDE: usize = 4096;

/// A file for larger batches is a slip, too.
const MOST_IMAGES: usize = 1 << 16;
