//! The CPU engine: a sequential net compiled to fused steps over prepacked weights.
//!
//! Each thread takes its own images through the whole net, a few at a time while maps are large, so that they stay in
//! its cache, and more as maps shrink, so that each pass over the weights serves many tiles. Threads meet only before
//! and after the fully connected layers. Few images are shared instead: all threads work on the same layer, each on
//! other tiles or other output channels. Of images that differ from others in a few pixels the first layers are computed
//! only where those pixels reach ([`incremental`]).
//!
//! An image's numbers come from the same operations in the same order whatever its neighbours, the threads, and the
//! instruction set ([`lanes`]), so its result is bit-identical everywhere: the judge needs no path of its own.

mod conv;
mod finish;
mod first;
mod incremental;
mod lanes;
mod linear;
mod map;
mod product;
mod table;
mod winograd;

use super::{Change, Engine, Loss, Net, Step, lend, transposed, window};
use crate::error::Result;
use candle_core::{Device, Tensor};
use conv::{Block, tiles_of_block, tiles_of_image};
use finish::{Finish, PoolBits, Target};
use first::First;
use incremental::Patches;
use linear::Linear;
use map::{Buffer, Layout, padded};
use product::Product;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, OnceLock};
use table::Table;
use winograd::{Form, Kernels};

pub use lanes::{INSTRUCTIONS, Instructions};

/// [`lanes::Lanes`] with the product compiled as a function of its own.
///
/// # Safety
/// As for [`lanes::Lanes`].
unsafe trait Kernel: lanes::Lanes {
    /// [`product::multiply`].
    ///
    /// # Safety
    /// As there.
    unsafe fn multiply(p: &Product);
}

/// A compiled network.
pub struct Cpu {
    side: usize,
    mean: [f32; 3],
    std: [f32; 3],
    classes: usize,
    table: &'static Table,
    first: First,
    layers: Vec<Layer>,
    /// Images that a thread takes at a time through the layers of each stage; each a multiple of the one before.
    chunks: Vec<usize>,
    /// Layout of the images, and of every map that a workspace holds.
    images: Layout,
    maps: Vec<Layout>,
    /// Side after averaging.
    average: usize,
    linears: Vec<Linear>,
    workspaces: Pool<Workspace>,
    scratches: Pool<Scratch>,
    patches: Pool<Patches>,
}

/// A convolution with what follows it.
struct Layer {
    /// Channels in and out, without padding.
    inputs: usize,
    outputs: usize,
    /// Side of its output before any pool.
    side: usize,
    pooled: bool,
    /// Layers between two pools are of one stage.
    stage: usize,
    /// outputs × inputs × 3 × 3.
    weight: Vec<f32>,
    bias: Buffer,
    /// Of the first layer, none: see [`First`].
    forward: Option<Kernels>,
    /// Made when a gradient is asked for.
    backward: OnceLock<Kernels>,
    /// Number of the map it writes.
    map: usize,
    /// Number of the map of the gradient with respect to its output before any pool.
    gradient: usize,
}

/// What is kept of some images from the way forward to the way back, and the maps of a few.
struct Workspace {
    images: Buffer,
    maps: Vec<Buffer>,
    relu: Vec<Vec<u16>>,
    pool: Vec<Vec<PoolBits>>,
}

/// What a thread needs while it computes.
struct Scratch {
    conv: conv::Scratch,
    first: first::Scratch,
}

/// Things made once and used by one thread at a time.
struct Pool<T>(Mutex<Vec<T>>);

/// Where images enter the net.
struct Start<'a, T> {
    /// First convolution that is computed for all of them.
    layer: usize,
    /// Writes what that layer reads, for a range of a workspace's images.
    fill: &'a Fill<'a, T>,
}

/// See [`Start::fill`]: takes the workspace, all its inputs, and the numbers of the images that are wanted.
type Fill<'a, T> = dyn Fn(&mut Workspace, &[T], Range<usize>, &mut Crew) + Sync + 'a;

/// Who works on a layer.
enum Crew<'a> {
    /// One thread with its scratch.
    Alone(&'a mut Scratch),
    /// All threads together.
    Team(&'a Cpu),
}

/// A pointer that several threads use for different parts.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: each use says why no two threads meet.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(self) -> *mut f32 {
        self.0
    }
}

/// Tiles that a thread takes at least through a layer at a time, if it has that many: enough for each load of weights
/// to pay (KERNEL study: flat from 22 tiles on).
const TILES_TOGETHER: usize = 64;

/// With fewer images than this a thread, threads share layers instead of images: weights are then what limits, and
/// each thread reads only its part.
const IMAGES_TO_SHARE: usize = 8;

/// Tiles for which a thread of a team reads weights that the other threads read too; of heavy weights, those that come
/// from memory (in floats), only for a whole block.
const FEW_TILES: usize = 12;
const HEAVY_WEIGHTS: usize = 1 << 20;

/// Rows that a thread takes at a time of an image that threads share.
const ROWS_TOGETHER: usize = 8;

/// Outputs, and inputs, of a fully connected layer that a thread takes at a time.
const LINEAR_OUTPUTS: usize = 48;
const LINEAR_INPUTS: usize = 1024;

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
            workspaces: Pool::new(),
            scratches: Pool::new(),
            patches: Pool::new(),
        })
    }

    /// Height and width of the images it takes.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Logits of images 3×H×W one after the other; and the gradients with respect to them, if `loss` gives those with
    /// respect to the logits.
    pub fn images(&self, pixels: &[f32], loss: Option<&dyn Loss>) -> (Vec<f32>, Vec<f32>) {
        let values = 3 * self.side * self.side;
        assert!(pixels.len().is_multiple_of(values), "images of another size");
        let n = pixels.len() / values;
        let mut logits = Vec::with_capacity(n * self.classes);
        let mut gradients = vec![0.0; if loss.is_some() { pixels.len() } else { 0 }];
        let together = self.shard() * rayon::current_num_threads();
        if loss.is_some() {
            // before any thread needs them: whoever makes them lends a hand elsewhere while it waits
            (1..self.layers.len()).for_each(|i| _ = self.backward_kernels(i));
        }
        for (wave, pixels) in pixels.chunks(together * values).enumerate() {
            let first = wave * together;
            let mut wave = Wave::begin(self, pixels.len() / values);
            let classes = self.classes;
            let normalise = |workspace: &mut Workspace, pixels: &[f32], images: Range<usize>, _: &mut Crew| {
                workspace.normalise(self, images, pixels);
            };
            let (mut outputs, of_wave) = wave.forward(pixels, &Start { layer: 0, fill: &normalise });
            if let Some(loss) = loss {
                for (i, (z, g)) in of_wave.chunks_exact(classes).zip(outputs.chunks_exact_mut(classes)).enumerate() {
                    loss.gradient(first + i, z, g);
                }
                wave.backward(outputs, &mut gradients[first * values..][..pixels.len()]);
            }
            logits.extend(of_wave);
        }
        (logits, gradients)
    }

    /// Takes so many images through convolution `layer` alone, on the way there or back, with whatever its maps hold: to
    /// measure it as it runs in the net.
    ///
    /// # Panics
    /// Where the net has no such layer.
    pub fn layer_alone(&self, layer: usize, images: usize, back: bool) {
        let values = 3 * self.side * self.side;
        let pixels = vec![0.0; images * values];
        let mut gradients = vec![0.0; images * values];
        let chunk = self.chunks[self.layers[layer].stage];
        Wave::begin(self, images).each(&pixels, &mut gradients, |workspace, pixels, gradients, crew| {
            let images = pixels.len() / values;
            for first in (0..images).step_by(chunk) {
                let some = 0..chunk.min(images - first);
                match (back, layer.checked_sub(1)) {
                    (false, _) => workspace.forward_layer(self, layer, some, crew),
                    (true, Some(before)) => workspace.backward_layer(self, layer, before, some, crew),
                    (true, None) => workspace.backward_first(self, some, gradients, crew),
                }
            }
        });
    }

    /// One image 3×H×W in [0,1] to H×W×3 with a border, normalised.
    fn normalise(&self, pixels: &[f32], to: &mut [f32]) {
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
    fn shard(&self) -> usize {
        *self.chunks.last().expect("never empty")
    }

    /// Weights of layer `i` > 0 on the way back.
    fn backward_kernels(&self, i: usize) -> &Kernels {
        let layer = &self.layers[i];
        layer.backward.get_or_init(|| {
            let turned = transposed(&layer.weight, layer.inputs, layer.outputs);
            Kernels::new(Form::of(layer.side), layer.outputs, layer.inputs, taps(&turned, layer.outputs))
        })
    }
}

impl Layer {
    /// What follows it on the way forward; the bits go to the one of these that serves it, nowhere if that is null.
    fn finish(&self, relu: *mut u16, pool: *mut PoolBits) -> Finish {
        let bias = self.bias.as_ptr();
        if self.pooled { Finish::Pool { bias, bits: pool } } else { Finish::Relu { bias, bits: relu } }
    }

    fn side_after(&self) -> usize {
        if self.pooled { self.side / 2 } else { self.side }
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

/// Images that a thread takes at a time through each stage.
fn chunks(layers: &[Layer]) -> Vec<usize> {
    let mut chunks: Vec<usize> = Vec::new();
    for stage in 0..=layers.last().expect("checked").stage {
        let side = layers.iter().find(|l| l.stage == stage).map_or(1, |l| l.side);
        let wanted = TILES_TOGETHER.div_ceil(tiles_of_image(Form::of(side), side));
        let before = chunks.last().copied().unwrap_or(1);
        chunks.push(wanted.next_multiple_of(before).max(before));
    }
    chunks
}

/// Gives each layer the maps it writes, as few as do: a map is read by the next layer only.
fn assign_maps(layers: &mut [Layer], chunks: &[usize]) -> Vec<Layout> {
    // a map that pooling gradients go to is never shared with others: where the side is odd its last row and column
    // are never written and must stay 0
    let mut maps: Vec<(Layout, bool)> = Vec::new();
    let mut find = |wanted: (Layout, bool), not: Option<usize>| {
        let found = (0..maps.len()).find(|m| maps[*m] == wanted && Some(*m) != not);
        found.unwrap_or_else(|| {
            maps.push(wanted);
            maps.len() - 1
        })
    };
    // as many images as the layer that reads it takes at a time
    let readers = layers.iter().skip(1).chain(layers.last());
    let capacities: Vec<usize> = readers.map(|l| chunks[l.stage]).collect();
    let mut before = None;
    for (layer, capacity) in layers.iter_mut().zip(&capacities) {
        layer.map = find((Layout::new(layer.outputs, layer.side_after(), *capacity), false), before);
        before = Some(layer.map);
    }
    let mut before = None;
    for (layer, capacity) in layers.iter_mut().zip(&capacities).rev() {
        layer.gradient = find((Layout::new(layer.outputs, layer.side, *capacity), layer.pooled), before);
        before = Some(layer.gradient);
    }
    maps.into_iter().map(|(layout, _)| layout).collect()
}

impl<T> Pool<T> {
    fn new() -> Pool<T> {
        Pool(Mutex::new(Vec::new()))
    }

    fn take(&self, make: impl FnOnce() -> T) -> T {
        let idle = self.0.lock().expect("no thread panics while it holds it").pop();
        idle.unwrap_or_else(make)
    }

    fn give_back(&self, thing: T) {
        self.0.lock().expect("no thread panics while it holds it").push(thing);
    }
}

impl Scratch {
    fn new(cpu: &Cpu) -> Scratch {
        let channels = cpu.maps.iter().map(|m| m.channels).max().expect("never empty");
        Scratch {
            conv: conv::Scratch::new(channels),
            first: first::Scratch::new(cpu.side, padded(cpu.layers[0].outputs)),
        }
    }
}

impl Crew<'_> {
    /// Does every piece.
    fn each(&mut self, pieces: usize, work: impl Fn(usize, &mut Scratch) + Sync) {
        match self {
            Crew::Alone(scratch) => (0..pieces).for_each(|i| work(i, scratch)),
            Crew::Team(cpu) => (0..pieces).into_par_iter().with_max_len(1).for_each(|i| {
                let mut scratch = cpu.scratches.take(|| Scratch::new(cpu));
                work(i, &mut scratch);
                cpu.scratches.give_back(scratch);
            }),
        }
    }

    /// How many threads share the work.
    fn size(&self) -> usize {
        match self {
            Crew::Alone(_) => 1,
            Crew::Team(_) => rayon::current_num_threads(),
        }
    }
}

/// Some images on their way through the net.
struct Wave<'a> {
    cpu: &'a Cpu,
    images: usize,
    /// Images of a workspace.
    share: usize,
    workspaces: Vec<Workspace>,
    /// Outputs of each fully connected layer, images × outputs.
    hidden: Vec<Vec<f32>>,
}

impl<'a> Wave<'a> {
    fn begin(cpu: &'a Cpu, images: usize) -> Wave<'a> {
        let threads = rayon::current_num_threads();
        let together = threads > 1 && images < IMAGES_TO_SHARE * threads && images <= cpu.shard();
        let share = if together { images } else { images.div_ceil(threads) };
        let workspaces = (0..images.div_ceil(share)).map(|_| cpu.workspaces.take(|| Workspace::new(cpu))).collect();
        Wave { cpu, images, share, workspaces, hidden: Vec::new() }
    }

    /// For each workspace with its part of `inputs` and `outputs`: alone, or if there is only one, with all threads.
    fn each<T: Sync>(
        &mut self,
        inputs: &[T],
        outputs: &mut [f32],
        work: impl Fn(&mut Workspace, &[T], &mut [f32], &mut Crew) + Sync,
    ) {
        let cpu = self.cpu;
        let (of_input, of_output) = (inputs.len() / self.images, outputs.len() / self.images);
        if let [only] = self.workspaces.as_mut_slice() {
            return work(only, inputs, outputs, &mut Crew::Team(cpu));
        }
        let parts = inputs.par_chunks(self.share * of_input).zip(outputs.par_chunks_mut(self.share * of_output));
        self.workspaces.par_iter_mut().zip(parts).with_max_len(1).for_each(|(workspace, (inputs, outputs))| {
            let mut scratch = cpu.scratches.take(|| Scratch::new(cpu));
            work(workspace, inputs, outputs, &mut Crew::Alone(&mut scratch));
            cpu.scratches.give_back(scratch);
        });
    }

    /// Room for the gradient of the logits, and the logits.
    fn forward<T: Sync>(&mut self, inputs: &[T], start: &Start<T>) -> (Vec<f32>, Vec<f32>) {
        let cpu = self.cpu;
        let mut values = vec![0.0; self.images * cpu.linears[0].stride];
        self.each(inputs, &mut values, |workspace, inputs, features, crew| {
            workspace.forward(cpu, inputs, start, features, crew);
        });
        for (i, linear) in cpu.linears.iter().enumerate() {
            let outputs = linear_forward(cpu.table, linear, &values, self.images);
            let stride = cpu.linears.get(i + 1).map_or(linear.outputs, |next| next.stride);
            values = vec![0.0; self.images * stride];
            for (row, outputs) in values.chunks_exact_mut(stride).zip(outputs.chunks_exact(linear.outputs)) {
                row[..linear.outputs].copy_from_slice(outputs);
            }
            self.hidden.push(outputs);
        }
        (vec![0.0; values.len()], values)
    }

    /// From the gradient with respect to the logits to that with respect to the images.
    fn backward(&mut self, mut gradient: Vec<f32>, of_images: &mut [f32]) {
        let cpu = self.cpu;
        for (linear, hidden) in cpu.linears.iter().zip(&self.hidden).rev() {
            if linear.relu {
                // as PyTorch: 0 where the output is 0, let through where it is NaN
                gradient.iter_mut().zip(hidden).filter(|(_, h)| **h <= 0.0).for_each(|(g, _)| *g = 0.0);
            }
            gradient = linear_backward(cpu.table, linear, &gradient, self.images);
        }
        self.each(&gradient, of_images, |workspace, gradient, of_images, crew| {
            workspace.backward(cpu, gradient, of_images, crew);
        });
    }
}

impl Drop for Wave<'_> {
    fn drop(&mut self) {
        self.workspaces.drain(..).for_each(|w| self.cpu.workspaces.give_back(w));
    }
}

/// Images × inputs (padded) to images × outputs.
fn linear_forward(table: &Table, linear: &Linear, inputs: &[f32], images: usize) -> Vec<f32> {
    let mut by_output = vec![0.0; linear.outputs * images];
    by_output.par_chunks_mut(LINEAR_OUTPUTS * images).enumerate().for_each(|(i, outputs)| {
        let mut part = linear::Forward { linear, inputs, first: i * LINEAR_OUTPUTS, outputs };
        // SAFETY: the table is of instructions that are there
        unsafe { (table.linear_forward)(&mut part) }
    });
    let mut outputs = vec![0.0; by_output.len()];
    for (image, outputs) in outputs.chunks_exact_mut(linear.outputs).enumerate() {
        outputs.iter_mut().zip(by_output.iter().skip(image).step_by(images)).for_each(|(to, from)| *to = *from);
    }
    outputs
}

/// Gradient images × outputs to gradient images × inputs.
fn linear_backward(table: &Table, linear: &Linear, gradient: &[f32], images: usize) -> Vec<f32> {
    let strips: Vec<(usize, usize, Vec<f32>)> = (0..linear.stride.div_ceil(LINEAR_INPUTS))
        .into_par_iter()
        .map(|i| {
            let first = i * LINEAR_INPUTS;
            let width = LINEAR_INPUTS.min(linear.stride - first);
            let mut inputs = vec![0.0; images * width];
            let mut part = linear::Backward { linear, gradient, first, inputs: &mut inputs, width };
            // SAFETY: the table is of instructions that are there
            unsafe { (table.linear_backward)(&mut part) }
            (first, width, inputs)
        })
        .collect();
    let mut inputs = vec![0.0; images * linear.inputs];
    for (first, width, strip) in &strips {
        let used = (*width).min(linear.inputs - first);
        for (row, strip) in inputs.chunks_exact_mut(linear.inputs).zip(strip.chunks_exact(*width)) {
            row[*first..first + used].copy_from_slice(&strip[..used]);
        }
    }
    inputs
}

impl Workspace {
    fn new(cpu: &Cpu) -> Workspace {
        let bits = |layer: &Layer| cpu.shard() * layer.side_after().pow(2) * padded(layer.outputs) / lanes::LANES;
        let of = |pooled: bool| cpu.layers.iter().map(move |l| if l.pooled == pooled { bits(l) } else { 0 });
        Workspace {
            images: Buffer::new(cpu.images.len()),
            maps: cpu.maps.iter().map(|m| Buffer::new(m.len())).collect(),
            relu: of(false).map(|len| vec![0; len]).collect(),
            pool: of(true).map(|len| vec![PoolBits::default(); len]).collect(),
        }
    }

    /// Images to what the first fully connected layer reads.
    fn forward<T>(&mut self, cpu: &Cpu, inputs: &[T], start: &Start<T>, features: &mut [f32], crew: &mut Crew) {
        let stride = cpu.linears[0].stride;
        let images = features.len() / stride;
        self.forward_stage(cpu, cpu.chunks.len() - 1, 0..images, (inputs, start), crew);
        for (image, features) in features.chunks_exact_mut(stride).enumerate() {
            self.average(cpu, image, features);
        }
    }

    /// Takes images from where they start through all stages up to `stage`: fewer at a time through the earlier ones.
    fn forward_stage<T>(
        &mut self,
        cpu: &Cpu,
        stage: usize,
        images: Range<usize>,
        from: (&[T], &Start<T>),
        crew: &mut Crew,
    ) {
        let (inputs, start) = from;
        if stage > cpu.layers[start.layer].stage {
            let chunk = cpu.chunks[stage - 1];
            for first in images.clone().step_by(chunk) {
                self.forward_stage(cpu, stage - 1, first..(first + chunk).min(images.end), from, crew);
            }
        } else {
            (start.fill)(self, inputs, images.clone(), crew);
        }
        for i in (start.layer..cpu.layers.len()).filter(|i| cpu.layers[*i].stage == stage) {
            self.forward_layer(cpu, i, images.clone(), crew);
        }
    }

    /// 3×H×W in [0,1] to H×W×3, normalised.
    fn normalise(&mut self, cpu: &Cpu, images: Range<usize>, pixels: &[f32]) {
        let values = 3 * cpu.side * cpu.side;
        for image in images {
            cpu.normalise(&pixels[image * values..][..values], &mut self.images[cpu.images.corner(image)..]);
        }
    }

    fn forward_layer(&mut self, cpu: &Cpu, i: usize, images: Range<usize>, crew: &mut Crew) {
        let layer = &cpu.layers[i];
        let finish = layer.finish(self.relu[i].as_mut_ptr(), self.pool[i].as_mut_ptr());
        let target =
            Target { map: self.maps[layer.map].as_mut_ptr(), layout: cpu.maps[layer.map], side: layer.side, finish };
        let (source, layout) = match i.checked_sub(1).map(|before| cpu.layers[before].map) {
            Some(before) => (&self.maps[before], cpu.maps[before]),
            None => (&self.images, cpu.images),
        };
        forward(cpu, i, (source, layout), target, images, crew);
    }

    /// The last map of an image, averaged, as the first fully connected layer reads it: row, column, channel.
    fn average(&self, cpu: &Cpu, image: usize, features: &mut [f32]) {
        let last = cpu.layers.last().expect("never empty");
        let (map, layout) = (&self.maps[last.map], cpu.maps[last.map]);
        for (place, (ys, xs)) in windows(layout.side, cpu.average).enumerate() {
            let features = &mut features[place * last.outputs..][..last.outputs];
            let size = (ys.len() * xs.len()) as f32;
            features.fill(0.0);
            for y in ys {
                for x in xs.clone() {
                    let pixel = &map[layout.at(image, y, x)..][..last.outputs];
                    features.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
                }
            }
            if size > 1.0 {
                features.iter_mut().for_each(|sum| *sum /= size);
            }
        }
    }

    /// Gradient with respect to the features to that with respect to the images.
    fn backward(&mut self, cpu: &Cpu, gradient: &[f32], of_images: &mut [f32], crew: &mut Crew) {
        let values = 3 * cpu.side * cpu.side;
        let images = of_images.len() / values;
        let of_image = gradient.len() / images;
        for (image, gradient) in gradient.chunks_exact(of_image).enumerate() {
            self.spread(cpu, image, gradient);
        }
        self.backward_stage(cpu, cpu.chunks.len() - 1, 0..images, of_images, crew);
    }

    /// The gradient of [`Workspace::average`], through the last layer's pool and ReLU.
    fn spread(&mut self, cpu: &Cpu, image: usize, gradient: &[f32]) {
        let i = cpu.layers.len() - 1;
        let last = &cpu.layers[i];
        let side = last.side_after();
        let channels = padded(last.outputs);
        let mut pooled = vec![0.0; side * side * channels];
        for (place, (ys, xs)) in windows(side, cpu.average).enumerate() {
            let gradient = &gradient[place * last.outputs..][..last.outputs];
            let size = (ys.len() * xs.len()) as f32;
            for y in ys {
                for x in xs.clone() {
                    let pixel = &mut pooled[(y * side + x) * channels..][..last.outputs];
                    pixel.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g / size);
                }
            }
        }
        let (map, layout) = (&mut self.maps[last.gradient], cpu.maps[last.gradient]);
        for (group, gradient) in pooled.as_chunks::<{ lanes::LANES }>().0.iter().enumerate() {
            let groups = channels / lanes::LANES;
            let (pixel, channel) = (group / groups, group % groups * lanes::LANES);
            let (y, x) = (pixel / side, pixel % side);
            let bits = image * side * side * groups + group;
            for (lane, g) in gradient.iter().enumerate() {
                let channel = channel + lane;
                if last.pooled {
                    let (open, winner) = self.pool[i][bits].lane(lane);
                    for corner in 0..4 {
                        map[layout.at(image, 2 * y + corner / 2, 2 * x + corner % 2) + channel] =
                            if open && corner == winner { *g } else { 0.0 };
                    }
                } else {
                    let open = self.relu[i][bits] >> lane & 1 == 1;
                    map[layout.at(image, y, x) + channel] = if open { *g } else { 0.0 };
                }
            }
        }
    }

    fn backward_stage(
        &mut self,
        cpu: &Cpu,
        stage: usize,
        images: Range<usize>,
        of_images: &mut [f32],
        crew: &mut Crew,
    ) {
        for i in (0..cpu.layers.len()).rev().filter(|i| cpu.layers[*i].stage == stage) {
            match i.checked_sub(1) {
                Some(before) => self.backward_layer(cpu, i, before, images.clone(), crew),
                None => self.backward_first(cpu, images.clone(), of_images, crew),
            }
        }
        if let Some(before) = stage.checked_sub(1) {
            for first in images.clone().step_by(cpu.chunks[before]) {
                let some = first..(first + cpu.chunks[before]).min(images.end);
                self.backward_stage(cpu, before, some, of_images, crew);
            }
        }
    }

    /// From the gradient with respect to the output of layer `i` to that of the layer before it.
    fn backward_layer(&mut self, cpu: &Cpu, i: usize, before: usize, images: Range<usize>, crew: &mut Crew) {
        let (from, to) = (cpu.layers[i].gradient, cpu.layers[before].gradient);
        let finish = match cpu.layers[before].pooled {
            true => Finish::Unpool { bits: self.pool[before].as_ptr() },
            false => Finish::Mask { bits: self.relu[before].as_ptr() },
        };
        let target = Target { map: self.maps[to].as_mut_ptr(), layout: cpu.maps[to], side: cpu.layers[i].side, finish };
        convolve(cpu, cpu.backward_kernels(i), &self.maps[from], cpu.maps[from], target, images, crew);
    }

    fn backward_first(&mut self, cpu: &Cpu, images: Range<usize>, of_images: &mut [f32], crew: &mut Crew) {
        let layer = &cpu.layers[0];
        let (side, plane) = (cpu.side, cpu.side * cpu.side);
        let gradient = Shared(self.maps[layer.gradient].as_mut_ptr());
        assert!(of_images.len() >= images.end * 3 * plane);
        let to = Shared(of_images.as_mut_ptr());
        let bands = bands(side, crew);
        crew.each(images.len() * bands.len(), |piece, scratch| {
            let part = first::Backward {
                first: &cpu.first,
                gradient: gradient.get(),
                layout: cpu.maps[layer.gradient],
                image: images.start + piece / bands.len(),
                rows: bands[piece % bands.len()].clone(),
            };
            let mut put = |y: usize, row: &[f32]| {
                for (c, std) in cpu.std.iter().enumerate() {
                    // SAFETY: row y of a plane of this image, which only this piece writes
                    let line = unsafe {
                        std::slice::from_raw_parts_mut(to.get().add((part.image * 3 + c) * plane + y * side), side)
                    };
                    line.iter_mut().zip(row[c..].iter().step_by(3)).for_each(|(to, g)| *to = g / std);
                }
            };
            // SAFETY: the map holds these images
            unsafe { (cpu.table.first_backward)(&part, &mut scratch.first, &mut put) }
        });
    }
}

/// Layer `i` over some images of a map.
fn forward(
    cpu: &Cpu,
    i: usize,
    (source, layout): (&Buffer, Layout),
    target: Target,
    images: Range<usize>,
    crew: &mut Crew,
) {
    if let Some(kernels) = &cpu.layers[i].forward {
        return convolve(cpu, kernels, source, layout, target, images, crew);
    }
    let source = Shared(source.as_ptr().cast_mut());
    let bands = bands(layout.side, crew);
    crew.each(images.len() * bands.len(), |piece, scratch| {
        let part = first::Forward {
            first: &cpu.first,
            source: source.get(),
            layout,
            target,
            image: images.start + piece / bands.len(),
            rows: bands[piece % bands.len()].clone(),
        };
        // SAFETY: the images are normalised, the map and bits hold them; pieces write different rows
        unsafe { (cpu.table.first_forward)(&part, &mut scratch.first) }
    });
}

/// One convolution over some images, cut into pieces of tiles and, where a team has too few tiles to go round, of
/// output channels.
fn convolve(
    cpu: &Cpu,
    kernels: &Kernels,
    source: &Buffer,
    layout: Layout,
    target: Target,
    images: Range<usize>,
    crew: &mut Crew,
) {
    let source = Shared(source.as_ptr().cast_mut());
    let tiles = images.len() * tiles_of_image(kernels.form, layout.side);
    let most = tiles_of_block(kernels.inputs);
    let (mut blocks, mut groups) = (tiles.div_ceil(most), 1);
    if crew.size() > 1 {
        // each piece of the same tiles transforms them anew, each of the same channels reads the same weights
        let few = if kernels.values.len() < HEAVY_WEIGHTS { FEW_TILES } else { most };
        match tiles >= crew.size() * few {
            true => blocks = blocks.next_multiple_of(crew.size()),
            false => groups = crew.size().min(kernels.panels()),
        }
    }
    crew.each(blocks * groups, |piece, scratch| {
        let (b, g) = (piece / groups, piece % groups);
        let part = Block {
            kernels,
            source: source.get(),
            layout,
            target,
            first: images.start,
            tiles: tiles * b / blocks..tiles * (b + 1) / blocks,
            panels: kernels.panels() * g / groups..kernels.panels() * (g + 1) / groups,
        };
        // SAFETY: source and target are different maps that hold these images; pieces differ in tiles or panels
        unsafe { (cpu.table.block)(&part, &mut scratch.conv) }
    });
}

/// Rows of an image in pieces: all of them for one thread.
fn bands(side: usize, crew: &Crew) -> Vec<Range<usize>> {
    let rows = if crew.size() == 1 { side } else { ROWS_TOGETHER };
    (0..side).step_by(rows).map(|y| y..(y + rows).min(side)).collect()
}

/// Rows and columns that each output of an average pool averages.
fn windows(side: usize, out: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    (0..out * out).map(move |i| (window(i / out, side, out), window(i % out, side, out)))
}

impl Engine for Cpu {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let (logits, _) = lend(images, |pixels| self.images(pixels, None))?;
        Ok(Tensor::from_vec(logits, (images.dim(0)?, self.classes), &Device::Cpu)?)
    }

    fn logits_of_changes(&self, base: &Tensor, changes: &[Change]) -> Result<Tensor> {
        let logits = lend(base, |pixels| self.changed(pixels, changes, None))?;
        Ok(Tensor::from_vec(logits, (changes.len(), self.classes), &Device::Cpu)?)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let (logits, gradients) = lend(images, |pixels| self.images(pixels, Some(loss)))?;
        Ok((
            Tensor::from_vec(logits, (images.dim(0)?, self.classes), &Device::Cpu)?,
            Tensor::from_vec(gradients, images.shape(), &Device::Cpu)?,
        ))
    }
}
