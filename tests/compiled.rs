//! The compiled CPU engine against the reference in f64 on odd shapes, and against itself: the same bits for every
//! instruction set, thread count and batch size.

mod support;

use candle_core::{Device, Tensor};
use foolproof::kernel::cpu::{Cpu, INSTRUCTIONS, Instructions};
use foolproof::kernel::old::plain::Plain;
use foolproof::kernel::{Engine, Net, Step};
use support::{images, number, small_net, stream, widened};

/// Logits and image gradients of Σ seed·logits.
type Numbers = (Vec<f32>, Vec<f32>);

/// Weights of the logits in the loss.
fn seed(z: &[f32], g: &mut [f32]) {
    for (c, (g, z)) in g.iter_mut().zip(z).enumerate() {
        *g = (c as f32 * 1.3 + 0.7).sin() + z * 0.0;
    }
}

fn compiled(net: &Net<f64>, instructions: Instructions, threads: usize, batch: usize, x: &[f64]) -> Numbers {
    let x: Vec<f32> = x.iter().map(|v| *v as f32).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let cpu = Cpu::with(net.to_f32(), instructions).unwrap_or_else(|_| panic!("a net of the compiled form"));
        let mut all = Numbers::default();
        for x in x.chunks(batch * 3 * net.side * net.side) {
            let (logits, gradients) = cpu.images(x, Some(&|_: usize, z: &[f32], g: &mut [f32]| seed(z, g)));
            assert_eq!(bits(&cpu.images(x, None).0), bits(&logits), "logits with and without a gradient");
            all.0.extend(logits);
            all.1.extend(gradients);
        }
        all
    })
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| v.to_bits()).collect()
}

/// The reference in f64 on the weights as rounded to f32.
fn reference(net: &Net<f64>, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let x: Vec<f64> = x.iter().map(|v| f64::from(*v as f32)).collect();
    let n = x.len() / (3 * net.side * net.side);
    let rounded = widened(&net.to_f32());
    let images = Tensor::from_vec(x, (n, 3, net.side, net.side), &Device::Cpu).unwrap();
    let (logits, gradient) = Plain::new(&rounded, &Device::Cpu)
        .unwrap()
        .gradient(&images, |z| {
            let row: Vec<f64> = (0..net.classes).map(|c| f64::from((c as f32 * 1.3 + 0.7).sin())).collect();
            Ok(Tensor::from_vec(row, (1, net.classes), &Device::Cpu)?.broadcast_as(z.shape())?.contiguous()?)
        })
        .unwrap();
    (logits.flatten_all().unwrap().to_vec1().unwrap(), gradient.flatten_all().unwrap().to_vec1().unwrap())
}

/// Per image: |ours − reference| over |reference|, both as Euclidean lengths.
fn relative_errors(ours: &[f32], reference: &[f64], of_image: usize) -> Vec<f64> {
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    ours.chunks(of_image)
        .zip(reference.chunks(of_image))
        .map(|(a, b)| {
            let error = length(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - b));
            error / length(&mut b.iter().copied()).max(1e-12)
        })
        .collect()
}

fn there() -> Vec<Instructions> {
    INSTRUCTIONS.iter().map(|(_, i)| *i).filter(|i| *i <= Instructions::widest()).collect()
}

/// Side, widths, pools after these layers, average, batch.
type Shape = (usize, &'static [usize], &'static [usize], Option<usize>, usize);

/// Channels that are no multiple of 16, panels of 16 and 32 and both, every kind of side.
const SHAPES: &[Shape] = &[
    (1, &[5, 7], &[], None, 3),
    (2, &[16, 33], &[], None, 130),
    (2, &[17, 20, 40], &[], None, 65),
    (3, &[48, 16, 1], &[], None, 9),
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

fn net(shape: &Shape) -> Net<f64> {
    let (side, widths, pools, average, _) = *shape;
    let mut s = stream(&format!("{side} {widths:?}"));
    let mut steps = Vec::new();
    let (mut channels, mut map) = (3, side);
    for (i, &outputs) in widths.iter().enumerate() {
        let scale = (6.0 / (9.0 * channels as f64)).sqrt();
        steps.push(Step::Conv {
            inputs: channels,
            outputs,
            weight: (0..outputs * channels * 9).map(|_| number(&mut s) * scale).collect(),
            bias: (0..outputs).map(|_| number(&mut s) * 0.1).collect(),
        });
        channels = outputs;
        if pools.contains(&i) {
            steps.push(Step::MaxPool);
            map /= 2;
        }
    }
    if let Some(side) = average {
        steps.push(Step::AveragePool { side });
        map = side;
    }
    let mut inputs = channels * map * map;
    for (outputs, relu) in [(19, true), (5, false)] {
        let scale = (3.0 / inputs as f64).sqrt();
        steps.push(Step::Linear {
            inputs,
            outputs,
            weight: (0..outputs * inputs).map(|_| number(&mut s) * scale).collect(),
            bias: (0..outputs).map(|_| number(&mut s) * 0.1).collect(),
            relu,
        });
        inputs = outputs;
    }
    Net { side, mean: [0.49, 0.48, 0.45], std: [0.25, 0.24, 0.26], classes: 5, steps }
}

#[test]
fn odd_shapes_agree_with_the_reference_in_f64() {
    for shape in SHAPES {
        let (net, n) = (net(shape), shape.4.min(9));
        let x = images(n, net.side, "odd");
        let (logits, gradients) = reference(&net, &x);
        let ours = compiled(&net, Instructions::widest(), 2, n, &x);
        let worst = relative_errors(&ours.0, &logits, net.classes).into_iter().fold(0.0, f64::max);
        assert!(worst < 2e-5, "{shape:?}: logits differ by {worst:e}");
        // a single ReLU or maximum that falls the other way changes a gradient by much more than rounding does; of
        // these images at most one may have such
        let mut errors = relative_errors(&ours.1, &gradients, 3 * net.side * net.side);
        errors.sort_by(f64::total_cmp);
        assert!(errors[errors.len().saturating_sub(2)] < 5e-5, "{shape:?}: gradients differ by {errors:?}");
    }
}

#[test]
fn instructions_threads_and_batches_give_the_same_bits() {
    for shape in SHAPES {
        let (net, n) = (net(shape), shape.4);
        let x = images(n, net.side, "many");
        let first = compiled(&net, Instructions::widest(), 1, n, &x);
        assert!(first.0.iter().chain(&first.1).all(|v| v.is_finite()));
        for instructions in there() {
            // the portable form may lack fused multiply-adds in hardware: two images of small maps say as much
            let some = if instructions == Instructions::Portable { n.min(2) } else { n };
            let x = &x[..some * 3 * net.side * net.side];
            for (threads, batch) in [(2, some), (1, 1), (3, 7), (2, 16)] {
                let other = compiled(&net, instructions, threads, batch, x);
                let what = format!("{shape:?}, {}, {threads} threads, batch {batch}", instructions.name());
                assert!(bits(&other.0) == bits(&first.0[..other.0.len()]), "logits: {what}");
                assert!(bits(&other.1) == bits(&first.1[..other.1.len()]), "gradients: {what}");
            }
        }
    }
}

#[test]
fn ties_and_zeros_follow_pytorch() {
    // a constant image: every window is tied, every ReLU of a zero-bias first layer on equal ground
    let mut net = small_net(8, &[4, 4], None, 3, 2, "ties");
    if let Step::Conv { weight, bias, .. } = &mut net.steps[0] {
        weight.fill(0.0);
        bias.fill(0.0);
    }
    // the first layer's output is exactly 0 everywhere: PyTorch's slope there is 0, so no gradient comes through
    let x = vec![0.5; 3 * 64];
    for instructions in there() {
        assert!(compiled(&net, instructions, 1, 1, &x).1.iter().all(|g| *g == 0.0));
    }
    assert!(reference(&net, &x).1.iter().all(|g| *g == 0.0));
}

#[test]
fn a_tie_in_a_pool_goes_to_the_first() {
    // one channel that copies red, pooled: the gradient of a constant image stands in the first place of each window
    let weight = |at: usize| (0..27).map(|i| if i == at { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let net = Net {
        side: 4,
        mean: [0.0; 3],
        std: [1.0; 3],
        classes: 1,
        steps: vec![
            Step::Conv { inputs: 3, outputs: 1, weight: weight(4), bias: vec![0.0] },
            Step::MaxPool,
            Step::Linear { inputs: 4, outputs: 1, weight: vec![1.0; 4], bias: vec![0.0], relu: false },
        ],
    };
    for instructions in there() {
        let cpu = Cpu::with(net.to_f32(), instructions).ok().unwrap();
        let (logits, gradient) = cpu.images(&[0.5; 48], Some(&|_: usize, _: &[f32], g: &mut [f32]| g.fill(1.0)));
        assert_eq!(logits, [2.0]);
        let first: Vec<f32> = (0..16).map(|i| if i / 4 % 2 == 0 && i % 2 == 0 { 1.0 } else { 0.0 }).collect();
        assert_eq!(gradient[..16], first[..]);
    }
}

#[test]
fn nan_stays_nan() {
    for place in [0, 77, 191] {
        let net = small_net(8, &[4, 4, 4], None, 3, 2, "nan");
        let mut x = vec![0.5; 2 * 192];
        x[place] = f64::NAN;
        for instructions in there() {
            let (logits, gradient) = compiled(&net, instructions, 1, 2, &x);
            assert!(logits[..2].iter().all(|z| z.is_nan()), "{logits:?}");
            assert!(logits[2..].iter().all(|z| z.is_finite()), "{logits:?}");
            assert!(gradient[..192].iter().any(|g| g.is_nan()) && gradient[192..].iter().all(|g| g.is_finite()));
        }
    }
    let net = small_net(8, &[4, 4], None, 3, 2, "nan").to_f32();
    let mut x = vec![0.5f32; 192];
    x[0] = f32::NAN;
    let images = Tensor::from_slice(&x, (1, 3, 8, 8), &Device::Cpu).unwrap();
    let logits = Plain::new(&net, &Device::Cpu).unwrap().logits(&images).unwrap().to_vec2::<f32>().unwrap();
    assert!(logits[0].iter().all(|z| z.is_nan()), "{logits:?}");
}

#[test]
fn a_net_of_another_form_is_handed_back() {
    let mut net = small_net(8, &[4, 4], None, 3, 2, "form").to_f32();
    net.steps.insert(0, Step::MaxPool);
    assert!(Cpu::new(net).is_err());
}
