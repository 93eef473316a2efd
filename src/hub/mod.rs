//! The Hugging Face Hub: files of pinned repositories, from the cache that Python's `huggingface_hub` shares, or over the
//! network, checked before use.
//!
//! Crate `hf-hub` (0.5) names the folders of the cache ([`cache`]). The rest is ours: its transfers hang on a stalled
//! connection, check no hash, and let an ETag lead out of the cache; 1.0 also stores an error page as weights. It reads
//! neither `HF_HUB_CACHE` nor `HF_TOKEN` nor `HF_HUB_OFFLINE` ([`settings`]), and its URLs need its transfers ([`names`]).
//!
//! A file is hashed each time before it is used, whether it was there or has just come.

pub mod cache;
mod download;
mod file;
mod names;
pub mod settings;
mod url;
mod wire;

use crate::error::{Error, Result};
use cache::{Cached, Folder, Found, Listed};
use serde::Deserialize;
use settings::Settings;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use wire::{Asked, Fault, Wire};

pub use file::{Kind, RemoteFile};
pub use names::is_commit;

/// A file of the Hub that lies here, whole and checked.
#[derive(Debug, Clone)]
pub struct Local {
    /// Where, in the cache.
    pub path: PathBuf,
    /// Its SHA-256, computed from its bytes.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// The commit it comes from.
    pub commit: String,
}

/// What [`Hub::with_progress`] hears.
#[derive(Debug)]
pub enum Event<'a> {
    /// A download begins.
    Begin {
        /// Of what.
        file: &'a RemoteFile,
        /// Bytes in all.
        bytes: u64,
    },
    /// So many bytes of it are here, those of earlier tries among them.
    Here(u64),
    /// It is whole, checked and stored (true), or given up.
    End(bool),
    /// Something that a user should know: a wait, a try that failed, a damaged file.
    Note(&'a str),
}

type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// Files that would have been downloaded, and their bytes.
type Wanted = Vec<(RemoteFile, u64)>;

/// A way to the Hub: endpoint, cache, token. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    /// `None`: nowhere.
    inner: Option<Arc<Inner>>,
    listener: Option<Listener>,
    /// Taken for every revision.
    commit: Option<String>,
    /// What would have been downloaded: file and bytes. `None`: it is downloaded.
    dry: Option<Arc<Mutex<Wanted>>>,
}

struct Inner {
    settings: Settings,
    wire: Wire,
    fetched: Mutex<Vec<(RemoteFile, Local, bool)>>,
}

/// What the cache has of a file.
enum Lookup {
    /// And whether a hash was known that it has: that of its blob, or the pin.
    Here(Local, bool),
    Missing,
    Damaged(Error),
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.inner.as_ref().map(|i| &i.settings)).finish()
    }
}

impl Hub {
    /// As `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_HUB_OFFLINE` and their kin say.
    pub fn from_env() -> Hub {
        Hub::new(Settings::from_env())
    }

    /// With these settings.
    pub fn new(settings: Settings) -> Hub {
        let inner = Inner { wire: Wire::new(settings.clone()), settings, fetched: Mutex::default() };
        Hub { inner: Some(Arc::new(inner)), listener: None, commit: None, dry: None }
    }

    /// One that never goes to the network and whose cache is empty: for tests.
    pub fn none() -> Hub {
        Hub { inner: None, listener: None, commit: None, dry: None }
    }

    /// The same, telling what it does.
    pub fn with_progress(self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Hub {
        Hub { listener: Some(Arc::new(listener)), ..self }
    }

    /// The same, which takes this commit for every revision that is asked for: what came from a branch is found again after
    /// the branch has moved.
    pub fn at(&self, commit: Option<&str>) -> Hub {
        Hub { commit: commit.map(String::from), ..self.clone() }
    }

    /// The same, which downloads nothing: a file that is not here is an error that says how large it is.
    pub fn dry(self) -> Hub {
        Hub { dry: Some(Arc::default()), ..self }
    }

    /// The files that a dry one would have downloaded, each once, and their bytes.
    pub fn wanted(&self) -> Vec<(RemoteFile, u64)> {
        let of = |dry: &Arc<Mutex<Wanted>>| dry.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.dry.as_ref().map(of).unwrap_or_default()
    }

    fn revision(&self, asked: &str) -> String {
        self.commit.clone().unwrap_or_else(|| asked.to_string())
    }

    /// The file, from the cache or else over the network; its SHA-256 is always computed, and checked if pinned.
    pub fn get(&self, file: &RemoteFile) -> Result<Local> {
        let file = &RemoteFile { revision: self.revision(&file.revision), ..file.clone() };
        names::check(file)?;
        let Some(inner) = &self.inner else { return Err(self.not_here(file)) };
        let folder = Folder::new(&inner.settings.cache, file.kind, &file.repository);
        let (local, downloaded) = self.get_checked(inner, &folder, file)?;
        let mut fetched = inner.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if !fetched.iter().any(|(f, ..)| f == file) {
            fetched.push((file.clone(), local.clone(), downloaded));
        }
        Ok(local)
    }

    /// The second value: whether it came over the network.
    fn get_checked(&self, inner: &Inner, folder: &Folder, file: &RemoteFile) -> Result<(Local, bool)> {
        // what a commit holds never changes, so that needs no network
        if inner.settings.offline || names::is_commit(&file.revision) {
            match self.find(folder, file)? {
                Lookup::Here(local, proven) if proven || inner.settings.offline => return Ok((local, false)),
                Lookup::Here(..) => {} // a copy: the Hub says which hash it must have
                Lookup::Missing if inner.settings.offline => return Err(self.not_here(file)),
                Lookup::Damaged(problem) if inner.settings.offline => return Err(problem),
                Lookup::Damaged(problem) => self.note(&problem.to_string()),
                Lookup::Missing => {}
            }
        }
        let what = Asked::file(file).text();
        let there = inner.wire.retried(&what, |n| self.note(n), || 0, || inner.wire.metadata(file))?;
        if let Some(pin) = file.sha256.as_ref().filter(|_| there.etag.is_sha256())
            && !pin.eq_ignore_ascii_case(there.etag.text())
        {
            return Err(not_pinned(file, there.etag.text()));
        }
        let local_path = folder.pointer(&there.commit, &file.path);
        let local = |sums: cache::Sums| Local {
            path: local_path.clone(),
            sha256: sums.sha256,
            size: sums.size,
            commit: there.commit.clone(),
        };
        // a cache that cannot be written to still serves what lies there
        match folder.find(file, &there.commit, Some(&there.etag))? {
            Found::Whole(sums) => {
                folder.refer(&file.revision, &there.commit).ok();
                return Ok((local(sums), false));
            }
            Found::Damaged(how) => self.note(&format!("{} is damaged: {how}", local_path.display())),
            Found::Other(_) | Found::Missing => {}
        }
        if let Some(dry) = &self.dry {
            let mut wanted = dry.lock().unwrap_or_else(PoisonError::into_inner);
            if wanted.iter().all(|(known, _)| known != file) {
                wanted.push((file.clone(), there.size));
            }
            return Err(Error::Hub(format!(
                "{what} is not here yet: {} bytes (hint: `foolproof fetch CONFIG` brings all that a sweep needs)",
                there.size
            )));
        }
        let (sums, downloaded) = self.bring(inner, folder, file, &there)?;
        Ok((local(sums), downloaded))
    }

    /// The file if it lies in the cache; never goes to the network.
    pub fn cached(&self, file: &RemoteFile) -> Result<Option<Local>> {
        let file = &RemoteFile { revision: self.revision(&file.revision), ..file.clone() };
        names::check(file)?;
        let Some(inner) = &self.inner else { return Ok(None) };
        match self.find(&Folder::new(&inner.settings.cache, file.kind, &file.repository), file)? {
            Lookup::Here(local, _) => Ok(Some(local)),
            Lookup::Missing => Ok(None),
            Lookup::Damaged(problem) => Err(problem),
        }
    }

    /// Looks for it in the cache.
    fn find(&self, folder: &Folder, file: &RemoteFile) -> Result<Lookup> {
        let Some(commit) = folder.commit(&file.revision) else { return Ok(Lookup::Missing) };
        let path = folder.pointer(&commit, &file.path);
        Ok(match folder.find(file, &commit, None)? {
            Found::Whole(sums) => {
                let proven = file.sha256.is_some() || cache::etag_of(&path).is_some();
                Lookup::Here(Local { path, sha256: sums.sha256, size: sums.size, commit }, proven)
            }
            Found::Missing => Lookup::Missing,
            Found::Other(found) => return Err(not_pinned(file, &found)),
            Found::Damaged(how) => Lookup::Damaged(Error::Hub(format!(
                "{} is damaged: {how} (hint: online it is downloaded again; `foolproof cache --verify` checks all)",
                path.display()
            ))),
        })
    }

    /// The files of a repository at a revision whose paths begin with `prefix`, in order of their paths, as the Hub's
    /// tree lists them; `sha256` is filled in where the Hub says it (LFS files). Files whose names [`Hub::get`] refuses are
    /// left out, and told of.
    ///
    /// The list of a commit is kept in the cache and needs no network any more. Offline, and where no list was kept, these
    /// are the files *that the cache has*, which need not be all: whoever must have all has to check that by their names.
    pub fn list(&self, kind: Kind, repository: &str, revision: &str, prefix: &str) -> Result<Vec<RemoteFile>> {
        let revision = &self.revision(revision);
        names::check_repository(repository)?;
        names::check_revision(revision)?;
        let asked = Asked { kind, repository, revision, path: None };
        let nowhere = || Error::Hub(format!("{} is not in the cache{HOW_TO_FETCH}", asked.text()));
        let mut all = self.entries(self.inner.as_ref().ok_or_else(nowhere)?, asked)?.ok_or_else(nowhere)?;
        all.retain(|listed| listed.path.starts_with(prefix));
        let file = |Listed { path, sha256 }| {
            let (repository, revision) = (repository.to_string(), revision.to_string());
            RemoteFile { kind, repository, revision, path, sha256 }
        };
        let mut files: Vec<_> = all.into_iter().map(file).collect();
        files.sort();
        Ok(files)
    }

    /// The list that was kept, else the endpoint's, else, offline, what the cache has; `None` if that is nothing.
    fn entries(&self, inner: &Inner, asked: Asked) -> Result<Option<Vec<Listed>>> {
        let folder = Folder::new(&inner.settings.cache, asked.kind, asked.repository);
        let offline = inner.settings.offline;
        if (offline || names::is_commit(asked.revision))
            && let Some(all) = folder.commit(asked.revision).and_then(|commit| folder.listing(&commit))
        {
            return Ok(Some(all));
        }
        if offline {
            return snapshot(&folder, asked.revision);
        }
        let (all, commit) = self.tree(inner, asked)?;
        if let Some(commit) = commit {
            folder.keep_listing(&commit, &all).ok(); // a cache that cannot be written to is no reason to fail
        }
        Ok(Some(all))
    }

    /// What the endpoint lists, page by page, and the commit that this is of, if it says so on every page.
    fn tree(&self, inner: &Inner, asked: Asked) -> Result<(Vec<Listed>, Option<String>)> {
        let kind = if asked.kind == Kind::Model { "models" } else { "datasets" };
        let revision = names::encode(asked.revision, false);
        let first = format!("/api/{kind}/{}/tree/{revision}?recursive=true", asked.repository);
        let mut all = Vec::new();
        let (mut commits, mut odd) = (Vec::new(), Vec::new());
        let (mut pages, mut entries) = (0, 0);
        let mut next = Some(inner.wire.at(&first)?);
        while let Some(url) = next.take() {
            let one = || page(&inner.wire, &url, asked);
            let page = inner.wire.retried(&asked.text(), |n| self.note(n), || 0, one)?;
            (pages, entries) = (pages + 1, entries + page.entries);
            let endless = page.entries == 0 || pages == MOST_PAGES || entries > cache::MOST_FILES;
            if endless && page.next.is_some() || entries > cache::MOST_FILES {
                return Err(Error::Hub(format!(
                    "{}: no end after {pages} pages of {entries} files and folders (hint: another revision; or is there a proxy in between?)",
                    asked.text()
                )));
            }
            all.extend(page.files);
            odd.extend(page.odd);
            commits.push(page.commit);
            next = page.next;
        }
        if let Some(first) = odd.first() {
            let what = asked.text();
            self.note(&format!("{what}: {} files are left out, whose names lead nowhere, as {first:?}", odd.len()));
        }
        commits.dedup();
        let said = commits.pop().flatten().filter(|_| commits.is_empty());
        let commit = if names::is_commit(asked.revision) { Some(asked.revision.to_string()) } else { said };
        Ok((all, commit))
    }

    /// What was got so far, in order, and whether it came over the network.
    pub fn fetched(&self) -> Vec<(RemoteFile, Local, bool)> {
        let all = |i: &Arc<Inner>| i.fetched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.inner.as_ref().map(all).unwrap_or_default()
    }

    /// Tells of everything that lies in the cache.
    pub fn everything(&self, tell: impl FnMut(Cached) -> Result<()>) -> Result<()> {
        self.inner.as_ref().map_or(Ok(()), |i| cache::list(&i.settings.cache, tell))
    }

    fn not_here(&self, file: &RemoteFile) -> Error {
        let path = names::resolve_path(file, &file.revision);
        Error::Hub(format!("{} ({path}) is not in the cache{HOW_TO_FETCH}", Asked::file(file).text()))
    }

    fn tell(&self, event: &Event) {
        if let Some(listener) = &self.listener {
            listener(event);
        }
    }

    fn note(&self, text: &str) {
        self.tell(&Event::Note(text));
    }
}

const HOW_TO_FETCH: &str = ", and this run is offline (hint: `foolproof fetch CONFIG` brings all that a sweep needs, where there is a network)";

fn not_pinned(file: &RemoteFile, found: &str) -> Error {
    let pin = file.sha256.as_deref().unwrap_or_default();
    let what = Asked::file(file).text();
    Error::Hub(format!("{what} has SHA-256 {found}, but {pin} is pinned (hint: another revision? A wrong pin?)"))
}

/// What the cache has of a revision; `None` if it has nothing.
fn snapshot(folder: &Folder, revision: &str) -> Result<Option<Vec<Listed>>> {
    let found = folder.commit(revision).map(|commit| folder.snapshot(&commit)).filter(|s| s.is_dir());
    let sha256 = |place: &Path| cache::etag_of(place).filter(names::Etag::is_sha256).map(|e| e.text().to_string());
    let listed = |(path, place): (String, PathBuf)| Listed { path, sha256: sha256(&place) };
    let sound = |listed: &Listed| names::check_path(&listed.path).is_ok();
    found.map(|s| Ok(cache::files(&s)?.into_iter().map(listed).filter(sound).collect())).transpose()
}

/// An entry of the Hub's tree.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    /// SHA-256.
    oid: String,
}

/// Bytes of one page of a tree.
const LONGEST_PAGE: u64 = 16 << 20;

/// Pages of a tree. The Hub puts up to a thousand entries on one.
const MOST_PAGES: usize = 2000;

/// One page of a tree.
struct Page {
    /// Those with sound names.
    files: Vec<Listed>,
    /// Names of the others.
    odd: Vec<String>,
    /// Files and folders, whatever their names.
    entries: usize,
    next: Option<url::Url>,
    commit: Option<String>,
}

/// Asks for a page; the next is where `Link: <url>; rel="next"` says, on the endpoint: a mirror may hand the Hub's own on.
fn page(wire: &Wire, url: &url::Url, asked: Asked) -> Result<Page, Fault> {
    let mut response = wire.follow("GET", url, None, |_, _| false)?;
    if !response.status().is_success() {
        return Err(wire.refusal(&response, asked));
    }
    let header =
        |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_string();
    let next = header("link").split(',').find(|l| l.contains("rel=\"next\"")).map(|l| {
        let next = l.trim().strip_prefix('<').and_then(|l| url.join(l.split_once('>')?.0));
        let next = next.ok_or_else(|| Fault::Lasting("the next page of the tree is nowhere".into()))?;
        if next.origin == url.origin { Ok(next) } else { wire.at(&next.rest).map_err(Fault::Ours) }
    });
    let commit = Some(header("x-repo-commit")).filter(|c| names::is_commit(c));
    let text = response.body_mut().with_config().limit(LONGEST_PAGE).read_to_vec();
    let text = text.map_err(|e| match e {
        ureq::Error::BodyExceedsLimit(_) => Fault::Lasting("a page of the tree is too long".into()),
        e => Fault::Passing(e.to_string(), None),
    })?;
    let entries: Vec<Entry> = serde_json::from_slice(&text).map_err(|e| {
        Fault::Lasting(format!("the tree is not as the Hub writes it: {:?} at {}", e.classify(), e.line()))
    })?;
    let count = entries.len();
    let (mut files, mut odd) = (Vec::new(), Vec::new());
    for Entry { path, lfs, .. } in entries.into_iter().filter(|e| e.kind == "file") {
        if names::check_path(&path).is_err() {
            odd.push(path);
            continue;
        }
        if lfs.as_ref().is_some_and(|l| names::Etag::parse(&l.oid).is_none_or(|e| !e.is_sha256() || e.text() != l.oid))
        {
            return Err(Fault::Lasting("the tree has a malformed SHA-256, and was refused".into()));
        }
        files.push(Listed { path, sha256: lfs.map(|l| l.oid) });
    }
    Ok(Page { files, odd, entries: count, next: next.transpose()?, commit })
}
