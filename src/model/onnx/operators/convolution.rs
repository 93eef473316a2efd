//! Convolutions, pools and padding: what works on maps with windows.

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::tensor::Tensor;
use super::super::value::Value;
use crate::kernel::graph::{Op, Window};

impl Builder {
    /// `Conv` in two dimensions.
    pub(super) fn conv(&mut self, call: &mut Call) -> Result<Value, String> {
        let weight = call.numbers(1, "its weight")?;
        let bias = call.maybe_numbers(2, "its bias")?;
        let [outputs, _, height, width] = *weight.dims.as_slice() else {
            return Err(format!("a weight of shape {:?}: {} is two-dimensional here", weight.dims, call.node.operator));
        };
        let x = call.input(0)?;
        let (id, [_, rows, columns]) = self.map(x)?;
        if call.ints("kernel_shape")?.is_some_and(|size| size != [height as i64, width as i64]) {
            return Err(format!("attribute `kernel_shape` beside a weight of shape {:?}", weight.dims));
        }
        let groups = call.int("group", 1)?;
        let groups = usize::try_from(groups).map_err(|_| format!("attribute `group` {groups}"))?;
        let window = window(call, [height, width], [rows, columns])?;
        let weight = weight.into_floats(&mut self.room)?;
        let bias = match bias {
            Some(bias) => bias.into_floats(&mut self.room)?,
            None => Tensor::floats(vec![outputs], vec![0.0]).into_floats(&mut self.room)?,
        };
        let id = self.push(Op::Conv { window, groups, weight, bias }, &[id])?;
        Ok(self.map_of(id, x))
    }

    /// A map that an operation made, of the images of `x`.
    fn map_of(&self, id: usize, x: &Value) -> Value {
        Value::made([&[1], self.graph.shape(id)].concat(), x.batch, id)
    }

    /// `MaxPool`, `AveragePool`.
    pub(super) fn pool(&mut self, call: &mut Call) -> Result<Value, String> {
        let size = call.ints("kernel_shape")?.ok_or("attribute `kernel_shape` is missing")?;
        let x = call.input(0)?;
        let (id, [_, rows, columns]) = self.map(x)?;
        let size = pair("kernel_shape", &size)?;
        let window = window(call, size, [rows, columns])?;
        let ceil = call.flag("ceil_mode", false)?;
        let op = match call.node.operator {
            "MaxPool" => {
                // how the second output, places of maxima, counts them
                call.pass_over(&["storage_order"]);
                Op::MaxPool { window, ceil }
            }
            _ => {
                if window.dilation != [1, 1] {
                    return Err(format!(
                        "attribute `dilations` {:?}: averages without any are computed",
                        window.dilation
                    ));
                }
                Op::AveragePool { window, ceil, count_padding: call.flag("count_include_pad", false)? }
            }
        };
        let id = self.push(op, &[id])?;
        Ok(self.map_of(id, x))
    }

    /// `GlobalAveragePool`, `GlobalMaxPool`.
    pub(super) fn global_pool(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        let (id, [_, rows, columns]) = self.map(x)?;
        let whole = Window { size: [rows, columns], ..Window::square(1, 1, 0) };
        let id = self.push(
            match call.node.operator {
                "GlobalMaxPool" => Op::MaxPool { window: whole, ceil: false },
                _ => Op::AdaptiveAverage { out: [1, 1] },
            },
            &[id],
        )?;
        Ok(self.map_of(id, x))
    }

    /// `Pad`.
    pub(super) fn pad(&mut self, call: &mut Call) -> Result<Value, String> {
        let mode = call.word("mode", "constant")?;
        let pads = match (call.ints("pads")?, call.ints("paddings")?) {
            (Some(pads), _) | (None, Some(pads)) => Some(pads),
            (None, None) => call.whole(1, "`pads`", &mut self.room)?,
        };
        let pads = pads.ok_or("`pads` is missing")?;
        let filling = match call.attribute("value").is_some() {
            true => call.float("value", 0.0)?,
            false => call.single(2, "`constant_value`")?.unwrap_or(0.0),
        };
        let axes = call.whole(3, "`axes`", &mut self.room)?;
        let x = call.input(0)?.clone();
        let rank = x.dims.len();
        let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
        if pads.len() != 2 * axes.len() {
            return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
        }
        let mut around = vec![[0i64; 2]; rank];
        for (i, axis) in axes.iter().enumerate() {
            around[super::super::shape::axis(*axis, rank)?] = [pads[i], pads[axes.len() + i]];
        }
        match mode {
            "constant" => self.padded(x, &around, filling),
            _ => self.continued(x, &around, mode),
        }
    }

    /// So many places before and behind each axis that go on as `mode` says: mirrored, as the last, or from the start again.
    fn continued(&mut self, mut x: Value, around: &[[i64; 2]], mode: &str) -> Result<Value, String> {
        for (axis, [before, behind]) in around.iter().enumerate().filter(|(_, pads)| **pads != [0, 0]) {
            Builder::keeps_images_apart(&x, axis, "it")?;
            let n = x.dims[axis] as i64;
            let (before, behind) = (small(*before).filter(|p| *p < 4096), small(*behind).filter(|p| *p < 4096));
            let (Some(before), Some(behind)) = (before, behind) else { return Err(format!("pads {around:?}")) };
            let place = |i: i64| match mode {
                "edge" => Ok(i.clamp(0, n - 1)),
                "wrap" => Ok(i.rem_euclid(n)),
                "reflect" if n == 1 => Ok(0),
                "reflect" => {
                    let i = i.rem_euclid(2 * n - 2);
                    Ok(i.min(2 * n - 2 - i))
                }
                other => Err(format!("attribute `mode` \"{other}\"")),
            };
            if n == 0 {
                return Err("of nothing".into());
            }
            let places = -(before as i64)..n + behind as i64;
            let places: Result<Vec<usize>, String> = places.map(|i| place(i).map(|i| i as usize)).collect();
            x = self.picked(&x, axis, &places?)?;
        }
        Ok(x)
    }

    /// So much of a number before and behind each axis; less than nothing cuts off.
    fn padded(&mut self, mut x: Value, around: &[[i64; 2]], filling: f64) -> Result<Value, String> {
        for (axis, [before, behind]) in around.iter().enumerate() {
            if x.batch.is_some_and(|b| b.axis == axis) && [*before, *behind] != [0, 0] {
                return Err("it pads along the axis of the images of a batch".into());
            }
            let cut = [before, behind].map(|p| p.min(&0).unsigned_abs() as usize);
            let left =
                x.dims[axis].checked_sub(cut[0].saturating_add(cut[1])).ok_or("it cuts off more than there is")?;
            x = self.part(&x, axis, cut[0], 1, left)?;
        }
        let around: Vec<[usize; 2]> = around.iter().map(|pads| pads.map(|p| p.max(0) as usize)).collect();
        let is_map = x.dims.len() == 4 && x.dims[0] == 1 && x.batch.is_none_or(|b| b.axis == 0) && !x.is_known();
        if is_map && filling == 0.0 && around[..2] == [[0, 0], [0, 0]] {
            let [top, bottom] = around[2];
            let [left, right] = around[3];
            if [top, left, bottom, right] == [0; 4] {
                return Ok(x);
            }
            let (id, _) = self.map(&x)?;
            let id = self.push(Op::Pad { padding: [top, left, bottom, right] }, &[id])?;
            return Ok(self.map_of(id, &x));
        }
        for (axis, [before, behind]) in around.iter().enumerate() {
            let filled = |n: usize| {
                let mut dims = x.dims.clone();
                dims[axis] = n;
                Value { batch: x.batch, ..Value::known(Tensor::floats(dims, vec![filling as f32])) }
            };
            let mut parts = vec![x.clone()];
            if *before > 0 {
                parts.insert(0, filled(*before));
            }
            if *behind > 0 {
                parts.push(filled(*behind));
            }
            x = self.joined(parts, axis)?;
        }
        Ok(x)
    }
}

/// How windows of a size lie on maps of a size: `strides`, `dilations`, `pads`, `auto_pad`.
fn window(call: &Call, size: [usize; 2], map: [usize; 2]) -> Result<Window, String> {
    let two = |name: &str| call.ints(name)?.map_or(Ok([1, 1]), |values| pair(name, &values));
    let mut window = Window { size, stride: two("strides")?, dilation: two("dilations")?, padding: [0; 4] };
    if size.contains(&0) || window.stride.contains(&0) {
        return Err(format!("windows of {size:?} at strides {:?}", window.stride));
    }
    let pads = call.ints("pads")?;
    match call.word("auto_pad", "NOTSET")? {
        "NOTSET" | "" => {
            if let Some(pads) = pads {
                let pads: Option<Vec<usize>> = pads.iter().map(|p| small(*p)).collect();
                window.padding =
                    pads.and_then(|p| p.try_into().ok()).ok_or("attribute `pads`: four sizes from 0 on")?;
            }
        }
        "VALID" => {}
        side @ ("SAME_UPPER" | "SAME_LOWER") => {
            for (axis, places) in map.into_iter().enumerate() {
                let reach = (places.div_ceil(window.stride[axis]) - 1) * window.stride[axis] + window.extent(axis);
                let all = reach.saturating_sub(places);
                let (less, more) = (all / 2, all - all / 2);
                let upper = side == "SAME_UPPER";
                window.padding[axis] = if upper { less } else { more };
                window.padding[axis + 2] = if upper { more } else { less };
            }
        }
        other => return Err(format!("attribute `auto_pad` \"{other}\"")),
    }
    Ok(window)
}

/// Two sizes, rows first.
fn pair(name: &str, values: &[i64]) -> Result<[usize; 2], String> {
    match values {
        [rows, columns] => [small(*rows), small(*columns)].into_iter().collect::<Option<Vec<_>>>(),
        _ => None,
    }
    .and_then(|sizes| sizes.try_into().ok())
    .ok_or_else(|| format!("attribute `{name}` {values:?}: two sizes, as images are two-dimensional"))
}

/// A size that does not overflow when a few are added or multiplied.
fn small(size: i64) -> Option<usize> {
    usize::try_from(size).ok().filter(|size| *size <= 1 << 16)
}
