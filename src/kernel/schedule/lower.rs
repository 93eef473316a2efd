//! Operations of a graph to tasks: what is read from where, and what follows a convolution or product at once.

use super::contract::{At, View};
use super::layout::Layout;
use super::tape::{Back, Base, Tape};
use super::{Conv, Finish, Form, Geometry, Room, Schedule, Slot, Task, leaves_bits, weights};
use crate::error::Result;
use crate::kernel::graph::{Activation, Graph, Node, Op, Window};
use std::collections::HashMap;
use std::mem;

/// Takes numbers to the device, and gives them a number.
pub type Keep<'a> = dyn FnMut(&[f32], Form) -> Result<usize> + 'a;

/// Where a value of the graph is.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub at: At,
    pub layout: Layout,
    pub shape: Vec<usize>,
    /// `None`: it does not depend on the images.
    pub base: Option<Base>,
    /// Whether nobody reads this memory but the one who reads this value.
    pub alone: bool,
}

impl Value {
    /// The value along its axes.
    pub fn view(&self) -> View {
        let image = if matches!(self.at, At::Slot(_)) { self.layout.numbers() } else { 0 };
        let axes = self.layout.axes(&self.shape).expect("a value's layout is of its shape");
        View { at: self.at, offset: 0, image, axes }
    }

    /// The buffer of a value that is in one.
    pub fn slot(&self) -> Slot {
        match self.at {
            At::Slot(slot) => slot,
            At::Weight(_) => unreachable!("a constant was copied first"),
        }
    }

    /// Whether each of its axes is one factor.
    fn is_whole(&self) -> bool {
        self.layout.strides(&self.shape).is_some()
    }

    /// Whether another of its shape lies as it does.
    fn lies_as(&self, other: &Value) -> bool {
        let of = |value: &Value| (value.layout.channels, value.layout.axes(&self.shape));
        of(self) == of(other)
    }
}

/// A value that lies like this, for comparison.
fn like(layout: &Layout, shape: &[usize]) -> Value {
    Value { at: At::Slot(0), layout: layout.clone(), shape: shape.to_vec(), base: None, alone: true }
}

/// What follows an operation at once, up to a node.
struct Chain {
    other: Option<Value>,
    function: Option<Activation>,
    end: usize,
}

/// What a finish reads.
enum Source {
    /// What was made for it alone; and what leads on back from there.
    Made(Slot, Box<dyn FnOnce(&mut Tape, Slot)>),
    Read(Value),
}

pub(super) struct Lowering<'a> {
    graph: &'a Graph<f32>,
    keep: &'a mut Keep<'a>,
    pub tape: Tape,
    backs: Vec<Back>,
    convolutions: Vec<Conv>,
    /// Nodes that read each value.
    readers: Vec<Vec<usize>>,
    values: Vec<Option<Value>>,
    /// Nodes that were done with what they follow.
    absorbed: Vec<bool>,
    /// Biases that wait for the sum with another product, by that one's node.
    waiting: HashMap<usize, Vec<f32>>,
}

impl Schedule {
    /// For a network whose batch norms are folded. `keep` is given all weights, one after the other.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn new<'a>(graph: &'a Graph<f32>, keep: &'a mut Keep<'a>) -> Result<Schedule> {
        let mut readers = vec![Vec::new(); graph.nodes().len() + 1];
        graph.nodes().iter().enumerate().for_each(|(i, n)| n.inputs.iter().for_each(|v| readers[*v].push(i)));
        let mut all = Lowering {
            graph,
            keep,
            tape: Tape::default(),
            backs: Vec::new(),
            convolutions: Vec::new(),
            values: vec![None; readers.len()],
            absorbed: vec![false; readers.len()],
            readers,
            waiting: HashMap::new(),
        };
        let last = all.forward()?;
        let forward = mem::take(&mut all.tape.tasks);
        all.backward(&last);
        Ok(Schedule {
            size: graph.size(),
            mean: graph.mean.map(|v| v as f32),
            std: graph.std.map(|v| v as f32),
            classes: graph.classes(),
            rooms: all.tape.rooms,
            convolutions: all.convolutions,
            forward,
            backward: all.tape.tasks,
        })
    }
}

impl Lowering<'_> {
    fn forward(&mut self) -> Result<Value> {
        let shape = self.graph.shape(0).to_vec();
        let image = self.new_value(Layout::with_last(&shape, 0), &shape, true);
        self.tape.push(Task::Images { y: image.slot() });
        self.set(0, image);
        for i in 0..self.graph.nodes().len() {
            if !self.absorbed[i] {
                let graph = self.graph;
                self.node(i, &graph.nodes()[i])?;
            }
        }
        let classes = [self.graph.classes()];
        let last = self.reshaped(self.values.len() - 1, &classes);
        let last = self.suited(last, 0, Layout::is);
        self.tape.push(Task::Logits { x: last.slot() });
        Ok(last)
    }

    fn backward(&mut self, last: &Value) {
        if let Some(base) = last.base {
            let (to, _) = self.tape.destination(base);
            self.tape.push(Task::Seed { to });
        }
        while let Some(back) = self.backs.pop() {
            back(&mut self.tape);
        }
        // the image is the first value
        let (g, has) = self.tape.destination(0);
        if !has {
            self.tape.push(Task::Clear { y: g });
        }
        self.tape.push(Task::ImageGradient { g });
    }

    fn node(&mut self, i: usize, node: &Node<f32>) -> Result<()> {
        let inputs = &node.inputs;
        match &node.op {
            Op::Conv { window, groups, weight, bias } => self.conv(i, inputs[0], *window, *groups, (weight, bias)),
            Op::Linear { weight, bias } => self.linear(i, inputs[0], weight, bias),
            Op::Scale { axis, factor, shift } => self.scale(i, inputs[0], *axis, factor, shift),
            Op::Activate(function) => {
                let chain = Chain { other: None, function: Some(*function), end: i };
                let x = self.in_slot(inputs[0]);
                self.finish(Source::Read(x.clone()), &x, [None; 2], chain);
                Ok(())
            }
            Op::Add if self.graph.shape(inputs[0]) == self.graph.shape(inputs[1]) => {
                // in place of the one that nobody else reads
                let first = self.value(inputs[0]);
                let (x, other) = match (first.at, first.alone) {
                    (At::Slot(_), true) => (inputs[0], inputs[1]),
                    _ if matches!(self.value(inputs[1]).at, At::Slot(_)) => (inputs[1], inputs[0]),
                    _ => (inputs[0], inputs[1]),
                };
                let x = self.in_slot(x);
                let other = self.alike(other, &x);
                let chain = Chain { other: Some(other), ..self.chain(i, &x, false) };
                self.finish(Source::Read(x.clone()), &x, [None; 2], chain);
                Ok(())
            }
            op => {
                let value = self.operation(op, inputs)?;
                self.set(i + 1, value);
                Ok(())
            }
        }
    }

    /// A convolution, and what follows it.
    fn conv(&mut self, i: usize, x: usize, window: Window, groups: usize, w: (&[f32], &[f32])) -> Result<()> {
        let mut x = self.map(x);
        // cuDNN pads both sides alike
        let [top, left, bottom, right] = window.padding;
        let (rows, columns) = (top.min(bottom), left.min(right));
        let uneven = [top - rows, left - columns, bottom - rows, right - columns];
        if uneven != [0; 4] {
            x = self.padded(&x, uneven);
        }
        let window = Window { padding: [rows, columns, rows, columns], ..window };
        let [channels, height, width] = x.shape[..] else { unreachable!("a map") };
        let shape = self.graph.shape(i + 1).to_vec();
        let layout = Layout::with_last(&shape, 0);
        let on = Geometry { size: [height, width], out: [shape[1], shape[2]], window };
        let chain = self.chain(i, &like(&layout, &shape), true);
        let (bias, waits) = self.bias(i, w.1);
        let kept = weights::convolution(w.0, [channels, shape[0]], groups, &window);
        let [turned, by_taps] =
            [kept.turned, kept.by_taps].map(|w| w.map(|w| (self.keep)(&w, Form::Maps)).transpose());
        let padded = weights::padded(&bias);
        let conv = Conv {
            on,
            inputs: x.layout.padded(),
            outputs: layout.padded(),
            of_group: kept.of_group,
            groups,
            weight: (self.keep)(&kept.weight, Form::Maps)?,
            turned: turned?,
            by_taps: by_taps?,
            bias: (self.keep)(&padded, Form::Maps)?,
        };
        let bias = if waits || bias.iter().all(|b| *b == 0.0) { None } else { Some((self.keep)(&padded, Form::Floats)?) };
        self.convolutions.push(conv);
        let conv = self.convolutions.len() - 1;
        let y = self.tape.slot(Room::Numbers(layout.numbers()));
        self.tape.push(Task::Conv { conv, x: x.slot(), y });
        let base = x.base;
        let back = move |tape: &mut Tape, g: Slot| {
            if let Some(base) = base {
                let (to, add) = tape.destination(base);
                tape.push(Task::ConvGradient { conv, g, to, add });
            }
        };
        let made = Value { at: At::Slot(y), layout, shape, base, alone: true };
        let source = Source::Made(y, Box::new(back));
        match self.pool_after(&chain, &made) {
            Some(pool) => self.pooled(source, &made, bias, chain, pool),
            None => self.finish(source, &made, [None, bias], chain),
        }
        Ok(())
    }

    /// A fully connected layer, and what follows it.
    fn linear(&mut self, i: usize, x: usize, weight: &[f32], bias: &[f32]) -> Result<()> {
        let rank = self.graph.shape(x).len();
        let x = self.in_slot(x);
        // a vector may lie as it likes: the columns of the weights lie so, too
        let x = if rank == 1 { x } else { self.suited(x, rank - 1, Layout::is_last) };
        let shape = self.graph.shape(i + 1).to_vec();
        let outputs = shape[rank - 1];
        let (layout, places, addresses): (_, _, Vec<usize>) = match rank {
            1 => (Layout::rows(&shape), 1, (0..x.shape[0]).map(|i| x.layout.address(i)).collect()),
            _ => (x.layout.with_channels(&x.shape, outputs), x.layout.places, (0..x.shape[rank - 1]).collect()),
        };
        let inner = x.layout.numbers() / places;
        let chain = self.chain(i, &like(&layout, &shape), true);
        let (bias, waits) = self.bias(i, bias);
        let weight = (self.keep)(&weights::linear(weight, &addresses, inner), Form::Maps)?;
        let is_none = waits || bias.iter().all(|b| *b == 0.0);
        let bias = if is_none { None } else { Some((self.keep)(&weights::padded(&bias), Form::Floats)?) };
        let y = self.tape.slot(Room::Numbers(layout.numbers()));
        let sizes = [places, layout.padded(), inner];
        self.tape.push(Task::Product(weights::product(x.at, weight, At::Slot(y), sizes)));
        let base = x.base;
        let back = move |tape: &mut Tape, g: Slot| {
            if let Some(base) = base {
                let (to, add) = tape.destination(base);
                tape.push(Task::Product(weights::product_back(At::Slot(g), weight, At::Slot(to), sizes, add)));
            }
        };
        let made = Value { at: At::Slot(y), layout, shape, base, alone: true };
        self.finish(Source::Made(y, Box::new(back)), &made, [None, bias], chain);
        Ok(())
    }

    /// factor·x + shift, and a function that follows.
    fn scale(&mut self, i: usize, x: usize, axis: usize, factor: &[f64], shift: &[f64]) -> Result<()> {
        let mut x = self.in_slot(x);
        if factor.len() > 1 {
            x = self.suited(x, axis, Layout::is_last);
        }
        let channels = x.layout.channels;
        let mut keep = |v: &[f64]| {
            let all: Vec<f32> = (0..channels).map(|c| v[c % v.len()] as f32).collect();
            (self.keep)(&weights::padded(&all), Form::Floats)
        };
        let numbers = [Some(keep(factor)?), Some(keep(shift)?)];
        let chain = Chain { other: None, ..self.chain(i, &x, false) };
        self.finish(Source::Read(x.clone()), &x, numbers, chain);
        Ok(())
    }

    /// The sum that alone reads a node's value, where the other summand is there, and the function that alone reads that.
    fn chain(&mut self, i: usize, like: &Value, with_sum: bool) -> Chain {
        let mut chain = Chain { other: None, function: None, end: i };
        if let Some((sum, other)) = self.sum_after(i).filter(|(_, o)| with_sum && self.values[*o].is_some()) {
            (chain.other, chain.end) = (Some(self.alike(other, like)), sum);
            self.absorbed[sum] = true;
        }
        if let [next] = self.readers[chain.end + 1][..]
            && let Op::Activate(function) = self.graph.nodes()[next].op
        {
            (chain.function, chain.end) = (Some(function), next);
            self.absorbed[next] = true;
        }
        chain
    }

    /// The sum that alone reads a node's value, if both summands have one shape, and the other summand.
    fn sum_after(&self, i: usize) -> Option<(usize, usize)> {
        let [next] = self.readers[i + 1][..] else { return None };
        let Node { op: Op::Add, inputs } = &self.graph.nodes()[next] else { return None };
        let other = inputs[usize::from(inputs[0] == i + 1)];
        (self.graph.shape(other) == self.graph.shape(i + 1)).then_some((next, other))
    }

    /// The bias of a node with all that has waited for it; and whether it waits for the other summand itself, where that will
    /// be made by a later node with a bias of its own.
    fn bias(&mut self, i: usize, bias: &[f32]) -> (Vec<f32>, bool) {
        let mut all = bias.to_vec();
        if let Some(more) = self.waiting.remove(&i) {
            all.iter_mut().zip(more).for_each(|(b, more)| *b += more);
        }
        let later = self.sum_after(i).filter(|(_, o)| *o > i + 1 && self.values[*o].is_none());
        let is_alike = |(sum, other): &(usize, usize)| {
            let (mine, theirs) = (&self.graph.nodes()[i].op, &self.graph.nodes()[other - 1].op);
            let biased = matches!((mine, theirs), (Op::Conv { .. }, Op::Conv { .. }) | (Op::Linear { .. }, Op::Linear { .. }));
            biased && self.readers[*other] == [*sum]
        };
        match later.filter(is_alike) {
            Some((_, other)) => {
                self.waiting.insert(other - 1, all.clone());
                (all, true)
            }
            None => (all, false),
        }
    }

    /// y = function(factor·x + bias + other) as the value at the end of a chain; `like` says how x lies.
    fn finish(&mut self, source: Source, like: &Value, [factor, bias]: [Option<usize>; 2], chain: Chain) {
        let numbers = like.layout.numbers();
        let (x, may_write) = match &source {
            Source::Made(slot, _) => (*slot, true),
            Source::Read(value) => (value.slot(), value.alone && !self.tape.kept[value.slot()]),
        };
        let function = chain.function;
        let needs_x = function.is_some_and(|f| !leaves_bits(f));
        let bits = function.filter(|f| leaves_bits(*f)).map(|_| self.tape.slot(Room::Bytes(numbers / super::EIGHT)));
        let other = chain.other.as_ref().map(|o| o.at);
        let channels = [like.layout.channels, like.layout.padded()];
        let finish = Finish { channels, numbers, factor, bias, other, function, bits };
        let nothing = (factor, bias, other, function) == (None, None, None, None);
        let y = if nothing || (may_write && !needs_x) { x } else { self.tape.slot(Room::Numbers(numbers)) };
        if needs_x {
            self.tape.kept[x] = true;
            if let Some(At::Slot(other)) = other {
                self.tape.kept[other] = true;
            }
        }
        if !nothing {
            self.tape.push(Task::Finish { finish: finish.clone(), x, y });
        }
        let from = chain.other.as_ref().and_then(|o| o.base);
        let base = like.base.or(from).map(|_| self.tape.base(numbers));
        let summed = chain.other.is_some();
        let reads = like.base;
        self.set_at(chain.end + 1, At::Slot(y), like.layout.clone(), base);
        let Some(base) = base else { return };
        self.backs.push(Box::new(move |tape: &mut Tape| {
            let Some(g) = tape.gradient(base) else { return };
            match source {
                Source::Made(_, back) => {
                    tape.unfinish(&finish, x, g);
                    back(tape, g);
                    tape.give(from.as_slice(), g);
                }
                Source::Read(_) if summed => {
                    tape.unfinish(&finish, x, g);
                    tape.give(&reads.into_iter().chain(from).collect::<Vec<_>>(), g);
                }
                Source::Read(_) => {
                    let (to, add) = tape.in_place(reads.expect("without it no gradient"), g);
                    tape.push(Task::FinishGradient { finish, x, g, to, add });
                }
            }
        }));
    }

    /// The pool of 2×2 that alone reads what a chain of bias and ReLU makes of a map, and its geometry.
    fn pool_after(&self, chain: &Chain, map: &Value) -> Option<(usize, Geometry)> {
        let [next] = self.readers[chain.end + 1][..] else { return None };
        let Op::MaxPool { window, ceil } = &self.graph.nodes()[next].op else { return None };
        let size = [map.shape[1], map.shape[2]];
        let even = !ceil || size.iter().all(|s| s % 2 == 0);
        let simple = chain.other.is_none() && matches!(chain.function, None | Some(Activation::Relu));
        let fits = *window == Window::square(2, 2, 0) && even && simple;
        fits.then(|| (next, Geometry { size, out: size.map(|s| s / 2), window: *window }))
    }

    /// Bias, ReLU or nothing, and the pool, together.
    fn pooled(&mut self, source: Source, map: &Value, bias: Option<usize>, chain: Chain, (pool, on): (usize, Geometry)) {
        let Source::Made(x, back) = source else { unreachable!("a convolution's") };
        let shape = self.graph.shape(pool + 1).to_vec();
        let layout = Layout::with_last(&shape, 0);
        let (numbers, eights) = (layout.numbers(), layout.numbers() / super::EIGHT);
        let bits = chain.function.map(|_| self.tape.slot(Room::Bytes(eights)));
        let corners = self.tape.slot(Room::Bytes(2 * eights));
        let y = self.tape.slot(Room::Numbers(numbers));
        let channels = [layout.channels, layout.padded()];
        let finish = Finish { channels, numbers, factor: None, bias, other: None, function: chain.function, bits };
        self.absorbed[pool] = true;
        self.tape.push(Task::Pool { on, finish: finish.clone(), x, y, corners });
        let base = map.base.map(|_| self.tape.base(numbers));
        self.set_at(pool + 1, At::Slot(y), layout, base);
        let (Some(base), before) = (base, map.layout.numbers()) else { return };
        self.backs.push(Box::new(move |tape: &mut Tape| {
            let Some(g) = tape.gradient(base) else { return };
            let to = tape.slot(Room::Numbers(before));
            tape.push(Task::PoolGradient { on, finish, g, to, corners });
            back(tape, to);
        }));
    }

    // --- values

    /// A value that was made before.
    pub fn value(&self, v: usize) -> Value {
        self.values[v].clone().expect("made before it is read")
    }

    fn set(&mut self, v: usize, value: Value) {
        let alone = value.alone && self.readers[v].len() <= 1;
        self.values[v] = Some(Value { alone, ..value });
    }

    fn set_at(&mut self, v: usize, at: At, layout: Layout, base: Option<Base>) {
        let shape = self.graph.shape(v).to_vec();
        self.set(v, Value { at, layout, shape, base, alone: true });
    }

    /// Room for a value.
    pub fn new_value(&mut self, layout: Layout, shape: &[usize], depends: bool) -> Value {
        let at = At::Slot(self.tape.slot(Room::Numbers(layout.numbers())));
        let base = depends.then(|| self.tape.base(layout.numbers()));
        Value { at, layout, shape: shape.to_vec(), base, alone: true }
    }

    /// What leads back from a value that depends on the images: `back` is given its gradient.
    pub fn leads_back(&mut self, from: &Value, back: impl FnOnce(&mut Tape, Slot) + 'static) {
        if let Some(base) = from.base {
            self.backs.push(Box::new(move |tape: &mut Tape| {
                if let Some(g) = tape.gradient(base) {
                    back(tape, g);
                }
            }));
        }
    }

    /// Numbers that do not depend on the images.
    pub fn constant(&mut self, shape: &[usize], values: &[f32]) -> Result<Value> {
        let layout = Layout::rows(shape);
        let mut rows = vec![0.0; layout.numbers()];
        values.iter().enumerate().for_each(|(i, v)| rows[layout.address(i)] = *v);
        let at = At::Weight((self.keep)(&rows, Form::Maps)?);
        Ok(Value { at, layout, shape: shape.to_vec(), base: None, alone: false })
    }

    /// One number a channel, in f32.
    pub fn floats(&mut self, values: &[f64]) -> Result<usize> {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        (self.keep)(&weights::padded(&values), Form::Floats)
    }

    /// A value in a buffer.
    pub fn in_slot(&mut self, v: usize) -> Value {
        let value = self.value(v);
        match value.at {
            At::Slot(_) => value,
            At::Weight(_) => {
                let layout = value.layout.clone();
                self.copy(&value, layout)
            }
        }
    }

    /// A value whose numbers along an axis lie next to each other: as it is, if it `fits`, else a copy.
    pub fn suited(&mut self, value: Value, axis: usize, fits: fn(&Layout, &[usize], usize) -> bool) -> Value {
        match matches!(value.at, At::Slot(_)) && fits(&value.layout, &value.shape, axis) {
            true => value,
            false => self.copy(&value, Layout::with_last(&value.shape, axis)),
        }
    }

    /// A map, channels last.
    pub fn map(&mut self, v: usize) -> Value {
        let value = self.value(v);
        self.suited(value, 0, Layout::is)
    }

    /// A value each of whose axes is one factor.
    pub fn whole(&mut self, value: Value) -> Value {
        match value.is_whole() {
            true => value,
            false => self.copy(&value, Layout::rows(&value.shape)),
        }
    }

    /// A value as another of its shape lies.
    fn alike(&mut self, v: usize, like: &Value) -> Value {
        let value = self.value(v);
        if value.lies_as(like) {
            return value;
        }
        let value = if like.is_whole() { value } else { self.whole(value) };
        self.copy(&value, like.layout.clone())
    }

    /// The same numbers elsewhere. One of the two layouts is whole.
    pub fn copy(&mut self, value: &Value, layout: Layout) -> Value {
        let copy = self.new_value(layout, &value.shape, value.base.is_some());
        let (x, y) = (value.view(), copy.view());
        self.tape.contract([&y, &x], None, 1.0, false);
        let base = value.base;
        self.leads_back(&copy, move |tape, g| {
            tape.contract_back(base.expect("the copy has one"), [&x, &y], None, 1.0, g);
        });
        copy
    }

    /// The same memory read as another shape, where that goes.
    pub fn reshaped(&mut self, v: usize, shape: &[usize]) -> Value {
        let value = self.value(v);
        let value = match value.layout.axes(shape) {
            Some(_) => value,
            None => {
                // row by row, without zeros within
                let flat = Value { shape: vec![value.shape.iter().product()], ..value };
                let layout = Layout::rows(&flat.shape);
                self.copy(&flat, layout)
            }
        };
        Value { shape: shape.to_vec(), ..value }
    }
}
