//! One value that is computed and stored: an operation and what is fused behind it.

use crate::kernel::graph::{Activation, Window};

/// The window that Winograd's algorithm is for.
pub const WINOGRAD: Window = Window { size: [3; 2], stride: [1; 2], dilation: [1; 2], padding: [1; 4] };

/// One value that is computed and stored, by the operation and what is fused behind it.
pub struct Unit {
    /// Values it reads; value 0 is the image, unit i makes value i + 1.
    pub reads: Vec<usize>,
    /// Their shapes.
    pub inputs: Vec<Vec<usize>>,
    /// A value that is added to its output.
    pub add: Option<usize>,
    /// The function after that.
    pub activation: Option<Activation>,
    /// Whether a 2×2 maximum follows, at stride 2, which drops an odd last row or column.
    pub pooled: bool,
    /// Shape of what it makes, and of its output before the pool.
    pub shape: Vec<usize>,
    pub before_pool: Vec<usize>,
}

impl Unit {
    /// Numbers of all that it reads and makes, of an image.
    pub fn numbers(&self) -> usize {
        let numbers = |shape: &Vec<usize>| shape.iter().product::<usize>();
        self.inputs.iter().map(numbers).sum::<usize>() + numbers(&self.shape)
    }
}

/// Channels, height and width of a value as a map: tokens lie in a column, and what is neither is one place.
pub fn as_map(shape: &[usize]) -> [usize; 3] {
    match shape {
        [channels, height, width] => [*channels, *height, *width],
        [tokens, channels] => [*channels, *tokens, 1],
        other => [other.iter().product(), 1, 1],
    }
}
