//! Operators that move, cut and join numbers, and those that make shapes.

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::proto::{Content, Kind};
use super::super::shape;
use super::super::tensor::{Tensor, count};
use super::super::value::{Batch, Data, Value};

impl Builder {
    /// `Constant`.
    pub(super) fn constant(&mut self, call: &mut Call) -> Result<Value, String> {
        let [attribute] = call.node.attributes.as_slice() else { return Err("one attribute is its value".into()) };
        let tensor = match (attribute.name, call.attribute(attribute.name)) {
            ("value", Some(Content::Tensor(tensor))) => Tensor::read(tensor)?,
            ("value_float", Some(Content::Float(value))) => Tensor::floats(vec![], vec![*value]),
            ("value_int", Some(Content::Int(value))) => Tensor::ints(vec![], vec![*value]),
            ("value_floats", Some(Content::Floats(values))) => Tensor::floats(vec![values.len()], values.clone()),
            ("value_ints", Some(Content::Ints(values))) => Tensor::vector(values.clone()),
            (name, _) => return Err(format!("attribute `{name}`: no numbers")),
        };
        self.room.take(2 * tensor.kept())?;
        Ok(Value::known(tensor))
    }

    /// `ConstantOfShape`.
    pub(super) fn filled(&mut self, call: &mut Call) -> Result<Value, String> {
        let dims = call.whole(0, "its shape", &mut self.room)?.ok_or("its shape is missing")?;
        let dims: Option<Vec<usize>> = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        let dims = dims.ok_or("a size below 0")?;
        count(&dims)?;
        let value = match call.attribute("value") {
            None => Tensor::floats(vec![], vec![0.0]),
            Some(Content::Tensor(tensor)) => Tensor::read(tensor)?,
            Some(_) => return Err("attribute `value` is no tensor".into()),
        };
        if value.kept() != 1 {
            return Err(format!("{} numbers in `value`, and must be one", value.kept()));
        }
        let filled = Value::known(Tensor { dims: vec![1; dims.len()], ..value });
        self.repeated(&filled, &dims)
    }

    /// A value broadcast to a shape of ONNX's for a whole batch.
    fn repeated(&mut self, value: &Value, dims: &[usize]) -> Result<Value, String> {
        let all = shape::broadcast(&self.true_dims(value), dims)?;
        if let Data::Root(_) = value.data {
            let more = all.len() - value.dims.len();
            let batch = value.batch.map(|b| Batch { axis: b.axis + more, ..b });
            let mut all = all;
            batch.iter().for_each(|b| all[b.axis] /= self.images());
            return Ok(value.relabelled(all, batch));
        }
        let more = all.len() - value.dims.len();
        let old = value.batch.map(|b| Batch { axis: b.axis + more, ..b });
        let new = || all.iter().position(|size| self.counts_images(*size));
        let batch = old.or_else(|| new().map(|axis| Batch { axis, outer: 1 }));
        let mut dims = all;
        batch.iter().for_each(|b| dims[b.axis] /= self.images());
        let result = self.expanded(value, &dims)?;
        Ok(result.relabelled(dims, batch))
    }

    /// `Expand`.
    pub(super) fn expand(&mut self, call: &mut Call) -> Result<Value, String> {
        let dims = call.whole(1, "its shape", &mut self.room)?.ok_or("its shape is missing")?;
        let dims: Option<Vec<usize>> = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        let x = call.input(0)?.clone();
        self.repeated(&x, &dims.ok_or("a size below 0")?)
    }

    /// `Tile`.
    pub(super) fn tile(&mut self, call: &mut Call) -> Result<Value, String> {
        let times = call.whole(1, "its repeats", &mut self.room)?.ok_or("its repeats are missing")?;
        let mut x = call.input(0)?.clone();
        if times.len() != x.dims.len() {
            return Err(format!("{} repeats for a value of shape {:?}", times.len(), x.dims));
        }
        for (axis, n) in times.iter().enumerate().filter(|(_, n)| **n != 1) {
            let n =
                usize::try_from(*n).ok().filter(|n| (1..=4096).contains(n)).ok_or_else(|| format!("{n} repeats"))?;
            x = self.joined(vec![x; n], axis)?;
        }
        Ok(x)
    }

    /// `Shape`, of a whole batch.
    pub(super) fn shape_of(&mut self, call: &mut Call) -> Result<Value, String> {
        let dims: Vec<i64> = self.true_dims(call.input(0)?).iter().map(|d| *d as i64).collect();
        let (start, end) = (call.int("start", 0)?, call.int("end", i64::MAX)?);
        let (start, _, n) = shape::sliced(dims.len(), start, end, 1)?;
        Ok(Value::known(Tensor::vector(dims[start..start + n].to_vec())))
    }

    /// `Size`, likewise.
    pub(super) fn size_of(&mut self, call: &mut Call) -> Result<Value, String> {
        let size = count(&self.true_dims(call.input(0)?))?;
        Ok(Value::known(Tensor::ints(vec![], vec![size as i64])))
    }

    /// `Range`.
    pub(super) fn range(&mut self, call: &mut Call) -> Result<Value, String> {
        let mut number = |i: usize, what: &str| -> Result<Tensor, String> {
            let number = call.numbers(i, what)?;
            if number.kept() == 1 { Ok(number) } else { Err(format!("{what} is no single number")) }
        };
        let [start, limit, step] = [number(0, "its start")?, number(1, "its limit")?, number(2, "its step")?];
        let n = ((limit.at(0) - start.at(0)) / step.at(0)).ceil().max(0.0);
        if !n.is_finite() {
            return Err("without an end".into());
        }
        let n = n as usize;
        if self.counts_images(n) {
            return Err("an index for every image of a batch of any size (hint: export for one image)".into());
        }
        self.room.take(n.saturating_mul(2))?;
        Ok(Value::known(match start.is_float() {
            true => Tensor::floats(vec![n], (0..n).map(|i| (start.at(0) + i as f64 * step.at(0)) as f32).collect()),
            false => Tensor::vector((0..n).map(|i| (start.at(0) + i as f64 * step.at(0)) as i64).collect()),
        }))
    }

    /// `Cast`, `CastLike`: floats stay f32 here.
    pub(super) fn cast(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        call.pass_over(&["saturate", "round_mode"]);
        let to_float = match call.node.operator {
            "Cast" => {
                let kind = Kind::of(call.int("to", 0)?).map_err(|problem| format!("to {problem}"))?;
                match x.tensor() {
                    Some(tensor) if kind == Kind::Bool => {
                        let truth = self.mapped(&Value::known(tensor), |x| f64::from(x != 0.0))?;
                        return self.whole_numbers(&truth.relabelled(x.dims.clone(), x.batch));
                    }
                    _ => kind.is_float(),
                }
            }
            _ => call.input(1)?.tensor().is_none_or(|like| like.is_float()),
        };
        match (x.tensor(), to_float) {
            (None, true) => Ok(x.clone()),
            (None, false) => Err("to whole numbers, of what is computed from the image: it has no gradient".into()),
            (Some(tensor), false) if tensor.is_float() => self.whole_numbers(x),
            (Some(tensor), true) if !tensor.is_float() => {
                self.room.take(tensor.kept())?;
                let numbers = (0..tensor.kept()).map(|i| tensor.at(i) as f32).collect();
                Ok(Value { batch: x.batch, ..Value::known(Tensor::floats(tensor.dims, numbers)) })
            }
            _ => Ok(x.clone()),
        }
    }

    fn whole_numbers(&mut self, x: &Value) -> Result<Value, String> {
        let tensor = x.tensor().expect("known");
        self.room.take(2 * tensor.kept())?;
        let numbers = (0..tensor.kept()).map(|i| tensor.at(i) as i64).collect();
        Ok(Value { batch: x.batch, ..Value::known(Tensor::ints(tensor.dims, numbers)) })
    }

    /// `Reshape`: the shape is an input since opset 5.
    pub(super) fn reshaping(&mut self, call: &mut Call) -> Result<Value, String> {
        let wanted = call.whole_or_input("shape", 1, &mut self.room)?.ok_or("its shape is missing")?;
        let zeros = call.flag("allowzero", false)?;
        let x = call.input(0)?;
        let to = shape::reshaped(&self.true_dims(x), &wanted, zeros)?;
        self.reshape(x, to)
    }

    /// `Flatten`.
    pub(super) fn flatten(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        let (all, axis) = (self.true_dims(x), call.int("axis", 1)?);
        // the axis behind the last may be meant, too
        let at = if axis == all.len() as i64 { all.len() } else { shape::axis(axis, all.len())? };
        let halves = vec![all[..at].iter().product(), all[at..].iter().product()];
        self.reshape(x, halves)
    }

    /// `Squeeze`: axes are an attribute before opset 13.
    pub(super) fn squeeze(&mut self, call: &mut Call) -> Result<Value, String> {
        let axes = call.whole_or_input("axes", 1, &mut self.room)?;
        let x = call.input(0)?;
        let axes = match axes {
            Some(axes) => shape::axes(&axes, x.dims.len())?,
            None => {
                let all = self.true_dims(x);
                (0..all.len()).filter(|i| all[*i] == 1).collect()
            }
        };
        self.without_axes(x, &axes)
    }

    /// `Unsqueeze`, likewise.
    pub(super) fn unsqueeze(&mut self, call: &mut Call) -> Result<Value, String> {
        let axes = call.whole_or_input("axes", 1, &mut self.room)?.ok_or("`axes` is missing")?;
        self.with_axes(call.input(0)?, &axes)
    }

    /// `Transpose`.
    pub(super) fn transpose(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        let order = match call.ints("perm")? {
            Some(order) => order.iter().map(|axis| shape::axis(*axis, x.dims.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..x.dims.len()).rev().collect(),
        };
        self.transposed(x, &order)
    }

    /// `Concat`.
    pub(super) fn concat(&mut self, call: &mut Call) -> Result<Value, String> {
        let values = call.all()?;
        let rank = values.first().ok_or("of nothing")?.dims.len();
        self.joined(values, shape::axis(call.int("axis", 1)?, rank)?)
    }

    /// `Slice`: everything is an attribute before opset 10.
    pub(super) fn slice(&mut self, call: &mut Call) -> Result<Value, String> {
        let starts = call.whole_or_input("starts", 1, &mut self.room)?.ok_or("`starts` is missing")?;
        let ends = call.whole_or_input("ends", 2, &mut self.room)?.ok_or("`ends` is missing")?;
        let axes = call.whole_or_input("axes", 3, &mut self.room)?;
        let steps = call.whole(4, "`steps`", &mut self.room)?;
        let mut x = call.input(0)?.clone();
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err("`starts`, `ends`, `axes` and `steps` of several lengths".into());
        }
        for (i, axis) in axes.iter().enumerate() {
            let axis = shape::axis(*axis, x.dims.len())?;
            let size = self.true_dims(&x)[axis];
            let (start, step, n) = shape::sliced(size, starts[i], ends[i], steps[i])?;
            if (start, step, n) == (0, 1, size) {
                continue;
            }
            Builder::keeps_images_apart(&x, axis, "a slice")?;
            x = self.part(&x, axis, start, step, n)?;
        }
        Ok(x)
    }

    /// `Split`: sizes are an attribute before opset 13, left out or `num_outputs` where they are equal.
    pub(super) fn split(&mut self, call: &mut Call) -> Result<Vec<Value>, String> {
        let sizes = call.whole_or_input("split", 1, &mut self.room)?;
        let outputs = call.node.outputs.len();
        let parts = usize::try_from(call.int("num_outputs", outputs as i64)?).unwrap_or(0);
        let x = call.input(0)?.clone();
        let axis = shape::axis(call.int("axis", 0)?, x.dims.len())?;
        Builder::keeps_images_apart(&x, axis, "a split")?;
        let all = x.dims[axis];
        let sizes: Vec<usize> = match sizes {
            Some(sizes) => sizes.iter().map(|s| usize::try_from(*s).unwrap_or(usize::MAX)).collect(),
            None if parts == 0 || parts > outputs => return Err(format!("{parts} parts")),
            None => {
                let size = all.div_ceil(parts);
                (0..parts).map(|i| size.min(all.saturating_sub(i * size))).collect()
            }
        };
        if sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size)) != Some(all) || sizes.len() > outputs {
            return Err(format!("parts of {sizes:?} of axis {axis} of a value of shape {:?}", x.dims));
        }
        let mut start = 0;
        let mut part = |size: &usize| {
            let part = self.part(&x, axis, start, 1, *size);
            start += size;
            part
        };
        sizes.iter().map(&mut part).collect()
    }

    /// `Gather` with known indices.
    pub(super) fn gather(&mut self, call: &mut Call) -> Result<Value, String> {
        let indices = call.numbers(1, "its indices")?;
        let x = call.input(0)?.clone();
        let axis = shape::axis(call.int("axis", 0)?, x.dims.len())?;
        Builder::keeps_images_apart(&x, axis, "picking by index")?;
        let wanted =
            indices.whole(&mut self.room)?.iter().map(|i| shape::axis(*i, x.dims[axis])).collect::<Result<Vec<_>, _>>();
        let wanted = wanted.map_err(|_| format!("an index outside axis {axis} of a value of shape {:?}", x.dims))?;
        let picked = match x.tensor() {
            Some(tensor) => {
                let tensor = self.picked_numbers(&tensor, axis, &wanted)?;
                Value { batch: x.batch, ..Value::known(tensor) }
            }
            None => self.picked(&x, axis, &wanted)?,
        };
        let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
        let shift = |b: Batch| if b.axis > axis { Batch { axis: b.axis + indices.dims.len() - 1, ..b } } else { b };
        Ok(picked.relabelled(dims, x.batch.map(shift)))
    }

    fn picked_numbers(&mut self, tensor: &Tensor, axis: usize, indices: &[usize]) -> Result<Tensor, String> {
        let mut dims = tensor.dims.clone();
        dims[axis] = indices.len();
        let inner: usize = dims[axis + 1..].iter().product();
        let (rows, old) = (dims[..axis].iter().product::<usize>(), tensor.dims[axis]);
        self.room.take(count(&dims)?.saturating_mul(2))?;
        let places = (0..rows)
            .flat_map(|r| indices.iter().flat_map(move |i| (0..inner).map(move |j| (r * old + i) * inner + j)));
        Ok(match tensor.is_float() {
            true => Tensor::floats(dims, places.map(|p| tensor.at(p) as f32).collect()),
            false => {
                let numbers = tensor.whole(&mut self.room)?;
                Tensor::ints(dims, places.map(|p| numbers[p]).collect())
            }
        })
    }

    /// `DepthToSpace`, `SpaceToDepth`.
    pub(super) fn space(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        let b = call.int("blocksize", 0)?;
        let b = usize::try_from(b)
            .ok()
            .filter(|b| (1..=1 << 12).contains(b))
            .ok_or(format!("attribute `blocksize` {b}"))?;
        let [n, c, h, w] = *self.true_dims(x).as_slice() else {
            return Err(format!("of a value of shape {:?}", x.dims));
        };
        let (cut, order, to) = match (call.node.operator, call.word("mode", "DCR")?) {
            ("SpaceToDepth", mode @ ("DCR" | "CRD")) => {
                let order = if mode == "DCR" { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
                (vec![n, c, h / b, b, w / b, b], order, vec![n, c * b * b, h / b, w / b])
            }
            (_, "DCR") => (vec![n, b, b, c / (b * b), h, w], [0, 3, 4, 1, 5, 2], vec![n, c / (b * b), h * b, w * b]),
            (_, "CRD") => (vec![n, c / (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3], vec![n, c / (b * b), h * b, w * b]),
            (_, other) => return Err(format!("attribute `mode` \"{other}\"")),
        };
        let cut = self.reshape(x, cut)?;
        let moved = self.transposed(&cut, &order)?;
        self.reshape(&moved, to)
    }
}
