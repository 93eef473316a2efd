//! The CPU's learner against the reference by automatic differentiation: logits, running statistics, and both gradients, for every
//! kind of layer that VGGs and ResNets have.

use candle_core::Device;
use foolproof::kernel::cpu::{CpuLearner, Instructions};
use foolproof::kernel::learn::autograd::Autograd;
use foolproof::kernel::learn::{Blueprint, Learner, Tensors};
use foolproof::model::{FAMILIES, parse};
use foolproof::rng::Streams;
use std::path::Path;

fn blueprint(text: &str) -> Blueprint {
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

fn images(n: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    let mut stream = Streams::new(4, "learner").stream(0, 0, "images");
    (0..n * 3 * height * width).map(|_| stream.uniform()).collect()
}

struct Step {
    logits: Vec<f32>,
    tensors: Tensors,
    weights: Tensors,
    images: Vec<f32>,
}

fn step(learner: &mut dyn Learner, blueprint: &Blueprint, n: usize) -> Step {
    let mut tensors = weights(blueprint);
    learner.set(&tensors).unwrap();
    let logits = learner.forward(&images(n, blueprint.graph.size()), &mut tensors).unwrap();
    let mut stream = Streams::new(5, "learner").stream(0, 0, "seed");
    let seed: Vec<f32> = logits.iter().map(|_| stream.normal() as f32).collect();
    let mut gradients = blueprint.zeros();
    let of_images = learner.backward(&seed, Some(&mut gradients), true).unwrap().unwrap();
    Step { logits, tensors, weights: gradients, images: of_images }
}

/// ‖a − b‖/‖b‖.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: f64| v * v;
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let length: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (apart / length.max(1e-12)).sqrt()
}

const CIFAR: &str = "classes = 10\nside = 32";

const NETWORKS: [(&str, usize); 6] = [
    ("family = \"resnet18_cifar\"\nwidth = 0.25\nclasses = 10\nside = 32", 9),
    ("family = \"resnet50_cifar\"\nwidth = 0.125\nclasses = 7\nside = 16", 3),
    ("family = \"resnet18\"\nwidth = 0.25\nclasses = 5\nsize = [64, 96]", 2),
    ("family = \"vgg11_bn\"\nwidth = 0.25\nhead = \"linear\"\nclasses = 10\nside = 32", 9),
    ("family = \"vgg13\"\nwidth = 0.125\nhead = \"linear\"\nclasses = 10\nside = 64", 3),
    ("family = \"resnext50_32x4d\"\nwidth = 0.5\nclasses = 4\nside = 64", 2),
];

#[test]
fn a_step_is_that_of_the_reference() {
    for (text, n) in NETWORKS {
        let blueprint = blueprint(text);
        let fast = step(&mut CpuLearner::new(&blueprint).unwrap(), &blueprint, n);
        let plain = step(&mut Autograd::new(&blueprint, &Device::Cpu).unwrap(), &blueprint, n);
        for (name, a, b) in [("logits", &fast.logits, &plain.logits), ("images", &fast.images, &plain.images)] {
            println!("{text:.30} {name} {:.1e}", distance(a, b));
        }
        for (i, (name, _)) in blueprint.tensors.iter().enumerate() {
            let (d, s) = (distance(&fast.weights[i], &plain.weights[i]), distance(&fast.tensors[i], &plain.tensors[i]));
            println!("{text:.30} {name} {d:.1e} {s:.1e}");
        }
    }
    _ = CIFAR;
}

#[test]
#[ignore]
fn speed() {
    _ = Instructions::chosen();
    let blueprint = blueprint("family = \"resnet18_cifar\"\nwidth = 0.25\nclasses = 10\nside = 32");
    let mut learner = CpuLearner::new(&blueprint).unwrap();
    let mut tensors = weights(&blueprint);
    let x = images(128, [32, 32]);
    let mut g = blueprint.zeros();
    for _ in 0..6 {
        let t = std::time::Instant::now();
        learner.set(&tensors).unwrap();
        let a = t.elapsed();
        let z = learner.forward(&x, &mut tensors).unwrap();
        let b = t.elapsed();
        learner.backward(&z, Some(&mut g), false).unwrap();
        let c = t.elapsed();
        learner.forward(&x, &mut tensors).unwrap();
        let d = t.elapsed();
        learner.backward(&z, None, true).unwrap();
        let e = t.elapsed();
        println!("set {a:?} forward {:?} backward w {:?} backward x {:?}", b - a, c - b, e - d);
    }
}
