//! What an attack does depends on the logits' order and not on their size: against the formula in f64, and on nets whose
//! logits are multiplied, whose classes are few, or whose gradients are zero.

#[path = "support/hot.rs"]
mod hot;
mod support;
#[path = "support/tables.rs"]
mod tables;

use candle_core::{Device, Tensor};
use foolproof::analysis::paired::Paired;
use foolproof::analysis::{Run, Summary};
use foolproof::attack::{self, ATTACKS, Params, Task};
use foolproof::data::{self, Choice, Source, Subset};
use foolproof::error::Error;
use foolproof::export::{FORMATS, Request};
use foolproof::goal::{Goal, argmax};
use foolproof::judge::{Judging, Trial, WitnessKind, predict_stored};
use foolproof::kernel::cpu::Cpu;
use foolproof::kernel::graph::{Graph, Op};
use foolproof::kernel::plain::Plain;
use foolproof::kernel::{Engine, Precision};
use foolproof::oracle::{Mark, Memo};
use foolproof::ratio::Ratio;
use foolproof::record::{Outcome, Witnesses, ZERO_GRADIENT};
use foolproof::rng::Streams;
use foolproof::statistics::mcnemar;
use foolproof::store::Store;
use foolproof::sweep::{plan, verify};
use foolproof::threat::{Norm, Threat};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::{machine, ran, shared_data, small_net, stored, stream, with_ops};

const SIDE: usize = 8;
const VALUES: usize = 3 * SIDE * SIDE;
const CLASSES: usize = 5;
const IMAGES: usize = 60;

/// A small random net, its logits times 2^power.
fn toy(power: i32) -> Graph<f32> {
    let net = small_net(SIDE, &[6, 8], None, 16, CLASSES, "sizes").to_f32();
    let last = net.nodes().len() - 1;
    with_ops(net, |i, op| {
        if let (true, Op::Linear { weight, bias }) = (i == last, op) {
            weight.iter_mut().chain(bias).for_each(|v| *v *= 2f32.powi(power));
        }
    })
}

/// Images, each with the label that the net gives it.
fn toy_images() -> Subset {
    let mut s = stream("size images");
    let pixels: Vec<u8> = (0..IMAGES * VALUES).map(|_| 30 + s.below(196) as u8).collect();
    let x = data::to_tensor(&pixels, [SIDE; 2], &Device::Cpu).unwrap();
    let logits = Cpu::new(toy(0)).logits(&x).unwrap().to_vec2::<f32>().unwrap();
    let labels = logits.iter().map(|z| argmax(z)).collect();
    Subset::new((0..IMAGES).collect(), labels, pixels, [SIDE; 2], (0..CLASSES).map(|c| c.to_string()).collect())
}

/// What the formula gives in f64, for every image: its first iterate, and whether any fools.
struct Formula {
    first: Vec<Vec<f64>>,
    fooled: Vec<bool>,
}

/// x ← clip(project(x + α·steepest(∇ cross-entropy))): the gradient as Σ_j (p_j − [j = c]) ∇z_j, each p_j by its logarithm
/// and all of them times one factor, so that f64 holds them.
fn formula(net: &Graph<f32>, subset: &Subset, norm: Norm, eps: f64, step_size: f64, steps: usize) -> Formula {
    let plain = Plain::new(net.to_f64());
    let x: Vec<f64> = subset.pixels.iter().map(|v| f64::from(f32::from(*v) / 255.0)).collect();
    let mut x_adv = x.clone();
    let mut formula = Formula { first: Vec::new(), fooled: vec![false; IMAGES] };
    for step in 0..=steps {
        let images = Tensor::from_slice(&x_adv, (IMAGES, 3, SIDE, SIDE), &Device::Cpu).unwrap();
        // ∇z_j of every image, one pass back a class
        let mut slopes = Vec::new();
        let mut logits = Vec::new();
        for class in 0..CLASSES {
            let one = |_: usize, _: &[f32], g: &mut [f32]| {
                g.fill(0.0);
                g[class] = 1.0;
            };
            let (z, slope) = plain.logits_and_gradient(&images, &one).unwrap();
            logits = z.to_vec2::<f64>().unwrap();
            slopes.push(slope.flatten_from(1).unwrap().to_vec2::<f64>().unwrap());
        }
        for (i, z) in logits.iter().enumerate() {
            let label = subset.labels[i];
            let best = (1..CLASSES).fold(0, |best, j| if z[j] > z[best] { j } else { best });
            formula.fooled[i] |= step > 0 && best != label;
            let others = || (0..CLASSES).filter(|j| *j != label);
            let top = others().map(|j| z[j]).fold(f64::NEG_INFINITY, f64::max);
            let share = |j: usize| (z[j] - top).exp();
            let total: f64 = others().map(share).sum();
            let slope =
                |v: usize| others().map(|j| share(j) * slopes[j][i][v]).sum::<f64>() - total * slopes[label][i][v];
            let g: Vec<f64> = (0..VALUES).map(slope).collect();
            let here = &mut x_adv[i * VALUES..][..VALUES];
            ascend(here, &x[i * VALUES..][..VALUES], &g, norm, eps, step_size);
        }
        if step == 0 {
            formula.first = x_adv.chunks(VALUES).map(<[f64]>::to_vec).collect();
        }
    }
    formula
}

/// One step of an image.
fn ascend(x_adv: &mut [f64], x: &[f64], g: &[f64], norm: Norm, eps: f64, step_size: f64) {
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let of_g = length(&mut g.iter().copied());
    for (a, g) in x_adv.iter_mut().zip(g) {
        *a += step_size * if norm == Norm::Linf { g.signum() * f64::from(u8::from(*g != 0.0)) } else { g / of_g };
    }
    let far = length(&mut x_adv.iter().zip(x).map(|(a, x)| a - x));
    for (a, x) in x_adv.iter_mut().zip(x) {
        let d = *a - x;
        let inside = if norm == Norm::Linf { d.clamp(-eps, eps) } else { d * (eps / far).min(1.0) };
        *a = (x + inside).clamp(0.0, 1.0);
    }
}

/// What foolproof gives, with float witnesses.
fn found(
    net: &Graph<f32>,
    subset: &Subset,
    name: &str,
    given: &[(&str, &str)],
    threat: Threat,
) -> (Vec<Outcome>, Vec<f32>) {
    let engine = Cpu::new(net.clone());
    let clean = predict_stored(&engine, &Witnesses::U8(subset.pixels.clone()), [SIDE; 2], &Device::Cpu, 64).unwrap();
    let entry = attack::find(name).unwrap();
    let attack = entry.build(&Params::resolve(entry.params, given).unwrap(), &threat).unwrap();
    let trial = Trial {
        engine: &engine,
        attacked_through: (&engine, Precision::F32),
        device: &Device::Cpu,
        subset,
        images: 0..subset.len(),
        clean: &clean,
        goal: Goal::Untargeted,
        seed: 0,
        witness: WitnessKind::F32,
        judging: Judging::WhereItMatters,
        blind: false,
        votes: None,
        on_device: false,
        marks: &[Mark { end: usize::MAX, threat }],
        earlier: None,
        confidence: None,
        every_image: false,
        batch: 64,
        stop: &AtomicBool::new(false),
    };
    let task = Task::new(threat, Streams::new(0, "sizes"));
    let (outcomes, witnesses) = trial.run(attack.as_ref(), &task, &Memo::default(), &mut |_| {}).unwrap().remove(0);
    let Witnesses::F32(pixels) = witnesses else { panic!("float witnesses") };
    (outcomes, pixels)
}

/// From 2^-60 to 2^10 a gradient attack does in f32 what its formula does in f64: the first step is the same image, and as
/// many fall.
#[test]
fn at_every_size_of_logits_an_attack_does_what_its_formula_does_in_f64() {
    let subset = toy_images();
    for (norm, eps) in [(Norm::Linf, "4/255"), (Norm::L2, "0.2")] {
        let threat = Threat::within(norm, Ratio::parse(eps).unwrap());
        let eps = threat.eps.to_f64();
        let mut standing = Vec::new();
        for power in [-60, -40, -20, -8, 0, 3, 6, 10] {
            let net = toy(power);
            let (outcomes, witnesses) = found(&net, &subset, "fgsm", &[], threat);
            let one = formula(&net, &subset, norm, eps, eps, 1);
            let off = |(a, b): (&[f32], &Vec<f64>)| {
                a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt() / eps
            };
            let off: Vec<f64> = witnesses.chunks(VALUES).zip(&one.first).map(off).collect();
            // a sign of Linf, or a decision of the net, may fall the other way for rounding alone
            let most = if norm == Norm::Linf { 5.0 } else { 1e-3 };
            let far = off.iter().filter(|off| **off > most).count();
            assert!(far <= 2, "2^{power} {norm:?}: {far} first steps differ: {off:?}");
            assert!(outcomes.iter().all(|o| !o.has_short_step()), "2^{power} {norm:?}");

            let given = [("steps", "10"), ("random_start", "false")];
            let (outcomes, _) = found(&net, &subset, "pgd", &given, threat);
            let ten = formula(&net, &subset, norm, eps, 2.5 * eps / 10.0, 10);
            let fooled: Vec<bool> = outcomes.iter().map(|o| o.success == Some(true)).collect();
            let differ = fooled.iter().zip(&ten.fooled).filter(|(a, b)| a != b).count();
            let stand = |f: &[bool]| f.iter().filter(|f| !**f).count();
            println!("{norm:?} 2^{power}: {} stand, {} in f64, {differ} differ", stand(&fooled), stand(&ten.fooled));
            assert!(differ <= 2, "2^{power} {norm:?}: {differ} of {IMAGES} images differ");
            standing.push(stand(&fooled));
        }
        assert!(standing.iter().all(|n| (5..55).contains(n)), "both answers occur: {standing:?}");
    }
}

fn robust(s: &Summary) -> f64 {
    s.rates.as_ref().unwrap().robust_accuracy().unwrap()
}

/// The figures that the fault was reported with: hot4, hot8 and hot64 stood for their size alone.
#[test]
fn hot_nets_fall_as_the_base_net_does() {
    let Some(data) = shared_data("hot_nets_fall_as_the_base_net_does") else { return };
    let folder = tempfile::tempdir().unwrap();
    let nets = [1, 4, 8, 64].map(|k| hot::write(folder.path(), &format!("hot{k}"), &hot::Head::times(k as f32)));
    let text = format!(
        "name = \"hot\"\nseed = 0\n[[sweep]]\nmodels = [{}]\ndata = {{ name = \"cifar10\", take = 30 }}\ngoals = [\"untargeted\"]\n\
         threats = [{{ norm = \"l2\", eps = [\"0.5\"] }}, {{ norm = \"linf\", eps = [\"2/255\"] }}]\n\
         attacks = [{{ name = \"pgd\", steps = 10, random_start = false }}]\n",
        nets.map(|n| format!("{n:?}")).join(", ")
    );
    let (_kept, cells) = ran(&text, &Source::new(data), None);
    for s in &cells {
        println!("{} {} {}: {:.3}", s.cell.model.name, s.cell.threat.norm.name(), s.cell.threat.eps_text(), robust(s));
    }
    let of = |norm: &'static str| cells.iter().filter(move |s| s.cell.threat.norm.name() == norm).collect::<Vec<_>>();
    // f64 gives 0.033, 0.067 (hot4) and 0.100 (hot8)
    assert!(of("l2").iter().all(|s| robust(s) <= 0.12));
    let base = of("linf")[0];
    assert!(of("linf").iter().all(|s| (robust(s) - robust(base)).abs() < 0.07));
}

/// A search by probabilities has nothing to go by where f32 has none between 0 and 1.
#[test]
fn one_pixel_fools_a_hot_net_as_often() {
    let folder = tempfile::tempdir().unwrap();
    let nets = [1, 64].map(|k| hot::write(folder.path(), &format!("hot{k}"), &hot::Head::times(k as f32)));
    let text = format!(
        "name = \"pixels\"\nseed = 0\n[[sweep]]\nmodels = [{}]\ndata = {{ name = \"cifar10-sample\" }}\n\
         goals = [\"target:next\", \"untargeted\"]\nthreats = [{{ norm = \"pixels\", count = [6] }}]\n\
         attacks = [{{ name = \"one-pixel\", population = 80, generations = 20 }}]\n",
        nets.map(|n| format!("{n:?}")).join(", ")
    );
    let (_kept, cells) = ran(&text, &Source::new("nowhere"), None);
    let fooled = |s: &Summary| s.verdicts.iter().filter(|v| v.fooled).count();
    for s in &cells {
        println!("{} {}: {} of 20 fooled", s.cell.model.name, s.cell.goal, fooled(s));
    }
    for goal in ["target:next", "untargeted"] {
        let of: Vec<&Summary> = cells.iter().filter(|s| s.cell.goal.name() == goal).collect();
        for hot in &of[1..] {
            let (a, b) = Paired::of(&of[0].verdicts, &hot.verdicts, |v| v.fooled).only;
            assert!(
                a <= b || mcnemar(a, b) > 0.05,
                "{goal}: {a} fooled on the base net alone, {b} on {}",
                hot.cell.model.name
            );
        }
        assert!(fooled(of[0]) > 1, "{goal}: the test would not notice");
    }
}

/// A net that says the same of every image has no gradient: every attack that asks for one says so.
#[test]
fn a_dead_net_flags_rows_and_relations_and_is_unreliable() {
    let folder = tempfile::tempdir().unwrap();
    let dead = hot::write(folder.path(), "dead", &hot::Head::dead());
    let sample = "{ name = \"cifar10-sample\", first = 4 }";
    let text = format!(
        "name = \"dead\"\nseed = 0\n[[sweep]]\nmodels = [{dead:?}]\ndata = {sample}\ngoals = [\"untargeted\"]\n\
         threats = [{{ norm = \"linf\", eps = [\"8/255\"] }}, {{ norm = \"l2\", eps = [\"1\"] }}]\n\
         attacks = [{{ name = \"pgd\", steps = 4 }}, {{ name = \"fgsm\" }}]\n\
         [[sweep]]\nmodels = [{dead:?}]\ndata = {sample}\ntrain = {{ name = \"cifar10-sample\", take = 4 }}\ngoals = [\"target:7\"]\n\
         threats = [{{ norm = \"patch\", area = [\"10 %\"] }}]\n\
         attacks = [{{ name = \"patch\", steps = 3, images = 2, optimiser = [\"momentum\", \"adam\", \"sgd\"] }},\n\
         {{ name = \"patch\", fit = \"per-image\", steps = 3 }}]\n\
         [[sweep]]\nmodels = [{dead:?}]\ndata = {{ name = \"cifar10-sample\", take = 4 }}\ngoals = [\"target:7\"]\n\
         threats = [{{ norm = \"any\" }}]\nattacks = [{{ name = \"class-max\", steps = 3 }}]\n"
    );
    let (kept, cells) = ran(&text, &Source::new("nowhere"), None);
    assert_eq!(cells.len(), 9);
    for s in stored(kept.path(), &cells) {
        let name = format!("{} {}", s.cell.attack.name, s.cell.params());
        assert_eq!(s.provenance.error, None, "{name}");
        let attacked: Vec<&Outcome> = s.outcomes.iter().filter(|o| o.forwards > 0).collect();
        assert!(!attacked.is_empty() && attacked.iter().all(|o| o.has(ZERO_GRADIENT)), "{name}");
    }
    let store = Store::open(kept.path()).unwrap();
    let run = Run::read(&store).unwrap();
    let blind =
        run.sanity.iter().filter(|r| r.relation == "gradients are not zero" && r.verdict.name() != "ok").count();
    assert_eq!(blind, 9, "every cell has its relation");
    assert!(verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap().problems.is_empty());
    let to = folder.path().join("out");
    let format = FORMATS.iter().find(|f| f.name == "robustbench-json").unwrap();
    let written = format.write(&Request { store: &store, to: &to, weights: false }).unwrap();
    assert_eq!(written.files.len(), 2);
    for file in written.files {
        let entry: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(
            (&entry["external"] != "0.00", &entry["unreliable"]),
            (true, &serde_json::Value::Bool(true)),
            "{entry}"
        );
    }
}

/// The sample's first images, each in the folder of every class, so that one of its copies is classified rightly.
fn pictures(folder: &Path, classes: &[&str]) -> String {
    let sample = data::find("cifar10-sample").unwrap();
    let sample = sample.subset(&Source::new("nowhere"), &Choice::new("test", 0, Some(4))).unwrap();
    let path = folder.join(format!("pictures{}", classes.len()));
    for class in classes {
        fs::create_dir_all(path.join(class)).unwrap();
        for i in 0..sample.len() {
            fs::write(path.join(class).join(format!("{i}.png")), tables::png(sample.image(i), 32)).unwrap();
        }
    }
    path.to_str().unwrap().to_string()
}

fn problems(text: &str) -> String {
    match plan::parse(Path::new("s.toml"), text, &Source::new("nowhere")) {
        Ok(_) => String::new(),
        Err(problem @ Error::Config(_)) => problem.to_string(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_net_of_one_class_is_refused_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let one = hot::write(folder.path(), "one", &hot::Head::of(&[3]));
    let path = pictures(folder.path(), &["cat"]);
    for goal in ["untargeted", "target:random", "target:next", "target:least-likely", "target:0"] {
        let problem = problems(&format!(
            "name = \"one\"\nseed = 0\n[[sweep]]\nmodels = [{one:?}]\ndata = {{ name = \"folder\", path = {path:?}, resize = 32 }}\n\
             goals = [\"{goal}\"]\nthreats = [{{ norm = \"linf\", eps = [\"8/255\"] }}]\nattacks = [{{ name = \"fgsm\" }}]\n"
        ));
        assert!(
            problem.contains("s.toml:4: model `one` has 1 class (hint: attacks ask for a wrong class"),
            "{goal}: {problem}"
        );
    }
}

/// Two and three classes serve every goal and every attack of the registry.
#[test]
fn few_classes_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    for (classes, names) in [(&[3, 5][..], &["cat", "dog"][..]), (&[3, 5, 8], &["cat", "dog", "ship"])] {
        let model = hot::write(folder.path(), &format!("few{}", classes.len()), &hot::Head::of(classes));
        let path = pictures(folder.path(), names);
        let data =
            |first: usize| format!("{{ name = \"folder\", path = {path:?}, resize = 32, first = {first}, every = 2 }}");
        let mut text = "name = \"few\"\nseed = 0\n".to_string();
        for goal in ["untargeted", "target:random", "target:next", "target:least-likely", "target:dog"] {
            for (norm, budget) in [
                (Norm::Linf, ", eps = [\"8/255\"]"),
                (Norm::L2, ", eps = [\"0.5\"]"),
                (Norm::L1, ", eps = [\"12\"]"),
                (Norm::L0, ", count = [20]"),
                (Norm::Pixels, ", count = [1]"),
                (Norm::Patch, ", area = [\"10 %\"]"),
                (Norm::Any, ""),
            ] {
                // these two add attacks, but no way in which classes are counted
                if matches!(norm, Norm::L1 | Norm::L0) && goal != "untargeted" {
                    continue;
                }
                let attacks = short_attacks(norm, goal);
                text += &format!(
                    "[[sweep]]\nmodels = [{model:?}]\ndata = {}\ntrain = {}\ngoals = [\"{goal}\"]\n\
                     threats = [{{ norm = \"{}\"{budget} }}]\nattacks = [{}]\n",
                    data(0),
                    data(1),
                    norm.name(),
                    attacks.join(", ")
                );
            }
        }
        let (kept, cells) = ran(&text, &Source::new("nowhere"), None);
        let mut used: Vec<&str> = cells.iter().map(|s| s.cell.attack.name.as_str()).collect();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), ATTACKS.len());
        for s in stored(kept.path(), &cells) {
            let name = format!("{} {} {}", s.cell.attack.name, s.cell.params(), s.cell.goal);
            assert_eq!(s.provenance.error, None, "{name}");
            for o in &s.outcomes {
                assert!(!o.is_error() && o.margin_adversarial.is_some_and(f32::is_finite), "{name}: {o:?}");
                assert!(o.target.is_none_or(|t| t < classes.len() && Some(t) != o.label), "{name}: {o:?}");
            }
        }
        let store = Store::open(kept.path()).unwrap();
        assert!(verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap().problems.is_empty());
    }
}

/// Every attack that works in the norm and serves the goal, cut short; unions too.
fn short_attacks(norm: Norm, goal: &str) -> Vec<String> {
    const SHORT: [(&str, &str); 7] = [
        ("steps", "2"),
        ("generations", "1"),
        ("population", "5"),
        ("images", "2"),
        ("queries", "10"),
        ("searches", "2"),
        ("neighbours", "2"),
    ];
    let goal = Goal::parse(goal).unwrap_or(Goal::Class(1));
    let threat = Threat::within(norm, Ratio::new(1, 10).unwrap());
    let mut found = Vec::new();
    for entry in ATTACKS.iter().filter(|a| a.norms.contains(&norm)) {
        let has = |name: &str| entry.params.iter().any(|p| p.name == name);
        let cut: Vec<(&str, &str)> = SHORT.iter().copied().filter(|(name, _)| has(name)).collect();
        for more in [&[][..], &[("objective", "union")], &[("objective", "margin")], &[("fit", "per-image")]] {
            let given = [&cut[..], more].concat();
            let Ok(params) = Params::resolve(entry.params, &given) else { continue };
            if entry.build(&params, &threat).is_ok_and(|attack| attack.check_goal(&goal).is_ok()) {
                let keys: String = cut.iter().map(|(k, v)| format!(", {k} = {v}")).collect();
                let more: String = more.iter().map(|(k, v)| format!(", {k} = \"{v}\"")).collect();
                found.push(format!("{{ name = \"{}\"{keys}{more} }}", entry.name));
            }
        }
    }
    found
}

#[test]
fn parameters_that_paint_nothing_are_refused_with_their_range() {
    let problem = |given: &str| {
        problems(&format!(
            "name = \"ranges\"\nseed = 0\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ndata = {{ name = \"blank-cifar10\" }}\n\
             goals = [\"target:3\"]\nthreats = [{{ norm = \"any\" }}]\nattacks = [{{ name = \"class-max\", {given} }}]\n"
        ))
    };
    for (given, expected) in [
        ("jitter = 1000", "`jitter` = 1000 is outside 0 to 32, for images of 32 pixels"),
        ("scale = 1.5", "`scale` = 1.5 is outside 0 to 0.9"),
        ("rotate = 200", "`rotate` = 200 is outside 0 to 180"),
        ("decay = 1", "`decay` = 1 is outside 0 to 0.9"),
        ("tv = 100", "`tv` = 100 is outside 0 to 10"),
        ("step_size = 0", "`step_size` = 0 is outside 0.0001 to 1"),
        ("step_size = 5", "`step_size` = 5 is outside 0.0001 to 1"),
        ("blur_sigma = 9", "`blur_sigma` = 9 is outside 0 to 8"),
        ("blur_every = 0.5", "`blur_every` = 0.5 is no whole number of steps"),
    ] {
        let found = problem(given);
        assert!(found.contains("s.toml:8: attack `class-max`: ") && found.contains(expected), "{given}: {found}");
    }
    for given in ["jitter = 32", "scale = 0.9", "rotate = 0", "decay = 0.9", "blur_every = 0", "step_size = 1"] {
        assert_eq!(problem(given), "", "{given}");
    }
}

#[test]
fn steps_that_round_away_are_refused() {
    let problem = |norm: &str, eps: &str, attack: &str| {
        problems(&format!(
            "name = \"steps\"\nseed = 0\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ndata = {{ name = \"cifar10-sample\" }}\n\
             goals = [\"untargeted\"]\nthreats = [{{ norm = \"{norm}\", eps = [\"{eps}\"] }}]\nattacks = [{{ {attack} }}]\n\
             witness = \"f32\"\n"
        ))
    };
    let lost = "is lost where pixels are rounded";
    for (norm, eps, attack) in [
        ("linf", "8/255", "name = \"pgd\", steps = 1000000"),
        ("linf", "8/255", "name = \"pgd\", step_size = \"1/10000000\""),
        ("l2", "0.5", "name = \"pgd\", step_size = \"1/100000\""),
        ("linf", "1/100000000", "name = \"fgsm\""),
    ] {
        assert!(problem(norm, eps, attack).contains(lost), "{attack}: {}", problem(norm, eps, attack));
    }
    for (norm, eps, attack) in [("linf", "0", "name = \"pgd\""), ("l2", "0.01", "name = \"pgd\"")] {
        assert_eq!(problem(norm, eps, attack), "", "{attack}");
    }
}
