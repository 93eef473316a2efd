//! Norms and softmax.

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::shape;
use super::super::tensor::Tensor;
use super::super::value::Value;
use crate::kernel::graph::Op;

impl Builder {
    /// `BatchNormalization` as it is after training.
    pub(super) fn batch_norm(&mut self, call: &mut Call) -> Result<Value, String> {
        call.pass_over(&["momentum", "consumed_inputs"]);
        if call.flag("training_mode", false)? {
            return Err(
                "attribute `training_mode`: it is computed as after training (hint: `model.eval()` before the export)"
                    .into(),
            );
        }
        if call.opset < 7 && !call.flag("is_test", false)? {
            return Err("attribute `is_test` is 0: it is computed as after training".into());
        }
        if !call.flag("spatial", true)? {
            return Err("attribute `spatial` 0: norms of each number".into());
        }
        let eps = call.float("epsilon", 1e-5)?;
        let mut doubles = Vec::with_capacity(4);
        for (i, what) in ["its scale", "its shift", "its mean", "its variance"].into_iter().enumerate() {
            doubles.push(call.numbers(i + 1, what)?.doubles(&mut self.room)?);
        }
        let x = call.input(0)?;
        let channels = *x.dims.get(1).ok_or_else(|| format!("of a value of shape {:?}", x.dims))?;
        if doubles.iter().any(|d| d.len() != channels) {
            return Err(format!("numbers for other than {channels} channels"));
        }
        Builder::keeps_images_apart(x, 1, "it")?;
        let [scale, shift, mean, variance] = doubles.try_into().expect("four");
        let factor: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + eps).sqrt()).collect();
        if let Some(channel) = factor.iter().position(|f| !f.is_finite()) {
            let v = variance[channel];
            return Err(format!("its variance {v} at {channel}: with epsilon {eps} it must be above 0"));
        }
        let shift = shift.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
        self.scaled(x, 1, factor, shift)
    }

    /// `LayerNormalization`, over the last axes.
    pub(super) fn layer_norm(&mut self, call: &mut Call) -> Result<Value, String> {
        call.pass_over(&["stash_type"]);
        let eps = call.float("epsilon", 1e-5)?;
        let factor = call.numbers(1, "its scale")?;
        let shift = call.maybe_numbers(2, "its shift")?;
        let x = call.input(0)?.clone();
        let axis = shape::axis(call.int("axis", -1)?, x.dims.len())?;
        (axis..x.dims.len()).try_for_each(|axis| Builder::keeps_images_apart(&x, axis, "it"))?;
        let own = x.dims[axis..].to_vec();
        let mut spread = |t: Tensor| -> Result<Vec<f64>, String> {
            let value = self.expanded(&Value::known(t), &own)?;
            value.tensor().expect("known").doubles(&mut self.room)
        };
        let factor = spread(factor)?;
        let shift = match shift {
            Some(shift) => spread(shift)?,
            None => vec![0.0; factor.len()],
        };
        // the last axes as one
        let mut rows = self.true_dims(&x);
        rows.truncate(axis);
        rows.push(own.iter().product());
        let flat = self.reshape(&x, rows)?;
        let (id, at) = self.along(&flat, axis)?;
        let id = self.push(Op::LayerNorm { axis: at, factor, shift, eps }, &[id])?;
        Ok(Value::made(x.dims, x.batch, id))
    }

    /// `InstanceNormalization`, `GroupNormalization`: groups of channels, each with its places, are normed alone.
    pub(super) fn group_norm(&mut self, call: &mut Call) -> Result<Value, String> {
        call.pass_over(&["stash_type"]);
        let eps = call.float("epsilon", 1e-5)?;
        let factor = call.numbers(1, "its scale")?.doubles(&mut self.room)?;
        let shift = call.numbers(2, "its shift")?.doubles(&mut self.room)?;
        let x = call.input(0)?.clone();
        let channels = *x.dims.get(1).ok_or_else(|| format!("of a value of shape {:?}", x.dims))?;
        let groups = match call.node.operator {
            "InstanceNormalization" => channels,
            _ => usize::try_from(call.int("num_groups", 0)?).unwrap_or(0),
        };
        if groups == 0 || channels % groups != 0 || x.dims[0] != 1 || x.batch.is_some_and(|b| b.axis != 0) {
            return Err(format!("{groups} groups of a value of shape {:?}", x.dims));
        }
        let n = x.dims[1..].iter().product::<usize>() / groups;
        self.room.take(4 * n)?;
        let id = self.made(&x, &[groups, n])?;
        let op = Op::LayerNorm { axis: 1, factor: vec![1.0; n], shift: vec![0.0; n], eps };
        let id = self.push(op, &[id])?;
        // before opset 21 a group has one scale, since then a channel
        let each = |numbers: Vec<f64>| match numbers.len() == groups && groups != channels {
            true => numbers.iter().flat_map(|v| vec![*v; channels / groups]).collect(),
            false => numbers,
        };
        self.scaled(&Value::made(x.dims, x.batch, id), 1, each(factor), each(shift))
    }

    /// `Softmax`: before opset 13 over all axes from one on, as if they were one.
    pub(super) fn softmax(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        let old = call.opset < 13;
        let axis = shape::axis(call.int("axis", if old { 1 } else { -1 })?, x.dims.len())?;
        Builder::keeps_images_apart(x, axis, "a softmax")?;
        let all = self.true_dims(x);
        let behind: usize = all[axis + 1..].iter().product();
        let (flat, at) = match old && behind > 1 {
            true => (self.reshape(x, vec![all[..axis].iter().product(), all[axis..].iter().product()])?, 1),
            false => (x.clone(), axis),
        };
        Builder::keeps_images_apart(&flat, at, "a softmax")?;
        let (id, at) = self.along(&flat, at)?;
        let id = self.push(Op::Softmax { axis: at }, &[id])?;
        Ok(Value::made(x.dims.clone(), x.batch, id))
    }

    /// `LogSoftmax` as the network's last operator: logits less one number an image, so that their differences and their
    /// softmax are the same without it.
    pub(super) fn log_softmax(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        let axis = shape::axis(call.int("axis", if call.opset < 13 { 1 } else { -1 })?, x.dims.len())?;
        if !call.is_last {
            return Err("inside a network there is no operation for it (it is understood as the last one)".into());
        }
        if x.dims.iter().enumerate().any(|(i, size)| *size != 1 && i != axis) {
            return Err(format!("along axis {axis} of a value of shape {:?}, which are not the classes", x.dims));
        }
        self.note(
            "the network ends in LogSoftmax, which is left out: it takes the same number from all logits of an image, so that \
             labels, margins and cross-entropy stay as they are"
                .into(),
        );
        Ok(x.clone())
    }
}
