//! How the outputs of a convolution meet its inputs: a lattice of outputs, each of which reads the same taps around its place.
//!
//! The way back of a stride s is s² such lattices: an input is read only by outputs whose windows begin a multiple of s away,
//! so inputs of one remainder meet the same taps.

use crate::kernel::graph::Window;

/// Outputs at `origin + step·i`, whose tap t lies at `stride·i + offset` on the map they read.
pub struct Lattice {
    pub origin: [usize; 2],
    pub step: [usize; 2],
    pub stride: [usize; 2],
    pub taps: Vec<Tap>,
}

/// A tap of a window.
pub struct Tap {
    /// Its number in the window, row by row.
    pub number: usize,
    pub offset: [isize; 2],
}

impl Lattice {
    /// The one of the way forward.
    pub fn forward(window: &Window) -> Lattice {
        let offset = |axis: usize, t: usize| (t * window.dilation[axis]) as isize - window.padding[axis] as isize;
        let tap = |number: usize, y: usize, x: usize| Tap { number, offset: [offset(0, y), offset(1, x)] };
        let taps = places(window.size).map(|(number, y, x)| tap(number, y, x)).collect();
        Lattice { origin: [0; 2], step: [1; 2], stride: window.stride, taps }
    }

    /// Those of the way back, from the gradient with respect to the outputs to that with respect to the inputs.
    pub fn backward(window: &Window) -> Vec<Lattice> {
        let phase = |origin: [usize; 2]| {
            // the output whose tap t meets the first input, if there is one
            let offset = |axis: usize, t: usize| {
                let place = (origin[axis] + window.padding[axis]) as isize - (t * window.dilation[axis]) as isize;
                let stride = window.stride[axis] as isize;
                (place.rem_euclid(stride) == 0).then(|| place.div_euclid(stride))
            };
            let tap = |(number, y, x)| Some(Tap { number, offset: [offset(0, y)?, offset(1, x)?] });
            Lattice { origin, step: window.stride, stride: [1; 2], taps: places(window.size).filter_map(tap).collect() }
        };
        places(window.stride).map(|(_, y, x)| phase([y, x])).collect()
    }

    /// Its outputs down and across, on a map of this height and width.
    pub fn count(&self, size: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| size[axis].saturating_sub(self.origin[axis]).div_ceil(self.step[axis]))
    }
}

/// Number, row and column of every place of a rectangle.
fn places([height, width]: [usize; 2]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..height * width).map(move |i| (i, i / width, i % width))
}
