//! Graphs that hold what random ones seldom or never have: against the reference, by every instruction set, and with NaN.

use super::engines::{bits, compiled, there, threads};
use super::hold::{hold, nan_stays, random_images};
use super::nets::{number, stream};
use foolproof::kernel::cpu::Cpu;
use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::rng::Stream;

/// A graph in the making, with random weights. Each method adds an operation on these values, and gives the number of the one
/// it makes.
struct Net {
    graph: Graph<f64>,
    s: Stream,
}

impl Net {
    fn new(height: usize, width: usize) -> Net {
        Net { graph: Graph::new([height, width], [0.5, 0.25, 0.375], [0.25, 0.5, 0.25]), s: stream("cases") }
    }

    fn push(&mut self, op: Op<f64>, inputs: &[usize]) -> usize {
        self.graph.push(op, inputs).unwrap()
    }

    fn some(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| number(&mut self.s) * scale).collect()
    }

    fn windows(&mut self, x: usize, outputs: usize, window: Window, groups: usize) -> usize {
        let taps = self.graph.shape(x)[0] / groups * window.size[0] * window.size[1];
        let (weight, bias) = (self.some(outputs * taps, (4.0 / taps as f64).sqrt()), self.some(outputs, 0.2));
        self.push(Op::Conv { window, groups, weight, bias }, &[x])
    }

    /// `size`×`size`, so that the map stays as large.
    fn conv(&mut self, x: usize, outputs: usize, size: usize) -> usize {
        self.windows(x, outputs, Window::square(size, 1, size / 2), 1)
    }

    fn linear(&mut self, x: usize, outputs: usize) -> usize {
        let inputs = *self.graph.shape(x).last().unwrap();
        let (weight, bias) = (self.some(outputs * inputs, (3.0 / inputs as f64).sqrt()), self.some(outputs, 0.2));
        self.push(Op::Linear { weight, bias }, &[x])
    }

    fn relu(&mut self, x: usize) -> usize {
        self.push(Op::Activate(Activation::Relu), &[x])
    }

    fn add(&mut self, x: usize, y: usize) -> usize {
        self.push(Op::Add, &[x, y])
    }

    fn concat(&mut self, parts: &[usize]) -> usize {
        self.push(Op::Concat { axis: 0 }, parts)
    }

    fn max_pool(&mut self, x: usize, window: Window) -> usize {
        self.push(Op::MaxPool { window, ceil: false }, &[x])
    }

    fn constant(&mut self, shape: &[usize]) -> usize {
        let values = self.some(shape.iter().product(), 0.5);
        self.push(Op::Constant { shape: shape.to_vec(), values }, &[])
    }

    fn flat(&mut self, x: usize) -> usize {
        let n = self.graph.shape(x).iter().product();
        self.push(Op::Reshape { shape: vec![n] }, &[x])
    }

    /// All numbers of a map, and a linear layer on them.
    fn head(&mut self, x: usize) -> usize {
        let flat = self.flat(x);
        self.linear(flat, 4)
    }
}

type Build = fn(&mut Net);

const CASES: &[(&str, Build)] = &[
    ("readers of the image of every kind", |net| {
        let (a, b, c) = (net.conv(0, 5, 3), net.conv(0, 5, 1), net.conv(0, 5, 7));
        let (a, b) = (net.relu(a), net.relu(b));
        let pooled = net.max_pool(0, Window::square(3, 1, 1));
        let sum = net.add(a, b);
        let sum = net.add(sum, c);
        let all = net.concat(&[sum, pooled, 0]);
        net.head(all);
    }),
    ("grey images", |net| {
        let grey = net.push(Op::Slice { axis: 0, start: 1, end: 2, step: 1 }, &[0]);
        let x = net.conv(grey, 7, 5);
        let x = net.relu(x);
        net.head(x);
    }),
    ("weighted grey, then a sum over channels", |net| {
        let grey = net.windows(0, 1, Window::square(1, 1, 0), 1);
        let x = net.conv(grey, 18, 3);
        let x = net.relu(x);
        let x = net.push(Op::Mean { axis: 0 }, &[x]);
        net.head(x);
    }),
    ("a constant on its own way to a sum", |net| {
        let x = net.conv(0, 6, 3);
        let [_, height, width] = *net.graph.shape(x) else { panic!("a map") };
        let constant = net.constant(&[6, height, width]);
        let constant = net.conv(constant, 6, 3);
        let constant = net.relu(constant);
        let x = net.add(x, constant);
        let x = net.relu(x);
        net.head(x);
    }),
    ("a constant that is broadcast, added and multiplied", |net| {
        let x = net.conv(0, 6, 3);
        let (shift, factor) = (net.constant(&[6, 1, 1]), net.constant(&[1, 1, 1]));
        let x = net.add(shift, x);
        let x = net.push(Op::Mul, &[x, factor]);
        net.head(x);
    }),
    ("logits that no image changes", |net| {
        net.conv(0, 6, 3);
        let constant = net.constant(&[5]);
        net.linear(constant, 4);
    }),
    ("values that nobody reads", |net| {
        let x = net.conv(0, 6, 3);
        let unread = net.conv(x, 9, 3);
        net.relu(unread);
        let x = net.relu(x);
        net.max_pool(x, Window::square(2, 2, 0));
        net.head(x);
    }),
    ("logits from a convolution over all places", |net| {
        let x = net.conv(0, 6, 3);
        let x = net.relu(x);
        let [_, height, width] = *net.graph.shape(x) else { panic!("a map") };
        let window = Window { size: [height, width], ..Window::square(1, 1, 0) };
        let x = net.windows(x, 4, window, 1);
        net.flat(x);
    }),
    ("logits from every place of a convolution", |net| {
        let x = net.windows(0, 3, Window::square(3, 4, 0), 1);
        net.flat(x);
    }),
    ("logits behind a ReLU", |net| {
        let x = net.head(0);
        net.relu(x);
    }),
    ("two linear layers behind each other", |net| {
        let x = net.conv(0, 6, 3);
        let x = net.flat(x);
        let x = net.linear(x, 21);
        net.linear(x, 4);
    }),
    ("three linear layers, two ReLUs, another function", |net| {
        let x = net.flat(0);
        let x = net.linear(x, 33);
        let x = net.relu(x);
        let x = net.relu(x);
        let x = net.linear(x, 17);
        let x = net.push(Op::Activate(Activation::Gelu), &[x]);
        net.linear(x, 3);
    }),
    ("a linear layer whose output is read twice", |net| {
        let x = net.flat(0);
        let x = net.linear(x, 19);
        let y = net.relu(x);
        let y = net.linear(y, 19);
        let sum = net.add(x, y);
        net.linear(sum, 4);
    }),
    ("a value with itself: sum, product, concatenation", |net| {
        let x = net.conv(0, 5, 3);
        let x = net.relu(x);
        let (sum, product) = (net.add(x, x), net.push(Op::Mul, &[x, x]));
        let all = net.concat(&[sum, product, x, x]);
        let x = net.conv(all, 7, 3);
        let x = net.add(x, x);
        net.head(x);
    }),
    ("a pool first", |net| {
        let x = net.max_pool(0, Window::square(2, 2, 0));
        let x = net.conv(x, 6, 3);
        net.head(x);
    }),
    ("windows of 81 taps, and a padded map that two read", |net| {
        let x = net.conv(0, 6, 3);
        let pooled = net.max_pool(x, Window::square(9, 1, 4));
        let padded = net.push(Op::Pad { padding: [2, 0, 1, 3] }, &[pooled]);
        let (a, b) = (net.conv(padded, 5, 3), net.conv(padded, 5, 1));
        let x = net.add(a, b);
        net.head(x);
    }),
    ("groups of the image's channels", |net| {
        let x = net.windows(0, 6, Window::square(3, 1, 1), 3);
        let x = net.relu(x);
        let x = net.windows(x, 20, Window::square(3, 2, 1), 2);
        net.head(x);
    }),
    ("a ReLU and a pool in either order, and a sum behind", |net| {
        let x = net.conv(0, 20, 3);
        let a = net.max_pool(x, Window::square(2, 2, 0));
        let a = net.relu(a);
        let b = net.conv(0, 20, 3);
        let b = net.relu(b);
        let b = net.max_pool(b, Window::square(2, 2, 0));
        let x = net.add(a, b);
        net.head(x);
    }),
    ("softmax over channels, over rows, over all", |net| {
        let x = net.conv(0, 5, 3);
        let (a, b) = (net.push(Op::Softmax { axis: 0 }, &[x]), net.push(Op::Softmax { axis: 2 }, &[x]));
        let x = net.push(Op::Mul, &[a, b]);
        let x = net.head(x);
        net.push(Op::Softmax { axis: 0 }, &[x]);
    }),
    ("attention of 90 tokens by heads of 20 numbers", |net| {
        let x = net.conv(0, 40, 3);
        let x = net.push(Op::LayerNorm { axis: 0, factor: vec![1.25; 40], shift: vec![0.5; 40], eps: 1e-6 }, &[x]);
        let x = net.push(Op::Reshape { shape: vec![40, 90] }, &[x]);
        let x = net.push(Op::Transpose { axes: vec![1, 0] }, &[x]);
        let all = net.linear(x, 120);
        let looks = net.push(Op::Attention { heads: 2 }, &[all]);
        let x = net.add(x, looks);
        let x = net.push(Op::LayerNorm { axis: 1, factor: vec![0.75; 40], shift: vec![0.0; 40], eps: 1e-6 }, &[x]);
        let x = net.push(Op::Mean { axis: 0 }, &[x]);
        net.linear(x, 4);
    }),
    ("values of four axes, as shuffled channels have", |net| {
        let x = net.conv(0, 6, 3);
        let [_, height, width] = *net.graph.shape(x) else { panic!("a map") };
        let x = net.push(Op::Reshape { shape: vec![2, 3, height, width] }, &[x]);
        let x = net.push(Op::Transpose { axes: vec![1, 0, 2, 3] }, &[x]);
        let x = net.push(Op::Reshape { shape: vec![6, height, width] }, &[x]);
        let x = net.windows(x, 6, Window::square(3, 1, 1), 6);
        net.head(x);
    }),
];

/// Concatenations of these numbers of channels, none of which fills vectors: between convolutions, pools, and sums.
const PARTS: &[&[usize]] = &[&[5, 7, 3], &[17, 1], &[16, 15], &[1, 1, 1, 1], &[13, 33, 2]];

fn concatenations(parts: &[usize]) -> Graph<f64> {
    let mut net = Net::new(9, 7);
    let stem = net.conv(0, 4, 3);
    let ways: Vec<usize> = parts
        .iter()
        .enumerate()
        .map(|(i, outputs)| {
            let way = net.conv(stem, *outputs, [3, 1, 5][i % 3]);
            net.relu(way)
        })
        .collect();
    let all = net.concat(&ways);
    let pooled = net.max_pool(all, Window::square(3, 1, 1));
    let both = net.add(all, pooled);
    let turned: Vec<usize> = ways.iter().rev().copied().collect();
    let again = net.concat(&[&[both], &turned[..]].concat());
    let x = net.conv(again, 6, 3);
    let x = net.relu(x);
    net.head(x);
    net.graph
}

#[test]
fn odd_graphs_agree_with_the_reference_and_with_themselves() {
    for (what, build) in CASES {
        let mut net = Net::new(10, 9);
        build(&mut net);
        let net = net.graph;
        let x = random_images(&net, 5, 3);
        let first = compiled(&Cpu::new(net.to_f32()), &threads(1), 5, &x);
        assert_eq!(hold(what, &net, &x, &first), 0, "{what}");
        for instructions in there() {
            let other = compiled(&Cpu::with(net.to_f32(), instructions), &threads(3), 2, &x);
            let name = instructions.name();
            assert!(bits(&other.0) == bits(&first.0) && bits(&other.1) == bits(&first.1), "{what}: {name}");
        }
        nan_stays(what, &net, 50, there());
    }
}

#[test]
fn gradients_are_zero_where_nothing_is_read() {
    let of = |name: &str| {
        let mut net = Net::new(10, 9);
        CASES.iter().find(|(what, _)| *what == name).unwrap().1(&mut net);
        let x = random_images(&net.graph, 1, 4);
        compiled(&Cpu::new(net.graph.to_f32()), &threads(1), 1, &x).1
    };
    assert!(of("logits that no image changes").iter().all(|g| *g == 0.0));
    let grey = of("grey images");
    assert!(grey[..90].iter().chain(&grey[180..]).all(|g| *g == 0.0));
    assert!(grey[90..180].iter().any(|g| *g != 0.0));
}

#[test]
fn concatenations_that_fill_no_vector_keep_nan_in_its_image() {
    for parts in PARTS {
        let net = concatenations(parts);
        let x = random_images(&net, 4, 2);
        let ours = compiled(&Cpu::new(net.to_f32()), &threads(2), 4, &x);
        assert_eq!(hold(&format!("{parts:?}"), &net, &x, &ours), 0, "{parts:?}");
        nan_stays(&format!("{parts:?}"), &net, 40, there());
    }
}
