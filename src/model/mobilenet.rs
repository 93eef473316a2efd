//! MobileNetV2 (Sandler et al. 2018, table 2) as torchvision (`mobilenet_v2`) and timm (`mobilenetv2_100`) name its tensors.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use crate::config::ModelFile;
use crate::kernel::graph::Activation;

/// Inverted residual blocks.
#[derive(Clone, Copy)]
struct Stage {
    /// How many times wider a block is inside.
    wider: usize,
    channels: usize,
    blocks: usize,
    /// Of the first block.
    stride: usize,
}

const fn stage(wider: usize, channels: usize, blocks: usize, stride: usize) -> Stage {
    Stage { wider, channels, blocks, stride }
}

/// Stages, rows as in the paper.
const TABLE: [Stage; 7] = [
    stage(1, 16, 1, 1),
    stage(6, 24, 2, 2),
    stage(6, 32, 3, 2),
    stage(6, 64, 4, 2),
    stage(6, 96, 3, 1),
    stage(6, 160, 3, 2),
    stage(6, 320, 1, 1),
];

/// Channels of the first and of the last convolution.
const ENDS: [usize; 2] = [32, 1280];

/// MobileNets under torchvision's names among the families.
pub const FAMILY: Family = Family {
    title: "MobileNetV2",
    names: &["mobilenet_v2"],
    namings: &["torchvision"],
    keys: &[],
    check: |_| Ok(()),
    recognise: |weights| recognise(weights, "mobilenet_v2", &OF_TORCHVISION, "torchvision").into_iter().collect(),
    unseen: UNSEEN,
    build: |file, net| build(file, net, &OF_TORCHVISION),
};

/// MobileNets under timm's names among the families.
pub const TIMM: Family = Family {
    title: "mobilenetv2",
    names: &["mobilenetv2_100"],
    namings: &["timm"],
    keys: &[],
    check: |_| Ok(()),
    recognise: |weights| recognise(weights, "mobilenetv2_100", &OF_TIMM, "timm").into_iter().collect(),
    unseen: UNSEEN,
    build: |file, net| build(file, net, &OF_TIMM),
};

const UNSEEN: &str = "ReLU6, and strides as for ImageNet";

fn recognise(weights: &Weights, family: &str, names: &Names, naming: &'static str) -> Option<Guess> {
    let inside = format!("{}.{}.weight", (names.block)(2, 1, 0), names.wider[0][0]);
    weights.size(&inside, 0).filter(|_| weights.contains(&format!("{}.weight", names.head[0])))?;
    Guess::of(weights, family, &format!("{}.weight", names.linear), naming, Side::Usual(224))
}

/// Names of a convolution and of its batch norm.
type Pair = [&'static str; 2];

/// How tensors are named.
struct Names {
    stem: Pair,
    /// A block, by its number among all from 1, by its stage, and by its number in there.
    block: fn(usize, usize, usize) -> String,
    /// In a block that is wider inside: widening, each channel apart, narrowing.
    wider: [Pair; 3],
    /// In any other: each channel apart, narrowing.
    plain: [Pair; 2],
    head: Pair,
    /// What follows the last convolution.
    linear: &'static str,
}

const OF_TORCHVISION: Names = Names {
    stem: ["features.0.0", "features.0.1"],
    block: |all, _, _| format!("features.{all}"),
    wider: [["conv.0.0", "conv.0.1"], ["conv.1.0", "conv.1.1"], ["conv.2", "conv.3"]],
    plain: [["conv.0.0", "conv.0.1"], ["conv.1", "conv.2"]],
    head: ["features.18.0", "features.18.1"],
    linear: "classifier.1",
};

const OF_TIMM: Names = Names {
    stem: ["conv_stem", "bn1"],
    block: |_, stage, block| format!("blocks.{stage}.{block}"),
    wider: [["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
    plain: [["conv_dw", "bn1"], ["conv_pw", "bn2"]],
    head: ["conv_head", "bn2"],
    linear: "classifier",
};

/// max(0, min(x, 6)).
const RELU6: Activation = Activation::Clip { low: 0.0, high: 6.0 };

fn build(file: &ModelFile, net: &mut Builder, names: &Names) -> Result<(), String> {
    let mut x = normed(net, 0, "", names.stem, Conv::new(ENDS[0], 3).stride(2))?;
    x = net.activate(RELU6, x)?;
    let mut all = 0;
    for (s, stage) in TABLE.into_iter().enumerate() {
        for i in 0..stage.blocks {
            all += 1;
            let stride = if i == 0 { stage.stride } else { 1 };
            let name = (names.block)(all, s, i);
            x = block(net, x, &name, names, Stage { stride, ..stage })?;
        }
    }
    x = normed(net, x, "", names.head, Conv::new(ENDS[1], 1))?;
    x = net.activate(RELU6, x)?;
    net.usual("head", x);
    net.averaged_linear(names.linear, x, file.classes).map(drop)
}

/// Wider by 1×1, each channel by its own 3×3, narrow by 1×1 without a function behind it.
fn block(net: &mut Builder, x: usize, name: &str, names: &Names, stage: Stage) -> Result<usize, String> {
    let inputs = net.shape(x)[0];
    let inner = stage.wider * inputs;
    let inside = format!("{name}.");
    let mut made = x;
    let [depthwise, narrowing] = match stage.wider {
        1 => names.plain,
        _ => {
            made = normed(net, made, &inside, names.wider[0], Conv::new(inner, 1))?;
            made = net.activate(RELU6, made)?;
            [names.wider[1], names.wider[2]]
        }
    };
    made = normed(net, made, &inside, depthwise, Conv::new(inner, 3).stride(stage.stride).groups(inner))?;
    made = net.activate(RELU6, made)?;
    made = normed(net, made, &inside, narrowing, Conv::new(stage.channels, 1))?;
    let adds = stage.stride == 1 && inputs == stage.channels;
    let made = if adds { net.add(x, made)? } else { made };
    Ok(net.usual(name, made))
}

/// A convolution and its batch norm.
fn normed(net: &mut Builder, x: usize, inside: &str, [conv, norm]: Pair, shape: Conv) -> Result<usize, String> {
    let x = net.conv(&format!("{inside}{conv}"), x, shape)?;
    net.norm(&format!("{inside}{norm}"), x)
}
