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

/// How an operator is read: what it makes of a node's values.
enum Run {
    One(fn(&mut Builder, &mut Call) -> Result<Value, String>),
    Many(fn(&mut Builder, &mut Call) -> Result<Vec<Value>, String>),
}
use Run::{Many, One};

/// Every operator that is read, by what it is about.
const OPERATORS: &[(&str, &[(&str, Run)])] = &[
    (
        "maps",
        &[
            ("Conv", One(Builder::conv)),
            ("MaxPool", One(Builder::pool)),
            ("AveragePool", One(Builder::pool)),
            ("GlobalMaxPool", One(Builder::global_pool)),
            ("GlobalAveragePool", One(Builder::global_pool)),
            ("Pad", One(Builder::pad)),
            ("Resize", One(Builder::resize)),
            ("Upsample", One(Builder::resize)),
            ("DepthToSpace", One(Builder::space)),
            ("SpaceToDepth", One(Builder::space)),
        ],
    ),
    (
        "products of matrices",
        &[("Gemm", One(Builder::gemm)), ("MatMul", One(Builder::matmul)), ("Einsum", One(Builder::einsum))],
    ),
    (
        "norms",
        &[
            ("BatchNormalization", One(Builder::batch_norm)),
            ("LayerNormalization", One(Builder::layer_norm)),
            ("InstanceNormalization", One(Builder::group_norm)),
            ("GroupNormalization", One(Builder::group_norm)),
            ("LpNormalization", One(Builder::unit_length)),
            ("Softmax", One(Builder::softmax)),
            ("LogSoftmax", One(Builder::log_softmax)),
        ],
    ),
    (
        "functions of a number",
        &[
            ("Relu", One(Builder::activation)),
            ("LeakyRelu", One(Builder::activation)),
            ("PRelu", One(Builder::prelu)),
            ("Elu", One(Builder::activation)),
            ("Celu", One(Builder::activation)),
            ("Selu", One(Builder::activation)),
            ("Sigmoid", One(Builder::activation)),
            ("HardSigmoid", One(Builder::activation)),
            ("HardSwish", One(Builder::activation)),
            ("Swish", One(Builder::activation)),
            ("Gelu", One(Builder::activation)),
            ("Tanh", One(Builder::activation)),
            ("Erf", One(Builder::activation)),
            ("Clip", One(Builder::clip)),
            ("Neg", One(Builder::function)),
            ("Sqrt", One(Builder::function)),
            ("Reciprocal", One(Builder::function)),
            ("Identity", One(|_, call| call.input(0).cloned())),
            ("Dropout", One(|_, call| dropout(call))),
            ("Cast", One(Builder::cast)),
            ("CastLike", One(Builder::cast)),
        ],
    ),
    (
        "arithmetic",
        &[
            ("Add", One(Builder::pair)),
            ("Sub", One(Builder::pair)),
            ("Mul", One(Builder::pair)),
            ("Div", One(Builder::pair)),
            ("Pow", One(Builder::pair)),
            ("Sum", One(Builder::sum_of)),
            ("Mean", One(Builder::sum_of)),
            ("Max", One(Builder::extreme_of)),
            ("Min", One(Builder::extreme_of)),
            ("Where", One(Builder::choice)),
            ("ReduceMean", One(Builder::reduce)),
            ("ReduceSum", One(Builder::reduce)),
            ("ReduceMax", One(Builder::reduce)),
            ("ReduceMin", One(Builder::reduce)),
            ("ReduceL2", One(Builder::reduce)),
        ],
    ),
    (
        "structure",
        &[
            ("Reshape", One(Builder::reshaping)),
            ("Flatten", One(Builder::flatten)),
            ("Squeeze", One(Builder::squeeze)),
            ("Unsqueeze", One(Builder::unsqueeze)),
            ("Transpose", One(Builder::transpose)),
            ("Concat", One(Builder::concat)),
            ("Slice", One(Builder::slice)),
            ("Split", Many(Builder::split)),
            ("Gather", One(Builder::gather)),
            ("Expand", One(Builder::expand)),
            ("Tile", One(Builder::tile)),
        ],
    ),
    (
        "numbers that do not depend on the image",
        &[
            ("Constant", One(Builder::constant)),
            ("ConstantOfShape", One(Builder::filled)),
            ("Range", One(Builder::range)),
            ("Shape", One(Builder::shape_of)),
            ("Size", One(Builder::size_of)),
            ("GatherND", One(Builder::gather_nd)),
            ("ScatterND", One(Builder::scatter_nd)),
            ("ReduceProd", One(Builder::reduce)),
            ("Mod", One(Builder::pair)),
            ("Equal", One(Builder::pair)),
            ("Less", One(Builder::pair)),
            ("LessOrEqual", One(Builder::pair)),
            ("Greater", One(Builder::pair)),
            ("GreaterOrEqual", One(Builder::pair)),
            ("And", One(Builder::pair)),
            ("Or", One(Builder::pair)),
            ("Not", One(Builder::negation)),
            ("Abs", One(Builder::function)),
            ("Exp", One(Builder::function)),
            ("Log", One(Builder::function)),
            ("Floor", One(Builder::function)),
            ("Ceil", One(Builder::function)),
        ],
    ),
];

/// Names of all operators that are read, by what they are about.
pub fn names() -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str>)> {
    OPERATORS.iter().map(|(about, operators)| (*about, operators.iter().map(|(name, _)| *name)))
}

/// What a node gives.
///
/// # Errors
/// An operator, attribute or value that there is no operation for, and what is understood.
pub fn run(builder: &mut Builder, call: &mut Call) -> Result<Vec<Value>, String> {
    if !["", "ai.onnx"].contains(&call.node.domain) {
        return Err(format!(
            "an operator of `{}`, not of ONNX itself (hint: export without optimisations of a runtime; functions of the file's \
             own are replaced by `onnx.inliner.inline_local_functions`)",
            call.node.domain
        ));
    }
    let all = OPERATORS.iter().flat_map(|(_, operators)| operators.iter());
    match all.into_iter().find(|(name, _)| *name == call.node.operator) {
        Some((_, One(run))) => run(builder, call).map(|value| vec![value]),
        Some((_, Many(run))) => run(builder, call),
        None => Err(unsupported(call.node.operator)),
    }
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
    format!("the operator is not supported: {why} (operators that are read: docs/onnx.md)")
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
    fn negation(&mut self, call: &mut Call) -> Result<Value, String> {
        let x = call.input(0)?;
        match x.data {
            Data::Known(_) => self.mapped(x, |x| f64::from(x == 0.0)),
            _ => Err("of what is computed from the image: it has no gradient".into()),
        }
    }
}
