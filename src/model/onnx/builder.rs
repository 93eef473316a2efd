//! What every operator is made of: values moved, cut, joined and repeated, whether their numbers are known or computed.
//!
//! ONNX's shapes begin with the batch, the graph's do not. Values keep ONNX's shape for a batch of one image ([`Value::dims`]),
//! and where the images of a larger batch would be ([`Value::batch`]); the graph has the same numbers in the same order,
//! mostly without the leading 1 ([`plain`]).

use super::fuse::{Fused, fused};
use super::shape::{self, broadcast};
use super::tensor::{Numbers, Room, Tensor, count, strides};
use super::value::{Batch, Data, Value};
use crate::kernel::graph::{Graph, Op};
use std::collections::HashMap;

/// The graph of a file while it is read.
pub struct Builder {
    /// What is made so far.
    pub graph: Graph<f32>,
    /// For what is still to be made.
    pub room: Room,
    /// What is known of a value of the graph that some pattern may want.
    pub facts: HashMap<usize, Fact>,
    /// What the user is to know.
    pub notes: Vec<String>,
    images: usize,
    reshaped: HashMap<(usize, Vec<usize>), usize>,
}

/// How a value came to be.
#[derive(Debug, Clone)]
pub enum Fact {
    /// Mean along an axis, which has size 1 then.
    Mean(Value, usize),
    /// A value less its mean along an axis.
    Centred(Value, usize),
    /// x².
    Square(Value),
    /// Mean of x² along an axis, which has size 1 then, and what is added to it.
    MeanSquare(Value, usize, f64),
}

/// Stands for "any number of images" in the arithmetic of shapes: a prime that no other size is a multiple of.
const ANY_BATCH: usize = 1_000_003;

/// Parts that one operator may cut a value into.
const MOST_PARTS: usize = 4096;

impl Builder {
    /// On a graph that holds nothing but the image, with batches of so many images; `None`: of as many as one likes.
    pub fn new(graph: Graph<f32>, images: Option<usize>, room: Room) -> Builder {
        let images = images.unwrap_or(ANY_BATCH);
        let (facts, reshaped) = (HashMap::new(), HashMap::new());
        Builder { graph, room, facts, notes: Vec::new(), images, reshaped }
    }

    /// Images of a batch, as they are counted in shapes; 1: nothing tells where they are, and nothing needs to.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Whether a size of a shape counts the images of a batch.
    pub fn counts_images(&self, size: usize) -> bool {
        self.images == ANY_BATCH && size > 0 && size.is_multiple_of(ANY_BATCH)
    }

    /// Adds an operation to the graph, or what is the same with fewer ([`fuse`]).
    pub fn push(&mut self, op: Op<f32>, inputs: &[usize]) -> Result<usize, String> {
        let (op, inputs, scale) = match fused(&self.graph, &op, inputs) {
            Some(Fused::Value(value)) => return Ok(value),
            Some(Fused::Op(op, inputs, scale)) => (op, inputs, scale),
            None => (op, inputs.to_vec(), None),
        };
        // a node and its shape take a few hundred bytes, and a norm that takes in a scale its numbers
        let numbers = match &op {
            Op::Scale { factor, .. } | Op::LayerNorm { factor, .. } => 4 * factor.len(),
            _ => 0,
        };
        self.room.take(64 + inputs.len() + numbers)?;
        let made = self.graph.push(op, &inputs)?;
        match scale {
            Some(by) if by != 1.0 => self.push(Op::Scale { axis: 0, factor: vec![by], shift: vec![0.0] }, &[made]),
            _ => Ok(made),
        }
    }

    /// Says something once.
    pub fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The shape that a value has in ONNX for a whole batch.
    pub fn true_dims(&self, value: &Value) -> Vec<usize> {
        let mut dims = value.dims.clone();
        if let Some(batch) = value.batch {
            dims[batch.axis] *= self.images;
        }
        dims
    }

    /// A value in another shape of ONNX's, for a whole batch.
    pub fn reshape(&self, value: &Value, to: Vec<usize>) -> Result<Value, String> {
        let problem = || format!("a value of shape {:?} as {to:?}", self.true_dims(value));
        if count(&to)? != count(&self.true_dims(value))? {
            return Err(problem());
        }
        let Some(batch) = value.batch else { return Ok(value.relabelled(to, None)) };
        // the images stay where they are row by row: so much lies around them
        let around = count(&value.dims[..batch.axis])? * batch.outer;
        let mut before = 1;
        for (axis, size) in to.iter().enumerate() {
            let outer = around.checked_div(before).unwrap_or(0);
            if outer * before == around && size % self.images == 0 && (size / self.images).checked_rem(outer) == Some(0)
            {
                let mut dims = to.clone();
                dims[axis] /= self.images;
                return Ok(value.relabelled(dims, Some(Batch { axis, outer })));
            }
            before *= size;
        }
        Err(format!("{}: it tears apart or mixes the images of a batch", problem()))
    }

    /// A value in another shape, for one image, where the images of a batch keep their axis.
    fn relabelled(value: &Value, dims: Vec<usize>, shift: isize) -> Value {
        let moved = |b: Batch| Batch { axis: (b.axis as isize + shift) as usize, ..b };
        value.relabelled(dims, value.batch.map(moved))
    }

    /// The value of the graph with a value's numbers, in a given shape of the graph.
    pub fn made(&mut self, value: &Value, shape: &[usize]) -> Result<usize, String> {
        let id = match &value.data {
            Data::Made(id) => *id,
            Data::Known(_) => {
                let values = value.tensor().expect("known").into_floats(&mut self.room)?;
                return self.push(Op::Constant { shape: shape.to_vec(), values }, &[]);
            }
            Data::Root(_) => {
                return Err("a square root, which is understood only where the value that it is of is divided by it \
                            (as layer norms do)"
                    .into());
            }
        };
        if self.graph.shape(id) == shape {
            return Ok(id);
        }
        if let Some(same) = self.reshaped.get(&(id, shape.to_vec())) {
            return Ok(*same);
        }
        let made = self.push(Op::Reshape { shape: shape.to_vec() }, &[id])?;
        self.reshaped.insert((id, shape.to_vec()), made);
        // and back again without another
        let before = self.graph.shape(id).to_vec();
        self.reshaped.insert((made, before), id);
        Ok(made)
    }

    /// The value of the graph with a value's numbers, in whatever shape it has.
    pub fn any(&mut self, value: &Value) -> Result<usize, String> {
        match value.data {
            Data::Made(id) => Ok(id),
            _ => self.made(value, plain(&value.dims)),
        }
    }

    /// The value of the graph where one of the value's axes is an axis, and which.
    pub fn along(&mut self, value: &Value, axis: usize) -> Result<(usize, usize), String> {
        let stripped = plain(&value.dims).len() < value.dims.len();
        match stripped && axis > 0 {
            true => Ok((self.made(value, plain(&value.dims))?, axis - 1)),
            false => Ok((self.made(value, &value.dims)?, axis)),
        }
    }

    /// Channels, height and width of maps, and the value of the graph.
    pub fn map(&mut self, value: &Value) -> Result<(usize, [usize; 3]), String> {
        match *value.dims.as_slice() {
            [1, c, h, w] if value.batch.is_none_or(|b| b.axis == 0) => Ok((self.made(value, &[c, h, w])?, [c, h, w])),
            _ => Err(format!(
                "it reads a value of shape {:?}; here it is computed for images × channels × height × width",
                value.dims
            )),
        }
    }

    /// An operation that works number by number on a value of the graph.
    pub fn each(&mut self, op: Op<f32>, value: &Value) -> Result<Value, String> {
        let id = self.any(value)?;
        let id = self.push(op, &[id])?;
        Ok(Value::made(value.dims.clone(), value.batch, id))
    }

    /// factor·x + shift along an axis of a value, or one factor and shift for all.
    pub fn scaled(&mut self, value: &Value, axis: usize, factor: Vec<f64>, shift: Vec<f64>) -> Result<Value, String> {
        let (id, axis) = match factor.len() == 1 {
            true => (self.any(value)?, 0),
            false => self.along(value, axis)?,
        };
        let id = match self.graph.shape(id).is_empty() {
            true => self.made(value, &[1])?,
            false => id,
        };
        let id = self.push(Op::Scale { axis, factor, shift }, &[id])?;
        Ok(Value::made(value.dims.clone(), value.batch, id))
    }

    /// Axis i of the result is axis `order[i]` of the value.
    pub fn transposed(&mut self, value: &Value, order: &[usize]) -> Result<Value, String> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if sorted != (0..value.dims.len()).collect::<Vec<_>>() {
            return Err(format!("axes {order:?} of a value of shape {:?}", value.dims));
        }
        let dims: Vec<usize> = order.iter().map(|axis| value.dims[*axis]).collect();
        let place = |axis: usize| order.iter().position(|from| *from == axis).expect("a permutation");
        let batch = value.batch.map(|b| Batch { axis: place(b.axis), ..b });
        if let Some(tensor) = value.tensor() {
            let from = strides(&value.dims);
            let strides: Vec<isize> = order.iter().map(|axis| from[*axis]).collect();
            let moved = tensor.strided(0, &dims, &strides, &mut self.room)?;
            return Ok(Value { batch, ..Value::known(moved) });
        }
        // axes of size 1 move without a number moving
        let long: Vec<usize> = (0..value.dims.len()).filter(|axis| value.dims[*axis] > 1).collect();
        let axes: Vec<usize> = order.iter().filter_map(|axis| long.iter().position(|l| l == axis)).collect();
        if axes.is_sorted() {
            return Ok(value.relabelled(dims, batch));
        }
        let shape: Vec<usize> = long.iter().map(|axis| value.dims[*axis]).collect();
        let id = self.made(value, &shape)?;
        let id = self.push(Op::Transpose { axes }, &[id])?;
        Ok(Value::made(dims, batch, id))
    }

    /// So many indices of an axis: every `step`th from `start` on.
    pub fn part(&mut self, value: &Value, axis: usize, start: usize, step: isize, n: usize) -> Result<Value, String> {
        if (start, n) == (0, value.dims[axis]) && (step == 1 || n == 1) {
            return Ok(value.clone());
        }
        if value.batch.is_some_and(|b| b.axis == axis) {
            return Err("it takes some of the images of a batch, or parts of each".into());
        }
        let mut dims = value.dims.clone();
        dims[axis] = n;
        if let Some(tensor) = value.tensor() {
            let mut strides = strides(&value.dims);
            let first = start * strides[axis] as usize;
            strides[axis] *= step;
            let part = tensor.strided(first, &dims, &strides, &mut self.room)?;
            return Ok(Value { batch: value.batch, ..Value::known(part) });
        }
        if n == 0 {
            return Err(format!("nothing is left of a value of shape {:?}", value.dims));
        }
        if step < 1 && n > 1 {
            let indices: Vec<usize> = (0..n).map(|i| (start as isize + i as isize * step) as usize).collect();
            return self.picked(value, axis, &indices);
        }
        let (id, at) = self.along(value, axis)?;
        let step = step.max(1) as usize;
        let id = self.push(Op::Slice { axis: at, start, end: start + (n - 1) * step + 1, step }, &[id])?;
        Ok(Value::made(dims, value.batch, id))
    }

    /// These indices of an axis, one after the other.
    pub fn picked(&mut self, value: &Value, axis: usize, indices: &[usize]) -> Result<Value, String> {
        if let Some(i) = indices.iter().find(|i| **i >= value.dims[axis]) {
            return Err(format!("index {i} of axis {axis} of a value of shape {:?}", value.dims));
        }
        let (first, second) = (indices.first().copied().unwrap_or(0), indices.get(1).copied());
        let step = second.map_or(1, |second| second as isize - first as isize);
        let even = indices.windows(2).all(|pair| pair[1] as isize - pair[0] as isize == step);
        if even && (step > 0 || indices.len() < 2) {
            return self.part(value, axis, first, step, indices.len());
        }
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for index in indices {
            match runs.last_mut() {
                Some((start, n)) if *start + *n == *index => *n += 1,
                _ => runs.push((*index, 1)),
            }
        }
        if runs.len() > MOST_PARTS {
            return Err(format!("indices in {} parts", runs.len()));
        }
        let parts: Result<Vec<Value>, String> =
            runs.iter().map(|(start, n)| self.part(value, axis, *start, 1, *n)).collect();
        self.joined(parts?, axis)
    }

    /// Values one after the other along an axis.
    pub fn joined(&mut self, values: Vec<Value>, axis: usize) -> Result<Value, String> {
        let rank = values[0].dims.len();
        if let Some(other) = values.iter().find(|v| v.dims.len() != rank) {
            return Err(format!("values of shapes {:?} and {:?}", values[0].dims, other.dims));
        }
        if values.len() == 1 {
            return Ok(values.into_iter().next().expect("one"));
        }
        let (values, batch) = self.aligned(values)?;
        if batch.is_some_and(|b| b.axis == axis) {
            return Err("it joins values along the axis of the images of a batch".into());
        }
        let mut dims = values[0].dims.clone();
        let same = |v: &Value| (0..rank).all(|i| i == axis || v.dims[i] == dims[i]);
        if let Some(other) = values.iter().find(|v| !same(v)) {
            return Err(format!("values of shapes {dims:?} and {:?} along axis {axis}", other.dims));
        }
        dims[axis] = values.iter().map(|v| v.dims[axis]).sum();
        if values.iter().all(Value::is_known) {
            let tensors: Vec<Tensor> = values.iter().filter_map(Value::tensor).collect();
            return Ok(Value { batch, ..Value::known(self.joined_numbers(&tensors, dims, axis)?) });
        }
        let mut ids = Vec::with_capacity(values.len());
        let mut at = axis;
        for value in values.iter().filter(|v| v.dims[axis] > 0) {
            let id;
            (id, at) = self.along(value, axis)?;
            ids.push(id);
        }
        let id = self.push(Op::Concat { axis: at }, &ids)?;
        Ok(Value::made(dims, batch, id))
    }

    fn joined_numbers(&mut self, tensors: &[Tensor], dims: Vec<usize>, axis: usize) -> Result<Tensor, String> {
        let n = count(&dims)?;
        self.room.take(2 * n)?;
        let rows: usize = dims[..axis].iter().product();
        let parts = || (0..rows).flat_map(|r| tensors.iter().map(move |t| (t, r)));
        if tensors.iter().any(Tensor::is_float) {
            let mut numbers = Vec::with_capacity(n);
            for (t, r) in parts() {
                let row: usize = t.dims[axis..].iter().product();
                match &t.numbers {
                    Numbers::Float(all) if t.kept() > 1 => numbers.extend_from_slice(&all[r * row..(r + 1) * row]),
                    _ => numbers.extend((r * row..(r + 1) * row).map(|i| t.at(i) as f32)),
                }
            }
            return Ok(Tensor::floats(dims, numbers));
        }
        let mut numbers = Vec::with_capacity(n);
        for (t, r) in parts() {
            let row: usize = t.dims[axis..].iter().product();
            let Numbers::Int(all) = &t.numbers else { unreachable!("whole numbers alone") };
            match all.as_slice() {
                [one] => numbers.extend(std::iter::repeat_n(*one, row)),
                all => numbers.extend_from_slice(&all[r * row..(r + 1) * row]),
            }
        }
        Ok(Tensor::ints(dims, numbers))
    }

    /// A value repeated along axes of size 1, so that it gets the shape `dims` for one image, which has as many axes or more.
    pub fn expanded(&mut self, value: &Value, dims: &[usize]) -> Result<Value, String> {
        let more = dims.len().checked_sub(value.dims.len()).ok_or("fewer axes than it has")?;
        let from = [&vec![1; more], value.dims.as_slice()].concat();
        let fits = from.iter().zip(dims).all(|(from, to)| from == to || *from == 1);
        if !fits {
            return Err(format!("a value of shape {:?} as {dims:?}", value.dims));
        }
        let mut result = Builder::relabelled(value, from.clone(), more as isize);
        if let Some(tensor) = result.tensor() {
            let mut strides = strides(&from);
            (0..dims.len()).filter(|i| from[*i] != dims[*i]).for_each(|i| strides[i] = 0);
            let repeated = tensor.strided(0, dims, &strides, &mut self.room)?;
            return Ok(Value { batch: result.batch, ..Value::known(repeated) });
        }
        for axis in (0..dims.len()).filter(|axis| from[*axis] != dims[*axis]) {
            if !(1..=MOST_PARTS).contains(&dims[axis]) {
                return Err(format!("{} copies of a value", dims[axis]));
            }
            if result.batch.is_some_and(|b| b.axis == axis) {
                return Err("it repeats the images of a batch".into());
            }
            result = self.joined(vec![result; dims[axis]], axis)?;
        }
        Ok(result)
    }

    /// Values that are broadcast to each other, and where the images of a batch are in the result.
    pub fn aligned(&self, mut values: Vec<Value>) -> Result<(Vec<Value>, Option<Batch>), String> {
        let rank = values.iter().map(|v| v.dims.len()).max().unwrap_or(0);
        let of = |v: &Value| v.batch.map(|b| (Batch { axis: b.axis + rank - v.dims.len(), ..b }, v.dims[b.axis]));
        let mut marks = values.iter().filter_map(of);
        let Some((batch, size)) = marks.next() else { return Ok((values, None)) };
        if marks.any(|other| other != (batch, size)) {
            return Err("it meets images of a batch along one axis with those along another".into());
        }
        for value in values.iter_mut().filter(|v| v.batch.is_none()) {
            let Some(axis) = (batch.axis + value.dims.len()).checked_sub(rank) else { continue };
            if value.dims[axis] != 1 {
                *value = self.uniform(value, axis, size)?;
            }
        }
        Ok((values, Some(batch)))
    }

    /// Known numbers that repeat for every image of a batch, once.
    fn uniform(&self, value: &Value, axis: usize, size: usize) -> Result<Value, String> {
        let problem = || format!("a constant of shape {:?} differs from image to image of a batch", value.dims);
        let tensor = value.tensor().filter(|t| size == 1 && t.dims[axis] == self.images).ok_or_else(problem)?;
        let mut dims = value.dims.clone();
        dims[axis] = 1;
        let inner: usize = dims[axis + 1..].iter().product();
        let first = |i: usize| i / (inner * self.images) * inner * self.images + i % inner;
        if tensor.kept() > 1 && (0..tensor.count()).any(|i| tensor.at(i) != tensor.at(first(i))) {
            return Err(problem());
        }
        let mut all = Room::for_bytes(usize::MAX);
        Ok(Value::known(tensor.strided(0, &dims, &strides(&value.dims), &mut all)?))
    }

    /// The shape of values broadcast to each other, for one image.
    pub fn broadcast(values: &[Value]) -> Result<Vec<usize>, String> {
        values.iter().try_fold(Vec::new(), |all, v| broadcast(&all, &v.dims))
    }

    /// A value without axes of size 1, or with more of them: `axes` of the longer shape.
    pub fn with_axes(&self, value: &Value, axes: &[i64]) -> Result<Value, String> {
        let rank = value.dims.len() + axes.len();
        let axes = shape::axes(axes, rank)?;
        let mut from = value.dims.iter().zip(0..);
        let (mut dims, mut batch) = (Vec::with_capacity(rank), None);
        for axis in 0..rank {
            if axes.contains(&axis) {
                dims.push(1);
                continue;
            }
            let (size, old) = from.next().expect("as many as there are");
            if let Some(b) = value.batch.filter(|b| b.axis == old) {
                batch = Some(Batch { axis, ..b });
            }
            dims.push(*size);
        }
        Ok(value.relabelled(dims, batch))
    }

    /// A value without these axes, which have size 1.
    pub fn without_axes(&self, value: &Value, axes: &[usize]) -> Result<Value, String> {
        let all = self.true_dims(value);
        if let Some(axis) = axes.iter().find(|axis| all[**axis] != 1) {
            return Err(format!("axis {axis} of a value of shape {:?} has not size 1", value.dims));
        }
        let dims = (0..all.len()).filter(|i| !axes.contains(i)).map(|i| value.dims[i]).collect();
        let before = |axis: usize| axes.iter().filter(|a| **a < axis).count();
        let batch = value.batch.map(|b| Batch { axis: b.axis - before(b.axis), ..b });
        Ok(value.relabelled(dims, batch))
    }

    /// Refuses an axis along which the images of a batch are: `what` would mix them.
    pub fn keeps_images_apart(value: &Value, axis: usize, what: &str) -> Result<(), String> {
        match value.batch.is_some_and(|b| b.axis == axis) {
            true => Err(format!("{what} along axis {axis}, where the images of a batch are, would mix them")),
            false => Ok(()),
        }
    }
}

/// A shape without the leading 1 that stands for the batch.
pub fn plain(dims: &[usize]) -> &[usize] {
    match dims {
        [1, rest @ ..] if !rest.is_empty() => rest,
        _ => dims,
    }
}
