//! The program where its surroundings fail it: nobody reads what it says, a disk knows no locks, a file is out of reach.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Cells that take moments, on the images that are compiled in.
const SWEEP: &str = r#"
name = "quick"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 8 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }, { name = "pgd", steps = 5 }]
"#;

fn foolproof(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = support::foolproof();
    command.current_dir(folder).env_remove("FOOLPROOF_DATA").env("HF_HUB_OFFLINE", "1").args(arguments);
    command
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("quick.toml"), SWEEP).unwrap();
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The program by its path, for a shell that redirects.
fn shell(folder: &Path, script: &str) -> Output {
    let mut command = Command::new("sh");
    support::clear_hub(&mut command);
    let script = script.replace("foolproof", &format!("'{}'", env!("CARGO_BIN_EXE_foolproof")));
    command.current_dir(folder).env_remove("FOOLPROOF_DATA").args(["-c", &script]).output().unwrap()
}

#[test]
fn no_source_prints_by_a_macro_that_panics() {
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&entry).unwrap();
                for (number, line) in (1..).zip(text.lines()).filter(|(_, l)| !l.trim_start().starts_with("//")) {
                    for print in ["print!(", "println!(", "dbg!("] {
                        let here = entry.display();
                        assert!(!line.contains(print), "{here}:{number}: {print}…) panics: notice::say, or print");
                    }
                }
            }
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_goes_on_where_nobody_reads_what_it_says() {
    // a reader that has gone away
    let at = folder();
    let mut child = foolproof(at.path(), &["--config", "quick.toml"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && text(&output.stdout).starts_with("2 cells computed"), "{output:?}");
    for redirected in ["2>/dev/full", "2>&-", "2>&- >&-", "2>/dev/full >&-"] {
        let at = folder();
        let output = shell(at.path(), &format!("foolproof --config quick.toml {redirected}"));
        assert!(output.status.success(), "{redirected}: {output:?}");
        assert!(at.path().join("results/quick/report.html").is_file(), "{redirected}");
        // an error keeps its exit status
        let missing = shell(at.path(), &format!("foolproof --config none.toml {redirected}"));
        assert_eq!(missing.status.code(), Some(1), "{redirected}");
    }
    let piped = shell(folder().path(), "foolproof --config quick.toml 2>&1 | head -1");
    assert!(!text(&piped.stderr).contains("panicked"), "{piped:?}");
    // what is asked for on stdout
    for verb in ["list quick.toml --quiet", "attacks", "completions bash", "--help"] {
        let at = folder();
        let gone = shell(at.path(), &format!("(foolproof {verb}; echo $? >status) | true; cat status"));
        assert!(text(&gone.stdout) == "0\n" && gone.stderr.is_empty(), "{verb}: {gone:?}");
    }
    let full = shell(folder().path(), "foolproof list quick.toml --quiet >/dev/full");
    assert!(full.status.code() == Some(1) && text(&full.stderr).starts_with("error: write to stdout: "), "{full:?}");
}

/// Runs the program on a terminal, closes that once something was said, and prints the status it ends with.
const CLOSE_THE_TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b''
while b'computing on cpu' not in said:
    said += os.read(terminal, 1024)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[test]
#[cfg(target_os = "linux")]
fn a_run_goes_on_when_its_terminal_is_closed() {
    let at = folder();
    fs::write(at.path().join("quick.toml"), SWEEP.replace("steps = 5", "steps = 60")).unwrap();
    let mut python = Command::new("python3");
    support::clear_hub(&mut python);
    let arguments = [env!("CARGO_BIN_EXE_foolproof"), "--config", "quick.toml"];
    let ended = python
        .current_dir(at.path())
        .env_remove("FOOLPROOF_DATA")
        .args(["-c", CLOSE_THE_TERMINAL])
        .args(arguments)
        .output();
    let Ok(ended) = ended else {
        eprintln!("skipped a_run_goes_on_when_its_terminal_is_closed: no python3");
        return;
    };
    assert_eq!(text(&ended.stdout), "0\n", "{}", text(&ended.stderr));
    assert!(at.path().join("results/quick/report.html").is_file());
}

/// A disk that knows no locks and cannot sync.
const POOR_DISK: &str = "
#include <errno.h>
int flock(int file, int how) { errno = LOCK; return -1; }
int fsync(int file) { errno = SYNC; return -1; }
";

#[test]
#[cfg(target_os = "linux")]
fn a_disk_without_locks_or_sync_is_told_of_and_used() {
    let at = folder();
    let at = at.path();
    fs::write(at.join("disk.c"), POOR_DISK).unwrap();
    let on = |codes: [&str; 2], out: &str| -> Option<Output> {
        let [lock, sync] = codes;
        let library = at.join(format!("{lock}{sync}.so"));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", &format!("-DLOCK={lock}"), &format!("-DSYNC={sync}"), "-o"]);
        let compiled = cc.arg(&library).arg(at.join("disk.c")).status().is_ok_and(|s| s.success());
        let mut command = foolproof(at, &["--config", "quick.toml", "--out", out]);
        compiled.then(|| command.env("LD_PRELOAD", &library).output().unwrap())
    };
    for (k, codes) in [["ENOLCK", "EINVAL"], ["EOPNOTSUPP", "ENOSYS"]].into_iter().enumerate() {
        let Some(output) = on(codes, &format!("poor{k}")) else {
            eprintln!("skipped a_disk_without_locks_or_sync_is_told_of_and_used: no cc");
            return;
        };
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let said =
            |part: &str| stderr.lines().filter(|l| l.starts_with("warning: the disk of ") && l.contains(part)).count();
        assert!(said("knows no locks") >= 1 && said("cannot say when files are safe") == 1, "{stderr}");
        assert!(at.join(format!("poor{k}/quick/report.html")).is_file());
    }
    // what is wrong, and not just unknown, still stops it
    let broken = on(["EIO", "EINVAL"], "broken").unwrap();
    assert!(broken.status.code() == Some(1) && text(&broken.stderr).contains("error: lock "), "{broken:?}");
    let broken = on(["ENOLCK", "EIO"], "unsafe").unwrap();
    assert!(broken.status.code() == Some(1) && text(&broken.stderr).contains("error: sync "), "{broken:?}");
}

#[test]
fn a_baseline_may_begin_with_a_byte_order_mark() {
    let at = folder();
    let at = at.path();
    for arguments in [&["run", "quick.toml", "--quiet"][..], &["bless", "quick"]] {
        let output = foolproof(at, arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let path = at.join("results/baselines/quick.jsonl");
    let marked = ["\u{feff}".as_bytes(), &fs::read(&path).unwrap()].concat();
    fs::write(&path, marked).unwrap();
    let output = foolproof(at, &["compare", "results/baselines/quick.jsonl", "quick", "--fail-on", "changed"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A model file beside a weight file that PyTorch saved from several GPUs.
fn own_model(at: &Path) {
    fs::copy("tests/data/weights/parallel.pth", at.join("own.pth")).unwrap();
    let model = "family = \"vgg11\"\nwidth = 0.015625\nhead = \"linear\"\nclasses = 10\nside = 32\n\
                 mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nweights = \"own.pth\"\n";
    fs::write(at.join("own.toml"), model).unwrap();
    fs::write(at.join("quick.toml"), SWEEP.replace("vgg11-half-cifar10", "own.toml")).unwrap();
}

#[test]
fn a_file_out_of_reach_is_no_false_claim() {
    let (at, elsewhere) = (folder(), tempfile::tempdir().unwrap());
    own_model(at.path());
    let run = foolproof(at.path(), &["run", "quick.toml"]).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let verify = |from: &Path, run: &str| foolproof(from, &["verify", run]).output().unwrap();
    assert!(verify(at.path(), "quick").status.success());
    let run = at.path().join("results/quick");
    let there = at.path().canonicalize().unwrap().display().to_string();
    let output = verify(elsewhere.path(), run.to_str().unwrap());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("run verify from the folder of the run, {there}")), "{stderr}");
    assert!(stderr.contains("error: 2 cells could not be checked, first: cell "), "{stderr}");
    assert!(
        text(&output.stdout).contains(" 2 cells out of reach, 0 undecided at the boundary, 0 problems"),
        "{output:?}"
    );
    // another model of the name is a claim that is false
    own_model(elsewhere.path());
    fs::copy("tests/data/weights/half.pth", elsewhere.path().join("own.pth")).unwrap();
    assert_eq!(verify(elsewhere.path(), run.to_str().unwrap()).status.code(), Some(3));
}

#[test]
fn how_weights_were_read_is_said_and_kept() {
    let at = folder();
    own_model(at.path());
    let run = foolproof(at.path(), &["run", "quick.toml"]).output().unwrap();
    let stderr = text(&run.stderr);
    let note = "of the names of tensors `module.` before all names is left out";
    assert_eq!(stderr.matches(&format!("weights of `own`: {note}")).count(), 1, "{stderr}");
    let store = foolproof::store::Store::open(&at.path().join("results/quick")).unwrap();
    for id in store.ids().unwrap() {
        assert_eq!(store.cell_provenance(&id).unwrap().model_notes, [note]);
    }
    // nothing to say of a model that is compiled in, and no path of it counts from anywhere
    let plain = folder();
    assert!(foolproof(plain.path(), &["run", "quick.toml"]).status().unwrap().success());
    let cells = plain.path().join("results/quick/cells");
    let cell = fs::read_dir(cells).unwrap().next().unwrap().unwrap().path();
    let provenance = fs::read_to_string(cell.join("provenance.json")).unwrap();
    assert!(!provenance.contains("model_notes") && !provenance.contains("\"folder\""), "{provenance}");
}

#[test]
#[cfg(unix)]
fn a_sweep_file_may_be_a_pipe() {
    let at = folder();
    own_model(at.path());
    fs::create_dir(at.path().join("below")).unwrap();
    fs::rename(at.path().join("quick.toml"), at.path().join("below/quick.toml")).unwrap();
    let sweep = fs::read_to_string(at.path().join("below/quick.toml")).unwrap();
    // `own.toml` is in the current folder
    for arguments in [&["list", "/dev/stdin"][..], &["--config", "/dev/stdin"]] {
        let mut child = foolproof(at.path(), arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(sweep.as_bytes()).unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success(), "{arguments:?}");
        assert!(said.contains(if arguments[0] == "list" { ",own," } else { "2 cells computed" }), "{said}");
    }
    let problem = shell(at.path(), "sed s/fgsm/fgms/ below/quick.toml | foolproof list /dev/stdin");
    assert!(text(&problem.stderr).contains("/dev/stdin:8: "), "{problem:?}");
    // every worker reads it, and a pipe is empty for the second
    let problem = shell(at.path(), "cat below/quick.toml | foolproof --config /dev/stdin --workers 2");
    assert!(text(&problem.stderr).contains("/dev/stdin is no file, which workers have to read"), "{problem:?}");
    let none = shell(at.path(), "foolproof list below");
    assert!(none.status.code() == Some(1) && text(&none.stderr).contains("no sweep file below"), "{none:?}");
}

/// Text of the SVG of a figure of the run `quick`.
fn figure(at: &Path, name: &str) -> String {
    let output = foolproof(at, &["--config", "quick.toml", "--quiet"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read_to_string(at.join(format!("results/quick/figures/{name}.svg"))).unwrap()
}

#[test]
fn a_name_of_80_letters_keeps_both_ends_in_figures() {
    let at = folder();
    fs::create_dir_all(at.path().join("configs/models")).unwrap();
    let names = ["1", "2"].map(|end| format!("m-{}-robust{end}", "abcdefghij".repeat(7)));
    for name in &names {
        assert_eq!(name.len(), 80);
        let file = include_str!("../configs/models/vgg11-half-cifar10.toml");
        fs::write(at.path().join(format!("configs/models/{name}.toml")), file).unwrap();
    }
    let weights = at.path().join("configs/models/vgg11-half-cifar10.safetensors");
    fs::copy("configs/models/vgg11-half-cifar10.safetensors", weights).unwrap();
    let both = format!("\"{}\", \"{}\"", names[0], names[1]);
    let sweep = SWEEP.replace("\"vgg11-half-cifar10\"", &both) + &format!("transfer_to = [{both}]\n");
    fs::write(at.path().join("quick.toml"), sweep).unwrap();
    let svg = figure(at.path(), "robust-accuracy");
    let lines =
        |end: &str| svg.lines().filter(|l| l.starts_with("m-abc") && l.contains('…') && l.contains(end)).count();
    assert_eq!([lines("-robust1,"), lines("-robust2,")], [1, 1], "{svg}");
    assert!(!svg.contains(&names[0]));
}

#[test]
fn bands_of_many_lines_are_left_out_and_the_figure_says_so() {
    // and the line of the worst case
    for (most, bands) in [(5, 6), (6, 0)] {
        let at = folder();
        let steps: Vec<String> = (1..=most).map(|n| n.to_string()).collect();
        let attacks = format!("attacks = [{{ name = \"pgd\", steps = [{}] }}]", steps.join(", "));
        let (before, _) = SWEEP.split_once("attacks =").unwrap();
        let before = before.replace("[\"8/255\"]", "[\"2/255\", \"8/255\"]");
        fs::write(at.path().join("quick.toml"), format!("{before}{attacks}\n")).unwrap();
        let svg = figure(at.path(), "robust-accuracy");
        assert_eq!(svg.matches("opacity=\"0.14\"").count(), bands, "{most} lines");
        assert_eq!(svg.contains("no bands in a panel of more"), bands == 0);
    }
}
