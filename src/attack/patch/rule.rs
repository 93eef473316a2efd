//! How a patch moves along a gradient: as far as its rate says, whatever the size of the gradient. That of a net whose logits
//! are twice as large is twice as long, and says nothing else.

use crate::attack::adam;

/// An optimiser. All but the paper's let their rate fall linearly to 0 over the steps of the fit: the last placements
/// drawn would otherwise leave their marks on the patch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// p ← p + rate·g/|g|, at a constant rate: plain ascent (Brown et al. 2017), but for the length of g.
    Sgd {
        /// Length of a step (L2 over the patch), in units of [0,1] pixels.
        rate: f64,
    },
    /// m ← decay·m + g / mean|g|, p ← p + rate·sign(m) (Dong et al. 2018, MI-FGSM), sign(0) = 0.
    Momentum {
        /// Change of a value in the first step, in units of [0,1] pixels.
        rate: f64,
        /// Share of the direction that stays.
        decay: f64,
    },
    /// Adam (Kingma, Ba 2015) with its β₁ = 0.9, β₂ = 0.999, and ε = 1e-8 of the gradients' size.
    Adam {
        /// About the change of a value in the first step, in units of [0,1] pixels.
        rate: f64,
    },
}

impl Rule {
    /// Numbers kept per value of the patch.
    pub fn moments(&self) -> usize {
        match self {
            Rule::Sgd { .. } => 0,
            Rule::Momentum { .. } => 1,
            Rule::Adam { .. } => adam::MOMENTS,
        }
    }

    /// Step number `step` (from 0) of `steps`, uphill along `gradient`. `moments` holds that many times the patch's length.
    pub fn step(&self, step: usize, steps: usize, gradient: &[f32], moments: &mut [f32], patch: &mut [f32]) {
        let left = 1.0 - step.min(steps) as f64 / steps as f64;
        match *self {
            Rule::Sgd { rate } => {
                let length = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
                // along a gradient of zero there is no step
                let scale = if length > 0.0 { rate / length } else { 0.0 };
                patch.iter_mut().zip(gradient).for_each(|(p, g)| *p += (f64::from(*g) * scale) as f32);
            }
            Rule::Momentum { rate, decay } => {
                let mean = gradient.iter().map(|g| f64::from(g.abs())).sum::<f64>() / gradient.len() as f64;
                // a gradient of zero leaves the direction as it was
                let scale = if mean > 0.0 { 1.0 / mean } else { 0.0 };
                for ((p, g), m) in patch.iter_mut().zip(gradient).zip(moments) {
                    *m = decay as f32 * *m + (f64::from(*g) * scale) as f32;
                    let sign = f32::from(u8::from(*m > 0.0)) - f32::from(u8::from(*m < 0.0));
                    *p += (rate * left) as f32 * sign;
                }
            }
            Rule::Adam { rate } => adam::ascend(patch, gradient, moments, rate * left, step + 1),
        }
        patch.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
    }
}
