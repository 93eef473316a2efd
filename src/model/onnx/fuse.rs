//! Several operations that are one: what exporters write of SiLU, GELU, norms and transposes.

use crate::kernel::graph::{Activation, Graph, Node, Op};
use std::f64::consts::FRAC_1_SQRT_2;

/// What to push in place of an operation.
pub enum Fused {
    /// An operation on these values, and what scales its result.
    Op(Op<f32>, Vec<usize>, Option<f64>),
    /// Nothing: it is this value.
    Value(usize),
}

/// The same as an operation on values of a graph with fewer operations; `None`: as it stands. What it makes superfluous
/// stays in the graph, unread.
pub fn fused(graph: &Graph<f32>, op: &Op<f32>, inputs: &[usize]) -> Option<Fused> {
    match (op, inputs) {
        (Op::Mul, [a, b]) => gated(graph, *a, *b).or_else(|| gated(graph, *b, *a)),
        (Op::Scale { axis, factor, shift }, [x]) => {
            if factor.iter().all(|f| *f == 1.0) && shift.iter().all(|s| *s == 0.0) {
                return Some(Fused::Value(*x));
            }
            scaled(graph, *axis, factor, shift, *x)
        }
        (Op::Transpose { axes }, [x]) => transposed(graph, axes, *x),
        _ => None,
    }
}

fn maker(graph: &Graph<f32>, value: usize) -> Option<&Node<f32>> {
    graph.nodes().get(value.checked_sub(1)?)
}

/// x·g(x).
fn gated(graph: &Graph<f32>, x: usize, gate: usize) -> Option<Fused> {
    let node = maker(graph, gate)?;
    let activation = |a| Some(Fused::Op(Op::Activate(a), vec![x], None));
    match &node.op {
        Op::Activate(Activation::Sigmoid) if node.inputs == [x] => activation(Activation::Silu),
        Op::Activate(Activation::HardSigmoid { slope, offset }) if node.inputs == [x] => {
            // written as 0.1666667 in f32
            let same = (slope - 1.0 / 6.0).abs() < 1e-6 && *offset == 0.5;
            same.then(|| activation(Activation::HardSwish)).flatten()
        }
        Op::Scale { factor, shift, .. } => {
            let ([factor], [shift]) = (factor.as_slice(), shift.as_slice()) else { return None };
            gelu(graph, x, *node.inputs.first()?, *factor).filter(|_| factor == shift)
        }
        _ => None,
    }
}

/// g·x·(factor + factor·erf(x/√2)) is 2·g·factor·GELU(x).
fn gelu(graph: &Graph<f32>, scaled_x: usize, erf: usize, factor: f64) -> Option<Fused> {
    let erf = maker(graph, erf).filter(|node| node.op == Op::Activate(Activation::Erf))?;
    let inner = maker(graph, erf.inputs[0])?;
    let Op::Scale { factor: inner_factor, shift, .. } = &inner.op else { return None };
    // a quotient or product with √2 in f32
    let is_root = inner_factor.len() == 1 && (inner_factor[0] - FRAC_1_SQRT_2).abs() < 1e-6 && shift == &[0.0];
    let x = inner.inputs[0];
    let g = match maker(graph, scaled_x).map(|node| (&node.op, node.inputs.as_slice())) {
        _ if scaled_x == x => 1.0,
        Some((Op::Scale { factor, shift, .. }, [of])) if *of == x && factor.len() == 1 && shift == &[0.0] => factor[0],
        _ => return None,
    };
    is_root.then(|| Fused::Op(Op::Activate(Activation::Gelu), vec![x], Some(2.0 * g * factor)))
}

/// A scale of a scale or of a layer norm.
fn scaled(graph: &Graph<f32>, axis: usize, factor: &[f64], shift: &[f64], x: usize) -> Option<Fused> {
    let node = maker(graph, x)?;
    let of = |first: &[f64], first_shift: &[f64], first_axis: usize| {
        let n = first.len().max(factor.len());
        let fits = first.len() == 1 || factor.len() == 1 || first_axis == axis;
        let at = |v: &[f64], i: usize| v[i.min(v.len() - 1)];
        let both = (0..n).map(|i| at(first, i) * at(factor, i));
        let shifts = (0..n).map(|i| at(first_shift, i) * at(factor, i) + at(shift, i));
        fits.then(|| (both.collect::<Vec<f64>>(), shifts.collect::<Vec<f64>>()))
    };
    let op = match &node.op {
        Op::Scale { axis: first_axis, factor: first, shift: first_shift } => {
            let (both, shift) = of(first, first_shift, *first_axis)?;
            if both.iter().all(|f| *f == 1.0) && shift.iter().all(|s| *s == 0.0) {
                return Some(Fused::Value(node.inputs[0]));
            }
            let axis = if first.len() == 1 { axis } else { *first_axis };
            Op::Scale { axis, factor: both, shift }
        }
        Op::LayerNorm { axis: first_axis, factor: first, shift: first_shift, eps }
            if *first_axis == axis || factor.len() == 1 =>
        {
            let (factor, shift) = of(first, first_shift, *first_axis)?;
            Op::LayerNorm { axis: *first_axis, factor, shift, eps: *eps }
        }
        _ => return None,
    };
    Some(Fused::Op(op, node.inputs.clone(), None))
}

/// A transpose of a transpose, perhaps with a layer norm between the two.
fn transposed(graph: &Graph<f32>, axes: &[usize], x: usize) -> Option<Fused> {
    let node = maker(graph, x)?;
    let is_back = |first: &[usize]| axes.iter().enumerate().all(|(i, axis)| first[*axis] == i);
    match &node.op {
        Op::Transpose { axes: first } if is_back(first) => Some(Fused::Value(node.inputs[0])),
        Op::Transpose { axes: first } => {
            let axes = axes.iter().map(|axis| first[*axis]).collect();
            Some(Fused::Op(Op::Transpose { axes }, node.inputs.clone(), None))
        }
        Op::LayerNorm { axis, factor, shift, eps } => {
            let before = maker(graph, node.inputs[0])?;
            let Op::Transpose { axes: first } = &before.op else { return None };
            let op = Op::LayerNorm { axis: first[*axis], factor: factor.clone(), shift: shift.clone(), eps: *eps };
            is_back(first).then(|| Fused::Op(op, before.inputs.clone(), None))
        }
        _ => None,
    }
}
