//! `foolproof fetch` as a user runs it, against a Hub of our own.

mod support;

use foolproof::digest::sha256;
use foolproof::hub::Kind;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::hub_server::{Fault, Host, HubServer};

const REPOSITORY: &str = "owner/half";
const TOKEN: &str = "hf_marker_that_nobody_may_see";

/// A folder with a sweep of one model of the Hub, and the server that has its weights.
struct Bench {
    server: HubServer,
    folder: tempfile::TempDir,
    commit: String,
    weights: Vec<u8>,
}

impl Bench {
    /// With a commit and a SHA-256 in the model file, or a branch and none.
    fn new(pinned: bool) -> Bench {
        let weights = fs::read("configs/models/vgg11-half-cifar10.safetensors").unwrap();
        let server = HubServer::start();
        let commit = server.put(Kind::Model, REPOSITORY, &[("model.safetensors", &weights, true)]);
        let (revision, pin) = if pinned { (commit.as_str(), sha256(&weights)) } else { ("main", "unpinned".into()) };
        let model = format!(
            "family = \"vgg11_bn\"\nwidth = 0.5\nhead = \"linear\"\nclasses = 10\nside = 32\n\
             mean = [0.4914, 0.4822, 0.4465]\nstd = [0.2470, 0.2435, 0.2616]\n\
             hub = \"{REPOSITORY}\"\nrevision = \"{revision}\"\nfile = \"model.safetensors\"\nsha256 = \"{pin}\"\n"
        );
        let sweep = "name = \"hub\"\n[[sweep]]\nmodels = [\"own.toml\"]\ngoals = [\"untargeted\"]\ndata = { name = \"cifar10-sample\", take = 2 }\n\
                     threats = [{ norm = \"linf\", eps = [\"1/255\"] }]\nattacks = [{ name = \"noise\" }]\n";
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("own.toml"), model).unwrap();
        fs::write(folder.path().join("sweep.toml"), sweep).unwrap();
        Bench { server, folder, commit, weights }
    }

    fn start(&self, arguments: &[&str], offline: bool) -> Child {
        let mut command = support::foolproof();
        command.current_dir(self.folder.path()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("HF_ENDPOINT", self.server.endpoint()).env("HF_HOME", self.folder.path()).env("HF_TOKEN", TOKEN);
        command.envs(offline.then_some(("HF_HUB_OFFLINE", "1"))).spawn().unwrap()
    }

    /// Exit code, stdout and stderr.
    fn run(&self, arguments: &[&str], offline: bool) -> (i32, String, String) {
        told(self.start(arguments, offline).wait_with_output().unwrap())
    }

    fn partial(&self) -> PathBuf {
        let name = format!("{}.incomplete", sha256(&self.weights));
        self.folder.path().join("hub/models--owner--half/blobs").join(name)
    }

    fn wait_for_bytes(&self) {
        let began = Instant::now();
        while !self.partial().metadata().is_ok_and(|m| m.len() > 0) {
            assert!(began.elapsed() < Duration::from_secs(30), "no byte came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next fetch sends only what the part lacks.
    fn goes_on(&self) {
        let there = self.partial().metadata().unwrap().len();
        assert!((1..self.weights.len() as u64).contains(&there));
        self.server.forget();
        let (code, out, _) = self.run(&["fetch", "sweep.toml", "--quiet"], false);
        assert_eq!(code, 0);
        assert!(out.contains(&sha256(&self.weights)), "{out}");
        assert_eq!(self.server.body_bytes(), self.weights.len() as u64 - there);
    }
}

fn told(output: Output) -> (i32, String, String) {
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!out.contains(TOKEN) && !err.contains(TOKEN), "{out}{err}");
    (output.status.code().unwrap_or(-1), out, err)
}

#[test]
fn a_list_downloads_nothing_and_says_what_would_come() {
    for pinned in [true, false] {
        let bench = Bench::new(pinned);
        let (code, out, err) = bench.run(&["list", "sweep.toml"], false);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("to download: model.safetensors of owner/half, 4.6 MB\n"), "{err}");
        assert!(err.contains("sweep.toml:3: ") && err.contains("`foolproof fetch CONFIG` brings all"), "{err}");
        assert_eq!(bench.server.body_bytes(), 0, "not a byte of it came");
        bench.run(&["fetch", "sweep.toml", "--quiet"], false);
        let (code, out, err) = bench.run(&["list", "sweep.toml"], false);
        assert!(code == 0 && out.lines().count() == 2, "{out}{err}");
        assert!(
            err.contains("1 cell missing: 2 gradient steps at most") && err.contains("nothing to download"),
            "{err}"
        );
    }
}

#[test]
fn fetch_brings_what_a_sweep_needs_and_then_no_network_is_needed() {
    for pinned in [true, false] {
        let bench = Bench::new(pinned);
        let url = |revision: &str| format!("/{REPOSITORY}/resolve/{revision}/model.safetensors");
        let revision = if pinned { bench.commit.as_str() } else { "main" };
        let (code, _, err) = bench.run(&["fetch", "sweep.toml"], true);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(&url(revision)) && err.contains("foolproof fetch"), "{err}");

        let (sha256, size, commit) = (sha256(&bench.weights), bench.weights.len(), &bench.commit);
        let line = |how: &str| {
            format!("{REPOSITORY} {revision} -> {commit} model.safetensors {size} bytes sha256 {sha256} {how}\n")
        };
        let (code, out, err) = bench.run(&["fetch", "sweep.toml"], false);
        assert_eq!(code, 0, "{err}");
        assert!(out.starts_with(&line("downloaded")), "{out}");
        assert_eq!((out + &err).contains(&format!("= \"{sha256}\"")), !pinned, "the line to paste: {err}");
        let begin = format!("downloading model.safetensors of {REPOSITORY}: 4.6 MB");
        assert!(err.contains(&begin) && err.contains("4.6/4.6 MB") && err.contains("MB/s"), "{err}");
        let (code, out, err) = bench.run(&["fetch", "sweep.toml"], false);
        assert!(code == 0 && out.starts_with(&line("cached")), "{out}{err}");
        assert!(!err.contains("downloading"), "{err}");
        bench.server.forget();
        let (code, out, err) = bench.run(&["list", "sweep.toml"], true);
        assert_eq!((code, out.lines().count()), (0, 2), "{err}");
        assert!(bench.server.requests().is_empty());
    }
}

#[test]
fn refusals_end_with_code_1_and_one_line() {
    let bench = Bench::new(false);
    bench.server.gate(Kind::Model, REPOSITORY);
    let (code, out, err) = bench.run(&["fetch", "sweep.toml"], false);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("gated") && err.contains(&bench.server.endpoint()), "{err}");
    assert_eq!(bench.run(&["cache", "--verify"], false).0, 0, "nothing damaged was left");
}

#[test]
fn ctrl_c_and_sigkill_in_mid_download_leave_a_part_to_go_on_from() {
    for signal in ["-INT", "-TERM", "-KILL"] {
        let bench = Bench::new(true);
        bench.server.order(Host::Cdn, "GET", Fault::Slow(bench.weights.len() / 8), 1);
        let child = bench.start(&["fetch", "sweep.toml"], false);
        bench.wait_for_bytes();
        let began = Instant::now();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let (code, out, err) = told(child.wait_with_output().unwrap());
        println!("{signal}: ended after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(20), "{signal}: {:?}", began.elapsed());
        assert_eq!((code, out.as_str()), (if signal == "-KILL" { -1 } else { 130 }, ""), "{signal}: {err}");
        assert!(signal == "-KILL" || err.contains("interrupted"), "{err}");
        assert!(!Path::new(&bench.partial()).with_extension("").exists(), "no blob yet");
        let (code, out, _) = bench.run(&["cache", "--verify"], false);
        assert!(code == 0 && out.contains(".incomplete") && out.contains(",incomplete"), "{out}");
        bench.goes_on();
    }
}
