//! Every attack of the registry, in every norm it claims, must keep the laws. A new attack is tested here by its
//! registry line alone.

#[path = "support/hot.rs"]
mod hot;
mod support;

use candle_core::{Device, Tensor};
use foolproof::analysis::Summary;
use foolproof::analysis::paired::Paired;
use foolproof::attack::{ATTACKS, Entry, Kind, NoCheckpoint, Params, Workshop};
use foolproof::data::{self, Choice, Source, Subset};
use foolproof::goal::Goal;
use foolproof::kernel::{Engine, Loss, Precision};
use foolproof::model;
use foolproof::placement::Picture;
use foolproof::ratio::Ratio;
use foolproof::record::{Cell, Outcome, Witnesses};
use foolproof::rng::Streams;
use foolproof::statistics::mcnemar;
use foolproof::store::Store;
use foolproof::sweep::run::Machine;
use foolproof::threat::{Norm, Threat};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::{ran, stored, sweep};

/// What cuts an attack short.
const SHORT: [(&str, &str); 7] = [
    ("steps", "3"),
    ("generations", "2"),
    ("population", "12"),
    ("images", "4"),
    ("queries", "30"),
    ("neighbours", "2"),
    ("scales", "2"),
];

/// Every goal.
const GOALS: [&str; 5] = ["untargeted", "target:next", "target:random", "target:least-likely", "target:3"];

/// Whether the attack, with these parameters, serves the goal at all.
fn serves(entry: &Entry, given: &[(&str, &str)], norm: Norm, goal: &str) -> bool {
    let params = Params::resolve(entry.params, given).unwrap();
    let built = entry.build(&params, &Threat::within(norm, Ratio::new(1, 10).unwrap())).unwrap();
    let goal = Goal::parse(goal).unwrap();
    built.check_goal(&goal).is_ok()
}

/// One block over so many images of the sample with every attack of the registry that works in `norm`, cut short.
fn block(take: usize, norm: Norm, budgets: &str, goal: &str, witness: &str, model: &str, mode: &str) -> String {
    let attacks: Vec<String> = ATTACKS
        .iter()
        .filter(|a| a.norms.contains(&norm))
        .filter_map(|a| {
            let has = |name: &str| a.params.iter().any(|p| p.name == name);
            let cut: Vec<(&str, &str)> = SHORT.iter().copied().filter(|(name, _)| has(name)).collect();
            let short: String = cut.iter().map(|(name, n)| format!(", {name} = {n}")).collect();
            serves(a, &cut, norm, goal).then(|| format!("{{ name = \"{}\"{short} }}", a.name))
        })
        .collect();
    if attacks.is_empty() {
        return String::new();
    }
    // those that are fitted need images that are not attacked
    let data = match norm {
        Norm::Patch => {
            format!(
                "data = {{ name = \"cifar10-sample\", first = 8, take = {take} }}\n\
                 train = {{ name = \"cifar10-sample\", take = 8 }}"
            )
        }
        _ => format!("data = {{ name = \"cifar10-sample\", take = {take} }}"),
    };
    format!(
        "[[sweep]]\nmodels = [\"{model}\"]\n{data}\ngoals = [\"{goal}\"]\n\
         threats = [{{ norm = \"{}\"{budgets} }}]\nattacks = [{}]\nwitness = \"{witness}\"\n\
         mode = \"{mode}\"\n",
        norm.name(),
        attacks.join(", ")
    )
}

/// Every attack in every norm it claims, for these goals, from so many images.
fn everything(goals: &[&str], take: usize) -> String {
    let mut text = "name = \"conformance\"\nseed = 3\n".to_string();
    for (norm, budgets) in [
        (Norm::Linf, ", eps = [\"8/255\", \"0\", \"2/255\"]"),
        (Norm::L2, ", eps = [\"0.7\", \"0\", \"0.2\"]"),
        (Norm::L1, ", eps = [\"12\", \"0\", \"3\"]"),
        (Norm::L0, ", count = [30, 3]"),
        (Norm::Pixels, ", count = [3, 1]"),
        (Norm::Patch, ", area = [\"10 %\", \"2 %\"]"),
        (Norm::Any, ""),
    ] {
        for goal in goals {
            text += &block(take, norm, budgets, goal, "u8", "vgg11-half-cifar10", "at");
        }
        text += &block(take, norm, budgets, "untargeted", "f32", "vgg11-half-cifar10-robust", "at");
        text += &block(take, norm, budgets, "untargeted", "u8", "vgg11-half-cifar10-robust", "within");
        text += &block(take, norm, budgets, "target:next", "f32", "vgg11-half-cifar10", "within");
    }
    text
}

#[test]
fn every_attack_keeps_the_laws() {
    let (folder, cells) = sweep(&everything(&GOALS, 6), &Source::new("nowhere"), None);
    let store = Store::open(folder.path()).unwrap();
    for s in stored(folder.path(), &cells) {
        let name = format!(
            "{} {} {} {} {}",
            s.cell.attack.name,
            s.cell.threat.norm.name(),
            s.cell.threat.eps_text(),
            s.cell.goal,
            s.cell.witness
        );
        assert_eq!(s.provenance.error, None, "{name}");
        let count = match store.read_witnesses(&s.cell.id()).unwrap() {
            Witnesses::U8(v) => v.len(),
            Witnesses::F32(v) => v.len(),
        };
        assert_eq!(count, s.outcomes.len() * 3072, "{name}");
        let dropped = s.cell.data.take - s.outcomes.len();
        assert!(
            if s.cell.goal == Goal::Class(3) {
                dropped == cats(s.cell.data.first..s.cell.data.first + s.cell.data.take)
            } else {
                dropped <= 1
            },
            "{name}: {dropped} dropped"
        );
        for o in &s.outcomes {
            check(&name, &s.cell, o);
        }
    }
    // what is claimed can be verified without any attack code
    let findings = foolproof::sweep::verify::verify(&store, &Source::new("nowhere"), &support::machine(None)).unwrap();
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
    assert!(findings.successes > 50, "{}", findings.successes);
}

/// Images of class 3 in this part of the sample.
fn cats(images: Range<usize>) -> usize {
    [0, 8].iter().filter(|i| images.contains(i)).count()
}

/// Attacks that change images which are wrong before, too.
const CHANGES_ALL: [&str; 3] = ["patch", "paste", "class-max"];

fn check(name: &str, cell: &Cell, o: &Outcome) {
    let (norm, eps) = (cell.threat.norm.name(), cell.threat.eps_text());
    assert!(!o.is_error(), "{name}: {o:?}");
    let right_before = o.clean_prediction == o.label;
    let fooled = match o.target {
        None => o.adversarial_prediction != o.label,
        Some(target) => o.adversarial_prediction == Some(target),
    };
    assert_eq!(o.success, Some(right_before && fooled), "{name}: {o:?}");
    assert!(o.target.is_none() || o.target != o.label, "{name}");
    if !right_before && !CHANGES_ALL.contains(&cell.attack.name.as_str()) {
        assert_eq!(
            (o.step, o.forwards, o.backwards, o.l2),
            (0, 0, 0, Some(0.0)),
            "{name}: wrong images are not attacked"
        );
    }
    if eps == "0" || eps.starts_with("0/") {
        assert_eq!(o.success, Some(false), "{name}: no budget, no success");
        assert_eq!(o.l2, Some(0.0), "{name}");
    }
    match norm {
        "linf" => assert!(o.linf_255.unwrap() <= 8.0 + 1e-3, "{name}: {o:?}"),
        "l2" => assert!(o.l2.unwrap() <= 0.7 + 1e-6, "{name}: {o:?}"),
        "l1" => assert!(o.l1.unwrap() <= 12.0 + 2e-5, "{name}: {o:?}"),
        "l0" => assert!(o.l0.unwrap() <= 30.0, "{name}: {o:?}"),
        // three pixels, each from black to white
        "pixels" => assert!(o.l2.unwrap() <= 3.0 + 1e-6, "{name}: {o:?}"),
        _ => {}
    }
}

#[test]
fn every_attack_gives_the_same_bytes_for_any_batch_chunk_and_thread_count() {
    let run = |batch: Option<usize>, threads: usize, chunk: Option<usize>| {
        let machine = Machine { chunk, ..support::machine(batch) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (folder, cells) =
            pool.install(|| support::sweep_on(&everything(&GOALS[..2], 5), &Source::new("nowhere"), &machine));
        let mut files = Vec::new();
        for c in &cells {
            for file in ["cell.json", "outcomes.csv", "witnesses.safetensors"] {
                files.push(std::fs::read(folder.path().join("cells").join(&c.id).join(file)).unwrap());
            }
        }
        for file in [
            "tables/summary.csv",
            "tables/images.csv",
            "tables/targets.csv",
            "figures/robust-accuracy.svg",
            "figures/gallery.png",
        ] {
            files.push(std::fs::read(folder.path().join(Path::new(file))).unwrap());
        }
        files
    };
    let first = run(None, 2, None);
    // in batches of one, by one thread, in chunks of three: each image on another way than before
    assert!(run(Some(1), 1, Some(3)) == first);
}

/// What is long enough for the law of sizes to be seen, and short enough for a test.
const LONGER: [(&str, &str); 7] = [
    ("steps", "16"),
    ("generations", "6"),
    ("population", "24"),
    ("images", "4"),
    ("queries", "100"),
    ("neighbours", "4"),
    ("scales", "3"),
];

/// Every attack of the registry that works in `norm` and serves the goal: as it is, and with each other choice that it has.
fn choices(norm: Norm, goal: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in ATTACKS.iter().filter(|a| a.norms.contains(&norm)) {
        let has = |name: &str| entry.params.iter().any(|p| p.name == name);
        let cut: Vec<(&str, &str)> = LONGER.iter().copied().filter(|(name, _)| has(name)).collect();
        let mut tried = vec![cut.clone()];
        for param in entry.params {
            let Kind::Choice(values) = param.kind else { continue };
            tried.extend(
                values.iter().filter(|v| **v != param.default).map(|v| [&cut[..], &[(param.name, *v)]].concat()),
            );
        }
        // the optimisers of a patch of one image, too
        tried.extend(
            ["adam", "sgd"]
                .iter()
                .filter(|_| has("optimiser"))
                .map(|o| [&cut[..], &[("fit", "per-image"), ("optimiser", *o)]].concat()),
        );
        // what it runs stands in the list itself: once is enough
        if entry.name == "autoattack" {
            tried.truncate(usize::from(norm == Norm::Linf));
        }
        let threat = Threat::within(norm, Ratio::new(1, 10).unwrap());
        let goal = Goal::parse(goal).unwrap();
        let serves = |given: &&Vec<(&str, &str)>| {
            let built = entry.build(&Params::resolve(entry.params, given).unwrap(), &threat);
            built.is_ok_and(|attack| attack.check_goal(&goal).is_ok())
        };
        let text = |given: &Vec<(&str, &str)>| {
            let keys: String = given.iter().map(|(k, v)| format!(", {k} = {}", quoted(v))).collect();
            format!("{{ name = \"{}\"{keys} }}", entry.name)
        };
        found.extend(tried.iter().filter(serves).map(text));
    }
    found
}

/// As TOML has it.
fn quoted(value: &str) -> String {
    if value.parse::<u64>().is_ok() { value.to_string() } else { format!("\"{value}\"") }
}

/// The size of the logits is no defence: a net whose logits are multiplied by a power of two has the same argmax everywhere,
/// and no attack fools it less, beyond chance (McNemar's exact test over the images, one-sided, at 1 % each).
#[test]
fn the_size_of_the_logits_is_no_defence() {
    let folder = tempfile::tempdir().unwrap();
    let powers = [0, 10];
    let names = powers.map(|p| hot::write(folder.path(), &format!("hot{p}"), &hot::Head::times(2f32.powi(p))));
    let models = names.map(|n| format!("{n:?}")).join(", ");
    let mut text = "name = \"sizes\"\nseed = 0\n".to_string();
    for (norm, budget, goals) in [
        (Norm::Linf, ", eps = [\"2/255\"]", ["untargeted", "target:next"]),
        (Norm::L2, ", eps = [\"0.4\"]", ["untargeted", "target:next"]),
        (Norm::L1, ", eps = [\"6\"]", ["untargeted", "target:next"]),
        (Norm::L0, ", count = [20]", ["untargeted", "target:next"]),
        (Norm::Pixels, ", count = [3]", ["untargeted", "target:next"]),
        (Norm::Patch, ", area = [\"30 %\"]", ["untargeted", "target:3"]),
        (Norm::Any, "", ["untargeted", "target:3"]),
    ] {
        let train = match norm {
            Norm::Patch => {
                "data = { name = \"cifar10-sample\", first = 4 }\ntrain = { name = \"cifar10-sample\", take = 4 }"
            }
            _ => "data = { name = \"cifar10-sample\", take = 14 }",
        };
        for goal in goals {
            let attacks = choices(norm, goal);
            if !attacks.is_empty() {
                text += &format!(
                    "[[sweep]]\nmodels = [{models}]\n{train}\ngoals = [\"{goal}\"]\nthreats = [{{ norm = \"{}\"{budget} }}]\n\
                     attacks = [{}]\n",
                    norm.name(),
                    attacks.join(", ")
                );
            }
        }
    }
    let (_kept, cells) = ran(&text, &Source::new("nowhere"), None);
    let of = |s: &Summary| {
        let c = &s.cell;
        format!("{} {} {} {} {}", c.attack.name, c.params(), c.threat.norm.name(), c.threat.eps_text(), c.goal)
    };
    let base: Vec<&Summary> = cells.iter().filter(|s| s.cell.model.name == "hot0").collect();
    let (mut compared, mut attacks) = (0, std::collections::BTreeSet::new());
    for hot in cells.iter().filter(|s| s.cell.model.name != "hot0") {
        assert_eq!(hot.status, "ok", "{} {:?}", of(hot), hot.error);
        let same = base.iter().find(|s| of(s) == of(hot)).unwrap();
        let pair = Paired::of(&same.verdicts, &hot.verdicts, |v| v.fooled);
        let (alone, hot_alone) = pair.only;
        let p = if alone > hot_alone { mcnemar(alone, hot_alone) / 2.0 } else { 1.0 };
        println!(
            "{} {}: {alone} fooled without it, {hot_alone} with it, {} both",
            hot.cell.model.name,
            of(hot),
            pair.both
        );
        // one universal patch serves all images: it is one draw, of other random numbers on each net, and not as many as there
        // are images; `a_universal_patch_is_the_same_at_any_size_of_logits` holds it to the law
        let one_draw = same.cell.attack.params.get("fit").is_some_and(|fit| fit == "universal");
        assert!(
            one_draw || p > 0.01,
            "{}, {}: {alone} images stand for their size alone, p = {p}",
            hot.cell.model.name,
            of(hot)
        );
        assert_eq!(hot.indicators.zero_gradient + hot.indicators.short_step, 0, "{}", of(hot));
        compared += 1;
        attacks.insert(hot.cell.attack.name.clone());
    }
    assert_eq!(attacks.len(), ATTACKS.len(), "{attacks:?}");
    assert_eq!(compared, base.len() * (powers.len() - 1));
}

/// A net whose logits are multiplied.
struct Times {
    engine: Box<dyn Engine>,
    factor: f32,
}

impl Engine for Times {
    fn logits(&self, images: &Tensor) -> foolproof::error::Result<Tensor> {
        Ok((self.engine.logits(images)? * f64::from(self.factor))?)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> foolproof::error::Result<(Tensor, Tensor)> {
        let hot = |row: usize, logits: &[f32], gradient: &mut [f32]| {
            let logits: Vec<f32> = logits.iter().map(|z| z * self.factor).collect();
            loss.gradient(row, &logits, gradient);
            gradient.iter_mut().for_each(|g| *g *= self.factor);
        };
        let (logits, gradient) = self.engine.logits_and_gradient(images, &hot)?;
        Ok(((logits * f64::from(self.factor))?, gradient))
    }
}

/// The patch that is fitted to a net whose logits are multiplied by 2 to this power, with the same random numbers.
fn fitted(power: i32, optimiser: &str, train: &Subset) -> Picture {
    let entry = foolproof::attack::find("patch").unwrap();
    let given = [("steps", "8"), ("images", "4"), ("optimiser", optimiser)];
    let threat = Threat::within(Norm::Patch, Ratio::new(1, 10).unwrap());
    let attack = entry.build(&Params::resolve(entry.params, &given).unwrap(), &threat).unwrap();
    let net = model::built_in("vgg11-half-cifar10").unwrap().engine(&Device::Cpu, Precision::F32).unwrap();
    let mut workshop = Workshop {
        engines: vec![Box::new(Times { engine: net, factor: 2f32.powi(power) })],
        device: &Device::Cpu,
        train: Some(train),
        goal: Goal::Class(3),
        size: [32; 2],
        given: None,
        streams: Streams::new(0, "sizes"),
        checkpoint: &NoCheckpoint,
        stop: &AtomicBool::new(false),
        progress: &mut |_| {},
        curve: Vec::new(),
        blind: false,
    };
    attack.pictures(&mut workshop).unwrap().remove(0)
}

#[test]
fn a_universal_patch_is_the_same_at_any_size_of_logits() {
    let sample = data::find("cifar10-sample").unwrap();
    let train = sample.subset(&Source::new("nowhere"), &Choice::new("test", 0, Some(6))).unwrap();
    for optimiser in ["momentum", "adam", "sgd"] {
        let base = fitted(0, optimiser, &train);
        assert!(base.rgb.iter().any(|v| (v - 0.5).abs() > 0.01), "{optimiser}: it moved");
        for power in [-8, 1, 3, 10] {
            assert_eq!(fitted(power, optimiser, &train).rgb, base.rgb, "{optimiser} 2^{power}");
        }
    }
}

/// The ladder names the attacks that its relations are about; it may not see the registry.
#[test]
fn attacks_of_the_sanity_ladder_are_registered() {
    for name in foolproof::analysis::ladder::ATTACKS.iter().copied().flatten() {
        assert!(ATTACKS.iter().any(|entry| entry.name == *name), "{name}");
    }
}
