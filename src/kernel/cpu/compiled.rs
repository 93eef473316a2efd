//! The network compiled: its units over prepacked weights, and the memory they work in.

use super::instructions::Instructions;
use super::linear::Linear;
use super::map::Layout;
use super::plan::Plan;
use super::program::{Compiled, Program, arrange, size_of};
use super::table::Table;
use super::unit::as_map;
use super::work::Work;
use super::workspace::{Idle, Scratch, Workspace};
use crate::kernel::Graph;

/// A compiled network.
pub struct Cpu {
    pub(super) size: [usize; 2],
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) classes: usize,
    pub(super) table: &'static Table,
    pub(super) units: Vec<Compiled>,
    /// Images that a thread takes at a time through the units of each stage; each a multiple of the one before.
    pub(super) chunks: Vec<usize>,
    /// Layout of the images.
    pub(super) images: Layout,
    pub(super) program: Program,
    /// The value that the fully connected layers read.
    pub(super) features: usize,
    /// Numbers an image of the features, with those that fill the last vector.
    pub(super) stride: usize,
    pub(super) linears: Vec<Linear>,
    pub(super) workspaces: Idle<Workspace>,
    pub(super) scratches: Idle<Scratch>,
}

/// Floats that the images of a stage may take in the largest map from there on: what stays in the caches of a core.
const MOST_FLOATS: usize = 1 << 20;

/// Bytes that a thread keeps for the way back at most, if one image does not take more.
const MOST_KEPT: usize = 256 << 20;

impl Cpu {
    /// Compiles a network.
    pub fn new(graph: Graph<f32>) -> Cpu {
        Cpu::with(graph, Instructions::chosen())
    }

    /// [`Cpu::new`] on a given instruction set.
    ///
    /// # Panics
    /// Where this machine does not have it.
    pub fn with(graph: Graph<f32>, instructions: Instructions) -> Cpu {
        let (size, classes) = (graph.size(), graph.classes());
        let [mean, std] = [graph.mean, graph.std].map(|numbers| numbers.map(|v| v as f32));
        let plan = Plan::of(graph.folded().0);
        let shapes = plan.shapes;
        let mut units: Vec<Compiled> = Vec::new();
        for (unit, op) in plan.units.into_iter().zip(plan.ops) {
            let (work, bias) = Work::new(op, &unit);
            units.push(Compiled::new(work, bias, unit));
        }
        let chunks = stages(&mut units);
        let program = arrange(&mut units, plan.features, &chunks);
        let (channels, [height, width]) = size_of(&shapes[plan.features]);
        let mut linears = Vec::new();
        for layer in plan.connected {
            let (channels, pixels) = if linears.is_empty() {
                (channels, height * width)
            } else {
                (layer.weight.len() / layer.bias.len(), 1)
            };
            linears.push(Linear::new(layer.weight, layer.bias, channels, pixels, layer.relu));
        }
        Cpu {
            size,
            mean,
            std,
            classes,
            table: Table::of(instructions),
            stride: linears.first().map_or(channels * height * width, |first| first.stride),
            images: Layout::images(size, chunks[0]),
            units,
            chunks,
            program,
            features: plan.features,
            linears,
            workspaces: Idle::new(),
            scratches: Idle::new(),
        }
    }

    /// Height and width of the images it takes.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// One image 3×H×W in [0,1] to H×W×3 with a border, normalised.
    pub(super) fn normalise(&self, pixels: &[f32], to: &mut [f32]) {
        let [height, width] = self.size;
        for y in 0..height {
            let row = &mut to[self.images.inside(y, 0)..][..3 * width];
            for (c, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
                let line = &pixels[(c * height + y) * width..][..width];
                row[c..].iter_mut().step_by(3).zip(line).for_each(|(to, v)| *to = (v - mean) / std);
            }
        }
    }

    /// Numbers of an image.
    pub(super) fn values(&self) -> usize {
        3 * self.size[0] * self.size[1]
    }

    /// Images that a thread takes at once.
    pub(super) fn shard(&self) -> usize {
        *self.chunks.last().expect("never empty")
    }
}

/// Gives each unit its stage, and says how many images each stage takes at a time: enough for its weights to pay, never fewer
/// than before, no more than the caches hold, and no more than memory has room for what is kept of them.
fn stages(units: &mut [Compiled]) -> Vec<usize> {
    let mut chunks: Vec<usize> = Vec::new();
    let floats = |u: &Compiled| as_map(&u.unit.before_pool).into_iter().product::<usize>();
    let mut largest: Vec<usize> = units.iter().map(floats).collect();
    for i in (1..largest.len()).rev() {
        largest[i - 1] = largest[i - 1].max(largest[i]);
    }
    let most = MOST_KEPT / units.iter().map(|u| u.kept().bytes()).sum::<usize>().max(1);
    for (u, largest) in units.iter_mut().zip(largest) {
        let (_, size) = size_of(&u.unit.before_pool);
        let before = chunks.last().copied().unwrap_or(1);
        let wanted = u.work.wanted(size).min(MOST_FLOATS / largest).min(most).max(1);
        let chunk = wanted.next_multiple_of(before).max(before);
        if chunks.last() != Some(&chunk) {
            chunks.push(chunk);
        }
        u.stage = chunks.len() - 1;
    }
    if chunks.is_empty() { vec![1] } else { chunks }
}
