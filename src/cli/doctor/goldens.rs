//! Numbers that the self-test is held to.

/// Of one of the networks that are part of the program.
pub struct Golden {
    /// Its name.
    pub model: &'static str,
    /// Of each built-in image, the logit of its label.
    pub logits: [f32; 20],
    /// Of each, the gradient of that logit in one direction.
    pub slopes: [f32; 20],
    /// Images that stand after [`SWEEP`].
    pub left: u64,
}

/// A sweep that takes a second.
pub const SWEEP: &str = r#"
name = "doctor"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["2/255"] }]
attacks = [{ name = "pgd", steps = 10, random_start = false }]
"#;

/// One a network.
pub const GOLDENS: [Golden; 2] = [
    Golden {
        model: "vgg11-half-cifar10",
        logits: [
            6.5974746, 11.186814, 8.272674, 4.5752273, 9.891764, 9.448753, 8.586112, 6.849363, 10.545809, 8.849551,
            8.306185, 20.284376, 5.5168834, 12.098238, 13.580226, 5.831164, 9.444946, 8.815982, 10.983632, 14.602522,
        ],
        slopes: [
            -15.22582, 5.2516065, -15.533571, 0.720833, 13.75153, 18.81817, 19.76229, -1.6363093, 33.784256, -5.627116,
            26.562544, -15.546237, -4.07208, 2.169854, -11.916112, 1.2425134, -13.195764, 19.628592, -11.335523,
            -10.086042,
        ],
        left: 4,
    },
    Golden {
        model: "vgg11-half-cifar10-robust",
        logits: [
            1.1734965, 6.046908, 4.2669587, 4.520274, 3.63052, 2.7872303, 3.1485672, 1.6614039, 2.4979982, 3.49466,
            2.879085, 6.2043314, 1.3698106, 6.9457297, 5.051876, 4.1434135, 3.684375, 1.1025558, 4.1608806, 4.3007393,
        ],
        slopes: [
            -0.17772299,
            0.051498007,
            0.46483353,
            -1.914752,
            0.35978416,
            0.11893858,
            -2.090906,
            -0.40843225,
            -0.8753353,
            1.0140427,
            0.13251758,
            -1.3651681,
            -0.8256006,
            -1.6629812,
            0.4680576,
            -1.987362,
            -0.4254163,
            0.740508,
            -0.6760609,
            1.8993338,
        ],
        left: 14,
    },
];

#[cfg(test)]
mod tests {
    use super::super::self_test::direction;
    use super::*;
    use crate::data::{self, Choice, Source};
    use crate::kernel::Engine;
    use crate::kernel::plain::Plain;
    use crate::model;
    use candle_core::{Device, Tensor};

    #[test]
    fn the_numbers_are_those_of_the_plain_reference_in_f64() {
        let images = data::find("cifar10-sample").unwrap();
        let images = images.subset(&Source::new("nowhere"), &Choice::new("test", 0, None)).unwrap();
        for golden in &GOLDENS {
            let graph = model::built_in(golden.model).unwrap().load().unwrap();
            let pixels: Vec<f64> = images.pixels.iter().map(|v| f64::from(*v) / 255.0).collect();
            let x = Tensor::from_vec(pixels, (20, 3, 32, 32), &Device::Cpu).unwrap();
            let label = |row: usize, _: &[f32], g: &mut [f32]| {
                g.fill(0.0);
                g[images.labels[row]] = 1.0;
            };
            let (logits, gradients) = Plain::new(graph.to_f64()).logits_and_gradient(&x, &label).unwrap();
            let logits: Vec<Vec<f64>> = logits.to_vec2().unwrap();
            let gradients: Vec<f64> = gradients.flatten_all().unwrap().to_vec1().unwrap();
            let mut off = 0;
            for (i, gradient) in gradients.chunks(3072).enumerate() {
                let logit = logits[i][images.labels[i]] as f32;
                let slope = gradient.iter().enumerate().map(|(i, g)| g * direction(i)).sum::<f64>() as f32;
                assert!((logit - golden.logits[i]).abs() < 1e-4, "{} {i}: {logit}", golden.model);
                off += usize::from((slope - golden.slopes[i]).abs() > 1e-3);
            }
            // in f64 one ReLU or maximum may fall the other way
            assert!(off <= 1, "{}: {off} slopes", golden.model);
        }
    }
}
