//! What a unit does, with its weights packed for the algorithm that does it.

use super::dense::{Channels, Dense};
use super::first::First;
use super::lattice::Lattice;
use super::map::{Buffer, padded};
use super::plan::finishes;
use super::rows::{MOST_TAPS, Windows};
use super::stem::Stem;
use super::unit::{Unit, WINOGRAD, as_map};
use super::winograd::{Form, Kernels};
use crate::kernel::graph::{Op, Window};
use std::sync::LazyLock;

/// What a unit does.
pub enum Work {
    /// 3×3 convolution of RGB images at stride 1, padding 1.
    First(First),
    /// Any other convolution of RGB images.
    Stem(Dense, Stem),
    /// 3×3 convolution at stride 1, padding 1.
    Winograd(Kernels, Lazy<Kernels>),
    /// Any other convolution.
    Dense(Dense, Lazy<Dense>),
    /// Each channel by itself; both directions read the same weights, tap × channels.
    Depthwise(Lattice, Vec<Lattice>, Buffer),
    /// RGB images as a map like all others, with a factor and a shift a channel.
    Lift(Buffer, Buffer),
    /// A factor and a shift a channel.
    Scale(Buffer, Buffer),
    MaxPool(Window),
    /// Factors, shifts and eps of the channels.
    LayerNorm(Buffer, Buffer, f32),
    /// Of so many heads.
    Attention(usize),
    Average(Windows),
    /// Channels one after the other.
    Concat,
    /// Anything else, by the plain code.
    Other(Op<f32>),
}

/// Made when a gradient is asked for, from raw weights that are given up then.
type Lazy<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send>>;

impl Work {
    /// Of an operation of this unit, and the bias of its outputs.
    pub fn new(op: Op<f32>, unit: &Unit) -> (Work, Buffer) {
        let (from, to) = (unit.inputs.first().map_or(&[][..], Vec::as_slice), unit.before_pool.as_slice());
        let ([inputs, height, width], [outputs, ..]) = (as_map(from), as_map(to));
        let of_images = unit.reads.first() == Some(&0);
        if !finishes(&op, &unit.inputs) && !matches!(op, Op::Concat { .. }) {
            return (Work::Other(op), Buffer::new(padded(outputs)));
        }
        let work = match op {
            Op::Conv { window, groups, weight, bias } => {
                let bias = padded_to(&bias, padded(outputs));
                let channels = Channels { inputs, outputs, groups, of_images };
                return (convolution(window, channels, weight, [height, width]), bias);
            }
            Op::Scale { factor, shift, .. } => {
                let channels = |values: &[f64]| {
                    let all: Vec<f32> = (0..inputs).map(|c| values[c % values.len()] as f32).collect();
                    padded_to(&all, padded(inputs))
                };
                let (factor, shift) = (channels(&factor), channels(&shift));
                if of_images { Work::Lift(factor, shift) } else { Work::Scale(factor, shift) }
            }
            Op::LayerNorm { factor, shift, eps, .. } => {
                let [factor, shift] = [factor, shift].map(|values| {
                    let all: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
                    padded_to(&all, padded(inputs))
                });
                Work::LayerNorm(factor, shift, eps as f32)
            }
            Op::Attention { heads } => Work::Attention(heads),
            Op::MaxPool { window, .. } => Work::MaxPool(window),
            Op::AveragePool { window, count_padding, .. } => {
                let size = [height, width];
                let place = |axis: usize, i: usize| {
                    let (begin, before) = (i * window.stride[axis], window.padding[axis]);
                    let end = begin + window.size[axis];
                    let count = end.min(size[axis] + before + window.padding[axis + 2]) - begin;
                    let places =
                        begin.saturating_sub(before).min(size[axis])..(end.saturating_sub(before)).min(size[axis]);
                    (if count_padding { count } else { places.len() }, places)
                };
                let [_, down, across] = as_map(to);
                let axes = [0, 1]
                    .map(|axis| (0..[down, across][axis]).map(|i| place(axis, i)).unzip::<_, _, Vec<_>, Vec<_>>());
                let [(rows, ys), (columns, xs)] = axes;
                Work::Average(Windows::new([ys, xs], [rows, columns], size))
            }
            Op::AdaptiveAverage { out } => {
                let size = [height, width];
                // PyTorch's rule
                let place = |i: usize, size: usize, out: usize| i * size / out..((i + 1) * size).div_ceil(out);
                let places =
                    [0, 1].map(|axis| (0..out[axis]).map(|i| place(i, size[axis], out[axis])).collect::<Vec<_>>());
                let counts = places.each_ref().map(|axis| axis.iter().map(|w| w.len()).collect());
                Work::Average(Windows::new(places, counts, size))
            }
            Op::Concat { axis: 0 } if from.len() == 3 => Work::Concat,
            Op::Concat { axis: 1 } if from.len() == 2 => Work::Concat,
            op => Work::Other(op),
        };
        (work, Buffer::new(padded(outputs)))
    }

    /// Makes the weights of the way back, if there are any of its own.
    pub fn prepare_back(&self) {
        match self {
            Work::Winograd(_, back) => _ = LazyLock::force(back),
            Work::Dense(_, back) => _ = LazyLock::force(back),
            _ => {}
        }
    }

    /// Name in measurements.
    pub fn name(&self) -> String {
        match self {
            Work::First(_) => "first 3x3 convolution".into(),
            Work::Stem(..) => "first convolution".into(),
            Work::Winograd(..) => "Winograd convolution".into(),
            Work::Dense(..) => "convolution".into(),
            Work::Depthwise(..) => "depthwise convolution".into(),
            Work::Lift(..) | Work::Scale(..) => "scale".into(),
            Work::MaxPool(_) => "max-pool".into(),
            Work::LayerNorm(..) => "layer norm".into(),
            Work::Attention(_) => "attention".into(),
            Work::Average(_) => "average".into(),
            Work::Concat => "concatenation".into(),
            Work::Other(op) => format!("plain {}", op.name()),
        }
    }

    /// Images that it takes at least at a time for each load of its weights to pay, on a map of this size.
    pub fn wanted(&self, size: [usize; 2]) -> usize {
        match self {
            Work::Winograd(kernels, _) => TILES_TOGETHER.div_ceil(super::conv::tiles_of_image(kernels.form, size)),
            Work::First(_) => TILES_TOGETHER.div_ceil(super::conv::tiles_of_image(Form::of(size), size)),
            Work::Dense(..) => ROWS_TOGETHER.div_ceil(size[0] * size[1]),
            _ => 1,
        }
    }
}

/// Tiles, and outputs of a product, that a thread takes at least through a unit at a time, if it has that many (KERNEL study:
/// flat from 22 tiles on).
const TILES_TOGETHER: usize = 64;
const ROWS_TOGETHER: usize = 64;

/// A convolution, of maps of this height and width.
pub fn convolution(window: Window, c: Channels, weight: Vec<f32>, size: [usize; 2]) -> Work {
    let Channels { inputs, outputs, groups, of_images } = c;
    let taps = window.size[0] * window.size[1];
    if groups == 1 && window == WINOGRAD {
        if of_images {
            return Work::First(First::new(&weight, outputs));
        }
        let form = Form::of(size);
        let forward = Kernels::new(form, inputs, outputs, |o, i| nine(&weight, inputs, o, i));
        // the gradient of the convolution is another, its kernels turned by 180°
        let backward = Lazy::new(Box::new(move || {
            Kernels::new(form, outputs, inputs, |o, i| {
                let mut taps = nine(&weight, inputs, i, o);
                taps.reverse();
                taps
            })
        }));
        return Work::Winograd(forward, backward);
    }
    if groups == inputs && groups == outputs && groups > 1 && taps <= MOST_TAPS {
        let channels = padded(inputs);
        let mut by_tap = Buffer::new(taps * channels);
        for (i, w) in weight.iter().enumerate() {
            by_tap[i % taps * channels + i / taps] = *w;
        }
        return Work::Depthwise(Lattice::forward(&window), Lattice::backward(&window), by_tap);
    }
    let of_group = inputs / groups;
    let at = move |o: usize, i: usize, tap: usize| (o * of_group + i) * taps + tap;
    let forward = Dense::new(vec![Lattice::forward(&window)], c, |o, i, tap| weight[at(o, i, tap)]);
    if of_images {
        let stem = Stem::new(window, &weight, outputs);
        return Work::Stem(forward, stem);
    }
    let back = Channels { inputs: outputs, outputs: inputs, groups, of_images: false };
    let outputs_of_group = outputs / groups;
    let backward = Lazy::new(Box::new(move || {
        Dense::new(Lattice::backward(&window), back, |to, from, tap| {
            // `to` is an input of the way forward, `from` an output counted in its group
            let group = to / of_group;
            weight[at(group * outputs_of_group + from, to % of_group, tap)]
        })
    }));
    Work::Dense(forward, backward)
}

/// The nine taps from one channel to another.
fn nine(weight: &[f32], inputs: usize, output: usize, input: usize) -> [f32; 9] {
    weight.as_chunks::<9>().0[output * inputs + input]
}

fn padded_to(values: &[f32], len: usize) -> Buffer {
    let mut buffer = Buffer::new(len);
    buffer[..values.len()].copy_from_slice(values);
    buffer
}
