//! Networks, images and the loss that the benches share.
#![allow(dead_code)] // each bench uses its part

use candle_core::DType;
use foolproof::goal::Aim;
use foolproof::kernel::old::Graph;
use foolproof::kernel::{Change, Net, Step};
use foolproof::loss::log_odds;
use foolproof::model::{self, Weights, squeezenet};
use foolproof::rng::{Stream, Streams};
use std::path::Path;

/// Convolutions of VGG16 (Simonyan and Zisserman 2015, column D); 0 is a pool.
const VGG16: [usize; 18] = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0];

/// VGG16 with random weights (He et al. 2015): one linear layer at side 32, the three of ImageNet at 224.
pub fn vgg16(side: usize) -> Net<f32> {
    let mut stream = Streams::new(0, "bench").stream(0, 0, "weights");
    let mut uniform = |n: usize, fan_in: usize| -> Vec<f32> {
        let bound = (6.0 / fan_in as f32).sqrt();
        (0..n).map(|_| (2.0 * stream.uniform() - 1.0) * bound).collect()
    };
    let (mut channels, mut map, mut steps) = (3, side, Vec::new());
    for outputs in VGG16 {
        if outputs == 0 {
            steps.push(Step::MaxPool);
            map /= 2;
            continue;
        }
        let weight = uniform(outputs * channels * 9, channels * 9);
        steps.push(Step::Conv { inputs: channels, outputs, weight, bias: vec![0.01; outputs] });
        channels = outputs;
    }
    let mut inputs = channels * map * map;
    let widths: &[usize] = if side == 32 { &[10] } else { &[4096, 4096, 1000] };
    for (i, &outputs) in widths.iter().enumerate() {
        let weight = uniform(outputs * inputs, inputs);
        steps.push(Step::Linear { inputs, outputs, weight, bias: vec![0.0; outputs], relu: i + 1 < widths.len() });
        inputs = outputs;
    }
    Net { side, mean: [0.0; 3], std: [1.0; 3], classes: inputs, steps }
}

/// Side of SqueezeNet's images, and FLOP of its forward pass at that side; the input gradient has as many.
pub const SQUEEZENET: (usize, u64) = (227, 1_665_335_872);

/// SqueezeNet 1.0 for ImageNet with random weights.
pub fn squeezenet() -> Graph {
    let text = format!(
        "family = \"squeezenet1_0\"\nclasses = 1000\nside = {}\nmean = [0.5, 0.5, 0.5]\nstd = [0.2, 0.2, 0.2]\n\
         weights = \"none\"\n",
        SQUEEZENET.0
    );
    let file = model::parse(Path::new("bench.toml"), &text).expect("a sound model file");
    let mut stream = Streams::new(0, "bench").stream(0, 0, "weights");
    let weights = squeezenet::tensors(file.classes).into_iter().map(|(name, shape)| {
        let bound = (6.0 / shape[1..].iter().product::<usize>().max(100) as f64).sqrt();
        let n = shape.iter().product();
        let values = (0..n).map(|_| (2.0 * f64::from(stream.uniform()) - 1.0) * bound).collect();
        (name, shape, values)
    });
    squeezenet::graph(&file, &Weights::from_tensors(weights), DType::F32).expect("every tensor")
}

/// Random images of this side, one after the other.
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
