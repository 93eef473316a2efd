//! One cache for Python's `huggingface_hub` and for us: each reads what the other has brought.

mod support;

use foolproof::digest::sha256;
use foolproof::hub::settings::Settings;
use foolproof::hub::{Hub, Kind, RemoteFile};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::hub_server::{HubServer, model_file, noise};

/// A Python that has `huggingface_hub`: the machine's, else the one that `scripts/python_for_tests.sh` makes.
fn python() -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python").join("bin/python");
    let has_it = |python: &PathBuf| {
        Command::new(python).args(["-c", "import huggingface_hub"]).output().is_ok_and(|o| o.status.success())
    };
    [PathBuf::from("python3"), made].into_iter().find(has_it)
}

/// Downloads a model's and a dataset's file, prints where they lie, and finds nothing wrong with the cache.
const SCRIPT: &str = r#"
from huggingface_hub import hf_hub_download, scan_cache_dir
print(hf_hub_download("timm/vgg16.tv_in1k", "model.safetensors"))
print(hf_hub_download("timm/vgg16.tv_in1k", "config.json"))
print(hf_hub_download("uoft-cs/cifar10", "plain_text/test.parquet", repo_type="dataset", revision="refs/convert/parquet"))
found = scan_cache_dir()
assert not found.warnings and len(found.repos) == 2, found
"#;

#[test]
fn python_and_we_share_a_cache_both_ways() {
    let Some(python) = python() else {
        eprintln!("skipped python_and_we_share_a_cache_both_ways: no huggingface_hub (scripts/python_for_tests.sh)");
        return;
    };
    let server = HubServer::start();
    let (weights, rows) = (noise(200_000, 1), noise(50_000, 2));
    let commit = server.put(
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
    assert_eq!(
        server.hub(&own.path().join("hub")).list(Kind::Model, "timm/vgg16.tv_in1k", &commit, "").unwrap().len(),
        2
    );
    assert!(own.path().join(format!("hub/models--timm--vgg16.tv_in1k/.foolproof/{commit}.json")).is_file());
    assert_eq!(server.body_bytes(), 2 * all);
    assert_eq!(run(own.path(), "1"), paths, "Python reads what we brought");
    assert_eq!(run(own.path(), "0"), paths);
    assert_eq!(server.body_bytes(), 2 * all, "and brings nothing again");
}
