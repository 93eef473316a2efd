//! What a device does to compute a network and its gradient, as plain data: which kernels one after the other, in which
//! buffers, with which weights. Made of a [`Graph`] once, without a device, so that each pass over it has a test.
//!
//! [`layout`]: where the numbers of a value lie. [`lower`]: operations to tasks, each with its way back; bias, residual sum
//! and function are done together, behind the convolution or product before them. [`places`]: lifetimes of the
//! buffers, and where they lie. [`weights`]: weights as kernels read them.

mod contract;
mod layout;
mod lower;
mod operations;
mod places;
mod product;
mod tape;
mod weights;

use super::graph::{Activation, Window};

pub use contract::{At, Axis, Contract, Loops, View};
pub use layout::{EIGHT, Layout};
pub use product::{Matrix, Product};

/// A buffer, by number.
pub type Slot = usize;

/// What a buffer holds of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Numbers in the precision of maps.
    Numbers(usize),
    /// Bits and indices.
    Bytes(usize),
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the precision of maps.
    Maps,
    /// In f32.
    Floats,
}

/// Everything that is done for a batch.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Height and width of the images.
    pub size: [usize; 2],
    /// Subtracted from each channel, which is divided by [`Schedule::std`] then.
    pub mean: [f32; 3],
    /// See [`Schedule::mean`].
    pub std: [f32; 3],
    /// Number of logits.
    pub classes: usize,
    /// The buffers.
    pub rooms: Vec<Room>,
    /// The convolutions that tasks name.
    pub convolutions: Vec<Conv>,
    /// From the images to the logits.
    pub forward: Vec<Task>,
    /// From the gradient of the logits to that of the images.
    pub backward: Vec<Task>,
}

/// How windows go over maps, which lie channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Height and width of the map.
    pub size: [usize; 2],
    /// Height and width of what comes out.
    pub out: [usize; 2],
    /// The windows.
    pub window: Window,
}

/// A convolution; numbers of weights are those that `keep` of [`Schedule::new`] gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Padding is the same on both sides.
    pub on: Geometry,
    /// Channels it reads, with zeros.
    pub inputs: usize,
    /// Channels it writes, with zeros.
    pub outputs: usize,
    /// Channels of one group that it reads and writes; of a single group, with zeros.
    pub of_group: [usize; 2],
    /// Groups.
    pub groups: usize,
    /// Outputs × height × width × inputs of a group.
    pub weight: usize,
    /// Inputs × height × width × outputs, turned: the weights of the convolution that leads back, where there is one.
    pub turned: Option<usize>,
    /// Height × width × channels, where each channel is a group.
    pub by_taps: Option<usize>,
    /// One an output, as maps are.
    pub bias: usize,
}

/// y = function(factor·x + bias + other), number by number; factor and bias are one a channel, 1 and 0 where there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Channels without zeros, and with zeros.
    pub channels: [usize; 2],
    /// Numbers an image.
    pub numbers: usize,
    /// In f32.
    pub factor: Option<usize>,
    /// In f32.
    pub bias: Option<usize>,
    /// Another value that lies as x does.
    pub other: Option<At>,
    /// The function.
    pub function: Option<Activation>,
    /// Where its bits go, of a function whose slope has two values.
    pub bits: Option<Slot>,
}

impl Finish {
    /// Whether the way back reads x and the other value.
    pub fn needs_x(&self) -> bool {
        self.function.is_some() && self.bits.is_none()
    }
}

/// What an average divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// The pixels of windows that share out the map.
    Adaptive,
    /// The pixels of the map in the window.
    Pixels,
    /// These, and the zeros of the padding.
    Padded,
}

/// Something along rows of numbers that lie next to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Of one image.
    pub rows: usize,
    /// Numbers of a row without zeros.
    pub channels: usize,
}

/// The numbers of a layer norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Its rows.
    pub on: Rows,
    /// One a number, in f32.
    pub factor: usize,
    /// One a number, in f32.
    pub shift: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// One step. `g` is the gradient with respect to what the step on the way forward wrote, `to` that with respect to what it
/// read; with `add` the latter grows by what is written.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // x is read, y is written
pub enum Task {
    /// The images, normalised, channels last.
    Images { y: Slot },
    /// The way back of [`Task::Images`].
    ImageGradient { g: Slot },
    /// The logits go out.
    Logits { x: Slot },
    /// Their gradient comes in.
    Seed { to: Slot },
    /// Zeros.
    Clear { y: Slot },
    /// See [`Contract`].
    Contract(Contract),
    /// See [`Product`].
    Product(Product),
    /// A convolution without its bias.
    Conv { conv: usize, x: Slot, y: Slot },
    ConvGradient { conv: usize, g: Slot, to: Slot, add: bool },
    /// See [`Finish`]; y may be x.
    Finish { finish: Finish, x: Slot, y: Slot },
    /// `to` may be g.
    FinishGradient { finish: Finish, x: Slot, g: Slot, to: Slot, add: bool },
    /// A finish of bias and ReLU or nothing, then the maximum of windows of 2×2, and its corners.
    Pool { on: Geometry, finish: Finish, x: Slot, y: Slot, corners: Slot },
    PoolGradient { on: Geometry, finish: Finish, g: Slot, to: Slot, corners: Slot },
    /// Maximum of any windows, and which of its taps it was.
    MaxPool { on: Geometry, groups: usize, x: Slot, y: Slot, taps: Slot },
    MaxPoolGradient { on: Geometry, groups: usize, g: Slot, to: Slot, taps: Slot, add: bool },
    /// Average of windows.
    Average { on: Geometry, kind: Average, groups: usize, x: Slot, y: Slot },
    AverageGradient { on: Geometry, kind: Average, groups: usize, g: Slot, to: Slot, add: bool },
    /// eˣ over its sum along each row; y may be x.
    Softmax { on: Rows, x: Slot, y: Slot },
    /// `to` may be g.
    SoftmaxGradient { on: Rows, y: Slot, g: Slot, to: Slot, add: bool },
    /// A layer norm along each row.
    Norm { norm: Norm, x: Slot, y: Slot },
    /// `to` may be g.
    NormGradient { norm: Norm, x: Slot, g: Slot, to: Slot, add: bool },
}

impl Task {
    /// The buffers that it reads or writes.
    pub fn slots(&self) -> Vec<Slot> {
        let at = |at: &At| match at {
            At::Slot(slot) => Some(*slot),
            At::Weight(_) => None,
        };
        let of = |finish: &Finish| finish.bits.into_iter().chain(finish.other.as_ref().and_then(at)).collect::<Vec<_>>();
        match self {
            Task::Images { y } | Task::Clear { y } => vec![*y],
            Task::ImageGradient { g } => vec![*g],
            Task::Logits { x } => vec![*x],
            Task::Seed { to } => vec![*to],
            Task::Contract(Contract { at: (y, x, z), .. }) => {
                [Some(y), Some(x), z.as_ref()].into_iter().flatten().filter_map(at).collect()
            }
            Task::Product(p) => [p.y.at, p.x.at, p.w.at].iter().filter_map(at).collect(),
            Task::Conv { x, y, .. } | Task::Softmax { x, y, .. } | Task::Norm { x, y, .. } => vec![*x, *y],
            Task::Average { x, y, .. } => vec![*x, *y],
            Task::ConvGradient { g, to, .. } | Task::AverageGradient { g, to, .. } => vec![*g, *to],
            Task::MaxPool { x, y, taps, .. } => vec![*x, *y, *taps],
            Task::MaxPoolGradient { g, to, taps, .. } => vec![*g, *to, *taps],
            Task::SoftmaxGradient { y, g, to, .. } => vec![*y, *g, *to],
            Task::NormGradient { x, g, to, .. } => vec![*x, *g, *to],
            Task::Finish { finish, x, y } => [vec![*x, *y], of(finish)].concat(),
            Task::FinishGradient { finish, x, g, to, .. } if finish.needs_x() => [vec![*x, *g, *to], of(finish)].concat(),
            Task::FinishGradient { finish, g, to, .. } => finish.bits.into_iter().chain([*g, *to]).collect(),
            Task::Pool { finish, x, y, corners, .. } => [vec![*x, *y, *corners], of(finish)].concat(),
            Task::PoolGradient { finish, g, to, corners, .. } => [vec![*g, *to, *corners], of(finish)].concat(),
        }
    }
}

/// Whether the slope of a function has two values only, so that one bit a number is enough for the way back.
pub fn leaves_bits(function: Activation) -> bool {
    use Activation::*;
    matches!(function, Relu | Clip { .. } | LeakyRelu { .. } | HardSigmoid { .. })
}
