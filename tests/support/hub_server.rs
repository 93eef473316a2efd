//! A Hub on 127.0.0.1 that serves repositories made on the spot, by the protocol of the real one: `resolve` with commit,
//! ETag and length, redirects of LFS files to a second host (the "CDN"), ranges, the tree by pages, tokens and gates. Faults can
//! be ordered; requests and bytes are counted.

use foolproof::digest::{hex, sha256};
use foolproof::hub::settings::{Settings, Token};
use foolproof::hub::{Hub, Kind, RemoteFile};
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Which of the two servers a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Hub,
    Cdn,
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with these headers and this body.
    Status(u16, Vec<(String, String)>, Vec<u8>),
    /// The right answer with this header put in place of its own.
    Header(String, String),
    /// The right length, but the connection ends after this share of the body.
    Cut(f64),
    /// No length; the connection ends after this share of the body.
    CutWithoutLength(f64),
    /// The right length, other bytes.
    Wrong,
    /// A redirect there.
    Redirect(String),
    /// Silence after this share of the body.
    Stall(f64),
    /// No answer at all.
    Silence,
    /// The whole body, this many bytes a second.
    Slow(usize),
    /// The same, when so many HEADs have come.
    SlowAfterHeads(usize, usize),
    /// The right answer without this header.
    Without(&'static str),
}

/// How long a server is silent that stalls: longer than any patience in the tests.
pub const STALL: Duration = Duration::from_secs(20);

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub host: Host,
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Stored {
    bytes: Arc<Vec<u8>>,
    lfs: bool,
    /// SHA-256 of an LFS file, git's hash of another.
    etag: String,
}

#[derive(Clone, Default)]
struct Repository {
    commit: String,
    /// Names of branches and tags at `commit`.
    revisions: Vec<String>,
    files: BTreeMap<String, Stored>,
    /// What it was at other commits.
    earlier: Vec<Repository>,
    gated: bool,
    private: bool,
}

impl Repository {
    /// Every state that it has had, with the names that each goes by.
    fn states(&self) -> impl Iterator<Item = (&Repository, Vec<&str>)> {
        let states = [self].into_iter().chain(&self.earlier);
        states.map(|state| (state, state.revisions.iter().chain([&state.commit]).map(String::as_str).collect()))
    }
}

struct Order {
    host: Host,
    method: &'static str,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    orders: Vec<Order>,
    requests: Vec<Request>,
    body_bytes: u64,
    /// Times that all was forgotten: what an older answer still sends is not counted.
    epoch: u32,
    token: Option<String>,
    page: usize,
}

/// The two servers. They end with the process.
pub struct HubServer {
    hub: SocketAddr,
    cdn: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    /// Serves nothing yet.
    pub fn start() -> HubServer {
        let state = Arc::new(Mutex::new(State { page: 1000, ..State::default() }));
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, cdn) = (listen(), listen());
        let server = HubServer { hub: hub.local_addr().unwrap(), cdn: cdn.local_addr().unwrap(), state };
        for (listener, host) in [(hub, Host::Hub), (cdn, Host::Cdn)] {
            let (state, cdn) = (server.state.clone(), server.cdn);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    thread::spawn(move || serve(stream, host, cdn, &state));
                }
            });
        }
        server
    }

    /// Puts files into a repository, of which those with `true` are LFS files, and moves `main` there. Returns the commit.
    pub fn put(&self, kind: Kind, name: &str, files: &[(&str, &[u8], bool)]) -> String {
        let mut state = self.state.lock().unwrap();
        let repository = state.repositories.entry(key(kind, name)).or_default();
        let before = Repository { revisions: Vec::new(), earlier: Vec::new(), ..repository.clone() };
        repository.earlier.push(before);
        for (path, bytes, lfs) in files {
            let etag = if *lfs { sha256(bytes) } else { git_hash(bytes) };
            repository.files.insert(path.to_string(), Stored { bytes: Arc::new(bytes.to_vec()), lfs: *lfs, etag });
        }
        let all: String = repository.files.iter().map(|(p, f)| format!("{p} {}\n", f.etag)).collect();
        repository.commit = sha256(format!("{name}\n{all}").as_bytes())[..40].to_string();
        repository.revisions = vec!["main".into(), "refs/convert/parquet".into()];
        repository.commit.clone()
    }

    /// Gives a repository's state this commit, where a test needs a known one.
    pub fn rename_commit(&self, kind: Kind, name: &str, commit: &str) {
        self.state.lock().unwrap().repositories.get_mut(&key(kind, name)).unwrap().commit = commit.into();
    }

    /// Only whoever accepted its terms may read it: here, whoever has the token.
    pub fn gate(&self, kind: Kind, name: &str) {
        self.state.lock().unwrap().repositories.get_mut(&key(kind, name)).unwrap().gated = true;
    }

    /// Only its owner may know of it: here, whoever has the token.
    pub fn hide(&self, kind: Kind, name: &str) {
        self.state.lock().unwrap().repositories.get_mut(&key(kind, name)).unwrap().private = true;
    }

    /// The one token that is good.
    pub fn set_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.into());
    }

    /// Entries a page of the tree.
    pub fn set_page(&self, entries: usize) {
        self.state.lock().unwrap().page = entries;
    }

    /// The next `times` such requests go wrong. Orders are met in the order in which they were given.
    pub fn order(&self, host: Host, method: &'static str, fault: Fault, times: usize) {
        self.state.lock().unwrap().orders.push(Order { host, method, fault, times });
    }

    /// Takes all orders and notes back.
    pub fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        (state.orders, state.requests, state.body_bytes) = (Vec::new(), Vec::new(), 0);
        state.epoch += 1;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Bytes of bodies sent with status 200 or 206 so far, trees left out.
    pub fn body_bytes(&self) -> u64 {
        self.state.lock().unwrap().body_bytes
    }

    /// For `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// The other host.
    pub fn cdn(&self) -> String {
        format!("http://{}", self.cdn)
    }

    /// Settings for this server and a cache folder, with little patience.
    pub fn settings(&self, cache: &Path) -> Settings {
        Settings {
            endpoint: self.endpoint(),
            cache: cache.to_path_buf(),
            token: None,
            offline: false,
            symlinks: true,
            metadata_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            tries: 4,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(2500),
        }
    }

    /// A Hub with these settings.
    pub fn hub(&self, cache: &Path) -> Hub {
        Hub::new(self.settings(cache))
    }

    /// A Hub with these settings and a token.
    pub fn hub_with_token(&self, cache: &Path, token: &str) -> Hub {
        Hub::new(Settings { token: Token::new(token), ..self.settings(cache) })
    }
}

/// A file of a model's repository, unpinned.
pub fn model_file(repository: &str, revision: &str, path: &str) -> RemoteFile {
    let (repository, revision, path) = (repository.into(), revision.into(), path.into());
    RemoteFile { kind: Kind::Model, repository, revision, path, sha256: None }
}

/// Bytes that look like no others.
pub fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..n).map(next).collect()
}

/// The name that git gives these bytes.
pub fn git_hash(bytes: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn key(kind: Kind, name: &str) -> String {
    format!("{}/{name}", if kind == Kind::Model { "models" } else { "datasets" })
}

/// An answer before a fault gets at it.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<Vec<u8>>,
    /// The part of the body that is sent.
    part: std::ops::Range<usize>,
}

impl Answer {
    fn new(status: u16, headers: &[(&str, &str)], body: Arc<Vec<u8>>) -> Answer {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let part = 0..body.len();
        Answer { status, headers, body, part }
    }

    fn refuse(status: u16, code: &str) -> Answer {
        Answer::new(status, &[("X-Error-Code", code)], Arc::new(b"<html>refused</html>".to_vec()))
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, host: Host, cdn: SocketAddr, state: &Mutex<State>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let request = read_request(&mut reader, host)?;
        let (mut answer, fault, epoch) = {
            let mut state = state.lock().unwrap();
            state.requests.push(request.clone());
            let order = state
                .orders
                .iter_mut()
                .find(|o| o.times > 0 && o.host == host && (o.method == request.method || o.method == "*"));
            let fault = order.map(|o| {
                o.times -= 1;
                o.fault.clone()
            });
            let answer = match host {
                Host::Hub => on_hub(&state, &request, cdn),
                Host::Cdn => on_cdn(&state, &request),
            };
            (answer, fault, state.epoch)
        };
        let counts = |state: &mut State, bytes: usize| {
            if state.epoch == epoch && !request.target.starts_with("/api/") {
                state.body_bytes += bytes as u64;
            }
        };
        if let Some(Fault::SlowAfterHeads(_, heads)) = fault {
            let came = || state.lock().unwrap().requests.iter().filter(|r| r.method == "HEAD").count();
            let until = Instant::now() + STALL;
            while came() < heads && Instant::now() < until {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let keep = send(&stream, &request, &mut answer, fault, |bytes| counts(&mut state.lock().unwrap(), bytes))?;
        if !keep {
            stream.shutdown(std::net::Shutdown::Both).ok();
            return None;
        }
    }
}

fn read_request(reader: &mut impl BufRead, host: Host) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.by_ref().take(1 << 16).read_line(&mut line).ok().filter(|n| *n > 0)?;
        Some(line.trim_end().to_string())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        match line.split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_string()),
            None => return Some(Request { host, method, target, headers }),
        };
    }
}

/// Sends the answer with its fault; whether the connection may be used again.
fn send(
    mut stream: &TcpStream,
    request: &Request,
    answer: &mut Answer,
    fault: Option<Fault>,
    count: impl Fn(usize),
) -> Option<bool> {
    let (mut length, mut share, mut rate) = (true, 1.0, None);
    let mut stall = false;
    match fault {
        None => {}
        Some(Fault::Status(status, headers, body)) => {
            *answer = Answer::new(status, &[], Arc::new(body));
            answer.headers = headers;
        }
        Some(Fault::Header(name, value)) => answer.set(&name, &value),
        Some(Fault::Cut(s)) => share = s,
        Some(Fault::CutWithoutLength(s)) => (share, length) = (s, false),
        Some(Fault::Wrong) => answer.body = Arc::new(answer.body.iter().map(|b| b ^ 0x55).collect()),
        Some(Fault::Redirect(to)) => *answer = Answer::new(302, &[("Location", &to)], Arc::default()),
        Some(Fault::Stall(s)) => (share, stall) = (s, true),
        Some(Fault::Silence) => {
            thread::sleep(STALL);
            return None;
        }
        Some(Fault::Slow(bytes) | Fault::SlowAfterHeads(bytes, _)) => rate = Some(bytes),
        Some(Fault::Without("Content-Length")) => length = false,
        Some(Fault::Without(name)) => answer.headers.retain(|(n, _)| n != name),
    }
    let body = &answer.body[answer.part.clone()];
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    let has_length = answer.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length"));
    if length && !has_length {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let whole = share == 1.0 && length;
    if !whole {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if request.method == "HEAD" {
        return Some(true);
    }
    let body = &body[..(body.len() as f64 * share) as usize];
    for chunk in body.chunks(rate.map_or(1 << 16, |r| (r / 50).max(1))) {
        if [200, 206].contains(&answer.status) {
            count(chunk.len()); // before whoever gets them can look
        }
        stream.write_all(chunk).ok()?;
        if rate.is_some() {
            thread::sleep(Duration::from_millis(20));
        }
    }
    if stall {
        thread::sleep(STALL);
    }
    Some(whole)
}

fn on_hub(state: &State, request: &Request, cdn: SocketAddr) -> Answer {
    let path = decode(request.target.split('?').next().unwrap());
    let token = request.headers.get("authorization").map(|a| a.trim_start_matches("Bearer ").to_string());
    let known = token.is_some() && token == state.token;
    let (kind, rest) = match path.strip_prefix("/datasets/") {
        Some(rest) => ("datasets", rest),
        None => ("models", path.trim_start_matches('/')),
    };
    if let Some(rest) = path.strip_prefix("/api/") {
        let Some((repository, after)) = find(state, rest) else { return Answer::refuse(404, "RepoNotFound") };
        return match (request_refused(repository, known), after.strip_prefix("/tree/")) {
            (Some(refusal), _) => refusal,
            (None, Some(revision)) => tree(state, repository, revision, request),
            (None, None) => Answer::refuse(404, "EntryNotFound"),
        };
    }
    let below = format!("{kind}/{rest}");
    let Some((repository, after)) = find(state, &below) else {
        return Answer::refuse(if known { 404 } else { 401 }, "RepoNotFound");
    };
    if let Some(refusal) = request_refused(repository, known) {
        return refusal;
    }
    // decoded already, so a revision with slashes is found by trying all that are there
    let after = after.strip_prefix("/resolve/").unwrap_or_default();
    let below = |names: Vec<&str>| names.into_iter().find_map(|r| after.strip_prefix(r)?.strip_prefix('/'));
    let Some((repository, file)) = repository.states().find_map(|(state, names)| Some((state, below(names)?))) else {
        return Answer::refuse(404, "RevisionNotFound");
    };
    let Some(stored) = repository.files.get(file) else { return Answer::refuse(404, "EntryNotFound") };
    let etag = format!("\"{}\"", stored.etag);
    let size = stored.bytes.len().to_string();
    if !stored.lfs {
        let headers = [("X-Repo-Commit", repository.commit.as_str()), ("ETag", &etag), ("Accept-Ranges", "bytes")];
        return ranged(request, Answer::new(200, &headers, stored.bytes.clone()));
    }
    let to = format!("http://{cdn}/lfs/{}?signature=secret", stored.etag);
    let headers = [
        ("X-Repo-Commit", repository.commit.as_str()),
        ("X-Linked-Etag", &etag),
        ("X-Linked-Size", &size),
        ("ETag", "\"of-the-pointer\""),
        ("Location", &to),
    ];
    Answer::new(302, &headers, Arc::new(b"Found. Redirecting".to_vec()))
}

/// The repository that this path begins with, and the rest of the path.
fn find<'a>(state: &'a State, path: &'a str) -> Option<(&'a Repository, &'a str)> {
    state.repositories.iter().find_map(|(key, r)| {
        let rest = path.strip_prefix(key.as_str())?;
        rest.starts_with('/').then_some((r, rest))
    })
}

fn request_refused(repository: &Repository, known: bool) -> Option<Answer> {
    match known {
        true => None,
        false if repository.private => Some(Answer::refuse(401, "RepoNotFound")),
        false if repository.gated => Some(Answer::refuse(403, "GatedRepo")),
        false => None,
    }
}

fn tree(state: &State, repository: &Repository, revision: &str, request: &Request) -> Answer {
    let Some((repository, _)) = repository.states().find(|(_, names)| names.contains(&revision)) else {
        return Answer::refuse(404, "RevisionNotFound");
    };
    let cursor = request.target.split_once("cursor=").and_then(|(_, c)| c.parse().ok()).unwrap_or(0);
    let entry = |(path, f): (&String, &Stored)| {
        let mut entry = serde_json::json!({ "type": "file", "path": path, "oid": "0", "size": f.bytes.len() });
        if f.lfs {
            entry["lfs"] = serde_json::json!({ "oid": f.etag, "size": f.bytes.len(), "pointerSize": 134 });
        }
        entry
    };
    let mut entries: Vec<_> = repository.files.iter().skip(cursor).take(state.page).map(entry).collect();
    entries.push(serde_json::json!({ "type": "directory", "path": "folder", "oid": "0", "size": 0 }));
    let mut answer = Answer::new(200, &[], Arc::new(serde_json::to_vec(&entries).unwrap()));
    if cursor + state.page < repository.files.len() {
        let host = &request.headers["host"];
        let target = request.target.split("&cursor").next().unwrap();
        answer.set("Link", &format!("<http://{host}{target}&cursor={}>; rel=\"next\"", cursor + state.page));
    }
    answer
}

fn on_cdn(state: &State, request: &Request) -> Answer {
    let hash = request.target.trim_start_matches("/lfs/").split('?').next().unwrap();
    let mut all = state.repositories.values().flat_map(Repository::states).flat_map(|(state, _)| state.files.values());
    match all.find(|f| f.lfs && f.etag == hash) {
        Some(f) => ranged(request, Answer::new(200, &[("ETag", "\"of-the-cdn\"")], f.bytes.clone())),
        None => Answer::refuse(404, ""),
    }
}

/// Serves `Range: bytes=N-` and `bytes=N-M`, unless If-Range names another ETag.
fn ranged(request: &Request, mut answer: Answer) -> Answer {
    let own = answer.headers.iter().find(|(n, _)| n == "ETag").map(|(_, v)| v.clone());
    if request.headers.get("if-range").is_some_and(|wanted| Some(wanted) != own.as_ref()) {
        return answer;
    }
    let range = request.headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.split_once('-'));
    let Some((start, end)) = range else { return answer };
    let size = answer.body.len();
    let start: usize = start.parse().unwrap();
    if start >= size {
        return Answer::new(416, &[("Content-Range", &format!("bytes */{size}"))], Arc::default());
    }
    let end = end.parse().map_or(size, |e: usize| (e + 1).min(size));
    answer.status = 206;
    answer.part = start..end;
    answer.set("Content-Range", &format!("bytes {start}-{}/{size}", end - 1));
    answer
}

/// Undoes percent-encoding.
fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = (*first == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
