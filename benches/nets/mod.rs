//! Networks, images and the loss that the benches share.
#![allow(dead_code)] // each bench uses its part

use foolproof::config::ModelFile;
use foolproof::goal::Aim;
use foolproof::kernel::Change;
use foolproof::kernel::graph::{Graph, Op};
use foolproof::loss::log_odds;
use foolproof::model::{self, Family, Named, Weights, families};
use foolproof::rng::{Stream, Streams};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// Networks by the names that benches have for them, with the lines of a model file that are their own.
#[rustfmt::skip] // a network a row
const NETS: &[(&str, &str)] = &[
    ("vgg16", "family = \"vgg16\"\nkeys = \"torchvision\"\n"),
    ("vgg11-half", "family = \"vgg11\"\nwidth = 0.5\nkeys = \"torchvision\"\n"),
    ("resnet18-cifar", "family = \"resnet18_cifar\"\nkeys = \"torchvision\"\n"),
    ("preact-resnet18", "family = \"preact_resnet18\"\n"),
    ("wrn-28-10", "family = \"wide_resnet28_10\"\n"),
    ("resnet50", "family = \"resnet50\"\nkeys = \"torchvision\"\n"),
    ("squeezenet", "family = \"squeezenet1_0\"\n"),
    ("mobilenetv2", "family = \"mobilenet_v2\"\n"),
    ("vit-s16", "family = \"vit_small_patch16_224\"\n"),
];

/// Side up to which images are CIFAR's: ten classes, and one linear layer behind a VGG's convolutions; above, a thousand, and
/// ImageNet's three.
const CIFAR_SIDE: usize = 32;

/// The model file of a network for images of this side; `extra`: further lines of it.
fn description(name: &str, side: usize, extra: &str) -> ModelFile {
    let (_, own) = NETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no network {name}"));
    let is_small = side <= CIFAR_SIDE;
    let head = if is_small && name.starts_with("vgg") { "head = \"linear\"\n" } else { "" };
    let classes = if is_small { 10 } else { 1000 };
    let text = format!(
        "{own}{head}{extra}classes = {classes}\nside = {side}\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n\
         weights = \"none\"\n"
    );
    model::parse(Path::new("bench.toml"), &text).expect("a sound model file")
}

/// A tensor's numbers: uniform as He et al. (2015) draw weights; norms halve, so that residual sums do not grow with depth.
fn random(name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
    let part = name.rsplit('.').next().unwrap_or(name);
    let (centre, spread) = match part {
        "running_var" => (1.0, 0.5),
        "weight" if shape.len() == 1 => (0.5, 0.125),
        "weight" => (0.0, (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt()),
        _ => (0.0, 0.125),
    };
    (0..shape.iter().product()).map(|_| centre + spread * (2.0 * stream.uniform() - 1.0)).collect()
}

/// A safetensors file of random weights, the same each time.
fn weights_of(family: &Family, file: &ModelFile) -> Vec<u8> {
    let mut stream = Streams::new(0, "bench").stream(0, 0, "weights");
    let listed = family.network(file, None).expect("images of a sound size");
    let bytes = |(name, shape): &Named| {
        random(name, shape, &mut stream).iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()
    };
    let tensors: Vec<Vec<u8>> = listed.tensors.iter().map(bytes).collect();
    let views = listed.tensors.iter().zip(&tensors).map(|((name, shape), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of the shape"))
    });
    safetensors::serialize(views, None).expect("tensors")
}

/// A safetensors file of a network's random weights, under the names of its family.
pub fn weights(name: &str, side: usize) -> Vec<u8> {
    let file = description(name, side, "");
    weights_of(families::checked(&file).expect("a known family"), &file)
}

/// A network with those weights.
pub fn network(name: &str, side: usize) -> Graph<f32> {
    described(&description(name, side, ""))
}

/// VGG16 for images of any side with a single linear layer behind its convolutions.
pub fn vgg16_of_one_layer(side: usize) -> Graph<f32> {
    let extra = if side <= CIFAR_SIDE { "" } else { "head = \"linear\"\n" };
    described(&description("vgg16", side, extra))
}

fn described(file: &ModelFile) -> Graph<f32> {
    let family = families::checked(file).expect("a known family");
    let bytes = weights_of(family, file);
    let weights = Weights::parse(&bytes, None).expect("a sound file");
    family.network(file, Some(&weights)).expect("every tensor").graph
}

/// FLOP of a forward pass: a multiplication and an addition for each weight at each place, those of attention left out. The
/// input gradient has as many.
pub fn flop(graph: &Graph<f32>) -> u64 {
    let of_node = |(i, op): (usize, &Op<f32>)| match op {
        Op::Conv { weight, .. } => weight.len() * graph.shape(i + 1)[1..].iter().product::<usize>(),
        Op::Linear { weight, .. } => {
            let shape = graph.shape(i + 1);
            weight.len() * shape[..shape.len() - 1].iter().product::<usize>()
        }
        _ => 0,
    };
    2 * graph.nodes().iter().map(|node| &node.op).enumerate().map(of_node).sum::<usize>() as u64
}

/// Random square images of this side, one after the other.
pub fn pixels(n: usize, side: usize) -> Vec<f32> {
    let mut stream: Stream = Streams::new(0, "bench").stream(0, 0, "pixels");
    (0..n * 3 * side * side).map(|_| stream.uniform()).collect()
}

/// Changes of `count` pixels each, so many of every one of some images of this side.
pub fn changes(images: usize, each: usize, count: usize, side: usize) -> Vec<Change> {
    let mut stream = Streams::new(0, "bench").stream(0, 0, "changes");
    let mut pixel = || {
        let place = (stream.uniform() * (side * side) as f32) as usize;
        (place.min(side * side - 1), std::array::from_fn(|_| stream.uniform()))
    };
    (0..images * each).map(|i| Change { image: i / each, pixels: (0..count).map(|_| pixel()).collect() }).collect()
}

/// Gradient of the summed cross-entropy of class 0.
pub fn seed(_: usize, logits: &[f32], gradient: &mut [f32]) {
    log_odds(&Aim { label: 0, target: None }, logits, gradient);
}
