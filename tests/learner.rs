//! The CPU's learner against the reference by automatic differentiation: logits, running statistics, and both gradients, for every
//! kind of layer that learners know; and against itself: the same bits for every instruction set and number of threads.

use candle_core::Device;
use foolproof::kernel::cpu::{CpuLearner, INSTRUCTIONS, Instructions};
use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::kernel::learn::autograd::Autograd;
use foolproof::kernel::learn::{Blueprint, Learned, Learner, Tensors};
use foolproof::model::{FAMILIES, parse};
use foolproof::rng::Streams;
use std::path::Path;

/// A network in the making, by hand.
struct Net(Blueprint);

impl Net {
    fn new(size: [usize; 2]) -> Net {
        let graph = Graph::outline(size, [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]);
        Net(Blueprint { graph, learned: Vec::new(), tensors: Vec::new() })
    }

    fn push(&mut self, op: Op<f32>, inputs: &[usize], learned: Option<Learned>) -> usize {
        self.0.learned.push(learned);
        self.0.graph.push(op, inputs).unwrap()
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> usize {
        self.0.tensors.push((format!("{}.{name}", self.0.tensors.len()), shape.to_vec()));
        self.0.tensors.len() - 1
    }

    fn conv(&mut self, x: usize, outputs: usize, window: Window, groups: usize, has_bias: bool) -> usize {
        let inputs = self.0.graph.shape(x)[0] / groups;
        let weight = self.tensor("weight", &[outputs, inputs, window.size[0], window.size[1]]);
        let bias = has_bias.then(|| self.tensor("bias", &[outputs]));
        let op = Op::Conv { window, groups, weight: Vec::new(), bias: vec![0.0; outputs] };
        self.push(op, &[x], Some(Learned::Layer { weight, bias }))
    }

    fn norm(&mut self, x: usize) -> usize {
        let channels = self.0.graph.shape(x)[0];
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|name| self.tensor(name, &[channels]));
        let op = Op::Scale { axis: 0, factor: vec![1.0; channels], shift: vec![0.0; channels] };
        self.push(op, &[x], Some(Learned::Norm { gamma, beta, mean, variance }))
    }

    fn relu(&mut self, x: usize) -> usize {
        self.push(Op::Activate(Activation::Relu), &[x], None)
    }

    fn linear(&mut self, x: usize, outputs: usize) -> usize {
        let inputs = self.0.graph.shape(x)[0];
        let (weight, bias) = (self.tensor("weight", &[outputs, inputs]), self.tensor("bias", &[outputs]));
        let op = Op::Linear { weight: Vec::new(), bias: vec![0.0; outputs] };
        self.push(op, &[x], Some(Learned::Layer { weight, bias: Some(bias) }))
    }

    fn flat(&mut self, x: usize) -> usize {
        let shape = vec![self.0.graph.shape(x).iter().product()];
        self.push(Op::Reshape { shape }, &[x], None)
    }
}

/// A block with a shortcut that changes shape, and one without.
fn residual() -> Blueprint {
    let mut net = Net::new([13, 10]);
    let x = net.conv(0, 20, Window::square(3, 1, 1), 1, false);
    let x = net.norm(x);
    let x = net.relu(x);
    let y = net.conv(x, 33, Window::square(3, 2, 1), 1, false);
    let y = net.norm(y);
    let y = net.relu(y);
    let y = net.conv(y, 33, Window::square(3, 1, 1), 1, false);
    let y = net.norm(y);
    let side = net.conv(x, 33, Window::square(1, 2, 0), 1, false);
    let side = net.norm(side);
    let sum = net.push(Op::Add, &[y, side], None);
    let x = net.relu(sum);
    let y = net.conv(x, 33, Window::square(3, 1, 1), 1, false);
    let y = net.norm(y);
    let sum = net.push(Op::Add, &[x, y], None);
    let x = net.relu(sum);
    let x = net.push(Op::AdaptiveAverage { out: [1, 1] }, &[x], None);
    let x = net.flat(x);
    net.linear(x, 4);
    net.0
}

/// A wide first window and a pool whose windows overlap, groups, odd windows, averages of unequal windows, and layers of vectors.
fn odd() -> Blueprint {
    let mut net = Net::new([31, 24]);
    let x = net.conv(0, 16, Window { padding: [3, 2, 2, 3], ..Window::square(7, 2, 3) }, 1, true);
    let x = net.relu(x);
    let x = net.push(Op::MaxPool { window: Window::square(3, 2, 1), ceil: false }, &[x], None);
    let x = net.conv(x, 64, Window { dilation: [2; 2], ..Window::square(3, 1, 2) }, 4, true);
    let x = net.norm(x);
    let y = net.conv(x, 24, Window { size: [5, 3], padding: [2, 1, 2, 1], ..Window::square(3, 1, 1) }, 1, false);
    let y = net.norm(y);
    let y = net.relu(y);
    let y = net.push(Op::AdaptiveAverage { out: [3, 2] }, &[y], None);
    let y = net.flat(y);
    let y = net.linear(y, 19);
    let y = net.relu(y);
    net.linear(y, 5);
    net.0
}

/// Pools down to maps of 2×2, which have a Winograd form of their own, and 1×1; a raw sum that is read twice.
fn small_maps() -> Blueprint {
    let mut net = Net::new([8, 8]);
    let mut x = net.conv(0, 16, Window::square(3, 1, 1), 1, false);
    let y = net.conv(x, 16, Window::square(3, 1, 1), 1, false);
    x = net.push(Op::Add, &[x, y], None);
    let z = net.norm(x);
    let z = net.relu(z);
    let z = net.conv(z, 16, Window::square(1, 1, 0), 1, false);
    x = net.push(Op::Add, &[x, z], None);
    for channels in [32, 48, 520] {
        x = net.push(Op::MaxPool { window: Window::square(2, 2, 0), ceil: false }, &[x], None);
        x = net.conv(x, channels, Window::square(3, 1, 1), 1, false);
        x = net.norm(x);
        x = net.relu(x);
    }
    // windows that step over the only place there is
    x = net.conv(x, 16, Window::square(1, 2, 0), 1, false);
    x = net.norm(x);
    let x = net.flat(x);
    net.linear(x, 6);
    net.0
}

fn of_family(text: &str) -> Blueprint {
    let text = format!("{text}\nmean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.3, 0.25]\nweights = \"none\"\n");
    let file = parse(Path::new("model.toml"), &text).unwrap();
    let family = FAMILIES.iter().find(|f| f.names.contains(&file.family.as_str())).unwrap();
    family.blueprint(&file).unwrap()
}

/// Weights of usual sizes, with norms and biases that are none of those that one begins with.
fn weights(blueprint: &Blueprint) -> Tensors {
    let mut stream = Streams::new(3, "learner").stream(0, 0, "weights");
    let tensor = |(name, shape): &(String, Vec<usize>)| {
        let fan_in: usize = shape[1..].iter().product();
        let (middle, spread) = match shape.len() {
            1 if name.ends_with("bias") || name.ends_with("running_mean") => (0.0, 0.3),
            1 => (1.0, 0.2),
            _ => (0.0, (2.0 / fan_in as f64).sqrt()),
        };
        (0..shape.iter().product()).map(|_| (middle + spread * stream.normal()) as f32).collect()
    };
    blueprint.tensors.iter().map(tensor).collect()
}

#[derive(PartialEq)]
struct Step {
    logits: Vec<f32>,
    tensors: Tensors,
    weights: Tensors,
    images: Vec<f32>,
}

/// A way forward and back of some images; gradients are added to ones.
fn step(learner: &mut dyn Learner, blueprint: &Blueprint, n: usize) -> Step {
    let [height, width] = blueprint.graph.size();
    let mut stream = Streams::new(4, "learner").stream(0, 0, "images");
    let images: Vec<f32> = (0..n * 3 * height * width).map(|_| stream.uniform()).collect();
    let mut tensors = weights(blueprint);
    learner.set(&tensors).unwrap();
    let logits = learner.forward(&images, &mut tensors).unwrap();
    let seed: Vec<f32> = logits.iter().map(|_| stream.normal() as f32).collect();
    let mut gradients = blueprint.zeros();
    gradients.iter_mut().for_each(|g| g.fill(1.0));
    let of_images = learner.backward(&seed, Some(&mut gradients), true).unwrap().unwrap();
    Step { logits, tensors, weights: gradients, images: of_images }
}

/// ‖a − b‖/‖b − 1‖, both plus `on`.
fn distance(a: &[f32], b: &[f32], on: f32) -> f64 {
    assert_eq!(a.len(), b.len());
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let apart = length(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    apart / length(&mut b.iter().map(|b| f64::from(b - on))).max(1e-3)
}

/// Both compute in f32, and a value near 0 that one rounds above it and the other below passes a ReLU here and not there: such flips,
/// not roundings, are the most that single tensors differ by.
fn hold(name: &str, fast: &Step, plain: &Step, blueprint: &Blueprint, most: f64) {
    let d = distance(&fast.logits, &plain.logits, 0.0);
    assert!(d < most / 10.0, "{name}: logits differ by {d:.1e}");
    let d = distance(&fast.images, &plain.images, 0.0);
    assert!(d < most, "{name}: images differ by {d:.1e}");
    for (i, (tensor, _)) in blueprint.tensors.iter().enumerate() {
        let (d, moved) =
            (distance(&fast.weights[i], &plain.weights[i], 1.0), distance(&fast.tensors[i], &plain.tensors[i], 0.0));
        assert!(moved < 1e-4, "{name}: statistics {tensor} differ by {moved:.1e}");
        assert!(d < most, "{name}: gradient of {tensor} differs by {d:.1e}");
        let is_still = fast.weights[i].iter().all(|g| *g == 1.0);
        assert_eq!(is_still, blueprint.is_statistic(i), "{name}: {tensor}");
    }
}

#[test]
fn a_step_is_that_of_the_reference() {
    for (name, blueprint, n) in [("residual", residual(), 11), ("odd", odd(), 5), ("small maps", small_maps(), 20)] {
        let fast = step(&mut CpuLearner::new(&blueprint).unwrap(), &blueprint, n);
        let plain = step(&mut Autograd::new(&blueprint, &Device::Cpu).unwrap(), &blueprint, n);
        hold(name, &fast, &plain, &blueprint, 2e-3);
    }
}

#[test]
fn every_family_that_is_trained_is_wired_right() {
    for text in [
        "family = \"resnet18_cifar\"\nwidth = 0.25\nclasses = 10\nside = 32",
        "family = \"resnet50_cifar\"\nwidth = 0.125\nclasses = 7\nside = 16",
        "family = \"resnet18\"\nwidth = 0.25\nclasses = 5\nsize = [64, 96]",
        "family = \"resnext50_32x4d\"\nwidth = 0.5\nclasses = 4\nside = 64",
        "family = \"vgg11_bn\"\nwidth = 0.25\nhead = \"linear\"\nclasses = 10\nside = 32",
        "family = \"vgg13\"\nwidth = 0.125\nhead = \"linear\"\nclasses = 10\nside = 64",
    ] {
        let blueprint = of_family(text);
        let fast = step(&mut CpuLearner::new(&blueprint).unwrap(), &blueprint, 3);
        let plain = step(&mut Autograd::new(&blueprint, &Device::Cpu).unwrap(), &blueprint, 3);
        // deep networks of few images: every flip is seen by all layers before it
        hold(text, &fast, &plain, &blueprint, 0.15);
    }
}

#[test]
fn a_step_has_the_same_bits_on_every_instruction_set_with_any_threads_and_again() {
    for blueprint in [residual(), odd(), small_maps()] {
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let usual = step(&mut CpuLearner::new(&blueprint).unwrap(), &blueprint, 17);
        assert!(alone.install(|| step(&mut CpuLearner::new(&blueprint).unwrap(), &blueprint, 17)) == usual);
        for (name, instructions) in INSTRUCTIONS.iter().filter(|(_, i)| *i <= Instructions::widest()) {
            let other = step(&mut CpuLearner::with(&blueprint, *instructions).unwrap(), &blueprint, 17);
            assert!(other == usual, "{name}");
        }
        // a larger batch and a smaller one leave nothing behind
        let mut learner = CpuLearner::new(&blueprint).unwrap();
        step(&mut learner, &blueprint, 23);
        step(&mut learner, &blueprint, 2);
        assert!(step(&mut learner, &blueprint, 17) == usual);
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let mut net = Net::new([8, 8]);
    let x = net.conv(0, 16, Window::square(3, 1, 1), 1, false);
    net.push(Op::Activate(Activation::Silu), &[x], None);
    assert!(CpuLearner::new(&net.0).is_err_and(|problem| problem.contains("activation")));
    let mut pool = Net::new([8, 8]);
    pool.push(Op::MaxPool { window: Window::square(2, 2, 0), ceil: false }, &[0], None);
    assert!(CpuLearner::new(&pool.0).is_err_and(|problem| problem.contains("convolution must come first")));
}
