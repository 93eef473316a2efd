//! `GatherND` and `ScatterND` of known numbers, as exporters write of slices that are set.

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::shape;
use super::super::tensor::{Numbers, Tensor, count};
use super::super::value::Value;
use std::rc::Rc;

impl Builder {
    /// `GatherND` of known numbers, without axes of a batch.
    pub(super) fn gather_nd(&mut self, call: &mut Call) -> Result<Value, String> {
        if call.int("batch_dims", 0)? != 0 {
            return Err("attribute `batch_dims`: 0 is understood".into());
        }
        let (data, indices) = (call.numbers(0, "what it picks from")?, call.numbers(1, "its indices")?);
        let (starts, n) = self.starts(&data, &indices)?;
        let deep = *indices.dims.last().expect("checked");
        let dims = [&indices.dims[..indices.dims.len() - 1], &data.dims[deep..]].concat();
        self.room.take(2 * count(&dims)?)?;
        let places = starts.iter().flat_map(|start| *start..start + n);
        Ok(Value::known(match &data.numbers {
            Numbers::Int(from) => Tensor::ints(dims, places.map(|p| from[p.min(from.len() - 1)]).collect()),
            Numbers::Float(from) => Tensor::floats(dims, places.map(|p| from[p.min(from.len() - 1)]).collect()),
        }))
    }

    /// `ScatterND` of known numbers.
    pub(super) fn scatter_nd(&mut self, call: &mut Call) -> Result<Value, String> {
        let reduction = call.word("reduction", "none")?;
        if reduction != "none" {
            return Err(format!("attribute `reduction` \"{reduction}\" (\"none\" is understood)"));
        }
        let (data, indices) = (call.numbers(0, "what it changes")?, call.numbers(1, "its indices")?);
        let updates = call.numbers(2, "what it sets")?;
        let (starts, n) = self.starts(&data, &indices)?;
        if updates.count() != starts.len() * n {
            return Err(format!("{} numbers for {} places", updates.count(), starts.len() * n));
        }
        self.room.take(4 * data.count())?;
        let places = starts.iter().flat_map(|start| *start..start + n).zip(0usize..);
        Ok(Value::known(match (&updates.numbers, data.is_float()) {
            (Numbers::Int(new), false) => {
                let mut all = data.whole(&mut self.room)?;
                places.for_each(|(p, i)| all[p] = new[i.min(new.len() - 1)]);
                Tensor { dims: data.dims, numbers: Numbers::Int(Rc::new(all)) }
            }
            _ => {
                let dims = data.dims.clone();
                let mut all = data.into_floats(&mut self.room)?;
                places.for_each(|(p, i)| all[p] = updates.at(i) as f32);
                Tensor::floats(dims, all)
            }
        }))
    }

    /// Where in memory the parts begin that indices along the last axis name, and how many numbers each has.
    fn starts(&mut self, data: &Tensor, indices: &Tensor) -> Result<(Vec<usize>, usize), String> {
        let deep = indices.dims.last().copied().filter(|deep| (1..=data.dims.len()).contains(deep));
        let deep = deep.ok_or_else(|| format!("indices of shape {:?} into {:?}", indices.dims, data.dims))?;
        let n: usize = data.dims[deep..].iter().product();
        let whole = indices.whole(&mut self.room)?;
        let start = |index: &[i64]| -> Result<usize, String> {
            index.iter().zip(&data.dims).try_fold(0, |at, (i, size)| Ok(at * size + shape::axis(*i, *size)?))
        };
        let starts: Result<Vec<usize>, String> = whole.chunks_exact(deep).map(|i| Ok(start(i)? * n)).collect();
        Ok((starts.map_err(|_| format!("an index outside a value of shape {:?}", data.dims))?, n))
    }
}
