//! From a graph to units: each a convolution, or another operation, with all that is done to its outputs before they are
//! stored, and the fully connected layers at the end.

use super::finish::PAIRS;
use super::lanes::LANES;
use super::rows::MOST_TAPS;
use super::unit::{Unit, WINOGRAD, as_map};
use crate::kernel::Real;
use crate::kernel::graph::{Activation, Graph, Node, Op, Window};

/// A fully connected layer at the end of the network.
pub struct Connected {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub relu: bool,
}

/// A graph as units.
pub struct Plan {
    pub units: Vec<Unit>,
    /// What each computes.
    pub ops: Vec<Op<f32>>,
    /// Shape of each value.
    pub shapes: Vec<Vec<usize>>,
    /// The value that the fully connected layers read, and the logits are, if there are none.
    pub features: usize,
    pub connected: Vec<Connected>,
}

impl Plan {
    /// Fuses what it can of a folded graph. Node after node joins the unit that made its input, if nobody else reads that.
    pub fn of(graph: Graph<f32>) -> Plan {
        let readers = graph.readers();
        let tail = tail(&graph, &readers);
        let shapes: Vec<Vec<usize>> = (0..=graph.nodes().len()).map(|v| graph.shape(v).to_vec()).collect();
        let mut plan = Plan {
            units: Vec::new(),
            ops: Vec::new(),
            shapes: vec![shapes[0].clone()],
            features: 0,
            connected: Vec::new(),
        };
        // where each value of the graph is among ours
        let mut ours = vec![0];
        let direct = |node: &Node<f32>| matches!(node.op, Op::Conv { groups: 1, .. });
        if readers[0] > 1 || !graph.nodes().iter().any(|node| node.inputs.contains(&0) && direct(node)) {
            // whatever else reads images reads them as a map like all others
            ours[0] = plan.unit(no_scale(), vec![0], shapes[0].clone());
        }
        for (i, Node { op, inputs }) in graph.into_nodes().into_iter().enumerate() {
            if i >= tail {
                plan.connect(op);
                continue;
            }
            let alone = |value: usize| value > 0 && readers[value] == 1;
            let fresh: Vec<bool> = inputs.iter().map(|v| alone(*v)).collect();
            let reads: Vec<usize> = inputs.iter().map(|v| ours[*v]).collect();
            ours.push(plan.push(op, reads, &fresh, shapes[i + 1].clone()));
        }
        plan.features = ours[tail];
        plan
    }

    /// The value that an operation makes of these, of which some are read by nobody else.
    fn push(&mut self, op: Op<f32>, reads: Vec<usize>, fresh: &[bool], shape: Vec<usize>) -> usize {
        let input = reads.first().map_or(&[][..], |x| &self.shapes[*x]);
        match op {
            // the same memory: one place
            Op::Reshape { .. } if fresh[0] && places(input) == 1 && places(&shape) == 1 => {
                return self.renamed(reads[0], shape);
            }
            Op::Activate(function) if fresh[0] && self.takes(reads[0], |u, _| u.activation.is_none() && !u.pooled) => {
                self.units[reads[0] - 1].activation = Some(function);
                return reads[0];
            }
            Op::MaxPool { window, ceil: false } if fresh[0] && window == PAIRS && self.takes(reads[0], can_pool) => {
                let unit = &mut self.units[reads[0] - 1];
                (unit.pooled, unit.shape) = (true, shape.clone());
                return self.renamed(reads[0], shape);
            }
            Op::Add if input == shape && self.shapes[reads[1]] == shape => return self.sum(reads, fresh, shape),
            _ => {}
        }
        let op = match op {
            Op::Linear { weight, bias } if shape.len() < 3 => pointwise_convolution(weight, bias),
            Op::Activate(function) => {
                let unit = self.unit(no_scale(), reads, shape);
                self.units[unit - 1].activation = Some(function);
                return unit;
            }
            op => op,
        };
        self.unit(op, reads, shape)
    }

    /// A sum joins the later of the units that make its terms.
    fn sum(&mut self, reads: Vec<usize>, fresh: &[bool], shape: Vec<usize>) -> usize {
        let last = |i: usize| fresh[i] && reads[i] == self.units.len() && reads[0] != reads[1];
        let joins = (0..2)
            .find(|i| last(*i) && self.takes(reads[*i], |u, _| u.activation.is_none() && !u.pooled && u.add.is_none()));
        match joins {
            Some(i) => {
                self.units[reads[i] - 1].add = Some(reads[1 - i]);
                reads[i]
            }
            None => {
                let unit = self.unit(no_scale(), vec![reads[0]], shape);
                self.units[unit - 1].add = Some(reads[1]);
                unit
            }
        }
    }

    fn unit(&mut self, op: Op<f32>, reads: Vec<usize>, shape: Vec<usize>) -> usize {
        let inputs: Vec<Vec<usize>> = reads.iter().map(|x| self.shapes[*x].clone()).collect();
        self.shapes.push(shape.clone());
        self.ops.push(op);
        self.units.push(Unit {
            reads,
            inputs,
            add: None,
            activation: None,
            pooled: false,
            before_pool: shape.clone(),
            shape,
        });
        self.units.len()
    }

    fn renamed(&mut self, value: usize, shape: Vec<usize>) -> usize {
        self.shapes[value] = shape;
        value
    }

    /// Whether the unit that makes a value finishes its outputs one by one, and `also` this.
    fn takes(&self, value: usize, also: impl Fn(&Unit, &Op<f32>) -> bool) -> bool {
        let made = value.checked_sub(1).map(|i| (&self.units[i], &self.ops[i]));
        made.is_some_and(|(unit, op)| finishes(op, &unit.inputs) && also(unit, op))
    }

    fn connect(&mut self, op: Op<f32>) {
        match op {
            Op::Linear { weight, bias } => self.connected.push(Connected { weight, bias, relu: false }),
            Op::Activate(_) => self.connected.last_mut().expect("behind a linear layer").relu = true,
            _ => {}
        }
    }
}

/// factor 1, shift 0.
fn no_scale() -> Op<f32> {
    Op::Scale { axis: 0, factor: vec![1.0], shift: vec![0.0] }
}

/// A linear layer over every place.
fn pointwise_convolution(weight: Vec<f32>, bias: Vec<f32>) -> Op<f32> {
    Op::Conv { window: Window::square(1, 1, 0), groups: 1, weight, bias }
}

fn places(shape: &[usize]) -> usize {
    let [_, height, width] = as_map(shape);
    height * width
}

/// The first node of the fully connected layers at the end, with the flattening before them; the number of nodes where
/// there are none.
fn tail<T: Real>(graph: &Graph<T>, readers: &[usize]) -> usize {
    let nodes = graph.nodes();
    let mut first = nodes.len();
    for (i, Node { op, inputs }) in nodes.iter().enumerate().rev() {
        let is_chain = inputs.as_slice() == [i] && (readers[i + 1] == 1 || i + 1 == nodes.len());
        let is_vector = graph.shape(i).len() == 1;
        match op {
            Op::Linear { .. } if is_chain && is_vector => first = i,
            // it needs a linear layer before it
            Op::Activate(Activation::Relu) if is_chain && i + 1 < nodes.len() => {}
            // the flattening before a linear layer, whose weights are put in the order of the map
            Op::Reshape { .. } if is_chain && first == i + 1 && first < nodes.len() && graph.shape(i).len() == 3 => {
                first = i;
            }
            _ => break,
        }
    }
    first
}

/// Whether it has a form of its own, which hands out its outputs one by one, so that more can be done to each; the others but
/// concatenations go by the plain code.
pub fn finishes(op: &Op<f32>, inputs: &[Vec<usize>]) -> bool {
    let rank = inputs.first().map_or(0, Vec::len);
    let of_channels = if rank == 2 { 1 } else { 0 };
    match op {
        Op::Conv { .. } | Op::AveragePool { .. } | Op::AdaptiveAverage { .. } => true,
        Op::MaxPool { window, ceil: _ } => window.size[0] * window.size[1] <= MOST_TAPS,
        // the channels of maps, tokens and vectors
        Op::Scale { axis, factor, .. } => rank <= 3 && (factor.len() == 1 || *axis == of_channels),
        Op::LayerNorm { axis, .. } => rank <= 3 && *axis == of_channels,
        Op::Attention { heads } => (inputs[0][1] / 3 / heads).is_multiple_of(LANES),
        _ => false,
    }
}

/// Whether the outputs come in blocks behind a ReLU alone, of which the maximum can be taken before it, which is the same.
fn can_pool(unit: &Unit, op: &Op<f32>) -> bool {
    let makes_blocks = matches!(op, Op::Conv { window, groups: 1, .. } if *window == WINOGRAD);
    makes_blocks && unit.activation == Some(Activation::Relu) && !unit.pooled && unit.add.is_none()
}
