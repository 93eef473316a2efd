//! What a graph is held to.

use super::engines::{
    Numbers, bits, compiled, hangs_on_rounding, narrow, reference, referred, relative_errors, threads, wide,
};
use super::random_graph;
use foolproof::kernel::cpu::{Cpu, Instructions};
use foolproof::kernel::graph::Graph;

/// Largest relative errors of logits and gradients: those of the sequential nets of `compiled.rs`.
const LOGITS: f64 = 2e-5;
const GRADIENTS: f64 = 5e-5;

/// Numbers of an image.
pub fn values(net: &Graph<f64>) -> usize {
    3 * net.size()[0] * net.size()[1]
}

/// Holds our numbers to the reference's; returns how many images hang on rounding.
pub fn hold(what: &str, net: &Graph<f64>, x: &[f32], ours: &Numbers) -> usize {
    let (plain, classes, size, of_image) = (reference(net), net.classes(), net.size(), values(net));
    let (logits, gradients) = referred(&plain, classes, size, &wide(x));
    let logits = relative_errors(&ours.0, &logits, classes);
    let gradients = relative_errors(&ours.1, &gradients, of_image);
    let off: Vec<usize> = (0..logits.len()).filter(|i| logits[*i] >= LOGITS || gradients[*i] >= GRADIENTS).collect();
    for i in off.iter().copied() {
        let (z, g) = (&ours.0[i * classes..][..classes], &ours.1[i * of_image..][..of_image]);
        let x = wide(&x[i * of_image..][..of_image]);
        let hangs = hangs_on_rounding(&plain, size, &x, (z, g), (LOGITS, GRADIENTS));
        assert!(hangs, "{what}: image {i} is {:e} off, its gradient {:e}", logits[i], gradients[i]);
    }
    off.len()
}

pub fn random_images(net: &Graph<f64>, n: usize, seed: u64) -> Vec<f32> {
    narrow(&random_graph::images(net, n, seed))
}

/// NaN in the second of three images: its own logits are NaN where the reference's are (ours spread it over whole tiles), its
/// gradient has some, and the others have the same bits as without it, then and later.
pub fn nan_stays(what: &str, net: &Graph<f64>, place: usize, sets: impl IntoIterator<Item = Instructions>) {
    let (of_image, two) = (values(net), threads(2));
    let clean = random_images(net, 3, 1);
    let mut x = clean.clone();
    x[of_image + place % of_image] = f32::NAN;
    let (z, g) = referred(&reference(net), net.classes(), net.size(), &wide(&x[of_image..2 * of_image]));
    for instructions in sets {
        let cpu = Cpu::with(net.to_f32(), instructions);
        let before = compiled(&cpu, &two, 3, &clean);
        assert!(before.0.iter().chain(&before.1).all(|v| v.is_finite()), "{what}");
        for batch in [3, 1] {
            let with = compiled(&cpu, &two, batch, &x);
            for (i, name) in [(0, "first"), (2, "last")] {
                let same = |a: &[f32], b: &[f32], n: usize| bits(&a[i * n..][..n]) == bits(&b[i * n..][..n]);
                assert!(same(&with.0, &before.0, net.classes()), "{what}: logits of the {name} image");
                assert!(same(&with.1, &before.1, of_image), "{what}: gradient of the {name} image");
            }
            let (own, gradient) = (&with.0[net.classes()..], &with.1[of_image..2 * of_image]);
            assert!(
                z.iter().zip(own).all(|(z, own)| own.is_nan() || !z.is_nan()),
                "{what}: logits of the image itself"
            );
            assert!(gradient.iter().any(|g| g.is_nan()) || !g.iter().any(|g| g.is_nan()), "{what}: its own gradient");
            let after = compiled(&cpu, &two, batch, &clean);
            assert!(bits(&after.0) == bits(&before.0) && bits(&after.1) == bits(&before.1), "{what}: what is left");
        }
    }
}
