//! The way back of a first convolution to RGB images: few numbers a pixel are too few for a product of their own. So the
//! gradient of each output is multiplied with all weights of its window, and the windows are added up where they overlap.

use super::lanes::{LANES, Lanes};
use super::map::{Buffer, Layout, padded};
use super::product::{Depth, Kernel, PANEL, Product};
use crate::kernel::graph::Window;
use std::ops::Range;

/// RGB.
const COLOURS: usize = 3;

/// Weights on the way back.
pub struct Stem {
    window: Window,
    /// Channels out, padded.
    outputs: usize,
    /// [panel of 32 numbers of the window][output][32, or 16 in the last]; numbers are row, column, colour.
    values: Buffer,
}

impl Stem {
    /// From outputs × 3 × height × width.
    pub fn new(window: Window, weight: &[f32], outputs: usize) -> Stem {
        let taps = window.size[0] * window.size[1];
        let (numbers, depth) = (padded(taps * COLOURS), padded(outputs));
        let mut values = Buffer::new(numbers * depth);
        for (o, weight) in weight.chunks_exact(taps * COLOURS).enumerate() {
            for (i, w) in weight.iter().enumerate() {
                let number = i % taps * COLOURS + i / taps; // from (colour, tap) to (tap, colour)
                let panel = number / PANEL;
                let width = (numbers - panel * PANEL).min(PANEL);
                values[panel * PANEL * depth + o * width + number % PANEL] = *w;
            }
        }
        Stem { window, outputs: depth, values }
    }

    /// Numbers of a window, padded.
    fn numbers(&self) -> usize {
        self.values.len() / self.outputs
    }
}

/// Gradients of one row of outputs, windows, and rows of pixels, of one thread.
#[derive(Default)]
pub struct Scratch {
    gradient: Vec<f32>,
    windows: Vec<f32>,
    rows: Vec<f32>,
}

/// Takes a row of a gradient with its number, pixels × colours.
pub type Put<'a> = dyn FnMut(usize, &[f32]) + 'a;

/// Rows of the gradient of one image.
pub struct Backward<'a> {
    /// Weights.
    pub stem: &'a Stem,
    /// Gradient with respect to the outputs.
    pub gradient: *const f32,
    /// Its layout.
    pub layout: Layout,
    /// Image.
    pub image: usize,
    /// Height and width of the image.
    pub size: [usize; 2],
    /// Rows of the image.
    pub rows: Range<usize>,
}

/// Computes rows of the gradient with respect to the image as it was convolved; `put` takes each.
///
/// # Safety
/// The instruction set of K is there. `gradient` is good for this image, and nobody writes to it meanwhile.
#[inline(always)]
pub unsafe fn backward<K: Kernel>(b: &Backward, scratch: &mut Scratch, put: &mut Put) {
    let (window, [down, across]) = (&b.stem.window, b.layout.size);
    let numbers = b.stem.numbers();
    // a row of pixels with room for windows that stand out of it
    let row = COLOURS * ((across - 1) * window.stride[1] + window.extent(1)).max(b.size[1] + window.padding[1]);
    scratch.gradient.resize(across * b.stem.outputs, 0.0);
    scratch.windows.resize(across * numbers.next_multiple_of(PANEL), 0.0);
    scratch.rows.clear();
    scratch.rows.resize(b.rows.len() * row, 0.0);
    for o in 0..down {
        // tap t of this row of outputs meets row o·stride + t·dilation − padding of the image
        let meets = |t: usize| window.place(0, o, t, b.size[0]).filter(|y| b.rows.contains(y));
        if (0..window.size[0]).all(|t| meets(t).is_none()) {
            continue;
        }
        // SAFETY: passed on
        unsafe { windows_of_row::<K>(b, o, scratch) }
        for t in 0..window.size[0] {
            let Some(y) = meets(t) else { continue };
            let to = &mut scratch.rows[(y - b.rows.start) * row..][..row];
            add_windows(b, t, &scratch.windows, to);
        }
    }
    for (y, values) in b.rows.clone().zip(scratch.rows.chunks_exact(row)) {
        put(y, &values[window.padding[1] * COLOURS..][..b.size[1] * COLOURS]);
    }
}

/// The gradients of row `o` of outputs times all weights: for each panel outputs × 32.
#[inline(always)]
unsafe fn windows_of_row<K: Kernel>(b: &Backward, o: usize, scratch: &mut Scratch) {
    let (across, outputs) = (b.layout.size[1], b.stem.outputs);
    assert!(b.layout.channels == outputs);
    let shape = Depth::of(outputs);
    let block = shape.block();
    // SAFETY: the row lies in the map; gradient and windows hold a row
    unsafe {
        let from = b.gradient.add(b.layout.at(b.image, o, 0));
        for x in 0..across {
            for channel in (0..outputs).step_by(LANES) {
                let to = (channel / block * across + x) * block + channel % block;
                <K as Lanes>::load(from.add(x * outputs + channel)).store(scratch.gradient.as_mut_ptr().add(to));
            }
        }
        for panel in 0..b.stem.numbers().div_ceil(PANEL) {
            let weights = b.stem.values.as_ptr().add(panel * PANEL * outputs);
            K::multiply(&Product {
                rows: across,
                shape,
                blocks: outputs / block,
                a: scratch.gradient.as_ptr(),
                block_stride: across * block,
                b: weights,
                width: (b.stem.numbers() - panel * PANEL).min(PANEL),
                c: scratch.windows.as_mut_ptr().add(panel * across * PANEL),
                next: weights,
            });
        }
    }
}

/// Adds row `t` of every window of a row to a row of pixels.
fn add_windows(b: &Backward, t: usize, windows: &[f32], to: &mut [f32]) {
    let (window, across) = (&b.stem.window, b.layout.size[1]);
    let of_row = window.size[1] * COLOURS;
    // neighbours overlap, every so manieth does not: no sum waits for the one before
    let phases = window.extent(1).div_ceil(window.stride[1]);
    for phase in 0..phases {
        for x in (phase..across).step_by(phases) {
            let mut q = 0;
            while q < of_row {
                let number = t * of_row + q;
                // numbers side by side, as far as the panel goes; with dilation one at a time
                let run = if window.dilation[1] == 1 { (of_row - q).min(PANEL - number % PANEL) } else { 1 };
                let from = &windows[number / PANEL * across * PANEL + x * PANEL + number % PANEL..][..run];
                let at = (x * window.stride[1] + q / COLOURS * window.dilation[1]) * COLOURS + q % COLOURS;
                to[at..at + run].iter_mut().zip(from).for_each(|(sum, g)| *sum += g);
                q += run;
            }
        }
    }
}
