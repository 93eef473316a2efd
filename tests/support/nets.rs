//! Small sequential networks with random weights, random images, and the numbers they are made of.
#![allow(dead_code)] // each test binary uses its part

use foolproof::kernel::Real;
use foolproof::kernel::graph::{Activation, Graph, Node, Op, Window};
use foolproof::rng::{Stream, Streams};

/// A stream for test data.
pub fn stream(purpose: &str) -> Stream {
    Streams::new(0, "test").stream(0, 0, purpose)
}

/// A number in [-1, 1).
pub fn number(stream: &mut Stream) -> f64 {
    f64::from(stream.uniform()) * 2.0 - 1.0
}

/// A sequential network for square images in the making: each method adds a layer behind the last one.
pub struct Sequence {
    /// The network so far.
    pub graph: Graph<f64>,
    last: usize,
}

impl Sequence {
    /// Nothing yet.
    pub fn new(side: usize) -> Sequence {
        Sequence { graph: Graph::new([side; 2], [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]), last: 0 }
    }

    /// Any operation on the last value.
    pub fn push(&mut self, op: Op<f64>) {
        self.last = self.graph.push(op, &[self.last]).unwrap();
    }

    /// Numbers of the last value.
    pub fn values(&self) -> usize {
        self.shape().iter().product()
    }

    /// Shape of the last value.
    pub fn shape(&self) -> &[usize] {
        self.graph.shape(self.last)
    }

    /// 3×3 convolution, stride 1, padding 1, and ReLU; weights and biases are random, these many times a number in [-1, 1).
    pub fn conv(&mut self, outputs: usize, weight: f64, bias: f64, s: &mut Stream) {
        let weight = (0..outputs * self.shape()[0] * 9).map(|_| number(s) * weight).collect();
        let bias = (0..outputs).map(|_| number(s) * bias).collect();
        self.push(Op::Conv { window: Window::square(3, 1, 1), groups: 1, weight, bias });
        self.push(Op::Activate(Activation::Relu));
    }

    /// 2×2 maximum, stride 2; an odd last row or column is dropped.
    pub fn pool(&mut self) {
        self.push(Op::MaxPool { window: Window::square(2, 2, 0), ceil: false });
    }

    /// Average to this side.
    pub fn average(&mut self, side: usize) {
        self.push(Op::AdaptiveAverage { out: [side; 2] });
    }

    /// Fully connected over all numbers; random as in [`Sequence::conv`].
    pub fn linear(&mut self, outputs: usize, weight: f64, bias: f64, s: &mut Stream) {
        let inputs = self.values();
        if self.shape().len() > 1 {
            self.push(Op::Reshape { shape: vec![inputs] });
        }
        let weight = (0..outputs * inputs).map(|_| number(s) * weight).collect();
        let bias = (0..outputs).map(|_| number(s) * bias).collect();
        self.push(Op::Linear { weight, bias });
    }

    /// ReLU.
    pub fn relu(&mut self) {
        self.push(Op::Activate(Activation::Relu));
    }
}

/// A small VGG-like net with these convolution widths, a pool after every second, odd sides welcome.
pub fn small_net(
    side: usize,
    widths: &[usize],
    average: Option<usize>,
    hidden: usize,
    classes: usize,
    seed: &str,
) -> Graph<f64> {
    let mut s = stream(seed);
    let mut net = Sequence::new(side);
    for (i, &outputs) in widths.iter().enumerate() {
        let scale = (2.0 / (9.0 * net.shape()[0] as f64)).sqrt() * 1.7;
        net.conv(outputs, scale, 0.1, &mut s);
        if i % 2 == 1 && net.shape()[1] > 1 {
            net.pool();
        }
    }
    if let Some(side) = average {
        net.average(side);
    }
    let scale = |net: &Sequence| (1.0 / net.values() as f64).sqrt() * 1.7;
    net.linear(hidden, scale(&net), 0.1, &mut s);
    net.relu();
    net.linear(classes, scale(&net), 0.1, &mut s);
    net.graph
}

/// Square images in [0,1].
pub fn images(n: usize, side: usize, seed: &str) -> Vec<f64> {
    let mut s = stream(seed);
    (0..n * 3 * side * side).map(|_| f64::from(s.uniform())).collect()
}

/// The same network with its operations changed, by their numbers.
pub fn with_ops<T: Real>(graph: Graph<T>, change: impl Fn(usize, &mut Op<T>)) -> Graph<T> {
    let mut changed = Graph::new(graph.size(), graph.mean, graph.std);
    for (i, Node { mut op, inputs }) in graph.into_nodes().into_iter().enumerate() {
        change(i, &mut op);
        changed.push(op, &inputs).unwrap();
    }
    changed
}
