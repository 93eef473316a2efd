//! The two types of numbers that networks are computed in, and the functions that they need.

use super::functions;
use candle_core::WithDType;

/// f32 or f64. In f32 every function gives the same bits on every machine.
pub trait Real: WithDType {
    /// eˣ.
    fn exp(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
}

impl Real for f32 {
    fn exp(self) -> f32 {
        functions::exp(self)
    }
    fn tanh(self) -> f32 {
        functions::tanh(self)
    }
    fn erf(self) -> f32 {
        functions::erf(self)
    }
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
}

impl Real for f64 {
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    fn erf(self) -> f64 {
        libm::erf(self)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
}
