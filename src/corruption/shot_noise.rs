//! Shot noise: light comes in whole quanta, so that a value is a Poisson number of them (Hendrycks and Dietterich 2019;
//! constants: `create_c` of hendrycks/robustness).

use super::entry::{Corruption, of_size};
use crate::filter::Size;
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "shot-noise",
    summary: "noise of light that comes in quanta",
    is_common: true,
    alexnet_error: Some(0.894_468),
    generate: Some(generate),
};

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    // quanta of a white pixel
    let quanta = of_size(size, severity, [500.0, 250.0, 100.0, 75.0, 50.0], [60.0, 25.0, 12.0, 5.0, 3.0]);
    image.iter().map(|x| (poisson(f64::from(*x) * quanta, draw) as f64 / quanta) as f32).collect()
}

/// Steps of a uniform number.
const STEPS: usize = 1 << 53;

/// A Poisson number by inversion: the first k at which the sum of the probabilities passes a uniform number. e^−mean is
/// a normal f64 up to a mean of 700.
fn poisson(mean: f64, draw: &mut Stream) -> u32 {
    let mut left = draw.below(STEPS) as f64 / STEPS as f64;
    let mut probability = (-mean).exp();
    let mut k = 0;
    // beyond the mean, a probability below the last digit of the uniform number means that only rounding is left
    while left >= probability && (f64::from(k) < mean || probability * STEPS as f64 > 1e-3) {
        left -= probability;
        k += 1;
        probability *= mean / f64::from(k);
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;
    use crate::rng::Streams;

    #[test]
    fn mean_and_variance_are_those_of_a_poisson_number() {
        let mut draw = Streams::new(0, "poisson").stream(0, 0, "test");
        for mean in [0.0, 0.3, 3.0, 60.0, 500.0] {
            let n = 20_000;
            let all: Vec<f64> = (0..n).map(|_| f64::from(poisson(mean, &mut draw))).collect();
            let average = all.iter().sum::<f64>() / f64::from(n);
            let variance = all.iter().map(|k| (k - average).powi(2)).sum::<f64>() / f64::from(n);
            // five standard errors each: the variance of the square is 2·mean² + mean
            let error = |of_one: f64| 5.0 * (of_one / f64::from(n)).sqrt();
            assert!((average - mean).abs() <= error(mean), "{mean}: mean {average}");
            assert!((variance - mean).abs() <= error(2.0 * mean * mean + mean), "{mean}: variance {variance}");
        }
    }

    #[test]
    fn small_numbers_come_as_often_as_they_should() {
        let mut draw = Streams::new(1, "poisson").stream(0, 0, "test");
        let (mean, n) = (1.5f64, 40_000);
        let mut counts = [0.0f64; 12];
        (0..n).for_each(|_| counts[(poisson(mean, &mut draw) as usize).min(11)] += 1.0);
        let mut probability = (-mean).exp();
        for (k, count) in counts.iter().enumerate().take(6) {
            let expected = probability * f64::from(n);
            assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{k}: {count} for {expected}");
            probability *= mean / (k + 1) as f64;
        }
    }

    /// What scipy 1.17 makes of the definition, from the same random numbers.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            2,
            [0.188000, 0.056000, 0.136000, 0.628000, 0.388000, 0.032000, 0.184000, 0.180000],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            4,
            [0.000000, 0.800000, 1.000000, 0.600000, 0.200000, 0.200000, 0.400000, 0.200000],
        );
    }
}
