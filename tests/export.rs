//! `export`: what others read of a run, held to what the run says, and the bundle, verified where nothing else is.

#[path = "support/made_up.rs"]
mod made_up;
mod support;
#[path = "support/tables.rs"]
mod tables;
#[path = "support/vgg.rs"]
mod vgg;

use foolproof::digest::sha256;
use foolproof::export::{FORMATS, Request};
use foolproof::record::{Cell, DataRecord, Inputs, Outcome, StoredCell, Witnesses};
use foolproof::store::Store;
use foolproof::terms::{Norm, WitnessKind};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tables::png;
use vgg::Head;

/// Attacks in two norms, one of them twice, targeted ones too, and a budget that the others do not know.
const SWEEP: &str = r#"
name = "shared"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted", "target:next"]
threats = [{ norm = "linf", eps = ["1/255", "8/255"] }, { norm = "l2", eps = ["0.25"] }]
attacks = [{ name = "noise" }, { name = "fgsm" }, { name = "pgd", steps = [2, 4], step_size = "2/255" }]
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "pixels", count = [1] }]
attacks = [{ name = "one-pixel", population = 10, generations = 1 }]
"#;

fn foolproof(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = support::foolproof();
    command.current_dir(folder).env_remove("FOOLPROOF_DATA").env("HF_HUB_OFFLINE", "1").args(arguments);
    command.output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = foolproof(folder, arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn fails(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = foolproof(folder, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A run without its reports; the sweep's folder.
fn ran(sweep: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sweep.toml"), sweep).unwrap();
    ok(folder.path(), &["run", "sweep.toml", "-q"]);
    folder
}

/// A run with its reports.
fn reported(sweep: &str) -> tempfile::TempDir {
    let folder = ran(sweep);
    ok(folder.path(), &["--config", "sweep.toml", "-q"]);
    folder
}

/// Some cells, in the order of the plan.
fn cells(run: &Path, wanted: impl Fn(&Cell) -> bool) -> Vec<StoredCell> {
    let store = Store::open(run).unwrap();
    let plan = store.read_plan().unwrap();
    plan.cells.iter().filter(|c| wanted(c)).map(|c| store.read(&c.id()).unwrap()).collect()
}

/// What stands of all images before and after each of these cells, worked out image by image, and how many images there are.
fn standing(cells: &[StoredCell]) -> (Vec<usize>, usize) {
    let mut stands: BTreeMap<usize, bool> = BTreeMap::new();
    let right = |o: &Outcome| o.clean_prediction == o.label;
    stands.extend(cells.iter().flat_map(|c| &c.outcomes).map(|o| (o.example, right(o))));
    let mut counts = vec![stands.values().filter(|s| **s).count()];
    for cell in cells {
        for o in &cell.outcomes {
            *stands.get_mut(&o.example).unwrap() &= o.adversarial_prediction == o.label;
        }
        counts.push(stands.values().filter(|s| **s).count());
    }
    (counts, stands.len())
}

/// One evaluation that is expected: its cells, and its name in both formats.
struct Expected {
    model: &'static str,
    norm: &'static str,
    theirs: &'static str,
    eps: &'static str,
    cells: Vec<StoredCell>,
    name: String,
}

/// Holds an entry of `rb/` and a log of `aa/` to the cells; returns the log's first line.
fn hold(at: &Path, run: &Path, expected: &Expected) -> String {
    let Expected { model, norm, theirs, eps, cells, name } = expected;
    let kind = if cells[0].cell.witness == WitnessKind::U8 { "8-bit" } else { "float" };
    let (counts, n) = standing(cells);
    let percent = |k: usize| format!("{:.2}", k as f64 * 100.0 / n as f64);
    let robust = percent(counts[cells.len()]);
    let path = at.join(format!("rb/model_info/cifar10-sample/{theirs}/{name}.json"));
    let read = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let entry: serde_json::Value = serde_json::from_slice(&read).unwrap();
    let text = |key: &str| entry[key].as_str().unwrap_or_else(|| panic!("{key}: {entry}")).to_string();
    assert_eq!((text("clean_acc"), text("external")), (percent(counts[0]), robust.clone()));
    assert_eq!((text("eps"), text("dataset"), text("name")), ((*eps).into(), "cifar10-sample".into(), (*model).into()));
    assert!(
        text("footnote").contains(&format!(" {n} images, {kind} witnesses: "))
            && text("footnote").contains(&cells[0].cell.data.text())
    );
    for key in ["link", "authors", "venue", "reported"] {
        assert_eq!(text(key), "N/A", "what only the authors know");
    }
    assert!(entry["additional_data"].is_null() && text("architecture").starts_with("vgg11"));
    assert!(entry["unreliable"].is_boolean() && entry["number_forward_passes"] == 1);
    assert!(entry.get("autoattack_acc").is_none(), "it was not AutoAttack");

    let log = fs::read_to_string(at.join(format!("aa/{name}.log"))).unwrap();
    let mut lines = log.lines();
    let first = lines.next().unwrap().to_string();
    assert!(lines.next().unwrap().starts_with("using custom version including noise"));
    assert_eq!(lines.next().unwrap(), format!("initial accuracy: {}%", percent(counts[0])));
    let ended = counts[1..].iter().position(|k| *k == 0).map_or(cells.len(), |k| k + 1);
    for k in 0..ended {
        let (broken, left) = (counts[k] - counts[k + 1], counts[k]);
        let line = lines.next().unwrap();
        let expected = format!(" - 1/1 - {broken} out of {left} successfully perturbed");
        assert!(line.ends_with(&expected), "{line} /{expected}");
        let line = lines.next().unwrap();
        assert!(line.starts_with("robust accuracy after ") && line.ends_with(" s)"), "{line}");
        assert!(line.contains(&format!(": {}% (total time ", percent(counts[k + 1]))), "{line}");
    }
    let last = lines.next().unwrap();
    assert_eq!(last, format!("max {theirs} perturbation: {}", extremes(run, cells, norm)));
    assert_eq!(lines.next().unwrap(), format!("robust accuracy: {robust}%"));
    assert_eq!(lines.next(), None);
    first
}

#[test]
fn robustbench_and_autoattack_get_the_worst_case_over_all_attacks() {
    let folder = ran(SWEEP);
    let (at, run) = (folder.path(), folder.path().join("results/shared"));
    let (files, notes) = ok(at, &["export", "shared", "--format", "robustbench-json", "--to", "rb"]);
    assert_eq!(files.lines().count(), 2 * 3, "{files}");
    assert!(notes.contains("1 cells left out: no norm that they know"), "{notes}");
    let (logs, _) = ok(at, &["export", "shared", "--format", "autoattack-log", "--to", "aa"]);
    assert_eq!(logs.lines().collect::<BTreeSet<_>>().len(), 2 * 3, "each has a name of its own: {logs}");
    for model in ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"] {
        for (norm, theirs, eps) in [("linf", "Linf", "1/255"), ("linf", "Linf", "8/255"), ("l2", "L2", "0.25")] {
            let cells =
                cells(&run, |c| c.model.name == model && c.threat.norm.name() == norm && c.threat.eps_text() == eps);
            let name = format!("{model}_cifar10-sample_{theirs}_eps-{}", eps.replace('/', "_"));
            assert!(cells.len() == 8 && standing(&cells).1 == 20);
            let first = hold(at, &run, &Expected { model, norm, theirs, eps, cells, name });
            assert!(first.ends_with("; every attack met all images that were right"), "{first}");
        }
    }
}

/// A made-up run of 10,000 (or so many) images, of which the last `broken` are fooled; its entry in RobustBench's form.
fn robustbench(change: impl Fn(&mut Cell), images: usize, attacks: &[(&str, &str, usize)]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&folder.path().join("run")).unwrap();
    let mut cells = Vec::new();
    for (attack, version, broken) in attacks {
        let mut cell = made_up::cell();
        (cell.data.name, cell.data.split, cell.data.take) = ("cifar10".into(), "test".into(), images);
        cell.attack.name = attack.to_string();
        let params = [("version", *version), ("steps", "100"), ("queries", "5000")];
        cell.attack.params = params.map(|(name, value)| (name.into(), value.into())).into();
        change(&mut cell);
        let outcome = |example: usize| match example >= images - broken {
            true => Outcome { adversarial_prediction: Some(3), success: Some(true), ..made_up::standing(example, 1) },
            false => made_up::standing(example, 1),
        };
        let outcomes: Vec<Outcome> = (0..images).map(outcome).collect();
        store.put(&cell, &outcomes, &Witnesses::U8(vec![0; 3 * images]), [1; 2], made_up::provenance()).unwrap();
        cells.push(cell);
    }
    let inputs = Inputs {
        examples: (0..images).collect(),
        labels: vec![1; images],
        classes: (0..10).map(|c| c.to_string()).collect(),
        size: [1; 2],
        pixels: vec![0; 3 * images],
    };
    store.put_inputs(&cells[0].data.digest, &inputs).unwrap();
    store.put_plan(&made_up::plan("aa", &cells)).unwrap();
    let format = FORMATS.iter().find(|f| f.name == "robustbench-json").unwrap();
    let to = folder.path().join("to");
    let written = format.write(&Request { store: &store, to: &to, weights: true }).unwrap();
    assert_eq!(written.files.len(), 1, "{:?}", written.notes);
    serde_json::from_slice(&fs::read(&written.files[0]).unwrap()).unwrap()
}

#[test]
fn autoattacks_accuracy_is_exported_where_it_is_the_leaderboards_and_nowhere_else() {
    let standard = ("autoattack", "standard", 5_000);
    let usual = |_: &mut Cell| ();
    let entry = robustbench(usual, 10_000, &[standard]);
    assert_eq!((entry["autoattack_acc"].as_str(), entry.get("external")), (Some("50.00"), None));
    // another attack beside it breaks more: both numbers
    let entry = robustbench(usual, 10_000, &[("pgd", "", 6_000), standard]);
    assert_eq!((entry["autoattack_acc"].as_str(), entry["external"].as_str()), (Some("50.00"), Some("40.00")));
    let l2 = |eps: &'static str| move |c: &mut Cell| c.threat = made_up::threat(Norm::L2, eps);
    assert_eq!(robustbench(l2("0.5"), 10_000, &[standard])["autoattack_acc"], "50.00");
    let cifar100 = |c: &mut Cell| c.data.name = "cifar100".into();
    assert_eq!(robustbench(cifar100, 10_000, &[standard])["autoattack_acc"], "50.00");
    let imagenet = |eps: &'static str| {
        move |c: &mut Cell| {
            (c.data.name, c.data.split) = ("imagenet-1k".into(), "validation".into());
            c.threat = made_up::threat(Norm::Linf, eps);
        }
    };
    let fewer = ("autoattack", "standard", 2_500);
    assert_eq!(robustbench(imagenet("4/255"), 5_000, &[fewer])["autoattack_acc"], "50.00");

    let with = |name: &'static str, value: &'static str| {
        move |c: &mut Cell| drop(c.attack.params.insert(name.into(), value.into()))
    };
    let train = |c: &mut Cell| c.data.split = "train".into();
    let sample = |c: &mut Cell| c.data.name = "cifar10-sample".into();
    let others: [(&str, serde_json::Value); 12] = [
        ("too few images", robustbench(usual, 9_999, &[standard])),
        ("of ImageNet's number", robustbench(usual, 5_000, &[fewer])),
        ("another version", robustbench(usual, 10_000, &[("autoattack", "plus", 5_000)])),
        ("another attack", robustbench(usual, 10_000, &[("apgd", "standard", 5_000)])),
        ("another eps", robustbench(l2("1"), 10_000, &[standard])),
        ("another norm", robustbench(|c| c.threat = made_up::threat(Norm::L1, "12"), 10_000, &[standard])),
        ("ImageNet at CIFAR's eps", robustbench(imagenet("8/255"), 5_000, &[fewer])),
        ("all of ImageNet", robustbench(imagenet("4/255"), 50_000, &[("autoattack", "standard", 25_000)])),
        ("fewer steps", robustbench(with("steps", "20"), 10_000, &[standard])),
        ("fewer queries", robustbench(with("queries", "1000"), 10_000, &[standard])),
        ("training images", robustbench(train, 10_000, &[standard])),
        ("another dataset", robustbench(sample, 10_000, &[standard])),
    ];
    for (what, entry) in others {
        assert!(entry.get("autoattack_acc").is_none() && entry["external"].is_string(), "{what}: {entry}");
    }
}

#[test]
fn autoattack_is_logged_stage_by_stage() {
    let folder = reported(
        r#"
name = "stages"
[[sweep]]
models  = ["vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "autoattack", steps = 3, queries = 5 }]
"#,
    );
    let at = folder.path();
    ok(at, &["export", "stages", "--format", "autoattack-log", "--to", "aa"]);
    let file = fs::read_dir(at.join("aa")).expect("logs").next().unwrap().unwrap().path();
    let log = fs::read_to_string(file).unwrap();
    assert!(log.contains("using custom version including apgd-ce, apgd-t, fab-t, square.\n"), "{log}");
    let cell = &cells(&at.join("results/stages"), |_| true)[0];
    let table = fs::read_to_string(at.join("results/stages/tables/stages.csv")).unwrap();
    let mut left = cell.outcomes.iter().filter(|o| o.is_right_before()).count();
    for (stage, name) in table.lines().skip(1).zip(["apgd-ce", "apgd-t", "fab-t", "square"]) {
        let columns: Vec<&str> = stage.split(',').collect();
        let at = columns.iter().position(|c| *c == name).expect(stage);
        let standing: usize = columns[at + 1].parse().unwrap();
        let line = format!("{name} - 1/1 - {} out of {left} successfully perturbed\n", left - standing);
        assert!(log.contains(&line), "{log} / {line}");
        left = standing;
    }
    let stands = |o: &&Outcome| o.is_right_before() && o.success == Some(false);
    assert_eq!(left, cell.outcomes.iter().filter(stands).count());
    // the last stage has what the whole cost
    let passes = |o: &Outcome| o.forwards + o.backwards;
    let last: Vec<&str> = table.lines().last().unwrap().split(',').collect();
    assert!(last.contains(&cell.outcomes.iter().map(passes).sum::<u64>().to_string().as_str()), "{last:?}");
}

/// Float witnesses, smaller budgets that count at larger ones, a goal that leaves images out, two subsets of one dataset.
const HARD: &str = r#"
name = "hard"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 11 }
goals   = ["untargeted", "target:3"]
threats = [{ norm = "linf", eps = ["1/255", "2/255"] }, { norm = "l2", eps = ["1", "1/3"] }]
attacks = [{ name = "noise" }, { name = "pgd", steps = 2, step_size = "2/255" }]
mode    = "within"
witness = "f32"
"#;

#[test]
fn the_worst_case_is_that_of_floats_and_carried_images_too() {
    let second = HARD.lines().skip(2).collect::<Vec<_>>().join("\n").replace("take = 11", "first = 11, take = 9");
    let folder = ran(&format!("{HARD}{second}\n"));
    let (at, run) = (folder.path(), folder.path().join("results/hard"));
    let (files, _) = ok(at, &["export", "hard", "--format", "robustbench-json", "--to", "rb"]);
    ok(at, &["export", "hard", "--format", "autoattack-log", "--to", "aa"]);
    assert_eq!(files.lines().collect::<BTreeSet<_>>().len(), 2 * 4, "{files}");
    let (mut carried, mut dropped) = (0, 0);
    for (first, images) in [(0, 11), (11, 9)] {
        for (norm, theirs, eps, smallest) in [
            ("linf", "Linf", "1/255", true),
            ("linf", "Linf", "2/255", false),
            ("l2", "L2", "1/3", true),
            ("l2", "L2", "1", false),
        ] {
            let cells =
                cells(&run, |c| c.data.first == first && c.threat.norm.name() == norm && c.threat.eps_text() == eps);
            assert!(
                cells.len() == 4
                    && standing(&cells).1 == images
                    && cells.iter().all(|c| c.cell.witness == WitnessKind::F32)
            );
            carried += cells.iter().flat_map(|c| &c.outcomes).filter(|o| o.has("carried")).count();
            dropped += cells.iter().filter(|c| c.outcomes.len() < images).count();
            let model = "vgg11-half-cifar10";
            let name = format!(
                "{model}_cifar10-sample_test_{first}..{}_{theirs}_eps-{}",
                first + images,
                eps.replace('/', "_")
            );
            let said = hold(at, &run, &Expected { model, norm, theirs, eps, cells, name });
            assert_eq!(said.contains("every attack met all images"), smallest, "{said}");
            assert_eq!(
                said.contains("were not attacked again, and times leave the smaller eps out"),
                !smallest,
                "{said}"
            );
        }
    }
    assert!(carried > 0 && dropped > 0, "{carried} {dropped}");
}

#[test]
fn evaluations_of_one_name_do_not_overwrite_each_other() {
    // subsets whose names are cut before they differ, and a budget that reads like a number behind another's name
    let block = |last: usize| {
        format!(
            "[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ngoals = [\"untargeted\"]\nattacks = [{{ name = \"noise\" }}]\n\
             data = {{ name = \"cifar10-sample\", indices = [0, 1, 2, 3, 4, 5, 6, 7, {last}] }}\n\
             threats = [{{ norm = \"l2\", eps = [\"1\", \"1/3\"] }}]\n"
        )
    };
    let folder = ran(&format!("name = \"same\"\n{}{}{}", block(8), block(9), block(10)));
    for format in ["robustbench-json", "autoattack-log"] {
        let (files, _) = ok(folder.path(), &["export", "same", "--format", format]);
        let named: BTreeSet<&str> = files.lines().collect();
        assert!(named.len() == 6 && named.iter().all(|f| f.starts_with("export/same/")), "{files}");
        let eps = |path: &&&str| fs::read_to_string(folder.path().join(path)).unwrap().contains("1/3");
        assert_eq!(named.iter().filter(eps).count(), 3, "{files}");
    }
}

/// AutoAttack's last check, from the stored images: first wrong witness of each image, else the clean image.
fn extremes(run: &Path, cells: &[StoredCell], norm: &str) -> String {
    let store = Store::open(run).unwrap();
    let inputs = store.read_inputs(&cells[0].cell.data.digest).unwrap();
    let values = 3 * inputs.size[0] * inputs.size[1];
    let floats = |pixels: &[u8]| -> Vec<f32> { pixels.iter().map(|v| f32::from(*v) / 255.0).collect() };
    let (mut distance, mut most, mut least) = (0.0f64, 0f32, 1f32);
    for (i, example) in inputs.examples.iter().enumerate() {
        let clean = floats(&inputs.pixels[i * values..(i + 1) * values]);
        let mut image = clean.clone();
        for cell in cells {
            let row = cell.outcomes.iter().position(|o| o.example == *example);
            let Some(row) = row.filter(|row| {
                let o = &cell.outcomes[*row];
                o.clean_prediction == o.label && o.adversarial_prediction != o.label
            }) else {
                continue;
            };
            let part = row * values..(row + 1) * values;
            image = match store.read_witnesses(&cell.cell.id()).unwrap() {
                Witnesses::U8(all) => floats(&all[part]),
                Witnesses::F32(all) => all[part].to_vec(),
            };
            break;
        }
        let change = || clean.iter().zip(&image).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        let here =
            if norm == "l2" { change().map(|d| d * d).sum::<f64>().sqrt() } else { change().fold(0.0, f64::max) };
        distance = distance.max(here);
        most = image.iter().fold(most, |a, b| a.max(*b));
        least = image.iter().fold(least, |a, b| a.min(*b));
    }
    format!("{distance:.5}, nan in tensor: 0, max: {most:.5}, min: {least:.5}")
}

#[test]
fn a_worst_case_needs_every_cell() {
    let folder = ran(SWEEP);
    let (at, run) = (folder.path(), folder.path().join("results/shared"));
    let gone = cells(&run, |c| c.model.name == "vgg11-half-cifar10" && c.threat.eps_text() == "8/255")[1].cell.id();
    fs::remove_dir_all(run.join("cells").join(&gone)).unwrap();
    for format in ["robustbench-json", "autoattack-log"] {
        let (code, problem) = fails(at, &["export", "shared", "--format", format]);
        assert!(code == Some(1) && problem.contains(&gone) && problem.contains("missing"), "{problem}");
    }
    assert!(!at.join("export").exists(), "nothing is half written");
    let (_, notes) = ok(at, &["export", "shared", "--format", "parquet"]);
    assert!(notes.contains("1 cells have no rows"), "{notes}");
    let (_, notes) = ok(at, &["export", "shared", "--format", "tar"]);
    assert!(notes.contains("1 cells are missing"), "{notes}");
    let (code, problem) = fails(at, &["export", "shared", "--format", "yaml"]);
    assert!(code == Some(1) && problem.contains("robustbench-json"), "{problem}");
    let (code, problem) = fails(at, &["export", "nothing", "--format", "tar"]);
    assert!(code == Some(1) && problem.contains("no run at nothing"), "{problem}");
}

#[test]
fn the_table_has_every_row_with_its_cell() {
    let folder = ran(SWEEP);
    let (at, run) = (folder.path(), folder.path().join("results/shared"));
    ok(at, &["export", "shared", "--format", "parquet"]);
    let file = SerializedFileReader::new(fs::File::open(at.join("export/shared/shared.parquet")).unwrap()).unwrap();
    let rows: Vec<BTreeMap<String, Field>> =
        file.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns().into_iter().collect()).collect();
    let store = Store::open(&run).unwrap();
    let plan = store.read_plan().unwrap();
    let stored: Vec<StoredCell> = plan.cells.iter().map(|c| store.read(&c.id()).unwrap()).collect();
    assert_eq!(rows.len(), stored.iter().map(|c| c.outcomes.len()).sum::<usize>());
    let expected = stored.iter().flat_map(|c| c.outcomes.iter().map(move |o| (&c.cell, o)));
    for (row, (cell, o)) in rows.iter().zip(expected) {
        let text = |text: &str| Field::Str(text.into());
        let number = |v: Option<f64>| v.map_or(Field::Null, Field::Double);
        // written as the shortest decimal that is the f32, read as f64
        let single = |v: Option<f32>| number(v.map(|v| v.to_string().parse().unwrap()));
        let count = |v: Option<usize>| v.map_or(Field::Null, |v| Field::Long(v as i64));
        for (name, field) in [
            ("run", text(&plan.run_id())),
            ("cell", text(&cell.id())),
            ("model", text(&cell.model.name)),
            ("weights", text(&cell.model.weights)),
            ("attack", text(&cell.attack.name)),
            ("params", if cell.params().is_empty() { Field::Null } else { text(&cell.params()) }),
            ("eps", text(&cell.threat.eps_text())),
            ("goal", text(&cell.goal.name())),
            ("seed", count(Some(0))),
            ("network", text(&cell.model.network)),
            ("dataset", text(&cell.data.text())),
            ("norm", text(cell.threat.norm.name())),
            ("mode", text("at")),
            ("witness", text("u8")),
            ("precision", text("f32")),
            ("weights_pinned", text("yes")),
            ("data_pinned", text(if plan.data_pinned(cell) { "yes" } else { "no" })),
            ("example", count(Some(o.example))),
            ("label", count(o.label)),
            ("target", count(o.target)),
            ("adversarial_prediction", count(o.adversarial_prediction)),
            ("success", o.success.map_or(Field::Null, Field::Bool)),
            ("l2", number(o.l2)),
            ("margin_adversarial", single(o.margin_adversarial)),
            ("target_probability_adversarial", single(o.target_probability_adversarial)),
            ("target_rank_clean", count(o.target_rank_clean)),
            ("forwards", number(Some(o.forwards as f64))),
            ("flags", if o.flags.is_empty() { Field::Null } else { text(&o.flags) }),
            ("note", if o.note.is_empty() { Field::Null } else { text(&o.note) }),
        ] {
            assert_eq!(row[name], field, "{name} of {} {}", cell.id(), o.example);
        }
        let value = |name: &str| match row[name] {
            Field::Double(v) => v,
            ref other => panic!("{name}: {other:?}"),
        };
        let eps = [("1/255", 1.0 / 255.0), ("8/255", 8.0 / 255.0), ("0.25", 0.25), ("1", 1.0)];
        assert_eq!(value("eps_value"), eps.iter().find(|(t, _)| *t == cell.threat.eps_text()).unwrap().1);
    }
}

/// A tiny network's model file.
fn model_file(weights: &str, std: f64) -> String {
    format!(
        "family = \"vgg11\"\nwidth = 0.015625\nhead = \"linear\"\nclasses = 10\nside = 32\n\
         mean = [0.5, 0.5, 0.5]\nstd = [{std}, {std}, {std}]\nweights = \"{weights}\"\n"
    )
}

/// A run on pictures and two models of somebody's own that share a weight file, with transfers and maps; the sweep's folder.
/// The models name their weights by path.
fn own(absolute: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sample = foolproof::data::find("cifar10-sample").unwrap();
    let source = foolproof::data::Source::new("nowhere");
    let sample = sample.subset(&source, &foolproof::data::Choice::new("test", 0, None)).unwrap();
    for i in 0..20 {
        // the sample lacks two classes of ten
        let class = at.join(format!("pictures/{}", i % 10));
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{i}.png")), png(sample.image(i), 32)).unwrap();
    }
    fs::create_dir_all(at.join("configs/models/deep")).unwrap();
    let weights = vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10)));
    fs::write(at.join("configs/models/deep/mine.bin"), &weights).unwrap();
    let beside = if absolute { at.join("configs/models").display().to_string() + "/" } else { String::new() };
    for (name, std) in [("mine", 0.25), ("mine-too", 0.5)] {
        let text = model_file(&format!("{beside}deep/mine.bin"), std);
        fs::write(at.join(format!("configs/models/{name}.toml")), text).unwrap();
    }
    let sweep = r#"
name = "own"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "folder", path = "pictures", resize = 32 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
transfer_to = ["mine", "mine-too"]
explain = true
"#;
    fs::write(at.join("sweep.toml"), sweep).unwrap();
    ok(at, &["--config", "sweep.toml", "-q"]);
    folder
}

/// Verifies a bundle in a folder with an empty temporary folder beside it, in which nothing may stay.
fn verify(at: &Path, bundle: &Path) -> Output {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = support::foolproof();
    command.current_dir(at).env_remove("FOOLPROOF_DATA").env("HF_HUB_OFFLINE", "1").env("TMPDIR", temporary.path());
    let output = command.arg("verify").arg(bundle).output().unwrap();
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing is left behind");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_bundle_is_verified_where_nothing_else_is() {
    let folder = own(false);
    let at = folder.path();
    let (line, _) = ok(at, &["export", "own", "--format", "tar"]);
    assert_eq!(line.trim_end(), "export/own/own.tar");
    let bundle = at.join("export/own/own.tar");
    let bytes = fs::read(&bundle).unwrap();
    ok(at, &["export", "own", "--format", "tar"]);
    assert!(bytes == fs::read(&bundle).unwrap(), "the same run gives the same bytes");
    assert!(fs::read_dir(at.join("export/own")).unwrap().count() == 1);

    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path();
    let output = verify(there, &bundle);
    let (said, why) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{why}");
    assert!(said.starts_with("1 cells, 20 witnesses, ") && said.contains(" 0 problems"), "{said}");
    assert!(said.contains("40 transfers, 40 maps verified, 1 subsets held to no dataset,"), "{said}");
    assert!(why.contains("were taken from the run: ") && why.contains("pictures"), "{why}");
    assert_eq!(fs::read_dir(there).unwrap().count(), 0, "nothing is left behind");
    // at home the dataset is there, and held to
    let (said, _) = ok(at, &["verify", "export/own/own.tar"]);
    assert!(said.contains(" 0 problems") && !said.contains("held to no dataset"), "{said}");

    // unpacked by whatever tool, each file is as it was sent
    tar::Archive::new(bytes.as_slice()).unpack(there).unwrap();
    let root = there.join("own");
    let sums = fs::read_to_string(root.join("SHA256SUMS")).unwrap();
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        assert_eq!(sha256(&fs::read(root.join(path)).unwrap()), sum, "{path}");
    }
    let mut files = Vec::new();
    list(&root, &mut files);
    assert_eq!(files.len(), sums.lines().count() + 1, "the sums name every other file");
    assert!(!files.iter().any(|f| f.ends_with("lock")));
    ok(there, &["verify", "own"]);
    // whoever got it passes it on as it was
    ok(there, &["export", "own", "--format", "tar", "--to", "again"]);
    assert!(bytes == fs::read(there.join("again/own.tar")).unwrap(), "a bundle of a bundle is the same");

    // a model, a witness, a clean image that is not what the cells say
    for (what, find, code) in
        [("model", "weights", "mine"), ("witness", "witnesses.safetensors", "damaged"), ("clean", "inputs", "pictures")]
    {
        let copy = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(copy.path()).unwrap();
        let mut files = Vec::new();
        list(&copy.path().join("own"), &mut files);
        let path = files.iter().find(|f| f.to_string_lossy().contains(find)).unwrap();
        let mut forged = fs::read(path).unwrap();
        let middle = forged.len() / 2;
        forged[middle] ^= 1;
        fs::write(path, forged).unwrap();
        let (status, problem) = fails(copy.path(), &["verify", "own"]);
        assert!(status == Some(3) && problem.contains(code), "{what}: {problem}");
        if what == "model" {
            let (status, problem) = fails(copy.path(), &["export", "own", "--format", "tar"]);
            assert!(status == Some(1) && problem.contains("is not the weight file that model `mine"), "{problem}");
            assert!(!copy.path().join("export").exists());
        }
    }
}

#[test]
fn weights_may_stay_at_home_and_whoever_follows_the_note_verifies() {
    for (absolute, wanted) in [
        (false, ["configs/models/deep/mine.bin", "datasets/models/deep/mine.bin"].as_slice()),
        (true, ["datasets/models/mine.bin"].as_slice()),
    ] {
        let folder = own(absolute);
        let at = folder.path();
        let (_, note) = ok(at, &["export", "own", "--format", "tar", "--without-weights"]);
        assert_eq!(note.lines().count(), 2, "a line a model: {note}");
        let line = note.lines().find(|line| line.starts_with("model `mine`: ")).unwrap();
        let weights = fs::read(at.join("configs/models/deep/mine.bin")).unwrap();
        let (needs, places) = line.split_once(" as ").unwrap();
        assert_eq!(needs, format!("model `mine`: verify needs a weight file with SHA-256 {}", sha256(&weights)));
        let (places, otherwise) = places.split_once(" (below FOOLPROOF_DATA, where that is set, ").unwrap();
        assert!(otherwise == "in place of datasets)" && places.split(" or ").eq(wanted.iter().copied()), "{line}");
        let bundle = at.join("export/own/own.tar");
        let mut archive = tar::Archive::new(fs::File::open(&bundle).unwrap());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut readme = String::new();
        entry.read_to_string(&mut readme).unwrap();
        assert!(readme.contains(&format!("Not here: {line}.\n")), "{readme}");
        // an absolute path would be found on this machine
        fs::remove_dir_all(at.join("configs")).unwrap();
        for place in wanted {
            let elsewhere = tempfile::tempdir().unwrap();
            let there = elsewhere.path();
            let output = verify(there, &bundle);
            assert!(output.status.code() == Some(1) && text(&output.stderr).contains("mine"), "nothing is there yet");
            fs::create_dir_all(there.join(place).parent().unwrap()).unwrap();
            fs::write(there.join(place), &weights).unwrap();
            let output = verify(there, &bundle);
            assert!(output.status.success(), "{place}: {}", text(&output.stderr));
            if let Some(below) = place.strip_prefix("datasets/") {
                fs::rename(there.join("datasets"), there.join("data")).unwrap();
                assert!(there.join("data").join(below).is_file());
                let mut command = support::foolproof();
                command.current_dir(there).env("FOOLPROOF_DATA", "data").arg("verify").arg(&bundle);
                let output = command.output().unwrap();
                assert!(output.status.success(), "{place}: {}", text(&output.stderr));
            }
        }
    }
}

#[test]
fn what_the_sweep_did_not_run_with_is_no_part_of_a_bundle() {
    let folder = own(false);
    let at = folder.path();
    let refused = |said: &str| {
        let (code, problem) = fails(at, &["export", "own", "--format", "tar"]);
        assert!(code == Some(1) && problem.contains("mine") && problem.contains("--without-weights"), "{problem}");
        assert!(problem.contains(said), "{problem}");
        assert!(!at.join("export").exists(), "looked at before anything is written");
    };
    let (weights, description) = (at.join("configs/models/deep/mine.bin"), at.join("configs/models/mine.toml"));
    let (were, was) = (fs::read(&weights).unwrap(), fs::read_to_string(&description).unwrap());
    fs::write(&weights, vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(9)))).unwrap();
    refused("is not the weight file that model `mine` had");
    fs::write(&weights, were).unwrap();
    fs::write(&description, was.replace("0.25, 0.25, 0.25", "0.3, 0.25, 0.25")).unwrap();
    refused("the model file of `mine` describes `vgg11 ");
    fs::remove_file(&description).unwrap();
    refused("its model file is not here");
    let (_, note) = ok(at, &["export", "own", "--format", "tar", "--without-weights"]);
    assert!(note.contains("what the sweep found as `configs/models/mine.toml`, with weights of SHA-256 "), "{note}");
}

#[test]
fn the_folder_of_the_run_takes_no_export() {
    let folder = ran(SMALL);
    let at = folder.path();
    #[cfg(unix)]
    std::os::unix::fs::symlink("results/small/cells", at.join("link")).unwrap();
    #[cfg(unix)]
    assert!(fails(at, &["export", "small", "--format", "parquet", "--to", "link/x"]).1.contains("own folder"));
    for to in ["results/small", "results/small/tables/new", "no/../results/./small/x"] {
        for format in ["tar", "parquet", "robustbench-json", "autoattack-log"] {
            let (code, problem) = fails(at, &["export", "small", "--format", format, "--to", to]);
            assert!(code == Some(1) && problem.contains("own folder") && problem.contains("--to"), "{to}: {problem}");
        }
    }
    let (code, problem) = fails(&at.join("results/small"), &["export", ".", "--format", "tar"]);
    assert!(code == Some(1) && problem.contains("export/small lies in the run's own folder"), "{problem}");
    ok(at, &["verify", "small"]);
    ok(at, &["export", "small", "--format", "parquet", "--to", "results"]);
}

/// One cell of a compiled-in model.
const SMALL: &str = r#"
name = "small"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 4 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
"#;

#[test]
fn an_export_that_fails_leaves_nothing_and_two_at_once_do_not_meet() {
    let folder = reported(SMALL);
    let (at, to) = (folder.path(), folder.path().join("to"));
    // several at once, into one folder
    let export = |format: &str| {
        let mut command = support::foolproof();
        command
            .current_dir(at)
            .args(["export", "small", "--to", "to", "--format", format])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    ok(at, &["export", "small", "--to", "alone", "--format", "tar"]);
    let mut children: Vec<_> = (0..6).map(|k| export(if k % 2 == 0 { "tar" } else { "parquet" })).collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    assert!(fs::read(at.join("alone/small.tar")).unwrap() == fs::read(to.join("small.tar")).unwrap());
    let names = || fs::read_dir(&to).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names().collect::<BTreeSet<_>>(), ["small.parquet", "small.tar"].map(String::from).into());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        fs::File::create(at.join("plain")).unwrap();
        assert_eq!(mode(&to.join("small.tar")), mode(&at.join("plain")));
    }
    // half of a table, half of a bundle
    let run = at.join("results/small");
    fs::remove_dir_all(&to).unwrap();
    fs::remove_file(run.join("report.html")).unwrap();
    fs::create_dir(run.join("report.html")).unwrap();
    let (code, problem) = fails(at, &["export", "small", "--to", "to", "--format", "tar"]);
    assert!(code == Some(1) && problem.contains("report.html"), "{problem}");
    assert_eq!(names().count(), 0);
    let cell = cells(&run, |_| true)[0].cell.id();
    fs::write(run.join("cells").join(cell).join("outcomes.csv"), "").unwrap();
    let (code, problem) = fails(at, &["export", "small", "--to", "to", "--format", "parquet"]);
    assert!(code == Some(1) && problem.contains("outcomes.csv"), "{problem}");
    assert_eq!(names().count(), 0);
}

#[test]
fn what_a_killed_writer_left_is_swept() {
    let folder = ran(SMALL);
    let run = folder.path().join("results/small");
    let left =
        ["", "inputs", "tables", "figures", "pictures", "checkpoints/0123"].map(|f| run.join(f).join(".tmp-a1B2c3"));
    for path in &left {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
    }
    ok(folder.path(), &["report", "small"]);
    left.iter().for_each(|path| assert!(!path.exists(), "{}", path.display()));
}

/// Every file below.
fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() { list(&entry, found) } else { found.push(entry) }
    }
}

#[test]
fn a_hostile_bundle_writes_nothing_outside_its_folder() {
    let entry = |path: &str, kind: tar::EntryType, link: &str| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(if kind.is_file() { 4 } else { 0 });
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        if kind.is_file() {
            bytes.extend([b"evil".as_slice(), &[0; 508]].concat());
        }
        bytes
    };
    let end = vec![0; 1024];
    let plain = entry("run/cells/a", tar::EntryType::Regular, "");
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (what, bytes) in [
        ("above", [entry("run/../../evil", tar::EntryType::Regular, ""), end.clone()].concat()),
        ("absolute", [entry("/tmp/evil-foolproof", tar::EntryType::Regular, ""), end.clone()].concat()),
        ("link", [entry("run/cells", tar::EntryType::Symlink, "/tmp"), plain.clone(), end.clone()].concat()),
        ("hard link", [entry("run/cells/b", tar::EntryType::Link, "/etc/passwd"), end.clone()].concat()),
        ("device", [entry("run/cells/b", tar::EntryType::Char, ""), end.clone()].concat()),
        ("two folders", [plain.clone(), entry("other/a", tar::EntryType::Regular, ""), end.clone()].concat()),
        ("cut off", plain[..600].to_vec()),
        ("nothing", end.clone()),
        ("no tar", b"certainly not".repeat(100)),
        ("empty", Vec::new()),
    ] {
        fs::write(at.join("bad.tar"), bytes).unwrap();
        let (code, problem) = fails(at, &["verify", "bad.tar"]);
        assert!(code == Some(1) && problem.contains("bad.tar"), "{what}: {code:?} {problem}");
        assert_eq!(fs::read_dir(at).unwrap().count(), 1, "{what}");
        assert!(!Path::new("/tmp/evil-foolproof").exists() && !at.parent().unwrap().join("evil").exists(), "{what}");
    }
}

/// A header with these fields alone.
fn header(path: &str, kind: tar::EntryType, size: u64, mode: u32) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// Header and content, to whole blocks.
fn block(path: &str, kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(path, kind, content.len() as u64, 0o000);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A record of a pax header: `<length> <key>=<value>\n`, the length with itself.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|n| n.to_string().len() + rest == *n).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

#[test]
fn a_bundle_that_was_packed_anew_by_other_tools_is_verified() {
    use tar::EntryType;
    let folder = reported(SMALL);
    let at = folder.path();
    // a name beyond the 100 bytes of a header
    let long = "n".repeat(80);
    fs::write(at.join("long.toml"), SMALL.replace("small", &long)).unwrap();
    ok(at, &["--config", "long.toml", "-q"]);
    ok(at, &["export", &long, "--format", "tar", "--to", "to"]);
    let output = verify(at, &at.join(format!("to/{long}.tar")));
    assert!(output.status.success(), "{}", text(&output.stderr));

    ok(at, &["export", "small", "--format", "tar", "--to", "to"]);
    // as `tar -cf x ./small` has it, as git has it, with folders, with modes that would lock us out, with long names of pax
    let mut anew = block("pax_global_header", EntryType::XGlobalHeader, &pax("comment", &"0".repeat(40)));
    anew.extend(header("./", EntryType::Directory, 0, 0o000));
    anew.extend(header("./small/", EntryType::Directory, 0, 0o000));
    let mut archive = tar::Archive::new(fs::File::open(at.join("to/small.tar")).unwrap());
    for (k, entry) in archive.entries().unwrap().enumerate() {
        let mut entry = entry.unwrap();
        let path = format!("./{}", entry.path().unwrap().display());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if k % 2 == 0 {
            let records = [pax("mtime", "1.5"), pax("path", &path)].concat();
            anew.extend(block("PaxHeaders/x", EntryType::XHeader, &records));
        } else {
            anew.extend(block("././@LongLink", EntryType::GNULongName, format!("{path}\0").as_bytes()));
        }
        anew.extend(block("cut", EntryType::Regular, &content));
    }
    anew.extend(vec![0; 1024]);
    fs::write(at.join("anew.tar"), &anew).unwrap();
    let output = verify(at, &at.join("anew.tar"));
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_bundle_that_cannot_be_unpacked_says_why() {
    use tar::EntryType;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (end, plain) = (vec![0; 1024], block("run/cells/a", EntryType::Regular, b"good"));
    let long = |kind, size: u64| [header("x", kind, size, 0), vec![b'n'; size.next_multiple_of(512) as usize]].concat();
    for (what, bytes, said) in [
        ("gzip", [&[0x1f, 0x8b, 8, 0], plain.as_slice()].concat(), "gunzip"),
        ("twice", [plain.clone(), plain.clone(), end.clone()].concat(), "`run/cells/a` stands in it twice"),
        (
            "twice by `./`",
            [plain.clone(), block("./run/./cells/a", EntryType::Regular, b"evil"), end.clone()].concat(),
            "twice",
        ),
        (
            "file as a folder",
            [plain.clone(), block("run/cells/a/b", EntryType::Regular, b"x"), end.clone()].concat(),
            "`run/cells/a/b`",
        ),
        (
            "long name",
            [long(EntryType::GNULongName, 70_000), plain.clone(), end.clone()].concat(),
            "a name of 70000 bytes",
        ),
        ("pax", [long(EntryType::XHeader, 70_000), plain.clone(), end.clone()].concat(), "a name of 70000 bytes"),
        (
            "pax size",
            [block("x", EntryType::XHeader, &pax("size", "512")), plain.clone(), end.clone()].concat(),
            "--format=gnu",
        ),
        ("no folder", [block("./", EntryType::Regular, b""), end.clone()].concat(), "is no plain file"),
        (
            "too long for the system",
            [
                block("x", EntryType::GNULongName, format!("run/{}", "n".repeat(300)).as_bytes()),
                plain.clone(),
                end.clone(),
            ]
            .concat(),
            "name too long",
        ),
        ("cut off", [plain.clone(), plain[..514].to_vec()].concat().split_off(1024)[..514].to_vec(), "end of file"),
    ] {
        fs::write(at.join("bad.tar"), bytes).unwrap();
        let output = verify(at, Path::new("bad.tar"));
        let problem = text(&output.stderr);
        assert!(output.status.code() == Some(1) && problem.contains("bad.tar"), "{what}: {problem}");
        assert!(problem.to_lowercase().contains(&said.to_lowercase()), "{what}: {problem}");
    }
}

#[test]
fn a_bundle_comes_out_as_it_went_in() {
    let folder = reported(SWEEP);
    let at = folder.path();
    ok(at, &["export", "shared", "--format", "tar"]);
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(fs::File::open(at.join("export/shared/shared.tar")).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().strip_prefix("shared").unwrap().to_path_buf();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let own = ["README.txt", "SHA256SUMS"].map(Path::new).contains(&path.as_path());
        assert!(own || bytes == fs::read(at.join("results/shared").join(&path)).unwrap(), "{}", path.display());
        names.push(path);
    }
    let mut files = Vec::new();
    list(&at.join("results/shared"), &mut files);
    assert_eq!(names.len(), files.len() - 1 + 2, "all but the lock, and two of its own; the models are compiled in");
    let (said, _) =
        ok(tempfile::tempdir().unwrap().path(), &["verify", at.join("export/shared/shared.tar").to_str().unwrap()]);
    assert!(said.contains("49 cells") && said.contains(" 0 problems"), "{said}");
}

/// 200 cells of 10,000 images: `cargo test --release --test export -- --ignored --nocapture`.
#[test]
#[ignore = "memory is that of the whole process: run alone"]
fn a_long_table_does_not_have_to_fit_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&folder.path().join("run")).unwrap();
    let outcome = |example: usize| Outcome {
        adversarial_prediction: Some(0),
        success: Some(!example.is_multiple_of(10)),
        // numbers of all digits
        l2: Some(example as f64 / 7.0),
        margin_adversarial: Some(-(example as f32) / 7.0),
        ..made_up::standing(example, example % 10)
    };
    let outcomes: Vec<Outcome> = (0..10_000).map(outcome).collect();
    let usual = made_up::cell();
    let data = DataRecord { take: 10_000, ..usual.data.clone() };
    let cells: Vec<Cell> = (0..200).map(|seed| Cell { seed, data: data.clone(), ..usual.clone() }).collect();
    for cell in &cells {
        store.put(cell, &outcomes, &Witnesses::U8(vec![0; 30_000]), [1; 2], made_up::provenance()).unwrap();
    }
    store.put_plan(&made_up::plan("long", &cells)).unwrap();
    let (before, start) = (support::peak_memory(), std::time::Instant::now());
    let to = folder.path().join("to");
    let table = FORMATS.iter().find(|f| f.name == "parquet").unwrap();
    table.write(&Request { store: &store, to: &to, weights: true }).unwrap();
    let (after, seconds) = (support::peak_memory(), start.elapsed().as_secs_f64());
    println!("{seconds:.1} s, peak {:?} MiB before and {:?} after", before.map(|b| b >> 20), after.map(|b| b >> 20));
    let file = SerializedFileReader::new(fs::File::open(to.join("long.parquet")).unwrap()).unwrap();
    let groups: Vec<i64> = file.metadata().row_groups().iter().map(|g| g.num_rows()).collect();
    assert_eq!(groups.iter().sum::<i64>(), 2_000_000);
    assert!(groups.iter().all(|rows| *rows <= 65_536), "{groups:?}");
    assert!(after.is_none_or(|bytes| bytes < 512 << 20), "{after:?}");
}
