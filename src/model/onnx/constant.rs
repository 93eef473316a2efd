//! Arithmetic on numbers that do not depend on the image: shapes, indices, scales. Floats are computed in double precision
//! and rounded once, as IEEE 754 has it for the basic operations.

use super::builder::Builder;
use super::tensor::{Numbers, Tensor, count, strides};
use super::value::Value;
use std::rc::Rc;

/// An operator of two numbers.
pub struct Pair {
    /// ONNX's name.
    pub name: &'static str,
    float: fn(f64, f64) -> f64,
    /// `None`: no result, or none that 64 bits hold.
    int: fn(i64, i64) -> Option<i64>,
    /// Whether the result is true or false.
    truth: bool,
}

const fn pair(name: &'static str, float: fn(f64, f64) -> f64, int: fn(i64, i64) -> Option<i64>) -> Pair {
    Pair { name, float, int, truth: false }
}

const fn truth(name: &'static str, float: fn(f64, f64) -> f64, int: fn(i64, i64) -> Option<i64>) -> Pair {
    Pair { name, float, int, truth: true }
}

const PAIRS: [Pair; 16] = [
    pair("Add", |a, b| a + b, i64::checked_add),
    pair("Sub", |a, b| a - b, i64::checked_sub),
    pair("Mul", |a, b| a * b, i64::checked_mul),
    pair("Div", |a, b| a / b, i64::checked_div),
    pair("Pow", f64::powf, |a, b| a.checked_pow(u32::try_from(b).ok()?)),
    // with the sign of the divisor, or (attribute `fmod`) of the dividend
    pair(
        "Mod",
        |a, b| if a % b != 0.0 && (a < 0.0) != (b < 0.0) { a % b + b } else { a % b },
        |a, b| a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
    ),
    pair("Fmod", |a, b| a % b, i64::checked_rem),
    pair("Max", |a, b| if a.is_nan() || a > b { a } else { b }, |a, b| Some(a.max(b))),
    pair("Min", |a, b| if a.is_nan() || a < b { a } else { b }, |a, b| Some(a.min(b))),
    truth("Equal", |a, b| f64::from(a == b), |a, b| Some(i64::from(a == b))),
    truth("Less", |a, b| f64::from(a < b), |a, b| Some(i64::from(a < b))),
    truth("LessOrEqual", |a, b| f64::from(a <= b), |a, b| Some(i64::from(a <= b))),
    truth("Greater", |a, b| f64::from(a > b), |a, b| Some(i64::from(a > b))),
    truth("GreaterOrEqual", |a, b| f64::from(a >= b), |a, b| Some(i64::from(a >= b))),
    truth("And", |a, b| f64::from(a != 0.0 && b != 0.0), |a, b| Some(i64::from(a != 0 && b != 0))),
    truth("Or", |a, b| f64::from(a != 0.0 || b != 0.0), |a, b| Some(i64::from(a != 0 || b != 0))),
];

/// The operator of two numbers of this name.
pub fn pair_of(name: &str) -> Option<&'static Pair> {
    PAIRS.iter().find(|p| p.name == name)
}

/// Its name and what it computes.
type Function = (&'static str, fn(f64) -> f64);

/// Functions of one float.
const FUNCTIONS: [Function; 12] = [
    ("Abs", f64::abs),
    ("Ceil", f64::ceil),
    ("Erf", libm::erf),
    ("Exp", f64::exp),
    ("Floor", f64::floor),
    ("Log", f64::ln),
    ("Neg", |x| -x),
    ("Reciprocal", |x| 1.0 / x),
    ("Relu", |x| if x < 0.0 { 0.0 } else { x }),
    ("Sigmoid", |x| 1.0 / (1.0 + (-x).exp())),
    ("Sqrt", f64::sqrt),
    ("Tanh", f64::tanh),
];

/// The function of one float of this name.
pub fn function_of(name: &str) -> Option<fn(f64) -> f64> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

impl Builder {
    /// A tensor in a shape that it is broadcast to.
    fn spread(&mut self, tensor: &Tensor, dims: &[usize]) -> Result<Tensor, String> {
        let own = strides(&tensor.dims);
        let more = dims.len() - tensor.dims.len();
        let stride = |i: usize| match i.checked_sub(more) {
            Some(at) if tensor.dims[at] == dims[i] => own[at],
            _ => 0,
        };
        let strides: Vec<isize> = (0..dims.len()).map(stride).collect();
        tensor.strided(0, dims, &strides, &mut self.room)
    }

    /// An operator of two on known numbers, broadcast to each other.
    pub fn paired(&mut self, pair: &Pair, a: &Value, b: &Value) -> Result<Value, String> {
        let (values, batch) = self.aligned(vec![a.clone(), b.clone()])?;
        let dims = Builder::broadcast(&values)?;
        let [a, b] = [&values[0], &values[1]].map(|v| v.tensor().expect("known"));
        let (a, b) = (self.spread(&a, &dims)?, self.spread(&b, &dims)?);
        let kept = if a.kept().max(b.kept()) <= 1 { a.kept().min(b.kept()) } else { count(&dims)? };
        self.room.take(2 * kept)?;
        let result = match (&a.numbers, &b.numbers) {
            (Numbers::Int(x), Numbers::Int(y)) => {
                let at = |n: &[i64], i: usize| n[i.min(n.len() - 1)];
                let numbers: Option<Vec<i64>> = (0..kept).map(|i| (pair.int)(at(x, i), at(y, i))).collect();
                Tensor::ints(dims, numbers.ok_or("a whole number that 64 bits do not hold")?)
            }
            _ if pair.truth => Tensor::ints(dims, (0..kept).map(|i| (pair.float)(a.at(i), b.at(i)) as i64).collect()),
            _ => Tensor::floats(dims, (0..kept).map(|i| (pair.float)(a.at(i), b.at(i)) as f32).collect()),
        };
        Ok(Value { batch, ..Value::known(result) })
    }

    /// A function of each of known numbers; whole ones stay whole.
    pub fn mapped(&mut self, value: &Value, function: impl Fn(f64) -> f64) -> Result<Value, String> {
        let tensor = value.tensor().expect("known");
        self.room.take(2 * tensor.kept())?;
        let numbers = match &tensor.numbers {
            Numbers::Int(numbers) => {
                Numbers::Int(Rc::new(numbers.iter().map(|n| function(*n as f64) as i64).collect()))
            }
            Numbers::Float(n) => Numbers::Float(Rc::new(n.iter().map(|n| function(f64::from(*n)) as f32).collect())),
        };
        Ok(Value { batch: value.batch, ..Value::known(Tensor { dims: tensor.dims, numbers }) })
    }

    /// `a` where known numbers are true, `b` elsewhere, all known.
    pub fn chosen(&mut self, condition: &Value, a: &Value, b: &Value) -> Result<Value, String> {
        let (values, batch) = self.aligned(vec![condition.clone(), a.clone(), b.clone()])?;
        let dims = Builder::broadcast(&values)?;
        let mut spread = Vec::with_capacity(3);
        for value in &values {
            spread.push(self.spread(&value.tensor().expect("known"), &dims)?);
        }
        let kept = if spread.iter().all(|t| t.kept() == 1) { 1 } else { count(&dims)? };
        self.room.take(2 * kept)?;
        let from = |i: usize| if spread[0].at(i) != 0.0 { &spread[1] } else { &spread[2] };
        let result = match (&spread[1].numbers, &spread[2].numbers) {
            (Numbers::Int(x), Numbers::Int(y)) => {
                let at = |n: &[i64], i: usize| n[i.min(n.len() - 1)];
                let choose = |i: usize| if spread[0].at(i) != 0.0 { at(x, i) } else { at(y, i) };
                Tensor::ints(dims, (0..kept).map(choose).collect())
            }
            _ => Tensor::floats(dims, (0..kept).map(|i| from(i).at(i) as f32).collect()),
        };
        Ok(Value { batch, ..Value::known(result) })
    }
}
