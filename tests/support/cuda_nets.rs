//! Networks on the CUDA engine against the plain reference.

use super::networks::{self, Net};
use super::random_graph::{self, Numbers};
use candle_core::{Device, Tensor};
use foolproof::error::Result;
use foolproof::kernel::cuda::{self, Cuda};
use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::kernel::halving::Halving;
use foolproof::kernel::plain::Plain;
use foolproof::kernel::{Engine, Loss, Precision};

/// Where no device is, says so; with `FOOLPROOF_EXPECT_CUDA=1` it fails.
pub fn device(test: &str) -> Option<Device> {
    let expected = std::env::var_os("FOOLPROOF_EXPECT_CUDA").is_some_and(|v| v == "1");
    match cuda::open(0) {
        Ok(device) => Some(device),
        Err(why) if expected => panic!("a CUDA device was expected: {why}"),
        Err(why) => {
            eprintln!("skipped {test}: {why}");
            None
        }
    }
}

/// Side, widths, pools after these layers, average, batch.
type Shape = (usize, &'static [usize], &'static [usize], Option<usize>, usize);

/// Channels that are no multiple of 8, odd sides, averages with overlapping windows, batches that are rounded up.
const SHAPES: &[Shape] = &[
    (1, &[5, 7], &[], None, 3),
    (2, &[16, 33], &[], None, 9),
    (3, &[48, 16, 3], &[], None, 7),
    (4, &[20, 64, 64], &[1], None, 5),
    (5, &[3, 70], &[0], None, 1),
    (7, &[64, 65], &[1], Some(2), 2),
    (8, &[8, 8, 40, 17], &[1, 3], None, 6),
    (13, &[4, 4], &[1], Some(4), 5),
    (19, &[5, 7, 9, 3], &[0, 2], None, 8),
    (32, &[32, 64, 64, 48], &[0, 1, 2, 3], None, 8),
    (33, &[16, 16], &[], Some(7), 3),
    (40, &[6, 10, 12], &[0, 2], Some(3), 2),
];

/// A plain sequence.
fn sequence(shape: &Shape) -> Graph<f64> {
    let (side, widths, pools, average, batch) = *shape;
    let mut net = Net::new([side; 2], (side * 100 + batch) as u64);
    let mut x = 0;
    for (i, &outputs) in widths.iter().enumerate() {
        x = net.conv(x, outputs, Window::square(3, 1, 1), 1);
        x = net.activate(x, Activation::Relu);
        if pools.contains(&i) {
            x = net.push(Op::MaxPool { window: Window::square(2, 2, 0), ceil: false }, &[x]);
        }
    }
    if let Some(side) = average {
        x = net.average(x, side);
    }
    x = net.flat(x);
    x = net.linear(x, 21);
    x = net.activate(x, Activation::Relu);
    net.linear(x, 10);
    net.graph.to_f32().to_f64()
}

/// Gradient of the loss with respect to logit `c`: small whole numbers.
fn slope(c: usize) -> f32 {
    [1.0, -2.0, 3.0, -1.0, 2.0][c % 5]
}

fn loss(_: usize, _: &[f32], gradient: &mut [f32]) {
    gradient.iter_mut().enumerate().for_each(|(c, g)| *g = slope(c));
}

fn flat<T: candle_core::WithDType>(tensor: &Tensor) -> Vec<T> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn numbers(engine: &Cuda, x: &Tensor) -> (Vec<f32>, Vec<f32>) {
    let (logits, gradient) = engine.logits_and_gradient(x, &loss).unwrap();
    (flat(&logits), flat(&gradient))
}

/// f64 on the CPU, with images as rounded to f32.
fn reference(graph: &Graph<f64>, x: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let x = x.to_device(&Device::Cpu).unwrap().to_dtype(candle_core::DType::F64).unwrap();
    let (logits, gradient) = Plain::new(graph.clone()).logits_and_gradient(&x, &loss).unwrap();
    (flat(&logits), flat(&gradient))
}

/// |ours − reference| over |reference|, as Euclidean lengths.
fn relative_error(ours: &[f32], reference: &[f64]) -> f64 {
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let error = length(&mut ours.iter().zip(reference).map(|(a, b)| f64::from(*a) - b));
    let error = error / length(&mut reference.iter().copied()).max(1e-12);
    // no comparison is true of NaN
    if error.is_nan() { f64::INFINITY } else { error }
}

fn random_images(graph: &Graph<f64>, batch: usize, device: &Device) -> Tensor {
    let x: Vec<f32> = random_graph::images(graph, batch, 7).iter().map(|v| *v as f32).collect();
    let [height, width] = graph.size();
    Tensor::from_vec(x, (batch, 3, height, width), device).unwrap()
}

/// Errors of logits and of gradients: of a single image its own, else that of all images but one, since a ReLU or a pool that
/// decides otherwise near a tie moves the gradient of its image much more than rounding does.
fn errors(engine: &Cuda, x: &Tensor, (logits, gradient): &(Vec<f64>, Vec<f64>), name: &str) -> (f64, f64) {
    let (z, g) = numbers(engine, x);
    let of_image = g.len() / x.dim(0).unwrap();
    let pairs = g.chunks(of_image).zip(gradient.chunks(of_image));
    let mut off: Vec<f64> = pairs.map(|(a, b)| relative_error(a, b)).collect();
    off.sort_by(f64::total_cmp);
    let alone: Vec<f32> = flat(&engine.logits(x).unwrap());
    assert!(alone == z, "{name}: logits with and without a gradient");
    (relative_error(&z, logits), off[off.len().saturating_sub(2)])
}

/// Bounds of both errors: units in the last place of factors, 2⁻²⁴, 2⁻¹¹, 2⁻⁹, added up. In the short formats decisions near
/// ties happen to most images, so the bounds of gradients are wide.
const BOUNDS: [(Precision, f64, f64); 3] =
    [(Precision::F32, 1e-4, 1e-4), (Precision::Tf32, 1e-2, 0.25), (Precision::Bf16, 0.05, 0.5)];

pub fn hold_to_the_reference(graph: &Graph<f64>, batch: usize, name: &str, device: &Device) {
    let x = random_images(graph, batch, device);
    let expected = reference(graph, &x);
    for (precision, of_logits, of_gradient) in BOUNDS {
        let engine = Cuda::new(graph.to_f32(), device, precision).unwrap();
        let errors = errors(&engine, &x, &expected, name);
        eprintln!("{name} {}: logits {:.1e}, gradients {:.1e}", precision.name(), errors.0, errors.1);
        assert!(errors.0 < of_logits && errors.1 < of_gradient, "{name} {precision:?}: {errors:?}");
    }
}

#[test]
fn sequences_are_those_of_the_reference() {
    let Some(device) = device("sequences_are_those_of_the_reference") else { return };
    SHAPES.iter().for_each(|shape| hold_to_the_reference(&sequence(shape), shape.4, &format!("{shape:?}"), &device));
}

#[test]
fn networks_of_every_family_are_those_of_the_reference() {
    let Some(device) = device("networks_of_every_family_are_those_of_the_reference") else { return };
    networks::all().iter().for_each(|(name, graph)| hold_to_the_reference(graph, 5, name, &device));
}

/// Every operation and every way in which they are joined; in f32, where an error is no rounding.
#[test]
fn random_graphs_are_those_of_the_reference() {
    let Some(device) = device("random_graphs_are_those_of_the_reference") else { return };
    let count = std::env::var("FOOLPROOF_RANDOM_GRAPHS").map_or(60, |n| n.parse().unwrap());
    for seed in 0..count {
        let graph = random_graph::random(seed);
        let x = random_images(&graph, 3, &device);
        let engine = Cuda::new(graph.to_f32(), &device, Precision::F32).unwrap();
        let name = format!("random graph {seed}");
        let errors = errors(&engine, &x, &reference(&graph, &x), &name);
        eprintln!("{name} f32: logits {:.1e}, gradients {:.1e}", errors.0, errors.1);
        assert!(errors.0 < 1e-3 && errors.1 < 1e-3, "{name}: {errors:?} {graph:?}");
    }
}

#[test]
fn the_same_batch_gives_the_same_bits() {
    let Some(device) = device("the_same_batch_gives_the_same_bits") else { return };
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let sequences = SHAPES.iter().map(|shape| ("sequence", sequence(shape)));
    for ((name, graph), precision) in sequences.chain(networks::all()).zip(Precision::ALL.into_iter().cycle()) {
        let engine = Cuda::new(graph.to_f32(), &device, precision).unwrap();
        let x = random_images(&graph, 5, &device);
        let (z, g) = numbers(&engine, &x);
        // another batch between
        numbers(&engine, &x.narrow(0, 0, 1).unwrap());
        let (z_again, g_again) = numbers(&engine, &x);
        assert!(bits(z) == bits(z_again) && bits(g) == bits(g_again), "{name} {precision:?}");
    }
}

/// Takes so many images at once.
struct Few(Cuda, usize);

impl Engine for Few {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.0.logits(images)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        assert!(images.dim(0)? <= self.1);
        self.0.logits_and_gradient(images, loss)
    }

    fn most_images(&self) -> usize {
        self.1
    }
}

#[test]
fn a_batch_in_parts_is_the_batch() {
    let Some(device) = device("a_batch_in_parts_is_the_batch") else { return };
    let graph = sequence(&SHAPES[6]);
    let x = random_images(&graph, 6, &device);
    // another gradient for each row: a part must know where in the batch it lies
    let by_row = |row: usize, _: &[f32], g: &mut [f32]| g[row] = 1.0;
    let run = |most: usize| {
        let engine = Cuda::new(graph.to_f32(), &device, Precision::F32).unwrap();
        let engine = Halving::new(Box::new(Few(engine, most)));
        let (z, g) = engine.logits_and_gradient(&x, &by_row).unwrap();
        [z, g].map(|t| flat::<f32>(&t))
    };
    let (whole, parts) = (run(100), run(4));
    for (whole, parts) in whole.iter().zip(&parts) {
        let whole: Vec<f64> = whole.iter().map(|v| f64::from(*v)).collect();
        let of_image = whole.len() / 6;
        let off = whole.chunks(of_image).zip(parts.chunks(of_image)).map(|(whole, part)| relative_error(part, whole));
        // another algorithm may decide a ReLU of one image otherwise
        assert!(off.filter(|off| *off >= 1e-4).count() <= 1);
    }
}

/// Whole numbers, so that windows of equal values are exactly equal in every precision, and so are the gradients.
#[test]
fn ties_go_to_the_first() {
    let Some(device) = device("ties_go_to_the_first") else { return };
    for (side, pool, padding) in [(6, 2, 0), (7, 2, 0), (9, 3, 1)] {
        let mut net = Net::new([side; 2], 0);
        (net.graph.mean, net.graph.std) = ([0.0; 3], [1.0; 3]);
        let mut numbers_of = Numbers(side as u64);
        let mut x = 0;
        let mut channels = 3;
        for outputs in [4, 9] {
            let mut whole = |n: usize| numbers_of.some(n, 2.0).iter().map(|v| v.trunc()).collect::<Vec<f64>>();
            let (weight, bias) = (whole(outputs * channels * 9), whole(outputs));
            x = net.push(Op::Conv { window: Window::square(3, 1, 1), groups: 1, weight, bias }, &[x]);
            x = net.activate(x, Activation::Relu);
            channels = outputs;
        }
        x = net.push(Op::MaxPool { window: Window::square(pool, 2, padding), ceil: false }, &[x]);
        x = net.flat(x);
        let n = net.graph.shape(x)[0];
        let weight = numbers_of.some(5 * n, 2.0).iter().map(|v| v.trunc()).collect();
        net.push(Op::Linear { weight, bias: vec![0.0; 5] }, &[x]);
        let pixels: Vec<f32> = (0..2 * 3 * side * side).map(|i| (i / 5 % 2) as f32).collect();
        let images = Tensor::from_vec(pixels, (2, 3, side, side), &device).unwrap();
        let (_, gradient) = reference(&net.graph, &images);
        for precision in [Precision::F32, Precision::Tf32] {
            let (_, g) = numbers(&Cuda::new(net.graph.to_f32(), &device, precision).unwrap(), &images);
            let worst = g.iter().zip(&gradient).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-2, "side {side}, pool {pool}, {precision:?}: {worst}");
        }
    }
}

#[test]
fn nan_stays_in_its_image() {
    let Some(device) = device("nan_stays_in_its_image") else { return };
    let sequence = ("sequence", sequence(&(12, &[10, 16, 8], &[1], None, 3)));
    for (name, graph) in networks::all().into_iter().chain([sequence]) {
        let clean = random_images(&graph, 3, &device);
        let mut spoiled: Vec<f32> = flat(&clean);
        let of_image = spoiled.len() / 3;
        // where every network looks
        spoiled[of_image + graph.size()[1] + 1] = f32::NAN;
        let spoiled = Tensor::from_vec(spoiled, clean.shape(), &device).unwrap();
        let classes = graph.classes();
        for precision in Precision::ALL {
            let engine = Cuda::new(graph.to_f32(), &device, precision).unwrap();
            let ((z, _), (z_clean, _)) = (numbers(&engine, &spoiled), numbers(&engine, &clean));
            let (before, behind) = (classes, 2 * classes);
            assert!(z[before..behind].iter().all(|z| z.is_nan()), "{name} {precision:?}: {:?}", &z[before..behind]);
            let others = |z: &[f32]| [&z[..before], &z[behind..]].concat();
            assert_eq!(others(&z), others(&z_clean), "{name} {precision:?}");
        }
    }
}
