//! Means, sums and maxima along axes.

use super::super::builder::{Builder, Fact};
use super::super::call::Call;
use super::super::constant::pair_of;
use super::super::shape;
use super::super::value::{Data, Root, Value};
use crate::kernel::graph::{Op, Window};
use std::rc::Rc;

impl Builder {
    /// `ReduceMean`, `ReduceSum`, `ReduceMax`, `ReduceMin`, `ReduceProd`, `ReduceL2`: axes are an attribute in older versions.
    pub(super) fn reduce(&mut self, call: &mut Call) -> Result<Value, String> {
        let axes = call.whole_or_input("axes", 1, &mut self.room)?.filter(|axes| !axes.is_empty());
        let (keep, nothing) = (call.flag("keepdims", true)?, call.flag("noop_with_empty_axes", false)?);
        let x = call.input(0)?.clone();
        let axes = match axes {
            Some(axes) => shape::axes(&axes, x.dims.len())?,
            None if nothing => return Ok(x),
            None => (0..x.dims.len()).collect(),
        };
        let what = call.node.operator;
        axes.iter().try_for_each(|axis| Builder::keeps_images_apart(&x, *axis, "it"))?;
        let reduced = match what {
            _ if x.is_known() => self.reduced_numbers(&x, &axes, what)?,
            "ReduceMean" => self.mean(&x, &axes)?,
            "ReduceSum" => {
                let n: usize = axes.iter().map(|axis| x.dims[*axis]).product();
                let mean = self.mean(&x, &axes)?;
                self.scaled(&mean, 0, vec![n as f64], vec![0.0])?
            }
            "ReduceMax" => self.maximum(&x, &axes)?,
            "ReduceMin" => {
                let minus = self.scaled(&x, 0, vec![-1.0], vec![0.0])?;
                let most = self.maximum(&minus, &axes)?;
                self.scaled(&most, 0, vec![-1.0], vec![0.0])?
            }
            "ReduceL2" => self.length(&x, &axes)?,
            _ => return Err("of what is computed from the image".into()),
        };
        if keep { Ok(reduced) } else { self.without_axes(&reduced, &axes) }
    }

    fn reduced_numbers(&mut self, x: &Value, axes: &[usize], what: &str) -> Result<Value, String> {
        let pair = match what {
            "ReduceMean" | "ReduceSum" => "Add",
            "ReduceProd" => "Mul",
            "ReduceMax" => "Max",
            "ReduceMin" => "Min",
            _ => return Err("of constants".into()),
        };
        let pair = pair_of(pair).expect("known");
        let mut all = x.clone();
        for axis in axes {
            let n = all.dims[*axis];
            if !(1..=4096).contains(&n) {
                return Err(format!("over {n} constants"));
            }
            let mut sum = self.part(&all, *axis, 0, 1, 1)?;
            for i in 1..n {
                let next = self.part(&all, *axis, i, 1, 1)?;
                sum = self.paired(pair, &sum, &next)?;
            }
            if what == "ReduceMean" {
                sum = self.mapped(&sum, |x| x / n as f64)?;
            }
            all = sum;
        }
        Ok(all)
    }

    /// Mean along axes, which then have size 1.
    pub(super) fn mean(&mut self, x: &Value, axes: &[usize]) -> Result<Value, String> {
        if x.dims.len() == 4 && axes == [2, 3] && x.dims[0] == 1 && x.batch.is_none_or(|b| b.axis == 0) {
            let (id, [channels, ..]) = self.map(x)?;
            let id = self.push(Op::AdaptiveAverage { out: [1, 1] }, &[id])?;
            return Ok(Value::made(vec![1, channels, 1, 1], x.batch, id));
        }
        let mut mean = x.clone();
        for axis in axes.iter().rev().filter(|axis| x.dims[**axis] != 1) {
            let (id, at) = self.along(&mean, *axis)?;
            let id = self.push(Op::Mean { axis: at }, &[id])?;
            mean.dims[*axis] = 1;
            mean = Value::made(mean.dims, mean.batch, id);
        }
        if let ([axis], Data::Made(id)) = (axes, &x.data)
            && x.dims[*axis] != 1
        {
            let fact = match self.facts.get(id).cloned() {
                Some(Fact::Square(of)) if of.dims == x.dims => Fact::MeanSquare(of, *axis, 0.0),
                _ => Fact::Mean(x.clone(), *axis),
            };
            self.learn(&mean, fact);
        }
        Ok(mean)
    }

    /// Maximum along axes, which then have size 1.
    fn maximum(&mut self, x: &Value, axes: &[usize]) -> Result<Value, String> {
        let mut most = x.clone();
        for axis in axes.iter().rev().filter(|axis| x.dims[**axis] != 1) {
            let (outer, n) = (most.dims[..*axis].iter().product(), most.dims[*axis]);
            let inner = most.dims[*axis + 1..].iter().product();
            let id = self.made(&most, &[outer, n, inner])?;
            let window = Window { size: [n, 1], ..Window::square(1, 1, 0) };
            let id = self.push(Op::MaxPool { window, ceil: false }, &[id])?;
            most.dims[*axis] = 1;
            most = Value::made(most.dims, most.batch, id);
        }
        Ok(most)
    }

    /// √(Σ x²) along one axis, for what is divided by it.
    pub(super) fn length(&mut self, x: &Value, axes: &[usize]) -> Result<Value, String> {
        let ([axis], Data::Made(_)) = (axes, &x.data) else {
            return Err(format!("along axes {axes:?}: one is understood"));
        };
        let mut dims = x.dims.clone();
        let factor = (dims[*axis] as f64).sqrt();
        dims[*axis] = 1;
        let root = Root { x: x.clone(), axis: *axis, eps: 0.0, factor, inverse: false };
        Ok(Value { dims, batch: x.batch, data: Data::Root(Rc::new(root)) })
    }

    /// `LpNormalization`: a value over its length along an axis.
    pub(super) fn unit_length(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        let axis = shape::axis(call.int("axis", -1)?, x.dims.len())?;
        Builder::keeps_images_apart(x, axis, "it")?;
        match call.int("p", 2)? {
            2 => {
                let length = self.length(x, &[axis])?;
                let Data::Root(root) = &length.data else { unreachable!("a length is a root") };
                // nothing over nothing is nothing here
                self.by_root(x, &Root { eps: LEAST_SQUARE, ..Root::clone(root) })
            }
            other => Err(format!("attribute `p` {other}: 2 is understood")),
        }
    }
}

/// The mean square of what has no length, as it is divided by: it vanishes beside any other that f32 holds.
const LEAST_SQUARE: f64 = 1e-36;
