//! Memory of the compiled engine: maps are those of the images that a thread takes at a time, whatever the batch.

use super::engines::{seed, threads};
use super::nets::{Sequence, number, stream};
use super::peak::peak_memory;
use foolproof::kernel::cpu::Cpu;
use foolproof::kernel::graph::{Activation, Graph, Op};
use std::process::Command;

/// Side of the images.
const SIDE: usize = 32;

/// Bytes of an image and its gradient.
const OF_IMAGE: u64 = 2 * 4 * 3 * (SIDE * SIDE) as u64;

/// Where a process of its own finds how many images it takes, and through which network.
const IMAGES: &str = "FOOLPROOF_TEST_IMAGES";
const NET: &str = "FOOLPROOF_TEST_NET";

/// Maps of 64 channels, each 21 times an image; a residual sum, and a function whose slopes are kept whole.
fn net() -> Graph<f64> {
    let mut s = stream("memory");
    let mut net = Sequence::new(SIDE);
    net.conv(64, 0.2, 0.1, &mut s);
    let before = net.graph.nodes().len();
    net.conv(64, 0.05, 0.1, &mut s);
    let behind = net.graph.nodes().len();
    let sum = net.graph.push(Op::Add, &[before, behind]).unwrap();
    let smooth = net.graph.push(Op::Activate(Activation::Silu), &[sum]).unwrap();
    let mean = net.graph.push(Op::AdaptiveAverage { out: [1; 2] }, &[smooth]).unwrap();
    net.graph.push(Op::Reshape { shape: vec![64] }, &[mean]).unwrap();
    net.graph
}

/// Operations whose numbers are kept whole: of an image 21 MB; and a layer of one place at the end, which would have many images.
fn kept_net() -> Graph<f64> {
    let mut s = stream("kept");
    let mut net = Sequence::new(SIDE);
    net.conv(64, 0.2, 0.1, &mut s);
    for _ in 0..20 {
        let x = net.graph.nodes().len();
        let gate = net.graph.push(Op::Activate(Activation::Sigmoid), &[x]).unwrap();
        net.graph.push(Op::Mul, &[x, gate]).unwrap();
    }
    let mean = net.graph.push(Op::AdaptiveAverage { out: [1; 2] }, &[net.graph.nodes().len()]).unwrap();
    let place = net.graph.push(Op::Reshape { shape: vec![64] }, &[mean]).unwrap();
    let weight = (0..64 * 64).map(|_| number(&mut s)).collect();
    let layer = net.graph.push(Op::Linear { weight, bias: vec![0.1; 64] }, &[place]).unwrap();
    net.graph.push(Op::Activate(Activation::Silu), &[layer]).unwrap();
    net.graph
}

#[test]
#[ignore = "a process of its own, begun by those below"]
fn gradients_of_some_images() {
    let Some(images) = std::env::var(IMAGES).ok().and_then(|n| n.parse::<usize>().ok()) else { return };
    let x: Vec<f32> = (0..images * 3 * SIDE * SIDE).map(|i| (i % 251) as f32 / 250.0).collect();
    let net = if std::env::var(NET).is_ok_and(|net| net == "kept") { kept_net() } else { net() };
    let cpu = Cpu::new(net.to_f32());
    let (_, gradient) = threads(2).install(|| cpu.images(&x, Some(&seed)));
    assert!(gradient.iter().any(|g| *g != 0.0));
    println!("peak {}", peak_memory().unwrap_or(0));
}

/// Peak memory of a process that computes gradients of so many images by a network; `None` where the system does not say.
fn peak_of(net: &str, images: u64) -> Option<u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "memory::gradients_of_some_images", "--ignored", "--nocapture"]);
    let output = command.env(IMAGES, images.to_string()).env(NET, net).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let (_, rest) = text.split_once("peak ").unwrap_or_else(|| panic!("no peak: {text}"));
    rest.split_whitespace().next()?.parse().ok().filter(|peak| *peak > 0)
}

#[test]
fn memory_does_not_grow_with_the_batch() {
    let (few, many) = (32, 512);
    let (Some(of_few), Some(of_many)) = (peak_of("maps", few), peak_of("maps", many)) else {
        eprintln!(
            "skipped memory_does_not_grow_with_the_batch: the system does not say how much memory a process holds"
        );
        return;
    };
    let (grown, own) = (of_many.saturating_sub(of_few), (many - few) * OF_IMAGE);
    println!("{of_few} and {of_many} bytes: {grown} more, of which images and gradients are {own}");
    // one map of each further image would be ten times its pixels and gradient
    assert!(grown < own * 3 / 2, "{grown} bytes more for {} images more", many - few);
}

#[test]
fn what_is_kept_for_the_way_back_is_bounded() {
    let Some(peak) = peak_of("kept", 128) else {
        eprintln!(
            "skipped what_is_kept_for_the_way_back_is_bounded: the system does not say how much memory a process holds"
        );
        return;
    };
    println!("{peak} bytes");
    // two threads with a quarter of a gigabyte each, and the rest; not 64 images of 21 MB each
    assert!(peak < 800 << 20, "{} MiB", peak >> 20);
}
