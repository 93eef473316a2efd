//! Losses of a batch, as their gradients with respect to logits; of means over the batch, as papers train with.

use crate::kernel::functions::exp;

/// Probabilities and their logarithms.
fn softmax(logits: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|z| exp(z - most)).collect();
    let sum: f32 = powers.iter().sum();
    let log_sum = libm::logf(sum);
    (powers.iter().map(|p| p / sum).collect(), logits.iter().map(|z| z - most - log_sum).collect())
}

/// Probabilities of each image.
pub fn probabilities(logits: &[f32], classes: usize) -> Vec<f32> {
    logits.chunks_exact(classes).flat_map(|z| softmax(z).0).collect()
}

/// The loss of a batch, its gradient with respect to the logits, and how many images were right.
pub struct Graded {
    pub loss: f64,
    pub gradient: Vec<f32>,
    pub correct: usize,
}

/// The first index of the largest.
pub fn argmax(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

/// Cross-entropy with labels of which all classes share `smoothing` (Szegedy et al. 2016), averaged over the batch.
pub fn cross_entropy(logits: &[f32], labels: &[usize], smoothing: f64) -> Graded {
    let (n, classes) = (labels.len(), logits.len() / labels.len());
    let (share, smoothing) = (1.0 / n as f32, smoothing as f32);
    let mut graded = Graded { loss: 0.0, gradient: Vec::with_capacity(logits.len()), correct: 0 };
    for (z, label) in logits.chunks_exact(classes).zip(labels) {
        let (p, log_p) = softmax(z);
        let wanted = |class: usize| smoothing / classes as f32 + if class == *label { 1.0 - smoothing } else { 0.0 };
        graded.loss -= (0..classes).map(|c| f64::from(wanted(c)) * f64::from(log_p[c])).sum::<f64>() / n as f64;
        graded.gradient.extend((0..classes).map(|c| share * (p[c] - wanted(c))));
        graded.correct += usize::from(argmax(z) == *label);
    }
    graded
}

/// KL(p ‖ q) of the predictions at clean images and at perturbed ones, averaged over the batch and times `weight`; its gradients with
/// respect to the logits of both.
pub fn divergence(clean: &[f32], perturbed: &[f32], classes: usize, weight: f64) -> (f64, [Vec<f32>; 2]) {
    let n = clean.len() / classes;
    let share = (weight / n as f64) as f32;
    let (mut loss, mut of_clean, mut of_perturbed) = (0.0, Vec::new(), Vec::new());
    for (z, y) in clean.chunks_exact(classes).zip(perturbed.chunks_exact(classes)) {
        let ((p, log_p), (q, log_q)) = (softmax(z), softmax(y));
        let kl: f32 = (0..classes).map(|c| p[c] * (log_p[c] - log_q[c])).sum();
        loss += weight * f64::from(kl) / n as f64;
        of_clean.extend((0..classes).map(|c| share * p[c] * (log_p[c] - log_q[c] - kl)));
        of_perturbed.extend((0..classes).map(|c| share * (q[c] - p[c])));
    }
    (loss, [of_clean, of_perturbed])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences of a loss.
    fn slopes(at: &[f32], loss: impl Fn(&[f32]) -> f64) -> Vec<f32> {
        let slope = |i: usize| {
            let moved = |by: f32| {
                let mut moved = at.to_vec();
                moved[i] += by;
                loss(&moved)
            };
            ((moved(0.01) - moved(-0.01)) / 0.02) as f32
        };
        (0..at.len()).map(slope).collect()
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-4)
    }

    #[test]
    fn gradients_are_slopes_of_losses() {
        let (z, y) = ([0.5f32, -1.0, 2.0, 0.1, 0.3, -0.7], [0.1f32, 0.4, 1.0, -2.0, 0.3, 0.2]);
        for smoothing in [0.0, 0.25] {
            let graded = cross_entropy(&z, &[2, 1], smoothing);
            assert!(close(&graded.gradient, &slopes(&z, |z| cross_entropy(z, &[2, 1], smoothing).loss)));
            assert_eq!(graded.correct, 2);
        }
        let (loss, [of_clean, of_perturbed]) = divergence(&z, &y, 3, 6.0);
        assert!(close(&of_clean, &slopes(&z, |z| divergence(z, &y, 3, 6.0).0)));
        assert!(close(&of_perturbed, &slopes(&y, |y| divergence(&z, y, 3, 6.0).0)));
        assert!(loss > 0.0 && divergence(&z, &z, 3, 6.0).0.abs() < 1e-6);
    }

    #[test]
    fn a_sure_prediction_of_two_classes_costs_what_the_formula_says() {
        // ln(1 + e⁻²) and ln(1 + e²)
        assert!((cross_entropy(&[2.0, 0.0], &[0], 0.0).loss - 0.126_928).abs() < 1e-5);
        assert!((cross_entropy(&[2.0, 0.0], &[1], 0.0).loss - 2.126_928).abs() < 1e-5);
    }
}
