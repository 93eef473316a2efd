//! Fully connected layers. They are bound by reading their weights, so one copy serves both directions, and each pass
//! over it serves several images.

use super::lanes::{LANES, Lanes};
use super::map::padded;
use rayon::prelude::*;

/// Weights outputs × stride, row by row.
pub struct Linear {
    /// Values in, without padding.
    pub inputs: usize,
    /// Values out.
    pub outputs: usize,
    /// Floats from a row to the next; the last of them are 0.
    pub stride: usize,
    /// Weights.
    pub weight: Vec<f32>,
    /// One an output.
    pub bias: Vec<f32>,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Linear {
    /// From rows over (channel, pixel) of a map of so many pixels (1: plain rows), which become rows over (pixel, channel), in
    /// place: the largest of these take most of a net's memory.
    pub fn new(mut weight: Vec<f32>, bias: Vec<f32>, channels: usize, pixels: usize, relu: bool) -> Linear {
        let inputs = channels * pixels;
        if pixels > 1 {
            weight.par_chunks_exact_mut(inputs).for_each_init(Vec::new, |before, row| {
                before.clear();
                before.extend_from_slice(row);
                for (pixel, row) in row.chunks_exact_mut(channels).enumerate() {
                    row.iter_mut().zip(before[pixel..].iter().step_by(pixels)).for_each(|(to, from)| *to = *from);
                }
            });
        }
        let stride = padded(inputs);
        if stride != inputs {
            let mut rows = vec![0.0; bias.len() * stride];
            for (to, from) in rows.chunks_exact_mut(stride).zip(weight.chunks_exact(inputs)) {
                to[..inputs].copy_from_slice(from);
            }
            weight = rows;
        }
        Linear { inputs, outputs: bias.len(), stride, weight, bias, relu }
    }
}

/// Some outputs of some images.
pub struct Forward<'a> {
    /// The layer.
    pub linear: &'a Linear,
    /// Images × stride.
    pub inputs: &'a [f32],
    /// First output.
    pub first: usize,
    /// Outputs × images.
    pub outputs: &'a mut [f32],
}

/// Some inputs' gradients of some images.
pub struct Backward<'a> {
    /// The layer.
    pub linear: &'a Linear,
    /// Gradient with respect to the outputs, images × outputs.
    pub gradient: &'a [f32],
    /// First input, a multiple of [`LANES`].
    pub first: usize,
    /// Images × some inputs, a multiple of [`LANES`].
    pub inputs: &'a mut [f32],
    /// How many inputs.
    pub width: usize,
}

/// Images that share a pass over the weights.
const IMAGES: usize = 8;

/// How far ahead weights are fetched: 2 KiB.
const AHEAD: usize = 512;

/// Computes dot products: sixteen partial sums, each a chain of fused multiply-adds, then added by halves.
///
/// # Safety
/// The instruction set of L is there.
#[inline(always)]
pub unsafe fn forward<L: Lanes>(f: &mut Forward) {
    let stride = f.linear.stride;
    let images = f.inputs.len() / stride;
    assert!(stride.is_multiple_of(LANES) && f.inputs.len() == images * stride);
    let rows = &f.linear.weight[f.first * stride..][..f.outputs.len() / images * stride];
    for (i, (outputs, row)) in f.outputs.chunks_exact_mut(images).zip(rows.chunks_exact(stride)).enumerate() {
        let bias = f.linear.bias[f.first + i];
        let (groups, rest) = outputs.as_chunks_mut::<IMAGES>();
        let (several, few) = f.inputs.split_at(groups.len() * IMAGES * stride);
        for (group, inputs) in groups.iter_mut().zip(several.chunks_exact(IMAGES * stride)) {
            // SAFETY: passed on
            let sums = unsafe { dots::<L, IMAGES>(row, inputs) };
            group.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum + bias);
        }
        for (out, inputs) in rest.iter_mut().zip(few.chunks_exact(stride)) {
            // SAFETY: passed on
            let [sum] = unsafe { dots::<L, 1>(row, inputs) };
            *out = sum + bias;
        }
    }
    if f.linear.relu {
        // NaN stays
        f.outputs.iter_mut().for_each(|v| *v = if 0.0 > *v { 0.0 } else { *v });
    }
}

/// Dot products of a row with several images.
#[inline(always)]
unsafe fn dots<L: Lanes, const N: usize>(row: &[f32], images: &[f32]) -> [f32; N] {
    assert!(images.len() == N * row.len() && row.len().is_multiple_of(LANES));
    // SAFETY: row and images are as long as just asserted
    unsafe {
        let (w, x) = (row.as_ptr(), images.as_ptr());
        let mut sums = [L::zero(); N];
        for i in (0..row.len()).step_by(LANES) {
            L::prefetch(w.wrapping_add(i + AHEAD));
            let weights = L::load(w.add(i));
            for (image, sum) in sums.iter_mut().enumerate() {
                *sum = L::load(x.add(image * row.len() + i)).mul_add(weights, *sum);
            }
        }
        let mut totals = [0.0; N];
        for (total, sum) in totals.iter_mut().zip(sums) {
            let mut lanes = [0.0; LANES];
            sum.store(lanes.as_mut_ptr());
            let mut half = LANES / 2;
            while half > 0 {
                for i in 0..half {
                    lanes[i] += lanes[i + half];
                }
                half /= 2;
            }
            *total = lanes[0];
        }
        totals
    }
}

/// Adds up rows of weights, each times its gradient: for every input one chain of fused multiply-adds over the outputs.
///
/// # Safety
/// The instruction set of L is there.
#[inline(always)]
pub unsafe fn backward<L: Lanes>(b: &mut Backward) {
    let (outputs, stride) = (b.linear.outputs, b.linear.stride);
    assert!(b.width.is_multiple_of(LANES) && b.first + b.width <= stride && b.linear.weight.len() == outputs * stride);
    b.inputs.fill(0.0);
    for (sums, gradients) in b.inputs.chunks_mut(IMAGES * b.width).zip(b.gradient.chunks(IMAGES * outputs)) {
        let images = gradients.len() / outputs;
        assert!(sums.len() == images * b.width);
        for output in (0..outputs).step_by(2) {
            let second = output + 1 < outputs;
            // SAFETY: rows output and output+1 (where there is one) of the weights, columns first..first+width; sums
            // hold images × width
            unsafe {
                let row = b.linear.weight.as_ptr().add(output * stride + b.first);
                let other = if second { row.add(stride) } else { row };
                for image in 0..images {
                    let sum = sums.as_mut_ptr().add(image * b.width);
                    let g = L::splat(gradients[image * outputs + output]);
                    let h = if second { L::splat(gradients[image * outputs + output + 1]) } else { L::zero() };
                    for i in (0..b.width).step_by(LANES) {
                        if image == 0 {
                            L::prefetch(row.wrapping_add(i + 2 * stride));
                            L::prefetch(other.wrapping_add(i + 2 * stride));
                        }
                        let mut v = L::load(row.add(i)).mul_add(g, L::load(sum.add(i)));
                        if second {
                            v = L::load(other.add(i)).mul_add(h, v);
                        }
                        v.store(sum.add(i));
                    }
                }
            }
        }
    }
}
