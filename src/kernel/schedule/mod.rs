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
mod value;
mod values;
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

/// What a kernel of ours or cuDNN does of one value, and what leads back from it.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// The convolution of this number, without its bias.
    Conv(usize),
    /// A finish, and what it reads; it may write there, and its way back too where it is given the gradient.
    Finish(Finish, Slot),
    /// A finish of bias and ReLU or nothing, then the maximum of windows of 2×2, and its corners.
    Pool(Geometry, Finish, Slot),
    /// Maximum of windows over so many eights of channels, and which of its taps it was.
    MaxPool(Geometry, usize, Slot),
    /// Average of windows over so many eights of channels.
    Average(Geometry, usize, Average),
    /// eˣ over its sum along each row, and where it lies then. In place as [`Work::Finish`].
    Softmax(Rows, Slot),
    /// A layer norm along each row, and what it reads. Its way back in place as that of [`Work::Finish`].
    Norm(Norm, Slot),
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// The images, normalised, channels last.
    Images(Slot),
    /// The way back of [`Task::Images`].
    ImageGradient(Slot),
    /// The logits go out.
    Logits(Slot),
    /// Their gradient comes in.
    Seed(Slot),
    /// Zeros.
    Clear(Slot),
    /// See [`Contract`].
    Contract(Contract),
    /// See [`Product`].
    Product(Product),
    /// From x to y.
    Forward(Work, Slot, Slot),
    /// From the gradient with respect to y to that with respect to x, which grows by it if so said.
    Back(Work, Slot, Slot, bool),
}

impl Task {
    /// The buffers that it reads or writes.
    pub fn slots(&self) -> Vec<Slot> {
        let at = |at: At| match at {
            At::Slot(slot) => Some(slot),
            At::Weight(_) => None,
        };
        let all = |these: &[Option<At>]| these.iter().flatten().copied().filter_map(at).collect();
        let slot = |slot: Slot| Some(At::Slot(slot));
        match self {
            Task::Images(only)
            | Task::ImageGradient(only)
            | Task::Logits(only)
            | Task::Seed(only)
            | Task::Clear(only) => {
                vec![*only]
            }
            Task::Contract(Contract { at: (y, x, z), .. }) => all(&[Some(*y), Some(*x), *z]),
            Task::Product(Product { x, w, y, .. }) => all(&[x, w, y].map(|m| Some(m.at))),
            Task::Forward(Work::Finish(finish, _) | Work::Pool(_, finish, _), x, y) => {
                let corners = if let Task::Forward(Work::Pool(.., corners), ..) = self { slot(*corners) } else { None };
                all(&[slot(*x), slot(*y), finish.other, finish.bits.and_then(slot), corners])
            }
            Task::Back(Work::Finish(finish, x), g, to, _) if finish.needs_x() => {
                all(&[slot(*x), slot(*g), slot(*to), finish.other])
            }
            Task::Back(Work::Finish(finish, _), g, to, _) => all(&[slot(*g), slot(*to), finish.bits.and_then(slot)]),
            Task::Back(Work::Pool(_, finish, corners), g, to, _) => {
                all(&[slot(*g), slot(*to), finish.bits.and_then(slot), slot(*corners)])
            }
            Task::Back(Work::Softmax(_, kept) | Work::Norm(_, kept), g, to, _) => vec![*kept, *g, *to],
            Task::Forward(Work::MaxPool(.., taps), x, y) | Task::Back(Work::MaxPool(.., taps), x, y, _) => {
                vec![*x, *y, *taps]
            }
            Task::Forward(_, x, y) | Task::Back(_, x, y, _) => vec![*x, *y],
        }
    }
}

/// Whether the slope of a function has two values only, so that one bit a number is enough for the way back.
pub fn leaves_bits(function: Activation) -> bool {
    use Activation::*;
    matches!(function, Relu | Clip { .. } | LeakyRelu { .. } | HardSigmoid { .. })
}
