//! A network with fewer operations that computes the same: batch norms folded into the layer before them, zeros around a map
//! into the convolution behind them.

use super::{Graph, Node, Op};
use crate::kernel::Real;

/// A graph, and for each value of the one that it was made of the value that it is now; `None`: it is never computed.
pub type Folded<T> = (Graph<T>, Vec<Option<usize>>);

impl<T: Real> Graph<T> {
    /// Leaves out what the logits do not depend on. Folds into a convolution or linear layer the scale that alone reads it (in
    /// double precision, rounded once), and the zeros around a map that it alone reads.
    pub fn folded(self) -> Folded<T> {
        let readers = self.readers();
        let needed = self.needed();
        let mut folded = Graph::new(self.size(), self.mean, self.std);
        let mut now = vec![Some(0)];
        for (i, Node { op, inputs }) in self.nodes.into_iter().enumerate() {
            if !needed[i + 1] {
                now.push(None);
                continue;
            }
            let shape = self.shapes[i + 1].clone();
            let alone = inputs.first().copied().filter(|x| *x > 0 && readers[*x] == 1);
            let before = alone.and_then(|x| now[x]).filter(|x| *x > 0);
            let op = match before {
                Some(x) => match joined(&mut folded.nodes[x - 1].op, op, &folded.shapes[x]) {
                    None => {
                        folded.shapes[x] = shape;
                        now[inputs[0]] = None;
                        now.push(Some(x));
                        continue;
                    }
                    Some(op) => op,
                },
                None => op,
            };
            let inputs = inputs.iter().map(|x| now[*x].expect("what is read is computed")).collect();
            folded.nodes.push(Node { op, inputs });
            folded.shapes.push(shape);
            now.push(Some(folded.nodes.len()));
        }
        (folded, now)
    }

    /// Which values the logits depend on.
    fn needed(&self) -> Vec<bool> {
        let mut needed = vec![false; self.shapes.len()];
        needed[self.nodes.len()] = true;
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if needed[i + 1] {
                node.inputs.iter().for_each(|x| needed[*x] = true);
            }
        }
        needed
    }
}

/// Makes one operation of two of which the second alone reads the first, whose value has this shape; else gives the second
/// back.
fn joined<T: Real>(first: &mut Op<T>, second: Op<T>, shape: &[usize]) -> Option<Op<T>> {
    let last = shape.len().wrapping_sub(1);
    match (first, second) {
        (Op::Conv { weight, bias, .. }, Op::Scale { axis, factor, shift }) if axis == 0 || factor.len() == 1 => {
            scale(weight, bias, &factor, &shift);
            None
        }
        (Op::Linear { weight, bias }, Op::Scale { axis, factor, shift }) if axis == last || factor.len() == 1 => {
            scale(weight, bias, &factor, &shift);
            None
        }
        (first @ Op::Pad { .. }, Op::Conv { mut window, groups, weight, bias }) => {
            let Op::Pad { padding } = *first else { unreachable!("matched above") };
            window.padding.iter_mut().zip(padding).for_each(|(all, more)| *all += more);
            *first = Op::Conv { window, groups, weight, bias };
            None
        }
        (_, second) => Some(second),
    }
}

/// w' = w·factor, b' = b·factor + shift, output by output.
fn scale<T: Real>(weight: &mut [T], bias: &mut [T], factor: &[f64], shift: &[f64]) {
    let of_output = weight.len() / bias.len();
    for (o, (weight, bias)) in weight.chunks_exact_mut(of_output).zip(bias).enumerate() {
        let (factor, shift) = (factor[o % factor.len()], shift[o % shift.len()]);
        weight.iter_mut().for_each(|w| *w = T::from_f64(w.to_f64() * factor));
        *bias = T::from_f64(bias.to_f64() * factor + shift);
    }
}
