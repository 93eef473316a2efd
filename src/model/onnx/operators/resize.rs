//! `Resize` and `Upsample`: each axis alone, by a list of indices or a matrix of weights.

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::shape;
use super::super::value::Value;
use crate::kernel::graph::Op;

/// What the attributes say of how places of the result lie on the old axis.
struct Rule<'a> {
    mode: &'a str,
    places: &'a str,
    nearest: &'a str,
    cubic: f64,
}

impl Builder {
    /// `Upsample` (before opset 10), `Resize`.
    pub(super) fn resize(&mut self, call: &mut Call) -> Result<Value, String> {
        let old = call.opset < 11;
        let rule = Rule {
            mode: call.word("mode", "nearest")?,
            // before opset 11 places were counted from the corner
            places: call.word("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?,
            nearest: call.word("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?,
            cubic: call.float("cubic_coeff_a", -0.75)?,
        };
        call.pass_over(&["extrapolation_value"]);
        for (flag, what) in
            [("antialias", "averages of what is left out"), ("exclude_outside", "weights without the outside")]
        {
            if call.flag(flag, false)? {
                return Err(format!("attribute `{flag}`: {what} are not computed"));
            }
        }
        let policy = call.word("keep_aspect_ratio_policy", "stretch")?;
        if policy != "stretch" {
            return Err(format!("attribute `keep_aspect_ratio_policy` \"{policy}\" (\"stretch\" is understood)"));
        }
        let at = if old { 1 } else { 2 };
        let scales = match call.attribute("scales") {
            Some(super::super::proto::Content::Floats(scales)) => Some(scales.iter().map(|s| f64::from(*s)).collect()),
            _ => call.maybe_numbers(at, "its scales")?.map(|t| t.doubles(&mut self.room)).transpose()?,
        };
        let scales: Option<Vec<f64>> = scales.filter(|s: &Vec<f64>| !s.is_empty());
        let sizes = call.whole(3, "its sizes", &mut self.room)?.filter(|s| !s.is_empty());
        let axes = call.ints("axes")?;
        let mut x = call.input(0)?.clone();
        let axes = axes.unwrap_or_else(|| (0..x.dims.len() as i64).collect());
        let n = scales.as_ref().map_or(sizes.as_ref().map_or(0, Vec::len), Vec::len);
        if n != axes.len() {
            return Err(format!("{n} scales or sizes for {} axes", axes.len()));
        }
        for (i, axis) in axes.iter().enumerate() {
            let axis = shape::axis(*axis, x.dims.len())?;
            let size = self.true_dims(&x)[axis];
            let (out, scale) = match (&scales, &sizes) {
                (Some(scales), _) => ((size as f64 * scales[i]).floor(), scales[i]),
                (None, Some(sizes)) => (sizes[i] as f64, sizes[i] as f64 / size as f64),
                (None, None) => unreachable!("counted above"),
            };
            if scale == 1.0 {
                continue;
            }
            if !(1.0..=65536.0).contains(&out) || scale.is_nan() || scale <= 0.0 {
                return Err(format!("axis {axis} of {size} by {scale}"));
            }
            Builder::keeps_images_apart(&x, axis, "it")?;
            x = self.resized(&x, axis, out as usize, scale, &rule)?;
        }
        Ok(x)
    }

    fn resized(&mut self, x: &Value, axis: usize, out: usize, scale: f64, rule: &Rule) -> Result<Value, String> {
        let size = x.dims[axis];
        let place = |i: usize| rule.place(i, size, out, scale);
        if rule.mode == "nearest" {
            let indices: Result<Vec<usize>, String> = (0..out).map(|i| rule.index(place(i)?, size)).collect();
            let indices = indices?;
            let times = out / size;
            if x.dims.len() == 4 && axis > 1 && out.is_multiple_of(size) && (0..out).all(|i| indices[i] == i / times) {
                let (id, _) = self.map(x)?;
                let times = if axis == 2 { [times, 1] } else { [1, times] };
                let id = self.push(Op::Upsample { times }, &[id])?;
                return Ok(Value::made([&[1], self.graph.shape(id)].concat(), x.batch, id));
            }
            return self.picked(x, axis, &indices);
        }
        self.room.take(size * out)?;
        let mut weight = vec![0.0f32; size * out];
        for (i, row) in weight.chunks_exact_mut(size).enumerate() {
            for (at, share) in rule.shares(place(i)?)? {
                row[at.clamp(0, size as i64 - 1) as usize] += share as f32;
            }
        }
        // the axis is brought to the end, and back
        let last = x.dims.len() - 1;
        let mut order: Vec<usize> = (0..=last).collect();
        order.swap(axis, last);
        let moved = self.transposed(x, &order)?;
        let (id, _) = self.along(&moved, last)?;
        let id = self.push(Op::Linear { weight, bias: vec![0.0; out] }, &[id])?;
        let mut dims = moved.dims;
        dims[last] = out;
        self.transposed(&Value::made(dims, moved.batch, id), &order)
    }
}

impl Rule<'_> {
    /// Where on the old axis a place of the new one lies.
    fn place(&self, i: usize, size: usize, out: usize, scale: f64) -> Result<f64, String> {
        let (i, centre) = (i as f64, (i as f64 + 0.5) / scale - 0.5);
        match self.places {
            "half_pixel" => Ok(centre),
            "half_pixel_symmetric" => {
                let (size, wanted) = (size as f64, size as f64 * scale);
                Ok(size / 2.0 * (1.0 - out as f64 / wanted) + centre)
            }
            "pytorch_half_pixel" => Ok(if out > 1 { centre } else { 0.0 }),
            // the length before it is rounded down to whole places
            "align_corners" if size as f64 * scale == 1.0 => Ok(0.0),
            "align_corners" => Ok(i * (size as f64 - 1.0) / (size as f64 * scale - 1.0)),
            "asymmetric" => Ok(i / scale),
            other => Err(format!("attribute `coordinate_transformation_mode` \"{other}\"")),
        }
    }

    /// The index nearest to a place.
    fn index(&self, place: f64, size: usize) -> Result<usize, String> {
        let index = match self.nearest {
            "round_prefer_floor" => (place - 0.5).ceil(),
            "round_prefer_ceil" => (place + 0.5).floor(),
            "floor" => place.floor(),
            "ceil" => place.ceil(),
            other => return Err(format!("attribute `nearest_mode` \"{other}\"")),
        };
        Ok(index.clamp(0.0, size as f64 - 1.0) as usize)
    }

    /// Indices around a place and their shares in it; those beyond the ends are the ends.
    fn shares(&self, place: f64) -> Result<Vec<(i64, f64)>, String> {
        let (below, t) = (place.floor() as i64, place - place.floor());
        match self.mode {
            "linear" | "bilinear" => Ok(vec![(below, 1.0 - t), (below + 1, t)]),
            // Keys 1981
            "cubic" => {
                let a = self.cubic;
                let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
                let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
                Ok(vec![
                    (below - 1, far(1.0 + t)),
                    (below, near(t)),
                    (below + 1, near(1.0 - t)),
                    (below + 2, far(2.0 - t)),
                ])
            }
            other => {
                Err(format!("attribute `mode` \"{other}\" (\"nearest\", \"linear\" and \"cubic\" are understood)"))
            }
        }
    }
}
