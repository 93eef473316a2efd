//! VGG (Simonyan and Zisserman 2015): the networks as data tables, torchvision's and timm's tensor names, batch norm
//! folded.

use super::convolution::convolution;
use super::family::{Family, Network};
use super::layer::Layer;
use super::{Number, Taken, Weights};
use crate::config::{FamilyKey, KeyKind, ModelFile};
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
    title: "VGG",
    names: &NAMES,
    sequential: true,
    keys: &[WIDTH, HEAD],
    check,
    layers,
    build: |file, weights| Ok(Network::Sequence(build(file, weights)?)),
};

/// All family names.
pub const NAMES: [&str; 8] = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"];

/// Width of the net.
pub const WIDTH: FamilyKey = FamilyKey {
    name: "width",
    kind: KeyKind::Number { default: 1.0 },
    summary: "channels of the convolutions, as a multiple of the paper's (in steps of 1/64)",
};

/// What follows the convolutions.
pub const HEAD: FamilyKey = FamilyKey {
    name: "head",
    kind: KeyKind::Choice { default: "mlp", known: &["linear", "mlp"] },
    summary: "`linear` (one layer, as for CIFAR) or `mlp` (ImageNet's three)",
};

/// Side to which torchvision pools before ImageNet's head (`AdaptiveAvgPool2d(7)`).
const MLP_SIDE: usize = 7;

/// Width of the hidden layers of ImageNet's head.
const HIDDEN: usize = 4096;

fn check(file: &ModelFile) -> Result<(), String> {
    let width = file.number(&WIDTH);
    if file.side < 32 {
        return Err(format!("side {} leaves nothing after five pools (hint: at least 32)", file.side));
    }
    let whole = |c: usize| (c as f64 * width).fract() == 0.0;
    if !(width > 0.0 && width <= 16.0 && whole(64)) {
        return Err(format!("width {width} does not give whole channels (hint: a multiple of 1/64, at most 16)"));
    }
    Ok(())
}

/// The table of a checked description, and whether a batch norm follows each convolution.
fn table(file: &ModelFile) -> (&'static [V], bool) {
    let (base, batch_norm) = match file.family.strip_suffix("_bn") {
        Some(base) => (base, true),
        None => (file.family.as_str(), false),
    };
    (TABLES.iter().find(|(name, _)| *name == base).expect("a checked family").1, batch_norm)
}

/// `features`: each convolution with its batch norm one value of the graph, its ReLU the next, a pool one more.
fn layers(file: &ModelFile) -> Vec<Layer> {
    let (table, batch_norm) = table(file);
    let mut all: Vec<Layer> = Vec::new();
    let mut push = |side: usize, value: Option<usize>, usual: bool| {
        let name = format!("features.{}", all.len());
        all.push(Layer { name, side, value, usual });
    };
    let (mut side, mut value) = (file.side, 1);
    for step in table {
        match step {
            V::M => {
                side /= 2;
                push(side, Some(value), false);
                value += 1;
            }
            V::C(_) => {
                if batch_norm {
                    push(side, None, false);
                }
                push(side, Some(value), false);
                push(side, Some(value + 1), true);
                value += 2;
            }
        }
    }
    all
}

/// The network of a checked description, every tensor of the file used and of the right shape, every number rounded once.
pub fn build<T: Number>(file: &ModelFile, weights: &Weights) -> Result<Net<T>, String> {
    let (table, batch_norm) = table(file);
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
                let outputs = (*paper as f64 * file.number(&WIDTH)) as usize;
                let norm = batch_norm.then(|| format!("features.{}", index + 1));
                let shape = [outputs, channels, 3, 3];
                let (weight, bias) = convolution(&mut taken, &format!("features.{index}"), norm.as_deref(), shape)?;
                let [weight, bias] = [weight, bias].map(|values| values.into_iter().map(T::of).collect());
                steps.push(Step::Conv { inputs: channels, outputs, weight, bias });
                channels = outputs;
                index += if batch_norm { 3 } else { 2 };
            }
        }
    }
    let head = file.word(&HEAD);
    match head.as_str() {
        "linear" => steps.extend(linear_head(file, weights, &mut taken, channels, side)?),
        _ => steps.extend(mlp_head(file, weights, &mut taken, channels, side)?),
    }
    taken.nothing_else(&format!("{} with head `{head}`", file.family))?;
    Ok(Net { side: file.side, mean: file.mean.map(T::of), std: file.std.map(T::of), classes: file.classes, steps })
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
