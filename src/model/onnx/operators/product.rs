//! Products of matrices.

use super::super::builder::{Builder, plain};
use super::super::call::Call;
use super::super::shape::broadcast;
use super::super::tensor::Tensor;
use super::super::value::{Batch, Value};
use crate::kernel::graph::Op;

impl Builder {
    /// `Gemm`: alpha·A·B + beta·C.
    pub(super) fn gemm(&mut self, call: &mut Call) -> Result<Value, String> {
        call.pass_over(&["broadcast"]);
        let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
        let (turns_a, turns_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
        let (mut a, b) = (call.input(0)?.clone(), call.input(1)?.clone());
        if a.dims.len() != 2 || b.dims.len() != 2 {
            return Err(format!("matrices of shapes {:?} and {:?}", a.dims, b.dims));
        }
        if turns_a {
            a = self.transposed(&a, &[1, 0])?;
        }
        let scale = |by: f64| Value::known(Tensor::floats(vec![], vec![by as f32]));
        let mut product = match b.tensor().filter(|_| turns_b && b.batch.is_none()) {
            Some(rows) => self.linear(&a, rows)?,
            None if turns_b => {
                let b = self.transposed(&b, &[1, 0])?;
                self.matrices(&a, &b)?
            }
            None => self.matrices(&a, &b)?,
        };
        if alpha != 1.0 {
            product = self.product_of(&product, &scale(alpha))?;
        }
        let Some(c) = call.maybe(2) else { return Ok(product) };
        let c = if beta == 1.0 { c.clone() } else { self.product_of(c, &scale(beta))? };
        self.sum_of_two(&product, &c)
    }

    /// `MatMul`.
    pub(super) fn matmul(&mut self, call: &mut Call) -> Result<Value, String> {
        let (a, b) = (call.input(0)?, call.input(1)?);
        // vectors stand for a row at the left and a column at the right
        match (a.dims.len(), b.dims.len()) {
            (0, _) | (_, 0) => Err("of a single number".into()),
            (1, 1) => {
                let product = self.matrices(&self.with_axes(a, &[0])?, &self.with_axes(b, &[1])?)?;
                self.without_axes(&product, &[0, 1])
            }
            (1, _) => {
                let product = self.matrices(&self.with_axes(a, &[0])?, b)?;
                self.without_axes(&product, &[product.dims.len() - 2])
            }
            (_, 1) => {
                let product = self.matrices(a, &self.with_axes(b, &[1])?)?;
                self.without_axes(&product, &[product.dims.len() - 1])
            }
            _ => self.matrices(a, b),
        }
    }

    /// Products of the matrices that are the last two axes, the others broadcast to each other.
    pub(super) fn matrices(&mut self, a: &Value, b: &Value) -> Result<Value, String> {
        let problem = || format!("matrices of shapes {:?} and {:?}", a.dims, b.dims);
        let rank = a.dims.len().max(b.dims.len());
        let (ra, rb) = (a.dims.len(), b.dims.len());
        let (m, k, n) = (a.dims[ra - 2], a.dims[ra - 1], b.dims[rb - 1]);
        if b.dims[rb - 2] != k || [m, k, n].contains(&0) {
            return Err(problem());
        }
        let batch = self.batch_of_product(a, b)?;
        let outer = broadcast(&a.dims[..ra - 2], &b.dims[..rb - 2]).map_err(|_| problem())?;
        let dims = [outer.as_slice(), &[m, n]].concat();
        if let Some(tensor) = b.tensor().filter(|_| b.dims[..rb - 2].iter().all(|d| *d == 1)) {
            let columns = Value::known(Tensor { dims: vec![k, n], ..tensor });
            let rows = self.transposed(&columns, &[1, 0])?.tensor().expect("known");
            return Ok(self.linear(a, rows)?.relabelled(dims, batch));
        }
        let mut ids = Vec::with_capacity(2);
        for (value, last) in [(a, [m, k]), (b, [k, n])] {
            let value = self.expanded(value, &[outer.as_slice(), &last].concat())?;
            let shape: Vec<usize> = outer.iter().copied().skip_while(|d| *d == 1).chain(last).collect();
            ids.push(self.made(&value, &shape)?);
        }
        let id = self.push(Op::MatMul, &ids)?;
        debug_assert_eq!(dims.len(), rank);
        Ok(Value::made(dims, batch, id))
    }

    /// A linear layer over the last axis, with known weights outputs × inputs.
    fn linear(&mut self, x: &Value, weight: Tensor) -> Result<Value, String> {
        let (n, last) = (weight.dims[0], x.dims.len() - 1);
        if x.dims[last] != weight.dims[1] || n == 0 {
            return Err(format!("matrices of shapes {:?} and {:?}", x.dims, weight.dims));
        }
        Builder::keeps_images_apart(x, last, "it")?;
        let weight = weight.into_floats(&mut self.room)?;
        self.room.take(n)?;
        let id = self.made(x, plain(&x.dims))?;
        let id = self.push(Op::Linear { weight, bias: vec![0.0; n] }, &[id])?;
        let mut dims = x.dims.clone();
        dims[last] = n;
        Ok(Value::made(dims, x.batch, id))
    }

    /// Where the images of a batch are in a product.
    fn batch_of_product(&self, a: &Value, b: &Value) -> Result<Option<Batch>, String> {
        let rank = a.dims.len().max(b.dims.len());
        let of = |v: &Value| v.batch.map(|batch| Batch { axis: batch.axis + rank - v.dims.len(), ..batch });
        let mixed = "it mixes the images of a batch";
        match (of(a), of(b)) {
            (Some(x), _) if x.axis == rank - 1 => Err(mixed.into()),
            (_, Some(y)) if y.axis == rank - 2 => Err(mixed.into()),
            (Some(x), Some(y)) if x != y || x.axis >= rank - 2 => Err(mixed.into()),
            (Some(x), Some(y)) if a.dims[x.axis + a.dims.len() - rank] != b.dims[y.axis + b.dims.len() - rank] => {
                Err(mixed.into())
            }
            (Some(at), None) | (None, Some(at)) | (Some(at), Some(_)) => Ok(Some(at)),
            (None, None) => Ok(None),
        }
    }

    fn product_of(&mut self, a: &Value, b: &Value) -> Result<Value, String> {
        match a.is_known() && b.is_known() {
            true => self.paired(super::super::constant::pair_of("Mul").expect("known"), a, b),
            false => self.product(a, b),
        }
    }

    fn sum_of_two(&mut self, a: &Value, b: &Value) -> Result<Value, String> {
        match a.is_known() && b.is_known() {
            true => self.paired(super::super::constant::pair_of("Add").expect("known"), a, b),
            false => self.sum(a, b),
        }
    }
}
