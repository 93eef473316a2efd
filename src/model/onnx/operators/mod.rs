//! ONNX's operators (<https://onnx.ai/onnx/operators/>), as operations of the graph or on known numbers.

mod activation;
mod arithmetic;
mod convolution;
mod einsum;
mod norm;
mod product;
mod reduction;
mod resize;
mod scatter;
mod structure;

use super::builder::Builder;
use super::call::Call;
use super::value::{Data, Value};

/// What a node gives.
///
/// # Errors
/// An operator, attribute or value that there is no operation for, and what is understood.
pub fn run(builder: &mut Builder, call: &mut Call, is_last: bool) -> Result<Vec<Value>, String> {
    if !["", "ai.onnx"].contains(&call.node.domain) {
        return Err(format!(
            "an operator of `{}`, not of ONNX itself (hint: export without optimisations of a runtime; functions of the file's \
             own are replaced by `onnx.inliner.inline_local_functions`)",
            call.node.domain
        ));
    }
    let value = match call.node.operator {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Equal" | "Less" | "LessOrEqual" | "Greater"
        | "GreaterOrEqual" | "And" | "Or" => builder.pair(call),
        "Sum" | "Mean" => builder.sum_of(call),
        "Max" | "Min" => builder.extreme_of(call),
        "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Floor" | "Ceil" => builder.function(call),
        "Not" => builder.negation(call),
        "Where" => builder.choice(call),
        "Relu" | "LeakyRelu" | "Elu" | "Celu" | "Selu" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Swish" | "Gelu"
        | "Tanh" | "Erf" => builder.activation(call),
        "PRelu" => builder.prelu(call),
        "Clip" => builder.clip(call),
        "Conv" => builder.conv(call),
        "MaxPool" | "AveragePool" => builder.pool(call),
        "GlobalAveragePool" | "GlobalMaxPool" => builder.global_pool(call),
        "Pad" => builder.pad(call),
        "Resize" | "Upsample" => builder.resize(call),
        "Gemm" => builder.gemm(call),
        "MatMul" => builder.matmul(call),
        "Einsum" => builder.einsum(call),
        "BatchNormalization" => builder.batch_norm(call),
        "LayerNormalization" => builder.layer_norm(call),
        "InstanceNormalization" | "GroupNormalization" => builder.group_norm(call),
        "LpNormalization" => builder.unit_length(call),
        "Softmax" => builder.softmax(call),
        "LogSoftmax" => builder.log_softmax(call, is_last),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL2" => builder.reduce(call),
        "Constant" => builder.constant(call),
        "ConstantOfShape" => builder.filled(call),
        "Range" => builder.range(call),
        "Shape" => builder.shape_of(call),
        "Size" => builder.size_of(call),
        "Cast" | "CastLike" => builder.cast(call),
        "Identity" => call.input(0).cloned(),
        "Dropout" => dropout(call),
        "Reshape" => builder.reshaping(call),
        "Flatten" => builder.flatten(call),
        "Squeeze" => builder.squeeze(call),
        "Unsqueeze" => builder.unsqueeze(call),
        "Transpose" => builder.transpose(call),
        "Concat" => builder.concat(call),
        "Slice" => builder.slice(call),
        "Split" => return builder.split(call),
        "Gather" => builder.gather(call),
        "GatherND" => builder.gather_nd(call),
        "ScatterND" => builder.scatter_nd(call),
        "Expand" => builder.expand(call),
        "Tile" => builder.tile(call),
        "DepthToSpace" | "SpaceToDepth" => builder.space(call),
        other => Err(unsupported(other)),
    };
    value.map(|value| vec![value])
}

/// Why an operator is refused.
fn unsupported(operator: &str) -> String {
    let why = match operator {
        "If" | "Loop" | "Scan" => {
            "networks inside the network (hint: export from a model without control flow, in a fixed size)"
        }
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger" => {
            "quantised numbers, whose gradient is 0 nearly everywhere (hint: export before quantisation)"
        }
        "LRN" => "a power of sums of squares, for which there is no operation",
        "ArgMax" | "ArgMin" | "TopK" | "NonZero" | "NonMaxSuppression" => {
            "it has no gradient (hint: export the network up to its logits)"
        }
        "LSTM" | "GRU" | "RNN" => "a recurrent layer",
        _ => "there is no operation for it",
    };
    format!("the operator is not supported: {why}")
}

/// `Dropout` as it is after training: nothing.
fn dropout(call: &mut Call) -> Result<Value, String> {
    call.pass_over(&["ratio", "seed", "is_test"]);
    let training = call.single(2, "`training_mode`")?;
    match training.is_some_and(|t| t != 0.0) {
        true => Err("it drops at random (hint: `model.eval()` before the export)".into()),
        false => call.input(0).cloned(),
    }
}

impl Builder {
    /// `Not` of known numbers.
    fn negation(&mut self, call: &Call) -> Result<Value, String> {
        let x = call.input(0)?;
        match x.data {
            Data::Known(_) => self.mapped(x, |x| f64::from(x == 0.0)),
            _ => Err("of what is computed from the image: it has no gradient".into()),
        }
    }
}
