//! The compiled CPU engine and the reference on the same images, and how far apart they are.
#![allow(dead_code)] // each test binary uses its part

use candle_core::{Device, Tensor};
use foolproof::kernel::cpu::{Cpu, INSTRUCTIONS, Instructions};
use foolproof::kernel::graph::Graph;
use foolproof::kernel::plain::Plain;
use rayon::ThreadPool;

use super::nets::{number, stream};

/// Logits and image gradients of Σ weight·logits.
pub type Numbers = (Vec<f32>, Vec<f32>);

/// Weights of the logits in the loss.
fn weight(class: usize) -> f32 {
    (class as f32 * 1.3 + 0.7).sin()
}

/// Gradient of that loss; a logit that is NaN is felt.
pub fn seed(_: usize, z: &[f32], g: &mut [f32]) {
    g.iter_mut().zip(z).enumerate().for_each(|(c, (g, z))| *g = weight(c) + z * 0.0);
}

/// So many threads.
pub fn threads(count: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap()
}

/// Images through the compiled engine, so many at a time.
pub fn compiled(cpu: &Cpu, threads: &ThreadPool, batch: usize, x: &[f32]) -> Numbers {
    let [height, width] = cpu.size();
    let mut all = Numbers::default();
    for x in x.chunks(batch * 3 * height * width) {
        let (logits, gradients) = threads.install(|| cpu.images(x, Some(&seed)));
        let (alone, _) = threads.install(|| cpu.images(x, None));
        assert_eq!(bits(&alone), bits(&logits), "logits with and without a gradient");
        all.0.extend(logits);
        all.1.extend(gradients);
    }
    all
}

/// The reference in f64 on weights, mean and std as rounded to f32.
pub fn reference(net: &Graph<f64>) -> Plain<f64> {
    let mut rounded = net.to_f32().to_f64();
    for numbers in [&mut rounded.mean, &mut rounded.std] {
        *numbers = numbers.map(|v| f64::from(v as f32));
    }
    Plain::new(rounded)
}

/// Logits and gradients of a reference of networks with so many classes, on images of this height and width.
pub fn referred(plain: &Plain<f64>, classes: usize, [height, width]: [usize; 2], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = x.len() / (3 * height * width);
    let images = Tensor::from_slice(x, (n, 3, height, width), &Device::Cpu).unwrap();
    let (logits, gradient) = plain
        .gradient(&images, |z| {
            let row: Vec<f64> = (0..classes).map(|c| f64::from(weight(c))).collect();
            let row = Tensor::from_vec(row, (1, classes), &Device::Cpu)?;
            Ok(row.broadcast_add(&(z * 0.0)?)?)
        })
        .unwrap();
    (logits.flatten_all().unwrap().to_vec1().unwrap(), gradient.flatten_all().unwrap().to_vec1().unwrap())
}

/// The same numbers in f64.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

/// Numbers rounded to f32.
pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|v| *v as f32).collect()
}

/// What two floats must share to be the same: NaN has many forms, all other numbers one.
pub fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

/// Per image: |ours − reference| over |reference|, both as Euclidean lengths.
///
/// # Panics
/// Where one of our numbers is not finite.
pub fn relative_errors(ours: &[f32], reference: &[f64], of_image: usize) -> Vec<f64> {
    assert!(ours.len() == reference.len() && ours.iter().all(|v| v.is_finite()));
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let images = ours.chunks(of_image).zip(reference.chunks(of_image));
    images
        .map(|(a, b)| {
            let error = length(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - b));
            error / length(&mut b.iter().copied()).max(1e-12)
        })
        .collect()
}

/// The instruction sets of this machine.
pub fn there() -> Vec<Instructions> {
    INSTRUCTIONS.iter().map(|(_, i)| *i).filter(|i| *i <= Instructions::widest()).collect()
}

/// The farthest that pixels are moved to show that a decision of the network hangs on rounding: eight units in the last
/// place of a pixel near 1.
const FARTHEST: f64 = 1e-6;

/// Shows that our numbers of an image 3×H×W are off because rounding alone decides them: a ReLU or maximum fell the other
/// way, or the network multiplies errors. In f64, too, they become ours, but for errors `within` of logits and gradient, when the
/// pixels move by rounding errors.
pub fn hangs_on_rounding(
    plain: &Plain<f64>,
    size: [usize; 2],
    x: &[f64],
    ours: (&[f32], &[f32]),
    within: (f64, f64),
) -> bool {
    let mut noise = stream("rounding");
    (0..96).any(|trial| {
        let far = FARTHEST * f64::from(1 + trial / 12) / 8.0;
        let moved: Vec<f64> = x.iter().map(|v| v + far * number(&mut noise)).collect();
        let (logits, gradient) = referred(plain, ours.0.len(), size, &moved);
        relative_errors(ours.0, &logits, logits.len())[0] < within.0
            && relative_errors(ours.1, &gradient, x.len())[0] < within.1
    })
}
