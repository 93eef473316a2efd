//! Functions of one number and their slopes.

use crate::kernel::Real;
use crate::kernel::graph::Activation;

impl Activation {
    /// Its value; not a number stays that.
    #[inline]
    pub fn value<T: Real>(self, x: T) -> T {
        self.both(x).0
    }

    /// From the gradient with respect to its value to that with respect to `x`, by its derivative, and where it has none by what
    /// PyTorch takes for it. What a ReLU or a bound holds back is 0, be it not a number.
    #[inline]
    pub fn back<T: Real>(self, x: T, gradient: T) -> T {
        match (self, self.both(x).1) {
            (Activation::Relu | Activation::Clip { .. }, slope) if slope == T::zero() => slope,
            (_, slope) => slope * gradient,
        }
    }

    #[inline(always)]
    fn both<T: Real>(self, x: T) -> (T, T) {
        let (zero, one, half, c) = (T::zero(), T::one(), T::from_f64(0.5), T::from_f64);
        let sigmoid = || one / (one + (zero - x).exp());
        // x itself, with this slope, between bounds whose slope is 0; NaN is not beyond them
        let between = |low: T, x: T, high: T, slope: T| match (x <= low, x >= high) {
            (true, _) => (low, zero),
            (_, true) => (high, zero),
            _ => (x, slope),
        };
        match self {
            Activation::Relu if x <= zero => (zero, zero),
            Activation::Relu => (x, one),
            Activation::Clip { low, high } => between(c(low), x, c(high), one),
            Activation::LeakyRelu { .. } if x > zero => (x, one),
            Activation::LeakyRelu { slope } => (c(slope) * x, c(slope)),
            Activation::Elu { alpha } if x <= zero => (c(alpha) * (x.exp() - one), c(alpha) * x.exp()),
            Activation::Elu { .. } => (x, one),
            Activation::Sigmoid => (sigmoid(), sigmoid() * (one - sigmoid())),
            Activation::Silu => (x * sigmoid(), sigmoid() * (one + x * (one - sigmoid()))),
            Activation::Gelu => {
                // the normal distribution, and its density with 1/√(2π)
                let normal = half * (one + (x * c(std::f64::consts::FRAC_1_SQRT_2)).erf());
                (x * normal, normal + x * (c(-0.5) * x * x).exp() * c(0.398_942_280_401_432_7))
            }
            Activation::GeluTanh => {
                // Hendrycks and Gimpel 2016: √(2/π)·(x + 0.044715·x³)
                let (root, cubic) = (c(0.797_884_560_802_865_4), c(0.044_715) * x * x);
                let t = (root * (x + cubic * x)).tanh();
                (half * x * (one + t), half * (one + t + x * (one - t * t) * root * (one + c(3.0) * cubic)))
            }
            Activation::HardSigmoid { slope, offset } => {
                let y = c(slope) * x + c(offset);
                between(zero, y, one, if y < one { c(slope) } else { zero })
            }
            Activation::HardSwish if x <= c(-3.0) => (zero, zero),
            Activation::HardSwish if x < c(3.0) => (x * (c(1.0 / 6.0) * x + half), c(1.0 / 3.0) * x + half),
            Activation::HardSwish => (x, one),
            Activation::Tanh => (x.tanh(), one - x.tanh() * x.tanh()),
            Activation::Erf => (x.erf(), c(std::f64::consts::FRAC_2_SQRT_PI) * (zero - x * x).exp()),
        }
    }
}
