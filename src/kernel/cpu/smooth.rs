//! Functions of sixteen numbers and their slopes, in plain code that becomes that of the instruction set around it.

use super::lanes::LANES;
use crate::kernel::functions::{erf, exp, sigmoid, tanh};
use crate::kernel::graph::Activation;

/// 1/√(2π) and 1/√2: the normal distribution's density and the argument of the error function.
const DENSITY: f32 = 0.398_942_3;
const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// √(2/π) and the cubic coefficient of GELU's approximation (Hendrycks and Gimpel 2016).
const GELU_TANH: [f32; 2] = [0.797_884_6, 0.044_715];

/// y and dy/dx of every lane.
#[inline(always)]
pub fn smooth(function: Activation, x: [f32; LANES]) -> ([f32; LANES], [f32; LANES]) {
    match function {
        Activation::Relu => each(x, |x| if x <= 0.0 { (0.0, 0.0) } else { (x, 1.0) }),
        Activation::Clip { low, high } => {
            let (low, high) = (low as f32, high as f32);
            each(x, |x| match x {
                x if x <= low => (low, 0.0),
                x if x >= high => (high, 0.0),
                x => (x, 1.0),
            })
        }
        Activation::LeakyRelu { slope } => {
            let slope = slope as f32;
            each(x, |x| if x <= 0.0 { (x * slope, slope) } else { (x, 1.0) })
        }
        Activation::Elu { alpha } => {
            let alpha = alpha as f32;
            each(x, |x| {
                let e = alpha * exp(x);
                if x <= 0.0 { (e - alpha, e) } else { (x, 1.0) }
            })
        }
        Activation::Sigmoid => each(x, |x| {
            let s = sigmoid(x);
            (s, s * (1.0 - s))
        }),
        Activation::Silu => each(x, |x| {
            let s = sigmoid(x);
            (x * s, s * (x * (1.0 - s) + 1.0))
        }),
        Activation::Gelu => each(x, |x| {
            let phi = 0.5 * (1.0 + erf(x * SQRT_HALF));
            (x * phi, phi + x * DENSITY * exp(-0.5 * x * x))
        }),
        Activation::GeluTanh => each(x, |x| {
            let [a, b] = GELU_TANH;
            let t = tanh(a * (x + b * x * x * x));
            let inner = a * (1.0 + 3.0 * b * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
        }),
        Activation::HardSigmoid { slope, offset } => {
            let (slope, offset) = (slope as f32, offset as f32);
            each(x, |x| match slope * x + offset {
                y if y <= 0.0 => (0.0, 0.0),
                y if y >= 1.0 => (1.0, 0.0),
                y => (y, slope),
            })
        }
        Activation::HardSwish => each(x, |x| match x {
            x if x <= -3.0 => (0.0, 0.0),
            x if x >= 3.0 => (x, 1.0),
            x => (x * (x / 6.0 + 0.5), x / 3.0 + 0.5),
        }),
        Activation::Tanh => each(x, |x| {
            let t = tanh(x);
            (t, 1.0 - t * t)
        }),
        Activation::Erf => each(x, |x| (erf(x), std::f32::consts::FRAC_2_SQRT_PI * exp(-x * x))),
    }
}

#[inline(always)]
fn each(x: [f32; LANES], f: impl Fn(f32) -> (f32, f32)) -> ([f32; LANES], [f32; LANES]) {
    let (mut y, mut slope) = ([0.0; LANES], [0.0; LANES]);
    for i in 0..LANES {
        (y[i], slope[i]) = f(x[i]);
    }
    (y, slope)
}
