//! How close the first half of an attack's iterations came (`margin_midway`), and what the sanity ladder makes of it.

mod support;

use foolproof::analysis::ladder::{self as sanity, Judgement, Shapes};
use foolproof::data::Source;
use foolproof::record::{CARRIED, Outcome};
use foolproof::store::Store;
use foolproof::sweep::{plan, run};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::{machine, sweep};

/// Both networks on the 20 images that are compiled in.
fn text(witness: &str, goal: &str, threat: &str, attacks: &str) -> String {
    format!(
        "name = \"midway\"\nseed = 3\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\", \"vgg11-half-cifar10-robust\"]\n\
         data = {{ name = \"cifar10-sample\" }}\ngoals = [\"{goal}\"]\nthreats = [{threat}]\nwitness = \"{witness}\"\n\
         attacks = [{attacks}]\n"
    )
}

/// Rows by cell, without a report.
fn outcomes(text: &str) -> Vec<Vec<Outcome>> {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan::parse(Path::new("test.toml"), text, &Source::new("nowhere")).unwrap();
    let store = Store::create(folder.path()).unwrap();
    run::run(&plan, &store, &machine(None), &AtomicBool::new(false), &mut |_| {}).unwrap();
    plan.cells.iter().map(|c| store.read(&c.id).unwrap().outcomes).collect()
}

/// How far the witness is from the aim, where it is not reached.
fn distance(o: &Outcome) -> f64 {
    match o.target {
        None => f64::from(o.margin_adversarial.unwrap()),
        Some(_) => {
            let log = |p: Option<f32>| f64::from(p.unwrap()).ln();
            log(o.confidence_adversarial) - log(o.target_probability_adversarial)
        }
    }
}

/// Holds rows against those of a run cut at half its steps: images that were still attacked then. Returns how many stood and
/// fell in that half, and the largest difference.
fn compare(witness: &str, goal: &str, threat: &str, steps: usize, params: &str) -> (usize, usize, f64) {
    let rows = |steps: usize| {
        let attack = format!("{{ name = \"pgd\", steps = {steps}, {params} }}");
        outcomes(&text(witness, goal, threat, &attack))
    };
    let (mut stood, mut fell, mut apart) = (0, 0, 0.0f64);
    for (whole, half) in rows(steps).iter().flatten().zip(rows(steps / 2).iter().flatten()) {
        assert_eq!(whole.example, half.example);
        if !whole.is_right_before() {
            assert_eq!(whole.margin_midway, None, "not attacked: {whole:?}");
        } else if whole.success == Some(true) && whole.step <= steps / 2 {
            fell += 1;
            assert_eq!(whole.margin_midway, None, "settled by then: {whole:?}");
        } else if whole.success == Some(false) || whole.restart == 0 && half.restart == 0 && half.success == Some(false)
        {
            // what a later restart of the half found, a run that was settled before has not seen
            stood += 1;
            apart = apart.max((f64::from(whole.margin_midway.unwrap()) - distance(half)).abs());
        }
    }
    (stood, fell, apart)
}

const LINF: &str = "{ norm = \"linf\", eps = [\"2/255\", \"8/255\"] }";
const L2: &str = "{ norm = \"l2\", eps = [\"0.25\"] }";

#[test]
fn it_is_what_a_run_of_half_the_steps_finds() {
    for (threat, params) in [
        (LINF, "step_size = \"0.7/255\", random_start = false"),
        (LINF, "step_size = \"0.7/255\", restarts = 2"),
        (L2, "step_size = \"eps/6\""),
    ] {
        let (stood, fell, apart) = compare("f32", "untargeted", threat, 9, params);
        assert!(stood >= 10 && fell >= 5, "{params}: {stood} stood, {fell} fell");
        assert_eq!(apart, 0.0, "{params}: floats are judged as they are");
    }
    // the target's distance is read off the probabilities
    let (stood, _, apart) = compare("f32", "target:next", LINF, 9, "step_size = \"0.7/255\"");
    assert!(stood >= 20 && apart < 1e-4, "{stood} stood, {apart}");
    // whole grey levels lose nothing by rounding
    let (stood, _, apart) = compare("u8", "untargeted", LINF, 6, "step_size = \"1/255\", random_start = false");
    assert!(stood >= 10 && apart < 1e-3, "{stood} stood, {apart}");
    // others do, where they were not judged
    let (stood, _, apart) = compare("u8", "untargeted", LINF, 9, "step_size = \"0.7/255\"");
    assert!(stood >= 10 && apart < 0.1, "{stood} stood, {apart}");
}

#[test]
fn it_is_missing_where_there_is_no_half() {
    let attacks = "{ name = \"noise\" }, { name = \"fgsm\" }, { name = \"pgd\", steps = 1 }";
    assert!(outcomes(&text("u8", "untargeted", LINF, attacks)).iter().flatten().all(|o| o.margin_midway.is_none()));
    let within = text("u8", "untargeted", LINF, "{ name = \"pgd\", steps = 6 }") + "mode = \"within\"\n";
    let rows = outcomes(&within);
    let carried = || rows.iter().flatten().filter(|o| o.has(CARRIED));
    assert!(carried().count() > 5 && carried().all(|o| o.margin_midway.is_none()));
    assert!(rows.iter().flatten().filter(|o| o.margin_midway.is_some()).count() > 5);
}

/// Verdicts of the relation on the robust net at 8/255, by cell.
fn at_rest(attacks: &str) -> Vec<(usize, Judgement)> {
    let text = text("u8", "untargeted", "{ norm = \"linf\", eps = [\"8/255\"] }", attacks);
    let (_folder, cells) = sweep(&text, &Source::new("nowhere"), None);
    let robust: Vec<_> = cells.into_iter().filter(|s| s.cell.model.name.ends_with("-robust")).collect();
    let rows = sanity::rows(&robust, &Shapes::new(), &[]);
    rows.iter().filter(|r| r.relation == "the loss has come to rest").map(|r| (r.n, r.verdict)).collect()
}

#[test]
fn steps_too_few_or_too_small_are_named() {
    let verdicts = at_rest(
        "{ name = \"pgd\", steps = 10, step_size = \"0.1/255\" }, { name = \"pgd\", steps = 10, step_size = \"0.7/255\" }, \
         { name = \"pgd\", steps = 10 }, { name = \"pgd\", steps = 40 }, { name = \"pgd\", steps = 60, step_size = \"1/255\" }",
    );
    assert!(verdicts.len() == 5 && verdicts.iter().all(|(n, _)| *n >= 5), "{verdicts:?}");
    let names: Vec<_> = verdicts.iter().map(|(_, verdict)| verdict.name()).collect();
    assert_eq!(names, ["suspicious", "suspicious", "ok", "ok", "ok"]);
}
