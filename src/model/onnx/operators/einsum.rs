//! `Einsum` of two values, as a product of matrices.

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::value::Value;

impl Builder {
    /// Letters that both values and the result have are axes of a batch of matrices, those that the result lacks are summed.
    pub(super) fn einsum(&mut self, call: &mut Call) -> Result<Value, String> {
        let equation: String = call.word("equation", "")?.split_whitespace().collect();
        let problem = || {
            format!("attribute `equation` \"{equation}\": products of two values, as \"bij,bjk->bik\", are understood")
        };
        let (given, out) = equation.split_once("->").ok_or_else(problem)?;
        let (left, right) = given.split_once(',').ok_or_else(problem)?;
        let once = |text: &str| text.chars().all(|c| c.is_ascii_alphabetic() && text.matches(c).count() == 1);
        if ![left, right, out].into_iter().all(once) || call.inputs() != 2 {
            return Err(problem());
        }
        let (a, b) = (call.input(0)?, call.input(1)?);
        if left.len() != a.dims.len() || right.len() != b.dims.len() {
            return Err(problem());
        }
        let among = |text: &str, wanted: &dyn Fn(char) -> bool| text.chars().filter(|c| wanted(*c)).collect::<String>();
        let both = among(left, &|c| right.contains(c) && out.contains(c));
        let summed = among(left, &|c| right.contains(c) && !out.contains(c));
        let (rows, columns) = (among(left, &|c| !right.contains(c)), among(right, &|c| !left.contains(c)));
        let result = format!("{both}{rows}{columns}");
        if !result.chars().all(|c| out.contains(c)) || result.len() != out.len() {
            return Err(problem());
        }
        let sizes = |letters: &str| -> Result<Vec<usize>, String> {
            let size = |c: char| match (left.find(c), right.find(c)) {
                (Some(at), _) => Ok(self.true_dims(a)[at]),
                (None, Some(at)) => Ok(self.true_dims(b)[at]),
                (None, None) => Err(problem()),
            };
            letters.chars().map(size).collect()
        };
        let (n, m, k, l) = (sizes(&both)?, sizes(&rows)?, sizes(&summed)?, sizes(&columns)?);
        let order = |from: &str, to: String| -> Vec<usize> {
            to.chars().map(|c| from.find(c).expect("a letter of it")).collect()
        };
        let a = self.transposed(a, &order(left, format!("{both}{rows}{summed}")))?;
        let b = self.transposed(b, &order(right, format!("{both}{summed}{columns}")))?;
        let product = |sizes: &[usize]| sizes.iter().product::<usize>();
        let a = self.reshape(&a, [n.as_slice(), &[product(&m), product(&k)]].concat())?;
        let b = self.reshape(&b, [n.as_slice(), &[product(&k), product(&l)]].concat())?;
        let made = self.matrices(&a, &b)?;
        let made = self.reshape(&made, [n, m, l].concat())?;
        self.transposed(&made, &order(&result, out.to_string()))
    }
}
