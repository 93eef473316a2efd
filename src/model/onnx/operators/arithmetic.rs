//! Sums, products and what is made of them.

use super::super::builder::{Builder, Fact};
use super::super::call::Call;
use super::super::constant::{function_of, pair_of};
use super::super::tensor::{Tensor, count};
use super::super::value::{Data, Root, Value};
use crate::kernel::graph::{Activation, Op, Window};
use std::rc::Rc;

impl Builder {
    /// `Add`, `Sub`, `Mul`, `Div`, `Pow`, `Mod`, comparisons, `And`, `Or`.
    pub(super) fn pair(&mut self, call: &mut Call) -> Result<Value, String> {
        // before opset 7 values were broadcast where it was asked for
        call.pass_over(&["broadcast"]);
        let (a, b) = (call.input(0)?, call.input(1)?);
        match call.node.operator {
            "Mod" if call.flag("fmod", false)? => self.pair_of("Fmod", a, b),
            operator => self.pair_of(operator, a, b),
        }
    }

    fn pair_of(&mut self, operator: &str, a: &Value, b: &Value) -> Result<Value, String> {
        let pair = pair_of(operator).expect("the registry names it");
        if a.is_known() && b.is_known() {
            return self.paired(pair, a, b);
        }
        match operator {
            "Add" => self.sum(a, b),
            "Sub" => self.difference(a, b),
            "Mul" => self.product(a, b),
            "Div" => self.quotient(a, b),
            "Pow" => self.power(a, b),
            _ => Err("it is computed from the image, and has no gradient".into()),
        }
    }

    /// a + b.
    pub(super) fn sum(&mut self, a: &Value, b: &Value) -> Result<Value, String> {
        if let (Data::Made(id), Some(eps)) = (&a.data, b.only())
            && let Some(Fact::MeanSquare(x, axis, before)) = self.facts.get(id).cloned()
            && b.tensor().is_some_and(|b| b.count() == 1)
        {
            let sum = self.scaled(a, 0, vec![1.0], vec![eps])?;
            self.learn(&sum, Fact::MeanSquare(x, axis, before + eps));
            return Ok(sum);
        }
        match (a.is_known(), b.is_known()) {
            (true, false) => self.sum(b, a),
            (false, true) => self.with_constant(a, b, |c| (1.0, c), Op::Add),
            _ => self.joint(Op::Add, a, b),
        }
    }

    fn difference(&mut self, a: &Value, b: &Value) -> Result<Value, String> {
        if b.is_known() {
            let minus = self.mapped(b, |b| -b)?;
            return self.sum(a, &minus);
        }
        let minus = self.scaled(b, 0, vec![-1.0], vec![0.0])?;
        let difference = self.sum(a, &minus)?;
        if let Data::Made(id) = b.data
            && let Some(Fact::Mean(x, axis)) = self.facts.get(&id).cloned()
            && x.same(a)
            && b.dims.len() == x.dims.len()
        {
            self.learn(&difference, Fact::Centred(x, axis));
        }
        Ok(difference)
    }

    /// a·b.
    pub(super) fn product(&mut self, a: &Value, b: &Value) -> Result<Value, String> {
        match (&a.data, &b.data) {
            (Data::Root(root), _) if root.inverse => self.by_root(b, root),
            (_, Data::Root(root)) if root.inverse => self.by_root(a, root),
            (Data::Known(_), _) => self.product(b, a),
            (_, Data::Known(_)) => self.with_constant(a, b, |c| (c, 0.0), Op::Mul),
            _ => {
                let product = self.joint(Op::Mul, a, b)?;
                if a.same(b) {
                    self.learn(&product, Fact::Square(a.clone()));
                }
                Ok(product)
            }
        }
    }

    fn quotient(&mut self, a: &Value, b: &Value) -> Result<Value, String> {
        match &b.data {
            Data::Root(root) if !root.inverse => self.by_root(a, root),
            Data::Known(_) => {
                let batch = b.batch;
                let tensor = b.tensor().expect("known").doubles(&mut self.room)?;
                let inverse: Vec<f64> = tensor.iter().map(|b| 1.0 / b).collect();
                // a factor in double precision is rounded once, when an engine takes it
                match inverse.iter().all(|i| *i == inverse[0]) && b.dims.iter().all(|d| *d == 1) {
                    true => self.with_constant(a, b, |c| (1.0 / c, 0.0), Op::Mul),
                    false => {
                        let inverse = Tensor::floats(b.dims.clone(), inverse.iter().map(|i| *i as f32).collect());
                        self.product(a, &Value { batch, ..Value::known(inverse) })
                    }
                }
            }
            _ => Err(
                "it divides by what is computed from the image, which is understood only in a layer norm or where a \
                      value is divided by its own length"
                    .into(),
            ),
        }
    }

    fn power(&mut self, x: &Value, exponent: &Value) -> Result<Value, String> {
        let exponent = exponent.only().ok_or("its exponent must be one constant number")?;
        match exponent {
            1.0 => Ok(x.clone()),
            2.0 => self.product(x, x),
            3.0 => {
                let square = self.product(x, x)?;
                self.product(&square, x)
            }
            0.5 => self.root(x),
            -0.5 => {
                let root = self.root(x)?;
                self.reciprocal(&root)
            }
            other => Err(format!("the power {other} of what is computed from the image (1, 2 and 3 are)")),
        }
    }

    /// An operation of two values of the graph, which are broadcast to each other.
    fn joint(&mut self, op: Op<f32>, a: &Value, b: &Value) -> Result<Value, String> {
        let (values, batch) = self.aligned(vec![a.clone(), b.clone()])?;
        let dims = Builder::broadcast(&values)?;
        // the same shape in the graph already: no need of another
        let shape_of = |v: &Value| match v.data {
            Data::Made(id) => Some(self.graph.shape(id).to_vec()),
            _ => None,
        };
        let shapes = (shape_of(&values[0]), shape_of(&values[1]));
        let ids = match values[0].dims == values[1].dims && shapes.0.is_some() && shapes.0 == shapes.1 {
            true => [self.any(&values[0])?, self.any(&values[1])?],
            false => {
                let [x, y] = [&values[0], &values[1]];
                [
                    self.made(x, super::super::builder::plain(&x.dims))?,
                    self.made(y, super::super::builder::plain(&y.dims))?,
                ]
            }
        };
        let id = self.push(op, &ids)?;
        Ok(Value::made(dims, batch, id))
    }

    /// A sum or product of a value and known numbers: a scale where these differ along one axis at most, whose factor and
    /// shift `line` gives, else `op`.
    fn with_constant(
        &mut self,
        x: &Value,
        constant: &Value,
        line: fn(f64) -> (f64, f64),
        op: Op<f32>,
    ) -> Result<Value, String> {
        let (values, batch) = self.aligned(vec![x.clone(), constant.clone()])?;
        let dims = Builder::broadcast(&values)?;
        let (x, tensor) = (&values[0], values[1].tensor().expect("known"));
        let more = dims.len().saturating_sub(tensor.dims.len());
        let long: Vec<usize> = (0..tensor.dims.len()).filter(|i| tensor.dims[*i] > 1).collect();
        let only = tensor.only().filter(|_| dims.iter().product::<usize>() == x.dims.iter().product::<usize>());
        let axis = match (long.as_slice(), dims == x.dims) {
            ([axis], true) => Some(*axis + more),
            _ => None,
        };
        if only.is_none() && axis.is_none() {
            return self.joint(op, &values[0], &values[1]);
        }
        let numbers = only.map_or_else(|| tensor.doubles(&mut self.room), |one| Ok(vec![one]))?;
        let (factor, shift) = numbers.into_iter().map(line).unzip();
        let scaled = self.scaled(x, axis.unwrap_or(0), factor, shift)?;
        Ok(scaled.relabelled(dims, batch))
    }

    /// `Sum` and `Mean` of any number of values.
    pub(super) fn sum_of(&mut self, call: &mut Call) -> Result<Value, String> {
        let mut values = call.all()?.into_iter();
        let n = values.len() as f64;
        let first = values.next().ok_or("of nothing")?;
        let sum = values.try_fold(first, |sum, v| self.pair_of("Add", &sum, &v))?;
        match call.node.operator {
            "Mean" => self.pair_of("Mul", &sum, &Value::known(Tensor::floats(vec![], vec![(1.0 / n) as f32]))),
            _ => Ok(sum),
        }
    }

    /// `Max` and `Min` of any number of values.
    pub(super) fn extreme_of(&mut self, call: &mut Call) -> Result<Value, String> {
        let mut values = call.all()?.into_iter();
        let first = values.next().ok_or("of nothing")?;
        values.try_fold(first, |all, v| self.extreme(call.node.operator, &all, &v))
    }

    fn extreme(&mut self, operator: &str, a: &Value, b: &Value) -> Result<Value, String> {
        let is_max = operator == "Max";
        match (a.is_known(), b.is_known()) {
            (true, true) => return self.paired(pair_of(operator).expect("known"), a, b),
            (true, false) => return self.extreme(operator, b, a),
            (false, true) => {
                if let Some(bound) = b.only().filter(|_| b.dims.iter().all(|d| *d == 1) && b.dims.len() <= a.dims.len())
                {
                    let (low, high) = if is_max { (bound, f64::INFINITY) } else { (f64::NEG_INFINITY, bound) };
                    return self.clipped(a, low, high);
                }
            }
            (false, false) => {}
        }
        if !is_max {
            let a = self.pair_of("Mul", a, &minus_one())?;
            let b = self.pair_of("Mul", b, &minus_one())?;
            let greatest = self.extreme("Max", &a, &b)?;
            return self.product(&greatest, &minus_one());
        }
        // a pool over both, one above the other
        let (values, batch) = self.aligned(vec![a.clone(), b.clone()])?;
        let dims = Builder::broadcast(&values)?;
        let n: usize = dims.iter().product();
        let mut rows = Vec::with_capacity(2);
        for value in &values {
            let value = self.expanded(value, &dims)?;
            rows.push(self.made(&value, &[1, 1, n])?);
        }
        let both = self.push(Op::Concat { axis: 1 }, &rows)?;
        let window = Window { size: [2, 1], ..Window::square(1, 1, 0) };
        let id = self.push(Op::MaxPool { window, ceil: false }, &[both])?;
        Ok(Value::made(dims, batch, id))
    }

    /// x between two bounds.
    pub(super) fn clipped(&mut self, x: &Value, low: f64, high: f64) -> Result<Value, String> {
        if low > high || low.is_nan() || high.is_nan() {
            return Err(format!("bounds {low} and {high}"));
        }
        if x.is_known() {
            return self.mapped(x, |x| {
                if x < low {
                    low
                } else if x > high {
                    high
                } else {
                    x
                }
            });
        }
        if let Data::Root(root) = &x.data
            && !root.inverse
            && high == f64::INFINITY
        {
            // below a bound as small as that no image comes
            return match low <= LEAST_LENGTH {
                true => {
                    let least = (low.max(0.0) / root.factor).powi(2);
                    let root = Root { eps: root.eps + least, ..Root::clone(root) };
                    Ok(Value { data: Data::Root(Rc::new(root)), ..x.clone() })
                }
                false => Err(format!("a length of at least {low} (up to {LEAST_LENGTH} is understood)")),
            };
        }
        // bounds beyond f32 are none
        let (low, high) =
            (if low < -MOST { f64::NEG_INFINITY } else { low }, if high > MOST { f64::INFINITY } else { high });
        let activation = match (low, high) {
            (f64::NEG_INFINITY, f64::INFINITY) => return Ok(x.clone()),
            (0.0, f64::INFINITY) => Activation::Relu,
            (low, high) => Activation::Clip { low, high },
        };
        self.each(Op::Activate(activation), x)
    }

    /// `Neg`, `Abs`, `Sqrt`, `Reciprocal`, `Exp`, `Log`, `Floor`, `Ceil`.
    pub(super) fn function(&mut self, call: &mut Call) -> Result<Value, String> {
        let (x, operator) = (call.input(0)?, call.node.operator);
        match (function_of(operator), operator) {
            (Some(function), _) if x.is_known() => self.mapped(x, function),
            (_, "Neg") => self.product(x, &minus_one()),
            (_, "Sqrt") => self.root(x),
            (_, "Reciprocal") => self.reciprocal(x),
            _ => Err(format!(
                "{operator} of what is computed from the image (hint: no layer of a usual classifier needs it)"
            )),
        }
    }

    fn root(&mut self, x: &Value) -> Result<Value, String> {
        if let Data::Made(id) = x.data
            && let Some(Fact::MeanSquare(of, axis, eps)) = self.facts.get(&id).cloned()
        {
            let root = Root { x: of, axis, eps, factor: 1.0, inverse: false };
            return Ok(Value { data: Data::Root(Rc::new(root)), ..x.clone() });
        }
        Err("the square root of what is computed from the image, which is understood only in a layer norm or in the length \
             that a value is divided by"
            .into())
    }

    fn reciprocal(&mut self, x: &Value) -> Result<Value, String> {
        match &x.data {
            Data::Root(root) => {
                let root = Root { inverse: !root.inverse, ..Root::clone(root) };
                Ok(Value { data: Data::Root(Rc::new(root)), ..x.clone() })
            }
            _ => Err("one over what is computed from the image, which is understood only in a layer norm".into()),
        }
    }

    /// A value over its own root mean square, or over its standard deviation where it is less its mean.
    pub(super) fn by_root(&mut self, value: &Value, root: &Root) -> Result<Value, String> {
        if !root.x.same(value) {
            return Err("it divides by the length of another value (by that of its own is understood)".into());
        }
        let Data::Made(id) = value.data else { unreachable!("a root is of what is computed") };
        let n = value.dims[root.axis];
        self.room.take(4 * n)?;
        let (factor, eps) = (1.0 / root.factor, root.eps);
        if let Some(Fact::Centred(x, axis)) = self.facts.get(&id).cloned()
            && axis == root.axis
        {
            let (from, axis) = self.along(&x, axis)?;
            let op = Op::LayerNorm { axis, factor: vec![factor; n], shift: vec![0.0; n], eps };
            let id = self.push(op, &[from])?;
            return Ok(Value::made(value.dims.clone(), value.batch, id));
        }
        // beside its negative it has mean 0, and its mean square is the variance of both
        let (from, axis) = self.along(value, root.axis)?;
        let minus = self.push(Op::Scale { axis: 0, factor: vec![-1.0], shift: vec![0.0] }, &[from])?;
        let both = self.push(Op::Concat { axis }, &[from, minus])?;
        let op = Op::LayerNorm { axis, factor: vec![factor; 2 * n], shift: vec![0.0; 2 * n], eps };
        let both = self.push(op, &[both])?;
        let id = self.push(Op::Slice { axis, start: 0, end: n, step: 1 }, &[both])?;
        Ok(Value::made(value.dims.clone(), value.batch, id))
    }

    /// `Where` of a known condition.
    pub(super) fn choice(&mut self, call: &mut Call) -> Result<Value, String> {
        let (condition, a, b) = (call.input(0)?, call.input(1)?, call.input(2)?);
        if !condition.is_known() {
            return Err("its condition is computed from the image, and has no gradient".into());
        }
        if a.is_known() && b.is_known() {
            return self.chosen(condition, a, b);
        }
        // both, one behind the other, and of each place the one that is wanted
        let (values, batch) = self.aligned(vec![condition.clone(), a.clone(), b.clone()])?;
        let dims = Builder::broadcast(&values)?;
        let n = count(&dims)?;
        let mut flat = Vec::with_capacity(2);
        for value in &values[1..] {
            let whole = self.expanded(value, &dims)?;
            flat.push(Value { batch: None, dims: vec![n], data: whole.data });
        }
        let both = self.joined(flat, 0)?;
        let condition = self.expanded(&values[0], &dims)?.tensor().expect("known");
        self.room.take(2 * n)?;
        let places: Vec<usize> = (0..n).map(|i| if condition.at(i) != 0.0 { i } else { n + i }).collect();
        let chosen = self.picked(&both, 0, &places)?;
        Ok(chosen.relabelled(dims, batch))
    }

    /// Keeps what is known of a value of the graph.
    pub(super) fn learn(&mut self, value: &Value, fact: Fact) {
        if let Data::Made(id) = value.data {
            self.facts.insert(id, fact);
        }
    }
}

fn minus_one() -> Value {
    Value::known(Tensor::floats(vec![], vec![-1.0]))
}

/// Of `torch.nn.functional.normalize` the bound is 1e-12.
const LEAST_LENGTH: f64 = 1e-6;

/// The largest finite number of f32 is 3.4028235e38: exporters write it for "no bound".
const MOST: f64 = 3.4e38;
