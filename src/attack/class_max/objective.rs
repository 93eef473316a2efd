//! What is maximised: a number of the logits z, by its gradient, for the class c.

/// What a painting climbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// z_c (Simonyan, Vedaldi, Zisserman 2013).
    Logit,
    /// z_c − log Σ_{j≠c} exp z_j, which is log(p_c / (1 − p_c)): for nets that are never sure of one class while they see
    /// another in the same picture. Unlike log p_c it does not fade as p_c nears 1.
    Margin,
}

/// Names of objectives in sweep files.
pub const OBJECTIVES: &[(&str, Objective)] = &[("logit", Objective::Logit), ("margin", Objective::Margin)];

impl Objective {
    /// Name in sweep files and tables.
    pub fn name(self) -> &'static str {
        OBJECTIVES.iter().find(|(_, o)| *o == self).expect("every objective is listed").0
    }

    /// Writes the gradient with respect to the logits.
    pub fn gradient(self, class: usize, logits: &[f32], gradient: &mut [f32]) {
        gradient.fill(0.0);
        gradient[class] = 1.0;
        if self == Objective::Logit {
            return;
        }
        // minus the softmax of the others alone, the largest of them subtracted so that none overflows
        let others = || (0..logits.len()).filter(|j| *j != class);
        let largest = others().map(|j| logits[j]).fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = others().map(|j| (logits[j] - largest).exp()).sum();
        others().for_each(|j| gradient[j] = -(logits[j] - largest).exp() / total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_s_gradient_is_that_of_central_differences() {
        let z = [1.5f32, -0.25, 2.0, 0.5];
        let value = |z: &[f32]| {
            let others: f64 = [0, 1, 3].iter().map(|j| f64::from(z[*j]).exp()).sum();
            f64::from(z[2]) - others.ln()
        };
        let mut gradient = [0.0; 4];
        Objective::Margin.gradient(2, &z, &mut gradient);
        for (j, g) in gradient.iter().enumerate() {
            let at = |d: f32| {
                let mut moved = z;
                moved[j] += d;
                value(&moved)
            };
            let difference = (at(1.0 / 256.0) - at(-1.0 / 256.0)) * 128.0;
            assert!((difference - f64::from(*g)).abs() < 1e-4, "{j}: {difference} {g}");
        }
        // far ahead of all others it does not fade
        Objective::Margin.gradient(0, &[300.0, -300.0, -301.0], &mut gradient[..3]);
        assert!(gradient[0] == 1.0 && (gradient[1] + gradient[2] + 1.0).abs() < 1e-6, "{gradient:?}");
    }

    #[test]
    fn the_logit_s_gradient_is_one_at_the_class() {
        let mut gradient = [9.0; 3];
        Objective::Logit.gradient(1, &[4.0, -7.0, 0.0], &mut gradient);
        assert_eq!(gradient, [0.0, 1.0, 0.0]);
    }
}
