//! The net compiled: its steps as layers over prepacked weights.

use super::first::First;
use super::instructions::Instructions;
use super::layer::{Layer, assign_maps, chunks};
use super::linear::Linear;
use super::map::{Buffer, Layout, padded};
use super::table::Table;
use super::winograd::{Form, Kernels};
use super::workspace::{Idle, Patches, Scratch, Workspace};
use crate::kernel::net::transposed;
use crate::kernel::{Net, Step};
use std::sync::OnceLock;

/// A compiled network.
pub struct Cpu {
    pub(super) side: usize,
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) classes: usize,
    pub(super) table: &'static Table,
    pub(super) first: First,
    pub(super) layers: Vec<Layer>,
    /// Images that a thread takes at a time through the layers of each stage; each a multiple of the one before.
    pub(super) chunks: Vec<usize>,
    /// Layout of the images, and of every map that a workspace holds.
    pub(super) images: Layout,
    pub(super) maps: Vec<Layout>,
    /// Side after averaging.
    pub(super) average: usize,
    pub(super) linears: Vec<Linear>,
    pub(super) workspaces: Idle<Workspace>,
    pub(super) scratches: Idle<Scratch>,
    pub(super) patches: Idle<Patches>,
}

impl Cpu {
    /// Compiles a net of convolutions with optional pools, an optional average pool, and fully connected layers, in
    /// this order; another net is handed back.
    pub fn new(net: Net<f32>) -> std::result::Result<Cpu, Net<f32>> {
        Cpu::with(net, Instructions::chosen())
    }

    /// [`Cpu::new`] on a given instruction set.
    ///
    /// # Panics
    /// Where this machine does not have it.
    pub fn with(net: Net<f32>, instructions: Instructions) -> std::result::Result<Cpu, Net<f32>> {
        if !is_supported(&net) {
            return Err(net);
        }
        let shapes = net.shapes();
        let (mut layers, mut linears): (Vec<Layer>, Vec<Linear>) = (Vec::new(), Vec::new());
        let (mut stage, mut average, mut first) = (0, None, None);
        for (step, shape) in net.steps.into_iter().zip(&shapes) {
            match step {
                Step::Conv { inputs, outputs, weight, bias } => {
                    let form = Form::of(shape.side);
                    let forward = match layers.is_empty() {
                        true => None,
                        false => Some(Kernels::new(form, inputs, outputs, taps(&weight, inputs))),
                    };
                    first.get_or_insert_with(|| First::new(&weight, outputs));
                    let mut padded_bias = Buffer::new(padded(outputs));
                    padded_bias[..outputs].copy_from_slice(&bias);
                    layers.push(Layer {
                        inputs,
                        outputs,
                        side: shape.side,
                        pooled: false,
                        stage,
                        weight,
                        bias: padded_bias,
                        forward,
                        backward: OnceLock::new(),
                        map: 0,
                        gradient: 0,
                    });
                }
                Step::MaxPool => {
                    layers.last_mut().expect("checked").pooled = true;
                    stage += 1;
                }
                Step::AveragePool { side } => average = Some(side),
                Step::Linear { inputs, weight, bias, relu, .. } => {
                    let (channels, side) = if linears.is_empty() { (shape.channels, shape.side) } else { (inputs, 1) };
                    linears.push(Linear::new(weight, bias, channels, side, relu));
                }
            }
        }
        let chunks = chunks(&layers);
        let maps = assign_maps(&mut layers, &chunks);
        let last = layers.last().expect("checked");
        Ok(Cpu {
            side: net.side,
            mean: net.mean,
            std: net.std,
            classes: net.classes,
            table: Table::of(instructions),
            first: first.expect("checked"),
            average: average.unwrap_or(last.side_after()),
            images: Layout::images(net.side, chunks[0]),
            layers,
            chunks,
            maps,
            linears,
            workspaces: Idle::new(),
            scratches: Idle::new(),
            patches: Idle::new(),
        })
    }

    /// Height and width of the images it takes.
    pub fn side(&self) -> usize {
        self.side
    }

    /// One image 3×H×W in [0,1] to H×W×3 with a border, normalised.
    pub(super) fn normalise(&self, pixels: &[f32], to: &mut [f32]) {
        let (side, plane) = (self.side, self.side * self.side);
        for y in 0..side {
            let row = &mut to[self.images.at(0, y, 0)..][..3 * side];
            for (c, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
                let line = &pixels[c * plane + y * side..][..side];
                row[c..].iter_mut().step_by(3).zip(line).for_each(|(to, v)| *to = (v - mean) / std);
            }
        }
    }

    /// Images that a thread takes at once.
    pub(super) fn shard(&self) -> usize {
        *self.chunks.last().expect("never empty")
    }

    /// Weights of layer `i` > 0 on the way back.
    pub(super) fn backward_kernels(&self, i: usize) -> &Kernels {
        let layer = &self.layers[i];
        layer.backward.get_or_init(|| {
            let turned = transposed(&layer.weight, layer.inputs, layer.outputs);
            Kernels::new(Form::of(layer.side), layer.outputs, layer.inputs, taps(&turned, layer.outputs))
        })
    }
}

/// Whether the compiled form covers the net.
fn is_supported(net: &Net<f32>) -> bool {
    let mut steps = net.steps.iter().zip(net.shapes()).peekable();
    let mut convolutions = 0;
    while let Some((_, _)) = steps.next_if(|(s, shape)| matches!(s, Step::Conv { .. }) && shape.side > 0) {
        convolutions += 1;
        steps.next_if(|(s, shape)| matches!(s, Step::MaxPool) && shape.side > 1);
    }
    steps.next_if(|(s, shape)| matches!(s, Step::AveragePool { side } if *side > 0) && shape.side > 0);
    let mut linears = 0;
    while steps.next_if(|(s, _)| matches!(s, Step::Linear { .. })).is_some() {
        linears += 1;
    }
    convolutions > 0 && linears > 0 && steps.next().is_none()
}

/// The nine taps from one channel to another, for [`Kernels::new`].
fn taps(weight: &[f32], inputs: usize) -> impl Fn(usize, usize) -> [f32; 9] + Sync + '_ {
    move |output, input| weight.as_chunks::<9>().0[output * inputs + input]
}
