//! The first convolution, over RGB images: 27 values a window are too few for transforms. Forward, the windows are
//! read from the image as they lie; backward, each pixel's 27 gradients are added to the rows they belong to.

use super::finish::Target;
use super::lanes::LANES;
use super::map::{Buffer, Layout, padded};
use super::product::{Depth, Kernel, PANEL, Product};
use std::ops::Range;

/// Values of a window.
pub const WINDOW: usize = 27;

/// Most pixels of a row taken at once: two portions of rows of the widest product.
const SEGMENT: usize = 28;

/// Weights of the first convolution in both directions.
pub struct First {
    /// Channels out, padded.
    outputs: usize,
    /// [panel of 32 outputs][row, column, colour of the window][32, or 16 in the last].
    forward: Buffer,
    /// [output][row, column, colour of the window, and 5 zeros].
    backward: Buffer,
}

/// Products of one thread, and gradients of a few rows.
pub struct Scratch {
    sums: Buffer,
    /// Gradient of a row of outputs as the product reads it.
    gradient: Buffer,
    /// Products of three rows of outputs, each [pixel][32].
    windows: [Buffer; 3],
    /// Gradient of one row of pixels, with border.
    row: Vec<f32>,
}

impl Scratch {
    /// For images of this width and so many outputs (padded).
    pub fn new(width: usize, outputs: usize) -> Scratch {
        Scratch {
            sums: Buffer::new(2 * SEGMENT * PANEL),
            gradient: Buffer::new(width * outputs),
            windows: std::array::from_fn(|_| Buffer::new(width * PANEL)),
            row: vec![0.0; (width + 2) * 3],
        }
    }
}

/// Rows of outputs of one image.
pub struct Forward<'a> {
    /// Weights.
    pub first: &'a First,
    /// Base of the images.
    pub source: *const f32,
    /// Their layout.
    pub layout: Layout,
    /// Where it goes.
    pub target: Target,
    /// Image.
    pub image: usize,
    /// Rows; they begin at an even one.
    pub rows: Range<usize>,
}

/// Takes a row of a gradient with its number, pixels × colours.
pub type Put<'a> = dyn FnMut(usize, &[f32]) + 'a;

/// Rows of the gradient of one image.
pub struct Backward<'a> {
    /// Weights.
    pub first: &'a First,
    /// Gradient with respect to the outputs of the convolution.
    pub gradient: *const f32,
    /// Its layout.
    pub layout: Layout,
    /// Image.
    pub image: usize,
    /// Rows.
    pub rows: Range<usize>,
}

impl First {
    /// From outputs×3×3×3.
    pub fn new(weight: &[f32], outputs: usize) -> First {
        let width = padded(outputs);
        let (mut forward, mut backward) = (Buffer::new(WINDOW * width), Buffer::new(width * PANEL));
        for output in 0..outputs {
            let panel = output / PANEL;
            let across = (width - panel * PANEL).min(PANEL);
            for (i, w) in weight[output * WINDOW..][..WINDOW].iter().enumerate() {
                let at = i % 9 * 3 + i / 9; // from (colour, row, column) to (row, column, colour)
                forward[panel * PANEL * WINDOW + at * across + output % PANEL] = *w;
                backward[output * PANEL + at] = *w;
            }
        }
        First { outputs: width, forward, backward }
    }
}

/// Computes rows of outputs.
///
/// # Safety
/// The instruction set of K is there. `source` and `target` are good for this image; nobody else uses these rows of the
/// target meanwhile.
#[inline(always)]
pub unsafe fn forward<K: Kernel>(f: &Forward, scratch: &mut Scratch) {
    let [height, width] = f.layout.size;
    // segments of even width, so that pooling windows are whole
    let segment = width.div_ceil(width.div_ceil(SEGMENT)).next_multiple_of(2);
    assert!(segment <= SEGMENT && f.rows.start.is_multiple_of(2) && f.rows.end <= height);
    let sums = scratch.sums.as_mut_ptr();
    // SAFETY: rows and segments lie in the image, sums in scratch, channels below the padded outputs
    unsafe {
        for y in f.rows.clone().step_by(2) {
            let rows = (f.rows.end - y).min(2);
            for x in (0..width).step_by(segment) {
                let pixels = segment.min(width - x);
                for panel in 0..f.first.outputs.div_ceil(PANEL) {
                    let weights = f.first.forward.as_ptr().add(panel * PANEL * WINDOW);
                    let across = (f.first.outputs - panel * PANEL).min(PANEL);
                    for row in 0..rows {
                        let from = f.layout.corner(f.image) + (y + row) * f.layout.row + x * 3;
                        K::multiply(&Product {
                            rows: pixels,
                            shape: Depth::Windows,
                            blocks: 3,
                            a: f.source.add(from),
                            block_stride: f.layout.row,
                            b: weights,
                            width: across,
                            c: sums.add(row * SEGMENT * PANEL),
                            next: weights,
                        });
                    }
                    for pixel in (0..pixels).step_by(2) {
                        for channel in (0..across).step_by(LANES) {
                            let mut v = [[K::zero(); 2]; 2];
                            for (row, v) in v.iter_mut().enumerate() {
                                for (column, v) in v.iter_mut().enumerate() {
                                    *v = K::load(sums.add((row * SEGMENT + pixel + column) * PANEL + channel));
                                }
                            }
                            f.target.put::<K, 2>(f.image, y, x + pixel, panel * PANEL + channel, &v);
                        }
                    }
                }
            }
        }
    }
}

/// Computes rows of the gradient with respect to the image as it was convolved; `put` takes each.
///
/// # Safety
/// The instruction set of K is there. `gradient` is good for this image, and nobody writes to it meanwhile.
#[inline(always)]
pub unsafe fn backward<K: Kernel>(b: &Backward, scratch: &mut Scratch, put: &mut Put) {
    let [height, width] = b.layout.size;
    assert!(b.layout.channels == b.first.outputs && b.rows.end <= height && scratch.row.len() == (width + 2) * 3);
    let shape = Depth::of(b.first.outputs);
    let block = shape.block();
    // output row o reads pixel rows o-1, o, o+1: pixel row y needs output rows y-1, y, y+1
    for o in b.rows.start.saturating_sub(1)..(b.rows.end + 1) {
        if o < height {
            // SAFETY: the row lies in the map; gradient and windows hold a row
            unsafe {
                let from = b.gradient.add(b.layout.at(b.image, o, 0));
                for pixel in 0..width {
                    for channel in (0..b.layout.channels).step_by(LANES) {
                        let to = (channel / block * width + pixel) * block + channel % block;
                        K::load(from.add(pixel * b.layout.channels + channel))
                            .store(scratch.gradient.as_mut_ptr().add(to));
                    }
                }
                K::multiply(&Product {
                    rows: width,
                    shape,
                    blocks: b.first.outputs / block,
                    a: scratch.gradient.as_ptr(),
                    block_stride: width * block,
                    b: b.first.backward.as_ptr(),
                    width: PANEL,
                    c: scratch.windows[o % 3].as_mut_ptr(),
                    next: b.first.backward.as_ptr(),
                });
            }
        }
        let Some(y) = o.checked_sub(1).filter(|y| b.rows.contains(y)) else { continue };
        scratch.row.fill(0.0);
        for of_window in 0..3 {
            let Some(o) = (y + 1).checked_sub(of_window).filter(|o| *o < height) else { continue };
            // neighbours overlap, every third does not: in three passes no sum waits for the one before
            for phase in 0..3 {
                for x in (phase..width).step_by(3) {
                    let window = &scratch.windows[o % 3][x * PANEL + of_window * 9..][..9];
                    let row = &mut scratch.row[x * 3..][..9];
                    row.iter_mut().zip(window).for_each(|(sum, g)| *sum += g);
                }
            }
        }
        put(y, &scratch.row[3..3 * (width + 1)]);
    }
}
