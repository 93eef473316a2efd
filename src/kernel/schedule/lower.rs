//! Operations of a graph to tasks: what is read from where, and what follows a convolution or product at once.

use super::contract::At;
use super::layout::{EIGHT, Layout};
use super::tape::{Base, Lead, Tape};
use super::value::Value;
use super::{Conv, Finish, Form, Geometry, Room, Schedule, Slot, Task, Work, leaves_bits, weights};
use crate::error::Result;
use crate::kernel::graph::{Activation, Graph, Node, Op, Window};
use std::collections::HashMap;
use std::mem;

/// Takes numbers to the device, and gives them a number.
pub type Keep<'a> = dyn FnMut(&[f32], Form) -> Result<usize> + 'a;

/// What follows an operation at once, up to a node.
struct Chain {
    other: Option<Value>,
    function: Option<Activation>,
    end: usize,
}

/// What a finish reads.
enum Source {
    /// What was made for it alone; and what leads on back from there.
    Made(Lead),
    /// A value.
    Read,
}

pub struct Lowering<'a> {
    pub graph: &'a Graph<f32>,
    pub keep: &'a mut Keep<'a>,
    pub tape: Tape,
    /// What leads back from each value, in the order in which they were made.
    pub backs: Vec<(Base, Lead)>,
    convolutions: Vec<Conv>,
    /// Nodes that read each value.
    pub readers: Vec<Vec<usize>>,
    pub values: Vec<Option<Value>>,
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
        self.tape.push(Task::Images(image.slot()));
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
        self.tape.push(Task::Logits(last.slot()));
        Ok(last)
    }

    fn backward(&mut self, last: &Value) {
        if let Some(base) = last.base {
            let (to, _) = self.tape.destination(base);
            self.tape.push(Task::Seed(to));
        }
        while let Some((base, lead)) = self.backs.pop() {
            if let Some(g) = self.tape.gradient(base) {
                lead(&mut self.tape, g);
            }
        }
        // the image is the first value
        let (g, has) = self.tape.destination(0);
        if !has {
            self.tape.push(Task::Clear(g));
        }
        self.tape.push(Task::ImageGradient(g));
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
                self.finish(Source::Read, &x, [None; 2], chain);
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
                self.finish(Source::Read, &x, [None; 2], chain);
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
        let (x, window) = self.evenly_padded(x, window);
        let shape = self.graph.shape(i + 1).to_vec();
        let layout = Layout::with_last(&shape, 0);
        let on = Geometry { size: [x.shape[1], x.shape[2]], out: [shape[1], shape[2]], window };
        let bias = self.bias(i, w.1);
        let filters = weights::convolution(w.0, [x.shape[0], shape[0]], groups, &window);
        let mut keep = |w: &[f32]| (self.keep)(w, Form::Maps);
        self.convolutions.push(Conv {
            on,
            inputs: x.layout.padded(),
            outputs: layout.padded(),
            of_group: filters.of_group,
            groups,
            weight: keep(&filters.weight)?,
            turned: filters.turned.map(|w| keep(&w)).transpose()?,
            by_taps: filters.by_taps.map(|w| keep(&w)).transpose()?,
            bias: keep(&weights::padded(&bias))?,
        });
        let (conv, base, bias) = (self.convolutions.len() - 1, x.base, self.unless_zero(&bias)?);
        let y = Value { base, ..self.new_value(layout, &shape, false) };
        let chain = self.chain(i, &y, true);
        self.tape.push(Task::Forward(Work::Conv(conv), x.slot(), y.slot()));
        let back = move |tape: &mut Tape, g: Slot| {
            if let Some(base) = base {
                let (to, add) = tape.destination(base);
                tape.push(Task::Back(Work::Conv(conv), g, to, add));
            }
        };
        match self.pool_after(&chain, &y) {
            Some(pool) => self.pooled(Box::new(back), &y, bias, chain, pool),
            None => self.finish(Source::Made(Box::new(back)), &y, [None, bias], chain),
        }
        Ok(())
    }

    /// A map with zeros around it, and windows on it that pad both sides alike, as cuDNN wants it.
    fn evenly_padded(&mut self, x: usize, window: Window) -> (Value, Window) {
        let x = self.map(x);
        let [top, left, bottom, right] = window.padding;
        let (rows, columns) = (top.min(bottom), left.min(right));
        let window = Window { padding: [rows, columns, rows, columns], ..window };
        match [top - rows, left - columns, bottom - rows, right - columns] {
            [0, 0, 0, 0] => (x, window),
            rest => (self.padded(&x, rest), window),
        }
    }

    /// A fully connected layer, and what follows it.
    fn linear(&mut self, i: usize, x: usize, weight: &[f32], bias: &[f32]) -> Result<()> {
        let rank = self.graph.shape(x).len();
        let x = self.in_slot(x);
        // a vector may lie as it likes: the columns of the weights lie so, too
        let x = if rank == 1 { x } else { self.suited(x, rank - 1, Layout::is_last) };
        let shape = self.graph.shape(i + 1).to_vec();
        let inputs = 0..x.shape[rank - 1];
        let (layout, places, addresses): (_, _, Vec<usize>) = match rank {
            1 => (Layout::rows(&shape), 1, inputs.map(|i| x.layout.address(i)).collect()),
            _ => (x.layout.with_channels(&x.shape, shape[rank - 1]), x.layout.places, inputs.collect()),
        };
        let sizes = [places, layout.padded(), x.layout.numbers() / places];
        let bias = self.bias(i, bias);
        let bias = self.unless_zero(&bias)?;
        let weight = (self.keep)(&weights::linear(weight, &addresses, sizes[2]), Form::Maps)?;
        let y = Value { base: x.base, ..self.new_value(layout, &shape, false) };
        let chain = self.chain(i, &y, true);
        self.tape.push(Task::Product(weights::product(x.at, weight, y.at, sizes)));
        let back = move |tape: &mut Tape, g: Slot| {
            if let Some(base) = x.base {
                let (to, add) = tape.destination(base);
                tape.push(Task::Product(weights::product_back(At::Slot(g), weight, At::Slot(to), sizes, add)));
            }
        };
        self.finish(Source::Made(Box::new(back)), &y, [None, bias], chain);
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
        let chain = self.chain(i, &x, false);
        self.finish(Source::Read, &x, numbers, chain);
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

    /// The bias of a node with all that has waited for it; zeros where it waits for the other summand itself, since that will
    /// be made by a later node with a bias of its own.
    fn bias(&mut self, i: usize, bias: &[f32]) -> Vec<f32> {
        let mut all = bias.to_vec();
        if let Some(more) = self.waiting.remove(&i) {
            all.iter_mut().zip(more).for_each(|(b, more)| *b += more);
        }
        if let Some((sum, other)) = self.sum_after(i)
            && other > i + 1
            && self.values[other].is_none()
            && self.readers[other] == [sum]
        {
            let nodes = self.graph.nodes();
            if let (Op::Conv { .. }, Op::Conv { .. }) | (Op::Linear { .. }, Op::Linear { .. }) =
                (&nodes[i].op, &nodes[other - 1].op)
            {
                self.waiting.insert(other - 1, mem::replace(&mut all, vec![0.0; bias.len()]));
            }
        }
        all
    }

    /// A bias for a finish, if there is one.
    fn unless_zero(&mut self, bias: &[f32]) -> Result<Option<usize>> {
        let zero = bias.iter().all(|b| *b == 0.0);
        (!zero).then(|| (self.keep)(&weights::padded(bias), Form::Floats)).transpose()
    }

    /// y = function(factor·x + bias + other) as the value at the end of a chain.
    fn finish(&mut self, source: Source, from: &Value, [factor, bias]: [Option<usize>; 2], chain: Chain) {
        let (x, numbers, function) = (from.slot(), from.layout.numbers(), chain.function);
        let bits = function.filter(|f| leaves_bits(*f)).map(|_| self.tape.slot(Room::Bytes(numbers / EIGHT)));
        let other = chain.other.as_ref().map(|o| o.at);
        let channels = [from.layout.channels, from.layout.padded()];
        let finish = Finish { channels, numbers, factor, bias, other, function, bits };
        let nothing = (factor, bias, other, function) == (None, None, None, None);
        let in_place = from.alone && !self.tape.kept[x] && !finish.needs_x();
        let y = if nothing || in_place { x } else { self.tape.slot(Room::Numbers(numbers)) };
        if finish.needs_x() {
            self.tape.keep([Some(At::Slot(x)), other]);
        }
        if !nothing {
            self.tape.push(Task::Forward(Work::Finish(finish.clone(), x), x, y));
        }
        let bases = [from.base, chain.other.as_ref().and_then(|o| o.base)];
        let base = bases[0].or(bases[1]).map(|_| self.tape.base(numbers));
        self.set_at(chain.end + 1, At::Slot(y), from.layout.clone(), base);
        self.leads_back(base, move |tape, g| match source {
            Source::Made(lead) => {
                tape.unfinish(&finish, x, g);
                lead(tape, g);
                tape.give(bases[1].as_slice(), g);
            }
            Source::Read if other.is_some() => {
                tape.unfinish(&finish, x, g);
                tape.give(&bases.into_iter().flatten().collect::<Vec<_>>(), g);
            }
            Source::Read => {
                let (to, add) = tape.in_place(bases[0].expect("without it no gradient"), g);
                tape.push(Task::Back(Work::Finish(finish, x), g, to, add));
            }
        });
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
    fn pooled(&mut self, lead: Lead, map: &Value, bias: Option<usize>, chain: Chain, (pool, on): (usize, Geometry)) {
        let layout = Layout::with_last(self.graph.shape(pool + 1), 0);
        let (numbers, eights) = (layout.numbers(), layout.numbers() / EIGHT);
        let bits = chain.function.map(|_| self.tape.slot(Room::Bytes(eights)));
        let corners = self.tape.slot(Room::Bytes(2 * eights));
        let y = self.tape.slot(Room::Numbers(numbers));
        let channels = [layout.channels, layout.padded()];
        let finish = Finish { channels, numbers, factor: None, bias, other: None, function: chain.function, bits };
        self.absorbed[pool] = true;
        let work = Work::Pool(on, finish, corners);
        self.tape.push(Task::Forward(work.clone(), map.slot(), y));
        let (base, before) = (map.base.map(|_| self.tape.base(numbers)), map.layout.numbers());
        self.set_at(pool + 1, At::Slot(y), layout, base);
        self.leads_back(base, move |tape, g| {
            let to = tape.slot(Room::Numbers(before));
            tape.push(Task::Back(work, g, to, false));
            lead(tape, to);
        });
    }
}
