//! SqueezeNet 1.0 (Iandola et al. 2016, table 1): the network as a data table, torchvision's tensor names.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use crate::config::ModelFile;
use crate::kernel::graph::{Op, Window};
use crate::size;

/// A line of torchvision's `features`.
#[derive(Clone, Copy)]
enum S {
    /// 7×7 convolution, stride 2, to so many channels, without padding.
    C(usize),
    /// ReLU.
    R,
    /// 3×3 max-pool, stride 2, whose last window may reach beyond the map (`ceil_mode`).
    M,
    /// Fire module: squeezes to the first number of channels, expands to twice the second.
    F(usize, usize),
}
use S::{C, F, M, R};

/// `features`: the place in the table is the number in a tensor's name.
#[rustfmt::skip] // a stage a row
const TABLE: [S; 13] = [
    C(96), R, M,
    F(16, 64), F(16, 64), F(32, 128), M,
    F(32, 128), F(48, 192), F(48, 192), F(64, 256), M,
    F(64, 256),
];

/// SqueezeNet among the families.
pub const FAMILY: Family = Family {
    title: "SqueezeNet",
    names: &["squeezenet1_0"],
    namings: &["torchvision"],
    keys: &[],
    check,
    recognise: |weights| recognise(weights).into_iter().collect(),
    unseen: "ReLU, and max-pools where version 1.0 has them",
    build,
};

/// Smallest side at which every window finds a place: 29 → 12 → 6 → 3 → 1.
const SMALLEST: usize = 29;

fn check(file: &ModelFile) -> Result<(), String> {
    match file.size.iter().any(|side| *side < SMALLEST) {
        true => {
            Err(format!("{} leaves nothing after three pools (hint: at least {SMALLEST})", size::in_words(file.size)))
        }
        false => Ok(()),
    }
}

fn recognise(weights: &Weights) -> Option<Guess> {
    weights.size("features.3.squeeze.weight", 0)?;
    Guess::of(weights, "squeezenet1_0", "classifier.1.weight", "torchvision", Side::Usual(224))
}

fn build(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let mut x = 0;
    for (i, line) in TABLE.into_iter().enumerate() {
        let name = format!("features.{i}");
        x = match line {
            C(outputs) => net.conv(&name, x, Conv::new(outputs, 7).stride(2).bare().bias())?,
            R => net.relu(x)?,
            M => net.push(Op::MaxPool { window: Window::square(3, 2, 0), ceil: true }, &[x])?,
            F(squeeze, expand) => fire(net, &name, x, squeeze, expand)?,
        };
        match line {
            R | F(..) => net.usual(&name, x),
            C(_) | M => net.layer(&name, x),
        };
    }
    // the dropout before it acts in training only
    x = net.conv("classifier.1", x, Conv::new(file.classes, 1).bias())?;
    x = net.relu(x)?;
    net.layer("classifier.2", x);
    x = net.average_to(1, x)?;
    net.flatten(x)?;
    Ok(())
}

/// Squeezes by 1×1 to few channels, and expands those by 1×1 and by 3×3, one half of the channels each.
fn fire(net: &mut Builder, name: &str, x: usize, squeeze: usize, expand: usize) -> Result<usize, String> {
    let mut part = |part: &str, x: usize, conv: Conv| {
        let made = net.conv(&format!("{name}.{part}"), x, conv.bias())?;
        let made = net.relu(made)?;
        Ok::<usize, String>(net.layer(&format!("{name}.{part}_activation"), made))
    };
    let few = part("squeeze", x, Conv::new(squeeze, 1))?;
    let points = part("expand1x1", few, Conv::new(expand, 1))?;
    let windows = part("expand3x3", few, Conv::new(expand, 3))?;
    net.push(Op::Concat { axis: 0 }, &[points, windows])
}
