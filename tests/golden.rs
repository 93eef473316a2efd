//! Numbers of PyTorch, torchattacks and Foolbox on the same models and images (`../shared/reference`).

mod support;

use candle_core::{Device, Tensor};
use foolproof::analysis::Summary;
use foolproof::attack::{self, Params, Task};
use foolproof::data::{self, Choice, Source, Subset};
use foolproof::goal::{Aim, Goal, argmax};
use foolproof::judge::{Judging, Trial, WitnessKind, predict_stored};
use foolproof::kernel::cpu::Cpu;
use foolproof::kernel::plain::Plain;
use foolproof::kernel::{Engine, Precision};
use foolproof::loss::{log_odds, log_share_of_others};
use foolproof::model::{self, BuiltIn, MODELS};
use foolproof::oracle::{Mark, Memo};
use foolproof::ratio::Ratio;
use foolproof::record::{Outcome, Witnesses};
use foolproof::rng::Streams;
use foolproof::threat::{Norm, Threat};
use safetensors::SafeTensors;
use serde_json::Value;
use std::sync::atomic::AtomicBool;
use support::{number, shared_data, shared_reference, stored, stream, sweep};

fn tensor(file: &SafeTensors, name: &str) -> Vec<f32> {
    file.tensor(name).unwrap().data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Relative L2 distance.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    square(&mut a.iter().zip(b).map(|(x, y)| f64::from(x - y))) / square(&mut b.iter().map(|y| f64::from(*y)))
}

#[test]
fn the_sample_is_the_head_of_the_test_set() {
    let Some(folder) = shared_data("the_sample_is_the_head_of_the_test_set") else {
        return;
    };
    let source = Source::new(folder);
    let sample = data::find("cifar10-sample").unwrap().subset(&source, &Choice::new("test", 0, None)).unwrap();
    let head = data::find("cifar10").unwrap().subset(&source, &Choice::new("test", 0, Some(20))).unwrap();
    assert_eq!((sample.labels, sample.pixels), (head.labels, head.pixels));
}

/// Gradient of the cross-entropy with respect to the logits, as PyTorch has it.
fn cross_entropy(aim: &Aim, z: &[f32], g: &mut [f32]) {
    log_odds(aim, z, g);
    let share = log_share_of_others(z, aim.label).exp();
    g.iter_mut().for_each(|g| *g = (f64::from(*g) * share) as f32);
}

/// Shows that a gradient is off because one ReLU or maximum fell the other way: in f64, too, it falls so when the pixels
/// of image `i` move by rounding errors. Returns how far they moved.
fn flip(reference: &Plain<f64>, subset: &Subset, i: usize, ours: &[f32]) -> Option<f64> {
    let mut noise = stream("flip");
    let label = Aim { label: subset.labels[i], target: None };
    (0..64).map(|trial| 1e-7 * f64::from(1 + trial / 8)).find(|size| {
        let x: Vec<f64> = subset.image(i).iter().map(|v| f64::from(*v) / 255.0 + size * number(&mut noise)).collect();
        let x = Tensor::from_vec(x, (1, 3, 32, 32), &Device::Cpu).unwrap();
        let seed = |_: usize, z: &[f32], g: &mut [f32]| {
            cross_entropy(&label, z, g);
        };
        let (_, gradient) = reference.logits_and_gradient(&x, &seed).unwrap();
        let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let gradient: Vec<f32> = gradient.iter().map(|g| *g as f32).collect();
        distance(ours, &gradient) < 1e-4
    })
}

/// The embedded networks, each once: those behind a defence have the weights of another.
fn embedded() -> impl Iterator<Item = &'static BuiltIn> {
    MODELS.iter().filter(|m| m.is_embedded() && m.file().unwrap().defence.stages.is_empty())
}

#[test]
fn logits_and_gradients_equal_pytorch() {
    let Some((folder, reference)) = shared_reference("logits_and_gradients_equal_pytorch") else {
        return;
    };
    let bytes = std::fs::read(reference.join("goldens.safetensors")).unwrap();
    let goldens = SafeTensors::deserialize(&bytes).unwrap();
    let subset =
        data::find("cifar10").unwrap().subset(&Source::new(folder), &Choice::new("test", 0, Some(32))).unwrap();
    let x = data::to_tensor(&subset.pixels, [32; 2], &Device::Cpu).unwrap();
    for entry in embedded() {
        let source = model::built_in(entry.name).unwrap();
        let engine = Cpu::new(source.load().unwrap());
        let seed = |row: usize, z: &[f32], g: &mut [f32]| {
            cross_entropy(&Aim { label: subset.labels[row], target: None }, z, g);
        };
        let (logits, gradient) = engine.logits_and_gradient(&x, &seed).unwrap();
        let (logits, gradient): (Vec<f32>, Vec<f32>) =
            (logits.flatten_all().unwrap().to_vec1().unwrap(), gradient.flatten_all().unwrap().to_vec1().unwrap());
        // maxima drop NaN
        assert!(logits.iter().chain(&gradient).all(|v| v.is_finite()), "{}", entry.name);
        let expected = tensor(&goldens, &format!("{}.logits", entry.name));
        let worst = logits.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        println!("{}: logits within {worst:e} of PyTorch in f64", entry.name);
        assert!(worst < 1e-4, "{}: logits {worst}", entry.name);

        let expected = tensor(&goldens, &format!("{}.input_gradient", entry.name));
        let errors: Vec<f64> =
            gradient.chunks_exact(3072).zip(expected.chunks_exact(3072)).map(|(a, b)| distance(a, b)).collect();
        let (right, other): (Vec<usize>, Vec<usize>) = (0..32).partition(|i| errors[*i] < 1e-4);
        let worst = right.iter().map(|i| errors[*i]).fold(0.0, f64::max);
        println!("{}: {} gradients within {worst:e} of PyTorch in f64", entry.name, right.len());
        assert!(other.len() <= 2, "{}: gradient errors {errors:?}", entry.name);
        let reference = Plain::new(source.load().unwrap().to_f64());
        for i in other {
            let ours = &gradient[i * 3072..][..3072];
            let moved = flip(&reference, &subset, i, ours);
            let moved = moved.unwrap_or_else(|| panic!("{}: image {i}, {:e} off, is no flip", entry.name, errors[i]));
            println!("{}: image {i} is {:e} off: a decision that {moved:e} flips", entry.name, errors[i]);
        }
        let expected =
            goldens.tensor(&format!("{}.fgsm_8_prediction", entry.name)).unwrap().data().as_chunks::<8>().0.to_vec();
        let moved: Vec<f32> = x
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .zip(&gradient)
            .map(|(x, g)| {
                let sign = f32::from(*g > 0.0) - f32::from(*g < 0.0);
                ((x + 8.0 / 255.0 * sign).clamp(0.0, 1.0) * 255.0).round_ties_even() / 255.0
            })
            .collect();
        let rows = engine
            .logits(&Tensor::from_vec(moved, (32, 3, 32, 32), &Device::Cpu).unwrap())
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        let differ = rows.iter().zip(expected).filter(|(z, e)| argmax(z) as i64 != i64::from_le_bytes(*e)).count();
        assert!(differ <= 1, "{}: {differ} FGSM predictions differ", entry.name);
    }
}

const LINF: &str = r#"
name = "golden"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10", split = "test", first = 0, take = 500 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["1/255", "2/255", "4/255", "8/255", "16/255"] }]
attacks = [{ name = "fgsm" }, { name = "pgd", steps = 10, step_size = "2.5*eps/steps", random_start = false }]
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10", split = "test", first = 0, take = 500 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "pgd", steps = 10, step_size = "2/255", random_start = true }]
"#;

#[test]
fn counts_equal_pytorch_to_the_image() {
    let Some((folder, reference)) = shared_reference("counts_equal_pytorch_to_the_image") else {
        return;
    };
    let text = std::fs::read_to_string(reference.join("goldens.json")).unwrap();
    let goldens: Value = serde_json::from_str(&text).unwrap();
    let (_kept, cells) = sweep(LINF, &Source::new(folder), None);
    for s in &cells {
        let golden = &goldens["models"][&s.cell.model.name];
        let rates = s.rates.as_ref().unwrap();
        let (ours, eps) = (rates.robust_correct as i64, s.cell.threat.eps_text());
        assert_eq!(rates.clean_correct as i64, golden["clean_correct"], "{}", s.cell.model.name);
        let random_start = s.cell.attack.params.get("random_start").is_some_and(|v| v == "true");
        let (theirs, most) = match (s.cell.attack.name.as_str(), random_start) {
            ("fgsm", _) => (golden["fgsm_correct"][&eps].as_i64().unwrap(), 1),
            (_, false) => (golden["pgd10_no_start_any_iterate_correct"][&eps].as_i64().unwrap(), 1),
            // one point of 500 images
            (_, true) => (golden["torchattacks_pgd10_start_8_correct"].as_i64().unwrap(), 5),
        };
        println!("{} {} start={random_start} {eps}: {ours}, reference {theirs}", s.cell.model.name, s.cell.attack.name);
        assert!(
            (ours - theirs).abs() <= most,
            "{} {} {eps}: {ours}, reference {theirs}",
            s.cell.model.name,
            s.cell.attack.name
        );
    }
    assert_eq!(cells.len(), 22);
}

const L2: &str = r#"
name = "l2"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10", split = "test", first = 0, take = 200 }
goals   = ["untargeted"]
threats = [{ norm = "l2", eps = ["0.25", "0.5"] }]
attacks = [{ name = "pgd", steps = 20, step_size = "2.5*eps/steps", random_start = false }]
witness = "u8"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10", split = "test", first = 0, take = 200 }
goals   = ["untargeted"]
threats = [{ norm = "l2", eps = ["0.25", "0.5"] }]
attacks = [{ name = "pgd", steps = 20, step_size = "2.5*eps/steps", random_start = false }]
witness = "f32"
"#;

#[test]
fn eight_bit_l2_witnesses_stay_in_their_ball_and_lose_little() {
    let Some(folder) = shared_data("eight_bit_l2_witnesses_stay_in_their_ball_and_lose_little") else {
        return;
    };
    let (kept, cells) = sweep(L2, &Source::new(folder), None);
    for (s, stored) in cells.iter().zip(stored(kept.path(), &cells)) {
        let eps: f64 = s.cell.threat.eps.to_f64();
        let slack = if s.cell.witness == WitnessKind::F32 { 1e-6 } else { 0.0 };
        for o in &stored.outcomes {
            assert!(o.l2.unwrap() <= eps + slack, "example {} at {} of {eps}", o.example, o.l2.unwrap());
        }
    }
    let robust = |s: &Summary| s.rates.as_ref().unwrap().robust_correct as i64;
    let floats: Vec<&Summary> = cells.iter().filter(|s| s.cell.witness == WitnessKind::F32).collect();
    for s in cells.iter().filter(|s| s.cell.witness == WitnessKind::U8) {
        let same = |f: &&&Summary| f.cell.model == s.cell.model && f.cell.threat == s.cell.threat;
        let float = floats.iter().find(same).unwrap();
        println!(
            "{} L2 {}: {} of 200 stand as 8-bit images, {} as floats",
            s.cell.model.name,
            s.cell.threat.eps_text(),
            robust(s),
            robust(float)
        );
        // what the quantiser may cost: 2 points; it may never make an attack stronger by more than ties
        assert!(
            (robust(s) - robust(float)).abs() <= 4,
            "{}: {} against {}",
            s.cell.model.name,
            robust(s),
            robust(float)
        );
    }
}

#[test]
fn skipping_judgements_loses_no_success() {
    let Some(folder) = shared_data("skipping_judgements_loses_no_success") else {
        return;
    };
    let source = Source::new(folder);
    let params = |given: &[(&str, &str)]| Params::resolve(attack::find("pgd").unwrap().params, given).unwrap();
    let plain = params(&[("steps", "10"), ("random_start", "false")]);
    let restarted = params(&[("steps", "20"), ("restarts", "2")]);
    let cases = [
        (Norm::Linf, vec!["1/255", "2/255", "4/255", "8/255", "16/255"], &plain, 200, WitnessKind::U8),
        (Norm::Linf, vec!["3/510", "2/255", "8/255"], &restarted, 100, WitnessKind::U8),
        (Norm::Linf, vec!["2/255"], &restarted, 100, WitnessKind::F32),
        (Norm::L2, vec!["0.25", "0.5"], &restarted, 100, WitnessKind::U8),
    ];
    for entry in embedded() {
        let engine = model::built_in(entry.name).unwrap().engine(&Device::Cpu, Precision::F32).unwrap();
        for (norm, budgets, params, take, witness) in &cases {
            let subset = data::find("cifar10").unwrap().subset(&source, &Choice::new("test", 0, Some(*take))).unwrap();
            let pixels = Witnesses::U8(subset.pixels.clone());
            let clean = predict_stored(engine.as_ref(), &pixels, [32; 2], &Device::Cpu, 512).unwrap();
            for eps in budgets {
                let threat = Threat::within(*norm, Ratio::parse(eps).unwrap());
                let attack = attack::find("pgd").unwrap().build(params, &threat).unwrap();
                let run = |judging, on_device| {
                    let trial = Trial {
                        engine: engine.as_ref(),
                        attacked_through: (engine.as_ref(), Precision::F32),
                        device: &Device::Cpu,
                        subset: &subset,
                        images: 0..subset.len(),
                        clean: &clean,
                        goal: Goal::Untargeted,
                        seed: 0,
                        witness: *witness,
                        judging,
                        blind: false,
                        votes: None,
                        on_device,
                        marks: &[Mark { end: usize::MAX, threat }],
                        earlier: None,
                        confidence: None,
                        every_image: false,
                        batch: 512,
                        stop: &AtomicBool::new(false),
                    };
                    let task = Task::new(threat, Streams::new(0, "golden"));
                    trial.run(attack.as_ref(), &task, &Memo::default(), &mut |_| {}).unwrap().remove(0).0
                };
                let (every, some) = (run(Judging::Every, false), run(Judging::WhereItMatters, false));
                let there = run(Judging::WhereItMatters, true);
                let spent = |o: &[Outcome]| o.iter().map(|o| o.forwards - o.backwards).sum::<u64>();
                let broken = |o: &[Outcome]| o.iter().filter(|o| o.success == Some(true)).count();
                let (all, left) = (spent(&every), spent(&some));
                println!(
                    "{} {} {eps}: {} broken either way, {left} of {all} judgements",
                    entry.name,
                    norm.name(),
                    broken(&every)
                );
                assert!(spent(&there).abs_diff(left) <= left / 100, "{} of {left} judgements", spent(&there));
                for (a, b) in every.iter().zip(&some).chain(every.iter().zip(&there)) {
                    // of an image that stands, only which iterate came closest may differ
                    let found = |o: &Outcome| (o.success == Some(true)).then_some((o.step, o.restart, o.linf_255));
                    assert_eq!((a.success, found(a)), (b.success, found(b)), "{} {eps}: {a:?} {b:?}", entry.name);
                }
            }
        }
    }
}
