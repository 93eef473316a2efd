//! Small random networks, from a seed alone: all operations and ways to join them that a graph has.
#![allow(dead_code)] // each test binary uses its part

use foolproof::kernel::graph::{Activation, Graph, Op, Window};

/// An endless sequence of random numbers (SplitMix64, Steele et al. 2014).
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Once in so many times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// In [0, 1), a multiple of 2⁻²⁴, which f32 holds exactly.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / (1u64 << 24) as f64
    }

    /// `n` in [-scale, scale).
    pub fn some(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| (self.unit() * 2.0 - 1.0) * scale).collect()
    }

    /// `n` in [1/2, 3/2).
    fn near_one(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.unit() + 0.5).collect()
    }
}

/// A network for images 3×h×w with sides 5 to 17, h ≠ w, whose weights f32 holds exactly; the same for the same seed.
pub fn random(seed: u64) -> Graph<f64> {
    let mut numbers = Numbers(seed);
    let height = 5 + numbers.below(13);
    let width = 5 + (height - 5 + 1 + numbers.below(12)) % 13;
    let mut net = Builder { graph: Graph::new([height, width], [0.48, 0.46, 0.41], [0.23, 0.22, 0.24]), numbers };
    let mut x = net.stem();
    for _ in 0..1 + net.numbers.below(4) {
        x = net.block(x);
    }
    net.head(x);
    // weights that f32 holds: the same network in either precision
    net.graph.to_f32().to_f64()
}

/// `n` images 3×h×w in [0,1] for a network.
pub fn images(graph: &Graph<f64>, n: usize, seed: u64) -> Vec<f64> {
    let mut numbers = Numbers(seed);
    (0..n * 3 * graph.size()[0] * graph.size()[1]).map(|_| numbers.unit()).collect()
}

/// Builds a network value by value: each function adds operations on value `x` and returns the last one's.
struct Builder {
    graph: Graph<f64>,
    numbers: Numbers,
}

impl Builder {
    fn push(&mut self, op: Op<f64>, inputs: &[usize]) -> usize {
        self.graph.push(op, inputs).unwrap()
    }

    /// Size of the value's first axis: the channels of a map.
    fn channels(&self, x: usize) -> usize {
        self.graph.shape(x)[0]
    }

    /// A number of channels in groups of `groups`; seldom one that fills vectors.
    fn width(&mut self, groups: usize) -> usize {
        groups * self.numbers.of(&[1, 2, 3, 5, 6, 7, 11, 13, 19].map(|n: usize| n.div_ceil(groups)))
    }

    fn activation(&mut self) -> Activation {
        self.numbers.of(&[
            Activation::Relu,
            Activation::Relu,
            Activation::Relu,
            Activation::Relu,
            Activation::Clip { low: 0.0, high: 6.0 },
            Activation::LeakyRelu { slope: 0.1 },
            Activation::Elu { alpha: 1.0 },
            Activation::Sigmoid,
            Activation::Silu,
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::HardSigmoid { slope: 1.0 / 6.0, offset: 0.5 },
            Activation::HardSwish,
            Activation::Tanh,
            Activation::Erf,
        ])
    }

    fn activate(&mut self, x: usize) -> usize {
        let function = self.activation();
        self.push(Op::Activate(function), &[x])
    }

    /// A convolution whose values are about as large as those of `x`.
    fn conv(&mut self, x: usize, outputs: usize, window: Window, groups: usize) -> usize {
        let taps = self.channels(x) / groups * window.size[0] * window.size[1];
        let weight = self.numbers.some(outputs * taps, (4.0 / taps as f64).sqrt());
        let bias = self.numbers.some(outputs, 0.2);
        self.push(Op::Conv { window, groups, weight, bias }, &[x])
    }

    fn linear(&mut self, x: usize, outputs: usize) -> usize {
        let inputs = *self.graph.shape(x).last().unwrap();
        let weight = self.numbers.some(outputs * inputs, (3.0 / inputs as f64).sqrt());
        let bias = self.numbers.some(outputs, 0.2);
        self.push(Op::Linear { weight, bias }, &[x])
    }

    /// A batch norm.
    fn scale(&mut self, x: usize, axis: usize) -> usize {
        let n = self.graph.shape(x)[axis];
        let (factor, shift) = (self.numbers.near_one(n), self.numbers.some(n, 0.3));
        self.push(Op::Scale { axis, factor, shift }, &[x])
    }

    fn layer_norm(&mut self, x: usize, axis: usize) -> usize {
        let n = self.graph.shape(x)[axis];
        let (factor, shift) = (self.numbers.near_one(n), self.numbers.some(n, 0.3));
        self.push(Op::LayerNorm { axis, factor, shift, eps: 1e-5 }, &[x])
    }

    fn reshape(&mut self, x: usize, shape: &[usize]) -> usize {
        self.push(Op::Reshape { shape: shape.to_vec() }, &[x])
    }

    fn flat(&mut self, x: usize) -> usize {
        let n = self.graph.shape(x).iter().product();
        self.reshape(x, &[n])
    }

    /// Windows of any kind that fit on the map: each side, stride, dilation and padding apart, or a usual one.
    fn window(&mut self, x: usize) -> Window {
        let n = &mut self.numbers;
        let mut window = Window::square(n.of(&[1, 3, 3, 3, 5, 7]), 1, 0);
        if n.once_in(4) {
            window.size[1] = n.of(&[1, 2, 3, 7]);
        }
        if n.once_in(3) {
            window.stride = [n.of(&[1, 2, 2, 3]); 2];
            window.stride[1] += usize::from(n.once_in(8));
        }
        if n.once_in(4) {
            window.dilation = n.of(&[[2, 2], [3, 3], [1, 2]]);
        }
        let usual = n.below(3) > 0;
        for axis in 0..2 {
            let around = window.extent(axis) - 1;
            let (before, size) = (if usual { around / 2 } else { n.below(around + 1) }, self.graph.shape(x)[axis + 1]);
            // enough to fit in any case
            let least = window.extent(axis).saturating_sub(size + before);
            let behind = if usual { around - before } else { n.below(around + 1) }.max(least);
            (window.padding[axis], window.padding[axis + 2]) = (before, behind);
        }
        window
    }

    /// Any convolution, with a batch norm or without, and an activation.
    fn conv_block(&mut self, x: usize) -> usize {
        let (window, channels) = (self.window(x), self.channels(x));
        let divisors: Vec<usize> = (1..=channels).filter(|n| channels % n == 0).collect();
        let groups = if self.numbers.once_in(3) { self.numbers.of(&divisors) } else { 1 };
        let outputs = if groups == channels { channels * self.numbers.of(&[1, 1, 2]) } else { self.width(groups) };
        let mut x = self.conv(x, outputs, window, groups);
        if self.numbers.once_in(3) {
            x = self.scale(x, 0);
        }
        self.activate(x)
    }

    /// A pool of any kind; the same value where the windows do not fit.
    fn pool(&mut self, x: usize) -> usize {
        let n = &mut self.numbers;
        let mut window = Window::square(n.of(&[2, 2, 3, 3, 4]), n.of(&[1, 2, 2, 2, 3]), 0);
        window.size[1] -= usize::from(n.once_in(6));
        let (ceil, count_padding) = (n.once_in(3), n.once_in(2));
        match n.below(4) {
            0 => window.padding = [window.size[0] / 2, window.size[1] / 2, window.size[0] / 2, window.size[1] / 2],
            1 => window.padding = [0, 1, 1, 0],
            _ => {}
        }
        let out = [1 + n.below(4), 1 + n.below(4)];
        let mut dilated = window;
        if n.once_in(4) && window.padding == [0; 4] {
            dilated.dilation = [2, 2];
        }
        let op = match n.below(8) {
            0..4 => Op::MaxPool { window: dilated, ceil },
            4..7 => Op::AveragePool { window, ceil, count_padding },
            _ => Op::AdaptiveAverage { out },
        };
        self.graph.push(op, &[x]).unwrap_or(x)
    }

    /// 3×3 or so, the map stays as large.
    fn same(&mut self, x: usize, outputs: usize, kernel: usize) -> usize {
        self.conv(x, outputs, Window::square(kernel, 1, kernel / 2), 1)
    }

    fn stem(&mut self) -> usize {
        match self.numbers.below(4) {
            // normalisation may stand in the graph
            0 => {
                let x = self.scale(0, 0);
                self.conv_block(x)
            }
            // a value that is read twice, the image itself
            1 => {
                let (a, b) = (self.same(0, 4, 3), self.same(0, 3, 1));
                let a = self.activate(a);
                self.push(Op::Concat { axis: 0 }, &[a, b, 0])
            }
            _ => self.conv_block(0),
        }
    }

    fn block(&mut self, x: usize) -> usize {
        match self.numbers.below(11) {
            0 => self.conv_block(x),
            1 => self.pool(x),
            2 => self.branches(x),
            3 | 4 => self.residual(x),
            5 => self.pre_activated(x),
            6 => self.squeeze_and_excite(x),
            7 => self.inverted(x),
            8 => self.convnext(x),
            9 => self.dense(x),
            _ => self.larger_or_smaller(x),
        }
    }

    /// Two to four ways side by side, one behind the other along the channels.
    fn branches(&mut self, x: usize) -> usize {
        let mut ways = Vec::new();
        for _ in 0..2 + self.numbers.below(3) {
            let outputs = self.width(1);
            ways.push(match self.numbers.below(5) {
                0 => x,
                1 => self.push(Op::MaxPool { window: Window::square(3, 1, 1), ceil: false }, &[x]),
                2 => self.same(x, outputs, 1),
                3 => {
                    let way = self.same(x, outputs, 3);
                    self.activate(way)
                }
                _ => {
                    let end = self.channels(x);
                    let (start, step) = (self.numbers.below(end), 1 + self.numbers.below(2));
                    self.push(Op::Slice { axis: 0, start, end, step }, &[x])
                }
            });
        }
        self.push(Op::Concat { axis: 0 }, &ways)
    }

    /// Basic block or bottleneck; by a projection where the shape changes.
    fn residual(&mut self, x: usize) -> usize {
        let (channels, stride) = (self.channels(x), self.numbers.of(&[1, 1, 2]));
        let outputs = if stride == 1 && self.numbers.below(3) > 0 { channels } else { self.width(1) };
        let mut way = x;
        if self.numbers.once_in(3) {
            let inner = self.width(1);
            way = self.same(way, inner, 1);
            way = self.activate(way);
        }
        way = self.conv(way, outputs, Window::square(3, stride, 1), 1);
        way = self.scale(way, 0);
        way = self.push(Op::Activate(Activation::Relu), &[way]);
        way = self.same(way, outputs, 3);
        let past = match self.graph.shape(way) == self.graph.shape(x) {
            true => x,
            false => {
                let past = self.conv(x, outputs, Window::square(1, stride, 0), 1);
                self.scale(past, 0)
            }
        };
        let inputs = if self.numbers.once_in(2) { [way, past] } else { [past, way] };
        let sum = self.push(Op::Add, &inputs);
        if self.numbers.once_in(4) { sum } else { self.activate(sum) }
    }

    /// Batch norm and activation stand before the convolution, and the projection reads behind them.
    fn pre_activated(&mut self, x: usize) -> usize {
        let before = self.scale(x, 0);
        let before = self.activate(before);
        let outputs = self.width(1);
        let way = self.same(before, outputs, 3);
        let way = self.scale(way, 0);
        let way = self.activate(way);
        let way = self.same(way, outputs, 3);
        let past = if outputs == self.channels(x) { x } else { self.same(before, outputs, 1) };
        self.push(Op::Add, &[way, past])
    }

    /// Each channel times a gate that all of the map make.
    fn squeeze_and_excite(&mut self, x: usize) -> usize {
        let (channels, inner) = (self.channels(x), self.width(1));
        let mean = self.push(Op::AdaptiveAverage { out: [1, 1] }, &[x]);
        let gate = if self.numbers.once_in(2) {
            let squeezed = self.same(mean, inner, 1);
            let squeezed = self.activate(squeezed);
            self.same(squeezed, channels, 1)
        } else {
            let flat = self.flat(mean);
            let squeezed = self.linear(flat, inner);
            let squeezed = self.activate(squeezed);
            let flat = self.linear(squeezed, channels);
            self.reshape(flat, &[channels, 1, 1])
        };
        let function = self.numbers.of(&[Activation::Sigmoid, Activation::HardSigmoid { slope: 0.2, offset: 0.5 }]);
        let gate = self.push(Op::Activate(function), &[gate]);
        let inputs = if self.numbers.once_in(2) { [x, gate] } else { [gate, x] };
        self.push(Op::Mul, &inputs)
    }

    /// MobileNet's: wide and depthwise inside.
    fn inverted(&mut self, x: usize) -> usize {
        let (channels, kernel, stride) = (self.channels(x), self.numbers.of(&[3, 5]), self.numbers.of(&[1, 1, 2]));
        let inner = channels * self.numbers.of(&[1, 2, 3]);
        let six = Activation::Clip { low: 0.0, high: 6.0 };
        let way = self.same(x, inner, 1);
        let way = self.push(Op::Activate(six), &[way]);
        let way = self.conv(way, inner, Window::square(kernel, stride, kernel / 2), inner);
        let way = self.push(Op::Activate(six), &[way]);
        let way = self.same(way, channels, 1);
        if stride == 1 { self.push(Op::Add, &[x, way]) } else { way }
    }

    /// ConvNeXt's: depthwise 7×7, a layer norm over channels, a scale before the sum.
    fn convnext(&mut self, x: usize) -> usize {
        let channels = 4 + self.numbers.below(8);
        let x = self.same(x, channels, 1);
        let way = self.conv(x, channels, Window::square(7, 1, 3), channels);
        let way = self.layer_norm(way, 0);
        let way = self.same(way, 2 * channels, 1);
        let way = self.push(Op::Activate(Activation::Gelu), &[way]);
        let way = self.same(way, channels, 1);
        let way = self.scale(way, 0);
        self.push(Op::Add, &[x, way])
    }

    /// DenseNet's: each convolution reads all before it.
    fn dense(&mut self, x: usize) -> usize {
        let mut all = vec![x];
        for _ in 0..2 {
            let grows = self.width(1);
            let x = self.push(Op::Concat { axis: 0 }, &all);
            let x = self.scale(x, 0);
            let x = self.push(Op::Activate(Activation::Relu), &[x]);
            all.push(self.same(x, grows, 3));
        }
        self.push(Op::Concat { axis: 0 }, &all)
    }

    /// Repeats, pads, cuts, or turns the map.
    fn larger_or_smaller(&mut self, x: usize) -> usize {
        let [_, height, width] = *self.graph.shape(x) else { unreachable!("blocks read maps") };
        let (axis, across) = (1 + self.numbers.below(2), 1 + self.numbers.below(2));
        let x = match self.numbers.below(4) {
            0 if height * width < 100 => self.push(Op::Upsample { times: [2, across] }, &[x]),
            1 => self.push(Op::Transpose { axes: vec![0, 2, 1] }, &[x]),
            2 if [height, width][axis - 1] > 2 => {
                let (end, step) = ([height, width][axis - 1], 1 + self.numbers.below(2));
                self.push(Op::Slice { axis, start: 1, end, step }, &[x])
            }
            _ => self.push(Op::Pad { padding: [1, 0, 2, 1] }, &[x]),
        };
        self.conv_block(x)
    }

    fn head(&mut self, x: usize) {
        let classes = 2 + self.numbers.below(9);
        let flat = match self.numbers.below(7) {
            0 => {
                let x = self.same(x, classes, 1);
                let x = self.activate(x);
                let x = self.push(Op::AdaptiveAverage { out: [1, 1] }, &[x]);
                self.flat(x);
                return;
            }
            1 => {
                let out = [1 + self.numbers.below(3), 1 + self.numbers.below(3)];
                let x = self.push(Op::AdaptiveAverage { out }, &[x]);
                let hidden = 1 + self.numbers.below(20);
                let x = self.flat(x);
                let x = self.linear(x, hidden);
                self.activate(x)
            }
            2 => {
                let rows = self.push(Op::Mean { axis: 2 }, &[x]);
                self.push(Op::Mean { axis: 1 }, &[rows])
            }
            3 | 4 => self.tokens(x),
            5 => self.flat(x),
            _ => {
                let x = self.push(Op::AdaptiveAverage { out: [1, 1] }, &[x]);
                self.flat(x)
            }
        };
        self.linear(flat, classes);
    }

    /// A transformer over the places of the map, and what it says of all of them.
    fn tokens(&mut self, x: usize) -> usize {
        let (heads, depth) = (self.numbers.of(&[1, 2, 3]), self.numbers.of(&[3, 4, 5]));
        let width = heads * depth;
        let x = self.conv(x, width, Window { stride: [2, 2], ..Window::square(1, 1, 0) }, 1);
        let places = self.graph.shape(x)[1..].iter().product();
        let x = self.reshape(x, &[width, places]);
        let mut x = self.push(Op::Transpose { axes: vec![1, 0] }, &[x]);
        let constant = |net: &mut Builder, shape: Vec<usize>| {
            let values = net.numbers.some(shape.iter().product(), 0.5);
            net.push(Op::Constant { shape, values }, &[])
        };
        let with_class = self.numbers.once_in(2);
        if with_class {
            let class = constant(self, vec![1, width]);
            x = self.push(Op::Concat { axis: 0 }, &[class, x]);
        }
        let tokens = self.channels(x);
        let positions = constant(self, vec![tokens, width]);
        x = self.push(Op::Add, &[x, positions]);
        for _ in 0..1 + self.numbers.below(2) {
            let way = self.layer_norm(x, 1);
            let way = match self.numbers.once_in(3) {
                true => self.attention_in_parts(way, width),
                false => {
                    let all = self.linear(way, 3 * width);
                    self.push(Op::Attention { heads }, &[all])
                }
            };
            let way = self.linear(way, width);
            x = self.push(Op::Add, &[x, way]);
            let way = self.layer_norm(x, 1);
            let way = self.linear(way, 2 * width);
            let way = self.push(Op::Activate(Activation::Gelu), &[way]);
            let way = self.linear(way, width);
            let way = self.scale(way, 1);
            x = self.push(Op::Add, &[x, way]);
        }
        x = self.layer_norm(x, 1);
        if !with_class {
            return self.push(Op::Mean { axis: 0 }, &[x]);
        }
        let class = self.push(Op::Slice { axis: 0, start: 0, end: 1, step: 1 }, &[x]);
        self.flat(class)
    }

    /// Attention of one head as products and a softmax.
    fn attention_in_parts(&mut self, x: usize, width: usize) -> usize {
        let [queries, keys, values] = [0; 3].map(|_: usize| self.linear(x, width));
        let keys = self.push(Op::Transpose { axes: vec![1, 0] }, &[keys]);
        let looks = self.push(Op::MatMul, &[queries, keys]);
        let factor = vec![1.0 / (width as f64).sqrt()];
        let looks = self.push(Op::Scale { axis: 0, factor, shift: vec![0.0] }, &[looks]);
        let looks = self.push(Op::Softmax { axis: 1 }, &[looks]);
        self.push(Op::MatMul, &[looks, values])
    }
}
