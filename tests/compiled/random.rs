//! Random graphs of every kind: against the reference in f64, and against themselves.

use super::engines::{bits, compiled, there, threads};
use super::hold::{hold, nan_stays, random_images, values};
use super::random_graph;
use foolproof::kernel::cpu::{Cpu, Instructions};
use foolproof::kernel::graph::Graph;
use rayon::ThreadPool;
use std::collections::BTreeSet;

/// Random networks in all.
const ALL: u64 = 1000;

/// Of them, those that are computed in every way; more, until every kind of unit is among them.
const SAMPLE: usize = 60;

/// Every kind of unit that random networks have; plain code may stand for it.
const KINDS: &[&str] = &[
    "attention",
    "average",
    "concatenation",
    "constant",
    "convolution",
    "depthwise convolution",
    "first 3x3 convolution",
    "first convolution",
    "layer norm",
    "matrix product",
    "max-pool",
    "mean",
    "product",
    "reshape",
    "scale",
    "slice",
    "softmax",
    "transpose",
    "upsampling",
    "Winograd convolution",
];

#[test]
fn a_thousand_random_graphs_agree_with_the_reference_in_f64() {
    let (two, mut images, mut hang) = (threads(2), 0, 0);
    for seed in 0..ALL {
        let (net, n) = (random_graph::random(seed), 1 + seed as usize % 6);
        let x = random_images(&net, n, seed + ALL);
        let ours = compiled(&Cpu::with(net.to_f32(), Instructions::widest()), &two, n, &x);
        hang += hold(&format!("seed {seed}"), &net, &x, &ours);
        images += n;
    }
    println!("{hang} of {images} images hang on rounding");
    assert!(hang * 500 <= images, "{hang} of {images} images hang on rounding");
}

/// The first random networks, and those that bring a kind of unit that none before has.
fn sample() -> Vec<(u64, Graph<f64>)> {
    let (mut kinds, mut sample) = (BTreeSet::new(), Vec::new());
    for seed in 0..ALL {
        let net = random_graph::random(seed);
        let cpu = Cpu::with(net.to_f32(), Instructions::Portable);
        let units = cpu.units();
        let of_net = units.iter().map(|unit| unit.split(" -> ").next().unwrap().to_string());
        // all are looked at: `any` would stop at the first
        if of_net.filter(|kind| kinds.insert(kind.clone())).count() > 0 || sample.len() < SAMPLE {
            sample.push((seed, net));
        }
    }
    let found: BTreeSet<&str> = kinds.iter().map(|kind| kind.strip_prefix("plain ").unwrap_or(kind)).collect();
    assert_eq!(found, KINDS.iter().copied().collect());
    sample
}

/// Threads, batch size, and images in all: all threads share a batch, each has its own images, one thread is alone.
type Way = (usize, usize, usize);
#[rustfmt::skip]
const WAYS: &[Way] = &[
    (1, 1, 9), (1, 2, 9), (1, 5, 9), (1, 9, 9),
    (2, 1, 9), (2, 2, 9), (2, 5, 9), (2, 9, 9), (2, 40, 40),
    (3, 1, 9), (3, 2, 9), (3, 5, 9), (3, 9, 9), (3, 40, 40),
];

/// The portable form may lack fused multiply-adds in hardware.
const FEWER_WAYS: &[Way] = &[(2, 1, 1), (3, 2, 2), (1, 5, 5), (2, 9, 9)];

#[test]
fn instructions_threads_and_batches_give_the_same_bits() {
    let sample = sample();
    println!("{} networks", sample.len());
    let pools: Vec<ThreadPool> = (1..=3).map(threads).collect();
    for (seed, net) in sample {
        let x = random_images(&net, 40, seed);
        let first = compiled(&Cpu::with(net.to_f32(), Instructions::widest()), &pools[0], 40, &x);
        assert!(first.0.iter().chain(&first.1).all(|v| v.is_finite()));
        for instructions in there() {
            // one engine for all, as attacks use it: nothing of a batch may be left for the next
            let cpu = Cpu::with(net.to_f32(), instructions);
            let ways = if instructions == Instructions::Portable { FEWER_WAYS } else { WAYS };
            for (count, batch, images) in ways {
                let other = compiled(&cpu, &pools[count - 1], *batch, &x[..images * values(&net)]);
                let what = format!("seed {seed}, {}, {count} threads, batch {batch}", instructions.name());
                assert!(bits(&other.0) == bits(&first.0[..other.0.len()]), "logits: {what}");
                assert!(bits(&other.1) == bits(&first.1[..other.1.len()]), "gradients: {what}");
            }
        }
    }
}

#[test]
fn nan_stays_in_its_image() {
    for (seed, net) in sample() {
        // the portable form is slow
        let sets = there().into_iter().filter(|i| *i > Instructions::Portable || seed % 4 == 0);
        nan_stays(&format!("seed {seed}"), &net, seed as usize * 7919, sets);
    }
}
