//! One cache for Python's `huggingface_hub` and for us: each reads what the other has brought.

mod support;

use foolproof::digest::sha256;
use foolproof::hub::settings::Settings;
use foolproof::hub::{Hub, Kind, RemoteFile};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::hub_server::{HubServer, model_file, noise};

/// A Python that has `huggingface_hub`: the machine's, else one with a virtual environment below the target folder.
fn python() -> Option<PathBuf> {
    let has_it = |python: &Path| {
        Command::new(python).args(["-c", "import huggingface_hub"]).output().is_ok_and(|o| o.status.success())
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("huggingface_hub");
    let own = folder.join("bin/python");
    if let Some(python) = [PathBuf::from("python3"), own.clone()].into_iter().find(|p| has_it(p)) {
        return Some(python);
    }
    let run = |program: &Path, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|o| o.status.success())
    };
    let install = ["-m", "pip", "install", "-q", "--retries", "0", "--timeout", "10", "huggingface_hub"];
    let made = run(Path::new("python3"), &["-m", "venv", folder.to_str()?]) && run(&own, &install) && has_it(&own);
    made.then_some(own)
}

/// Downloads a model's and a dataset's file, and prints where they lie.
const SCRIPT: &str = r#"
from huggingface_hub import hf_hub_download
print(hf_hub_download("timm/vgg16.tv_in1k", "model.safetensors"))
print(hf_hub_download("timm/vgg16.tv_in1k", "config.json"))
print(hf_hub_download("uoft-cs/cifar10", "plain_text/test.parquet", repo_type="dataset", revision="refs/convert/parquet"))
"#;

#[test]
fn python_and_we_share_a_cache_both_ways() {
    let Some(python) = python() else {
        eprintln!("skipped python_and_we_share_a_cache_both_ways: no huggingface_hub, and none could be installed");
        return;
    };
    let server = HubServer::start();
    let (weights, rows) = (noise(200_000, 1), noise(50_000, 2));
    server.put(
        Kind::Model,
        "timm/vgg16.tv_in1k",
        &[("model.safetensors", &weights, true), ("config.json", b"{}", false)],
    );
    server.put(Kind::Dataset, "uoft-cs/cifar10", &[("plain_text/test.parquet", &rows, true)]);
    let files = [
        (model_file("timm/vgg16.tv_in1k", "main", "model.safetensors"), sha256(&weights)),
        (model_file("timm/vgg16.tv_in1k", "main", "config.json"), sha256(b"{}")),
        (
            RemoteFile {
                kind: Kind::Dataset,
                ..model_file("uoft-cs/cifar10", "refs/convert/parquet", "plain_text/test.parquet")
            },
            sha256(&rows),
        ),
    ];
    let run = |home: &Path, offline: &str| -> Vec<PathBuf> {
        let mut command = Command::new(&python);
        support::clear_hub(&mut command);
        command.env("HF_ENDPOINT", server.endpoint()).env("HF_HOME", home).env("HF_HUB_OFFLINE", offline);
        let output = command.args(["-c", SCRIPT]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect()
    };
    let ours = |home: &Path, offline: bool| {
        let hub = Hub::new(Settings { offline, ..server.settings(&home.join("hub")) });
        files
            .iter()
            .map(|(file, sha256)| {
                let local = hub.get(file).unwrap();
                assert_eq!(&local.sha256, sha256);
                local.path
            })
            .collect::<Vec<_>>()
    };
    let all = (weights.len() + rows.len() + 2) as u64;

    let theirs = tempfile::tempdir().unwrap();
    let paths = run(theirs.path(), "0");
    assert_eq!(server.body_bytes(), all);
    assert_eq!(ours(theirs.path(), true), paths, "we read what Python brought");
    assert_eq!(ours(theirs.path(), false), paths);
    assert_eq!(server.body_bytes(), all, "and bring nothing again");

    let own = tempfile::tempdir().unwrap();
    let paths = ours(own.path(), false);
    assert_eq!(server.body_bytes(), 2 * all);
    assert_eq!(run(own.path(), "1"), paths, "Python reads what we brought");
    assert_eq!(run(own.path(), "0"), paths);
    assert_eq!(server.body_bytes(), 2 * all, "and brings nothing again");
}
