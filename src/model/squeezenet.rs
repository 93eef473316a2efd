//! SqueezeNet 1.0 (Iandola et al. 2016, table 1): the network as a data table, torchvision's tensor names. The parts of a
//! fire module lie side by side, so it runs as a [`Graph`].

use super::convolution::convolution;
use super::family::{Family, Network};
use super::layer::Layer;
use super::{Taken, Weights};
use crate::config::ModelFile;
use crate::kernel::old::{Graph, Op};
use candle_core::{DType, Device, Tensor};

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
    sequential: false,
    keys: &[],
    check,
    layers: |file| layers(file.side),
    build: |file, weights| build(file, weights),
};

/// Smallest side at which every window finds a place: 29 → 12 → 6 → 3 → 1.
const SMALLEST: usize = 29;

fn check(file: &ModelFile) -> Result<(), String> {
    if file.keys.as_deref() == Some("timm") {
        return Err("timm has no SqueezeNet (hint: keys = \"torchvision\")".into());
    }
    if file.side < SMALLEST {
        return Err(format!("side {} leaves nothing after three pools (hint: at least {SMALLEST})", file.side));
    }
    Ok(())
}

fn build(file: &ModelFile, weights: &Weights) -> Result<Network, String> {
    Ok(Network::Graph(graph(file, weights, DType::F32)?))
}

/// The network in numbers of `dtype` on the CPU.
pub fn graph(file: &ModelFile, weights: &Weights, dtype: DType) -> Result<Graph, String> {
    let text = |e: crate::error::Error| e.to_string();
    let mut net = Builder {
        taken: Taken::of(weights),
        graph: Graph::new(file.mean, file.std, dtype, &Device::Cpu).map_err(text)?,
        dtype,
    };
    let (mut last, mut channels) = (0, 3);
    for (i, line) in TABLE.into_iter().enumerate() {
        let name = format!("features.{i}");
        (last, channels) = match line {
            C(outputs) => (net.convolution(&name, last, [channels, outputs], 7, 2)?, outputs),
            R => (net.graph.push(Op::Relu, &[last]), channels),
            M => {
                let pool = Op::MaxPool { window: 3, stride: 2, padding: 0, ceil: true };
                (net.graph.push(pool, &[last]), channels)
            }
            F(squeeze, expand) => (net.fire(&name, last, channels, squeeze, expand)?, 2 * expand),
        };
    }
    // the dropout before it acts in training only
    last = net.with_relu("classifier.1", last, [channels, file.classes], 1)?;
    net.graph.push(Op::AveragePool { side: 1 }, &[last]);
    net.taken.nothing_else(&file.family)?;
    Ok(net.graph)
}

/// Every value of the graph by the name of its module in torchvision; the parts of a fire module too.
fn layers(side: usize) -> Vec<Layer> {
    let mut all: Vec<Layer> = Vec::new();
    let mut push = |name: String, side: usize, usual: bool| {
        let value = Some(all.len() + 1);
        all.push(Layer { name, side, value, usual });
    };
    let mut side = side;
    for (i, line) in TABLE.into_iter().enumerate() {
        let name = format!("features.{i}");
        match line {
            C(_) => side = (side - 7) / 2 + 1,
            M => side = (side - 3).div_ceil(2) + 1,
            R => {}
            F(..) => {
                for part in ["squeeze", "expand1x1", "expand3x3"] {
                    push(format!("{name}.{part}"), side, false);
                    push(format!("{name}.{part}_activation"), side, false);
                }
            }
        }
        push(name, side, matches!(line, R | F(..)));
    }
    push("classifier.1".into(), side, false);
    push("classifier.2".into(), side, false);
    all
}

/// Name and shape of every tensor for so many classes.
pub fn tensors(classes: usize) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut convolution = |name: String, [inputs, outputs]: [usize; 2], kernel: usize| {
        all.push((format!("{name}.weight"), vec![outputs, inputs, kernel, kernel]));
        all.push((format!("{name}.bias"), vec![outputs]));
    };
    let mut channels = 3;
    for (i, line) in TABLE.into_iter().enumerate() {
        match line {
            C(outputs) => {
                convolution(format!("features.{i}"), [channels, outputs], 7);
                channels = outputs;
            }
            F(squeeze, expand) => {
                convolution(format!("features.{i}.squeeze"), [channels, squeeze], 1);
                convolution(format!("features.{i}.expand1x1"), [squeeze, expand], 1);
                convolution(format!("features.{i}.expand3x3"), [squeeze, expand], 3);
                channels = 2 * expand;
            }
            R | M => {}
        }
    }
    convolution("classifier.1".into(), [channels, classes], 1);
    all
}

struct Builder<'a> {
    taken: Taken<'a>,
    graph: Graph,
    dtype: DType,
}

impl Builder<'_> {
    /// Convolution of a value of `inputs` channels to `outputs`; a kernel of 3 keeps the side.
    fn convolution(
        &mut self,
        name: &str,
        value: usize,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Result<usize, String> {
        let shape = [outputs, inputs, kernel, kernel];
        let (weight, bias) = convolution(&mut self.taken, name, None, shape)?;
        let tensor = |values: Vec<f64>, shape: &[usize]| -> Result<Tensor, String> {
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).and_then(|t| t.to_dtype(self.dtype));
            tensor.map_err(|e| e.to_string())
        };
        let (weight, bias) = (tensor(weight, &shape)?, tensor(bias, &[outputs])?);
        let padding = if kernel == 3 { 1 } else { 0 };
        Ok(self.graph.push(Op::Conv { weight, bias, stride, padding }, &[value]))
    }

    /// Convolution of stride 1 with its ReLU.
    fn with_relu(&mut self, name: &str, value: usize, channels: [usize; 2], kernel: usize) -> Result<usize, String> {
        let made = self.convolution(name, value, channels, kernel, 1)?;
        Ok(self.graph.push(Op::Relu, &[made]))
    }

    /// Squeezes by 1×1 to few channels, and expands those by 1×1 and by 3×3, one half of the channels each.
    fn fire(
        &mut self,
        name: &str,
        value: usize,
        channels: usize,
        squeeze: usize,
        expand: usize,
    ) -> Result<usize, String> {
        let few = self.with_relu(&format!("{name}.squeeze"), value, [channels, squeeze], 1)?;
        let points = self.with_relu(&format!("{name}.expand1x1"), few, [squeeze, expand], 1)?;
        let windows = self.with_relu(&format!("{name}.expand3x3"), few, [squeeze, expand], 3)?;
        Ok(self.graph.push(Op::Concat, &[points, windows]))
    }
}
