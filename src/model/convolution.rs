//! Convolutions as families write them.

use crate::kernel::graph::Window;

/// A convolution without its weights: square windows, with zeros around the map so that stride 1 keeps its side.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    pub(super) outputs: usize,
    pub(super) window: Window,
    pub(super) groups: usize,
    pub(super) bias: Bias,
}

/// Whether a file has a bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bias {
    /// It has none.
    No,
    /// It has one.
    Yes,
    /// It may have one.
    Free,
}

impl Conv {
    /// To so many channels by windows of `size`×`size`, of stride 1, without bias.
    pub fn new(outputs: usize, size: usize) -> Conv {
        Conv { outputs, window: Window::square(size, 1, size / 2), groups: 1, bias: Bias::No }
    }

    /// From one window to the next.
    pub fn stride(mut self, stride: usize) -> Conv {
        self.window.stride = [stride; 2];
        self
    }

    /// Zeros around the map: above, left, below, right.
    pub fn padding(mut self, padding: [usize; 4]) -> Conv {
        self.window.padding = padding;
        self
    }

    /// No zeros around the map.
    pub fn bare(self) -> Conv {
        self.padding([0; 4])
    }

    /// Channels in so many groups, each of which sees its own.
    pub fn groups(mut self, groups: usize) -> Conv {
        self.groups = groups;
        self
    }

    /// With a bias.
    pub fn bias(mut self) -> Conv {
        self.bias = Bias::Yes;
        self
    }

    /// With a bias where the file has one.
    pub fn free_bias(mut self) -> Conv {
        self.bias = Bias::Free;
        self
    }
}
