//! Networks that are no plain sequence: against the other engines, and against finite differences.

mod support;

use candle_core::{DType, Device, Tensor};
use foolproof::kernel::Engine;
use foolproof::kernel::cpu::Cpu;
use foolproof::kernel::old::{Graph, Op};
use foolproof::kernel::old::plain::Plain;
use support::{images, number, small_net, stream};

fn seed(row: usize, logits: &[f32], gradient: &mut [f32]) {
    gradient.iter_mut().zip(logits).enumerate().for_each(|(i, (g, z))| *g = z + (row + i) as f32 * 0.1);
}

fn close(a: &Tensor, b: &Tensor, what: &str) {
    let values = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    let (a, b) = (values(a), values(b));
    let largest = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let off = a.iter().zip(&b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(off < 1e-4 * largest, "{what}: off by {off} of {largest}");
}

#[test]
fn a_sequential_net_as_a_graph_agrees_with_both_other_engines() {
    for (side, widths, average) in
        [(16, &[8, 13, 20, 20][..], Some(2)), (13, &[5, 7, 33][..], None), (9, &[17][..], Some(3))]
    {
        let net = small_net(side, widths, average, 24, 7, "graph");
        let x: Vec<f32> = images(5, side, "graph images").iter().map(|v| *v as f32).collect();
        let x = Tensor::from_vec(x, (5, 3, side, side), &Device::Cpu).unwrap();
        let engines: [Box<dyn Engine>; 3] = [
            Box::new(Cpu::new(net.to_f32()).unwrap_or_else(|_| panic!("a sequential net"))),
            Box::new(Plain::new(&net.to_f32(), &Device::Cpu).unwrap()),
            Box::new(Graph::of(&net.to_f32(), &Device::Cpu).unwrap()),
        ];
        let [cpu, plain, graph] = engines.map(|e| e.logits_and_gradient(&x, &seed).unwrap());
        close(&graph.0, &cpu.0, "logits, compiled");
        close(&graph.1, &cpu.1, "gradient, compiled");
        close(&graph.0, &plain.0, "logits, plain");
        close(&graph.1, &plain.1, "gradient, plain");
    }
}

/// A small net with all that SqueezeNet and ResNet have: a strided 7×7 convolution, overlapping pools that reach beyond
/// the map, 1×1 and 3×3 convolutions side by side, a sum around a block, a classifier of 1×1 convolutions and one average.
fn branching(dtype: DType) -> Graph {
    let mut s = stream("branching");
    let mut conv = |inputs: usize, outputs: usize, kernel: usize, stride: usize, padding: usize| {
        let scale = 1.5 / ((inputs * kernel * kernel) as f64).sqrt();
        let values: Vec<f64> = (0..outputs * inputs * kernel * kernel).map(|_| number(&mut s) * scale).collect();
        let bias: Vec<f64> = (0..outputs).map(|_| number(&mut s) * 0.1).collect();
        let tensor = |v, shape: &[usize]| Tensor::from_vec(v, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        Op::Conv {
            weight: tensor(values, &[outputs, inputs, kernel, kernel]),
            bias: tensor(bias, &[outputs]),
            stride,
            padding,
        }
    };
    let mut graph = Graph::new([0.48, 0.46, 0.41], [0.23, 0.22, 0.24], dtype, &Device::Cpu).unwrap();
    let mut last = graph.push(conv(3, 8, 7, 2, 0), &[0]);
    last = graph.push(Op::Relu, &[last]);
    last = graph.push(Op::MaxPool { window: 3, stride: 2, padding: 0, ceil: true }, &[last]);
    for inputs in [8, 12] {
        let squeeze = graph.push(conv(inputs, 4, 1, 1, 0), &[last]);
        let squeeze = graph.push(Op::Relu, &[squeeze]);
        let (one, three) = (graph.push(conv(4, 6, 1, 1, 0), &[squeeze]), graph.push(conv(4, 6, 3, 1, 1), &[squeeze]));
        let (one, three) = (graph.push(Op::Relu, &[one]), graph.push(Op::Relu, &[three]));
        let both = graph.push(Op::Concat, &[one, three]);
        last = if inputs == 12 { graph.push(Op::Add, &[both, last]) } else { both };
    }
    last = graph.push(conv(12, 12, 3, 2, 1), &[last]);
    last = graph.push(Op::MaxPool { window: 3, stride: 2, padding: 1, ceil: false }, &[last]);
    last = graph.push(conv(12, 5, 1, 1, 0), &[last]);
    graph.push(Op::AveragePool { side: 1 }, &[last]);
    graph
}

#[test]
fn gradients_of_a_branching_net_are_finite_differences() {
    let (graph, side) = (branching(DType::F64), 27);
    let x = images(1, side, "branching images");
    let tensor = |x: &[f64]| Tensor::from_slice(x, (x.len() / (3 * side * side), 3, side, side), &Device::Cpu).unwrap();
    let weights = [0.3, -1.0, 0.7, 0.2, -0.4];
    let weight = Tensor::new(&[weights], &Device::Cpu).unwrap();
    let (logits, gradient) = graph.gradient(&tensor(&x), |_| Ok(weight.clone())).unwrap();
    assert_eq!(logits.dims(), [1, 5]);
    let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    // all pixels, each moved up and down, as one batch
    let step = 1e-6;
    let moved = |d: f64| {
        let all: Vec<f64> = (0..x.len())
            .flat_map(|i| x.iter().enumerate().map(move |(k, v)| if k == i { v + d } else { *v }))
            .collect();
        let logits: Vec<Vec<f64>> = all
            .chunks(64 * x.len())
            .flat_map(|some| graph.logits(&tensor(some)).unwrap().to_vec2::<f64>().unwrap())
            .collect();
        logits.iter().map(|z| z.iter().zip(weights).map(|(z, w)| z * w).sum::<f64>()).collect::<Vec<_>>()
    };
    let (up, down) = (moved(step), moved(-step));
    let mut nonzero = 0;
    for ((g, up), down) in gradient.iter().zip(&up).zip(&down) {
        let slope = (up - down) / (2.0 * step);
        assert!((g - slope).abs() < 1e-7, "{g} against {slope}");
        nonzero += usize::from(*g != 0.0);
    }
    assert!(nonzero > 1000, "{nonzero} of {} pixels matter", x.len());
}

/// Bits of logits and gradients.
fn bits(graph: &Graph, x: &[f32], side: usize, threads: usize) -> (Vec<u32>, Vec<u32>) {
    let x = Tensor::from_slice(x, (x.len() / (3 * side * side), 3, side, side), &Device::Cpu).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let same = |_: usize, z: &[f32], g: &mut [f32]| g.copy_from_slice(z);
    let (logits, gradient) = pool.install(|| graph.logits_and_gradient(&x, &same).unwrap());
    let bits = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    (bits(logits), bits(gradient))
}

#[test]
fn an_image_depends_on_no_other_and_on_no_number_of_threads() {
    // the second one has fully connected layers, wide enough for a product to be cut up
    let vgg = small_net(32, &[16, 16, 64, 64], None, 300, 10, "connected");
    let graphs = [(branching(DType::F32), 30), (Graph::of(&vgg.to_f32(), &Device::Cpu).unwrap(), 32)];
    for (graph, side) in graphs {
        let x: Vec<f32> = images(9, side, "branching batch").iter().map(|v| *v as f32).collect();
        let all = bits(&graph, &x, side, 1);
        assert!(bits(&graph, &x, side, 2) == all, "side {side}: two threads");
        for batch in [1, 2, 5] {
            let parts: Vec<_> = x.chunks(batch * 3 * side * side).map(|some| bits(&graph, some, side, 2)).collect();
            let (logits, gradients): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            assert!((logits.concat(), gradients.concat()) == all, "side {side}: {batch} at a time");
        }
    }
}

#[test]
fn ties_zeros_and_nan_follow_pytorch() {
    let gradient = |op: Op, x: &[f32], shape: (usize, usize, usize, usize)| {
        let mut graph = Graph::new([0.0; 3], [1.0; 3], DType::F32, &Device::Cpu).unwrap();
        graph.push(op, &[0]);
        let x = Tensor::from_slice(x, shape, &Device::Cpu).unwrap();
        let (y, g) = graph.gradient(&x, |z| Ok(z.ones_like()?)).unwrap();
        (y.flatten_all().unwrap().to_vec1::<f32>().unwrap(), g.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    // three equal planes of 1×3 windows: [1, 2, 2], ties go to the first
    let pool = || Op::MaxPool { window: 2, stride: 1, padding: 0, ceil: false };
    let plane = [1.0, 2.0, 2.0, 0.0, 2.0, 2.0];
    let (y, g) = gradient(pool(), &plane.repeat(3), (1, 3, 2, 3));
    assert_eq!(y, [2.0; 6]);
    assert_eq!(
        g,
        [0.0, 2.0, 0.0, 0.0, 0.0, 0.0].repeat(3),
        "both windows take the first of their 2s, which is one place"
    );
    let (y, _) = gradient(pool(), &[1.0, f32::NAN, 2.0, 0.0, 2.0, 2.0].repeat(3), (1, 3, 2, 3));
    assert!(y.iter().all(|v| v.is_nan()));
    // two NaN in one window: PyTorch's loop moves on to the last
    let (_, g) = gradient(pool(), &[1.0, f32::NAN, f32::NAN, 0.0].repeat(3), (1, 3, 2, 2));
    assert_eq!(g, [0.0, 0.0, 1.0, 0.0].repeat(3));
    // padding never wins, not even against negative values; windows of 3 at stride 2 begin at -1 and 1
    let padded = |ceil| Op::MaxPool { window: 3, stride: 2, padding: 1, ceil };
    let plane: Vec<f32> = (1..=16).map(|v| -(v as f32)).collect();
    let (y, g) = gradient(padded(false), &plane.repeat(3), (1, 3, 4, 4));
    assert_eq!(y, [-1.0, -2.0, -5.0, -6.0].repeat(3));
    let at = |places: &[usize]| (0..16).map(|i| if places.contains(&i) { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
    assert_eq!(g, at(&[0, 1, 4, 5]).repeat(3));
    // a third window, begun at 3, counts in ceil mode
    let (y, g) = gradient(padded(true), &plane.repeat(3), (1, 3, 4, 4));
    assert_eq!(y, [-1.0, -2.0, -4.0, -5.0, -6.0, -8.0, -13.0, -14.0, -16.0].repeat(3));
    assert_eq!(g, at(&[0, 1, 3, 4, 5, 7, 12, 13, 15]).repeat(3));
    let (y, g) = gradient(Op::Relu, &[-1.0, 0.0, f32::NAN, 2.0].repeat(3), (1, 3, 2, 2));
    assert!((y[0], y[1], y[2].is_nan(), y[3]) == (0.0, 0.0, true, 2.0), "{y:?}");
    assert_eq!(g, [0.0, 0.0, 1.0, 1.0].repeat(3));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let weight = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let bias = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    let x = Tensor::zeros((1, 3, 5, 5), DType::F32, &Device::Cpu).unwrap();
    for (op, problem) in [
        (
            Op::Conv { weight: weight((4, 2, 3, 3)), bias: bias.clone(), stride: 1, padding: 1 },
            "convolution of 2 channels",
        ),
        (Op::Conv { weight: weight((4, 3, 7, 7)), bias, stride: 1, padding: 0 }, "7x7 convolution"),
        (Op::MaxPool { window: 6, stride: 1, padding: 0, ceil: true }, "windows of 6"),
        (Op::MaxPool { window: 3, stride: 1, padding: 2, ceil: false }, "padding 2"),
    ] {
        let mut graph = Graph::new([0.0; 3], [1.0; 3], DType::F32, &Device::Cpu).unwrap();
        graph.push(op, &[0]);
        let error = graph.logits(&x).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
