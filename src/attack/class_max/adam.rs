//! Adam (Kingma and Ba 2015, algorithm 1), upward.

/// β₁, β₂ and ε of the paper.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Its two moments.
pub struct Adam {
    /// m: running mean of the gradient.
    pub mean: Vec<f32>,
    /// v: running mean of its square.
    pub square: Vec<f32>,
}

impl Adam {
    /// For so many values.
    pub fn new(values: usize) -> Adam {
        Adam { mean: vec![0.0; values], square: vec![0.0; values] }
    }

    /// Step t, from 1, of size α: θ ← θ + α·m̂/(√v̂ + ε).
    pub fn ascend(&mut self, theta: &mut [f32], gradient: &[f32], alpha: f64, t: usize) {
        // 1 − β^t, in f64: at large t the power is far below f32's last digit of 1
        let unbias = |beta: f32| 1.0 / (1.0 - f64::from(beta).powf(t as f64));
        let (unbias_m, unbias_v) = (unbias(BETA_1) as f32, unbias(BETA_2) as f32);
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((theta, g), (m, v)) in theta.iter_mut().zip(gradient).zip(moments) {
            *m = BETA_1 * *m + (1.0 - BETA_1) * g;
            *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
            *theta += alpha as f32 * (*m * unbias_m) / ((*v * unbias_v).sqrt() + EPSILON);
        }
    }
}
