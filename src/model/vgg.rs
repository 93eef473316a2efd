//! VGG (Simonyan and Zisserman 2015): the networks as data tables, torchvision's and timm's tensor names.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use super::width::{WIDTH, check_width, widened, width_of};
use crate::config::{FamilyKey, KeyKind, KeyValue, ModelFile};
use crate::kernel::graph::Window;
use crate::size;

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
    namings: &["timm", "torchvision"],
    keys: &[WIDTH, HEAD],
    check,
    recognise: |weights| recognise(weights).into_iter().collect(),
    unseen: "ReLU, and max-pools of stride 2 after each stage",
    build,
};

/// All family names.
pub const NAMES: [&str; 8] = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"];

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
    if file.size.iter().any(|side| *side < 32) {
        return Err(format!("{} leaves nothing after five pools (hint: at least 32)", size::in_words(file.size)));
    }
    check_width(file)
}

/// Where the last layer may be: naming, head, name.
const LAST: [(&str, &str, &str); 5] = [
    ("torchvision", "mlp", "classifier.6.weight"),
    ("timm", "mlp", "pre_logits.fc1.weight"),
    ("torchvision", "linear", "classifier.weight"),
    ("torchvision", "linear", "classifier.0.weight"),
    ("timm", "linear", "head.fc.weight"),
];

/// By the number of convolutions, whether norms follow them, and the last layer.
fn recognise(weights: &Weights) -> Option<Guess> {
    let first = weights.size("features.0.weight", 0)?;
    let batch_norm = weights.contains("features.1.running_mean");
    let is_conv =
        |name: &&str| name.starts_with("features.") && name.ends_with(".weight") && weights.size(name, 2) == Some(3);
    let convolutions: Vec<&str> = weights.names().filter(is_conv).collect();
    let is_it = |table: &[V]| table.iter().filter(|step| matches!(step, C(_))).count() == convolutions.len();
    let (base, _) = TABLES.iter().find(|(_, table)| is_it(table))?;
    let (naming, head, last) = LAST.into_iter().find(|(.., last)| weights.contains(last))?;
    let classes = if last == "pre_logits.fc1.weight" { "head.fc.weight" } else { last };
    let side = match head {
        "mlp" => 224,
        // the side of the last map, which five pools have left
        _ => {
            let channels = convolutions.iter().filter_map(|name| weights.size(name, 0)).max()?;
            32 * (weights.size(last, 1)? / channels.max(1)).isqrt().max(1)
        }
    };
    let family = if batch_norm { format!("{base}_bn") } else { base.to_string() };
    let guess = Guess::of(weights, &family, classes, naming, Side::Usual(side))?;
    Some(guess.with(WIDTH, KeyValue::Number(width_of(first))).with(HEAD, KeyValue::Word(head.into())))
}

/// Convolutions, with ReLU and perhaps batch norm, and pools, then the head.
fn build(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let (base, batch_norm) = match file.family.strip_suffix("_bn") {
        Some(base) => (base, true),
        None => (file.family.as_str(), false),
    };
    let (_, table) = TABLES.iter().find(|(name, _)| *name == base).expect("a checked family");
    let (mut x, mut index) = (0, 0);
    let mut name = || {
        index += 1;
        format!("features.{}", index - 1)
    };
    for step in *table {
        match step {
            V::M => {
                x = net.max_pool(x, Window::square(2, 2, 0))?;
                net.layer(&name(), x);
            }
            V::C(paper) => {
                let conv = Conv::new(widened(file, *paper), 3);
                // timm and torchvision keep a bias beside batch norm; a net trained without one has none
                x = net.conv(&name(), x, if batch_norm { conv.free_bias() } else { conv.bias() })?;
                x = if batch_norm { net.norm(&name(), x)? } else { x };
                x = net.relu(x)?;
                net.usual(&name(), x);
            }
        }
    }
    let head = file.word(&HEAD);
    net.called(format!("{} with head `{head}`", file.family));
    match head.as_str() {
        "linear" => linear_head(file, net, x),
        _ => mlp_head(file, net, x),
    }
}

/// One linear layer `classifier` (or `classifier.0`, timm's `head.fc`) over the map averaged to the side its shape
/// asks for: for CIFAR at side 32 that is the 1×1 map itself.
fn linear_head(file: &ModelFile, net: &mut Builder, x: usize) -> Result<(), String> {
    let names: &[&str] = match file.keys.as_deref() {
        Some("timm") => &["head.fc"],
        Some(_) => &["classifier", "classifier.0"],
        None => &["classifier", "classifier.0", "head.fc"],
    };
    let name = names.iter().copied().find(|n| net.has(&format!("{n}.weight"))).unwrap_or(names[0]);
    let &[channels, height, width] = net.shape(x) else { unreachable!("a map") };
    let inputs = net.stored(&format!("{name}.weight"))?.map_or(channels, |shape| shape.get(1).copied().unwrap_or(0));
    let pooled = match channels * height * width == inputs {
        true => x,
        false => {
            let side = (1..=height.min(width)).find(|p| channels * p * p == inputs).unwrap_or(1);
            net.average_to(side, x)?
        }
    };
    let flat = net.flatten(pooled)?;
    net.linear(name, flat, file.classes).map(drop)
}

/// ImageNet's three layers: torchvision's `classifier.{0,3,6}`, or timm's `pre_logits.fc1`, `pre_logits.fc2` (stored
/// as convolutions) and `head.fc`.
fn mlp_head(file: &ModelFile, net: &mut Builder, x: usize) -> Result<(), String> {
    let timm = net.is_named("timm", "pre_logits.fc1.weight");
    let &[channels, height, width] = net.shape(x) else { unreachable!("a map") };
    if timm && height.max(width) > MLP_SIDE {
        // its first layer is a convolution, which here has several places; torchvision averages the map
        return Err(format!(
            "timm's head on a map of {} is no sequence of linear layers (hint: side = 224)",
            size::in_words([height, width])
        ));
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
    let x = net.average_to(MLP_SIDE, x)?;
    let mut x = net.flatten(x)?;
    for (i, (name, shape)) in layers.into_iter().enumerate() {
        x = net.linear_stored(name, x, &shape)?;
        x = if i < 2 { net.relu(x)? } else { x };
    }
    Ok(())
}
