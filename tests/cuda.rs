//! The CUDA engine against the reference in f64 on the CPU, and what step and judge do there against the same in memory.
//! Where no device is, each test says so and passes; with `FOOLPROOF_EXPECT_CUDA=1` it fails.
#![cfg(feature = "cuda")]

#[path = "support/cuda_nets.rs"]
mod cuda_nets;
#[path = "support/networks.rs"]
mod networks;
#[path = "support/random_graph.rs"]
mod random_graph;
mod support;

use candle_core::{Device, Tensor};
use cuda_nets::device;
use foolproof::attack::{self, Params, Task};
use foolproof::data::{self, Choice, Source};
use foolproof::goal::Goal;
use foolproof::judge::{Judging, Trial, WitnessKind, predict_stored};
use foolproof::kernel::{Precision, halving, pixels};
use foolproof::model;
use foolproof::oracle::{Mark, Memo};
use foolproof::ratio::Ratio;
use foolproof::record::Witnesses;
use foolproof::rng::Streams;
use foolproof::threat::{Norm, Threat};
use std::sync::atomic::AtomicBool;
use support::stream;

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
    let (x_adv, g, x) = (floats("x_adv"), (floats("g") - 0.5).unwrap(), pixels::to_unit(&clean, [side; 2]).unwrap());
    // near enough to lie inside now and then
    let near = (&x + (&g * 0.01).unwrap()).unwrap();
    let bits = |t: Tensor| -> Vec<Option<u32>> {
        let v = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        v.iter().map(|v| (!v.is_nan()).then_some(v.to_bits())).collect()
    };
    let there = |t: &Tensor| t.to_device(&device).unwrap();
    assert_eq!(bits(pixels::to_unit(&there(&clean), [side; 2]).unwrap()), bits(x.clone()), "bytes");
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
    let clean = predict_stored(judge.as_ref(), &stored, subset.size, &device, 12).unwrap();
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
                images: 0..subset.len(),
                clean: &clean,
                goal: Goal::Untargeted,
                seed: 0,
                witness: WitnessKind::U8,
                judging: Judging::WhereItMatters,
                blind: false,
                votes: None,
                on_device,
                marks: &[Mark { end: 7, threat }],
                earlier: None,
                confidence: None,
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
