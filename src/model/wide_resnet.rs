//! Wide ResNets for CIFAR (Zagoruyko and Komodakis 2016), in the two forms that robust ones have: TRADES's (Zhang et al.
//! 2019, <https://github.com/yaodongyu/TRADES>) and DeepMind's (Gowal et al. 2020,
//! <https://github.com/google-deepmind/deepmind-research/tree/master/adversarial_robustness>), whose convolutions of stride
//! 2 have zeros on the right and below only.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use crate::config::{FamilyKey, KeyKind, ModelFile};
use crate::kernel::graph::Activation;

/// Depth and width in a name: a depth of 6n + 4 has n blocks a stage, a width of k has k times the channels.
const TABLE: [(&str, usize, usize); 4] = [
    ("wide_resnet28_10", 28, 10),
    ("wide_resnet34_10", 34, 10),
    ("wide_resnet34_20", 34, 20),
    ("wide_resnet70_16", 70, 16),
];

/// Wide ResNets in TRADES's form among the families.
pub const FAMILY: Family = Family {
    title: "Wide ResNet",
    names: &["wide_resnet28_10", "wide_resnet34_10", "wide_resnet34_20", "wide_resnet70_16"],
    namings: &["trades"],
    keys: &[],
    check: |_| Ok(()),
    recognise: |weights| recognise(weights, "", &TRADES, "trades").into_iter().collect(),
    unseen: "ReLU, and convolutions beside blocks that read what is activated",
    build: |file, net| build(file, net, &TRADES, Activation::Relu),
};

/// Wide ResNets in DeepMind's form among the families.
pub const DEEPMIND: Family = Family {
    title: "DeepMind Wide ResNet",
    names: &["dm_wide_resnet28_10", "dm_wide_resnet34_10", "dm_wide_resnet34_20", "dm_wide_resnet70_16"],
    namings: &["deepmind"],
    keys: &[ACTIVATION],
    check: |_| Ok(()),
    recognise: |weights| {
        recognise(weights, "dm_", &DM, "deepmind").into_iter().map(|guess| guess.without(ACTIVATION)).collect()
    },
    unseen: "zeros on the right and below only, where a convolution has a stride of 2",
    build: |file, net| match file.word(&ACTIVATION).as_str() {
        "silu" => build(file, net, &DM, Activation::Silu),
        _ => build(file, net, &DM, Activation::Relu),
    },
};

/// The nonlinearity of DeepMind's.
pub const ACTIVATION: FamilyKey = FamilyKey {
    name: "activation",
    kind: KeyKind::Choice { default: "silu", known: &["relu", "silu"] },
    summary: "`silu` (also called swish) or `relu`",
};

/// What tells the forms apart.
struct Form {
    stem: &'static str,
    /// Before the number of a stage, counted from `first`, and between it and the number of a block.
    stage: (&'static str, usize, &'static str),
    /// Batch norms and convolutions of a block, and the convolution beside it.
    block: [&'static str; 5],
    norm: &'static str,
    head: &'static str,
    /// Zeros of convolutions of stride 2.
    padding: [usize; 4],
}

const TRADES: Form = Form {
    stem: "conv1",
    stage: ("block", 1, "layer"),
    block: ["bn1", "conv1", "bn2", "conv2", "convShortcut"],
    norm: "bn1",
    head: "fc",
    padding: [1, 1, 1, 1],
};

const DM: Form = Form {
    stem: "init_conv",
    stage: ("layer.", 0, "block"),
    block: ["batchnorm_0", "conv_0", "batchnorm_1", "conv_1", "shortcut"],
    norm: "batchnorm",
    head: "logits",
    padding: [0, 0, 1, 1],
};

/// Channels of the stages at a width of 1, and of the first convolution at any.
const CHANNELS: [usize; 3] = [16, 32, 64];

/// By the blocks of the first stage and their channels.
fn recognise(weights: &Weights, before: &str, form: &Form, naming: &'static str) -> Option<Guess> {
    let (stage, first, between) = form.stage;
    let conv = |i: usize| format!("{stage}{first}.{between}.{i}.{}.weight", form.block[1]);
    let (blocks, channels) = (weights.count(0, conv), weights.size(&conv(0), 0)?);
    let fits = |(_, depth, width): &&(&str, usize, usize)| (depth - 4) / 6 == blocks && CHANNELS[0] * width == channels;
    let (name, ..) = TABLE.iter().find(fits)?;
    Guess::of(weights, &format!("{before}{name}"), &format!("{}.weight", form.head), naming, Side::Usual(32))
}

fn build(file: &ModelFile, net: &mut Builder, form: &Form, function: Activation) -> Result<(), String> {
    let name = file.family.trim_start_matches("dm_");
    let (_, depth, width) = TABLE.iter().find(|(known, ..)| *known == name).expect("a checked family");
    net.leave_out("sub_block1.", "TRADES's code makes these blocks and never uses them");
    let mut x = net.conv(form.stem, 0, Conv::new(CHANNELS[0], 3))?;
    let (before, first, between) = form.stage;
    for (stage, channels) in CHANNELS.into_iter().enumerate() {
        for i in 0..(depth - 4) / 6 {
            let name = format!("{before}{}.{between}.{i}", first + stage);
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = block(net, x, &name, form, function, channels * width, stride)?;
        }
    }
    let x = net.norm(form.norm, x)?;
    let x = net.activate(function, x)?;
    net.usual("relu", x);
    net.averaged_linear(form.head, x, file.classes).map(drop)
}

/// Where a block changes the channels, the convolution beside it reads what is activated already.
fn block(
    net: &mut Builder,
    x: usize,
    name: &str,
    form: &Form,
    function: Activation,
    channels: usize,
    stride: usize,
) -> Result<usize, String> {
    let [norm0, conv0, norm1, conv1, shortcut] = form.block.map(|part| format!("{name}.{part}"));
    let before = net.norm(&norm0, x)?;
    let before = net.activate(function, before)?;
    let first = Conv::new(channels, 3).stride(stride);
    let made = net.conv(&conv0, before, if stride == 1 { first } else { first.padding(form.padding) })?;
    let made = net.norm(&norm1, made)?;
    let made = net.activate(function, made)?;
    let made = net.conv(&conv1, made, Conv::new(channels, 3))?;
    let beside = match net.shape(x)[0] != channels {
        true => net.conv(&shortcut, before, Conv::new(channels, 1).stride(stride))?,
        false => x,
    };
    let sum = net.add(made, beside)?;
    Ok(net.usual(name, sum))
}
