//! The cache on disk, as Python's `huggingface_hub` lays it out:
//!
//! ```text
//! models--owner--name/blobs/<etag>                  the bytes; <etag>.incomplete while they come
//! models--owner--name/refs/<revision>               the commit that a branch or tag was last seen at
//! models--owner--name/snapshots/<commit>/<path>     a symbolic link into blobs/
//! .locks/models--owner--name/<etag>.lock            held while a blob is written
//! models--owner--name/.foolproof/<commit>.json      ours, and ignored by Python: all paths of the commit
//! ```

use super::file::{Kind, RemoteFile};
use super::names::{self, Etag};
use crate::digest::hex;
use crate::disk;
use crate::error::{Error, Result};
use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files of one repository that are listed.
pub const MOST_FILES: usize = 100_000;

/// Bytes of a listing that is kept.
const LONGEST_LISTING: u64 = 32 << 20;

/// The folder inside a repository's that is ours.
const OWN: &str = ".foolproof";

/// The part of the cache that belongs to one repository. Names must have been checked.
pub struct Folder {
    root: PathBuf,
    repo: Repo,
}

/// A file of a repository, as the Hub lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub path: String,
    /// Of an LFS file.
    pub sha256: Option<String>,
}

impl Listed {
    /// With names that lead nowhere else, and a hash that is one.
    fn is_sound(&self) -> bool {
        let hash = |h: &String| Etag::parse(h).is_some_and(|e| e.is_sha256() && e.text() == h);
        names::check_path(&self.path).is_ok() && self.sha256.as_ref().is_none_or(hash)
    }
}

/// Size and hashes of a file.
pub struct Sums {
    pub sha256: String,
    /// As git names a file: the SHA-1 of `blob <size>\0` and its bytes.
    git: String,
    pub size: u64,
}

/// What lies at a place of the cache.
pub enum Found {
    /// What it should be.
    Whole(Sums),
    /// A whole file of the Hub, but not the one that is pinned: its SHA-256.
    Other(String),
    /// Not what its name says: how it differs.
    Damaged(String),
    Missing,
}

impl Folder {
    /// Of a repository, in the cache at `root`.
    pub fn new(root: &Path, kind: Kind, repository: &str) -> Folder {
        let kind = match kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        Folder { root: root.to_path_buf(), repo: Repo::new(repository.to_string(), kind) }
    }

    fn path(&self) -> PathBuf {
        self.root.join(self.repo.folder_name())
    }

    /// Where blobs lie.
    pub fn blobs(&self) -> PathBuf {
        self.path().join("blobs")
    }

    /// The folder of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        Cache::new(self.root.clone()).repo(self.repo.clone()).pointer_path(commit)
    }

    /// Where a file of a commit lies.
    pub fn pointer(&self, commit: &str, path: &str) -> PathBuf {
        path.split('/').fold(self.snapshot(commit), |folder, part| folder.join(part))
    }

    /// The lock of a blob.
    pub fn lock_path(&self, etag: &Etag) -> PathBuf {
        self.root.join(".locks").join(self.repo.folder_name()).join(format!("{}.lock", etag.text()))
    }

    fn reference(&self, revision: &str) -> PathBuf {
        revision.split('/').fold(self.path().join("refs"), |folder, part| folder.join(part))
    }

    /// The commit of a revision, as far as the cache knows.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if names::is_commit(revision) {
            return Some(revision.to_string());
        }
        let text = fs::read_to_string(self.reference(revision)).ok()?;
        Some(text.trim().to_string()).filter(|c| names::is_commit(c))
    }

    /// Notes at which commit a branch or tag is.
    pub fn refer(&self, revision: &str, commit: &str) -> io::Result<()> {
        if names::is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        self.put(&self.reference(revision), commit.as_bytes())
    }

    /// Writes a small file beside and renames it, so that nobody ever reads half of it.
    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let own = self.path().join(OWN);
        fs::create_dir_all(&own)?;
        fs::create_dir_all(parent(path))?;
        let fresh = own.join(format!("{}.incomplete", unique()));
        let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
        if written.is_err() {
            fs::remove_file(&fresh).ok();
        }
        written
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.path().join(OWN).join(format!("{commit}.json"))
    }

    /// All files of a commit, if they were listed before; one that is damaged counts as none.
    pub fn listing(&self, commit: &str) -> Option<Vec<Listed>> {
        let path = self.listing_path(commit);
        fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let mut text = Vec::new();
        File::open(path).ok()?.take(LONGEST_LISTING + 1).read_to_end(&mut text).ok()?;
        if text.len() as u64 > LONGEST_LISTING {
            return None;
        }
        let all: Vec<Listed> = serde_json::from_slice(&text).ok()?;
        (all.len() <= MOST_FILES && all.iter().all(Listed::is_sound)).then_some(all)
    }

    /// Keeps them. What a commit holds never changes.
    pub fn keep_listing(&self, commit: &str, all: &[Listed]) -> io::Result<()> {
        let text = serde_json::to_vec(all)?;
        if text.len() as u64 > LONGEST_LISTING {
            return Ok(());
        }
        fs::create_dir_all(self.path().join("snapshots"))?; // Python calls a repository without it corrupted
        self.put(&self.listing_path(commit), &text)
    }

    /// What lies where this file of this commit should lie, held against the ETag if the Hub has just said it, else against
    /// the blob that it links to. A copy has no such name.
    pub fn find(&self, file: &RemoteFile, commit: &str, etag: Option<&Etag>) -> Result<Found> {
        let pointer = self.pointer(commit, &file.path);
        look(&pointer, etag.or(etag_of(&pointer).as_ref()), file.sha256.as_deref())
    }

    /// Makes the blob the file of that commit: by a relative link, or a copy where links cannot be made. `tag` keeps apart
    /// those who hold no lock.
    pub fn link(&self, etag: &Etag, commit: &str, path: &str, symlinks: bool, tag: &str) -> io::Result<()> {
        let pointer = self.pointer(commit, path);
        let folder = parent(&pointer);
        fs::create_dir_all(folder)?;
        let up = "../".repeat(path.split('/').count() + 1);
        let blob = self.blobs().join(etag.text());
        // made among the blobs, under a name that says what it is if we are killed now
        let fresh = self.blobs().join(format!("{}{tag}.link.incomplete", etag.text()));
        fs::remove_file(&fresh).ok();
        if !symlinks || symlink(Path::new(&format!("{up}blobs/{}", etag.text())), &fresh).is_err() {
            let mut copy = File::options().write(true).create_new(true).open(&fresh)?; // new: never through a link
            io::copy(&mut File::open(blob)?, &mut copy)?;
            disk::sync(&copy, &fresh)?;
        }
        fs::rename(&fresh, &pointer)
    }
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// A name that nobody else uses at this time.
pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The folder of a file; paths here always have one.
pub fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The name of the blob that a file of a snapshot links to.
pub fn etag_of(pointer: &Path) -> Option<Etag> {
    Etag::parse(fs::read_link(pointer).ok()?.file_name()?.to_str()?)
}

/// Hashes what lies at `path` and holds it against its name in the cache, then against the pin.
pub fn look(path: &Path, etag: Option<&Etag>, pin: Option<&str>) -> Result<Found> {
    let sums = match Sums::of(path, etag.is_some_and(|e| !e.is_sha256())) {
        Err(e) if is_missing(&e) => return Ok(Found::Missing),
        sums => sums.map_err(Error::io("read", path))?,
    };
    if let Some(etag) = etag {
        let (what, found) = if etag.is_sha256() { ("SHA-256", &sums.sha256) } else { ("git hash", &sums.git) };
        if found != etag.text() {
            return Ok(Found::Damaged(format!("its {what} is {found} instead of {}", etag.text())));
        }
    }
    match pin {
        Some(pin) if !pin.eq_ignore_ascii_case(&sums.sha256) => Ok(match etag {
            Some(_) => Found::Other(sums.sha256),
            None => Found::Damaged(format!("its SHA-256 is {} instead of {pin}", sums.sha256)),
        }),
        _ => Ok(Found::Whole(sums)),
    }
}

impl Sums {
    fn of(path: &Path, git: bool) -> io::Result<Sums> {
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("no regular file")); // to open a pipe could wait for ever
        }
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut sha256 = Sha256::new();
        let mut sha1 = git.then(|| Sha1::new_with_prefix(format!("blob {size}\0")));
        let mut buffer = vec![0; 1 << 18];
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                n => n?,
            };
            sha256.update(&buffer[..n]);
            if let Some(sha1) = &mut sha1 {
                sha1.update(&buffer[..n]);
            }
        }
        let git = sha1.map_or_else(String::new, |s| hex(&s.finalize()));
        Ok(Sums { sha256: hex(&sha256.finalize()), git, size })
    }
}

/// Holds an exclusive lock, until dropped or until this process ends in whatever way. It waits for the process that has
/// it, as long as that lives, and says so once. `None` where the disk says that it knows no locks: whoever goes on without
/// must write to places of its own. Some network file systems claim to lock and do not, or only among the processes of one
/// machine (NFS mounted with `nolock` or `local_lock`, Lustre with `localflock`, many that run in user space, as sshfs): that
/// cannot be seen from here.
pub fn lock(path: &Path, waiting: impl Fn()) -> io::Result<Option<File>> {
    fs::create_dir_all(parent(path))?;
    let mut told = false;
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => return Ok(Some(file)),
            Ok(()) => {} // the other process has removed the file that we locked
            Err(TryLockError::Error(e)) if disk::knows_no_locks(&e) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    waiting();
                }
                told = true;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |m: io::Result<fs::Metadata>| m.ok().map(|m| (m.dev(), m.ino()));
    id(file.metadata()) == id(fs::metadata(path))
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Free bytes of the disk below a folder, where the operating system says.
pub fn free_space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    return {
        // some file systems without a size, as those in user space, say 0 of 0
        let known = rustix::fs::statvfs(folder).ok().filter(|s| s.f_blocks > 0);
        known.map(|s| s.f_bavail.saturating_mul(s.f_frsize))
    };
    #[cfg(not(unix))]
    return None;
}

/// Something that lies in the cache.
#[derive(Debug, Clone)]
pub struct Cached {
    /// Of which kind of repository.
    pub kind: Kind,
    /// `owner/name`.
    pub repository: String,
    /// The commit; empty for a leftover.
    pub commit: String,
    /// Path inside the repository; for a leftover or an unreadable folder, below the repository's folder in the cache.
    pub path: String,
    /// Where.
    pub place: PathBuf,
    /// Bytes; none for a broken link.
    pub bytes: Option<u64>,
    /// What can be said without reading it.
    pub state: State,
}

/// In what state something in the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There; not read.
    There,
    /// Read, and its hash is its name's.
    Whole,
    /// Read, and its hash is not its name's.
    Damaged,
    /// Read, but its name holds no hash.
    Unknown,
    /// A link to a blob that is not there.
    Broken,
    /// No regular file, or one (or a folder) that this user may not read.
    Unreadable,
    /// A part of a download that did not end; the next one goes on from it.
    Leftover,
}

impl State {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            State::There => "",
            State::Whole => "ok",
            State::Damaged => "damaged",
            State::Unknown => "unknown",
            State::Broken => "broken",
            State::Unreadable => "unreadable",
            State::Leftover => "incomplete",
        }
    }
}

impl Cached {
    /// Reads the file and holds it against its name.
    pub fn verify(&mut self) {
        if self.state == State::There {
            let etag = etag_of(&self.place);
            self.state = match look(&self.place, etag.as_ref(), None) {
                Ok(Found::Whole(_)) if etag.is_none() => State::Unknown,
                Ok(Found::Whole(_)) => State::Whole,
                Ok(Found::Missing) => State::Broken,
                Ok(Found::Damaged(_) | Found::Other(_)) => State::Damaged,
                Err(_) => State::Unreadable,
            };
        }
    }
}

/// Tells of everything in the cache, in order of kind, repository and commit. What cannot be read is told, too.
pub fn list(root: &Path, mut tell: impl FnMut(Cached) -> Result<()>) -> Result<()> {
    for name in names_in(root).map_err(Error::io("read", root))? {
        let known = [("models--", Kind::Model), ("datasets--", Kind::Dataset)];
        let Some((rest, kind)) = known.iter().find_map(|(p, k)| Some((name.strip_prefix(p)?, *k))) else { continue };
        let repository = rest.replace("--", "/");
        let folder = root.join(&name);
        let cached = |commit: &str, path: &str, state: Option<State>| {
            let place =
                if commit.is_empty() { folder.clone() } else { folder.join("snapshots").join(commit) }.join(path);
            let metadata = fs::metadata(&place);
            let state = state.unwrap_or(match &metadata {
                Ok(m) if m.is_file() => State::There,
                Err(e) if is_missing(e) => State::Broken,
                _ => State::Unreadable,
            });
            let bytes = metadata.ok().filter(fs::Metadata::is_file).map(|m| m.len());
            let (repository, commit, path) = (repository.clone(), commit.to_string(), path.to_string());
            Cached { kind, repository, commit, path, place, bytes, state }
        };
        match names_in(&folder.join("blobs")) {
            Err(_) => tell(cached("", "blobs", Some(State::Unreadable)))?,
            Ok(blobs) => {
                for blob in blobs.iter().filter(|n| n.ends_with(".incomplete")) {
                    tell(cached("", &format!("blobs/{blob}"), Some(State::Leftover)))?;
                }
            }
        }
        let Ok(commits) = names_in(&folder.join("snapshots")) else {
            tell(cached("", "snapshots", Some(State::Unreadable)))?;
            continue;
        };
        for commit in commits {
            walk(&folder.join("snapshots").join(&commit), |path, readable| {
                tell(cached(&commit, path, readable.err().map(|_| State::Unreadable)))
            })?;
        }
    }
    Ok(())
}

/// Files and links below a folder with their paths from it, in order.
pub fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    walk(folder, |path, readable| {
        readable.map_err(Error::io("read", &folder.join(path)))?;
        if found.len() == MOST_FILES {
            return Err(Error::Hub(format!(
                "more than {MOST_FILES} files below {} (hint: another cache, by HF_HUB_CACHE)",
                folder.display()
            )));
        }
        found.push((path.to_string(), folder.join(path)));
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

/// Tells of all files and links below a folder by their paths from it, and of folders that cannot be read with the error.
fn walk(folder: &Path, mut tell: impl FnMut(&str, io::Result<()>) -> Result<()>) -> Result<()> {
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let place = folder.join(&path);
        if !path.is_empty() && !fs::symlink_metadata(&place).is_ok_and(|m| m.is_dir()) {
            tell(&path, Ok(()))?;
            continue;
        }
        let slash = if path.is_empty() { "" } else { "/" };
        match names_in(&place) {
            Ok(names) => open.extend(names.iter().rev().map(|name| format!("{path}{slash}{name}"))),
            Err(e) => tell(&path, Err(e))?,
        }
    }
    Ok(())
}

/// Names in a folder, in order; none where it is no folder. One that is not Unicode is changed: it leads nowhere, and is told
/// of as a broken link.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if is_missing(&e) => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.map(name).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn is_missing(error: &io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}
