//! The fully connected layers, shared out to all threads.

use super::linear::{self, Linear};
use super::table::Table;
use rayon::prelude::*;

/// Outputs, and inputs, of a fully connected layer that a thread takes at a time.
const LINEAR_OUTPUTS: usize = 48;
const LINEAR_INPUTS: usize = 1024;

/// Images × inputs (padded) to images × outputs.
pub fn linear_forward(table: &Table, linear: &Linear, inputs: &[f32], images: usize) -> Vec<f32> {
    let mut by_output = vec![0.0; linear.outputs * images];
    by_output.par_chunks_mut(LINEAR_OUTPUTS * images).enumerate().for_each(|(i, outputs)| {
        let mut part = linear::Forward { linear, inputs, first: i * LINEAR_OUTPUTS, outputs };
        // SAFETY: the table is of instructions that are there
        unsafe { (table.linear_forward)(&mut part) }
    });
    let mut outputs = vec![0.0; by_output.len()];
    for (image, outputs) in outputs.chunks_exact_mut(linear.outputs).enumerate() {
        outputs.iter_mut().zip(by_output.iter().skip(image).step_by(images)).for_each(|(to, from)| *to = *from);
    }
    outputs
}

/// Gradient images × outputs to gradient images × inputs.
pub fn linear_backward(table: &Table, linear: &Linear, gradient: &[f32], images: usize) -> Vec<f32> {
    let strips: Vec<(usize, usize, Vec<f32>)> = (0..linear.stride.div_ceil(LINEAR_INPUTS))
        .into_par_iter()
        .map(|i| {
            let first = i * LINEAR_INPUTS;
            let width = LINEAR_INPUTS.min(linear.stride - first);
            let mut inputs = vec![0.0; images * width];
            let mut part = linear::Backward { linear, gradient, first, inputs: &mut inputs, width };
            // SAFETY: the table is of instructions that are there
            unsafe { (table.linear_backward)(&mut part) }
            (first, width, inputs)
        })
        .collect();
    let mut inputs = vec![0.0; images * linear.inputs];
    for (first, width, strip) in &strips {
        let used = (*width).min(linear.inputs - first);
        for (row, strip) in inputs.chunks_exact_mut(linear.inputs).zip(strip.chunks_exact(*width)) {
            row[*first..first + used].copy_from_slice(&strip[..used]);
        }
    }
    inputs
}
