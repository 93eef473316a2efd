//! Sequential networks as plain data, and what engines derive from their steps alone.

/// One step of a sequential network.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<T> {
    /// 3×3 convolution, stride 1, zero padding 1, then bias, then ReLU. Batch norm is folded in already.
    Conv {
        /// Channels in.
        inputs: usize,
        /// Channels out.
        outputs: usize,
        /// outputs × inputs × 3 × 3.
        weight: Vec<T>,
        /// outputs.
        bias: Vec<T>,
    },
    /// 2×2 maximum, stride 2; an odd last row or column is dropped, as in PyTorch. Ties go to the first.
    MaxPool,
    /// Average over windows so that the map becomes `side`×`side` (PyTorch's AdaptiveAvgPool2d).
    AveragePool {
        /// Side after the step.
        side: usize,
    },
    /// Fully connected over the flattened map (channel, row, column), then bias, then ReLU if asked for.
    Linear {
        /// Values in.
        inputs: usize,
        /// Values out.
        outputs: usize,
        /// outputs × inputs.
        weight: Vec<T>,
        /// outputs.
        bias: Vec<T>,
        /// Whether a ReLU follows.
        relu: bool,
    },
}

/// A sequential network for square RGB images in [0,1]; normalisation is its first layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Net<T> {
    /// Height and width of the images.
    pub side: usize,
    /// Subtracted from each channel.
    pub mean: [T; 3],
    /// Divides each channel after that.
    pub std: [T; 3],
    /// Number of classes.
    pub classes: usize,
    /// From the first convolution to the logits.
    pub steps: Vec<Step<T>>,
}

/// Channels and side of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Height and width.
    pub side: usize,
}

impl Shape {
    /// Number of values.
    pub fn values(self) -> usize {
        self.channels * self.side * self.side
    }
}

impl Net<f64> {
    /// Every number rounded once.
    pub fn to_f32(&self) -> Net<f32> {
        let f32s = |v: &[f64]| v.iter().map(|v| *v as f32).collect();
        let round = |step: &Step<f64>| match step {
            Step::Conv { inputs, outputs, weight, bias } => {
                Step::Conv { inputs: *inputs, outputs: *outputs, weight: f32s(weight), bias: f32s(bias) }
            }
            Step::Linear { inputs, outputs, weight, bias, relu } => {
                Step::Linear { inputs: *inputs, outputs: *outputs, weight: f32s(weight), bias: f32s(bias), relu: *relu }
            }
            Step::MaxPool => Step::MaxPool,
            Step::AveragePool { side } => Step::AveragePool { side: *side },
        };
        Net {
            side: self.side,
            mean: self.mean.map(|v| v as f32),
            std: self.std.map(|v| v as f32),
            classes: self.classes,
            steps: self.steps.iter().map(round).collect(),
        }
    }
}

impl<T> Net<T> {
    /// Shape of the input of each step, and of the logits last.
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes = vec![Shape { channels: 3, side: self.side }];
        for step in &self.steps {
            let Shape { channels, side } = *shapes.last().expect("never empty");
            shapes.push(match step {
                Step::Conv { outputs, .. } => Shape { channels: *outputs, side },
                Step::MaxPool => Shape { channels, side: side / 2 },
                Step::AveragePool { side } => Shape { channels, side: *side },
                Step::Linear { outputs, .. } => Shape { channels: *outputs, side: 1 },
            });
        }
        shapes
    }
}

/// Row weights P, out×side, of an average pool from `side` to `out`: y = P x Pᵀ.
pub(super) fn averages(side: usize, out: usize) -> Vec<f64> {
    let mut rows = vec![0.0; out * side];
    for i in 0..out {
        let range = window(i, side, out);
        let share = 1.0 / range.len() as f64;
        rows[i * side..][range].fill(share);
    }
    rows
}

/// First and last+1 input row of output row `i` of an average pool from `side` to `out` (PyTorch's rule).
pub(super) fn window(i: usize, side: usize, out: usize) -> std::ops::Range<usize> {
    i * side / out..((i + 1) * side).div_ceil(out)
}

/// Weights outputs×inputs×3×3 of the convolution that takes output gradients to input gradients:
/// inputs×outputs×3×3, each 3×3 kernel turned by 180°.
pub(super) fn transposed<T: Copy>(weight: &[T], inputs: usize, outputs: usize) -> Vec<T> {
    let mut turned = Vec::with_capacity(weight.len());
    for i in 0..inputs {
        for o in 0..outputs {
            turned.extend((0..9).map(|k| weight[(o * inputs + i) * 9 + 8 - k]));
        }
    }
    turned
}
