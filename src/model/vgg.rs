//! VGG (Simonyan and Zisserman 2015): the networks as data tables, torchvision's and timm's tensor names, batch norm
//! folded.

use super::family::{Family, Network};
use super::{Number, Taken, Weights};
use crate::config::ModelFile;
use crate::error::hint;
use crate::kernel::{Net, Step};

/// A step of a table: a 3×3 convolution to so many channels, or a 2×2 max-pool.
#[derive(Clone, Copy)]
enum V {
    C(usize),
    M,
}
use V::{C, M};

/// Configurations A, B, D and E of table 1 of the paper.
#[rustfmt::skip] // rows as in the paper
const TABLES: [(&str, &[V]); 4] = [
    ("vgg11", &[C(64), M, C(128), M, C(256), C(256), M, C(512), C(512), M, C(512), C(512), M]),
    ("vgg13", &[C(64), C(64), M, C(128), C(128), M, C(256), C(256), M, C(512), C(512), M, C(512), C(512), M]),
    ("vgg16", &[C(64), C(64), M, C(128), C(128), M, C(256), C(256), C(256), M,
                C(512), C(512), C(512), M, C(512), C(512), C(512), M]),
    ("vgg19", &[C(64), C(64), M, C(128), C(128), M, C(256), C(256), C(256), C(256), M,
                C(512), C(512), C(512), C(512), M, C(512), C(512), C(512), C(512), M]),
];

/// VGG among the families.
pub const FAMILY: Family = Family {
    names: &NAMES,
    sequential: true,
    check,
    own_keys: |file| format!("width={} head={} ", width(file), head(file)),
    build: |file, weights| Ok(Network::Sequence(build(file, weights)?)),
};

/// All family names.
pub const NAMES: [&str; 8] = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"];

/// Head names: one linear layer (CIFAR), or ImageNet's three.
pub const HEADS: [&str; 2] = ["linear", "mlp"];

/// Side to which torchvision pools before ImageNet's head (`AdaptiveAvgPool2d(7)`).
const MLP_SIDE: usize = 7;

/// Width of the hidden layers of ImageNet's head.
const HIDDEN: usize = 4096;

/// PyTorch's default `eps` of `BatchNorm2d`, also timm's and torchvision's.
const BATCH_NORM_EPS: f64 = 1e-5;

/// Channels of the convolutions, as a multiple of the paper's.
fn width(file: &ModelFile) -> f64 {
    file.width.unwrap_or(1.0)
}

fn head(file: &ModelFile) -> &str {
    file.head.as_deref().unwrap_or("mlp")
}

fn check(file: &ModelFile) -> Result<(), String> {
    let (head, width) = (head(file), width(file));
    if !HEADS.contains(&head) {
        return Err(format!("unknown head `{head}`{}", hint(head, HEADS)));
    }
    if file.side < 32 {
        return Err(format!("side {} leaves nothing after five pools (hint: at least 32)", file.side));
    }
    let whole = |c: usize| (c as f64 * width).fract() == 0.0;
    if !(width > 0.0 && width <= 16.0 && whole(64)) {
        return Err(format!("width {width} does not give whole channels (hint: a multiple of 1/64, at most 16)"));
    }
    Ok(())
}

/// The network of a checked description, every tensor of the file used and of the right shape, every number rounded once.
pub fn build<T: Number>(file: &ModelFile, weights: &Weights) -> Result<Net<T>, String> {
    let (base, batch_norm) = match file.family.strip_suffix("_bn") {
        Some(base) => (base, true),
        None => (file.family.as_str(), false),
    };
    let table = TABLES.iter().find(|(name, _)| *name == base).expect("a checked family").1;
    let mut taken = Taken::of(weights);
    let mut steps = Vec::new();
    let (mut channels, mut side, mut index) = (3, file.side, 0);
    for step in table {
        match step {
            V::M => {
                steps.push(Step::MaxPool);
                side /= 2;
                index += 1;
            }
            V::C(paper) => {
                let outputs = (*paper as f64 * width(file)) as usize;
                steps.push(convolution(weights, &mut taken, index, batch_norm, channels, outputs)?);
                channels = outputs;
                index += if batch_norm { 3 } else { 2 };
            }
        }
    }
    match head(file) {
        "linear" => steps.extend(linear_head(file, weights, &mut taken, channels, side)?),
        _ => steps.extend(mlp_head(file, weights, &mut taken, channels, side)?),
    }
    taken.nothing_else(&format!("{} with head `{}`", file.family, head(file)))?;
    Ok(Net { side: file.side, mean: file.mean.map(T::of), std: file.std.map(T::of), classes: file.classes, steps })
}

/// Convolution `features.{index}` with its batch norm `features.{index+1}` folded in:
/// w' = w·γ/√(σ²+ε), b' = (b − μ)·γ/√(σ²+ε) + β.
fn convolution<T: Number>(
    weights: &Weights,
    taken: &mut Taken,
    index: usize,
    batch_norm: bool,
    inputs: usize,
    outputs: usize,
) -> Result<Step<T>, String> {
    let mut get = |name: String, shape: &[usize]| taken.take::<f64>(name, shape);
    let mut weight = get(format!("features.{index}.weight"), &[outputs, inputs, 3, 3])?;
    // timm and torchvision keep a bias beside batch norm; a net trained without one has none
    let bias_name = format!("features.{index}.bias");
    let mut bias = match batch_norm && !weights.contains(&bias_name) {
        true => vec![0.0; outputs],
        false => get(bias_name, &[outputs])?,
    };
    if batch_norm {
        let norm = index + 1;
        let gamma = get(format!("features.{norm}.weight"), &[outputs])?;
        let beta = get(format!("features.{norm}.bias"), &[outputs])?;
        let mean = get(format!("features.{norm}.running_mean"), &[outputs])?;
        let variance = get(format!("features.{norm}.running_var"), &[outputs])?;
        if let Some(o) = variance.iter().position(|v| *v < 0.0) {
            return Err(format!(
                "tensor `features.{norm}.running_var`: expected variances from 0, found {} at {o}",
                variance[o]
            ));
        }
        for o in 0..outputs {
            let scale = gamma[o] / (variance[o] + BATCH_NORM_EPS).sqrt();
            weight[o * inputs * 9..(o + 1) * inputs * 9].iter_mut().for_each(|w| *w *= scale);
            bias[o] = (bias[o] - mean[o]) * scale + beta[o];
        }
    }
    let round = |values: Vec<f64>| values.into_iter().map(T::of).collect();
    Ok(Step::Conv { inputs, outputs, weight: round(weight), bias: round(bias) })
}

/// One linear layer `classifier` (or `classifier.0`, timm's `head.fc`) over the map averaged to the side its shape
/// asks for: for CIFAR at side 32 that is the 1×1 map itself.
fn linear_head<T: Number>(
    file: &ModelFile,
    weights: &Weights,
    taken: &mut Taken,
    channels: usize,
    side: usize,
) -> Result<Vec<Step<T>>, String> {
    let names: &[&str] = match file.keys.as_deref() {
        Some("timm") => &["head.fc"],
        Some(_) => &["classifier", "classifier.0"],
        None => &["classifier", "classifier.0", "head.fc"],
    };
    let name = names.iter().copied().find(|n| weights.contains(&format!("{n}.weight"))).unwrap_or(names[0]);
    let inputs = weights.shape(&format!("{name}.weight"))?.get(1).copied().unwrap_or(0);
    let pooled = (1..=side).find(|p| channels * p * p == inputs).unwrap_or(1);
    let linear = Step::Linear {
        inputs: channels * pooled * pooled,
        outputs: file.classes,
        weight: taken.take(format!("{name}.weight"), &[file.classes, channels * pooled * pooled])?,
        bias: taken.take(format!("{name}.bias"), &[file.classes])?,
        relu: false,
    };
    Ok(average_to(pooled, side).into_iter().chain([linear]).collect())
}

/// ImageNet's three layers: torchvision's `classifier.{0,3,6}`, or timm's `pre_logits.fc1`, `pre_logits.fc2` (stored
/// as convolutions) and `head.fc`.
fn mlp_head<T: Number>(
    file: &ModelFile,
    weights: &Weights,
    taken: &mut Taken,
    channels: usize,
    side: usize,
) -> Result<Vec<Step<T>>, String> {
    let timm = file.keys.as_deref().map_or(weights.contains("pre_logits.fc1.weight"), |keys| keys == "timm");
    if timm && side > MLP_SIDE {
        // its first layer is a convolution, which here has several places; torchvision averages the map
        return Err(format!("timm's head on a map of side {side} is no sequence of linear layers (hint: side = 224)"));
    }
    let flat = channels * MLP_SIDE * MLP_SIDE;
    let layers = match timm {
        true => [
            ("pre_logits.fc1", vec![HIDDEN, channels, MLP_SIDE, MLP_SIDE]),
            ("pre_logits.fc2", vec![HIDDEN, HIDDEN, 1, 1]),
            ("head.fc", vec![file.classes, HIDDEN]),
        ],
        false => [
            ("classifier.0", vec![HIDDEN, flat]),
            ("classifier.3", vec![HIDDEN, HIDDEN]),
            ("classifier.6", vec![file.classes, HIDDEN]),
        ],
    };
    let mut steps = average_to(MLP_SIDE, side);
    let mut inputs = flat;
    for (i, (name, shape)) in layers.into_iter().enumerate() {
        let outputs = shape[0];
        steps.push(Step::Linear {
            inputs,
            outputs,
            weight: taken.take(format!("{name}.weight"), &shape)?,
            bias: taken.take(format!("{name}.bias"), &[outputs])?,
            relu: i < 2,
        });
        inputs = outputs;
    }
    Ok(steps)
}

fn average_to<T>(wanted: usize, side: usize) -> Vec<Step<T>> {
    if wanted == side { Vec::new() } else { vec![Step::AveragePool { side: wanted }] }
}
