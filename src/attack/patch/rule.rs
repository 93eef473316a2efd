//! How a patch moves along a gradient.

/// An optimiser. All but the paper's let their rate fall linearly to 0 over the steps of the fit: the last placements
/// drawn would otherwise leave their marks on the patch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// p ← p + rate·g, at a constant rate (Brown et al. 2017).
    Sgd {
        /// In units of [0,1] pixels. The paper's 5.0 in units of [-1,1] is 1.25: half for the gradient, half for the step.
        rate: f64,
    },
    /// m ← decay·m + g / mean|g|, p ← p + rate·sign(m) (Dong et al. 2018, MI-FGSM), sign(0) = 0.
    Momentum {
        /// Change of a value in the first step, in units of [0,1] pixels.
        rate: f64,
        /// Share of the direction that stays.
        decay: f64,
    },
    /// Adam (Kingma, Ba 2015) with its β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.
    Adam {
        /// About the change of a value in the first step, in units of [0,1] pixels.
        rate: f64,
    },
}

const BETA: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

impl Rule {
    /// Numbers kept per value of the patch.
    pub fn moments(&self) -> usize {
        match self {
            Rule::Sgd { .. } => 0,
            Rule::Momentum { .. } => 1,
            Rule::Adam { .. } => 2,
        }
    }

    /// Step number `step` (from 0) of `steps`, uphill along `gradient`. `moments` holds that many times the patch's length.
    pub fn step(&self, step: usize, steps: usize, gradient: &[f32], moments: &mut [f32], patch: &mut [f32]) {
        let left = 1.0 - step.min(steps) as f64 / steps as f64;
        match *self {
            Rule::Sgd { rate } => patch.iter_mut().zip(gradient).for_each(|(p, g)| *p += rate as f32 * g),
            Rule::Momentum { rate, decay } => {
                let mean = gradient.iter().map(|g| f64::from(g.abs())).sum::<f64>() / gradient.len() as f64;
                // a gradient of zero leaves the direction as it was
                let scale = if mean > 0.0 { (1.0 / mean) as f32 } else { 0.0 };
                for ((p, g), m) in patch.iter_mut().zip(gradient).zip(moments) {
                    *m = decay as f32 * *m + g * scale;
                    let sign = f32::from(u8::from(*m > 0.0)) - f32::from(u8::from(*m < 0.0));
                    *p += (rate * left) as f32 * sign;
                }
            }
            Rule::Adam { rate } => {
                // powers by products, which are the same on every machine
                let power = |beta: f64| (0..=step).fold(1.0, |power, _| power * beta);
                let (first, second) = moments.split_at_mut(patch.len());
                let (unbias, unbias_square) = (1.0 / (1.0 - power(BETA[0])), 1.0 / (1.0 - power(BETA[1])));
                for (((p, g), m), v) in patch.iter_mut().zip(gradient).zip(first).zip(second) {
                    let g = f64::from(*g);
                    *m = (BETA[0] * f64::from(*m) + (1.0 - BETA[0]) * g) as f32;
                    *v = (BETA[1] * f64::from(*v) + (1.0 - BETA[1]) * g * g) as f32;
                    let length = (f64::from(*v) * unbias_square).sqrt() + EPSILON;
                    *p += (rate * left * f64::from(*m) * unbias / length) as f32;
                }
            }
        }
        patch.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
    }
}
