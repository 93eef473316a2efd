//! The CPU engine: each thread runs a few images at a time through the whole net, channels last, with no autograd.
//!
//! An image's numbers come from the same operations in the same order whatever its neighbours ([`product`]), so its
//! result is bit-identical for any batch size and thread count. Memory is a few maps a thread, whatever the batch.

mod product;

use super::{Engine, LogitGradient, Net, Shape, Step, transposed, window};
use crate::error::Result;
use candle_core::{Device, Tensor};
use product::Panels;
use rayon::prelude::*;

pub use product::Real;

/// A network with weights in the order the loops read them.
pub struct Cpu<T> {
    net: Net<T>,
    shapes: Vec<Shape>,
    packed: Vec<Packed<T>>,
}

/// Weights of one step as the loops want them.
enum Packed<T> {
    /// Rows of the column matrix (ky, kx, channel) to outputs, and output gradients back to inputs.
    Conv {
        forward: Panels<T>,
        backward: Panels<T>,
    },
    /// outputs × inputs with inputs in (row, column, channel) order.
    Linear(Vec<T>),
    Nothing,
}

/// What a step leaves for its gradient: one byte a value.
type Tape = Vec<u8>;

/// Writes the gradient of a loss with respect to the logits of an image: (image, logits, gradient).
pub type Seed<'a, T> = dyn Fn(usize, &[T], &mut [T]) + 'a;

/// Buffers of one thread, for some images at a time, one after the other.
struct Workspace<T> {
    images: usize,
    map: Vec<T>,
    next: Vec<T>,
    columns: Vec<T>,
}

/// Values of the column matrix of one tile: a quarter of a MiB in f32, which an L2 cache holds.
const COLUMN_VALUES: usize = 1 << 16;

/// Images a thread takes at a time: on small maps they share each pass over the weights. More gain nothing.
const MOST_TOGETHER: usize = 16;

/// Values of the largest map of the images taken together: 4 MiB in f32.
const MAP_VALUES: usize = 1 << 20;

impl<T: Real> Cpu<T> {
    /// Packs the weights.
    pub fn new(net: Net<T>) -> Cpu<T> {
        let shapes = net.shapes();
        let pack = |(step, shape): (&Step<T>, &Shape)| match step {
            Step::Conv { inputs, outputs, weight, bias } => Packed::Conv {
                forward: pack_conv(weight, *inputs, *outputs, bias),
                backward: pack_conv(&transposed(weight, *inputs, *outputs), *outputs, *inputs, &[]),
            },
            Step::Linear { weight, .. } => Packed::Linear(channels_last_rows(weight, *shape)),
            Step::MaxPool | Step::AveragePool { .. } => Packed::Nothing,
        };
        let packed = net.steps.iter().zip(&shapes).map(pack).collect();
        Cpu { net, shapes, packed }
    }

    /// Logits of images 3×H×W one after the other; and the gradients with respect to them, if `seed` gives those with
    /// respect to the logits (image, logits, gradient).
    pub fn images(&self, images: &[T], seed: Option<&Seed<T>>) -> (Vec<T>, Vec<T>) {
        self.run(images, seed, &mut Workspace::new())
    }

    fn run(&self, images: &[T], seed: Option<&Seed<T>>, w: &mut Workspace<T>) -> (Vec<T>, Vec<T>) {
        let mut tapes = Vec::new();
        self.normalise(images, w);
        for i in 0..self.packed.len() {
            let mut tape = Tape::new();
            self.forward(i, w, seed.is_some().then_some(&mut tape));
            tapes.push(tape);
        }
        let logits = w.map.clone();
        let Some(seed) = seed else { return (logits, Vec::new()) };
        let classes = self.net.classes;
        for (i, (z, g)) in logits.chunks_exact(classes).zip(w.map.chunks_exact_mut(classes)).enumerate() {
            seed(i, z, g);
        }
        for i in (0..self.packed.len()).rev() {
            self.backward(i, w, &tapes[i]);
        }
        let pixels = self.net.side * self.net.side;
        let mut gradients = Vec::with_capacity(w.map.len());
        for map in w.map.chunks_exact(3 * pixels) {
            for (c, std) in self.net.std.iter().enumerate() {
                gradients.extend(map.iter().skip(c).step_by(3).map(|g| *g / *std));
            }
        }
        (logits, gradients)
    }

    /// Images a thread takes at a time.
    fn together(&self) -> usize {
        let largest = self.shapes.iter().map(|s| s.values()).max().expect("never empty");
        (MAP_VALUES / largest).clamp(1, MOST_TOGETHER)
    }

    /// 3×H×W in [0,1] to H×W×3, normalised.
    fn normalise(&self, images: &[T], w: &mut Workspace<T>) {
        let pixels = self.net.side * self.net.side;
        assert!(images.len().is_multiple_of(3 * pixels), "images of another size");
        w.images = images.len() / (3 * pixels);
        w.map.clear();
        for image in images.chunks_exact(3 * pixels) {
            for p in 0..pixels {
                w.map.extend((0..3).map(|c| (image[c * pixels + p] - self.net.mean[c]) / self.net.std[c]));
            }
        }
    }

    /// Step `i` from `w.map` to `w.map`.
    fn forward(&self, i: usize, w: &mut Workspace<T>, tape: Option<&mut Tape>) {
        let shape = self.shapes[i];
        match (&self.net.steps[i], &self.packed[i]) {
            (Step::Conv { .. }, Packed::Conv { forward, .. }) => {
                conv(w, shape, forward);
                relu(&mut w.next, tape);
            }
            (Step::MaxPool, _) => max_pool(w, shape, tape),
            (Step::AveragePool { side }, _) => average_pool(w, shape, *side),
            (Step::Linear { bias, relu: with_relu, .. }, Packed::Linear(weight)) => {
                linear(weight, bias, w);
                if *with_relu {
                    relu(&mut w.next, tape);
                }
            }
            _ => unreachable!("steps and packed weights go together"),
        }
        std::mem::swap(&mut w.map, &mut w.next);
    }

    /// Gradient of step `i` from its output (`w.map`) to its input (`w.map`).
    fn backward(&self, i: usize, w: &mut Workspace<T>, tape: &Tape) {
        let (shape, after) = (self.shapes[i], self.shapes[i + 1]);
        match (&self.net.steps[i], &self.packed[i]) {
            (Step::Conv { .. }, Packed::Conv { backward, .. }) => {
                mask(&mut w.map, tape);
                conv(w, after, backward);
            }
            (Step::MaxPool, _) => max_unpool(w, shape, tape),
            (Step::AveragePool { .. }, _) => average_unpool(w, shape, after.side),
            (Step::Linear { inputs, relu, .. }, Packed::Linear(weight)) => {
                if *relu {
                    mask(&mut w.map, tape);
                }
                linear_gradient(weight, *inputs, w);
            }
            _ => unreachable!("steps and packed weights go together"),
        }
        std::mem::swap(&mut w.map, &mut w.next);
    }
}

impl Engine for Cpu<f32> {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let pixels = images.flatten_all()?.to_vec1::<f32>()?;
        let n = pixels.len() / self.shapes[0].values();
        let logits: Vec<f32> = pixels
            .par_chunks(self.chunk(n) * self.shapes[0].values())
            .map_init(Workspace::new, |w, images| self.run(images, None, w).0)
            .flatten_iter()
            .collect();
        Ok(Tensor::from_vec(logits, (n, self.net.classes), &Device::Cpu)?)
    }

    fn logits_and_gradient(&self, images: &Tensor, seed: &LogitGradient) -> Result<(Tensor, Tensor)> {
        let pixels = images.flatten_all()?.to_vec1::<f32>()?;
        let (values, classes) = (self.shapes[0].values(), self.net.classes);
        let n = pixels.len() / values;
        let chunk = self.chunk(n);
        let (mut logits, mut gradient) = (vec![0.0; n * classes], vec![0.0; n * values]);
        pixels
            .par_chunks(chunk * values)
            .zip(logits.par_chunks_mut(chunk * classes).zip(gradient.par_chunks_mut(chunk * values)))
            .enumerate()
            .for_each_init(Workspace::new, |w, (c, (images, (z, g)))| {
                let of_image = |i: usize, z: &[f32], g: &mut [f32]| seed(c * chunk + i, z, g);
                let (chunk_logits, chunk_gradient) = self.run(images, Some(&of_image), w);
                z.copy_from_slice(&chunk_logits);
                g.copy_from_slice(&chunk_gradient);
            });
        Ok((
            Tensor::from_vec(logits, (n, classes), &Device::Cpu)?,
            Tensor::from_vec(gradient, images.shape(), &Device::Cpu)?,
        ))
    }
}

impl Cpu<f32> {
    /// Images of one piece of work in a batch of n: no thread idle, none with too many at once.
    fn chunk(&self, n: usize) -> usize {
        self.together().min(n.div_ceil(rayon::current_num_threads())).max(1)
    }
}

impl<T> Workspace<T> {
    fn new() -> Workspace<T> {
        Workspace { images: 0, map: Vec::new(), next: Vec::new(), columns: Vec::new() }
    }
}

/// outputs×inputs×3×3 to panels of (9·inputs)×outputs, rows in (ky, kx, input) order.
fn pack_conv<T: Real>(weight: &[T], inputs: usize, outputs: usize, bias: &[T]) -> Panels<T> {
    Panels::pack(9 * inputs, outputs, bias, |row, o| weight[(o * inputs + row % inputs) * 9 + row / inputs])
}

/// Rows over (channel, row, column) to rows over (row, column, channel).
fn channels_last_rows<T: Real>(weight: &[T], shape: Shape) -> Vec<T> {
    let pixels = shape.side * shape.side;
    let reordered = |row: &[T]| -> Vec<T> {
        (0..row.len()).map(|j| row[j % shape.channels * pixels + j / shape.channels]).collect()
    };
    weight.chunks_exact(shape.values()).flat_map(reordered).collect()
}

/// 3×3 convolution of `w.map` (images × side×side×channels) into `w.next` (images × side×side×outputs).
fn conv<T: Real>(w: &mut Workspace<T>, shape: Shape, panels: &Panels<T>) {
    let Shape { side, .. } = shape;
    let row_values = side * panels.width();
    let rows = w.images * side;
    w.next.resize(rows * row_values, T::zero());
    let rows_a_tile = (COLUMN_VALUES / (side * panels.depth())).max(1);
    for top in (0..rows).step_by(rows_a_tile) {
        let tile = top..(top + rows_a_tile).min(rows);
        w.columns.clear();
        for row in tile.clone() {
            let image = row / side * shape.values();
            fill_columns(&w.map[image..image + shape.values()], &mut w.columns, shape, row % side);
        }
        panels.multiply(&w.columns, &mut w.next[tile.start * row_values..tile.end * row_values]);
    }
}

/// The column matrix of one row of a map: one row a pixel, its 3×3 neighbourhood in (ky, kx, channel) order.
fn fill_columns<T: Real>(map: &[T], columns: &mut Vec<T>, shape: Shape, y: usize) {
    let Shape { channels, side } = shape;
    for x in 0..side {
        for ky in 0..3 {
            // neighbours x-1..=x+1 of row y+ky-1 lie side by side; what lies outside is 0
            let Some(row) = (y + ky).checked_sub(1).filter(|r| *r < side) else {
                columns.resize(columns.len() + 3 * channels, T::zero());
                continue;
            };
            let (first, last) = (x.saturating_sub(1), (x + 1).min(side - 1));
            let left = if x == 0 { channels } else { 0 };
            let right = if x + 1 == side { channels } else { 0 };
            columns.resize(columns.len() + left, T::zero());
            columns.extend_from_slice(&map[(row * side + first) * channels..(row * side + last + 1) * channels]);
            columns.resize(columns.len() + right, T::zero());
        }
    }
}

/// Fully connected: each weight row passes once over all images.
fn linear<T: Real>(weight: &[T], bias: &[T], w: &mut Workspace<T>) {
    let (inputs, outputs) = (w.map.len() / w.images, bias.len());
    w.next.clear();
    w.next.resize(w.images * outputs, T::zero());
    for (o, (row, bias)) in weight.chunks_exact(inputs).zip(bias).enumerate() {
        for (i, map) in w.map.chunks_exact(inputs).enumerate() {
            w.next[i * outputs + o] = dot(row, map) + *bias;
        }
    }
}

fn linear_gradient<T: Real>(weight: &[T], inputs: usize, w: &mut Workspace<T>) {
    let outputs = w.map.len() / w.images;
    w.next.clear();
    w.next.resize(w.images * inputs, T::zero());
    for (o, row) in weight.chunks_exact(inputs).enumerate() {
        for (i, next) in w.next.chunks_exact_mut(inputs).enumerate() {
            let g = w.map[i * outputs + o];
            next.iter_mut().zip(row).for_each(|(v, r)| *v += *r * g);
        }
    }
}

/// max(v, 0) in place; NaN stays NaN. The tape holds 1 where the slope is 1 (0 at 0, as in PyTorch).
fn relu<T: Real>(map: &mut [T], tape: Option<&mut Tape>) {
    let zero = T::zero();
    if let Some(tape) = tape {
        tape.extend(map.iter().map(|v| u8::from(*v > zero)));
    }
    map.iter_mut().for_each(|v| *v = if *v <= zero { zero } else { *v });
}

fn mask<T: Real>(map: &mut [T], tape: &Tape) {
    map.iter_mut().zip(tape).for_each(|(v, keep)| *v = if *keep == 1 { *v } else { T::zero() });
}

/// Offsets of the corners of window (y, x) of a map, in reading order.
fn window_corners(y: usize, x: usize, shape: Shape) -> [usize; 4] {
    let at = |dy: usize, dx: usize| ((2 * y + dy) * shape.side + 2 * x + dx) * shape.channels;
    [at(0, 0), at(0, 1), at(1, 0), at(1, 1)]
}

/// 2×2 maximum, first of equals, NaN wins; the tape holds the winning corner.
fn max_pool<T: Real>(w: &mut Workspace<T>, shape: Shape, mut tape: Option<&mut Tape>) {
    w.next.clear();
    let half = shape.side / 2;
    for map in w.map.chunks_exact(shape.values()) {
        for (y, x) in (0..half * half).map(|i| (i / half, i % half)) {
            let corners = window_corners(y, x, shape);
            for c in 0..shape.channels {
                let (mut best, mut winner) = (map[corners[0] + c], 0);
                for (k, corner) in corners.iter().enumerate().skip(1) {
                    let v = map[corner + c];
                    if v > best || is_nan(v) {
                        (best, winner) = (v, k as u8);
                    }
                }
                w.next.push(best);
                if let Some(tape) = tape.as_deref_mut() {
                    tape.push(winner);
                }
            }
        }
    }
}

#[allow(clippy::eq_op)] // true of NaN alone
fn is_nan<T: Real>(v: T) -> bool {
    v != v
}

fn max_unpool<T: Real>(w: &mut Workspace<T>, shape: Shape, tape: &Tape) {
    w.next.clear();
    w.next.resize(w.images * shape.values(), T::zero());
    let half = shape.side / 2;
    let pooled = half * half * shape.channels;
    let gradients = w.map.chunks_exact(pooled).zip(tape.chunks_exact(pooled));
    for (next, (gradient, winners)) in w.next.chunks_exact_mut(shape.values()).zip(gradients) {
        for (y, x) in (0..half * half).map(|i| (i / half, i % half)) {
            let corners = window_corners(y, x, shape);
            for c in 0..shape.channels {
                let i = (y * half + x) * shape.channels + c;
                next[corners[usize::from(winners[i])] + c] = gradient[i];
            }
        }
    }
}

/// Calls `visit(offset in the pooled map, offset in the map, share)` for every pixel of every window.
fn average_windows(shape: Shape, out: usize, mut visit: impl FnMut(usize, usize, f64)) {
    for (y, x) in (0..out * out).map(|i| (i / out, i % out)) {
        let (rows, columns) = (window(y, shape.side, out), window(x, shape.side, out));
        let share = 1.0 / (rows.len() * columns.len()) as f64;
        for r in rows {
            for c in columns.clone() {
                visit((y * out + x) * shape.channels, (r * shape.side + c) * shape.channels, share);
            }
        }
    }
}

fn average_pool<T: Real>(w: &mut Workspace<T>, shape: Shape, out: usize) {
    let pooled = shape.channels * out * out;
    w.next.clear();
    w.next.resize(w.images * pooled, T::zero());
    for (next, map) in w.next.chunks_exact_mut(pooled).zip(w.map.chunks_exact(shape.values())) {
        average_windows(shape, out, |to, from, share| {
            (0..shape.channels).for_each(|c| next[to + c] += map[from + c] * T::from_f64(share));
        });
    }
}

fn average_unpool<T: Real>(w: &mut Workspace<T>, shape: Shape, out: usize) {
    let pooled = shape.channels * out * out;
    w.next.clear();
    w.next.resize(w.images * shape.values(), T::zero());
    for (next, gradient) in w.next.chunks_exact_mut(shape.values()).zip(w.map.chunks_exact(pooled)) {
        average_windows(shape, out, |from, to, share| {
            (0..shape.channels).for_each(|c| next[to + c] += gradient[from + c] * T::from_f64(share));
        });
    }
}

/// Inner product in 16 partial sums, so that it vectorises in one fixed order.
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); 16];
    let (a_blocks, b_blocks) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let mut rest = T::zero();
    tail.for_each(|(x, y)| rest += *x * *y);
    for (x, y) in a_blocks.zip(b_blocks) {
        for l in 0..16 {
            sums[l] += x[l] * y[l];
        }
    }
    sums.into_iter().fold(rest, |total, s| total + s)
}
