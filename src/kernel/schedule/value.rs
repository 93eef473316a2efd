//! A value of a graph in a buffer.

use super::Slot;
use super::contract::{At, View};
use super::layout::Layout;
use super::tape::Base;

/// Where a value of the graph is.
#[derive(Debug, Clone)]
pub struct Value {
    pub at: At,
    pub layout: Layout,
    pub shape: Vec<usize>,
    /// `None`: it does not depend on the images.
    pub base: Option<Base>,
    /// Whether nobody reads this memory but the one who reads this value.
    pub alone: bool,
}

impl Value {
    /// The value along its axes.
    pub fn view(&self) -> View {
        let image = if matches!(self.at, At::Slot(_)) { self.layout.numbers() } else { 0 };
        let axes = self.layout.axes(&self.shape).expect("a value's layout is of its shape");
        View { at: self.at, offset: 0, image, axes }
    }

    /// The buffer of a value that is in one.
    pub fn slot(&self) -> Slot {
        match self.at {
            At::Slot(slot) => slot,
            At::Weight(_) => unreachable!("a constant was copied first"),
        }
    }

    /// Whether each of its axes is one factor.
    pub fn is_whole(&self) -> bool {
        self.layout.strides(&self.shape).is_some()
    }

    /// Whether another of its shape lies as it does.
    pub fn lies_as(&self, other: &Value) -> bool {
        let of = |value: &Value| (value.layout.channels, value.layout.axes(&self.shape));
        of(self) == of(other)
    }
}
