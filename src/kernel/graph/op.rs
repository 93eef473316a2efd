//! What a node of a network computes, on which shapes, as plain data.
//!
//! Shapes are those of one image: C×H×W for a map, T×C for tokens, C for a vector.

/// How the windows of a convolution or pool lie on a map: rows first, then columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub size: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// From one tap to the next.
    pub dilation: [usize; 2],
    /// What is added to the map: above, left, below, right (ONNX's order).
    pub padding: [usize; 4],
}

impl Window {
    /// The same in both directions, without dilation.
    pub fn square(size: usize, stride: usize, padding: usize) -> Window {
        Window { size: [size; 2], stride: [stride; 2], dilation: [1; 2], padding: [padding; 4] }
    }

    /// From the first tap of a window to its last, and that one.
    pub fn extent(&self, axis: usize) -> usize {
        (self.size[axis] - 1) * self.dilation[axis] + 1
    }

    /// Windows along an axis of `size` places. `ceil`: the last may reach beyond the padding, if it begins on the map or
    /// in the padding before it (PyTorch's `pooling_output_shape`).
    ///
    /// # Errors
    /// Windows that fit nowhere.
    pub fn out(&self, axis: usize, size: usize, ceil: bool) -> Result<usize, String> {
        let (before, behind) = (self.padding[axis], self.padding[axis + 2]);
        let (stride, taps) = (self.stride[axis], self.size[axis]);
        let room = size.checked_add(before + behind).filter(|_| stride > 0 && taps > 0 && self.dilation[axis] > 0);
        let room = room.and_then(|room| room.checked_sub(self.extent(axis))).filter(|_| size > 0).ok_or_else(|| {
            format!(
                "windows of {taps} at stride {stride} do not fit on {size} places with padding {before} and {behind}"
            )
        })?;
        Ok(match ceil {
            false => room / stride + 1,
            true => (room.div_ceil(stride) + 1).min((size + before - 1) / stride + 1),
        })
    }

    /// Place on the map of tap `t` of window `i` along an axis of `size` places; `None`: in the padding.
    #[inline]
    pub fn place(&self, axis: usize, i: usize, t: usize, size: usize) -> Option<usize> {
        (i * self.stride[axis] + t * self.dilation[axis]).checked_sub(self.padding[axis]).filter(|place| *place < size)
    }
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// max(x, 0); slope 0 at 0, and NaN stays NaN, with slope 1.
    Relu,
    /// x between two bounds, which have slope 0 (ReLU6: 0 and 6); NaN as for [`Activation::Relu`].
    Clip {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
    },
    /// x above 0, slope·x below.
    LeakyRelu {
        /// Below 0.
        slope: f64,
    },
    /// x above 0, α(eˣ − 1) below.
    Elu {
        /// α.
        alpha: f64,
    },
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// x/(1 + e⁻ˣ) (also called swish).
    Silu,
    /// x·Φ(x) with the normal distribution Φ, by the error function.
    Gelu,
    /// [`Activation::Gelu`] by its approximation with tanh.
    GeluTanh,
    /// max(0, min(1, slope·x + offset)) (ONNX; PyTorch's has slope 1/6 and offset 1/2).
    HardSigmoid {
        /// Between the bounds.
        slope: f64,
        /// At 0.
        offset: f64,
    },
    /// x·max(0, min(1, x/6 + 1/2)).
    HardSwish,
    /// Hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
}

/// What a node computes. Numbers that are few (batch norms, layer norms) stay in double precision until an engine rounds them.
#[derive(Debug, Clone, PartialEq)]
pub enum Op<T> {
    /// Convolution over zeros as padding, with bias: C×H×W to outputs×H'×W'.
    Conv {
        /// How windows lie.
        window: Window,
        /// Channels in and out come in so many groups, each of which sees its own.
        groups: usize,
        /// outputs × inputs a group × height × width.
        weight: Vec<T>,
        /// outputs.
        bias: Vec<T>,
    },
    /// factor·x + shift, one of each for every index of `axis` (a batch norm's), or one for all.
    Scale {
        /// 0 for the channels of a map.
        axis: usize,
        /// One, or as many as the axis has.
        factor: Vec<f64>,
        /// As many.
        shift: Vec<f64>,
    },
    /// A function of each number.
    Activate(Activation),
    /// Maximum of windows; the first of several, and NaN above all, the last of them. Padding never wins.
    MaxPool {
        /// How windows lie.
        window: Window,
        /// See [`Window::out`].
        ceil: bool,
    },
    /// Average of windows without dilation.
    AveragePool {
        /// How windows lie.
        window: Window,
        /// See [`Window::out`].
        ceil: bool,
        /// Whether zeros of the padding count (PyTorch's `count_include_pad`; what lies beyond it never does).
        count_padding: bool,
    },
    /// Average over windows so that the map gets this height and width (PyTorch's `AdaptiveAvgPool2d`).
    AdaptiveAverage {
        /// Height and width after it.
        out: [usize; 2],
    },
    /// Fully connected over the last axis.
    Linear {
        /// outputs × inputs.
        weight: Vec<T>,
        /// outputs.
        bias: Vec<T>,
    },
    /// Sum of two values, which are broadcast to each other (NumPy's rule).
    Add,
    /// Product of two values, broadcast as for [`Op::Add`].
    Mul,
    /// Its inputs one after the other along an axis.
    Concat {
        /// Axis.
        axis: usize,
    },
    /// The same numbers in the same order (row by row) with another shape.
    Reshape {
        /// After it.
        shape: Vec<usize>,
    },
    /// Axis i of the result is axis `axes[i]` of the input.
    Transpose {
        /// A permutation.
        axes: Vec<usize>,
    },
    /// Every `step`th index of an axis from `start` to before `end`.
    Slice {
        /// Axis.
        axis: usize,
        /// First index.
        start: usize,
        /// Behind the last index.
        end: usize,
        /// At least 1.
        step: usize,
    },
    /// Product of matrices m×k and k×n, which are the last two axes of either; the axes before them are the same.
    MatMul,
    /// eˣ over its sum along an axis.
    Softmax {
        /// Axis.
        axis: usize,
    },
    /// (x − mean)/√(variance + eps) along one axis, then factor·x + shift for each of its indices.
    LayerNorm {
        /// 0 for the channels of a map, 1 for those of tokens.
        axis: usize,
        /// As many as the axis has.
        factor: Vec<f64>,
        /// As many.
        shift: Vec<f64>,
        /// Added to the variance.
        eps: f64,
    },
    /// Softmax attention (Vaswani et al. 2017, equation 1) of tokens T×3C, whose rows hold queries, keys and values one
    /// after the other, each of them C/heads numbers for every head: T×C.
    Attention {
        /// Heads.
        heads: usize,
    },
    /// Mean along an axis, which is gone after it.
    Mean {
        /// Axis.
        axis: usize,
    },
    /// Every place of a map repeated (nearest neighbour).
    Upsample {
        /// Times down and across.
        times: [usize; 2],
    },
    /// Zeros around a map: above, left, below, right.
    Pad {
        /// How many.
        padding: [usize; 4],
    },
    /// Numbers that do not depend on the image; reads nothing.
    Constant {
        /// Their shape.
        shape: Vec<usize>,
        /// Row by row.
        values: Vec<T>,
    },
}

/// More numbers than a value of an image may have: no network has them, a damaged file may.
const MOST_VALUES: usize = 1 << 28;

impl<T> Op<T> {
    /// Name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv { .. } => "convolution",
            Op::Scale { .. } => "scale",
            Op::Activate(_) => "activation",
            Op::MaxPool { .. } => "max-pool",
            Op::AveragePool { .. } | Op::AdaptiveAverage { .. } => "average pool",
            Op::Linear { .. } => "linear layer",
            Op::Add => "sum",
            Op::Mul => "product",
            Op::Concat { .. } => "concatenation",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Slice { .. } => "slice",
            Op::MatMul => "matrix product",
            Op::Softmax { .. } => "softmax",
            Op::LayerNorm { .. } => "layer norm",
            Op::Attention { .. } => "attention",
            Op::Mean { .. } => "mean",
            Op::Upsample { .. } => "upsampling",
            Op::Pad { .. } => "padding",
            Op::Constant { .. } => "constant",
        }
    }

    /// The same operation with its weights as other numbers.
    pub(super) fn with<U>(&self, numbers: impl Fn(&[T]) -> Vec<U>) -> Op<U> {
        match self {
            Op::Conv { window, groups, weight, bias } => {
                Op::Conv { window: *window, groups: *groups, weight: numbers(weight), bias: numbers(bias) }
            }
            Op::Linear { weight, bias } => Op::Linear { weight: numbers(weight), bias: numbers(bias) },
            Op::Constant { shape, values } => Op::Constant { shape: shape.clone(), values: numbers(values) },
            Op::Scale { axis, factor, shift } => {
                Op::Scale { axis: *axis, factor: factor.clone(), shift: shift.clone() }
            }
            Op::LayerNorm { axis, factor, shift, eps } => {
                Op::LayerNorm { axis: *axis, factor: factor.clone(), shift: shift.clone(), eps: *eps }
            }
            Op::Activate(function) => Op::Activate(*function),
            Op::MaxPool { window, ceil } => Op::MaxPool { window: *window, ceil: *ceil },
            Op::AveragePool { window, ceil, count_padding } => {
                Op::AveragePool { window: *window, ceil: *ceil, count_padding: *count_padding }
            }
            Op::AdaptiveAverage { out } => Op::AdaptiveAverage { out: *out },
            Op::Add => Op::Add,
            Op::Mul => Op::Mul,
            Op::Concat { axis } => Op::Concat { axis: *axis },
            Op::Reshape { shape } => Op::Reshape { shape: shape.clone() },
            Op::Transpose { axes } => Op::Transpose { axes: axes.clone() },
            Op::Slice { axis, start, end, step } => Op::Slice { axis: *axis, start: *start, end: *end, step: *step },
            Op::MatMul => Op::MatMul,
            Op::Softmax { axis } => Op::Softmax { axis: *axis },
            Op::Attention { heads } => Op::Attention { heads: *heads },
            Op::Mean { axis } => Op::Mean { axis: *axis },
            Op::Upsample { times } => Op::Upsample { times: *times },
            Op::Pad { padding } => Op::Pad { padding: *padding },
        }
    }

    /// Shape of the value it makes of values of these shapes.
    ///
    /// # Errors
    /// Inputs that it does not take, and why.
    pub fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = self.outlined(inputs)?;
        match self.has_no_weights() {
            true => Err(format!("a {} without weights", self.name())),
            false => Ok(shape),
        }
    }

    /// Multiplications with an addition each, for values of these shapes; 0 for what has few.
    pub(super) fn multiply_adds(&self, inputs: &[&[usize]], out: &[usize]) -> u64 {
        let numbers: usize = out.iter().product();
        let each = match (self, inputs) {
            (Op::Conv { window, groups, .. }, [x]) => x[0] / groups * window.size[0] * window.size[1],
            (Op::Linear { .. } | Op::MatMul, [x, ..]) => x[x.len() - 1],
            // queries with keys, and their shares of the values
            (Op::Attention { .. }, [x]) => 2 * x[0],
            _ => 0,
        };
        numbers as u64 * each as u64
    }

    fn has_no_weights(&self) -> bool {
        match self {
            Op::Conv { weight: numbers, .. }
            | Op::Linear { weight: numbers, .. }
            | Op::Constant { values: numbers, .. } => numbers.is_empty(),
            _ => false,
        }
    }

    /// The same of an operation whose weights may be left out.
    pub(super) fn outlined(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = self.unchecked_shape(inputs)?;
        let values = shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
        match values.is_some_and(|n| (1..=MOST_VALUES).contains(&n)) {
            true => Ok(shape),
            false => Err(format!("a {} of shape {shape:?}", self.name())),
        }
    }

    fn unchecked_shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let wanted = match self {
            Op::Constant { .. } => 0..=0,
            Op::Add | Op::Mul | Op::MatMul => 2..=2,
            Op::Concat { .. } => 1..=usize::MAX,
            _ => 1..=1,
        };
        if !wanted.contains(&inputs.len()) {
            return Err(format!("a {} of {} values", self.name(), inputs.len()));
        }
        let x = inputs.first().copied().unwrap_or(&[]);
        let map = || match x {
            [c, h, w] => Ok([*c, *h, *w]),
            _ => Err(format!("a {} of a value of shape {x:?}, which is no map", self.name())),
        };
        let size = |axis: usize| {
            x.get(axis).copied().ok_or_else(|| format!("a {} along axis {axis} of a value of shape {x:?}", self.name()))
        };
        let refuse = |what: String| Err(format!("a {} of a value of shape {x:?}: {what}", self.name()));
        Ok(match self {
            Op::Conv { window, groups, weight, bias } => {
                let ([channels, height, width], outputs) = (map()?, bias.len());
                let fits = *groups > 0 && outputs > 0 && channels % groups == 0 && outputs % groups == 0;
                let taps = window.size[0].checked_mul(window.size[1]);
                let wanted = taps.and_then(|t| t.checked_mul(channels / groups.max(&1))?.checked_mul(outputs));
                if !fits || wanted.is_none_or(|wanted| wanted != weight.len() && !weight.is_empty()) {
                    let [h, w] = window.size;
                    return refuse(format!("{} weights for {outputs} outputs, {h}x{w}, {groups} groups", weight.len()));
                }
                vec![outputs, window.out(0, height, false)?, window.out(1, width, false)?]
            }
            Op::MaxPool { window, ceil } | Op::AveragePool { window, ceil, .. } => {
                let [channels, height, width] = map()?;
                let pads =
                    |axis: usize| window.padding[axis].max(window.padding[axis + 2]) >= window.extent(axis).max(1);
                if window.size.contains(&0) || pads(0) || pads(1) {
                    return refuse(format!("windows of {:?} with padding {:?}", window.size, window.padding));
                }
                vec![channels, window.out(0, height, *ceil)?, window.out(1, width, *ceil)?]
            }
            Op::AdaptiveAverage { out } => vec![map()?[0], out[0], out[1]],
            Op::Scale { axis, factor, shift } => {
                let size = size(*axis)?;
                match factor.len() == shift.len() && (factor.len() == 1 || factor.len() == size) {
                    true => x.to_vec(),
                    false => return refuse(format!("{} factors, {} shifts", factor.len(), shift.len())),
                }
            }
            Op::LayerNorm { axis, factor, shift, .. } => match (size(*axis)?, factor.len(), shift.len()) {
                (size, factors, shifts) if size == factors && size == shifts => x.to_vec(),
                (_, factors, shifts) => return refuse(format!("{factors} factors, {shifts} shifts")),
            },
            Op::Activate(_) => x.to_vec(),
            Op::Softmax { axis } => size(*axis).map(|_| x.to_vec())?,
            Op::Linear { weight, bias } => {
                let inputs = x.last().copied().unwrap_or(0);
                let wanted = inputs.checked_mul(bias.len());
                if bias.is_empty() || wanted.is_none_or(|wanted| wanted != weight.len() && !weight.is_empty()) {
                    return refuse(format!("{} weights for {} outputs", weight.len(), bias.len()));
                }
                [&x[..x.len() - 1], &[bias.len()]].concat()
            }
            Op::Add | Op::Mul => broadcast(x, inputs[1])
                .ok_or_else(|| format!("a {} of values of shapes {x:?} and {:?}", self.name(), inputs[1]))?,
            Op::Concat { axis } => {
                let mut all = x.to_vec();
                size(*axis)?;
                for other in &inputs[1..] {
                    let same = other.len() == x.len() && (0..x.len()).all(|i| i == *axis || other[i] == x[i]);
                    if !same {
                        return Err(format!("a concatenation along axis {axis} of shapes {x:?} and {other:?}"));
                    }
                    all[*axis] += other[*axis];
                }
                all
            }
            Op::Reshape { shape } => {
                let values = |shape: &[usize]| shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
                if values(shape).is_none() || values(shape) != values(x) {
                    return refuse(format!("to {shape:?}"));
                }
                shape.clone()
            }
            Op::Transpose { axes } => {
                let mut sorted = axes.clone();
                sorted.sort_unstable();
                if sorted != (0..x.len()).collect::<Vec<_>>() {
                    return refuse(format!("axes {axes:?}"));
                }
                axes.iter().map(|axis| x[*axis]).collect()
            }
            Op::Slice { axis, start, end, step } => {
                if *end > size(*axis)? || start >= end || *step == 0 {
                    return refuse(format!("{start} to {end} by {step} of axis {axis}"));
                }
                let mut part = x.to_vec();
                part[*axis] = (end - start).div_ceil(*step);
                part
            }
            Op::MatMul => {
                let y = inputs[1];
                let (rank, fits) = (x.len(), x.len() == y.len() && x.len() > 1);
                if !fits || x[rank - 1] != y[rank - 2] || x[..rank - 2] != y[..rank - 2] {
                    return Err(format!("a matrix product of values of shapes {x:?} and {y:?}"));
                }
                [&x[..rank - 1], &[y[rank - 1]]].concat()
            }
            Op::Attention { heads } => match x {
                [tokens, width] if *heads > 0 && width % (3 * heads) == 0 => vec![*tokens, width / 3],
                _ => return refuse(format!("{heads} heads")),
            },
            Op::Mean { axis } => {
                size(*axis)?;
                let mut rest = x.to_vec();
                rest.remove(*axis);
                rest
            }
            Op::Upsample { times } => {
                let [c, h, w] = map()?;
                let grow = |size: usize, times: usize| size.checked_mul(times).ok_or("too large a map");
                vec![c, grow(h, times[0])?, grow(w, times[1])?]
            }
            Op::Pad { padding: [top, left, bottom, right] } => {
                let [c, h, w] = map()?;
                let grow = |size: usize, a: usize, b: usize| {
                    size.checked_add(a).and_then(|s| s.checked_add(b)).ok_or("too large a map")
                };
                vec![c, grow(h, *top, *bottom)?, grow(w, *left, *right)?]
            }
            Op::Constant { shape, values } => {
                let wanted = shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
                match wanted.is_some_and(|wanted| wanted == values.len() || values.is_empty()) {
                    true => shape.clone(),
                    false => return Err(format!("a constant of shape {shape:?} and {} numbers", values.len())),
                }
            }
        })
    }
}

/// The shape that two are broadcast to: aligned at the end, sizes of 1 repeat.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        })
        .collect()
}
