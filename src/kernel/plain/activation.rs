//! Functions of one number and their slopes.

use crate::kernel::Real;
use crate::kernel::graph::Activation;

/// √(2/π), and the factor of x³ in GELU's approximation (Hendrycks and Gimpel 2016).
const GELU_TANH: [f64; 2] = [0.797_884_560_802_865_4, 0.044_715];

impl Activation {
    /// Its value; not a number stays that.
    #[inline]
    pub fn value<T: Real>(self, x: T) -> T {
        let (zero, one, half, c) = (T::zero(), T::one(), T::from_f64(0.5), T::from_f64);
        match self {
            Activation::Relu => bounded(x, Some(zero), None),
            Activation::Clip { low, high } => bounded(x, Some(c(low)), Some(c(high))),
            Activation::LeakyRelu { slope } => match x > zero {
                true => x,
                false => c(slope) * x,
            },
            Activation::Elu { alpha } => match x < zero {
                true => c(alpha) * (x.exp() - one),
                false => x,
            },
            Activation::Sigmoid => sigmoid(x),
            Activation::Silu => x * sigmoid(x),
            Activation::Gelu => x * normal(x),
            Activation::GeluTanh => half * x * (one + gelu_inner(x).tanh()),
            Activation::HardSigmoid { slope, offset } => bounded(c(slope) * x + c(offset), Some(zero), Some(one)),
            Activation::HardSwish => x * bounded(c(1.0 / 6.0) * x + half, Some(zero), Some(one)),
            Activation::Tanh => x.tanh(),
            Activation::Erf => x.erf(),
        }
    }

    /// Its derivative, and where it has none what PyTorch takes for it.
    #[inline]
    pub fn slope<T: Real>(self, x: T) -> T {
        let (zero, one, half, c) = (T::zero(), T::one(), T::from_f64(0.5), T::from_f64);
        let step = |open: bool| if open { one } else { zero };
        match self {
            // of numbers that cannot be compared, NaN, both are let through
            Activation::Relu => one - step(x <= zero),
            Activation::Clip { low, high } => one - step(x <= c(low) || x >= c(high)),
            Activation::LeakyRelu { slope } => match x > zero {
                true => one,
                false => c(slope),
            },
            Activation::Elu { alpha } => match x <= zero {
                true => c(alpha) * x.exp(),
                false => one,
            },
            Activation::Sigmoid => sigmoid(x) * (one - sigmoid(x)),
            Activation::Silu => {
                let s = sigmoid(x);
                s * (one + x * (one - s))
            }
            // 1/√(2π)
            Activation::Gelu => normal(x) + x * (c(-0.5) * x * x).exp() * c(0.398_942_280_401_432_7),
            Activation::GeluTanh => {
                let t = gelu_inner(x).tanh();
                let inner = c(GELU_TANH[0]) * (one + c(3.0 * GELU_TANH[1]) * x * x);
                half * (one + t) + half * x * (one - t * t) * inner
            }
            Activation::HardSigmoid { slope, offset } => {
                let y = c(slope) * x + c(offset);
                c(slope) * step(y > zero && y < one)
            }
            Activation::HardSwish => match (x <= c(-3.0), x < c(3.0)) {
                (true, _) => zero,
                (_, true) => c(1.0 / 3.0) * x + half,
                _ => one,
            },
            Activation::Tanh => {
                let t = x.tanh();
                one - t * t
            }
            Activation::Erf => c(std::f64::consts::FRAC_2_SQRT_PI) * (zero - x * x).exp(),
        }
    }
}

/// x between bounds; NaN stays NaN.
fn bounded<T: Real>(x: T, low: Option<T>, high: Option<T>) -> T {
    let x = low.filter(|low| x <= *low).unwrap_or(x);
    high.filter(|high| x >= *high).unwrap_or(x)
}

fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (T::zero() - x).exp())
}

/// The normal distribution Φ.
fn normal<T: Real>(x: T) -> T {
    T::from_f64(0.5) * (T::one() + (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// What GELU's approximation takes the hyperbolic tangent of.
fn gelu_inner<T: Real>(x: T) -> T {
    T::from_f64(GELU_TANH[0]) * (x + T::from_f64(GELU_TANH[1]) * x * x * x)
}
