//! Operations that have no fast form: the plain code of the reference, image by image, on numbers in the order of their shape.

use super::finish::{Operand, Target};
use super::lanes::{LANES, Lanes, Portable};
use super::map::{Buffer, Layout};
use super::unit::as_map;
use super::workspace::Shared;
use crate::kernel::graph::Op;
use crate::kernel::plain::Value;

/// What plain code reads: where each value lies, and its shape.
pub struct Inputs<'a> {
    pub maps: Vec<Operand>,
    pub shapes: &'a [Vec<usize>],
}

impl Inputs<'_> {
    fn numbers(&self) -> usize {
        self.shapes.iter().map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// Values of numbers that lie one after the other.
    fn values<'a>(&'a self, mut numbers: &'a [f32]) -> Vec<Value<'a, f32>> {
        let value = |shape: &'a Vec<usize>| {
            let (own, rest) = numbers.split_at(shape.iter().product());
            numbers = rest;
            Value { shape, numbers: own }
        };
        self.shapes.iter().map(value).collect()
    }
}

/// Computes an operation for an image; `kept`, if a way back follows, is where this image's inputs and output are kept.
///
/// # Safety
/// The maps hold the image, and nobody else uses it in the target and in what is kept.
pub unsafe fn forward(
    op: &Op<f32>,
    inputs: &Inputs,
    target: &Target,
    shape: &[usize],
    image: usize,
    kept: Option<Shared>,
) {
    let mut read = Vec::with_capacity(inputs.numbers());
    for (map, shape) in inputs.maps.iter().zip(inputs.shapes) {
        // SAFETY: passed on
        unsafe { gather(map.map, &map.layout, shape, image, &mut read) }
    }
    let made = op.forward(&inputs.values(&read), shape);
    // SAFETY: passed on; what is kept of an image has room for all numbers that the operation reads and makes
    unsafe {
        scatter(&made, target.map, &target.layout, shape, image);
        if let Some(kept) = kept.filter(|_| op.needs_values()) {
            kept.get().copy_from_nonoverlapping(read.as_ptr(), read.len());
            kept.get().add(read.len()).copy_from_nonoverlapping(made.as_ptr(), made.len());
        }
    }
}

/// The gradient of an image with respect to input `i`, from that with respect to the output, of this shape, in `gradient`.
///
/// # Safety
/// As for [`forward`].
pub unsafe fn backward(
    op: &Op<f32>,
    inputs: &Inputs,
    i: usize,
    (gradient, shape): (Operand, &[usize]),
    (image, kept): (usize, &[f32]),
) -> Vec<f32> {
    let (values, made) = match op.needs_values() {
        true => {
            let (read, made) = kept.split_at(inputs.numbers());
            (inputs.values(read), made)
        }
        false => (inputs.shapes.iter().map(|shape| Value { shape, numbers: &[] }).collect(), &[][..]),
    };
    let mut seed = Vec::new();
    // SAFETY: passed on
    unsafe { gather(gradient.map, &gradient.layout, shape, image, &mut seed) }
    op.backward(&values, made, &seed).swap_remove(i)
}

/// The numbers of an image in the order of its shape.
unsafe fn gather(map: *const f32, layout: &Layout, shape: &[usize], image: usize, to: &mut Vec<f32>) {
    let first = to.len();
    to.resize(first + shape.iter().product::<usize>(), 0.0);
    // SAFETY: places of the image
    places(layout, shape, image, |place, at| to[first + place] = unsafe { *map.add(at) });
}

/// Writes the numbers of an image, and zeros to the channels that fill the last vector.
///
/// # Safety
/// The map holds the image, and nobody else uses it.
pub unsafe fn scatter(from: &[f32], map: *mut f32, layout: &Layout, shape: &[usize], image: usize) {
    let [channels, height, width] = as_map(shape);
    for (y, x) in (0..height * width).map(|i| (i / width, i % width)) {
        let end = layout.at(image, y, x) + channels;
        // SAFETY: the last channels of a pixel
        (end..end + layout.channels - channels).for_each(|at| unsafe { *map.add(at) = 0.0 });
    }
    // SAFETY: places of the image
    places(layout, shape, image, |place, at| unsafe { *map.add(at) = from[place] });
}

/// Finishes the gradient of an image, given in the order of its shape.
///
/// # Safety
/// The map holds the image, and nobody else uses it.
pub unsafe fn finish(gradient: &[f32], target: &Target, shape: &[usize], image: usize) {
    let [channels, height, width] = as_map(shape);
    let mut lanes = Buffer::new(height * width * target.layout.channels);
    let flat = Layout {
        border: 0,
        size: [height, width],
        row: width * target.layout.channels,
        image: 0,
        capacity: 1,
        ..target.layout
    };
    places(&flat, shape, 0, |place, at| lanes[at] = gradient[place]);
    for (pixel, of_pixel) in lanes.chunks_exact(target.layout.channels).enumerate() {
        let place = target.place(target.image(image), pixel / width, pixel % width);
        for channel in (0..channels).step_by(LANES) {
            // SAFETY: a pixel and channels of the map; portable code runs everywhere
            unsafe { target.one(place, channel, Portable::load(of_pixel.as_ptr().add(channel))) }
        }
    }
}

/// For every number of an image: where it stands in its shape, and where it lies.
fn places(layout: &Layout, shape: &[usize], image: usize, mut each: impl FnMut(usize, usize)) {
    let [channels, height, width] = as_map(shape);
    let pixels = height * width;
    // tokens lie as they stand
    let (by_channel, by_pixel) = if shape.len() == 2 { (1, channels) } else { (pixels, 1) };
    for pixel in 0..pixels {
        let at = layout.at(image, pixel / width, pixel % width);
        (0..channels).for_each(|c| each(c * by_channel + pixel * by_pixel, at + c));
    }
}

/// What is kept of an image; nothing where nothing is needed.
pub fn kept_of(values: &Buffer, image: usize, numbers: usize) -> &[f32] {
    if values.is_empty() { &[] } else { &values[image * numbers..][..numbers] }
}
