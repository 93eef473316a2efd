//! ResNet-18 with batch norm and ReLU before each convolution (He et al. 2016, "Identity mappings in deep residual
//! networks"), for CIFAR, as pytorch-cifar and those who train robust networks with it name its tensors.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use super::width::{WIDTH, check_width, widened, width_of};
use crate::config::{FamilyKey, KeyKind, KeyValue, ModelFile};

/// PreActResNets among the families.
pub const FAMILY: Family = Family {
    title: "PreActResNet",
    names: &["preact_resnet18"],
    namings: &["pytorch-cifar"],
    keys: &[WIDTH, SHORTCUT],
    check: check_width,
    recognise: |weights| recognise(weights).into_iter().collect(),
    unseen: "ReLU, and a first convolution of stride 1 without a pool behind it",
    build,
};

/// What the convolution beside a block reads.
pub const SHORTCUT: FamilyKey = FamilyKey {
    name: "shortcut",
    kind: KeyKind::Choice { default: "activated", known: &["activated", "input"] },
    summary: "what the 1×1 convolutions beside blocks read: `activated`, behind batch norm and ReLU (pytorch-cifar, Rice et \
              al. 2020), or `input`, the block's own input (Wong et al. 2020)",
};

/// Channels of the stages.
const CHANNELS: [usize; 4] = [64, 128, 256, 512];

/// Blocks a stage.
const REPEATS: usize = 2;

fn recognise(weights: &Weights) -> Option<Guess> {
    // norms come before convolutions, so there is none behind the convolutions beside blocks
    weights.size("layer2.0.shortcut.0.weight", 0).filter(|_| !weights.contains("layer2.0.shortcut.1.weight"))?;
    let channels = weights.size("conv1.weight", 0)?;
    let guess = Guess::of(weights, "preact_resnet18", "linear.weight", "pytorch-cifar", Side::Usual(32))?;
    Some(guess.with(WIDTH, KeyValue::Number(width_of(channels))).without(SHORTCUT))
}

fn build(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let activated = file.word(&SHORTCUT) == "activated";
    let mut x = net.conv("conv1", 0, Conv::new(widened(file, CHANNELS[0]), 3))?;
    for (stage, channels) in CHANNELS.into_iter().enumerate() {
        for i in 0..REPEATS {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = block(net, x, &format!("layer{}.{i}", stage + 1), widened(file, channels), stride, activated)?;
        }
    }
    // some leave it out, and the map goes into the average as the last sum left it
    if net.has("bn.weight") || !net.is_read() {
        x = net.norm("bn", x)?;
        x = net.relu(x)?;
        net.usual("relu", x);
    }
    net.averaged_linear("linear", x, file.classes).map(drop)
}

fn block(
    net: &mut Builder,
    x: usize,
    name: &str,
    channels: usize,
    stride: usize,
    activated: bool,
) -> Result<usize, String> {
    let before = net.norm(&format!("{name}.bn1"), x)?;
    let before = net.relu(before)?;
    let made = net.conv(&format!("{name}.conv1"), before, Conv::new(channels, 3).stride(stride))?;
    let made = net.norm(&format!("{name}.bn2"), made)?;
    let made = net.relu(made)?;
    let made = net.conv(&format!("{name}.conv2"), made, Conv::new(channels, 3))?;
    let beside = match stride != 1 || net.shape(x)[0] != channels {
        true => {
            let read = if activated { before } else { x };
            net.conv(&format!("{name}.shortcut.0"), read, Conv::new(channels, 1).stride(stride))?
        }
        false => x,
    };
    let sum = net.add(made, beside)?;
    Ok(net.usual(name, sum))
}
