//! The nightly gate: silent nights, planted changes, what is said of them and how the program ends.

#[path = "support/made_up.rs"]
mod made_up;
mod support;

use foolproof::compare::{
    Bench, Bits, Comparison, Examples, FailOn, Fate, Fates, Found, Marks, Measured, Outcomes, Pace, Place, Rules, Side,
    Verdict, compare,
};
use foolproof::digest::sha256;
use foolproof::record::{AttackRecord, Cell, DataRecord, ModelRecord, Outcome, Provenance, Witnesses};
use foolproof::rng::Stream;
use foolproof::store::Store;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use support::stream;

const IMAGES: usize = 1000;

/// 48 cells: two models, six attacks, four budgets.
fn cells(seed: u64, images: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for model in ["standard", "robust"] {
        for steps in ["1", "5", "10", "20", "40", "100"] {
            for eps in ["1/255", "2/255", "4/255", "8/255"] {
                let usual = made_up::cell();
                cells.push(Cell {
                    model: ModelRecord { name: model.into(), weights: "00".into(), ..usual.model },
                    data: DataRecord { name: "cifar10".into(), take: images, ..usual.data },
                    attack: AttackRecord { params: [("steps".to_string(), steps.to_string())].into(), ..usual.attack },
                    threat: made_up::threat(usual.threat.norm, eps),
                    seed,
                    ..usual
                });
            }
        }
    }
    cells
}

fn place() -> Place {
    Place { device: "cpu".into(), machine: Some("one".into()), threads: 2, batch: 512 }
}

/// A complete cell, with digests that follow from the fates.
fn measured(cell: &Cell, fates: Vec<Fate>) -> Measured {
    let text: String = Fates(fates.clone()).into();
    let mark = |(k, fate): (usize, &Fate)| (k as u16).wrapping_mul(4) + *fate as u16;
    Measured {
        id: cell.id(),
        cell: cell.clone(),
        place: place(),
        result: Outcomes::Complete(Found {
            time_s: 10.0,
            forwards: 1000,
            backwards: 1000,
            served_by: None,
            outcomes: sha256(format!("rows {text}").as_bytes()),
            witnesses: sha256(format!("images {text}").as_bytes()),
            examples: Examples::of(0..fates.len()),
            marks: Some(Marks(fates.iter().enumerate().map(mark).collect())),
            fates: Fates(fates),
        }),
    }
}

fn found(cell: &mut Measured) -> &mut Found {
    match &mut cell.result {
        Outcomes::Complete(found) => found,
        Outcomes::Failed(why) => panic!("{why}"),
    }
}

fn side(cells: Vec<Measured>) -> Side {
    Side::of("night", Path::new("night"), cells, Vec::new())
}

fn held(baseline: &[Measured], run: &[Measured]) -> Comparison {
    compare(&side(baseline.to_vec()), &side(run.to_vec()), Rules::default()).unwrap()
}

fn alarms(c: &Comparison) -> usize {
    let verdicts = c.cells.iter().map(|c| c.verdict).chain(c.clean.iter().map(|c| c.verdict));
    verdicts.filter(|v| v.is_change()).count()
}

/// Chances to withstand: 5 % of the images are wrong before any attack, a fifth can go either way, the others are settled.
fn chances(s: &mut Stream, n: usize) -> Vec<Option<f32>> {
    let chance = |s: &mut Stream| match s.uniform() {
        u if u < 0.05 => None,
        u if u < 0.25 => Some(s.uniform()),
        u if u < 0.6 => Some(0.0),
        _ => Some(1.0),
    };
    (0..n).map(|_| chance(s)).collect()
}

/// One night's outcomes.
fn drawn(s: &mut Stream, chances: &[Option<f32>]) -> Vec<Fate> {
    let fate = |chance: &Option<f32>| match chance {
        None => Fate::Wrong,
        Some(p) if s.uniform() < *p => Fate::Robust,
        Some(_) => Fate::Broken,
    };
    chances.iter().map(fate).collect()
}

fn night(s: &mut Stream, cells: &[Cell], all: &[Vec<Option<f32>>]) -> Vec<Measured> {
    cells.iter().zip(all).map(|(cell, chances)| measured(cell, drawn(s, chances))).collect()
}

#[test]
fn a_hundred_nights_without_change_raise_no_alarm_where_bits_are_fixed() {
    let mut s = stream("deterministic nights");
    let cells = cells(0, IMAGES);
    let chances: Vec<_> = cells.iter().map(|_| chances(&mut s, IMAGES)).collect();
    let blessed = night(&mut s, &cells, &chances);
    for number in 0..100 {
        // other threads and batches, and times that scatter by 5 % around a night's own pace
        let mut tonight = blessed.clone();
        let pace = 1.0 + 0.05 * (f64::from(s.uniform()) - 0.5);
        for cell in &mut tonight {
            found(cell).time_s *= pace * (1.0 + 0.1 * (f64::from(s.uniform()) - 0.5));
            if number % 2 == 1 {
                (cell.place.threads, cell.place.batch) = (1 + s.below(8), 1 + s.below(512));
            }
        }
        let mut c = held(&blessed, &tonight);
        assert!(c.cells.iter().all(|c| c.verdict == Verdict::Same && c.bits == Some(Bits::Equal)));
        assert_eq!(c.clean.len(), 2, "one clean accuracy a model");
        c.judge(&[FailOn::Changed, FailOn::Slower(0.1)]);
        assert_eq!((alarms(&c), c.failures.len()), (0, 0), "night {number}: {:?}", c.failures);
    }
}

#[test]
fn a_hundred_nights_without_change_raise_few_alarms_where_seeds_differ() {
    let mut s = stream("random nights");
    let chances: Vec<_> = cells(0, IMAGES).iter().map(|_| chances(&mut s, IMAGES)).collect();
    let blessed = night(&mut s, &cells(0, IMAGES), &chances);
    let mut before = blessed.clone();
    let (mut against_blessed, mut against_last, mut flips) = (0, 0, 0);
    for number in 1..=100 {
        let tonight = night(&mut s, &cells(number, IMAGES), &chances);
        let c = held(&blessed, &tonight);
        assert!(
            c.cells.iter().all(|c| c.robust.is_some() && c.differences[0].key == "seed" && c.differences.len() == 1)
        );
        flips += c.cells.iter().map(|c| c.robust.as_ref().unwrap()).map(|r| r.lost.len() + r.won.len()).sum::<usize>();
        against_blessed += usize::from(alarms(&c) > 0);
        against_last += usize::from(alarms(&held(&before, &tonight)) > 0);
        before = tonight;
    }
    println!("alarms in 100 nights: {against_blessed} against one baseline, {against_last} each against the last");
    // a fifth of the images at u(1 - u) on the average: 1/3 of them flip
    assert!((300_000..340_000).contains(&flips), "the nights are noisy: {flips} flips");
    assert!(against_blessed <= 5 && against_last <= 5, "{against_blessed}, {against_last}");
}

/// Two percent of the images change from one fate to another in this cell.
fn planted(blessed: &[Measured], at: usize, from: Fate, to: Fate) -> (Vec<Measured>, Vec<usize>) {
    let mut tonight = blessed.to_vec();
    let mut fates = found(&mut tonight[at]).fates.0.clone();
    let images: Vec<usize> = (0..IMAGES).filter(|k| fates[*k] == from).step_by(7).take(IMAGES / 50).collect();
    assert_eq!(images.len(), IMAGES / 50);
    images.iter().for_each(|k| fates[*k] = to);
    tonight[at] = measured(&tonight[at].cell, fates);
    (tonight, images)
}

fn blessed() -> Vec<Measured> {
    let mut s = stream("planted");
    let cells = cells(0, IMAGES);
    let chances: Vec<_> = cells.iter().map(|_| chances(&mut s, IMAGES)).collect();
    night(&mut s, &cells, &chances)
}

#[test]
fn planted_changes_are_caught_and_their_images_named() {
    let blessed = blessed();
    for (from, to, verdict) in
        [(Fate::Robust, Fate::Broken, Verdict::Regressed), (Fate::Broken, Fate::Robust, Verdict::Weakened)]
    {
        let (tonight, images) = planted(&blessed, 30, from, to);
        let mut c = held(&blessed, &tonight);
        assert_eq!(c.cells.iter().filter(|c| c.verdict != Verdict::Same).count(), 1);
        let cell = &c.cells[30];
        assert_eq!((cell.verdict, cell.bits, &cell.changed), (verdict, Some(Bits::Differ), &images));
        let robust = cell.robust.as_ref().unwrap();
        let (hit, other) = if from == Fate::Robust { (&robust.lost, &robust.won) } else { (&robust.won, &robust.lost) };
        assert_eq!((hit, other.len()), (&images, 0));
        assert!((robust.p - 2.0 * 0.5f64.powi(20)).abs() < 1e-18 && robust.p_holm > 40.0 * robust.p);
        c.judge(&[FailOn::Regressed]);
        assert_eq!(c.failures, [format!("1 {}", verdict.name())]);
        assert!(c.clean.iter().all(|clean| clean.verdict == Verdict::Same));
    }
}

#[test]
fn small_and_insignificant_changes_are_no_regressions() {
    let blessed = blessed();
    let flipped = |n: usize, other_bits: bool| {
        let mut tonight = blessed.clone();
        let mut fates = found(&mut tonight[0]).fates.0.clone();
        fates.iter_mut().filter(|f| **f == Fate::Robust).take(n).for_each(|f| *f = Fate::Broken);
        tonight[0] = measured(&tonight[0].cell, fates);
        if other_bits {
            tonight[0].place.device = "cuda:0".into();
        }
        tonight
    };
    // 10 one way are not enough for 50 tests, 11 are: 50 · 2^-10 = 0.049
    let verdict = |c: &Comparison| (c.cells[0].verdict, c.cells[0].bits.unwrap());
    assert_eq!(verdict(&held(&blessed, &flipped(10, false))), (Verdict::Changed, Bits::Differ));
    assert_eq!(verdict(&held(&blessed, &flipped(11, false))), (Verdict::Regressed, Bits::Differ));
    // on another device bits need not be equal, outcomes must be
    assert_eq!(verdict(&held(&blessed, &flipped(10, true))), (Verdict::Steady, Bits::NotRequired));
    assert_eq!(verdict(&held(&blessed, &flipped(11, true))), (Verdict::Regressed, Bits::NotRequired));
    // significant, and too small to matter
    let rules = Rules { min_effect: 0.0111, ..Rules::default() };
    let c = compare(&side(blessed.clone()), &side(flipped(11, true)), rules).unwrap();
    assert_eq!(c.cells[0].verdict, Verdict::Steady);
    let rules = Rules { min_effect: 0.011, ..Rules::default() };
    let c = compare(&side(blessed.clone()), &side(flipped(11, true)), rules).unwrap();
    assert_eq!(c.cells[0].verdict, Verdict::Regressed);
}

#[test]
fn the_same_question_with_another_answerer_is_paired_and_the_reason_named() {
    let blessed = blessed();
    // new weights: right on fewer clean images, too, and every cell suffers
    let mut tonight = blessed.clone();
    for cell in tonight.iter_mut().filter(|c| c.cell.model.name == "robust") {
        let mut fates = found(cell).fates.0.clone();
        fates.iter_mut().filter(|f| **f == Fate::Robust).take(30).for_each(|f| *f = Fate::Wrong);
        let mut description = cell.cell.clone();
        description.model.weights = "ff".into();
        *cell = measured(&description, fates);
    }
    let mut c = held(&blessed, &tonight);
    assert_eq!(c.cells.len(), 48);
    for cell in &c.cells {
        let other = cell.cell.model.name == "robust";
        assert_eq!(cell.verdict, if other { Verdict::Regressed } else { Verdict::Same });
        assert_eq!(cell.baseline_id.is_some(), other);
        let keys: Vec<&str> = cell.differences.iter().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, if other { vec!["model.weights"] } else { vec![] });
    }
    let clean: Vec<_> = c.clean.iter().map(|c| (c.model.as_str(), c.verdict, c.right.lost.len())).collect();
    assert_eq!(clean, [("standard", Verdict::Same, 0), ("robust", Verdict::Regressed, 30)]);
    c.judge(&[FailOn::Changed, FailOn::Regressed]);
    assert_eq!(c.failures, ["25 regressed"], "said once");
    let printed = foolproof::compare::text(&c);
    assert_eq!(printed.matches("other ids 24 cells: model.weights was 00, is ff\n").count(), 1, "{printed}");

    // a new revision of the attack that finds less
    let mut tonight = blessed.clone();
    for cell in &mut tonight {
        let mut description = cell.cell.clone();
        description.attack.revision = 2;
        *cell = measured(&description, found(cell).fates.0.clone());
    }
    let mut weaker = tonight.clone();
    let mut fates = found(&mut weaker[3]).fates.0.clone();
    fates.iter_mut().filter(|f| **f == Fate::Broken).take(40).for_each(|f| *f = Fate::Robust);
    weaker[3] = measured(&weaker[3].cell, fates);
    assert!(held(&blessed, &tonight).cells.iter().all(|c| c.verdict == Verdict::Same), "the same bits by another id");
    let c = held(&blessed, &weaker);
    assert_eq!(c.cells[3].verdict, Verdict::Weakened);
    assert_eq!((c.cells[3].differences[0].key.as_str(), alarms(&c)), ("attack.revision", 1));

    // two seeds on either side: nobody can say which answers which
    let seeds = |numbers: [u64; 2]| -> Vec<Measured> {
        numbers
            .iter()
            .flat_map(|seed| cells(*seed, 4).into_iter().take(1))
            .map(|c| measured(&c, vec![Fate::Robust; 4]))
            .collect()
    };
    let verdicts = |c: Comparison| c.cells.iter().map(|c| c.verdict).collect::<Vec<_>>();
    let (new, missing) = (Verdict::New, Verdict::Missing);
    assert_eq!(verdicts(held(&seeds([0, 1]), &seeds([2, 3]))), [new, new, missing, missing]);
    // one seed is the same: the others then are one each
    assert_eq!(verdicts(held(&seeds([0, 1]), &seeds([3, 0]))), [Verdict::Same; 2]);
}

#[test]
fn images_are_paired_by_their_numbers() {
    let cell = &cells(0, 20)[0];
    let with = |first: usize, digest: &str| {
        let mut cell = cell.clone();
        cell.data.digest = digest.into();
        let mut m = measured(&cell, vec![Fate::Robust; 10]);
        found(&mut m).examples = Examples::of(first..first + 10);
        vec![m]
    };
    let c = held(&with(0, "11"), &with(5, "22"));
    let robust = c.cells[0].robust.as_ref().unwrap();
    assert_eq!((robust.n, robust.unpaired, c.cells[0].differences[0].key.as_str()), (5, 10, "data.digest"));
    let c = held(&with(0, "11"), &with(10, "22"));
    assert_eq!(c.cells[0].verdict, Verdict::Failed);
    assert_eq!(c.cells[0].note.as_deref(), Some("no image is on both sides"));
}

#[test]
fn speed_is_a_ratio_with_an_interval() {
    let blessed = blessed();
    let with = |factor: f64, scatter: f64| {
        let mut s = stream("times");
        let mut tonight = blessed.clone();
        tonight.iter_mut().for_each(|c| found(c).time_s *= factor * (1.0 + scatter * (f64::from(s.uniform()) - 0.5)));
        tonight
    };
    let all = |c: &Comparison| (c.speed[0].pace, c.speed[0].cells);
    assert_eq!(all(&held(&blessed, &with(1.3, 0.1))), (Pace::Slower, 48));
    assert_eq!(all(&held(&blessed, &with(0.7, 0.1))), (Pace::Faster, 48));
    assert_eq!(all(&held(&blessed, &with(1.03, 0.1))), (Pace::Steady, 48));
    assert_eq!(all(&held(&blessed, &with(1.1, 0.3))), (Pace::Inconclusive, 48));
    let mut c = held(&blessed, &with(1.3, 0.1));
    let (low, high) = c.speed[0].interval.unwrap();
    assert!(1.25 < low && low < 1.3 && 1.3 < high && high < 1.35, "{low} {high}");
    c.judge(&[FailOn::Changed]);
    assert_eq!(c.failures.len(), 0);
    c.judge(&[FailOn::Slower(0.1)]);
    assert!(
        c.failures[0].starts_with("all cells takes 1.3") && c.failures[0].ends_with("times as long"),
        "{:?}",
        c.failures
    );

    // another machine, another number of threads, an unknown machine, too few cells: no verdict
    let elsewhere = |change: fn(&mut Place)| {
        let mut tonight = with(1.3, 0.1);
        tonight.iter_mut().for_each(|c| change(&mut c.place));
        let c = held(&blessed, &tonight);
        (c.speed[0].pace, c.speed[0].note.clone().unwrap())
    };
    let (pace, note) = elsewhere(|p| p.machine = Some("another".into()));
    assert_eq!(pace, Pace::Inconclusive);
    assert_eq!(note, "measured on cpu (one, 2 threads, batch 512), then on cpu (another, 2 threads, batch 512)");
    assert_eq!(elsewhere(|p| p.threads = 4).0, Pace::Inconclusive);
    assert_eq!(elsewhere(|p| p.machine = None).0, Pace::Inconclusive);
    let c = held(&blessed[..5], &with(1.3, 0.1)[..5]);
    assert_eq!(c.speed[0].pace, Pace::Inconclusive);
    assert_eq!(c.speed[0].note.as_deref(), Some("an interval needs 6 cells"));
    // a time that belongs to another cell's run, or that is too short to say anything
    let mut tonight = with(1.3, 0.1);
    found(&mut tonight[0]).served_by = Some("x".into());
    found(&mut tonight[1]).time_s = 0.01;
    assert_eq!(held(&blessed, &tonight).speed[0].cells, 46);
}

#[test]
fn benches_follow_asvs_rule() {
    let samples = |centre: f64, n: usize| -> Vec<f64> { (0..n).map(|k| centre * (1.0 + 0.001 * k as f64)).collect() };
    let bench = |name: &str, nanoseconds: Vec<f64>| Bench { name: name.into(), nanoseconds };
    let of = |benches| Side::of("benches", Path::new("b"), Vec::new(), benches);
    let baseline = of(vec![
        bench("few", samples(1e6, 4)),
        bench("gone", samples(1e6, 10)),
        bench("noisy", (0..10).map(|k| 1e6 * (1.0 + f64::from(k % 5))).collect()),
        bench("same", samples(1e6, 10)),
        bench("slow", samples(1e6, 10)),
        bench("swift", samples(1e6, 10)),
        bench("within", samples(1e6, 10)),
    ]);
    let run = of(vec![
        bench("few", samples(2e6, 4)),
        bench("fresh", samples(1e6, 10)),
        bench("noisy", (0..10).map(|k| 1.3e6 * (1.0 + f64::from(k % 5))).collect()),
        bench("same", samples(1e6, 10)),
        bench("slow", samples(1.2e6, 10)),
        bench("swift", samples(0.8e6, 10)),
        bench("within", samples(1.05e6, 10)),
    ]);
    let mut c = compare(&baseline, &run, Rules::default()).unwrap();
    let paces: Vec<_> = c.benches.iter().map(|b| (b.name.as_str(), b.pace)).collect();
    let expected = [
        ("few", Pace::Inconclusive),
        ("fresh", Pace::New),
        ("gone", Pace::Missing),
        ("noisy", Pace::Steady),
        ("same", Pace::Steady),
        ("slow", Pace::Slower),
        ("swift", Pace::Faster),
        ("within", Pace::Steady),
    ];
    assert_eq!(paces, expected);
    c.judge(&[FailOn::Slower(0.1)]);
    assert_eq!(c.failures, ["slow takes 1.20 times as long"]);
}

/// An outcome as a runner would write it.
fn outcome(example: usize, fate: Fate) -> Outcome {
    let wrong = fate == Fate::Wrong;
    Outcome {
        clean_prediction: Some(usize::from(wrong)),
        adversarial_prediction: Some(usize::from(fate != Fate::Robust)),
        success: Some(fate == Fate::Broken),
        margin_adversarial: Some(-1.0),
        flags: if wrong { "clean-wrong".into() } else { String::new() },
        ..made_up::standing(example, 0)
    }
}

/// Images of 1×1 pixels.
fn witnesses(n: usize) -> Witnesses {
    Witnesses::U8((0..3 * n).map(|v| v as u8).collect())
}

fn fates(n: usize) -> Vec<Fate> {
    (0..n).map(|k| [Fate::Robust, Fate::Robust, Fate::Broken, Fate::Wrong][k % 4]).collect()
}

const FEW: usize = 40;

/// A stored run of the first cells, under this name.
fn stored(out: &Path, name: &str, cells: &[Cell]) -> Store {
    let store = Store::create(&out.join(name)).unwrap();
    store.put_plan(&made_up::plan("gate", cells)).unwrap();
    for cell in cells {
        put(&store, cell, &fates(FEW), witnesses(FEW));
    }
    store
}

fn put(store: &Store, cell: &Cell, fates: &[Fate], witnesses: Witnesses) {
    let outcomes: Vec<Outcome> = fates.iter().enumerate().map(|(k, f)| outcome(2 * k, *f)).collect();
    store.put(cell, &outcomes, &witnesses, [1; 2], made_up::provenance()).unwrap();
}

fn foolproof(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_foolproof")).current_dir(folder).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A cell is only replaced where it had failed; a test may replace any.
fn forget(store: &Store, cell: &Cell) {
    fs::remove_dir_all(store.dir().join("cells").join(cell.id())).unwrap();
}

#[test]
fn the_program_names_what_is_missing_new_failed_and_not_the_same_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (at, out) = (folder.path(), folder.path().join("results"));
    let all = cells(0, FEW);
    let store = stored(&out, "gate", &all[..9]);

    // the same run, and its baseline, are what they are
    let (code, stdout, _) = foolproof(at, &["bless", "gate"]);
    assert!(code == 0 && stdout.starts_with("results/baselines/gate.jsonl: 9 cells, 0 benches, "), "{stdout}");
    let file = fs::read(at.join("results/baselines/gate.jsonl")).unwrap();
    let (code, stdout, stderr) = foolproof(
        at,
        &["compare", "results/baselines/gate.jsonl", "gate", "--fail-on", "regressed,changed,slower=10%"],
    );
    assert!(code == 0 && stdout.contains("\ncells     9 same\n"), "{stdout}{stderr}");
    foolproof(at, &["bless", "gate", "--to", "again"]);
    assert!(fs::read(at.join("again/gate.jsonl")).unwrap() == file, "the same bytes");
    let (code, stdout, _) = foolproof(at, &["compare", "again/gate.jsonl", "results/baselines/gate.jsonl"]);
    assert!(code == 0 && stdout.contains("9 same"), "two baselines: {stdout}");
    let per_image = (file.len() as f64 / 9.0 - 1200.0) / FEW as f64;
    assert!(per_image < 9.0, "a few bytes an image: {per_image}");

    // one missing, one failed, one with an error row, one new, one with another witness, one with another row
    for k in [0, 1, 2, 3, 4] {
        forget(&store, &all[k]);
    }
    store
        .put_failed(&all[1], Provenance { error: Some("out of <memory>\n& more".into()), ..made_up::provenance() })
        .unwrap();
    let mut rows: Vec<Outcome> = fates(FEW).iter().enumerate().map(|(k, f)| outcome(2 * k, *f)).collect();
    rows[5].margin_adversarial = Some(-2.0);
    store.put(&all[4], &rows, &witnesses(FEW), [1; 2], made_up::provenance()).unwrap();
    (rows[7].success, rows[7].flags) = (None, "nan".into());
    store.put(&all[2], &rows, &witnesses(FEW), [1; 2], made_up::provenance()).unwrap();
    let Witnesses::U8(mut pixels) = witnesses(FEW) else { unreachable!() };
    pixels[3 * 11] ^= 1;
    pixels[3 * 12] ^= 1;
    put(&store, &all[3], &fates(FEW), Witnesses::U8(pixels));
    put(&store, &all[9], &fates(FEW), witnesses(FEW));
    let plan = made_up::plan("gate", &[&all[..8], &all[9..10]].concat());
    store.put_plan(&plan).unwrap();

    let outputs = ["--markdown", "m.md", "--junit", "j.xml", "--json", "c.json"];
    let mut arguments = vec!["compare", "results/baselines/gate.jsonl", "gate"];
    arguments.extend(outputs);
    let (code, stdout, stderr) = foolproof(at, &arguments);
    assert!(code == 0, "nothing was to fail: {stderr}");
    assert!(stdout.contains("cells     2 failed, 2 missing, 2 changed, 1 new, 3 same\n"), "{stdout}");
    let line_of = |k: usize, verdict: &str| {
        let head = format!("{verdict} ");
        let mut lines = stdout.lines().skip_while(|l| !(l.starts_with(&head) && l.contains(&all[k].id())));
        assert!(lines.next().is_some(), "cell {k} is {verdict}: {stdout}");
        lines.next().unwrap().trim().to_string()
    };
    assert_eq!(line_of(0, "missing"), "planned, not computed");
    assert_eq!(line_of(8, "missing"), "not in the run's plan");
    assert_eq!(line_of(1, "failed"), "out of <memory>");
    assert_eq!(line_of(2, "failed"), "1 of 40 images are error rows, first image 14: nan");
    // numbers in the split, not places in the cell
    assert_eq!(line_of(3, "changed"), "rows or witnesses differ: images 22, 24");
    assert_eq!(line_of(4, "changed"), "rows or witnesses differ: images 10");
    assert!(stdout.contains(&format!("new      {}", all[9].id())), "{stdout}");

    // the files say the same, and the same bytes each time
    let read = |file: &str| fs::read_to_string(at.join(file)).unwrap();
    let [markdown, xml, json] = ["m.md", "j.xml", "c.json"].map(read);
    foolproof(at, &arguments);
    assert!([&markdown, &xml, &json].into_iter().eq(&["m.md", "j.xml", "c.json"].map(read)));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let of = |k: usize| value["cells"].as_array().unwrap().iter().find(|c| c["id"] == all[k].id()).unwrap();
    assert_eq!((value["schema"].as_u64(), value["cells"].as_array().unwrap().len()), (Some(1), 10));
    assert_eq!(of(3)["changed"], serde_json::json!([22, 24]));
    assert_eq!((of(4)["bits"].as_str(), of(4)["verdict"].as_str()), (Some("differ"), Some("changed")));
    assert!(markdown.starts_with("## gate against its baseline: something changed\n"), "{markdown}");
    assert!(markdown.contains("out of &lt;memory&gt; &amp; more"), "{markdown}");
    let rows = markdown.lines().filter(|l| l.starts_with("| ") && all.iter().any(|c| l.contains(&c.id())));
    assert!(rows.clone().count() == 7 && rows.clone().all(|l| l.matches(" | ").count() == 7), "{markdown}");

    let document = roxmltree::Document::parse(&xml).unwrap();
    let cases = |suite: &str| {
        let suite = document.descendants().find(|n| n.has_tag_name("testsuite") && n.attribute("name") == Some(suite));
        suite.unwrap().children().filter(|n| n.has_tag_name("testcase")).collect::<Vec<_>>()
    };
    assert_eq!((cases("cells").len(), cases("clean accuracy").len()), (10, 1));
    let with = |element: &str| cases("cells").iter().filter(|c| c.children().any(|n| n.has_tag_name(element))).count();
    assert_eq!((with("error"), with("failure"), with("skipped")), (4, 2, 1));
    let root = document.root_element();
    assert_eq!((root.attribute("errors"), root.attribute("failures")), (Some("4"), Some("2")));
    let failed = cases("cells").into_iter().find(|c| c.attribute("name").unwrap().contains(&all[1].id())).unwrap();
    let error = failed.first_element_child().unwrap();
    assert!(error.text().unwrap().ends_with("out of <memory>\n& more"), "{:?}", error.text());

    // how it ends
    let ends = |rules: &[&str]| {
        let (code, _, stderr) = foolproof(at, &[&["compare", "results/baselines/gate.jsonl", "gate"], rules].concat());
        (code, stderr)
    };
    assert_eq!(ends(&["--fail-on", "slower=10%"]).0, 0);
    let (code, stderr) = ends(&["--fail-on", "regressed"]);
    assert_eq!((code, stderr.as_str()), (3, "error: gate failed: 2 failed, 2 missing\n"));
    let (code, stderr) = ends(&["--fail-on", "slower=10%", "--fail-on", "changed"]);
    assert_eq!((code, stderr.as_str()), (3, "error: gate failed: 2 failed, 2 missing, 2 changed\n"));
    for wrong in [
        &["--fail-on", "worse"][..],
        &["--fail-on", "slower=x"],
        &["--fail-on", "slower=nan%"],
        &["--alpha", "0"],
        &["--alpha", "nan"],
        &["--min-effect", "-1"],
    ] {
        assert_eq!(ends(wrong).0, 1, "{wrong:?}");
    }
    let (code, _, stderr) = foolproof(at, &["compare", "nowhere", "gate"]);
    assert!(code == 1 && stderr.contains("nothing to compare at nowhere (hint: "), "{stderr}");

    fs::write(at.join("empty.jsonl"), "{\"baseline\":{\"schema\":1,\"name\":\"e\",\"cells\":0,\"benches\":0}}\n")
        .unwrap();
    let (code, _, stderr) = foolproof(at, &["compare", "empty.jsonl", "gate"]);
    assert!(code == 1 && stderr.contains("empty.jsonl holds nothing to compare (hint: "), "{stderr}");

    // an unfinished run is no baseline
    let (code, _, stderr) = foolproof(at, &["bless", "gate"]);
    assert!(code == 1 && stderr.contains("1 of 9 cells are missing") && stderr.contains(&all[0].id()), "{stderr}");
    // a failed cell is blessed as failed, and is no news
    put(&store, &all[0], &fates(FEW), witnesses(FEW));
    let (code, stdout, stderr) = foolproof(at, &["bless", "gate", "--to", "failing"]);
    assert!(code == 0 && stderr.starts_with("2 cells failed") && stdout.contains("9 cells"), "{stderr}");
    let (code, stdout, _) = foolproof(at, &["compare", "failing/gate.jsonl", "gate", "--fail-on", "changed"]);
    assert!(code == 0 && stdout.contains("2 still-failed, 7 same"), "{stdout}");
    let (code, stdout, _) = foolproof(at, &["compare", "gate", "results/baselines/gate.jsonl"]);
    assert!(code == 0 && stdout.contains("2 recovered"), "{stdout}");
}

#[test]
fn a_damaged_baseline_is_an_error_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = stored(folder.path(), "gate", &cells(0, FEW)[..3]);
    drop(store);
    let (code, ..) = foolproof(folder.path(), &["bless", "gate", "--out", "."]);
    assert_eq!(code, 0);
    let path = folder.path().join("results/baselines/gate.jsonl");
    let sound = fs::read(&path).unwrap();
    let run = Side::read(&folder.path().join("gate")).unwrap();
    let mut s = stream("baseline flips");
    let (mut refused, mut read) = (0, 0);
    for round in 0..600 {
        let mut bytes = sound.clone();
        match round % 3 {
            0 => bytes[s.below(sound.len())] ^= 1 << s.below(8),
            1 => bytes.truncate(s.below(sound.len())),
            _ => drop(bytes.drain(..s.below(sound.len())).count()),
        }
        fs::write(&path, &bytes).unwrap();
        match Side::read(&path) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
            // a time, a digest or a fate that could be one
            Ok(side) => {
                compare(&side, &run, Rules::default()).unwrap();
                read += 1;
            }
        }
    }
    assert!(refused > 400 && read > 20, "{refused} refused, {read} read");
    // ranges that would fill the memory if they were written out
    let text = String::from_utf8(sound).unwrap();
    let numbers: String = Examples::of((0..FEW).map(|k| 2 * k)).into();
    assert!(text.contains(&numbers));
    fs::write(&path, text.replace(&numbers, "0-18446744073709551615")).unwrap();
    let error = Side::read(&path).err().unwrap().to_string();
    assert!(error.contains("gate.jsonl:2: cell ") && error.contains("not as many examples"), "{error}");
}

#[test]
fn folders_of_criterion_feed_the_same_gate() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sample = |root: &str, bench: &str, name: &str, each: f64| {
        let folder = at.join(root).join(bench).join(name);
        fs::create_dir_all(&folder).unwrap();
        let iters: Vec<f64> = (1..=20).map(f64::from).collect();
        let times: Vec<f64> = iters.iter().map(|n| n * each * (1.0 + n / 1e4)).collect();
        let text = serde_json::json!({ "sampling_mode": "Linear", "iters": iters, "times": times });
        fs::write(folder.join("sample.json"), text.to_string()).unwrap();
    };
    for (bench, old, new) in [("step/vgg/8", 1e6, 1.3e6), ("step/vgg/128", 9e6, 9.1e6), ("alone", 5.0, 5.0)] {
        sample("old", bench, "new", old);
        sample("target/criterion", bench, "new", new);
        sample("target/criterion", bench, "last", old);
    }
    let (code, stdout, _) = foolproof(at, &["bless", "old"]);
    assert!(code == 0 && stdout.starts_with("results/baselines/benches.jsonl: 0 cells, 3 benches"), "{stdout}");
    for baseline in ["old", "results/baselines/benches.jsonl", "target/criterion@last"] {
        let (code, stdout, stderr) =
            foolproof(at, &["compare", baseline, "target/criterion", "--fail-on", "slower=10%", "--junit", "j.xml"]);
        assert_eq!((code, stderr.as_str()), (3, "error: gate failed: step/vgg/8 takes 1.30 times as long\n"));
        assert!(stdout.contains("benches   2 of 3 steady\n") && stdout.contains("bench step/vgg/8"), "{stdout}");
        let xml = fs::read_to_string(at.join("j.xml")).unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        assert_eq!(document.root_element().attribute("failures"), Some("1"));
        let (code, ..) = foolproof(at, &["compare", baseline, "target/criterion", "--fail-on", "slower=40%"]);
        assert_eq!(code, 0);
    }
    fs::write(at.join("old/alone/new/sample.json"), "{\"iters\": [0.0], \"times\": [1.0]}").unwrap();
    let (code, _, stderr) = foolproof(at, &["compare", "old", "target/criterion"]);
    assert!(code == 1 && stderr.contains("sample.json: a sample without a time (hint: "), "{stderr}");
}

/// Two real runs.
#[test]
fn a_night_of_the_real_program_is_the_same_to_the_bit() {
    const SWEEP: &str = r#"
name = "night"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["2/255", "8/255"] }]
attacks = [{ name = "noise" }, { name = "fgsm" }, { name = "pgd", steps = [2, 4], step_size = "1/255" }]
"#;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("night.toml"), SWEEP).unwrap();
    for (out, threads, batch) in [("first", "1", "20"), ("second", "2", "7")] {
        let (code, _, stderr) = foolproof(
            at,
            &["run", "night.toml", "-q", "--out", out, "--threads", threads, "--batch", batch, "--device", "cpu"],
        );
        assert_eq!(code, 0, "{stderr}");
    }
    let store = Store::open(&at.join("first/night")).unwrap();
    let machine = store.read(&store.ids().unwrap()[0]).unwrap().provenance.machine.unwrap();
    assert!(machine.starts_with(std::env::consts::ARCH), "{machine}");
    let (code, stdout, _) = foolproof(at, &["bless", "night", "--out", "first"]);
    assert_eq!(code, 0, "{stdout}");
    for baseline in ["first/night", "results/baselines/night.jsonl"] {
        let (code, stdout, stderr) =
            foolproof(at, &["compare", baseline, "night", "--out", "second", "--fail-on", "changed,slower=10%"]);
        assert!(code == 0 && stdout.contains("cells     8 same\n"), "{stdout}{stderr}");
    }
    // another seed: other ids, the same questions; the answers of gradients are the same, those of noise need not be
    fs::write(at.join("night.toml"), format!("seed = 1\n{SWEEP}")).unwrap();
    let (code, ..) = foolproof(at, &["run", "night.toml", "-q", "--out", "third", "--device", "cpu"]);
    assert_eq!(code, 0);
    let (code, stdout, stderr) =
        foolproof(at, &["compare", "results/baselines/night.jsonl", "night", "--out", "third", "--fail-on", "changed"]);
    let counts = stdout.lines().find(|l| l.starts_with("cells ")).unwrap();
    assert!(code == 0 && counts.contains("same") && !counts.contains("missing"), "{stdout}{stderr}");
}

/// The committed baseline is what the program gives: a change of it must be meant, and blessed. On another kind of processor the
/// gate asks for no equal bits.
#[test]
fn the_main_sweep_is_what_its_baseline_says() {
    let folder = tempfile::tempdir().unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [sweep, baseline] = ["configs/sweeps/pgd.toml", "results/baselines/pgd.jsonl"].map(|path| here.join(path));
    let (code, _, stderr) = foolproof(folder.path(), &["run", sweep.to_str().unwrap(), "-q"]);
    assert!(code == 0, "{stderr}");
    let rules = ["compare", baseline.to_str().unwrap(), "pgd", "--fail-on", "regressed,changed"];
    let (code, stdout, stderr) = foolproof(folder.path(), &rules);
    assert!(code == 0 && stdout.contains("run       pgd, 40 cells"), "{stdout}{stderr}");
}
