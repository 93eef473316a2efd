//! Networks as graphs by the plain reference: gradients against finite differences, on one network of all that is usual and on
//! random ones; nothing that a result must not depend on.

#[path = "support/random_graph.rs"]
mod random_graph;

use candle_core::{DType, Device, Tensor};
use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::kernel::plain::Plain;
use foolproof::kernel::{Engine, Real};
use random_graph::{Numbers, images, random};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// N×3×H×W for a network, of these numbers.
fn tensor<T: Real>(graph: &Graph<T>, numbers: &[f64]) -> Tensor {
    let [height, width] = graph.size();
    let shape = (numbers.len() / (3 * height * width), 3, height, width);
    Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap().to_dtype(T::DTYPE).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn relu() -> Op<f64> {
    Op::Activate(Activation::Relu)
}

/// A small net with all that SqueezeNet and ResNet have: a strided 7×7 convolution, overlapping pools that reach beyond
/// the map, 1×1 and 3×3 convolutions side by side, a sum around a block, a classifier of 1×1 convolutions and one average.
fn branching(size: [usize; 2]) -> Graph<f64> {
    let mut s = Numbers(1);
    let mut conv = |inputs: usize, outputs: usize, window: Window| {
        let scale = 1.5 / ((inputs * window.size[0] * window.size[1]) as f64).sqrt();
        let weight = s.some(outputs * inputs * window.size[0] * window.size[1], scale);
        Op::Conv { window, groups: 1, weight, bias: s.some(outputs, 0.1) }
    };
    let mut graph = Graph::new(size, [0.48, 0.46, 0.41], [0.23, 0.22, 0.24]);
    let mut push = |op, inputs: &[usize]| graph.push(op, inputs).unwrap();
    let one = Window::square(1, 1, 0);
    let mut last = push(conv(3, 8, Window::square(7, 2, 0)), &[0]);
    last = push(relu(), &[last]);
    last = push(Op::MaxPool { window: Window::square(3, 2, 0), ceil: true }, &[last]);
    for inputs in [8, 12] {
        let squeeze = push(conv(inputs, 4, one), &[last]);
        let squeeze = push(relu(), &[squeeze]);
        let (small, large) = (push(conv(4, 6, one), &[squeeze]), push(conv(4, 6, Window::square(3, 1, 1)), &[squeeze]));
        let (small, large) = (push(relu(), &[small]), push(relu(), &[large]));
        let both = push(Op::Concat { axis: 0 }, &[small, large]);
        last = if inputs == 12 { push(Op::Add, &[both, last]) } else { both };
    }
    last = push(conv(12, 12, Window::square(3, 2, 1)), &[last]);
    last = push(Op::MaxPool { window: Window::square(3, 2, 1), ceil: false }, &[last]);
    last = push(conv(12, 5, one), &[last]);
    last = push(Op::AdaptiveAverage { out: [1, 1] }, &[last]);
    push(Op::Reshape { shape: vec![5] }, &[last]);
    graph
}

#[test]
fn gradients_of_a_branching_net_are_finite_differences() {
    let graph = branching([27, 25]);
    let (x, weights) = (images(&graph, 1, 2), [0.3, -1.0, 0.7, 0.2, -0.4]);
    let plain = Plain::new(graph.clone());
    let seed = |_: &Tensor| Ok(Tensor::new(&[weights], &Device::Cpu)?);
    let (logits, gradient) = plain.gradient(&tensor(&graph, &x), seed).unwrap();
    assert_eq!(logits.dims(), [1, 5]);
    // all pixels, each moved up and down, as batches
    let step = 1e-6;
    let moved = |d: f64| {
        let one = |i: usize| x.iter().enumerate().map(move |(k, v)| if k == i { v + d } else { *v });
        let all: Vec<f64> = (0..x.len()).flat_map(one).collect();
        let logits =
            all.chunks(64 * x.len()).map(|some| plain.logits(&tensor(&graph, some)).unwrap().to_vec2().unwrap());
        logits.flatten().map(|z: Vec<f64>| dot(&z, &weights)).collect::<Vec<f64>>()
    };
    let mut nonzero = 0;
    for ((g, up), down) in numbers(&gradient).iter().zip(moved(step)).zip(moved(-step)) {
        let slope = (up - down) / (2.0 * step);
        assert!((g - slope).abs() < 1e-7, "{g} against {slope}");
        nonzero += usize::from(*g != 0.0);
    }
    assert!(nonzero > 1000, "{nonzero} of {} pixels matter", x.len());
}

/// Logits and gradient of Σ weight · logit for a network in f64 or f32.
fn both<T: Real>(graph: &Graph<T>, x: &[f64], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let seed = |logits: &Tensor| Ok(Tensor::new(weights, &Device::Cpu)?.unsqueeze(0)?.to_dtype(logits.dtype())?);
    let (logits, gradient) = Plain::new(graph.clone()).gradient(&tensor(graph, x), seed).unwrap();
    (numbers(&logits), numbers(&gradient))
}

/// How far apart two lists are, in lengths of the second.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let off: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    (dot(&off, &off) / dot(b, b).max(1e-30)).sqrt()
}

/// How many random networks are looked at.
const SEEDS: u64 = 100;

#[test]
fn gradients_of_random_networks_are_finite_differences() {
    let check = |seed: u64| {
        let graph = random(seed);
        let (x, weights) = (images(&graph, 1, seed), Numbers(seed + 1).some(graph.classes(), 1.0));
        let (logits, gradient) = both(&graph, &x, &weights);
        assert!(logits.iter().all(|z| z.abs() < 100.0), "seed {seed}: {logits:?}");
        let plain = Plain::new(graph.clone());
        let direction = Numbers(seed + 2).some(x.len(), 1.0);
        let slope = |step: f64| {
            let moved = |d: f64| x.iter().zip(&direction).map(|(x, v)| x + d * v).collect::<Vec<f64>>();
            let logits = plain.logits(&tensor(&graph, &[moved(step), moved(-step)].concat())).unwrap();
            let [up, down] = [0, 1].map(|row| dot(&logits.to_vec2::<f64>().unwrap()[row], &weights));
            (up - down) / (2.0 * step)
        };
        let (wanted, near, far) = (dot(&gradient, &direction), slope(1e-6), slope(4e-6));
        let size = wanted.abs() + 1e-3 * dot(&gradient, &gradient).sqrt() + 1e-6;
        // where the two differ, a kink lies between
        let smooth = (near - far).abs() < 1e-6 * size;
        assert!(!smooth || (wanted - near).abs() < 2e-6 * size, "seed {seed}: {wanted} against {near}");
        smooth && wanted.abs() > 1e-3
    };
    let told = (0..SEEDS).into_par_iter().filter(|seed| check(*seed)).count();
    assert!(told as u64 > SEEDS * 9 / 10, "{told} of {SEEDS} have a gradient and no kink nearby");
}

#[test]
fn random_networks_agree_in_both_precisions_and_folded() {
    (0..SEEDS).into_par_iter().for_each(|seed| {
        let graph = random(seed);
        let (x, weights) = (images(&graph, 1, seed), Numbers(seed + 1).some(graph.classes(), 1.0));
        let wide = both(&graph, &x, &weights);
        let (narrow, folded) = (both(&graph.to_f32(), &x, &weights), both(&graph.folded().0, &x, &weights));
        assert!(apart(&narrow.0, &wide.0) < 1e-4, "seed {seed}: logits {:?} {:?}", narrow.0, wide.0);
        assert!(apart(&folded.0, &wide.0) < 1e-12, "seed {seed}, folded: logits {:?} {:?}", folded.0, wide.0);
        assert!(apart(&folded.1, &wide.1) < 1e-10, "seed {seed}, folded: gradient {}", apart(&folded.1, &wide.1));
        assert!(apart(&narrow.1, &wide.1) < 1e-4, "seed {seed}: gradient {}", apart(&narrow.1, &wide.1));
    });
}

#[test]
fn random_networks_have_every_operation_and_every_shape() {
    let (mut kinds, mut readers, mut sizes) = (BTreeSet::new(), 0, BTreeSet::new());
    for graph in (0..SEEDS).map(random) {
        let [height, width] = graph.size();
        assert!((5..=17).contains(&height) && (5..=17).contains(&width) && height != width, "{height}x{width}");
        assert_eq!(graph.shape(graph.nodes().len()).len(), 1, "logits are a vector");
        sizes.insert([height, width]);
        readers = graph.readers().into_iter().fold(readers, usize::max);
        for node in graph.nodes() {
            kinds.insert(match &node.op {
                Op::Activate(function) => format!("{function:?}").split(' ').next().unwrap().to_string(),
                op => format!("{op:?}").split(' ').next().unwrap().to_string(),
            });
            if let Op::Conv { window, groups, .. } = &node.op {
                let [above, left, below, right] = window.padding;
                let channels = graph.shape(node.inputs[0])[0];
                for (is, what) in [
                    ([above, left] != [below, right], "uneven padding"),
                    (window.stride == [3, 3], "stride 3"),
                    (window.dilation != [1, 1], "dilation"),
                    (window.size[0] != window.size[1], "oblong"),
                    (*groups > 1 && *groups < channels, "groups"),
                    (*groups > 1 && *groups == channels, "depthwise"),
                ] {
                    if is {
                        kinds.insert(what.to_string());
                    }
                }
            }
        }
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    // 21 operations, one of them with 12 functions, and 6 kinds of convolution
    assert_eq!(kinds.len(), 20 + 12 + 6, "{kinds:?}");
    assert!(readers > 3 && sizes.len() > 50, "{readers} readers, {} sizes", sizes.len());
    assert_eq!(random(7), random(7));
}

/// Bits of logits and gradients.
fn bits(graph: &Graph<f32>, x: &[f64], threads: usize) -> (Vec<u32>, Vec<u32>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let same = |_: usize, z: &[f32], g: &mut [f32]| g.copy_from_slice(z);
    let plain = Plain::new(graph.clone());
    let (logits, gradient) = pool.install(|| plain.logits_and_gradient(&tensor(graph, x), &same).unwrap());
    let bits = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    (bits(logits), bits(gradient))
}

#[test]
fn an_image_depends_on_no_other_and_on_no_number_of_threads() {
    let graphs = [branching([30, 29])].into_iter().chain((0..10).map(random));
    for (i, graph) in graphs.enumerate() {
        let x = images(&graph, 9, 3);
        let (of_image, graph) = (x.len() / 9, graph.to_f32());
        let all = bits(&graph, &x, 1);
        assert!(bits(&graph, &x, 3) == all, "network {i}: three threads");
        for batch in [1, 2, 5] {
            let parts: Vec<_> = x.chunks(batch * of_image).map(|some| bits(&graph, some, 2)).collect();
            let (logits, gradients): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            assert!((logits.concat(), gradients.concat()) == all, "network {i}: {batch} at a time");
        }
    }
}

#[test]
fn a_value_read_twice_gets_both_gradients() {
    let mut graph = Graph::<f64>::new([1, 2], [0.5; 3], [0.5, 0.25, 2.0]);
    let flat = graph.push(Op::Reshape { shape: vec![6] }, &[0]).unwrap();
    let square = graph.push(Op::Mul, &[flat, flat]).unwrap();
    let twice = graph.push(Op::Add, &[square, square]).unwrap();
    let all = graph.push(Op::Concat { axis: 0 }, &[twice, flat, flat]).unwrap();
    // nobody reads it
    graph.push(Op::Activate(Activation::Sigmoid), &[all]).unwrap();
    graph.push(Op::Slice { axis: 0, start: 0, end: 18, step: 1 }, &[all]).unwrap();
    // with n = (x − 0.5)/std: 2n² + n + n, whose slope is (4n + 2)/std
    let x = [0.0, 0.25, 0.5, 0.75, 1.0, 0.5];
    let (logits, gradient) = both(&graph, &x, &[1.0; 18]);
    let (std, n) = ([0.5, 0.5, 0.25, 0.25, 2.0, 2.0], [-1.0, -0.5, 0.0, 1.0, 0.25, 0.0]);
    assert_eq!(logits[..6], n.map(|n| 2.0 * n * n));
    assert_eq!(logits[6..], [n, n].concat());
    assert_eq!(gradient, n.iter().zip(std).map(|(n, std)| (4.0 * n + 2.0) / std).collect::<Vec<_>>());
}

#[test]
fn a_loss_gets_the_row_and_the_logits_of_each_image() {
    let mut graph = Graph::<f64>::new([1, 1], [0.0; 3], [1.0; 3]);
    graph.push(Op::Reshape { shape: vec![3] }, &[0]).unwrap();
    let loss = |row: usize, z: &[f32], g: &mut [f32]| g.iter_mut().zip(z).for_each(|(g, z)| *g = 8.0 * row as f32 + z);
    let x = [0.0, 0.25, 0.5, 1.0, 0.75, 0.5];
    let (z, g) = Plain::new(graph.clone()).logits_and_gradient(&tensor(&graph, &x), &loss).unwrap();
    assert_eq!((z.dims(), numbers(&z)), (&[2, 3][..], x.to_vec()));
    assert_eq!((g.dims(), numbers(&g)), (&[2, 3, 1, 1][..], vec![0.0, 0.25, 0.5, 9.0, 8.75, 8.5]));
}

#[test]
fn an_activation_of_a_class_is_the_value_and_its_slope() {
    let mut graph = Graph::<f64>::new([2, 3], [0.0; 3], [1.0; 3]);
    let (weight, rows) = (vec![1.0, -1.0, 0.5, 0.0, 2.0, 0.0], vec![3.0, -6.0, 12.0, 24.0]);
    let conv = Op::Conv { window: Window::square(1, 1, 0), groups: 1, weight, bias: vec![0.0, -1.0] };
    let map = graph.push(conv, &[0]).unwrap();
    let mean = graph.push(Op::AdaptiveAverage { out: [1, 1] }, &[map]).unwrap();
    let flat = graph.push(Op::Reshape { shape: vec![2] }, &[mean]).unwrap();
    graph.push(Op::Linear { weight: rows.clone(), bias: vec![0.0; 2] }, &[flat]).unwrap();
    let x = images(&graph, 2, 4);
    let plain = Plain::new(graph.clone());
    let (value, gradient) = plain.class_activation(&tensor(&graph, &x), &[1, 0], map).unwrap();
    assert_eq!((value.dims(), gradient.dims()), (&[2, 2, 2, 3][..], &[2, 2, 2, 3][..]));
    let wanted = x.chunks(18).flat_map(|x| {
        let x = x.to_vec();
        (0..12).map(move |i| if i < 6 { x[i] - x[6 + i] + 0.5 * x[12 + i] } else { 2.0 * x[i] - 1.0 })
    });
    assert!(apart(&numbers(&value), &wanted.collect::<Vec<_>>()) < 1e-15);
    let slopes = [12.0, 24.0, 3.0, -6.0].map(|w| [w / 6.0; 6]).concat();
    assert_eq!(numbers(&gradient), slopes);
    let error = plain.class_activation(&tensor(&graph, &x), &[1, 2], map).unwrap_err().to_string();
    assert!(error.contains("class 2 of a network of 2"), "{error}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let conv = |inputs: usize, kernel: usize, padding: usize| Op::Conv {
        window: Window::square(kernel, 1, padding),
        groups: 1,
        weight: vec![0.0; 4 * inputs * kernel * kernel],
        bias: vec![0.0; 4],
    };
    let pool = |size, padding| Op::MaxPool { window: Window::square(size, 1, padding), ceil: false };
    for (op, problem) in [
        (conv(2, 3, 1), "72 weights for 4 outputs"),
        (conv(3, 7, 0), "windows of 7"),
        (pool(6, 0), "windows of 6"),
        (pool(3, 3), "padding [3, 3, 3, 3]"),
    ] {
        let error = Graph::<f32>::new([5, 5], [0.0; 3], [1.0; 3]).push(op, &[0]).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
    let plain = Plain::new(branching([27, 25]));
    for shape in [(1, 3, 25, 27), (1, 1, 27, 25)] {
        let error = plain.logits(&Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap()).unwrap_err().to_string();
        assert!(error.contains("3x27x25"), "{error}");
    }
}

#[test]
fn an_outline_has_shapes_without_weights_and_a_graph_refuses_them() {
    let bare = || Op::Conv { window: Window::square(3, 1, 1), groups: 1, weight: Vec::new(), bias: vec![0.0f32; 4] };
    let mut outline = Graph::outline([8, 6], [0.0; 3], [1.0; 3]);
    let map = outline.push(bare(), &[0]).unwrap();
    assert_eq!(outline.shape(map), [4, 8, 6]);
    // what is there is counted all the same
    let short = Op::Linear { weight: vec![0.0; 5], bias: vec![0.0; 2] };
    assert!(outline.push(short, &[map]).unwrap_err().contains("5 weights for 2 outputs"));
    let refused = Graph::new([8, 6], [0.0; 3], [1.0; 3]).push(bare(), &[0]).unwrap_err();
    assert!(refused.ends_with("without weights"), "{refused}");
}
