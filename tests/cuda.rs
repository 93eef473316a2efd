//! The CUDA engine against the reference in f64 on the CPU, and what step and judge do there against the same in memory.
//! Where no device is, each test says so and passes; with `FOOLPROOF_EXPECT_CUDA=1` it fails.
#![cfg(feature = "cuda")]

mod support;

use candle_core::{Device, Tensor};
use foolproof::attack::{self, Params, Task};
use foolproof::data::{self, Choice, Source};
use foolproof::error::Result;
use foolproof::goal::Goal;
use foolproof::judge::{Judging, Trial, WitnessKind, predict_stored};
use foolproof::kernel::cuda::{self, Cuda};
use foolproof::kernel::halving::{self, Halving};
use foolproof::kernel::old::plain::Plain;
use foolproof::kernel::{Engine, Loss, Net, Precision, Step, pixels};
use foolproof::model;
use foolproof::oracle::{Mark, Memo};
use foolproof::ratio::Ratio;
use foolproof::record::Witnesses;
use foolproof::rng::Streams;
use foolproof::threat::{Norm, Threat};
use std::sync::atomic::AtomicBool;
use support::{images, number, stream, widened};

fn device(test: &str) -> Option<Device> {
    let expected = std::env::var_os("FOOLPROOF_EXPECT_CUDA").is_some_and(|v| v == "1");
    match cuda::open(0) {
        Ok(device) => Some(device),
        Err(why) if expected => panic!("a CUDA device was expected: {why}"),
        Err(why) => {
            eprintln!("skipped {test}: {why}");
            None
        }
    }
}

/// Side, widths, pools after these layers, average, batch.
type Shape = (usize, &'static [usize], &'static [usize], Option<usize>, usize);

/// Channels that are no multiple of 8, odd sides, averages with overlapping windows, batches that are rounded up.
const SHAPES: &[Shape] = &[
    (1, &[5, 7], &[], None, 3),
    (2, &[16, 33], &[], None, 9),
    (3, &[48, 16, 3], &[], None, 7),
    (4, &[20, 64, 64], &[1], None, 5),
    (5, &[3, 70], &[0], None, 1),
    (7, &[64, 65], &[1], Some(2), 2),
    (8, &[8, 8, 40, 17], &[1, 3], None, 6),
    (13, &[4, 4], &[1], Some(4), 5),
    (19, &[5, 7, 9, 3], &[0, 2], None, 8),
    (32, &[32, 64, 64, 48], &[0, 1, 2, 3], None, 8),
    (33, &[16, 16], &[], Some(7), 3),
    (40, &[6, 10, 12], &[0, 2], Some(3), 2),
];

fn net(shape: &Shape, mut weight: impl FnMut(f64) -> f64) -> Net<f64> {
    let (side, widths, pools, average, _) = *shape;
    let (mut channels, mut map, mut steps) = (3, side, Vec::new());
    for (i, &outputs) in widths.iter().enumerate() {
        let scale = (6.0 / (9.0 * channels as f64)).sqrt();
        steps.push(Step::Conv {
            inputs: channels,
            outputs,
            weight: (0..outputs * channels * 9).map(|_| weight(scale)).collect(),
            bias: (0..outputs).map(|_| weight(0.1)).collect(),
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
    for (inputs, outputs, relu) in [(channels * map * map, 21, true), (21, 10, false)] {
        let scale = (6.0 / inputs as f64).sqrt();
        steps.push(Step::Linear {
            inputs,
            outputs,
            weight: (0..outputs * inputs).map(|_| weight(scale)).collect(),
            bias: (0..outputs).map(|_| weight(0.1)).collect(),
            relu,
        });
    }
    Net { side, mean: [0.5, 0.25, 0.0], std: [0.25, 0.5, 1.0], classes: 10, steps }
}

fn random_net(shape: &Shape) -> Net<f64> {
    let mut s = stream(&format!("{shape:?}"));
    net(shape, |scale| number(&mut s) * scale)
}

/// Gradient of the loss with respect to logit `c`: small whole numbers.
fn slope(c: usize) -> f32 {
    [1.0, -2.0, 3.0, -1.0, 2.0][c % 5]
}

fn loss(_: usize, _: &[f32], gradient: &mut [f32]) {
    gradient.iter_mut().enumerate().for_each(|(c, g)| *g = slope(c));
}

fn numbers(engine: &Cuda, x: &Tensor) -> (Vec<f32>, Vec<f32>) {
    let (logits, gradient) = engine.logits_and_gradient(x, &loss).unwrap();
    (logits.flatten_all().unwrap().to_vec1().unwrap(), gradient.flatten_all().unwrap().to_vec1().unwrap())
}

/// f64 on the CPU, with weights and images as rounded to f32.
fn reference(net: &Net<f64>, x: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let x = x.to_device(&Device::Cpu).unwrap().to_dtype(candle_core::DType::F64).unwrap();
    let plain = Plain::new(&widened(&net.to_f32()), &Device::Cpu).unwrap();
    let (logits, gradient) = plain
        .gradient(&x, |z| {
            let row: Vec<f64> = (0..net.classes).map(|c| f64::from(slope(c))).collect();
            Ok(Tensor::from_vec(row, (1, net.classes), &Device::Cpu)?.broadcast_as(z.shape())?.contiguous()?)
        })
        .unwrap();
    (logits.flatten_all().unwrap().to_vec1().unwrap(), gradient.flatten_all().unwrap().to_vec1().unwrap())
}

/// |ours − reference| over |reference|, as Euclidean lengths over the batch.
fn relative_error(ours: &[f32], reference: &[f64]) -> f64 {
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let error = length(&mut ours.iter().zip(reference).map(|(a, b)| f64::from(*a) - b));
    error / length(&mut reference.iter().copied()).max(1e-12)
}

fn random_images(shape: &Shape, device: &Device) -> Tensor {
    let (side, .., batch) = *shape;
    let x: Vec<f32> = images(batch, side, "images").iter().map(|v| *v as f32).collect();
    Tensor::from_vec(x, (batch, 3, side, side), device).unwrap()
}

#[test]
fn logits_and_gradients_are_those_of_the_reference() {
    let Some(device) = device("logits_and_gradients_are_those_of_the_reference") else { return };
    for shape in SHAPES {
        let (net, x) = (random_net(shape), random_images(shape, &device));
        let (logits, gradient) = reference(&net, &x);
        // units in the last place of factors: 2⁻²⁴, 2⁻¹¹, 2⁻⁹; a ReLU or a pool that decides otherwise near a tie moves
        // the gradient of its image much more than that: so one image may be off, and the bounds of the short formats,
        // where it happens to most, are wide
        for (precision, of_logits, of_gradient) in
            [(Precision::F32, 1e-4, 1e-4), (Precision::Tf32, 1e-2, 0.25), (Precision::Bf16, 0.05, 0.5)]
        {
            let engine = Cuda::new(&net.to_f32(), &device, precision).unwrap();
            let (z, g) = numbers(&engine, &x);
            let of_image = g.len() / shape.4;
            let mut off: Vec<f64> =
                g.chunks(of_image).zip(gradient.chunks(of_image)).map(|(a, b)| relative_error(a, b)).collect();
            off.sort_by(f64::total_cmp);
            // of a single image its own, else that of all images but one
            let errors = (relative_error(&z, &logits), off[off.len().saturating_sub(2)]);
            eprintln!("{shape:?} {}: logits {:.1e}, gradients {:.1e}", precision.name(), errors.0, errors.1);
            assert!(errors.0 < of_logits && errors.1 < of_gradient, "{shape:?} {precision:?}: {errors:?}");
            let alone: Vec<f32> = engine.logits(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(alone == z, "{shape:?}: logits with and without a gradient");
        }
    }
}

#[test]
fn the_same_batch_gives_the_same_bits() {
    let Some(device) = device("the_same_batch_gives_the_same_bits") else { return };
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for (shape, precision) in SHAPES.iter().zip(Precision::ALL.into_iter().cycle()) {
        let engine = Cuda::new(&random_net(shape).to_f32(), &device, precision).unwrap();
        let x = random_images(shape, &device);
        let (z, g) = numbers(&engine, &x);
        // another batch between
        numbers(&engine, &x.narrow(0, 0, 1).unwrap());
        let (z_again, g_again) = numbers(&engine, &x);
        assert!(bits(z) == bits(z_again) && bits(g) == bits(g_again), "{shape:?} {precision:?}");
    }
}

/// Takes so many images at once.
struct Few(Cuda, usize);

impl Engine for Few {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.0.logits(images)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        assert!(images.dim(0)? <= self.1);
        self.0.logits_and_gradient(images, loss)
    }

    fn most_images(&self) -> usize {
        self.1
    }
}

#[test]
fn a_batch_in_parts_is_the_batch() {
    let Some(device) = device("a_batch_in_parts_is_the_batch") else { return };
    let shape = &SHAPES[6];
    let x = random_images(shape, &device);
    // another gradient for each row: a part must know where in the batch it lies
    let by_row = |row: usize, _: &[f32], g: &mut [f32]| g[row] = 1.0;
    let run = |most: usize| {
        let engine = Cuda::new(&random_net(shape).to_f32(), &device, Precision::F32).unwrap();
        let engine = Halving::new(Box::new(Few(engine, most)));
        let (z, g) = engine.logits_and_gradient(&x, &by_row).unwrap();
        [z, g].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let (whole, parts) = (run(100), run(4));
    for (whole, parts) in whole.iter().zip(&parts) {
        let whole: Vec<f64> = whole.iter().map(|v| f64::from(*v)).collect();
        let of_image = whole.len() / shape.4;
        let off = whole.chunks(of_image).zip(parts.chunks(of_image)).map(|(whole, part)| relative_error(part, whole));
        // another algorithm may decide a ReLU of one image otherwise
        assert!(off.filter(|off| *off >= 1e-4).count() <= 1);
    }
}

/// Whole numbers, so that windows of equal values are exactly equal in every precision, and so are the gradients.
#[test]
fn ties_go_to_the_first() {
    let Some(device) = device("ties_go_to_the_first") else { return };
    for shape in [(6, &[4][..], &[0][..], None, 3), (7, &[9], &[0], Some(2), 2), (9, &[4, 4], &[1], None, 2)] {
        let mut s = stream("whole numbers");
        let mut net = net(&shape, |_| (number(&mut s) * 2.0).trunc());
        (net.mean, net.std) = ([0.0; 3], [1.0; 3]);
        let (side, .., batch) = shape;
        let flat: Vec<f32> = (0..batch * 3 * side * side).map(|i| (i / 5 % 2) as f32).collect();
        let x = Tensor::from_vec(flat, (batch, 3, side, side), &device).unwrap();
        let (_, gradient) = reference(&net, &x);
        for precision in [Precision::F32, Precision::Tf32] {
            let (_, g) = numbers(&Cuda::new(&net.to_f32(), &device, precision).unwrap(), &x);
            let worst = g.iter().zip(&gradient).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-2, "{shape:?} {precision:?}: {worst}");
        }
    }
}

#[test]
fn nan_stays_in_its_image() {
    let Some(device) = device("nan_stays_in_its_image") else { return };
    let shape: Shape = (12, &[10, 16, 8], &[1], None, 3);
    let net = random_net(&shape).to_f32();
    let clean = random_images(&shape, &device);
    let mut spoiled: Vec<f32> = clean.flatten_all().unwrap().to_vec1().unwrap();
    let of_image = spoiled.len() / 3;
    spoiled[of_image + 5] = f32::NAN;
    let spoiled = Tensor::from_vec(spoiled, clean.shape(), &device).unwrap();
    for precision in Precision::ALL {
        let engine = Cuda::new(&net, &device, precision).unwrap();
        let ((z, _), (z_clean, _)) = (numbers(&engine, &spoiled), numbers(&engine, &clean));
        assert!(z[10..20].iter().all(|z| z.is_nan()), "{precision:?}: {:?}", &z[10..20]);
        assert_eq!((&z[..10], &z[20..]), (&z_clean[..10], &z_clean[20..]), "{precision:?}");
    }
}

/// Numbers with ties, edges of the box and NaN.
fn nasty(n: usize, purpose: &str) -> Vec<f32> {
    let mut s = stream(purpose);
    let value = |i: usize| match i % 7 {
        0 => (s.below(256) as f32 + 0.5) / 255.0,
        1 => [0.0, -0.0, 1.0, 1.0f32.next_up(), 1e-42][s.below(5)],
        2 if i % 301 == 2 => [f32::NAN, f32::INFINITY, -0.2][s.below(3)],
        _ => s.uniform(),
    };
    (0..n).map(value).collect()
}

#[test]
fn what_step_and_judge_do_on_the_device_is_what_they_do_in_memory() {
    let Some(device) = device("what_step_and_judge_do_on_the_device_is_what_they_do_in_memory") else { return };
    let (rows, side) = (5, 20);
    let values = 3 * side * side;
    let floats =
        |purpose: &str| Tensor::from_vec(nasty(rows * values, purpose), (rows, 3, side, side), &Device::Cpu).unwrap();
    let clean: Vec<u8> = (0..rows * values).map(|i| (i * 37 % 256) as u8).collect();
    let clean = Tensor::from_vec(clean, (rows, values), &Device::Cpu).unwrap();
    let (x_adv, g, x) = (floats("x_adv"), (floats("g") - 0.5).unwrap(), pixels::to_unit(&clean, side).unwrap());
    // near enough to lie inside now and then
    let near = (&x + (&g * 0.01).unwrap()).unwrap();
    let bits = |t: Tensor| -> Vec<Option<u32>> {
        let v = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        v.iter().map(|v| (!v.is_nan()).then_some(v.to_bits())).collect()
    };
    let there = |t: &Tensor| t.to_device(&device).unwrap();
    assert_eq!(bits(pixels::to_unit(&there(&clean), side).unwrap()), bits(x.clone()), "bytes");
    for eps in ["0", "1/2550", "8/255", "0.5", "3"] {
        let eps = Ratio::parse(eps).unwrap();
        for (x_adv, norm) in [&x_adv, &near].into_iter().flat_map(|x| [(x, Norm::Linf), (x, Norm::L2)]) {
            let threat = Threat::within(norm, eps);
            let (step, radius) = (0.01, eps.to_f64());
            let moved = |x_adv: &Tensor, g: &Tensor, x: &Tensor| match norm {
                Norm::Linf => pixels::step_linf(x_adv, g, x, step, radius as f32).unwrap(),
                _ => pixels::step_l2(x_adv, g, x, step, radius).unwrap(),
            };
            let name = format!("{norm:?} {eps}");
            assert_eq!(bits(moved(&there(x_adv), &there(&g), &there(&x))), bits(moved(x_adv, &g, &x)), "step, {name}");
            let ball = threat.ball().unwrap();
            let here = pixels::round_in_ball(x_adv, &clean, ball.most).unwrap();
            let rounded = pixels::round_in_ball(&there(x_adv), &there(&clean), ball.most).unwrap();
            let bytes = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<u8>().unwrap();
            assert!(bytes(&here) == bytes(&rounded), "rounded, {name}");
            assert_eq!(
                pixels::membership(x_adv, &clean, &here, &ball).unwrap(),
                pixels::membership(&there(x_adv), &there(&clean), &rounded, &ball).unwrap(),
                "membership, {name}"
            );
            let bound = |v: Vec<f32>| v.iter().map(|v| (!v.is_nan()).then_some(v.to_bits())).collect::<Vec<_>>();
            assert_eq!(
                bound(pixels::first_order(&g, x_adv, &here).unwrap()),
                bound(pixels::first_order(&there(&g), &there(x_adv), &rounded).unwrap()),
                "bound, {name}"
            );
        }
    }
}

#[test]
fn a_trial_judged_on_the_device_is_one_judged_in_memory() {
    let Some(device) = device("a_trial_judged_on_the_device_is_one_judged_in_memory") else { return };
    let subset = data::find("cifar10-sample").unwrap();
    let subset = subset.subset(&Source::new("nowhere"), &Choice::new("test", 0, Some(12))).unwrap();
    let model = model::built_in("vgg11-half-cifar10-robust").unwrap();
    let engine = |precision| model.engine(&device, precision).unwrap();
    let (judge, stored) = (engine(Precision::F32), Witnesses::U8(subset.pixels.clone()));
    let clean = predict_stored(judge.as_ref(), &stored, subset.side, &device, 12).unwrap();
    for (precision, norm, eps) in [
        (Precision::F32, Norm::Linf, "2/255"),
        (Precision::F32, Norm::L2, "0.5"),
        (Precision::Bf16, Norm::Linf, "8/255"),
        (Precision::Bf16, Norm::L2, "0.25"),
    ] {
        let asked = engine(precision);
        let threat = Threat::within(norm, Ratio::parse(eps).unwrap());
        let entry = attack::find("pgd").unwrap();
        let attack = entry.build(&Params::resolve(entry.params, &[("steps", "7")]).unwrap(), &threat).unwrap();
        let run = |on_device| {
            let trial = Trial {
                engine: judge.as_ref(),
                attacked_through: (asked.as_ref(), precision),
                device: &device,
                subset: &subset,
                clean: &clean,
                goal: Goal::Untargeted,
                seed: 0,
                witness: WitnessKind::U8,
                judging: Judging::WhereItMatters,
                on_device,
                marks: &[Mark { end: 7, threat }],
                earlier: None,
                every_image: false,
                batch: 5,
                stop: &AtomicBool::new(false),
            };
            let task = Task::new(threat, Streams::new(0, "cuda"));
            trial.run(attack.as_ref(), &task, &Memo::new(subset.len()), &mut |_| {}).unwrap().remove(0)
        };
        let ((there, there_images), (here, here_images)) = (run(true), run(false));
        let successes = there.iter().filter(|o| o.success == Some(true)).count();
        eprintln!("{} {norm:?} {eps}: {successes} of {} broken", precision.name(), there.len());
        assert_eq!(there, here, "{precision:?} {norm:?}");
        assert!(there_images == here_images, "{precision:?} {norm:?}: witnesses");
    }
}

#[test]
fn no_error_of_memory_is_taken_for_another() {
    let Some(device) = device("no_error_of_memory_is_taken_for_another") else { return };
    // more than any card has
    let problem = Tensor::zeros((1 << 20, 1 << 20), candle_core::DType::F32, &device).unwrap_err();
    assert!(halving::is_out_of_memory(&problem.into()));
}
