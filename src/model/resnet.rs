//! ResNet (He et al. 2016, table 1), Wide ResNet-50 and -101 (Zagoruyko and Komodakis 2016) and ResNeXt (Xie et al. 2017) as
//! torchvision and timm name their tensors; and the same with a first convolution of 3×3 and no pool, for CIFAR, under those
//! names or under those of pytorch-cifar (<https://github.com/kuangliu/pytorch-cifar>).

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use super::width::{WIDTH, check_width, widened, width_of};
use crate::config::{KeyValue, ModelFile};
use crate::kernel::graph::Window;

/// What a stage repeats.
#[derive(Clone, Copy)]
enum Block {
    /// Two convolutions of 3×3.
    Basic,
    /// 1×1, 3×3 and 1×1 to four times the channels; the middle one in so many groups, whose width is this at 64 channels.
    Bottleneck { groups: usize, width: usize },
}

const B: Block = Block::Bottleneck { groups: 1, width: 64 };

/// Blocks a stage.
#[rustfmt::skip] // a network a row
const TABLE: [(&str, [usize; 4], Block); 9] = [
    ("resnet18", [2, 2, 2, 2], Block::Basic),
    ("resnet34", [3, 4, 6, 3], Block::Basic),
    ("resnet50", [3, 4, 6, 3], B),
    ("resnet101", [3, 4, 23, 3], B),
    ("resnet152", [3, 8, 36, 3], B),
    ("wide_resnet50_2", [3, 4, 6, 3], Block::Bottleneck { groups: 1, width: 128 }),
    ("wide_resnet101_2", [3, 4, 23, 3], Block::Bottleneck { groups: 1, width: 128 }),
    ("resnext50_32x4d", [3, 4, 6, 3], Block::Bottleneck { groups: 32, width: 4 }),
    ("resnext101_32x8d", [3, 4, 23, 3], Block::Bottleneck { groups: 32, width: 8 }),
];

/// ResNets for ImageNet among the families.
pub const FAMILY: Family = Family {
    title: "ResNet",
    names: &[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "wide_resnet50_2",
        "wide_resnet101_2",
        "resnext50_32x4d",
        "resnext101_32x8d",
    ],
    namings: &["timm", "torchvision"],
    keys: &[WIDTH],
    check: check_width,
    recognise: |weights| recognise(weights, &FAMILY, 7, Side::Usual(224)),
    unseen: "ReLU, a max-pool behind the first convolution, and strides of 2 in a bottleneck's 3×3 convolution, without a blur",
    build: imagenet,
};

/// ResNets for CIFAR among the families.
pub const CIFAR: Family = Family {
    title: "CIFAR ResNet",
    names: &["resnet18_cifar", "resnet34_cifar", "resnet50_cifar", "resnet101_cifar", "resnet152_cifar"],
    namings: &["timm", "torchvision", "pytorch-cifar"],
    keys: &[WIDTH],
    check: check_width,
    recognise: |weights| recognise(weights, &CIFAR, 3, Side::Usual(32)),
    unseen: "ReLU, no pool behind the first convolution, whose stride is 1, and strides of 2 in a bottleneck's 3×3 convolution",
    build: cifar,
};

/// Channels of the first stage; each of the others has twice those of the one before.
const FIRST: usize = 64;

/// By the window of the first convolution and the number of blocks; several of one number of blocks differ in width, and one of
/// them can be built.
fn recognise(weights: &Weights, family: &Family, window: usize, side: Side) -> Vec<Guess> {
    let stem = weights.size("conv1.weight", 0).filter(|_| weights.size("conv1.weight", 2) == Some(window));
    let Some(channels) = stem else { return Vec::new() };
    let repeats = [1, 2, 3, 4].map(|stage| weights.count(0, |i| format!("layer{stage}.{i}.conv1.weight")));
    let is_basic = !weights.contains("layer1.0.conv3.weight");
    let (naming, last) = match weights.contains("linear.weight") {
        true => ("pytorch-cifar", "linear.weight"),
        false => ("torchvision", "fc.weight"),
    };
    let fits = |name: &&&str| {
        let base = name.trim_end_matches("_cifar");
        TABLE.iter().any(|(n, r, block)| *n == base && *r == repeats && matches!(block, Block::Basic) == is_basic)
    };
    let guess = |name: &&str| {
        let guess = Guess::of(weights, name, last, naming, side)?;
        Some(guess.with(WIDTH, KeyValue::Number(width_of(channels))))
    };
    family.names.iter().filter(fits).filter_map(guess).collect()
}

fn imagenet(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let x = stem(net, Conv::new(widened(file, FIRST), 7).stride(2))?;
    let x = net.max_pool(x, Window::square(3, 2, 1))?;
    net.layer("maxpool", x);
    let x = stages(file, net, x, &file.family, "downsample")?;
    net.averaged_linear("fc", x, file.classes).map(drop)
}

fn cifar(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let (shortcut, head) = match net.is_named("pytorch-cifar", "linear.weight") {
        true => ("shortcut", "linear"),
        false => ("downsample", "fc"),
    };
    let x = stem(net, Conv::new(widened(file, FIRST), 3))?;
    let x = stages(file, net, x, file.family.trim_end_matches("_cifar"), shortcut)?;
    net.averaged_linear(head, x, file.classes).map(drop)
}

fn stem(net: &mut Builder, conv: Conv) -> Result<usize, String> {
    let x = net.conv("conv1", 0, conv)?;
    let x = net.norm("bn1", x)?;
    let x = net.relu(x)?;
    Ok(net.usual("relu", x))
}

/// `layer1` to `layer4`, the first block of each but the first at stride 2.
fn stages(file: &ModelFile, net: &mut Builder, mut x: usize, name: &str, shortcut: &str) -> Result<usize, String> {
    let (_, repeats, block) = TABLE.iter().find(|(known, ..)| *known == name).expect("a checked family");
    for (stage, repeats) in repeats.iter().enumerate() {
        let channels = widened(file, FIRST << stage);
        for i in 0..*repeats {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let name = format!("layer{}.{i}", stage + 1);
            x = residual(net, x, &name, shortcut, *block, channels, stride)?;
        }
    }
    Ok(x)
}

/// relu(f(x) + x), with a 1×1 convolution of x where f changes its shape.
fn residual(
    net: &mut Builder,
    x: usize,
    name: &str,
    shortcut: &str,
    block: Block,
    channels: usize,
    stride: usize,
) -> Result<usize, String> {
    // torchvision has the stride in the 3×3 convolution of a bottleneck, the paper in the first 1×1 one
    let convolutions = match block {
        Block::Basic => vec![Conv::new(channels, 3).stride(stride), Conv::new(channels, 3)],
        Block::Bottleneck { groups, width } => {
            let inner = channels * width / FIRST * groups;
            vec![Conv::new(inner, 1), Conv::new(inner, 3).stride(stride).groups(groups), Conv::new(4 * channels, 1)]
        }
    };
    let (mut made, last) = (x, convolutions.len());
    for (conv, i) in convolutions.into_iter().zip(1..) {
        made = net.conv(&format!("{name}.conv{i}"), made, conv)?;
        made = net.norm(&format!("{name}.bn{i}"), made)?;
        made = if i < last { net.relu(made)? } else { made };
    }
    let (inputs, outputs) = (net.shape(x)[0], net.shape(made)[0]);
    let x = match stride != 1 || inputs != outputs {
        true => {
            let x = net.conv(&format!("{name}.{shortcut}.0"), x, Conv::new(outputs, 1).stride(stride))?;
            net.norm(&format!("{name}.{shortcut}.1"), x)?
        }
        false => x,
    };
    let sum = net.add(made, x)?;
    let sum = net.relu(sum)?;
    Ok(net.usual(name, sum))
}
