//! Networks behind defences: blind and adaptive attacks, votes that anyone can count again, and what is refused.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use support::foolproof;

/// The embedded network behind these stages.
fn model(folder: &Path, name: &str, defence: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/models");
    let text = fs::read_to_string(root.join("vgg11-half-cifar10.toml")).unwrap();
    let text = text
        .split("[clean_accuracy]")
        .next()
        .unwrap()
        .replace("weights = \"", &format!("{defence}\nweights = \"{}/", root.display()));
    fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

fn sweep(folder: &Path, name: &str, models: &str, more: &str) {
    let text = format!(
        "name = \"{name}\"\nseed = 3\n[[sweep]]\nmodels = [{models}]\ndata = {{ name = \"cifar10-sample\", take = 20 }}\n\
         goals = [\"untargeted\"]\nthreats = [{{ norm = \"linf\", eps = [\"8/255\"] }}]\n\
         attacks = [{{ name = \"pgd\", steps = 6 }}]\n{more}\n"
    );
    fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    foolproof().current_dir(folder).args(arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// A table of a run as rows of columns.
fn table(folder: &Path, run: &str, table: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(folder.join(format!("results/{run}/tables/{table}.csv"))).unwrap();
    let rows: Result<Vec<_>, _> = reader.deserialize().collect();
    rows.unwrap()
}

/// Cells by id, with what was found.
fn cells(folder: &Path, run: &str) -> BTreeMap<String, [Vec<u8>; 2]> {
    let cells = fs::read_dir(folder.join(format!("results/{run}/cells"))).unwrap().map(|e| e.unwrap().path());
    let of = |path: std::path::PathBuf| {
        let files = ["cell.json", "outcomes.csv"].map(|file| fs::read(path.join(file)).unwrap());
        (path.file_name().unwrap().to_string_lossy().into_owned(), files)
    };
    cells.map(of).collect()
}

#[test]
fn a_defence_stands_against_the_blind_and_falls_to_who_knows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    model(at, "blurred", "defence = [{ name = \"blur\", sigma = 1 }]");
    model(at, "noisy", "defence = [\"bit-depth\", { name = \"noise\", sigma = 0.03 }]\nvotes = 9");
    let models = "\"vgg11-half-cifar10\", \"blurred.toml\", \"noisy.toml\"";
    sweep(at, "d", models, "through = [\"straight\", \"bpda\"]\neot = 2");
    ok(at, &["--config", "d.toml", "--threads", "2"]);
    let found = table(at, "d", "defences");
    let row = |model: &str, through: &str| {
        found.iter().find(|r| r["model"] == model && r["through"] == through).unwrap_or_else(|| panic!("{found:?}"))
    };
    let left = |model: &str, through: &str| row(model, through)["robust_accuracy"].parse::<f64>().unwrap();
    assert!(left("blurred", "straight") >= left("blurred", "bpda") + 0.15, "{found:?}");
    for model in ["blurred", "noisy"] {
        let over: f64 = row(model, "bpda")["left_over_bare"].parse().unwrap();
        assert!(over <= 0.125, "{model} stands by {over}");
        assert_eq!(row(model, "bpda")["bare_model"], "vgg11-half-cifar10");
    }
    let keys = ["defence", "eot", "votes"].map(|key| row("noisy", "bpda")[key].as_str());
    assert_eq!(keys, ["bit-depth bits=3, noise sigma=0.03; 9 votes of draws 0", "2", "9"]);
    assert_eq!(row("noisy", "straight")["eot"], "");

    // votes are counted, and told where they are near a draw
    let images = table(at, "d", "images");
    let noisy = &row("noisy", "bpda")["cell"];
    let voted: Vec<_> = images.iter().filter(|r| r["cell"] == *noisy).collect();
    assert_eq!(voted.len(), 20);
    for r in &voted {
        let [votes, low, high] = ["votes", "votes_low", "votes_high"].map(|key| r[key].parse::<f64>().unwrap());
        assert!((1.0..=9.0).contains(&votes) && low < votes / 9.0 && votes / 9.0 <= high, "{r:?}");
    }
    let split = voted.iter().filter(|r| r["flags"].contains("split-vote")).count();
    assert_eq!(row("noisy", "bpda")["split_votes"], split.to_string());
    assert!(images.iter().filter(|r| r["cell"] == row("blurred", "bpda")["cell"]).all(|r| r["votes"].is_empty()));
    // the blind one is tried at its end alone
    let blind = &row("blurred", "straight")["cell"];
    let steps: Vec<&str> =
        images.iter().filter(|r| r["cell"] == *blind && r["success"] == "true").map(|r| r["step"].as_str()).collect();
    assert!(steps.iter().all(|step| *step == "6"), "{steps:?}");
    ok(at, &["verify", "d"]);

    // the same with other threads and batches, and where there is no defence the cell is the one that it always was
    let first = cells(at, "d");
    fs::rename(at.join("results"), at.join("before")).unwrap();
    ok(at, &["--config", "d.toml", "--threads", "1", "--batch", "3"]);
    assert_eq!(cells(at, "d"), first);
    sweep(at, "plain", "\"vgg11-half-cifar10\"", "");
    ok(at, &["--config", "plain.toml"]);
    let plain = cells(at, "plain");
    assert_eq!(plain.len(), 1);
    assert!(plain.iter().all(|(id, files)| first.get(id) == Some(files)));
}

/// Whoever forges votes is found: other draws say otherwise, and so does another class.
#[test]
fn what_was_voted_is_voted_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    model(at, "noisy", "defence = [{ name = \"noise\", sigma = 0.1 }]\nvotes = 5\ndraws = 1");
    sweep(at, "v", "\"noisy.toml\"", "");
    ok(at, &["--config", "v.toml"]);
    ok(at, &["verify", "v"]);
    // the same file with other draws is another network
    model(at, "noisy", "defence = [{ name = \"noise\", sigma = 0.1 }]\nvotes = 5\ndraws = 2");
    let output = run(at, &["verify", "v"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("noisy"), "{said}");
}

#[test]
fn what_cannot_be_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = |defence: &str, more: &str| {
        model(at, "m", defence);
        sweep(at, "bad", "\"m.toml\"", more);
        let output = run(at, &["--config", "bad.toml"]);
        assert_eq!(output.status.code(), Some(1), "{defence} {more}");
        assert!(!at.join("results").exists(), "nothing is computed");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let cases = [
        (
            "defence = [\"jpeg\"]",
            "through = \"exact\"",
            "`jpeg` of model `m` has no derivative (hint: through = \"bpda\"",
        ),
        ("defence = [\"jpeg\"]", "through = [\"bpda\", \"blind\"]", "unknown through `blind`"),
        ("defence = [\"noise\"]", "eot = 0", "`eot`: expected a whole number from 1 to 10000"),
        ("defence = [\"jpg\"]", "", "unknown defence `jpg` (hint: did you mean `jpeg`?)"),
        (
            "defence = [{ name = \"median\", window = 14 }, { name = \"jpeg\", quality = [1, 2] }]",
            "",
            "one value, not a list",
        ),
        ("defence = [{ name = \"median\", window = 16 }]", "", "expected a whole number from 2 to 15, found 16"),
        ("defence = [{ name = \"blur\", sigma = 20 }]", "", "sigma = 20: it reaches 80 pixels, and images have 32"),
        ("defence = [7]", "", "expected a text or a table, found integer `7`"),
        ("defence = []", "", "the list is empty"),
        ("defence = \"jpeg\"", "", "expected a list"),
        ("defence = [\"jpeg\"]\nvotes = 30", "", "nothing in `defence` is random"),
        ("defence = [\"noise\"]\nvotes = 0", "", "`votes`: expected a whole number from 1 to 100000"),
        ("defence = [\"jpeg\"]\ndraws = 5", "", "draws = 5: nothing in `defence` is random"),
        ("draws = 3", "", "`draws` belongs to `defence`, and there is none"),
        ("defence = [\"jpeg\"]", "explain = true", "explain the network without its `defence`"),
    ];
    for (defence, more, expected) in cases {
        let text = said(defence, more);
        assert!(text.contains(expected), "{defence} {more}: {text}");
    }
}

/// What is bent is told: draws where nothing is random, and a blind attack that is not quite.
#[test]
fn what_changes_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    model(at, "m", "defence = [\"jpeg\"]");
    sweep(at, "t", "\"m.toml\"", "eot = 10");
    assert!(ok(at, &["list", "t.toml"]).contains("nothing of its defence is random, so `eot` changes nothing"));
    sweep(at, "t", "\"m.toml\"", "through = \"straight\"");
    let text = fs::read_to_string(at.join("t.toml")).unwrap();
    fs::write(at.join("t.toml"), text.replace("name = \"pgd\", steps = 6", "name = \"square\", queries = 20")).unwrap();
    let said = ok(at, &["list", "t.toml"]);
    assert!(said.contains("`straight` is not blind"), "square counts no iterations: {said}");
    assert!(said.contains("say nothing of one that does (hint: through = [\"straight\", \"bpda\"])"), "{said}");
    // and none of it goes into a leaderboard
    ok(at, &["--config", "t.toml"]);
    let output = run(at, &["export", "t", "--format", "robustbench-json", "--to", "out"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("left out: no attack of it knows of the defence"), "{said}");
}
