//! ConvNeXt (Liu et al. 2022, section 3 and table 9) as timm and torchvision name its tensors. What is a linear layer over the
//! channels there is a 1×1 convolution here, so that no map is turned.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use crate::config::ModelFile;
use crate::kernel::graph::Activation;

/// Blocks and channels a stage.
#[rustfmt::skip] // a network a row
const TABLE: [(&str, [usize; 4], [usize; 4]); 3] = [
    ("convnext_tiny", [3, 3, 9, 3], [96, 192, 384, 768]),
    ("convnext_small", [3, 3, 27, 3], [96, 192, 384, 768]),
    ("convnext_base", [3, 3, 27, 3], [128, 256, 512, 1024]),
];

/// ConvNeXts among the families.
pub const FAMILY: Family = Family {
    title: "ConvNeXt",
    names: &["convnext_tiny", "convnext_small", "convnext_base"],
    namings: &["timm", "torchvision"],
    keys: &[],
    check: |_| Ok(()),
    recognise: |weights| {
        [(&OF_TIMM, "timm"), (&OF_TORCHVISION, "torchvision")]
            .into_iter()
            .filter_map(|n| recognise(weights, n))
            .collect()
    },
    unseen: "GELU, and layer norms with an eps of 1e-6",
    build,
};

/// How many times wider a block is inside.
const WIDER: usize = 4;

/// How tensors are named.
struct Names {
    /// Convolution and norm.
    stem: [&'static str; 2],
    /// What halves the side before a stage: norm and convolution behind it.
    halving: fn(usize) -> String,
    /// A block of a stage, and that stage.
    block: fn(usize, usize) -> String,
    stage: fn(usize) -> String,
    /// In a block: convolution, norm, both linear layers, and the learned factors.
    parts: [&'static str; 5],
    /// Norm and linear layer.
    head: [&'static str; 2],
}

const OF_TIMM: Names = Names {
    stem: ["stem.0", "stem.1"],
    halving: |stage| format!("stages.{stage}.downsample"),
    block: |stage, i| format!("stages.{stage}.blocks.{i}"),
    stage: |stage| format!("stages.{stage}"),
    parts: ["conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"],
    head: ["head.norm", "head.fc"],
};

const OF_TORCHVISION: Names = Names {
    stem: ["features.0.0", "features.0.1"],
    halving: |stage| format!("features.{}", 2 * stage),
    block: |stage, i| format!("features.{}.{i}", 2 * stage + 1),
    stage: |stage| format!("features.{}", 2 * stage + 1),
    parts: ["block.0", "block.2", "block.3", "block.5", "layer_scale"],
    head: ["classifier.0", "classifier.2"],
};

/// By the blocks of the stages and the channels of the first.
fn recognise(weights: &Weights, (names, naming): (&Names, &'static str)) -> Option<Guess> {
    let first = weights.size(&format!("{}.weight", names.stem[0]), 0)?;
    let part = |stage, i| format!("{}.{}.weight", (names.block)(stage, i), names.parts[0]);
    let blocks = [0, 1, 2, 3].map(|stage| weights.count(0, |i| part(stage, i)));
    let (name, ..) = TABLE.iter().find(|(_, own, channels)| *own == blocks && channels[0] == first)?;
    Guess::of(weights, name, &format!("{}.weight", names.head[1]), naming, Side::Usual(224))
}

fn build(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let torchvision = net.is_named("torchvision", "features.0.0.weight");
    let names = if torchvision { &OF_TORCHVISION } else { &OF_TIMM };
    let (_, blocks, channels) = TABLE.iter().find(|(name, ..)| *name == file.family).expect("a checked family");
    let x = net.conv(names.stem[0], 0, Conv::new(channels[0], 4).stride(4).bare().bias())?;
    let mut x = net.layer_norm(names.stem[1], x, 0)?;
    for (stage, (blocks, channels)) in blocks.iter().zip(channels).enumerate() {
        if stage > 0 {
            let halving = (names.halving)(stage);
            x = net.layer_norm(&format!("{halving}.0"), x, 0)?;
            x = net.conv(&format!("{halving}.1"), x, Conv::new(*channels, 2).stride(2).bare().bias())?;
        }
        for i in 0..*blocks {
            let name = (names.block)(stage, i);
            let parts = names.parts.map(|part| format!("{name}.{part}"));
            // torchvision keeps the factors as a map of one place
            let stored = if torchvision { vec![*channels, 1, 1] } else { vec![*channels] };
            x = block(net, x, &parts, &stored)?;
            net.layer(&name, x);
        }
        net.usual(&(names.stage)(stage), x);
    }
    let averages = net.average_to(1, x)?;
    let averages = net.layer_norm(names.head[0], averages, 0)?;
    let averages = net.flatten(averages)?;
    net.linear(names.head[1], averages, file.classes).map(drop)
}

/// x + γ·f(x): each channel by its own 7×7, a norm, and a perceptron at every place.
fn block(net: &mut Builder, x: usize, parts: &[String; 5], stored: &[usize]) -> Result<usize, String> {
    let [depthwise, norm, wider, narrower, factors] = parts;
    let channels = net.shape(x)[0];
    let made = net.conv(depthwise, x, Conv::new(channels, 7).groups(channels).bias())?;
    let made = net.layer_norm(norm, made, 0)?;
    let made = net.pointwise(wider, made, WIDER * channels)?;
    let made = net.activate(Activation::Gelu, made)?;
    let made = net.pointwise(narrower, made, channels)?;
    let made = net.factors(factors, made, stored)?;
    net.add(x, made)
}
