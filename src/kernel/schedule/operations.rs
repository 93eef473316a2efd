//! Operations that are nothing but themselves: pools, moves, products of values, and what goes along rows.

use super::contract::{At, View};
use super::layout::Layout;
use super::lower::Lowering;
use super::value::Value;
use super::{Average, EIGHT, Geometry, Norm, Room, Rows, Task, Work};
use crate::error::Result;
use crate::kernel::graph::{Op, Window};

impl Lowering<'_> {
    /// The value that an operation makes, where nothing is done together with what follows.
    pub(super) fn operation(&mut self, op: &Op<f32>, inputs: &[usize]) -> Result<Value> {
        let first = inputs.first().copied().unwrap_or(0);
        Ok(match op {
            Op::Constant { shape, values } => self.constant(shape, values)?,
            Op::MaxPool { window, .. } => self.max_pool(first, *window, self.size_of(op, first)),
            Op::AveragePool { window, count_padding, .. } => {
                let kind = if *count_padding { Average::Padded } else { Average::Pixels };
                self.average(first, *window, self.size_of(op, first), kind)
            }
            Op::AdaptiveAverage { out } => self.average(first, Window::square(1, 1, 0), *out, Average::Adaptive),
            Op::Add | Op::Mul => self.broadcast(op, inputs),
            Op::Concat { axis } => self.concat(inputs, *axis),
            Op::Reshape { shape } => self.reshaped(first, shape),
            Op::Transpose { axes } => {
                let value = self.value(first);
                let shape: Vec<usize> = axes.iter().map(|axis| value.shape[*axis]).collect();
                Value { layout: value.layout.transposed(&value.shape, axes), shape, ..value }
            }
            Op::Slice { axis, start, end, step } => self.slice(first, *axis, [*start, *end, *step]),
            Op::MatMul => self.matrix_product(inputs),
            Op::Softmax { axis } => {
                let x = self.along(first, *axis);
                self.softmax(x)
            }
            Op::LayerNorm { axis, factor, shift, eps } => {
                let x = self.along(first, *axis);
                let on = Rows { rows: x.layout.places, channels: x.layout.channels };
                let norm = Norm { on, factor: self.floats(factor)?, shift: self.floats(shift)?, eps: *eps as f32 };
                self.layer_norm(x, norm)
            }
            Op::Attention { heads } => self.attention(first, *heads),
            Op::Mean { axis } => self.mean(first, *axis),
            Op::Upsample { times } => self.upsample(first, *times),
            Op::Pad { padding } => {
                let x = self.map(first);
                self.padded(&x, *padding)
            }
            Op::Conv { .. } | Op::Linear { .. } | Op::Scale { .. } | Op::Activate(_) => {
                unreachable!("with what follows")
            }
        })
    }

    /// Height and width of what an operation makes of a map.
    fn size_of(&self, op: &Op<f32>, x: usize) -> [usize; 2] {
        let shape = op.shape(&[&self.value(x).shape]).expect("checked in the graph");
        [shape[1], shape[2]]
    }

    /// A value whose numbers along an axis lie next to each other.
    fn along(&mut self, v: usize, axis: usize) -> Value {
        let value = self.value(v);
        self.suited(value, axis, Layout::is_last)
    }

    fn max_pool(&mut self, x: usize, window: Window, out: [usize; 2]) -> Value {
        let (x, y) = self.over_windows(x, out);
        let taps = self.tape.slot(Room::Bytes(2 * y.layout.numbers()));
        let on = Geometry { size: [x.shape[1], x.shape[2]], out, window };
        self.work(Work::MaxPool(on, x.layout.padded() / EIGHT, taps), &x, y)
    }

    fn average(&mut self, x: usize, window: Window, out: [usize; 2], kind: Average) -> Value {
        let (x, y) = self.over_windows(x, out);
        let on = Geometry { size: [x.shape[1], x.shape[2]], out, window };
        self.work(Work::Average(on, x.layout.padded() / EIGHT, kind), &x, y)
    }

    /// A map, and room for one with this height and width.
    fn over_windows(&mut self, x: usize, [height, width]: [usize; 2]) -> (Value, Value) {
        let x = self.map(x);
        let shape = [x.shape[0], height, width];
        let y = self.new_value(Layout::with_last(&shape, 0), &shape, x.base.is_some());
        (x, y)
    }

    /// Work from x to y, and back.
    fn work(&mut self, work: Work, x: &Value, y: Value) -> Value {
        self.tape.push(Task::Forward(work.clone(), x.slot(), y.slot()));
        let base = x.base;
        self.leads_back(y.base, move |tape, g| {
            let (to, add) = tape.destination(base.expect("as y has"));
            tape.push(Task::Back(work, g, to, add));
        });
        y
    }

    /// A new value of this shape that lies as `like` does: channels last, or row by row.
    fn new_like(&mut self, like: &Value, shape: &[usize], depends: bool) -> Value {
        let is_map = like.shape.len() == 3 && shape.len() == 3 && like.layout.is(&like.shape, 0);
        let layout = if is_map { Layout::with_last(shape, 0) } else { Layout::rows(shape) };
        self.new_value(layout, shape, depends)
    }

    /// Sum or product of two values that repeat along axes that they lack.
    fn broadcast(&mut self, op: &Op<f32>, inputs: &[usize]) -> Value {
        let [a, b] = [0, 1].map(|i| {
            let value = self.value(inputs[i]);
            self.whole(value)
        });
        let shape = op.shape(&[&a.shape, &b.shape]).expect("checked in the graph");
        let like = if a.shape == shape { &a } else { &b };
        let y = self.new_like(like, &shape, a.base.or(b.base).is_some());
        // axes that are missing come first
        let seen = |value: &Value| {
            let mut view = value.view();
            (value.shape.len()..shape.len()).for_each(|_| view.axes.insert(0, Vec::new()));
            view
        };
        let (to, x, z) = (y.view(), seen(&a), seen(&b));
        let bases = [a.base, b.base];
        if matches!(op, Op::Add) {
            self.tape.contract([&to, &x], None, 1.0, false);
            self.tape.contract([&to, &z], None, 1.0, true);
            self.leads_back(y.base, move |tape, g| {
                for (base, view) in bases.into_iter().zip([x, z]) {
                    if let Some(base) = base {
                        tape.contract_back(base, [&view, &to], None, 1.0, g);
                    }
                }
            });
            return y;
        }
        self.tape.keep([Some(a.at), Some(b.at)]);
        self.tape.contract([&to, &x], Some(&z), 1.0, false);
        self.leads_back(y.base, move |tape, g| {
            for (base, view, other) in [(bases[0], &x, &z), (bases[1], &z, &x)] {
                if let Some(base) = base {
                    tape.contract_back(base, [view, &to], Some(other), 1.0, g);
                }
            }
        });
        y
    }

    /// One value after the other along an axis.
    fn concat(&mut self, inputs: &[usize], axis: usize) -> Value {
        let values: Vec<Value> = inputs.iter().map(|v| self.value(*v)).collect();
        let mut shape = values[0].shape.clone();
        shape[axis] = values.iter().map(|v| v.shape[axis]).sum();
        let depends = values.iter().any(|v| v.base.is_some());
        let y = self.new_like(&values[0], &shape, depends);
        let whole = y.view();
        self.tape.clear_around(&whole, false);
        let (mut first, mut parts) = (0, Vec::new());
        for value in &values {
            let (part, x) = (narrowed(&whole, axis, [first, value.shape[axis], 1]), value.view());
            self.tape.push(Task::Contract(super::Contract::new([&part, &x], None, 1.0, false)));
            first += value.shape[axis];
            parts.extend(value.base.map(|base| (base, x, part)));
        }
        self.leads_back(y.base, move |tape, g| {
            for (base, x, part) in parts {
                tape.contract_back(base, [&x, &part], None, 1.0, g);
            }
        });
        y
    }

    fn slice(&mut self, x: usize, axis: usize, [start, end, step]: [usize; 3]) -> Value {
        let value = self.value(x);
        let x = self.whole(value);
        let mut shape = x.shape.clone();
        shape[axis] = (end - start).div_ceil(step);
        let part = narrowed(&x.view(), axis, [start, shape[axis], step]);
        self.moved(&x, part, &shape, 1.0, |y| y.view())
    }

    /// Zeros around a map: above, left, below, right.
    pub(super) fn padded(&mut self, x: &Value, [top, left, bottom, right]: [usize; 4]) -> Value {
        let [channels, height, width] = x.shape[..] else { unreachable!("a map") };
        let shape = [channels, height + top + bottom, width + left + right];
        self.moved(x, x.view(), &shape, 1.0, |y| {
            narrowed(&narrowed(&y.view(), 1, [top, height, 1]), 2, [left, width, 1])
        })
    }

    fn upsample(&mut self, x: usize, times: [usize; 2]) -> Value {
        let x = self.map(x);
        let shape = [x.shape[0], x.shape[1] * times[0], x.shape[2] * times[1]];
        let mut view = x.view();
        (0..2).for_each(|i| view.axes[i + 1].push((times[i], 0)));
        self.moved(&x, view, &shape, 1.0, |y| y.view())
    }

    fn mean(&mut self, x: usize, axis: usize) -> Value {
        let value = self.value(x);
        let x = self.whole(value);
        let (mut shape, size) = (x.shape.clone(), x.shape[axis]);
        shape.remove(axis);
        self.moved(&x, x.view(), &shape, 1.0 / size as f32, |y| {
            let mut view = y.view();
            view.axes.insert(axis, vec![(size, 0)]);
            view
        })
    }

    /// A new value of this shape that is factor·x, where x is seen as `part` and the new value as `onto` says.
    fn moved(&mut self, x: &Value, part: View, shape: &[usize], factor: f32, onto: impl Fn(&Value) -> View) -> Value {
        let y = self.new_like(x, shape, x.base.is_some());
        let to = onto(&y);
        self.tape.contract([&to, &part], None, factor, false);
        let base = x.base;
        self.leads_back(y.base, move |tape, g| {
            tape.contract_back(base.expect("as y has"), [&part, &to], None, factor, g);
        });
        y
    }

    fn matrix_product(&mut self, inputs: &[usize]) -> Value {
        let [a, b] = [0, 1].map(|i| {
            let value = self.value(inputs[i]);
            let rank = value.shape.len();
            let strides = value.layout.strides(&value.shape);
            match strides.is_some_and(|s| s[rank - 2] == 1 || s[rank - 1] == 1) {
                true => value,
                false => self.copy(&value, Layout::rows(&value.shape)),
            }
        });
        let rank = a.shape.len();
        let [m, k, n] = [a.shape[rank - 2], a.shape[rank - 1], b.shape[rank - 1]];
        let shape = [&a.shape[..rank - 1], &[n]].concat();
        let y = self.new_value(Layout::rows(&shape), &shape, a.base.or(b.base).is_some());
        self.tape.keep([Some(a.at), Some(b.at)]);
        let (to, x, w) = (y.view(), a.view(), b.view());
        self.tape.multiply([&to, &x, &w], [m, n, k], 1.0, false);
        self.leads_back(y.base, move |tape, g| {
            let g = to.on(g);
            if let Some(base) = a.base {
                let (to, add) = tape.destination(base);
                tape.multiply([&x.on(to), &g, &w.turned()], [m, k, n], 1.0, add);
            }
            if let Some(base) = b.base {
                let (to, add) = tape.destination(base);
                tape.multiply([&w.on(to), &x.turned(), &g], [k, n, m], 1.0, add);
            }
        });
        y
    }

    fn softmax(&mut self, x: Value) -> Value {
        let on = Rows { rows: x.layout.places, channels: x.layout.channels };
        let mut y = x.clone();
        if !x.alone || self.tape.kept[x.slot()] {
            y.at = At::Slot(self.tape.slot(Room::Numbers(x.layout.numbers())));
        }
        y.base = x.base.map(|_| self.tape.base(x.layout.numbers()));
        let (from, to) = (x.slot(), y.slot());
        self.tape.keep([Some(y.at), None]);
        self.tape.push(Task::Forward(Work::Softmax(on, to), from, to));
        self.leads_back(y.base, move |tape, g| {
            let (into, add) = tape.in_place(x.base.expect("as y has"), g);
            tape.push(Task::Back(Work::Softmax(on, to), g, into, add));
        });
        y
    }

    fn layer_norm(&mut self, x: Value, norm: Norm) -> Value {
        let y = self.new_value(x.layout.clone(), &x.shape, x.base.is_some());
        let from = x.slot();
        self.tape.keep([Some(x.at), None]);
        self.tape.push(Task::Forward(Work::Norm(norm, from), from, y.slot()));
        self.leads_back(y.base, move |tape, g| {
            let (to, add) = tape.in_place(x.base.expect("as y has"), g);
            tape.push(Task::Back(Work::Norm(norm, from), g, to, add));
        });
        y
    }

    /// Softmax attention of tokens × (queries, keys, values).
    fn attention(&mut self, x: usize, heads: usize) -> Value {
        let x = self.along(x, 1);
        let [tokens, width] = x.shape[..] else { unreachable!("tokens") };
        let (size, depends) = (width / 3 / heads, x.base.is_some());
        let factor = 1.0 / (size as f32).sqrt();
        let y = self.new_value(Layout::rows(&[tokens, width / 3]), &[tokens, width / 3], depends);
        let shape = [heads, tokens, tokens];
        let scores = self.new_value(Layout::rows(&shape), &shape, false);
        // tokens × heads·size as heads × tokens × size
        let of_heads = |value: &Value, first: usize| {
            let view = value.view();
            let axes = vec![vec![(heads, size)], vec![(tokens, view.stride(0))], vec![(size, 1)]];
            View { axes, offset: first, ..view }
        };
        let [q, k, v] = [0, 1, 2].map(|i| of_heads(&x, i * width / 3));
        let (out, p, inner, onto) = (of_heads(&y, 0), scores.view(), [tokens, tokens, size], [tokens, size, tokens]);
        let (at, on) = (scores.slot(), Rows { rows: heads * tokens, channels: tokens });
        self.tape.keep([Some(x.at), Some(scores.at)]);
        // what lies behind the rows, a softmax does not read, and fills with zeros
        self.tape.multiply_part([&p, &q, &k.turned()], inner, factor, false);
        self.tape.push(Task::Forward(Work::Softmax(on, at), at, at));
        self.tape.clear_around(&y.view(), false);
        self.tape.multiply_part([&out, &p, &v], onto, 1.0, false);
        self.leads_back(y.base, move |tape, g| {
            let g = out.on(g);
            // the gradients of queries, keys and values lie side by side
            let (to, add) = tape.destination(x.base.expect("as y has"));
            tape.clear_around(&x.view().on(to), add);
            tape.multiply_part([&v.on(to), &p.turned(), &g], onto, 1.0, add);
            let slot = tape.slot(Room::Numbers(scores.layout.numbers()));
            let scored = p.on(slot);
            tape.multiply_part([&scored, &g, &v.turned()], inner, 1.0, false);
            tape.push(Task::Back(Work::Softmax(on, at), slot, slot, false));
            tape.multiply_part([&q.on(to), &scored, &k], onto, factor, add);
            tape.multiply_part([&k.on(to), &scored.turned(), &q], onto, factor, add);
        });
        y
    }
}

/// Some indices of an axis: the first, how many, and from one to the next.
fn narrowed(view: &View, axis: usize, [first, count, step]: [usize; 3]) -> View {
    let stride = view.stride(axis);
    let mut narrowed = view.clone();
    narrowed.offset += first * stride;
    narrowed.axes[axis] = vec![(count, stride * step)];
    narrowed
}
