//! Functions of each number.

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::constant::function_of;
use super::super::tensor::Tensor;
use super::super::value::Value;
use crate::kernel::graph::{Activation, Op};

impl Builder {
    /// `Relu`, `LeakyRelu`, `Elu`, `Celu`, `Selu`, `Sigmoid`, `HardSigmoid`, `HardSwish`, `Swish`, `Gelu`, `Tanh`, `Erf`.
    pub(super) fn activation(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        call.pass_over(&["consumed_inputs"]);
        if let Some(function) = function_of(call.node.operator).filter(|_| x.is_known()) {
            return self.mapped(x, function);
        }
        let activation = match call.node.operator {
            "Relu" => Activation::Relu,
            "LeakyRelu" => Activation::LeakyRelu { slope: call.float("alpha", 0.01)? },
            "Elu" => Activation::Elu { alpha: call.float("alpha", 1.0)? },
            "Celu" => return self.celu(x, call.float("alpha", 1.0)?),
            // Klambauer et al. 2017; the constants are those of ONNX's definition
            "Selu" => {
                let (alpha, gamma) = (call.float("alpha", 1.673_263_2)?, call.float("gamma", 1.050_701)?);
                let elu = self.each(Op::Activate(Activation::Elu { alpha }), x)?;
                return self.scaled(&elu, 0, vec![gamma], vec![0.0]);
            }
            "Sigmoid" => Activation::Sigmoid,
            "HardSigmoid" => {
                Activation::HardSigmoid { slope: call.float("alpha", 0.2)?, offset: call.float("beta", 0.5)? }
            }
            "HardSwish" => Activation::HardSwish,
            "Swish" if call.float("alpha", 1.0)? == 1.0 => Activation::Silu,
            "Swish" => return Err("attribute `alpha`: 1 is understood".into()),
            "Gelu" => match call.word("approximate", "none")? {
                "none" => Activation::Gelu,
                "tanh" => Activation::GeluTanh,
                other => {
                    return Err(format!("attribute `approximate` \"{other}\" (\"none\" and \"tanh\" are understood)"));
                }
            },
            "Tanh" => Activation::Tanh,
            "Erf" => Activation::Erf,
            _ => unreachable!("the registry names it"),
        };
        self.each(Op::Activate(activation), x)
    }

    /// max(0, x) + min(0, α(e^(x/α) − 1)) (Barron 2017), which is α times the ELU of x/α.
    fn celu(&mut self, x: &Value, alpha: f64) -> Result<Value, String> {
        let inner = self.scaled(x, 0, vec![1.0 / alpha], vec![0.0])?;
        let elu = self.each(Op::Activate(Activation::Elu { alpha: 1.0 }), &inner)?;
        self.scaled(&elu, 0, vec![alpha], vec![0.0])
    }

    /// `PRelu`: x above 0, slope·x below, with a slope for each channel or number.
    pub(super) fn prelu(&mut self, call: &mut Call) -> Result<Value, String> {
        let slopes = call.numbers(1, "its slopes")?;
        let x = call.input(0)?;
        if let Some(slope) = slopes.only() {
            return self.each(Op::Activate(Activation::LeakyRelu { slope }), x);
        }
        // relu(x) − slope·relu(−x); before opset 7 slopes of channels had one axis
        let slopes = match (call.opset < 7 && slopes.dims.len() == 1, x.dims.len()) {
            (true, rank @ 3..) => Tensor { dims: [slopes.dims, vec![1; rank - 2]].concat(), ..slopes },
            _ => slopes,
        };
        let slopes = self.mapped(&Value::known(slopes), |slope| -slope)?;
        let above = self.each(Op::Activate(Activation::Relu), x)?;
        let minus = self.scaled(x, 0, vec![-1.0], vec![0.0])?;
        let below = self.each(Op::Activate(Activation::Relu), &minus)?;
        let below = self.product(&below, &slopes)?;
        self.sum(&above, &below)
    }

    /// `Clip`: bounds are attributes before opset 11, inputs since.
    pub(super) fn clip(&mut self, call: &mut Call) -> Result<Value, String> {
        call.pass_over(&["consumed_inputs"]);
        let bound = |call: &mut Call, name: &str, i: usize, none: f64| -> Result<f64, String> {
            match call.attribute(name).is_some() {
                true => call.float(name, 0.0),
                false => Ok(call.single(i, &format!("bound `{name}`"))?.unwrap_or(none)),
            }
        };
        let low = bound(call, "min", 1, f64::NEG_INFINITY)?;
        let high = bound(call, "max", 2, f64::INFINITY)?;
        self.clipped(call.input(0)?, low, high)
    }
}
