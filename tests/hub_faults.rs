//! What goes wrong between us and the Hub: each row ends in a clear error or in the right file, never in a corrupt cache.

mod support;

use foolproof::digest::sha256;
use foolproof::hub::settings::{Settings, Token};
use foolproof::hub::{Event, Hub, Kind, RemoteFile};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::hub_server::{Fault, Host, HubServer, Request, model_file, noise};

const REPOSITORY: &str = "timm/vgg16.tv_in1k";
const WEIGHTS: &str = "model.safetensors";
const SIZE: usize = 300_000;
const TOKEN: &str = "hf_marker_that_nobody_may_see";

/// A server, a cache below a folder of its own, and what the Hub said.
struct Bench {
    server: HubServer,
    folder: tempfile::TempDir,
    commit: String,
    weights: Vec<u8>,
    notes: Arc<Mutex<String>>,
}

impl Bench {
    fn new() -> Bench {
        let server = HubServer::start();
        let weights = noise(SIZE, 1);
        let commit = server.put(Kind::Model, REPOSITORY, &[(WEIGHTS, &weights, true), ("config.json", b"{}", false)]);
        Bench { server, folder: tempfile::tempdir().unwrap(), commit, weights, notes: Arc::default() }
    }

    /// One whose requests of this kind go wrong so many times.
    fn with(host: Host, method: &'static str, fault: Fault, times: usize) -> Bench {
        let bench = Bench::new();
        bench.server.order(host, method, fault, times);
        bench
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn settings(&self) -> Settings {
        self.server.settings(&self.cache())
    }

    fn hub_with(&self, settings: Settings) -> Hub {
        let notes = self.notes.clone();
        Hub::new(settings).with_progress(move |event| {
            if let Event::Note(text) = event {
                notes.lock().unwrap().push_str(&format!("{text}\n"));
            }
        })
    }

    fn hub(&self) -> Hub {
        self.hub_with(self.settings())
    }

    fn with_token(&self) -> Hub {
        self.hub_with(Settings { token: Token::new(TOKEN), ..self.settings() })
    }

    fn file(&self) -> RemoteFile {
        model_file(REPOSITORY, "main", WEIGHTS)
    }

    fn blobs(&self) -> PathBuf {
        self.cache().join("models--timm--vgg16.tv_in1k/blobs")
    }

    fn partial(&self) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", sha256(&self.weights)))
    }

    /// The error of a file that cannot be had; nothing may be stored that could pass for it.
    fn refused(&self, hub: &Hub, file: &RemoteFile) -> String {
        let problem = hub.get(file).unwrap_err();
        assert_eq!(problem.exit_code(), 1);
        self.nothing_is_stored();
        let text = problem.to_string();
        assert!(!text.contains('\n') && text.starts_with("hub: "), "one plain sentence: {text}");
        text
    }

    /// No blob, no snapshot, and nothing outside the cache.
    fn nothing_is_stored(&self) {
        for file in files_below(self.folder.path()) {
            let path = file.to_str().unwrap();
            let below = path.strip_prefix(self.cache().to_str().unwrap());
            let below = below.unwrap_or_else(|| panic!("{path} is outside the cache"));
            assert!(path.ends_with(".incomplete") || below.starts_with("/.locks/"), "{path} is stored");
        }
    }

    fn whole(&self, hub: &Hub) {
        let local = hub.get(&self.file()).unwrap();
        assert_eq!(local.sha256, sha256(&self.weights));
        assert_eq!(fs::read(&local.path).unwrap(), self.weights);
        assert!(!self.partial().exists());
    }

    fn to(&self, host: Host, method: &str) -> Vec<Request> {
        self.server.requests().into_iter().filter(|r| r.host == host && r.method == method).collect()
    }

    fn notes(&self) -> String {
        self.notes.lock().unwrap().clone()
    }
}

/// Files and links below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
            let folder = entry.file_type().unwrap().is_dir();
            if folder { &mut folders } else { &mut found }.push(entry.path());
        }
    }
    found
}

fn status(status: u16, headers: &[(&str, &str)]) -> Fault {
    let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    Fault::Status(status, headers, b"<html>an error page</html>".to_vec())
}

// ---- refusals

#[test]
fn an_error_page_is_no_file() {
    for (code, tries) in [(403, 1), (404, 1), (410, 1), (500, 4), (502, 4), (503, 4), (408, 4), (429, 4)] {
        let bench = Bench::with(Host::Cdn, "GET", status(code, &[]), 99);
        let problem = bench.refused(&bench.hub(), &bench.file());
        assert!(problem.contains(&code.to_string()) && problem.contains(WEIGHTS), "{problem}");
        assert_eq!(bench.to(Host::Cdn, "GET").len(), tries, "{code}");
        assert!(!problem.contains("html"), "what the server wrote is not shown: {problem}");
    }
}

#[test]
fn a_gate_or_a_private_repository_is_said_at_once_with_what_to_do() {
    let bench = Bench::new();
    bench.server.gate(Kind::Model, REPOSITORY);
    bench.server.set_token(TOKEN);
    let problem = bench.refused(&bench.hub(), &bench.file());
    let page = format!("{}/{REPOSITORY}", bench.server.endpoint());
    assert!(problem.contains("gated") && problem.contains("HF_TOKEN") && problem.contains(&page), "{problem}");
    let other = bench.hub_with(Settings { token: Token::new("another"), ..bench.settings() });
    let problem = bench.refused(&other, &bench.file());
    assert!(problem.contains("gated") && problem.contains("no access") && problem.contains(&page), "{problem}");
    assert_eq!(bench.server.requests().len(), 2, "each at once");
    bench.whole(&bench.with_token());

    let bench = Bench::new();
    bench.server.hide(Kind::Model, REPOSITORY);
    bench.server.set_token(TOKEN);
    let problem = bench.refused(&bench.hub(), &bench.file());
    assert!(problem.contains("private") && problem.contains("HF_TOKEN"), "{problem}");
    bench.whole(&bench.with_token());

    // the real one answers 401 without a code where the token itself is bad
    let bench = Bench::with(Host::Hub, "HEAD", status(401, &[]), 9);
    let problem = bench.refused(&bench.with_token(), &bench.file());
    assert!(problem.contains("token was refused") && problem.contains("HF_TOKEN"), "{problem}");
    assert_eq!(bench.server.requests().len(), 1);
}

#[test]
fn what_is_not_there_is_named() {
    let bench = Bench::new();
    bench.server.set_token(TOKEN);
    for (hub, file, words) in [
        (bench.hub(), model_file("nobody/nothing", "main", WEIGHTS), "no repository nobody/nothing"),
        (bench.with_token(), model_file("nobody/nothing", "main", WEIGHTS), "no repository nobody/nothing"),
        (bench.hub(), model_file(REPOSITORY, "main", "weights.bin"), "no `weights.bin`"),
        (bench.hub(), model_file(REPOSITORY, "v9", WEIGHTS), "no revision `v9`"),
        (bench.hub(), model_file(REPOSITORY, &"0".repeat(40), WEIGHTS), "no revision `0000"),
    ] {
        bench.server.forget();
        let problem = bench.refused(&hub, &file);
        assert!(problem.contains(words) && problem.contains("hint"), "{problem}");
        assert_eq!(bench.server.requests().len(), 1, "at once");
    }
    let problem = bench.hub().list(Kind::Dataset, "nobody/nothing", "main", "").unwrap_err().to_string();
    assert!(problem.contains("no repository nobody/nothing"), "{problem}");
}

// ---- what passes

#[test]
fn two_500_and_then_200_is_a_success() {
    for (host, method) in [(Host::Hub, "HEAD"), (Host::Hub, "GET"), (Host::Cdn, "GET")] {
        let bench = Bench::with(host, method, status(500, &[]), 2);
        bench.whole(&bench.hub());
        assert_eq!(bench.notes().matches("500 Internal Server Error; trying again").count(), 2, "{}", bench.notes());
    }
}

#[test]
fn retry_after_is_honoured_up_to_a_cap() {
    for method in ["HEAD", "GET"] {
        let bench = Bench::with(Host::Hub, method, status(429, &[("Retry-After", "1")]), 2);
        let began = Instant::now();
        bench.whole(&bench.hub());
        assert!(began.elapsed() >= Duration::from_secs(2), "{method}: {:?}", began.elapsed());
        assert_eq!(
            bench.notes().matches("429 Too Many Requests; trying again in 1.0 s").count(),
            2,
            "{}",
            bench.notes()
        );
    }
    let bench = Bench::with(Host::Hub, "HEAD", status(429, &[("Retry-After", "86400")]), 1);
    bench.whole(&bench.hub_with(Settings { longest_wait: Duration::from_millis(20), ..bench.settings() }));
    // as the real Hub says it
    let headers = [("ratelimit", "\"api\";r=0;t=1"), ("ratelimit-policy", "\"fixed window\";\"api\";q=500;w=300")];
    let bench = Bench::with(Host::Hub, "HEAD", status(429, &headers), 1);
    bench.whole(&bench.hub());
    assert!(bench.notes().contains("429 Too Many Requests; trying again in 1.0 s"), "{}", bench.notes());
}

#[test]
fn a_connection_cut_at_30_percent_is_resumed_by_range() {
    for fault in [Fault::Cut(0.3), Fault::CutWithoutLength(0.3)] {
        let bench = Bench::with(Host::Cdn, "GET", fault, 1);
        bench.whole(&bench.hub());
        let gets = bench.to(Host::Cdn, "GET");
        assert_eq!(gets.len(), 2);
        assert!(!gets[0].headers.contains_key("range"));
        assert_eq!(gets[1].headers["range"], "bytes=90000-");
        assert_eq!(bench.server.body_bytes(), SIZE as u64, "no byte is sent twice");
    }
    // a plain file, from the Hub itself
    let bench = Bench::new();
    let text = noise(1000, 2);
    bench.server.put(Kind::Model, REPOSITORY, &[("vocab.txt", &text, false)]);
    bench.server.order(Host::Hub, "GET", Fault::Cut(0.5), 1);
    let local = bench.hub().get(&model_file(REPOSITORY, "main", "vocab.txt")).unwrap();
    assert_eq!(fs::read(local.path).unwrap(), text);
    assert_eq!(bench.server.body_bytes(), 1000);
}

#[test]
fn a_connection_that_is_always_cut_is_an_error_and_leaves_a_part_to_go_on_from() {
    for fault in [Fault::Cut(0.1), Fault::CutWithoutLength(0.1)] {
        let bench = Bench::with(Host::Cdn, "GET", fault, 99);
        let problem = bench.refused(&bench.hub(), &bench.file());
        assert!(problem.contains("given up after 4 tries") && problem.contains("of 300000 bytes"), "{problem}");
        let there = bench.partial().metadata().unwrap().len();
        assert_eq!(there, 103_170, "1 - 0.9^4 of it");
        bench.server.forget();
        bench.whole(&bench.hub());
        assert_eq!(bench.server.body_bytes(), SIZE as u64 - there);
    }
}

#[test]
fn a_try_that_comes_on_does_not_count() {
    let bench = Bench::new();
    let big = noise(8 << 20, 3);
    bench.server.put(Kind::Model, REPOSITORY, &[("big.safetensors", &big, true)]);
    bench.server.order(Host::Cdn, "GET", Fault::Cut(0.2), 3); // 1.6, 1.3 and 1.0 MiB
    let file = model_file(REPOSITORY, "main", "big.safetensors");
    assert_eq!(hub_of_one_try(&bench).get(&file).unwrap().sha256, sha256(&big));
    assert_eq!(bench.server.body_bytes(), 8 << 20);
    // and one that hardly does counts
    let bench = Bench::new();
    bench.server.put(Kind::Model, REPOSITORY, &[("big.safetensors", &big, true)]);
    fs::create_dir_all(bench.blobs()).unwrap();
    fs::write(bench.blobs().join(format!("{}.incomplete", sha256(&big))), &big[..4 << 20]).unwrap();
    bench.server.order(Host::Cdn, "GET", Fault::Cut(0.2), 99); // 0.8 MiB each, at first
    let problem = bench.refused(&hub_of_one_try(&bench), &file);
    assert!(problem.contains("given up after 1 tries"), "{problem}");
}

fn hub_of_one_try(bench: &Bench) -> Hub {
    bench.hub_with(Settings { tries: 1, ..bench.settings() })
}

#[test]
fn mirrors_may_leave_lengths_out() {
    let gone = |bench: &Bench, path: &str, bytes: &[u8]| {
        let local = bench.hub().get(&model_file(REPOSITORY, "main", path)).unwrap();
        assert_eq!(fs::read(local.path).unwrap(), bytes);
    };
    let bench = Bench::with(Host::Hub, "HEAD", Fault::Without("Content-Length"), 1);
    gone(&bench, "config.json", b"{}");
    let bench = Bench::with(Host::Hub, "HEAD", Fault::Without("X-Linked-Size"), 1);
    gone(&bench, WEIGHTS, &bench.weights);
    assert!(bench.to(Host::Cdn, "HEAD").is_empty());
    // without any length nobody knows when it ends
    let bench = Bench::with(Host::Hub, "*", Fault::Without("Content-Length"), 9);
    let problem = bench.refused(&bench.hub(), &model_file(REPOSITORY, "main", "config.json"));
    assert!(problem.contains("lacks") && problem.contains("length"), "{problem}");
}

#[test]
fn a_mirror_that_hands_on_the_hubs_next_page_is_asked_itself() {
    for host in ["https://huggingface.co", "http://127.0.0.1:1"] {
        let bench = Bench::new();
        bench.server.set_page(1);
        let next = format!("<{host}/api/models/{REPOSITORY}/tree/main?recursive=true&cursor=1>; rel=\"next\"");
        bench.server.order(Host::Hub, "GET", Fault::Header("Link".into(), next), 1);
        let list = bench.with_token().list(Kind::Model, REPOSITORY, "main", "").unwrap();
        assert_eq!(list.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["config.json", WEIGHTS]);
        assert_eq!(bench.to(Host::Hub, "GET").len(), 2);
    }
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let bench = Bench::with(Host::Cdn, "GET", Fault::Cut(0.3), 1);
    let whole = Fault::Status(200, Vec::new(), bench.weights.clone());
    bench.server.order(Host::Cdn, "GET", whole, 1);
    bench.whole(&bench.hub());
    assert_eq!(bench.server.body_bytes(), SIZE as u64 + 90_000);
    // and one that sends another part than was asked for is not believed
    let bench = Bench::with(Host::Cdn, "GET", Fault::Cut(0.3), 1);
    bench.server.order(Host::Cdn, "GET", Fault::Header("Content-Range".into(), "bytes 0-9/300000".into()), 1);
    bench.whole(&bench.hub());
    assert!(bench.notes().contains("another part"), "{}", bench.notes());
}

#[test]
fn a_part_is_used_only_for_the_same_content_and_only_if_it_is_right() {
    let bench = Bench::new();
    fs::create_dir_all(bench.blobs()).unwrap();
    let another = bench.blobs().join(format!("{}.incomplete", sha256(b"another")));
    fs::write(&another, &bench.weights[..1000]).unwrap();
    bench.whole(&bench.hub());
    assert_eq!(bench.server.body_bytes(), SIZE as u64, "a part of another etag is not used");

    for (part, sent) in [
        (bench.weights[..1000].to_vec(), SIZE - 1000),
        (bench.weights.clone(), 0),
        (noise(1000, 7), SIZE - 1000 + SIZE),
        (noise(SIZE, 7), SIZE),
        (noise(SIZE + 1, 7), SIZE),
    ] {
        let bench = Bench::new();
        fs::create_dir_all(bench.blobs()).unwrap();
        fs::write(bench.partial(), &part).unwrap();
        bench.whole(&bench.hub());
        assert_eq!(bench.server.body_bytes(), sent as u64, "{} bytes were there", part.len());
    }
}

#[test]
fn a_stalled_body_is_an_error_after_the_timeout_and_then_resumed() {
    let patience = Duration::from_secs(1);
    let bench = Bench::with(Host::Cdn, "GET", Fault::Stall(0.5), 1);
    let began = Instant::now();
    bench.whole(&bench.hub_with(Settings { read_timeout: patience, ..bench.settings() }));
    assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
    assert!(began.elapsed() < support::hub_server::STALL, "it did not wait for the rest: {:?}", began.elapsed());
    assert_eq!(bench.to(Host::Cdn, "GET")[1].headers["range"], "bytes=150000-");

    let patience = Duration::from_millis(300);
    for (host, method, fault) in [
        (Host::Cdn, "GET", Fault::Stall(0.0)),
        (Host::Cdn, "GET", Fault::Silence),
        (Host::Hub, "GET", Fault::Silence),
        (Host::Hub, "HEAD", Fault::Silence),
    ] {
        let bench = Bench::with(host, method, fault, 99);
        let settings = Settings { read_timeout: patience, metadata_timeout: patience, ..bench.settings() };
        let began = Instant::now();
        let problem = bench.refused(&bench.hub_with(settings), &bench.file());
        assert!(problem.contains("timeout") && problem.contains("given up after 4 tries"), "{problem}");
        assert!(began.elapsed() < support::hub_server::STALL, "{:?}", began.elapsed());
    }
}

#[test]
fn a_hub_that_is_not_there_is_named_with_a_way_out() {
    let bench = Bench::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = |endpoint: String| Settings { endpoint, ..bench.settings() };
    let problem = bench.refused(&bench.hub_with(settings(format!("http://{closed}"))), &bench.file());
    assert!(problem.contains(&closed.to_string()) && problem.contains("HF_HUB_OFFLINE"), "{problem}");
    for endpoint in ["", "ftp://hub", "hub.example", "http://user:secret@hub.example", "http://a b"] {
        let problem = bench.refused(&bench.hub_with(settings(endpoint.into())), &bench.file());
        assert!(problem.contains("HF_ENDPOINT") && !problem.contains("secret"), "{problem}");
    }
}

#[test]
fn a_certificate_that_nobody_signed_is_said_at_once() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let [key, certificate] = ["key.pem", "certificate.pem"].map(|n| folder.path().join(n).display().to_string());
    let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"];
    let mut openssl = Command::new("openssl");
    openssl.args(make).args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &key, "-out", &certificate]);
    if !openssl.output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped a_certificate_that_nobody_signed: no openssl here");
        return;
    }
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-www", "-key", &key, "-cert", &certificate])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(|l| l.unwrap());
    let address = lines.find_map(|l| l.strip_prefix("ACCEPT ").map(String::from)).unwrap();
    let hub = bench.hub_with(Settings { endpoint: format!("https://{address}"), ..bench.settings() });
    let problem = bench.refused(&hub, &bench.file());
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(problem.contains("certificate") && problem.contains("authorities"), "{problem}");
    assert_eq!(bench.notes(), "", "no second try");
}

// ---- wrong content

#[test]
fn wrong_bytes_of_the_right_size_are_deleted() {
    for (path, host) in [(WEIGHTS, Host::Cdn), ("config.json", Host::Hub)] {
        let bench = Bench::with(host, "GET", Fault::Wrong, 1);
        let file = model_file(REPOSITORY, "main", path);
        let problem = bench.refused(&bench.hub(), &file);
        let bytes = if path == WEIGHTS { bench.weights.clone() } else { b"{}".to_vec() };
        let wrong: Vec<u8> = bytes.iter().map(|b| b ^ 0x55).collect();
        let hashes = match path {
            WEIGHTS => [sha256(&wrong), sha256(&bytes)],
            _ => [&wrong, &bytes].map(|b| support::hub_server::git_hash(b)),
        };
        assert!(hashes.iter().all(|h| problem.contains(h)), "{problem}");
        assert!(fs::read_dir(bench.blobs()).unwrap().next().is_none(), "the part is deleted");
        assert_eq!(bench.hub().get(&file).unwrap().sha256, sha256(&bytes), "and the next try works");
    }
}

#[test]
fn a_captive_portal_is_no_hub() {
    let portal =
        Fault::Status(200, vec![("Content-Type".into(), "text/html".into())], b"<html>please log in</html>".to_vec());
    for (host, method) in [(Host::Hub, "HEAD"), (Host::Hub, "GET"), (Host::Cdn, "GET")] {
        let bench = Bench::with(host, method, portal.clone(), 99);
        let problem = bench.refused(&bench.hub(), &bench.file());
        assert!(problem.contains("login page") && problem.contains("hint"), "{problem}");
        assert_eq!(bench.to(host, method).len(), 1, "at once");
    }
    // one that takes everything, and one that redirects to its own host
    let bench = Bench::with(Host::Hub, "*", portal.clone(), 99);
    assert!(bench.refused(&bench.hub(), &bench.file()).contains("login page"));
    let problem = bench.hub().list(Kind::Model, REPOSITORY, "main", "").unwrap_err().to_string();
    assert!(problem.contains("not as the Hub writes it"), "{problem}");
    let bench = Bench::new();
    bench.server.order(Host::Hub, "HEAD", Fault::Redirect(format!("{}/login", bench.server.cdn())), 1);
    bench.server.order(Host::Cdn, "HEAD", portal, 1);
    assert!(bench.refused(&bench.hub(), &bench.file()).contains("login page"));
}

#[test]
fn redirects_end_after_ten() {
    for (host, method) in [(Host::Hub, "HEAD"), (Host::Hub, "GET"), (Host::Cdn, "GET")] {
        let bench = Bench::with(host, method, Fault::Redirect("again?and=again".into()), 99);
        let problem = bench.refused(&bench.hub(), &bench.file());
        assert!(problem.contains("more than 10 redirects"), "{problem}");
        assert!(bench.to(host, method).len() <= 11);
    }
    for nowhere in ["ftp://elsewhere/x", "file:///etc/passwd", "http://", "http://a b/", "http://user:pw@host/"] {
        let bench = Bench::with(Host::Hub, "GET", Fault::Redirect(nowhere.into()), 1);
        let problem = bench.refused(&bench.hub(), &bench.file());
        assert!(problem.contains("redirects to nowhere"), "{problem}");
    }
}

#[test]
fn a_renamed_repository_is_followed() {
    let bench = Bench::new();
    for method in ["HEAD", "GET"] {
        bench.server.order(Host::Hub, method, Fault::Redirect(format!("/{REPOSITORY}/resolve/main/{WEIGHTS}")), 1);
    }
    let local = bench.hub().get(&model_file("old/name", "main", WEIGHTS)).unwrap();
    assert_eq!(local.sha256, sha256(&bench.weights));
    assert!(local.path.starts_with(bench.cache().join("models--old--name")));
}

// ---- hostile names

/// What no part of a path may be.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "..",
        "../x",
        "../../../../x",
        "/etc/passwd",
        "//x",
        "x/../../y",
        "x/..",
        "./x",
        "x/./y",
        ".",
        "",
        "/",
        "x/",
        "x//y",
        "\0",
        "x\0y",
        "x\ny",
        "x\ry",
        "\u{7f}",
        "\u{85}",
        "C:\\x",
        "C:/x",
        "c:x",
        "\\\\server\\share",
        "..\\..\\x",
        "x\\y",
        "x:stream",
        "\\",
        "file:///x",
        "http://host/x",
        "x/\0/y",
        "a/b/../c/../../../d",
        "\u{1b}[2J",
        "x\t",
        "../.locks/x",
        "snapshots/../../x",
    ]
    .map(String::from)
    .to_vec();
    names.extend(["x".repeat(256), format!("x/{}", "y".repeat(300)), "x/".repeat(600) + "y", "../".repeat(40) + "x"]);
    names
}

#[test]
fn forty_hostile_names_lead_nowhere() {
    let bench = Bench::new();
    let names = hostile();
    assert_eq!(names.len(), 40);
    for name in &names {
        for file in [
            model_file(name, "main", WEIGHTS),
            model_file(&format!("owner/{name}"), "main", WEIGHTS),
            model_file(REPOSITORY, name, WEIGHTS),
            model_file(REPOSITORY, "main", name),
        ] {
            let problem = bench.refused(&bench.hub(), &file);
            assert!(problem.chars().all(|c| !c.is_control()), "{problem:?}");
            assert!(bench.hub().cached(&file).is_err() && Hub::none().get(&file).is_err());
        }
        assert!(bench.hub().list(Kind::Model, name, "main", "").is_err());
        assert!(bench.hub().list(Kind::Model, REPOSITORY, name, "").is_err());
    }
    assert!(bench.server.requests().is_empty(), "nothing of it was sent");
    assert!(!bench.cache().exists());
}

#[test]
fn hostile_headers_and_trees_are_refused() {
    let sendable = |name: &&String| name.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let names = hostile();
    let longer = [
        "0".repeat(39),
        "0".repeat(41),
        "g".repeat(40),
        "A".repeat(40),
        "0".repeat(63),
        format!("{}/x", "0".repeat(38)),
    ];
    for name in names.iter().filter(sendable).chain(&longer) {
        for (header, words) in
            [("X-Linked-Etag", "ETag"), ("X-Repo-Commit", "X-Repo-Commit"), ("X-Linked-Size", "length")]
        {
            if header == "X-Linked-Size" && name.bytes().all(|b| b == b'0') {
                continue; // a size of zero is none that is refused here
            }
            for value in [name.clone(), format!("\"{name}\"")] {
                let bench = Bench::with(Host::Hub, "HEAD", Fault::Header(header.into(), value), 9);
                let problem = bench.refused(&bench.hub(), &bench.file());
                assert!(problem.contains(words), "{header} {name:?}: {problem}");
                assert!(!bench.cache().exists());
            }
        }
    }
    // another commit than the one that was asked for
    let bench = Bench::with(Host::Hub, "HEAD", Fault::Header("X-Repo-Commit".into(), "0".repeat(40)), 9);
    let problem = bench.refused(&bench.hub(), &model_file(REPOSITORY, &bench.commit, WEIGHTS));
    assert!(problem.contains("X-Repo-Commit"), "{problem}");
    // another size than the bytes have
    for size in ["0", "299999", "300001", "18446744073709551615"] {
        let bench = Bench::with(Host::Hub, "HEAD", Fault::Header("X-Linked-Size".into(), size.into()), 9);
        bench.refused(&bench.hub(), &bench.file());
    }
    for name in &names {
        let bench = Bench::new();
        let tree = serde_json::json!([{ "type": "file", "path": name, "oid": "0", "size": 1 }]).to_string();
        bench.server.order(Host::Hub, "GET", Fault::Status(200, Vec::new(), tree.into_bytes()), 1);
        let told = Arc::new(Mutex::new(String::new()));
        let ear = told.clone();
        let hub = bench.hub().with_progress(move |event| {
            if let Event::Note(text) = event {
                ear.lock().unwrap().push_str(text);
            }
        });
        assert!(hub.list(Kind::Model, REPOSITORY, "main", "").unwrap().is_empty(), "{name:?}");
        let told = told.lock().unwrap().clone();
        assert!(told.contains(&format!("1 files are left out, whose names lead nowhere, as {name:?}")), "{told}");
    }
    // an odd name spoils no list
    let entry = |path: &str, oid: &str| serde_json::json!({ "type": "file", "path": path, "oid": "0", "size": 1, "lfs": { "oid": oid } });
    for (path, oid, sound) in [
        ("logs/12:30:01.txt", sha256(b"x"), true),
        ("x", "0".repeat(63), false),
        ("x", sha256(b"x").to_uppercase(), false),
        ("x", format!("\"{}\"", sha256(b"x")), false),
        ("x", "../../x".into(), false),
    ] {
        let bench = Bench::new();
        let tree = serde_json::json!([entry(path, &oid), entry("sound.bin", &sha256(b"x"))]).to_string();
        bench.server.order(Host::Hub, "GET", Fault::Status(200, Vec::new(), tree.into_bytes()), 1);
        match bench.hub().list(Kind::Model, REPOSITORY, "main", "") {
            Ok(list) => assert!(sound && list.len() == 1 && list[0].path == "sound.bin", "{list:?}"),
            Err(e) => assert!(!sound && e.to_string().contains("malformed SHA-256"), "{e}"),
        }
    }
}

#[test]
fn trees_end() {
    let page = |kind: &str, entries: usize, link: &str| {
        let entry = serde_json::json!({ "type": kind, "path": "x", "oid": "0", "size": 1 });
        let link = vec![("Link".to_string(), link.to_string())];
        Fault::Status(200, link, serde_json::to_vec(&vec![entry; entries]).unwrap())
    };
    for (kind, entries, words) in [
        ("file", 1000, "no end after 101 pages of 101000 files"),
        ("directory", 1000, "no end after 101 pages of 101000 files"),
        ("file", 0, "no end after 1 pages of 0 files"),
        ("directory", 1, "no end after 2000 pages of 2000 files"),
    ] {
        let bench = Bench::with(Host::Hub, "GET", page(kind, entries, "</api/again>; rel=\"next\""), 9999);
        let problem = bench.hub().list(Kind::Model, REPOSITORY, "main", "").unwrap_err().to_string();
        assert!(problem.contains(words), "{problem}");
    }
    let bench = Bench::new();
    bench.server.order(Host::Hub, "GET", page("file", 1, &format!("<{}/x>; rel=\"next\"", bench.server.cdn())), 1);
    let problem = bench.with_token().list(Kind::Model, REPOSITORY, "main", "").unwrap_err().to_string();
    assert!(problem.contains("no repository") && bench.to(Host::Cdn, "GET").is_empty(), "{problem}");
    let bench = Bench::with(Host::Hub, "GET", Fault::Status(200, Vec::new(), vec![b' '; 17 << 20]), 1);
    let problem = bench.hub().list(Kind::Model, REPOSITORY, "main", "").unwrap_err().to_string();
    assert!(problem.contains("too long"), "{problem}");
}

// ---- the token

#[test]
fn the_token_goes_to_the_endpoint_alone() {
    let bench = Bench::new();
    bench.server.set_token(TOKEN);
    bench.server.gate(Kind::Model, REPOSITORY);
    bench.server.order(Host::Hub, "HEAD", Fault::Redirect(format!("{}/x", bench.server.cdn())), 1);
    bench.refused(&bench.with_token(), &bench.file());
    bench.whole(&bench.with_token());
    bench.with_token().list(Kind::Model, REPOSITORY, "main", "").unwrap();
    let requests = bench.server.requests();
    assert!(requests.iter().filter(|r| r.host == Host::Cdn).count() >= 2);
    for request in requests {
        let sent = request.headers.get("authorization").map(String::as_str);
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(sent, (request.host == Host::Hub).then_some(bearer.as_str()), "{request:?}");
    }
}

/// Every kind of fault, where it can be met.
fn all_faults() -> Vec<(Host, &'static str, Fault)> {
    let mut all = Vec::new();
    for (host, method) in [(Host::Hub, "HEAD"), (Host::Hub, "GET"), (Host::Cdn, "GET")] {
        let echo = || vec![("X-Error-Message".to_string(), TOKEN.to_string()), ("X-Error-Code".into(), TOKEN.into())];
        for code in [400, 401, 403, 404, 408, 416, 429, 500, 503] {
            all.push((host, method, Fault::Status(code, echo(), TOKEN.into())));
        }
        for header in
            ["X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size", "ETag", "Content-Range", "Location", "Content-Length"]
        {
            all.push((host, method, Fault::Header(header.into(), TOKEN.into())));
        }
        let to = format!("http://{TOKEN}@127.0.0.1:1/{TOKEN}?{TOKEN}");
        for fault in [
            Fault::Cut(0.3),
            Fault::CutWithoutLength(0.3),
            Fault::Wrong,
            Fault::Redirect("again".into()),
            Fault::Redirect(to),
            Fault::Redirect(format!("http://{TOKEN}.localhost:1/{TOKEN}?{TOKEN}")),
            Fault::Stall(0.3),
            Fault::Silence,
            Fault::Status(200, Vec::new(), TOKEN.into()),
        ] {
            all.push((host, method, fault));
        }
    }
    all
}

#[test]
fn the_token_is_in_no_output_and_no_file() {
    let faults = all_faults();
    assert_eq!(faults.len(), 75);
    // at once: some of them wait for a timeout
    let shown: Vec<String> = std::thread::scope(|scope| {
        let one = |(host, method, fault): &(Host, &'static str, Fault)| {
            let bench = Bench::with(*host, method, fault.clone(), 99);
            bench.server.set_token(TOKEN);
            let child = Get { token: Some(TOKEN), patience_ms: 300, ..Get::new(&bench) };
            let output = child.start(&bench.file()).wait_with_output().unwrap();
            let mut seen = text(&output);
            for file in files_below(bench.folder.path()) {
                // the server writes the token into some bodies itself; no such body may be kept
                seen.push_str(&format!("{}\n", file.display()));
                seen.push_str(&String::from_utf8_lossy(&fs::read(file).unwrap()));
            }
            assert!(bench.server.requests().iter().any(|r| r.headers.contains_key("authorization")));
            format!("{method} {host:?}: {seen}")
        };
        let started: Vec<_> =
            faults.chunks(9).map(|c| scope.spawn(move || c.iter().map(one).collect::<Vec<_>>())).collect();
        started.into_iter().flat_map(|s| s.join().unwrap()).collect()
    });
    for seen in shown {
        assert!(!seen.to_lowercase().contains(TOKEN), "{seen}");
    }
    let bench = Bench::new();
    assert!(!format!("{:?} {:?}", bench.with_token(), Token::new(TOKEN)).contains(TOKEN));
    let problem = bench.hub_with(Settings { token: Token::new("hf_\u{1}x"), ..bench.settings() }).get(&bench.file());
    let problem = problem.unwrap_err().to_string();
    assert!(problem.contains("HF_TOKEN") && !problem.contains("hf_"), "{problem}");
}

// ---- other processes: this test binary once more, as one that gets a file

/// How another process gets a file.
struct Get<'a> {
    endpoint: String,
    cache: PathBuf,
    token: Option<&'a str>,
    offline: bool,
    patience_ms: u64,
    /// Fills the disk when the first bytes have come.
    filler: Option<PathBuf>,
}

impl Get<'_> {
    fn new(bench: &Bench) -> Get<'static> {
        let (endpoint, cache) = (bench.server.endpoint(), bench.cache());
        Get { endpoint, cache, token: None, offline: false, patience_ms: 10_000, filler: None }
    }

    /// Runs `before`, if any, as the words of a command before our own.
    fn start_in(&self, before: &[&str], file: &RemoteFile) -> Child {
        let mut words: Vec<String> = before.iter().map(|w| w.to_string()).collect();
        words.push(env::current_exe().unwrap().display().to_string());
        words.extend(["--ignored", "--exact", "child_gets_a_file", "--nocapture"].map(String::from));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
        support::clear_hub(&mut command);
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HUB_CACHE", &self.cache).env("HF_HOME", &self.cache);
        command.env("CHILD_PATIENCE", self.patience_ms.to_string());
        let RemoteFile { repository, revision, path, .. } = file;
        command.env("CHILD_FILE", format!("{repository} {revision} {path}"));
        command.envs(self.token.map(|t| ("HF_TOKEN", t))).envs(self.offline.then_some(("HF_HUB_OFFLINE", "1")));
        command.envs(self.filler.as_ref().map(|f| ("CHILD_FILLER", f)));
        command.spawn().unwrap()
    }

    fn start(&self, file: &RemoteFile) -> Child {
        self.start_in(&[], file)
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[ignore = "what other tests start as a process of its own"]
fn child_gets_a_file() {
    let of = |name: &str| env::var(name).ok();
    let asked = of("CHILD_FILE").expect("started by another test");
    let [repository, revision, path] = asked.split(' ').collect::<Vec<_>>()[..] else { panic!("{asked}") };
    let patience = Duration::from_millis(of("CHILD_PATIENCE").unwrap().parse().unwrap());
    let settings = Settings {
        metadata_timeout: patience,
        read_timeout: patience,
        tries: 2,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        ..Settings::from_env()
    };
    eprintln!("{settings:?}");
    let filler = of("CHILD_FILLER");
    let hub = Hub::new(settings).with_progress(move |event| {
        if let Event::Note(text) = event {
            eprintln!("{text}");
        }
        if let (Event::Here(n), Some(filler)) = (event, &filler)
            && *n > 0
        {
            fs::write(filler, vec![0; 10 << 20]).ok();
        }
    });
    let file = model_file(repository, revision, path);
    let got = hub.get(&file);
    eprintln!("{hub:?} {got:?}");
    match got {
        Ok(local) => println!("whole {} downloaded {}", local.sha256, hub.fetched()[0].2),
        Err(e) => println!("refused {e} exit {}", e.exit_code()),
    }
}

#[test]
fn two_processes_bring_the_same_file_once() {
    // the body comes when both have asked, so both are at the lock while it comes
    let bench = Bench::with(Host::Cdn, "GET", Fault::SlowAfterHeads(SIZE, 2), 9);
    let get = Get::new(&bench);
    let started = [get.start(&bench.file()), get.start(&bench.file())];
    let texts = started.map(|c| text(&c.wait_with_output().unwrap()));
    let whole = format!("whole {}", sha256(&bench.weights));
    assert!(texts.iter().all(|t| t.contains(&whole)), "{texts:?}");
    assert_eq!(bench.server.body_bytes(), SIZE as u64);
    assert_eq!(texts.iter().filter(|t| t.contains("downloaded true")).count(), 1, "{texts:?}");
    assert_eq!(texts.iter().filter(|t| t.contains("waiting for another process")).count(), 1, "{texts:?}");
}

#[test]
fn without_locks_each_process_has_a_part_of_its_own() {
    let bench = Bench::with(Host::Cdn, "GET", Fault::SlowAfterHeads(SIZE, 2), 9);
    fs::create_dir_all(bench.blobs()).unwrap();
    fs::write(bench.partial(), &bench.weights[..1000]).unwrap(); // of whoever else
    let words = |error: &'static str| ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", error];
    let [none, no_service] = ["inject=flock:error=EOPNOTSUPP", "inject=flock:error=ENOLCK"].map(words);
    if !Command::new("strace").args(&none[1..]).arg("true").output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped without_locks: no strace here");
        return;
    }
    let get = Get::new(&bench);
    let started = [get.start_in(&none, &bench.file()), get.start_in(&no_service, &bench.file())];
    let texts = started.map(|c| text(&c.wait_with_output().unwrap()));
    let whole = format!("whole {} downloaded true", sha256(&bench.weights));
    assert!(texts.iter().all(|t| t.contains(&whole) && !t.contains("waiting")), "{texts:?}");
    assert_eq!(bench.server.body_bytes(), 2 * SIZE as u64);
    assert_eq!(fs::read(bench.partial()).unwrap(), bench.weights[..1000]);
    assert_eq!(fs::read_dir(bench.blobs()).unwrap().count(), 2, "nothing else is left");
    // one that gives up leaves nothing that nobody would go on from
    let bench = Bench::with(Host::Cdn, "GET", Fault::Cut(0.3), 99);
    let output = text(&Get::new(&bench).start_in(&none, &bench.file()).wait_with_output().unwrap());
    assert!(output.contains("given up"), "{output}");
    assert_eq!(fs::read_dir(bench.blobs()).unwrap().count(), 0);
}

#[test]
fn a_kill_in_mid_download_leaves_a_part_to_go_on_from() {
    let bench = Bench::with(Host::Cdn, "GET", Fault::Slow(SIZE), 1);
    let mut child = Get::new(&bench).start(&bench.file());
    let began = Instant::now();
    while !bench.partial().metadata().is_ok_and(|m| m.len() > 0) {
        assert!(began.elapsed() < Duration::from_secs(20), "no byte came");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    bench.nothing_is_stored();
    let there = bench.partial().metadata().unwrap().len();
    assert!((1..SIZE as u64).contains(&there), "{there}");
    bench.server.forget();
    bench.whole(&bench.hub());
    assert_eq!(bench.to(Host::Cdn, "GET")[0].headers["range"], format!("bytes={there}-"));
    assert_eq!(bench.server.body_bytes(), SIZE as u64 - there);
}

/// Words that run a command in namespaces of its own, after `before` has run there; `None`, said in one line, where that is
/// not permitted.
fn apart<'a>(test: &str, kind: &'a str, before: &'a str) -> Option<Vec<&'a str>> {
    let words = |script: &'a str| vec!["unshare", kind, "sh", "-c", script];
    let probe =
        Command::new("unshare").args([kind, "sh", "-c"]).arg(before.replace("exec \"$0\" \"$@\"", "true")).output();
    let permitted = probe.is_ok_and(|o| o.status.success());
    if !permitted {
        eprintln!("skipped {test}: no namespaces here");
    }
    permitted.then(|| words(before))
}

#[test]
fn a_full_disk_is_said_and_the_download_goes_on_when_there_is_room() {
    let bench = Bench::new();
    fs::create_dir_all(bench.cache()).unwrap();
    let cache = bench.cache().display().to_string();
    let own = "exec \"$0\" \"$@\"";
    // too small from the beginning
    let small = format!("mount -t tmpfs -o size=200k tmpfs '{cache}' && {own}");
    let Some(words) = apart("a_full_disk", "-rm", &small) else { return };
    let output = text(&Get::new(&bench).start_in(&words, &bench.file()).wait_with_output().unwrap());
    let said = |output: &str| {
        let words = ["refused hub: ", "no space left", &cache, "300000 bytes", "HF_HUB_CACHE", "exit 1"];
        assert!(words.iter().all(|w| output.contains(w)), "{output}");
    };
    said(&output);
    assert_eq!(bench.server.body_bytes(), 0, "seen ahead");

    // filled by somebody else in mid-download, then emptied
    let list = format!("find '{cache}' -type f -size +0 -o -type l | sed 's/^/left /'");
    let twice = format!(
        "mount -t tmpfs -o size=2m tmpfs '{cache}' && \"$0\" \"$@\"; {list}; rm '{cache}/filler'; unset CHILD_FILLER; {own}"
    );
    let big = noise(1_500_000, 3);
    bench.server.put(Kind::Model, REPOSITORY, &[("big.safetensors", &big, true)]);
    let get = Get { filler: Some(bench.cache().join("filler")), ..Get::new(&bench) };
    let words = ["unshare", "-rm", "sh", "-c", &twice];
    let output =
        text(&get.start_in(&words, &model_file(REPOSITORY, "main", "big.safetensors")).wait_with_output().unwrap());
    assert!(output.contains("refused hub: ") && output.contains("no space left"), "{output}");
    let left: Vec<&str> = output.lines().filter(|l| l.starts_with("left ")).collect();
    assert!(left.iter().all(|l| l.ends_with("/filler") || l.ends_with(".incomplete")), "{left:?}");
    assert!(output.contains(&format!("whole {}", sha256(&big))), "{output}");
    assert!(bench.server.body_bytes() < 2 * big.len() as u64);
    assert!(bench.server.requests().iter().any(|r| r.headers.contains_key("range")), "it went on");
}

#[test]
fn a_cache_that_is_read_only_serves_what_lies_there() {
    let bench = Bench::new();
    bench.whole(&bench.hub());
    let cache = bench.cache().display().to_string();
    let read_only =
        format!("mount --bind '{cache}' '{cache}' && mount -o remount,ro,bind '{cache}' && exec \"$0\" \"$@\"");
    let Some(words) = apart("a_cache_that_is_read_only", "-rm", &read_only) else { return };
    let get = |get: Get, file| text(&get.start_in(&words, &file).wait_with_output().unwrap());
    let whole = format!("whole {} downloaded false", sha256(&bench.weights));
    for revision in ["main", &bench.commit] {
        for offline in [false, true] {
            let output = get(Get { offline, ..Get::new(&bench) }, model_file(REPOSITORY, revision, WEIGHTS));
            assert!(output.contains(&whole), "{output}");
        }
        let output = get(Get::new(&bench), model_file(REPOSITORY, revision, "config.json"));
        let words = ["refused hub: config.json", &cache, "cannot be written", "HF_HUB_CACHE", "exit 1"];
        assert!(words.iter().all(|w| output.contains(w)), "{output}");
    }
}

#[test]
fn without_a_network_a_commit_that_is_cached_needs_none() {
    let bench = Bench::new();
    bench.whole(&bench.hub());
    let Some(words) = apart("without_a_network", "-rn", "exec \"$0\" \"$@\"") else { return };
    let get =
        |offline, file| text(&Get { offline, ..Get::new(&bench) }.start_in(&words, &file).wait_with_output().unwrap());
    let whole = format!("whole {}", sha256(&bench.weights));
    let pinned = model_file(REPOSITORY, &bench.commit, WEIGHTS);
    for (offline, file) in [(false, pinned.clone()), (true, pinned), (true, bench.file())] {
        let output = get(offline, file);
        assert!(output.contains(&whole), "{output}");
    }
    let output = get(false, bench.file());
    assert!(output.contains("refused") && output.contains("HF_HUB_OFFLINE"), "{output}");
    let output = get(true, model_file(REPOSITORY, &bench.commit, "config.json"));
    let url = format!("/{REPOSITORY}/resolve/{}/config.json", bench.commit);
    assert!(output.contains(&url) && output.contains("foolproof fetch"), "{output}");
}
