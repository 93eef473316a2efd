//! The Python package: the wheel, built from this program, in an environment that has nothing else; and its module on a Python that
//! has more. The scripts of tests/python say what must hold.

mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder that `scripts/python_for_tests.sh` fills.
fn made() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python").join("bin")
}

/// The Python that `FOOLPROOF_PYTHON` names, else the one of the tests, else the machine's, with these modules; says where
/// there is none.
fn python(test: &str, modules: &str) -> Option<PathBuf> {
    let named = env::var_os("FOOLPROOF_PYTHON").map(PathBuf::from);
    let candidates = [named, Some(made().join("python")), Some("python3".into())];
    let has_them = |python: &PathBuf| {
        Command::new(python).args(["-c", &format!("import {modules}")]).output().is_ok_and(|o| o.status.success())
    };
    let found = candidates.into_iter().flatten().find(has_them);
    if found.is_none() {
        eprintln!(
            "skipped {test}: no Python with {modules} (FOOLPROOF_PYTHON names one, scripts/python_for_tests.sh makes one)"
        );
    }
    found
}

fn ok(command: &mut Command) -> Output {
    support::clear_hub(command);
    let output = command.env_remove("FOOLPROOF_DATA").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

/// Runs one of the scripts with this program, not installed.
fn script(python: &Path, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(root().join("tests/python").join(name)).current_dir(folder.path());
    command.env("PYTHONPATH", root().join("python")).env("FOOLPROOF_BINARY", env!("CARGO_BIN_EXE_foolproof"));
    ok(command.env("PYTHONDONTWRITEBYTECODE", "1").env("OMP_NUM_THREADS", "2"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_wheel_is_all_that_an_empty_environment_needs() {
    let test = "a_wheel_is_all_that_an_empty_environment_needs";
    let Some(python) = python(test, "venv, ensurepip") else { return };
    let path = env::join_paths([made()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap();
    if !Command::new("maturin").arg("--version").env("PATH", &path).output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped {test}: no maturin (scripts/python_for_tests.sh)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut build = Command::new(root().join("scripts/wheel.sh"));
    build.arg(env!("CARGO_BIN_EXE_foolproof")).env("PATH", path).env("CARGO_TARGET_DIR", folder.path());
    let built = ok(build.env("CARGO_NET_OFFLINE", "true"));
    let wheel = PathBuf::from(String::from_utf8(built.stdout).unwrap().trim());
    assert!(!folder.path().join("release").exists(), "nothing is compiled again");
    let bytes = fs::metadata(&wheel).unwrap().len();
    assert!(bytes < 30_000_000, "{} has {bytes} bytes", wheel.display());

    let environment = folder.path().join("environment");
    ok(Command::new(python).args(["-m", "venv"]).arg(&environment));
    let bin = environment.join("bin");
    ok(Command::new(bin.join("pip")).args(["install", "--no-index", "--no-deps", "--quiet"]).arg(&wheel));
    let version = ok(Command::new(bin.join("foolproof")).arg("--version")).stdout;
    assert_eq!(String::from_utf8(version).unwrap(), format!("foolproof {}\n", env!("CARGO_PKG_VERSION")));
    let mut installed = Command::new(bin.join("python"));
    installed.arg(root().join("tests/python/installed.py")).current_dir(folder.path());
    ok(installed.env_remove("FOOLPROOF_BINARY").env_remove("PYTHONPATH"));
}

#[test]
fn tables_are_data_frames_and_witnesses_are_arrays() {
    if let Some(python) = python("tables_are_data_frames_and_witnesses_are_arrays", "numpy, polars") {
        script(&python, "tables.py");
    }
}

#[test]
fn the_tour_runs() {
    if let Some(python) = python("the_tour_runs", "nbclient, ipykernel, numpy, polars, PIL") {
        script(&python, "tour.py");
    }
}

#[test]
fn a_model_of_a_known_family_becomes_a_model_file_without_onnx() {
    if let Some(python) = python("a_model_of_a_known_family_becomes_a_model_file", "torch, PIL") {
        script(&python, "state_dict.py");
    }
}

#[test]
fn a_model_of_pytorch_becomes_a_model_file_that_gives_its_logits() {
    if let Some(python) = python("a_model_of_pytorch_becomes_a_model_file", "torch, onnx, PIL") {
        script(&python, "network.py");
    }
}
