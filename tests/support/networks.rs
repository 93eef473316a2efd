//! Small networks built as the families that people use, with random weights that f32 holds.
#![allow(dead_code)] // each test binary uses its part

use super::random_graph::Numbers;
use foolproof::kernel::graph::{Activation, Graph, Op, Window};

/// A graph under way: each function adds operations on value `x` and returns the last one's.
pub struct Net {
    pub graph: Graph<f64>,
    numbers: Numbers,
}

impl Net {
    pub fn new(size: [usize; 2], seed: u64) -> Net {
        Net { graph: Graph::new(size, [0.5, 0.25, 0.0], [0.25, 0.5, 1.0]), numbers: Numbers(seed) }
    }

    pub fn push(&mut self, op: Op<f64>, inputs: &[usize]) -> usize {
        self.graph.push(op, inputs).unwrap()
    }

    /// Weights of He et al. 2015, in multiples of `step` if it is not 0.
    fn some(&mut self, n: usize, scale: f64) -> Vec<f64> {
        self.numbers.some(n, scale)
    }

    pub fn conv(&mut self, x: usize, outputs: usize, window: Window, groups: usize) -> usize {
        let taps = self.graph.shape(x)[0] / groups * window.size[0] * window.size[1];
        let (weight, bias) = (self.some(outputs * taps, (6.0 / taps as f64).sqrt()), self.some(outputs, 0.1));
        self.push(Op::Conv { window, groups, weight, bias }, &[x])
    }

    pub fn linear(&mut self, x: usize, outputs: usize) -> usize {
        let inputs = *self.graph.shape(x).last().unwrap();
        let (weight, bias) = (self.some(outputs * inputs, (6.0 / inputs as f64).sqrt()), self.some(outputs, 0.1));
        self.push(Op::Linear { weight, bias }, &[x])
    }

    pub fn activate(&mut self, x: usize, function: Activation) -> usize {
        self.push(Op::Activate(function), &[x])
    }

    /// A batch norm.
    pub fn norm(&mut self, x: usize) -> usize {
        let n = self.graph.shape(x)[0];
        let factor = self.some(n, 0.3).iter().map(|v| v + 1.0).collect();
        let shift = self.some(n, 0.2);
        self.push(Op::Scale { axis: 0, factor, shift }, &[x])
    }

    fn layer_norm(&mut self, x: usize, axis: usize) -> usize {
        let n = self.graph.shape(x)[axis];
        let factor = self.some(n, 0.3).iter().map(|v| v + 1.0).collect();
        let shift = self.some(n, 0.2);
        self.push(Op::LayerNorm { axis, factor, shift, eps: 1e-6 }, &[x])
    }

    /// 3×3 or so, with a ReLU.
    fn conv_relu(&mut self, x: usize, outputs: usize, window: Window) -> usize {
        let x = self.conv(x, outputs, window, 1);
        self.activate(x, Activation::Relu)
    }

    fn max_pool(&mut self, x: usize, size: usize, stride: usize, padding: usize, ceil: bool) -> usize {
        self.push(Op::MaxPool { window: Window::square(size, stride, padding), ceil }, &[x])
    }

    pub fn flat(&mut self, x: usize) -> usize {
        let shape = vec![self.graph.shape(x).iter().product()];
        self.push(Op::Reshape { shape }, &[x])
    }

    pub fn average(&mut self, x: usize, out: usize) -> usize {
        self.push(Op::AdaptiveAverage { out: [out; 2] }, &[x])
    }

    pub fn head(&mut self, x: usize, classes: usize) {
        let x = self.average(x, 1);
        let x = self.flat(x);
        self.linear(x, classes);
    }
}

const RELU: Activation = Activation::Relu;

fn three(stride: usize) -> Window {
    Window::square(3, stride, 1)
}

fn one(stride: usize) -> Window {
    Window::square(1, stride, 0)
}

/// By name.
pub fn all() -> Vec<(&'static str, Graph<f64>)> {
    let nets: [(_, fn() -> Net); 10] = [
        ("vgg", vgg),
        ("resnet", resnet),
        ("bottlenecks", bottlenecks),
        ("squeezenet", squeezenet),
        ("wide and silu", wide),
        ("mobilenet", mobilenet),
        ("densenet", densenet),
        ("vit", vit),
        ("convnext", convnext),
        ("shuffled groups", shufflenet),
    ];
    nets.into_iter().map(|(name, net)| (name, net().graph.to_f32().to_f64())).collect()
}

fn vgg() -> Net {
    let mut net = Net::new([21, 18], 1);
    let mut x = 0;
    for (i, width) in [12, 16, 24, 24].into_iter().enumerate() {
        x = net.conv(x, width, three(1), 1);
        x = net.norm(x);
        x = net.activate(x, RELU);
        if i % 2 == 1 {
            x = net.max_pool(x, 2, 2, 0, false);
        }
    }
    x = net.average(x, 3);
    x = net.flat(x);
    x = net.linear(x, 30);
    x = net.activate(x, RELU);
    net.linear(x, 10);
    net
}

fn resnet() -> Net {
    let mut net = Net::new([33, 30], 2);
    let mut x = net.conv(0, 16, Window::square(7, 2, 3), 1);
    x = net.norm(x);
    x = net.activate(x, RELU);
    x = net.max_pool(x, 3, 2, 1, false);
    for (width, stride) in [(16, 1), (20, 2), (24, 2)] {
        let mut y = net.conv(x, width, three(stride), 1);
        y = net.norm(y);
        y = net.activate(y, RELU);
        y = net.conv(y, width, three(1), 1);
        y = net.norm(y);
        if stride > 1 {
            x = net.conv(x, width, one(stride), 1);
            x = net.norm(x);
        }
        x = net.push(Op::Add, &[y, x]);
        x = net.activate(x, RELU);
    }
    net.head(x, 10);
    net
}

fn bottlenecks() -> Net {
    let mut net = Net::new([17, 17], 3);
    let mut x = net.conv_relu(0, 8, three(1));
    for (width, stride) in [(8, 1), (8, 1), (16, 2)] {
        let mut y = net.conv_relu(x, width, one(1));
        y = net.conv_relu(y, width, three(stride));
        y = net.conv(y, 4 * width, one(1), 1);
        if net.graph.shape(x) != net.graph.shape(y) {
            x = net.conv(x, 4 * width, one(stride), 1);
        }
        x = net.push(Op::Add, &[x, y]);
        x = net.activate(x, RELU);
    }
    net.head(x, 7);
    net
}

fn squeezenet() -> Net {
    let mut net = Net::new([31, 35], 4);
    let mut x = net.conv_relu(0, 16, Window::square(3, 2, 0));
    x = net.max_pool(x, 3, 2, 0, true);
    for width in [16, 20] {
        let squeezed = net.conv_relu(x, 6, one(1));
        let (a, b) = (net.conv_relu(squeezed, width, one(1)), net.conv_relu(squeezed, width - 3, three(1)));
        x = net.push(Op::Concat { axis: 0 }, &[a, b]);
    }
    x = net.max_pool(x, 3, 2, 0, true);
    x = net.conv_relu(x, 10, one(1));
    x = net.average(x, 1);
    net.flat(x);
    net
}

/// Norm and SiLU before each convolution, and zeros on one side only.
fn wide() -> Net {
    let mut net = Net::new([16, 16], 5);
    let mut x = net.conv(0, 16, three(1), 1);
    for (width, stride) in [(24, 1), (24, 1), (32, 2), (32, 2)] {
        let mut before = net.norm(x);
        before = net.activate(before, Activation::Silu);
        let uneven = Window { padding: [0, 0, 1, 1], ..Window::square(3, stride, 0) };
        let window = if stride == 1 { three(1) } else { uneven };
        let mut y = net.conv(before, width, window, 1);
        y = net.norm(y);
        y = net.activate(y, Activation::Silu);
        y = net.conv(y, width, three(1), 1);
        if net.graph.shape(x) != net.graph.shape(y) {
            x = net.conv(before, width, one(stride), 1);
        }
        x = net.push(Op::Add, &[y, x]);
    }
    x = net.norm(x);
    x = net.activate(x, Activation::Silu);
    net.head(x, 10);
    net
}

/// Depthwise convolutions between, and channels that are weighed.
fn mobilenet() -> Net {
    let six = Activation::Clip { low: 0.0, high: 6.0 };
    let mut net = Net::new([20, 24], 6);
    let mut x = net.conv(0, 8, three(2), 1);
    x = net.activate(x, six);
    for (width, kernel, stride) in [(8, 3, 1), (12, 5, 2), (12, 3, 1)] {
        let inner = 3 * net.graph.shape(x)[0];
        let mut y = net.conv(x, inner, one(1), 1);
        y = net.activate(y, six);
        y = net.conv(y, inner, Window::square(kernel, stride, kernel / 2), inner);
        y = net.activate(y, Activation::HardSwish);
        let mut gate = net.average(y, 1);
        gate = net.conv(gate, 5, one(1), 1);
        gate = net.activate(gate, RELU);
        gate = net.conv(gate, inner, one(1), 1);
        gate = net.activate(gate, Activation::HardSigmoid { slope: 1.0 / 6.0, offset: 0.5 });
        y = net.push(Op::Mul, &[y, gate]);
        y = net.conv(y, width, one(1), 1);
        x = if net.graph.shape(x) == net.graph.shape(y) { net.push(Op::Add, &[x, y]) } else { y };
    }
    net.head(x, 10);
    net
}

fn densenet() -> Net {
    let mut net = Net::new([24, 24], 7);
    let mut x = net.conv_relu(0, 16, Window::square(7, 2, 3));
    x = net.max_pool(x, 3, 2, 1, false);
    for block in 0..2 {
        for _ in 0..3 {
            let mut y = net.norm(x);
            y = net.activate(y, RELU);
            y = net.conv_relu(y, 32, one(1));
            y = net.conv(y, 8, three(1), 1);
            x = net.push(Op::Concat { axis: 0 }, &[x, y]);
        }
        x = net.norm(x);
        x = net.activate(x, RELU);
        if block == 0 {
            x = net.conv(x, 20, one(1), 1);
            let window = Window::square(2, 2, 0);
            x = net.push(Op::AveragePool { window, ceil: false, count_padding: true }, &[x]);
        }
    }
    net.head(x, 10);
    net
}

fn vit() -> Net {
    let (heads, width) = (3, 24);
    let mut net = Net::new([12, 16], 8);
    let patches = net.conv(0, width, Window::square(4, 4, 0), 1);
    let mut x = net.push(Op::Reshape { shape: vec![width, 12] }, &[patches]);
    x = net.push(Op::Transpose { axes: vec![1, 0] }, &[x]);
    let class = Op::Constant { shape: vec![1, width], values: net.some(width, 0.5) };
    let class = net.push(class, &[]);
    x = net.push(Op::Concat { axis: 0 }, &[class, x]);
    let positions = Op::Constant { shape: vec![13, width], values: net.some(13 * width, 0.5) };
    let positions = net.push(positions, &[]);
    x = net.push(Op::Add, &[x, positions]);
    for _ in 0..2 {
        let mut y = net.layer_norm(x, 1);
        y = net.linear(y, 3 * width);
        y = net.push(Op::Attention { heads }, &[y]);
        y = net.linear(y, width);
        x = net.push(Op::Add, &[x, y]);
        y = net.layer_norm(x, 1);
        y = net.linear(y, 4 * width);
        y = net.activate(y, Activation::Gelu);
        y = net.linear(y, width);
        x = net.push(Op::Add, &[x, y]);
    }
    x = net.layer_norm(x, 1);
    x = net.push(Op::Slice { axis: 0, start: 0, end: 1, step: 1 }, &[x]);
    x = net.flat(x);
    net.linear(x, 10);
    net
}

fn convnext() -> Net {
    let mut net = Net::new([16, 20], 9);
    let mut x = net.conv(0, 12, Window::square(4, 4, 0), 1);
    x = net.layer_norm(x, 0);
    for width in [12, 16] {
        if width != net.graph.shape(x)[0] {
            x = net.layer_norm(x, 0);
            x = net.conv(x, width, Window::square(2, 2, 0), 1);
        }
        let mut y = net.conv(x, width, Window::square(7, 1, 3), width);
        y = net.layer_norm(y, 0);
        y = net.conv(y, 4 * width, one(1), 1);
        y = net.activate(y, Activation::Gelu);
        y = net.conv(y, width, one(1), 1);
        y = net.norm(y);
        x = net.push(Op::Add, &[x, y]);
    }
    x = net.average(x, 1);
    x = net.layer_norm(x, 0);
    x = net.flat(x);
    net.linear(x, 10);
    net
}

/// Groups of all kinds, dilated ones too, and channels dealt out among them.
fn shufflenet() -> Net {
    let mut net = Net::new([14, 13], 10);
    let mut x = net.conv_relu(0, 16, three(1));
    for (outputs, groups, step) in [(16, 2, 1), (24, 8, 2), (18, 6, 1), (18, 3, 2)] {
        let window = Window { dilation: [step; 2], padding: [step; 4], ..three(1) };
        x = net.conv(x, outputs, window, groups);
        x = net.activate(x, RELU);
        let [channels, height, width] = *net.graph.shape(x) else { unreachable!("a map") };
        x = net.push(Op::Reshape { shape: vec![2, channels / 2, height, width] }, &[x]);
        x = net.push(Op::Transpose { axes: vec![1, 0, 2, 3] }, &[x]);
        x = net.push(Op::Reshape { shape: vec![channels, height, width] }, &[x]);
    }
    let dilated = Window { dilation: [2, 3], padding: [2, 1, 3, 3], ..three(1) };
    x = net.conv_relu(x, 12, dilated);
    net.head(x, 10);
    net
}
