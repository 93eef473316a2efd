//! Sweep files: every error of a file at once, with line, key and a hint; no file makes the parser panic.

mod support;

use foolproof::data::Source;
use foolproof::error::Error;
use foolproof::rng::Stream;
use foolproof::store::Store;
use foolproof::sweep::plan::{self, Plan};
use foolproof::sweep::run;
use foolproof::terms::Precision;
use rayon::prelude::*;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::stream;

const MINIMAL: &str = r#"name = "minimal"
[[sweep]]
models = ["vgg11-half-cifar10"]
data = { name = "cifar10-sample" }
goals = ["untargeted"]
threats = [{ norm = "l2", minimal = true }]
attacks = [{ name = "fmn" }]
"#;

fn parse(text: &str) -> Result<Plan, Error> {
    plan::parse(Path::new("x.toml"), text, &Source::new("nowhere"))
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Err(Error::Config(problems)) => problems,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

const GOOD: &str = include_str!("../configs/sweeps/pgd.toml");

#[test]
fn the_main_sweep_has_forty_cells_in_a_fixed_order() {
    let plan = parse(GOOD).unwrap();
    assert_eq!((plan.name.as_str(), plan.cells.len()), ("pgd", 40));
    let first = &plan.cells[0].cell;
    assert_eq!((first.attack.name.as_str(), first.threat.eps_text().as_str()), ("noise", "1/255"));
    let last = &plan.cells[39].cell;
    assert_eq!(last.params(), "loss=ce;random_start=true;restarts=2;step_size=2.5*eps/steps;steps=40");
    assert_eq!(last.model.name, "vgg11-half-cifar10-robust");
}

#[test]
fn ids_survive_rewriting_and_change_with_meaning() {
    let ids = |text: &str| parse(text).unwrap().cells.iter().map(|c| c.id.clone()).collect::<Vec<_>>();
    let rewritten =
        GOOD.replace("steps = 10, step_size = \"2.5*eps/steps\"", "step_size = \"2.5 * eps / steps\", steps=10");
    assert_eq!(ids(GOOD), ids(&rewritten));
    assert_eq!(ids(GOOD), ids(&GOOD.replace("\"1/255\"", "\"2/510\"")), "equal budgets are one cell");
    assert!(ids(GOOD).iter().zip(ids(&GOOD.replace("seed = 0", "seed = 1"))).all(|(a, b)| *a != b));
    let twice = format!("{GOOD}{}", &GOOD[GOOD.find("[[sweep]]").unwrap()..]);
    assert_eq!(ids(GOOD), ids(&twice), "a cell that two blocks name is one cell");
}

#[test]
fn every_error_of_a_file_is_reported_at_once_with_its_line() {
    let text = r#"nam = "pgd"
seed = -1
[[sweep]]
models  = ["vgg11-half-cifar", "vgg11-half-cifar10"]
data    = { name = "cifar10-sampel", takes = 3 }
goals   = ["untargetted", "target:10"]
threats = [{ norm = "l3", eps = ["8/0", 0.5] }, { eps = ["1"] }]
attacks = [
  { name = "fgms" },
  { name = "pgd", stepsize = "2/255", steps = 0 },
  { name = "pgd", random_start = false, restarts = 2 },
  { name = "fgsm", sigma = 1 },
]
mode = "with"
witness = "u16"
colour = 1
"#;
    let found = problems(text);
    let expected = [
        (1, "missing key `name`"),
        (1, "unknown key `nam` (hint: did you mean `name`?)"),
        (2, "`seed`: expected a whole number from 0, found integer `-1`"),
        (4, "unknown model `vgg11-half-cifar`"),
        (5, "unknown dataset `cifar10-sampel` (hint: did you mean `cifar10-sample`?)"),
        (5, "unknown key `takes` in `sweep[0].data` (hint: did you mean `take`?)"),
        (6, "unknown goal `untargetted` (hint: did you mean `untargeted`?)"),
        (6, "goal `target:10`: the classes are 0 to 9"),
        (7, "unknown norm `l3`"),
        (7, "eps `8/0`: expected a number"),
        (7, "expected a list of texts, in quotation marks, found float `0.5`"),
        (7, "missing key `norm` in `sweep[0].threats[1]`"),
        (9, "unknown attack `fgms` (hint: did you mean `fgsm`?)"),
        (10, "attack `pgd`: unknown key `stepsize` (hint: did you mean `step_size`?)"),
        (10, "attack `pgd`: `steps`: expected a whole number from 1 to 1000000, found `0`"),
        (12, "attack `fgsm`: unknown key `sigma` (this attack has no parameters)"),
        (14, "unknown mode `with`"),
        (15, "unknown witness `u16`"),
        (16, "unknown key `colour` in `sweep[0]`"),
    ];
    for (line, text) in expected {
        let prefix = format!("x.toml:{line}: ");
        assert!(found.iter().any(|p| p.starts_with(&prefix) && p.contains(text)), "{line}: {text}\nin {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_only_shows_in_the_product_is_reported_too() {
    let found = problems(&GOOD.replace("random_start = false", "random_start = false, restarts = 2"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("restarts above 1 repeat the same run without random_start = true"), "{found:?}");

    let many: Vec<String> = (0..30_000).map(|i| format!("\"{}/100000\"", i + 1000)).collect();
    let found = problems(&GOOD.replace("\"1/255\"", &many.join(", ")));
    assert!(found[0].contains("more than 100000 cells"), "{found:?}");

    let found = problems(&GOOD.replace("name = \"cifar10-sample\"", "name = \"cifar10-sample\", first = 15, take = 6"));
    assert!(found[0].contains("20 images") && found[0].contains("does not fit"), "{found:?}");

    let found = problems(&GOOD.replace("name = \"pgd\"  ", "name = \"../pgd\""));
    assert!(found[0].contains("becomes a folder"), "{found:?}");

    let found = problems(&GOOD.replace("\"1/255\"", "\"0.5/255\""));
    assert!(found.len() == 1 && found[0].contains("less than one grey level"), "{found:?}");

    let found = problems("name = \"a\"\n[[sweep]\n");
    assert!(found[0].starts_with("x.toml:2: "), "{found:?}");
}

#[test]
fn every_sweep_that_needs_no_data_resolves() {
    let cells = [
        ("class-max", 80),
        ("everything", 104),
        ("noise", 90),
        ("one-pixel", 10),
        ("paste", 50),
        ("pgd", 40),
        ("toaster", 60),
        ("within", 10),
    ];
    for (name, expected) in cells {
        let path = format!("configs/sweeps/{name}.toml");
        let plan = plan::load(Path::new(&path), &Source::new("nowhere")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((plan.name.as_str(), plan.cells.len()), (name, expected));
    }
}

#[test]
fn a_sweep_over_the_hub_says_without_a_network_what_it_lacks() {
    let error = plan::load(Path::new("configs/sweeps/pgd-imagenet.toml"), &Source::new("nowhere")).err().unwrap();
    let Error::Config(problems) = error else { panic!("another error: {error}") };
    let weights = problems.iter().find(|p| p.starts_with("configs/sweeps/pgd-imagenet.toml:8: ")).expect("its line");
    for part in
        ["model.safetensors", "timm/vgg16.tv_in1k", "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f", "foolproof fetch"]
    {
        assert!(weights.contains(part), "{part}\nin {weights}");
    }
}

const PATCH: &str = r#"
name = "patch"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", first = 1, every = 2 }
train   = { name = "cifar10-sample", first = 0, every = 2 }
goals   = ["target:frog"]
threats = [{ norm = "patch", area = ["5 %"] }]
attacks = [{ name = "patch" }, { name = "paste" }]
"#;

#[test]
fn budgets_goals_and_training_sets_that_make_no_sense_are_refused() {
    let plan = parse(PATCH).unwrap();
    assert_eq!(plan.cells[0].cell.goal.name(), "target:6", "a class by its name");
    assert_eq!(plan.cells[0].cell.threat.eps_text(), "0.05");
    assert_eq!(parse(&PATCH.replace("5 %", "0.05")).unwrap().cells[0].id, plan.cells[0].id);
    assert_eq!(parse(&PATCH.replace("target:frog", "target:all")).unwrap().cells.len(), 20);
    for (from, to, expected) in [
        ("\"5 %\"", "\"60 %\"", "area `60 %`: expected a share of the image"),
        ("area = [\"5 %\"]", "eps = [\"8/255\"]", "threat `patch`: missing key `area`"),
        (
            "norm = \"patch\", area = [\"5 %\"]",
            "norm = \"pixels\", count = [0]",
            "count `0`: expected a whole number from 1",
        ),
        ("norm = \"patch\", area = [\"5 %\"]", "norm = \"any\", eps = [\"1\"]", "threat `any` allows every image"),
        ("area = [\"5 %\"]", "area = [\"5 %\"], eps = [\"1\"]", "one kind of budget"),
        ("target:frog", "target:frogg", "unknown goal `target:frogg` (hint: did you mean `frog`?)"),
        ("target:frog", "untargeted", "attack `patch`: a universal patch is fitted to one class"),
        ("first = 0, every = 2", "first = 1, every = 2", "10 training images are attacked too"),
        ("train   = { name = \"cifar10-sample\", first = 0, every = 2 }", "", "attack `patch` needs training images"),
        ("{ name = \"paste\" }", "{ name = \"paste\", content = \"picture\" }", "`picture` names a file"),
        (
            "{ name = \"paste\" }",
            "{ name = \"paste\", content = \"picture\", picture = \"no.png\" }",
            "no picture no.png",
        ),
        ("{ name = \"paste\" }", "{ name = \"paste\", content = \"toaster\" }", "expected one of class, picture"),
        ("{ name = \"patch\" }", "{ name = \"patch\", min_area = 0.5 }", "0 < min_area ≤ max_area ≤ 1"),
        ("{ name = \"patch\" }", "{ name = \"one-pixel\" }", "attack `one-pixel` does not support threat `patch`"),
        (
            "data    = { name = \"cifar10-sample\", first = 1, every = 2 }",
            "data    = { name = \"blank-cifar10\", split = \"test\" }",
            "dataset `blank-cifar10` has no split `test`",
        ),
    ] {
        assert!(PATCH.contains(from), "{from}");
        let found = problems(&PATCH.replace(from, to));
        assert!(found.iter().any(|p| p.contains(expected)), "{to}: {expected}\nin {found:#?}");
    }
    let no_data = PATCH.replace("name = \"cifar10-sample\", first = 1", "name = \"nowhere\", first = 1");
    let found = problems(&no_data);
    let says = |text: &str| found.iter().any(|p| p.contains(text));
    assert!(says("unknown dataset `nowhere`") && !says("unknown goal"), "{found:#?}");
    let blank = PATCH.replace("name = \"cifar10-sample\", first = 1, every = 2", "name = \"blank-cifar10\"");
    let blank = blank
        .replace("target:frog", "target:next")
        .replace("{ name = \"patch\" }, { name = \"paste\" }", "{ name = \"class-max\" }");
    let found = problems(&blank.replace("norm = \"patch\", area = [\"5 %\"]", "norm = \"any\""));
    assert!(found.iter().any(|p| p.contains("a blank canvas has no label")), "{found:#?}");
    let scan =
        PATCH.replace("{ name = \"patch\" }, { name = \"paste\" }", "{ name = \"one-pixel\", variant = \"scan\" }");
    let found = problems(&scan.replace("norm = \"patch\", area = [\"5 %\"]", "norm = \"pixels\", count = [3]"));
    assert!(found.iter().any(|p| p.contains("tries every place for one pixel")), "{found:#?}");
}

#[test]
fn what_is_wrong_with_a_threat_is_told_once() {
    for (threat, expected) in [
        ("norm = \"linf\", minimal = true, passes = 1", "`passes` is less than one forward and one back"),
        ("norm = \"linf\", minimal = 1", "expected true or false"),
        ("norm = \"linf\", minimal = true, passes = \"a\"", "expected a whole number"),
        ("norm = \"l2\", passes = 30", "`passes` belongs to a minimal threat"),
        ("norm = \"l2\", minimal = true, eps = [\"1\"]", "a minimal threat has no `eps`"),
        ("norm = \"l2\", eps = [\"1\"], count = [3]", "one kind of budget"),
        ("norm = \"l2\"", "missing key `eps`"),
    ] {
        let found = problems(&MINIMAL.replace("norm = \"l2\", minimal = true", threat));
        assert!(found.len() == 1 && found[0].contains(expected), "{threat}: {expected}\nin {found:#?}");
    }
}

#[test]
fn numbers_with_which_an_attack_does_nothing_are_refused() {
    for (attack, expected) in [
        ("name = \"fmn\", step_size = 0", "`step_size`: expected a number above 0"),
        ("name = \"cw\", constant = 0", "`constant`: expected a number above 0"),
        ("name = \"cw\", step_size = 0.0", "`step_size`: expected a number above 0"),
    ] {
        let found = problems(&MINIMAL.replace("name = \"fmn\"", attack));
        assert!(found.len() == 1 && found[0].contains(expected), "{attack}: {expected}\nin {found:#?}");
    }
    assert_eq!(parse(MINIMAL).unwrap().cells.len(), 1);
}

/// One random change to a text: a byte, a cut, a doubled or moved piece, or a word that means something elsewhere.
fn mutate(text: &str, s: &mut Stream) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + s.below(4) {
        let at = s.below(bytes.len().max(1));
        let piece = s.below(40).min(bytes.len() - at.min(bytes.len()));
        match s.below(6) {
            0 if !bytes.is_empty() => bytes[at] = s.below(256) as u8,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..at + piece)),
            3 => {
                let copy = bytes[at..at + piece].to_vec();
                let to = s.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            _ => {
                let words: [&[u8]; 16] = [
                    b"1e999",
                    b"-1",
                    b"nan",
                    b"\"\"",
                    b"[]",
                    b"{}",
                    b"[[sweep]]",
                    b"true",
                    b"\"8/0\"",
                    b"99999999999999999999",
                    b"\"target:999999999999999999999\"",
                    b"\"eps*eps*eps*eps\"",
                    b"\"1/999999999999\"",
                    b"'''",
                    b"\xff",
                    b"0x7f",
                ];
                bytes.splice(at..at, words[s.below(words.len())].iter().copied());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn ten_thousand_mutated_sweep_files_give_a_plan_or_a_clear_error() {
    let mut s = stream("mutated sweep files");
    let texts: Vec<String> = (0..10_000).map(|_| mutate(GOOD, &mut s)).collect();
    let is_plan = |(i, text): (usize, &String)| match parse(text) {
        Ok(plan) => {
            assert!(plan.cells.len() <= 100_000);
            true
        }
        Err(Error::Config(problems)) => {
            let placed = problems.iter().all(|p| p.starts_with("x.toml:"));
            assert!(!problems.is_empty() && placed, "{i}: {problems:?}\n{text}");
            false
        }
        Err(other) => panic!("{i}: {other}\n{text}"),
    };
    let plans = texts.par_iter().enumerate().map(is_plan).filter(|is_plan| *is_plan).count();
    let errors = texts.len() - plans;
    println!("{plans} plans, {errors} clear errors");
    assert!(plans > 100 && errors > 5_000, "{plans} {errors}");
}

#[test]
fn a_precision_that_the_cpu_lacks_is_refused_before_anything_is_computed() {
    let text = |precision: &str| GOOD.replacen("models ", &format!("precision = \"{precision}\"\nmodels "), 1);
    let problem = parse(&text("fp16")).err().unwrap().to_string();
    assert!(problem.contains("unknown precision `fp16`"), "{problem}");
    assert!(parse(&text("f32")).unwrap().cells.iter().all(|c| c.cell.precision == Precision::F32));
    let plan = parse(&text("bf16")).unwrap();
    assert_ne!(plan.cells[0].id, parse(GOOD).unwrap().cells[0].id, "the precision is part of the cell");
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let stop = AtomicBool::new(false);
    let problem = run::run(&plan, &store, &support::machine(None), &stop, &mut |_| {}).unwrap_err().to_string();
    assert!(problem.starts_with("precision `bf16` needs a GPU"), "{problem}");
}
