//! The compiled CPU engine against the reference in f64, and against itself: the same bits for every instruction set, thread
//! count and batch size. Here sequential nets of odd shapes; random graphs and odd ones have files of their own.

#[path = "compiled/cases.rs"]
mod cases;
#[path = "support/engines.rs"]
mod engines;
#[path = "compiled/hold.rs"]
mod hold;
#[path = "compiled/memory.rs"]
mod memory;
#[path = "support/nets.rs"]
mod nets;
#[path = "support/memory.rs"]
mod peak;
#[path = "compiled/random.rs"]
mod random;
#[path = "support/random_graph.rs"]
mod random_graph;

use engines::{bits, compiled, narrow, reference, referred, relative_errors, there, threads, wide};
use foolproof::kernel::cpu::{Cpu, Instructions};
use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use nets::{Sequence, images, small_net, stream, with_ops};

/// Side, widths, pools after these layers, average, batch.
type Shape = (usize, &'static [usize], &'static [usize], Option<usize>, usize);

/// Channels that are no multiple of 16, panels of 16 and 32 and both, so many that blocks are larger, every kind of side.
const SHAPES: &[Shape] = &[
    (1, &[5, 7], &[], None, 3),
    (2, &[16, 33], &[], None, 130),
    (2, &[17, 20, 40], &[], None, 65),
    (3, &[48, 16, 1], &[], None, 9),
    (3, &[520, 512], &[], None, 5),
    (4, &[20, 80, 64], &[1], None, 70),
    (5, &[3, 130], &[0], None, 33),
    (6, &[31, 32, 96], &[0, 1], Some(3), 17),
    (7, &[64, 65], &[1], Some(2), 20),
    (8, &[8, 8, 40, 17], &[1, 3], None, 21),
    (13, &[4, 4], &[1], Some(4), 5),
    (14, &[24, 70, 36], &[2], None, 7),
    (17, &[8, 20, 5, 6], &[1, 3], None, 37),
    (19, &[5, 7, 9, 3], &[0, 2], None, 6),
    (32, &[32, 64, 128, 64, 48], &[0, 1, 2, 3, 4], None, 8),
    (33, &[16, 16], &[], Some(7), 3),
    (57, &[6, 10, 12], &[0, 2], Some(2), 2),
    (112, &[12, 18], &[0, 1], Some(7), 2),
    (224, &[5, 17, 9], &[1, 2], Some(7), 1),
];

const CLASSES: usize = 5;

fn net(shape: &Shape) -> Graph<f64> {
    let (side, widths, pools, average, _) = *shape;
    let mut s = stream(&format!("{side} {widths:?}"));
    let mut net = Sequence::new(side);
    for (i, &outputs) in widths.iter().enumerate() {
        let scale = (6.0 / (9.0 * net.shape()[0] as f64)).sqrt();
        net.conv(outputs, scale, 0.1, &mut s);
        if pools.contains(&i) {
            net.pool();
        }
    }
    if let Some(side) = average {
        net.average(side);
    }
    for (outputs, relu) in [(19, true), (CLASSES, false)] {
        let scale = (3.0 / net.values() as f64).sqrt();
        net.linear(outputs, scale, 0.1, &mut s);
        if relu {
            net.relu();
        }
    }
    net.graph
}

#[test]
fn odd_shapes_agree_with_the_reference_in_f64() {
    for shape in SHAPES {
        let (net, n) = (net(shape), shape.4.min(9));
        let x = narrow(&images(n, shape.0, "odd"));
        let (logits, gradients) = referred(&reference(&net), CLASSES, net.size(), &wide(&x));
        let ours = compiled(&Cpu::with(net.to_f32(), Instructions::widest()), &threads(2), n, &x);
        let worst = relative_errors(&ours.0, &logits, CLASSES).into_iter().fold(0.0, f64::max);
        assert!(worst < 2e-5, "{shape:?}: logits differ by {worst:e}");
        // a single ReLU or maximum that falls the other way changes a gradient by much more than rounding does; of
        // these images at most one may have such
        let mut errors = relative_errors(&ours.1, &gradients, 3 * shape.0 * shape.0);
        errors.sort_by(f64::total_cmp);
        assert!(errors[errors.len().saturating_sub(2)] < 5e-5, "{shape:?}: gradients differ by {errors:?}");
    }
}

#[test]
fn instructions_threads_and_batches_give_the_same_bits() {
    for shape in SHAPES {
        let (net, n) = (net(shape), shape.4);
        let x = narrow(&images(n, shape.0, "many"));
        let first = compiled(&Cpu::with(net.to_f32(), Instructions::widest()), &threads(1), n, &x);
        assert!(first.0.iter().chain(&first.1).all(|v| v.is_finite()));
        for instructions in there() {
            // the portable form may lack fused multiply-adds in hardware: two images of small maps say as much
            let some = if instructions == Instructions::Portable { n.min(2) } else { n };
            let x = &x[..some * 3 * shape.0 * shape.0];
            let cpu = Cpu::with(net.to_f32(), instructions);
            for (count, batch) in [(2, some), (1, 1), (3, 7), (2, 16)] {
                let other = compiled(&cpu, &threads(count), batch, x);
                let what = format!("{shape:?}, {}, {count} threads, batch {batch}", instructions.name());
                assert!(bits(&other.0) == bits(&first.0[..other.0.len()]), "logits: {what}");
                assert!(bits(&other.1) == bits(&first.1[..other.1.len()]), "gradients: {what}");
            }
        }
    }
}

#[test]
fn ties_and_zeros_follow_pytorch() {
    // a constant image: every window is tied, every ReLU of a zero-bias first layer on equal ground
    let net = with_ops(small_net(8, &[4, 4], None, 3, 2, "ties"), |i, op| {
        if let (0, Op::Conv { weight, bias, .. }) = (i, op) {
            weight.fill(0.0);
            bias.fill(0.0);
        }
    });
    // the first layer's output is exactly 0 everywhere: PyTorch's slope there is 0, so no gradient comes through
    let x = [0.5; 3 * 64];
    for instructions in there() {
        let (_, gradient) = compiled(&Cpu::with(net.to_f32(), instructions), &threads(1), 1, &x);
        assert!(gradient.iter().all(|g| *g == 0.0));
    }
    assert!(referred(&reference(&net), 2, [8, 8], &wide(&x)).1.iter().all(|g| *g == 0.0));
}

#[test]
fn a_tie_in_a_pool_goes_to_the_first() {
    // one channel that copies red, pooled: the gradient of a constant image stands in the first place of each window
    let weight = (0..27).map(|i| if i == 4 { 1.0 } else { 0.0 }).collect();
    let mut net = Graph::new([4, 4], [0.0; 3], [1.0; 3]);
    let copy = Op::Conv { window: Window::square(3, 1, 1), groups: 1, weight, bias: vec![0.0] };
    let pool = Op::MaxPool { window: Window::square(2, 2, 0), ceil: false };
    let sum = Op::Linear { weight: vec![1.0; 4], bias: vec![0.0] };
    for op in [copy, Op::Activate(Activation::Relu), pool, Op::Reshape { shape: vec![4] }, sum] {
        net.push(op, &[net.nodes().len()]).unwrap();
    }
    for instructions in there() {
        let cpu = Cpu::with(net.clone(), instructions);
        let (logits, gradient) = cpu.images(&[0.5; 48], Some(&|_: usize, _: &[f32], g: &mut [f32]| g.fill(1.0)));
        assert_eq!(logits, [2.0]);
        let first: Vec<f32> = (0..16).map(|i| if i / 4 % 2 == 0 && i % 2 == 0 { 1.0 } else { 0.0 }).collect();
        assert_eq!(gradient[..16], first[..]);
    }
}

#[test]
fn nan_stays_nan() {
    let net = small_net(8, &[4, 4, 4], None, 3, 2, "nan");
    for place in [0, 77, 191] {
        let mut x = [0.5; 2 * 192];
        x[place] = f32::NAN;
        for instructions in there() {
            let (logits, gradient) = compiled(&Cpu::with(net.to_f32(), instructions), &threads(1), 2, &x);
            assert!(logits[..2].iter().all(|z| z.is_nan()), "{logits:?}");
            assert!(logits[2..].iter().all(|z| z.is_finite()), "{logits:?}");
            assert!(gradient[..192].iter().any(|g| g.is_nan()) && gradient[192..].iter().all(|g| g.is_finite()));
        }
        let (logits, _) = referred(&reference(&net), 2, [8, 8], &wide(&x[..192]));
        assert!(logits.iter().all(|z| z.is_nan()), "{logits:?}");
    }
}
