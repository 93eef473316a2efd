//! The program as a user runs it: two commands, resume, kill, damage, proof.

mod support;

use foolproof::record::Provenance;
use foolproof::store::{State, Store};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::stream;

/// Two models' worth of quick cells.
const QUICK: &str = r#"
name = "quick"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted", "target:next"]
threats = [{ norm = "linf", eps = ["2/255", "8/255"] }, { norm = "l2", eps = ["0.5"] }]
attacks = [{ name = "noise" }, { name = "fgsm" }, { name = "pgd", steps = 4, random_start = true, restarts = 2 }]
"#;
const QUICK_CELLS: usize = 36;

fn foolproof(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = support::foolproof();
    command.current_dir(folder).env_remove("FOOLPROOF_DATA").env("HF_HUB_OFFLINE", "1").args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    foolproof(folder, arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and stderr of a command that fails.
fn fails(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn folder_with(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("configs/sweeps")).unwrap();
    fs::write(folder.path().join("configs/sweeps/quick.toml"), text).unwrap();
    folder
}

/// Every result below a run, provenance left out: it holds times.
fn results(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !["provenance.json", "lock"].contains(&entry.file_name().to_str().unwrap()) {
                files.insert(path.strip_prefix(run).unwrap().to_path_buf(), fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_minimal_threat_costs_the_passes_that_it_gives() {
    let folder = folder_with(
        "name = \"least\"\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ndata = { name = \"cifar10-sample\" }\n\
         goals = [\"untargeted\"]\nthreats = [{ norm = \"l2\", minimal = true, passes = 60 }]\nattacks = [{ name = \"cw\" }]\n",
    );
    let told = run(folder.path(), &["list", "sweeps/quick.toml"]).stderr;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("1 cell missing: 600 gradient steps at most"), "{told}");
}

#[test]
fn a_run_is_computed_once_and_reports_are_remade_to_the_byte() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    let list = ok(at, &["list", "sweeps/quick.toml"]);
    assert_eq!(list.lines().count(), 1 + QUICK_CELLS);
    assert!(list.lines().skip(1).all(|l| l.ends_with(",missing")), "{list}");
    assert!(!at.join("results").exists(), "list computes and writes nothing");
    let price = |what: &str| {
        let told = String::from_utf8(run(at, &["list", "sweeps/quick.toml"]).stderr).unwrap();
        assert!(told.contains(what), "{told}");
    };
    price("36 cells missing: ");
    price("(by a probe of two seconds, ");

    let first = ok(at, &["--config", "sweeps/quick.toml"]);
    assert!(first.starts_with("36 cells computed, 0 cached, 0 failed\n"), "{first}");
    let before = results(&at.join("results/quick"));
    assert_eq!(before.keys().filter(|p| p.ends_with("witnesses.safetensors")).count(), QUICK_CELLS);
    for file in [
        "tables/summary.csv",
        "tables/images.csv",
        "figures/robust-accuracy.svg",
        "figures/robust-accuracy.png",
        "figures/gallery.svg",
        "figures/gallery.png",
    ] {
        assert!(first.contains(file) && before.contains_key(Path::new(file)), "{file}");
    }
    let again = ok(at, &["--config", "configs/sweeps/quick.toml"]);
    assert!(again.starts_with("0 cells computed, 36 cached, 0 failed\n"), "{again}");
    fs::remove_dir_all(at.join("results/quick/tables")).unwrap();
    fs::remove_dir_all(at.join("results/quick/figures")).unwrap();
    ok(at, &["report", "quick"]);
    assert!(results(&at.join("results/quick")) == before, "reports are re-made to the byte");

    let summary = String::from_utf8(before[Path::new("tables/summary.csv")].clone()).unwrap();
    assert!(summary.starts_with(
        "cell,model,dataset,n,attack,params,norm,eps,goal,mode,witness,precision,status,clean_correct,robust_correct,clean_accuracy,\
         robust_accuracy,robust_low,robust_high,attack_success_rate,error_rate,median_linf_255,median_l2,forwards,backwards,\
         zero_gradient,weights_pinned,data_pinned,error\n"
    ));
    assert_eq!(summary.lines().filter(|l| l.contains(",ok,")).count(), QUICK_CELLS);
    let images = String::from_utf8(before[Path::new("tables/images.csv")].clone()).unwrap();
    assert!(images.starts_with(
        "cell,example,label,clean_prediction,adversarial_prediction,success,linf_255,l2,margin_clean,margin_adversarial,step,\
         restart,forwards,backwards,flags,weights_pinned,data_pinned,votes,votes_low,votes_high\n"
    ));
    assert_eq!(images.lines().count(), 1 + 20 * QUICK_CELLS);

    let verified = ok(at, &["verify", "quick"]);
    assert!(
        verified.starts_with("36 cells, 720 witnesses, ")
            && verified.ends_with(" verified, 0 undecided at the boundary, 0 problems\n"),
        "{verified}"
    );
    // a changed table is noticed too
    fs::write(at.join("results/quick/tables/summary.csv"), summary.replace(",ok,", ",OK,")).unwrap();
    let (code, stderr) = fails(at, &["verify", "quick"]);
    assert!(code == 3 && stderr.contains("tables/summary.csv is not what the cells give"), "{stderr}");

    // more cells in the file: only the new ones are computed; fewer: the table follows the plan
    fs::write(at.join("configs/sweeps/quick.toml"), QUICK.replace("\"8/255\"", "\"8/255\", \"16/255\"")).unwrap();
    let more = ok(at, &["--config", "sweeps/quick.toml"]);
    assert!(more.starts_with("12 cells computed, 36 cached"), "{more}");
    fs::write(at.join("configs/sweeps/quick.toml"), QUICK).unwrap();
    ok(at, &["--config", "sweeps/quick.toml"]);
    assert_eq!(fs::read(at.join("results/quick/tables/summary.csv")).unwrap(), summary.as_bytes());
    price("no cell is missing: nothing to compute");
}

#[test]
fn results_are_the_same_bytes_for_any_threads_and_batch() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    let with = |threads: &str, batch: &str| {
        let out = format!("out-{threads}-{batch}");
        ok(at, &["--config", "sweeps/quick.toml", "--out", &out, "--threads", threads, "--batch", batch, "--quiet"]);
        results(&at.join(out).join("quick"))
    };
    let first = with("1", "128");
    for (threads, batch) in [("2", "128"), ("1", "1"), ("2", "7")] {
        assert!(with(threads, batch) == first, "{threads} threads, batch {batch}");
    }
}

#[test]
fn one_flipped_byte_of_any_file_makes_verify_fail_and_name_the_cell() {
    let text = QUICK
        .replace("\"vgg11-half-cifar10\", ", "")
        .replace("\"untargeted\", ", "")
        .replace("{ name = \"noise\" }, ", "");
    let text = text.replace("\"2/255\", ", "").replace(", { norm = \"l2\", eps = [\"0.5\"] }", "");
    let folder = folder_with(&text);
    let at = folder.path();
    ok(at, &["--config", "sweeps/quick.toml", "--quiet"]);
    let dir = at.join("results/quick");
    let ids = Store::open(&dir).unwrap().ids().unwrap();
    let id = ids[0].clone();
    let cell = dir.join("cells").join(&id);

    // every byte of the texts, a thousand of the witnesses, through the reader that verify uses
    let mut s = stream("flips");
    for file in ["cell.json", "outcomes.csv", "provenance.json", "witnesses.safetensors"] {
        let sound = fs::read(cell.join(file)).unwrap();
        let places: Vec<usize> = match file {
            "witnesses.safetensors" => (0..1000).map(|_| s.below(sound.len())).collect(),
            _ => (0..sound.len()).collect(),
        };
        for place in places {
            let mut flipped = sound.clone();
            flipped[place] ^= 1 << s.below(8);
            fs::write(cell.join(file), &flipped).unwrap();
            let store = Store::open(&dir).unwrap();
            let error =
                store.read(&id).map(drop).and_then(|()| store.read_witnesses(&id).map(drop)).unwrap_err().to_string();
            assert!(error.contains(&id) && error.contains("damaged"), "{file} byte {place}: {error}");
        }
        fs::write(cell.join(file), &sound).unwrap();
    }

    // and some of every file of the run through the command itself
    let digest = fs::read_dir(dir.join("inputs")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    for file in [
        format!("cells/{id}/cell.json"),
        format!("cells/{id}/outcomes.csv"),
        format!("cells/{id}/provenance.json"),
        format!("cells/{id}/witnesses.safetensors"),
        format!("inputs/{digest}"),
        "plan.json".to_string(),
        "tables/images.csv".to_string(),
        "figures/gallery.png".to_string(),
    ] {
        let sound = fs::read(dir.join(&file)).unwrap();
        for _ in 0..3 {
            let mut flipped = sound.clone();
            flipped[s.below(sound.len())] ^= 1 << s.below(8);
            fs::write(dir.join(&file), &flipped).unwrap();
            let (code, stderr) = fails(at, &["verify", "quick"]);
            // a file of a cell names that cell, a table the cell of the line, a file of the run all cells
            let named = |id: &String| stderr.contains(&format!("cell {id}"));
            let names_cell = if file.starts_with("cells/") {
                named(&id)
            } else {
                ids.iter().any(named) || stderr.contains("all cells: ")
            };
            assert!(code == 3 && names_cell, "{file}: {code} {stderr}");
            assert!(stderr.contains(file.rsplit('/').next().unwrap()), "{file}: {stderr}");
        }
        fs::write(dir.join(&file), &sound).unwrap();
    }
    ok(at, &["verify", "quick"]);
}

#[test]
fn a_forged_success_is_found_out() {
    // consistent digests do not help: the witness itself is predicted again
    let folder = folder_with(QUICK);
    let at = folder.path();
    ok(at, &["--config", "sweeps/quick.toml", "--quiet"]);
    let dir = at.join("results/quick");
    let store = Store::create(&dir).unwrap();
    let id = store
        .ids()
        .unwrap()
        .into_iter()
        .find(|id| store.read(id).unwrap().outcomes.iter().any(|o| o.success == Some(false)));
    let id = id.unwrap();
    let mut stored = store.read(&id).unwrap();
    let witnesses = store.read_witnesses(&id).unwrap();
    let forged = stored.outcomes.iter_mut().find(|o| o.success == Some(false)).unwrap();
    forged.success = Some(true);
    // no flag excuses it: the recomputed margin is not thin
    forged.adversarial_prediction = forged.clean_prediction.map(|p| (p + 1) % 10);
    forged.flags = "boundary".into();
    let example = forged.example;
    store.put(&stored.cell, &stored.outcomes, &witnesses, [32; 2], stored.provenance.clone()).unwrap();
    drop(store);
    let (code, stderr) = fails(at, &["verify", "quick"]);
    assert!(code == 3 && stderr.contains(&format!("cell {id}, example {example}: prediction")), "{stderr}");
}

#[test]
fn a_failed_cell_is_shown_as_failed_and_tried_again() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    ok(at, &["run", "sweeps/quick.toml", "--quiet"]);
    let dir = at.join("results/quick");
    let store = Store::create(&dir).unwrap();
    let id = store.read_plan().unwrap().cells[3].id();
    let stored = store.read(&id).unwrap();
    let provenance = Provenance { error: Some("out of memory".into()), ..stored.provenance };
    store.put_failed(&stored.cell, provenance).unwrap();
    assert_eq!(store.state(&id).unwrap(), State::Failed);
    drop(store);
    ok(at, &["report", "quick"]);
    let summary = fs::read_to_string(dir.join("tables/summary.csv")).unwrap();
    let row = summary.lines().find(|l| l.starts_with(&id)).unwrap();
    assert!(row.ends_with(",failed,,,,,,,,,,,,,,yes,yes,out of memory"), "{row}");
    let (code, stderr) = fails(at, &["verify", "quick"]);
    assert!(code == 3 && stderr.contains(&id), "{stderr}");
    let again = ok(at, &["run", "sweeps/quick.toml", "--quiet"]);
    assert!(again.starts_with("1 cells computed, 35 cached"), "{again}");
}

fn wait_until(what: &str, mut test: impl FnMut() -> bool) {
    let began = Instant::now();
    while !test() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited a minute for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(at: &Path, arguments: &[&str]) -> Child {
    foolproof(at, arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn killed_runs_go_on_where_they_stopped() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    ok(at, &["--config", "sweeps/quick.toml", "--quiet", "--out", "whole"]);
    // scripts/kill_test.sh does this 200 times at random instants; here a few, after so many cells
    let cells = at.join("results/quick/cells");
    let complete = || {
        let names = fs::read_dir(&cells).into_iter().flatten().flatten();
        names.filter(|e| !e.file_name().to_string_lossy().starts_with('.')).count()
    };
    for enough in [1, 4, 9, 14] {
        let mut child = start(at, &["--config", "sweeps/quick.toml", "--quiet"]);
        wait_until("some cells", || complete() >= enough);
        child.kill().unwrap();
        let status = std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap());
        assert_eq!(status, Some(9), "killed in mid-run");
        assert!((enough..QUICK_CELLS).contains(&complete()));
    }
    ok(at, &["--config", "sweeps/quick.toml", "--quiet"]);
    assert!(results(&at.join("results/quick")) == results(&at.join("whole/quick")));
}

#[test]
fn one_writer_at_a_time_and_ctrl_c_loses_nothing() {
    // long enough to be interrupted: the robust net, thousands of steps
    let text = QUICK.replace("\"vgg11-half-cifar10\", ", "").replace("steps = 4", "steps = 3000");
    let folder = folder_with(&text);
    let at = folder.path();
    let mut child = start(at, &["--config", "sweeps/quick.toml"]);
    let cells = at.join("results/quick/cells");
    let finished = || {
        let names = fs::read_dir(&cells).into_iter().flatten().flatten();
        names.filter(|e| !e.file_name().to_string_lossy().starts_with('.')).count()
    };
    wait_until("a first cell", || finished() > 0);
    let (code, stderr) = fails(at, &["--config", "sweeps/quick.toml"]);
    assert!(code == 1 && stderr.contains("another foolproof is writing to"), "{code} {stderr}");
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stored = finished();
    let list = ok(at, &["list", "sweeps/quick.toml"]);
    assert_eq!(list.lines().filter(|l| l.ends_with(",done")).count(), stored);
    assert!(stored < 18, "it was interrupted before the end");
    assert!(
        fs::read_dir(&cells).unwrap().flatten().all(|e| !e.file_name().to_string_lossy().starts_with('.')),
        "nothing half-written"
    );
}

#[test]
fn wrong_use_is_told_in_one_line_with_a_way_out() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    let mut cases: Vec<(&[&str], &str)> = vec![
        (&["--config", "sweeps/none.toml"], "no sweep file sweeps/none.toml or configs/sweeps/none.toml"),
        (&["list", "sweeps/none.toml"], "no sweep file"),
        (&["verify", "nothing"], "no run at nothing"),
        (&["report", "nothing"], "no run at nothing"),
        (&["--config", "sweeps/quick.toml", "--device", "tpu"], "unknown device `tpu`"),
        (&["--config", "sweeps/quick.toml", "--device", "cuda:0"], "no device `cuda:0`"),
        (&["--config", "sweeps/quick.toml", "--out", "/dev/null/x"], "create folder"),
    ];
    if cfg!(not(feature = "cuda")) {
        cases.push((&["--config", "sweeps/quick.toml", "--device", "cuda:0"], "no device `cuda:0`"));
    }
    for (arguments, expected) in cases {
        let (code, stderr) = fails(at, arguments);
        assert!(code == 1 && stderr.contains(expected), "{arguments:?}: {code} {stderr}");
    }
    fs::write(at.join("configs/sweeps/quick.toml"), QUICK.replace("cifar10-sample", "cifar10")).unwrap();
    let (code, stderr) = fails(at, &["--config", "sweeps/quick.toml"]);
    assert!(
        code == 1 && stderr.contains("no file datasets/cifar10/test.bin") && stderr.contains("FOOLPROOF_DATA"),
        "{stderr}"
    );
    let (code, _) = fails(at, &["--config", "sweeps/quick.toml", "--threads", "0"]);
    assert_eq!(code, 1);
    let (code, stderr) = fails(at, &["--config", "sweeps/quick.toml", "models"]);
    assert!(code == 1 && stderr.contains("--config runs and reports by itself"), "{stderr}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_fallback_to_the_cpu_is_said_in_one_line_with_its_reason() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    let said = |arguments: &[&str]| {
        let output = run(at, &[&["run", "sweeps/quick.toml"], arguments].concat());
        assert!(output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        stderr.lines().filter(|l| l.contains("computing on the CPU")).map(String::from).collect::<Vec<_>>()
    };
    let line = "computing on the CPU: this program was built without CUDA (scripts/build_cuda.sh builds one with it)";
    assert_eq!(said(&[]), [line]);
    assert_eq!(said(&["--device", "auto"]), [line]);
    for arguments in [&["--device", "cpu"][..], &["--quiet"]] {
        assert!(said(arguments).is_empty(), "{arguments:?}");
    }
}

#[test]
fn registries_are_printed_as_tables() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    assert!(ok(at, &["models"]).contains("vgg11-half-cifar10-robust,vgg11_bn,0.5,32,10,26975e1c"));
    assert!(ok(at, &["datasets"]).contains("cifar10-sample,test,32,10,"));
    let attacks = ok(at, &["attacks"]);
    assert!(attacks.contains("pgd,linf l2 l1,step_size,2.5*eps/steps,"), "{attacks}");
    assert!(ok(at, &["completions", "bash"]).contains("_foolproof()"));
}

#[test]
fn a_model_of_the_users_own_stands_beside_the_sweep() {
    let folder = folder_with(
        &QUICK
            .replace("\"vgg11-half-cifar10\", \"vgg11-half-cifar10-robust\"", "\"vgg11-half-cifar10\", \"mine.toml\""),
    );
    let at = folder.path();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/models");
    let text = fs::read_to_string(root.join("vgg11-half-cifar10.toml"))
        .unwrap()
        .replace("vgg11-half-cifar10.safetensors", "w.safetensors");
    fs::write(at.join("configs/sweeps/mine.toml"), text).unwrap();
    fs::copy(root.join("vgg11-half-cifar10.safetensors"), at.join("configs/sweeps/w.safetensors")).unwrap();
    ok(at, &["--config", "sweeps/quick.toml", "--quiet"]);
    let summary = fs::read_to_string(at.join("results/quick/tables/summary.csv")).unwrap();
    let robust = |model: &str| -> Vec<String> {
        // random starts are keyed by cell, so only the attacks without randomness must agree
        let rows = summary.lines().filter(|l| l.contains(&format!(",{model},")) && l.contains(",fgsm,"));
        rows.map(|l| l.split(',').skip(11).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(robust("mine").len(), 6);
    assert_eq!(robust("mine"), robust("vgg11-half-cifar10"));
    ok(at, &["verify", "quick"]);
}

#[test]
fn a_limit_is_a_run_of_its_own_and_marked_everywhere() {
    let folder = folder_with(QUICK);
    let at = folder.path();
    let limited = ["--config", "sweeps/quick.toml", "--limit", "3"];
    let output = run(at, &limited);
    assert!(output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("warning: only the first 3 images of every cell are attacked (--limit)"), "{told}");
    let run = at.join("results/quick-first-3");
    assert!(!at.join("results/quick").exists());
    let summary = fs::read_to_string(run.join("tables/summary.csv")).unwrap();
    assert!(summary.lines().skip(1).all(|line| line.contains("cifar10-sample:test[0..3]")), "{summary}");
    for file in ["report.html", "tables/summary.md", "figures/robust-accuracy.svg"] {
        assert!(fs::read_to_string(run.join(file)).unwrap().contains("quick-first-3"), "{file}");
    }
    assert!(ok(at, &["verify", "quick-first-3"]).ends_with(" 0 problems\n"));
    // the whole run takes nothing from it, and nothing is taken for it
    assert!(ok(at, &["--config", "sweeps/quick.toml"]).starts_with("36 cells computed, 0 cached"));
    assert!(fails(at, &["--config", "sweeps/quick.toml", "--limit", "0"]).1.contains("--limit"));
}
