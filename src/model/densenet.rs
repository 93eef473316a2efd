//! DenseNet-BC (Huang et al. 2017, table 1) as torchvision and timm name its tensors.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use crate::config::ModelFile;
use crate::kernel::graph::{Op, Window};

/// Layers a block, channels that each adds (the paper's k), and channels of the first convolution.
#[rustfmt::skip] // a network a row
const TABLE: [(&str, [usize; 4], usize, usize); 4] = [
    ("densenet121", [6, 12, 24, 16], 32, 64),
    ("densenet161", [6, 12, 36, 24], 48, 96),
    ("densenet169", [6, 12, 32, 32], 32, 64),
    ("densenet201", [6, 12, 48, 32], 32, 64),
];

/// DenseNets among the families.
pub const FAMILY: Family = Family {
    title: "DenseNet",
    names: &["densenet121", "densenet161", "densenet169", "densenet201"],
    namings: &["timm", "torchvision"],
    keys: &[],
    check: |_| Ok(()),
    recognise: |weights| recognise(weights).into_iter().collect(),
    unseen: "ReLU, a max-pool behind the first convolution, and average-pools between blocks",
    build,
};

/// Channels between the two convolutions of a layer, as a multiple of what it adds.
const BOTTLENECK: usize = 4;

/// By the layers of the blocks and the channels of the first convolution.
fn recognise(weights: &Weights) -> Option<Guess> {
    let channels = weights.size("features.conv0.weight", 0)?;
    let dot = if weights.contains("features.denseblock1.denselayer1.norm.1.weight") { "." } else { "" };
    let layers = |block| weights.count(1, |i| format!("features.denseblock{block}.denselayer{i}.norm{dot}1.weight"));
    let blocks = [1, 2, 3, 4].map(layers);
    let (name, ..) = TABLE.iter().find(|(_, own, _, first)| *own == blocks && *first == channels)?;
    Guess::of(weights, name, "classifier.weight", "torchvision", Side::Usual(224))
}

fn build(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let (_, blocks, growth, first) = TABLE.iter().find(|(name, ..)| *name == file.family).expect("a checked family");
    let x = net.conv("features.conv0", 0, Conv::new(*first, 7).stride(2))?;
    let x = net.norm("features.norm0", x)?;
    let x = net.relu(x)?;
    net.usual("features.relu0", x);
    let mut x = net.max_pool(x, Window::square(3, 2, 1))?;
    net.layer("features.pool0", x);
    // torchvision's older files have a dot: `norm.1`, `conv.1`
    let dot = if net.has("features.denseblock1.denselayer1.norm.1.weight") { "." } else { "" };
    for (layers, i) in blocks.iter().zip(1..) {
        if i > 1 {
            x = transition(net, x, &format!("features.transition{}", i - 1))?;
        }
        let name = format!("features.denseblock{i}");
        for layer in 1..=*layers {
            let made = dense_layer(net, x, &format!("{name}.denselayer{layer}"), *growth, dot)?;
            x = net.push(Op::Concat { axis: 0 }, &[x, made])?;
        }
        net.layer(&name, x);
    }
    let x = net.norm("features.norm5", x)?;
    let x = net.relu(x)?;
    net.usual("features.relu5", x);
    net.averaged_linear("classifier", x, file.classes).map(drop)
}

/// Few channels made of all before, by 1×1 and then 3×3.
fn dense_layer(net: &mut Builder, x: usize, name: &str, growth: usize, dot: &str) -> Result<usize, String> {
    let mut made = x;
    for (conv, i) in [Conv::new(BOTTLENECK * growth, 1), Conv::new(growth, 3)].into_iter().zip(1..) {
        made = net.norm(&format!("{name}.norm{dot}{i}"), made)?;
        made = net.relu(made)?;
        made = net.conv(&format!("{name}.conv{dot}{i}"), made, conv)?;
    }
    Ok(made)
}

/// Half the channels on half the side.
fn transition(net: &mut Builder, x: usize, name: &str) -> Result<usize, String> {
    let half = net.shape(x)[0] / 2;
    let x = net.norm(&format!("{name}.norm"), x)?;
    let x = net.relu(x)?;
    net.usual(&format!("{name}.relu"), x);
    let x = net.conv(&format!("{name}.conv"), x, Conv::new(half, 1))?;
    let pool = Op::AveragePool { window: Window::square(2, 2, 0), ceil: false, count_padding: true };
    let x = net.push(pool, &[x])?;
    Ok(net.layer(name, x))
}
