//! The cache on disk, as Python's `huggingface_hub` lays it out:
//!
//! ```text
//! models--owner--name/blobs/<etag>                  the bytes; <etag>.incomplete while they come
//! models--owner--name/refs/<revision>               the commit that a branch or tag was last seen at
//! models--owner--name/snapshots/<commit>/<path>     a symbolic link into blobs/
//! .locks/models--owner--name/<etag>.lock            held while a blob is written
//! ```

use super::names::{self, Etag};
use super::{Kind, RemoteFile};
use crate::digest::hex;
use crate::error::{Error, Result};
use hf_hub::{Cache, Repo, RepoType};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files that are looked at in one cache, or listed in one repository.
pub const MOST_FILES: usize = 100_000;

/// The part of the cache that belongs to one repository. Names must have been checked.
pub struct Folder {
    root: PathBuf,
    repo: Repo,
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
        let path = self.reference(revision);
        fs::create_dir_all(parent(&path))?;
        fs::write(path, commit)
    }

    /// What lies where this file of this commit should lie.
    pub fn find(&self, file: &RemoteFile, commit: &str) -> Result<Found> {
        let pointer = self.pointer(commit, &file.path);
        look(&pointer, etag_of(&pointer).as_ref(), file.sha256.as_deref())
    }

    /// Makes the blob the file of that commit: by a relative link, or a copy where links cannot be made.
    pub fn link(&self, etag: &Etag, commit: &str, path: &str, symlinks: bool) -> io::Result<()> {
        let pointer = self.pointer(commit, path);
        let folder = parent(&pointer);
        fs::create_dir_all(folder)?;
        let up = "../".repeat(path.split('/').count() + 1);
        let blob = self.blobs().join(etag.text());
        // made among the blobs, under a name that says what it is if we are killed now
        let fresh = self.blobs().join(format!("{}.link.incomplete", etag.text()));
        fs::remove_file(&fresh).ok();
        if !symlinks || symlink(Path::new(&format!("{up}blobs/{}", etag.text())), &fresh).is_err() {
            let mut copy = File::options().write(true).create_new(true).open(&fresh)?; // new: never through a link
            io::copy(&mut File::open(blob)?, &mut copy)?;
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
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(Found::Missing),
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
/// it, as long as that lives, and says so once. Where the disk knows no locks it goes on without: two processes would then
/// write the same bytes to the same places.
pub fn lock(path: &Path, waiting: impl Fn()) -> io::Result<Option<File>> {
    fs::create_dir_all(parent(path))?;
    let mut told = false;
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => return Ok(Some(file)),
            Ok(()) => {} // the other process has removed the file that we locked
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => return Ok(None),
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
    return rustix::fs::statvfs(folder).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize));
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
    /// Path inside the repository; for a leftover, below the repository's folder in the cache.
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
            State::Leftover => "incomplete",
        }
    }
}

impl Cached {
    /// Reads the file and holds it against its name.
    pub fn verify(&mut self) -> Result<()> {
        if self.state == State::There {
            let etag = etag_of(&self.place);
            self.state = match look(&self.place, etag.as_ref(), None)? {
                Found::Whole(_) if etag.is_none() => State::Unknown,
                Found::Whole(_) => State::Whole,
                Found::Missing => State::Broken,
                Found::Damaged(_) | Found::Other(_) => State::Damaged,
            };
        }
        Ok(())
    }
}

/// Everything in the cache, in order of kind, repository, commit and path.
pub fn list(root: &Path) -> Result<Vec<Cached>> {
    let mut found = Vec::new();
    for name in names_in(root)? {
        let known = [("models--", Kind::Model), ("datasets--", Kind::Dataset)];
        let Some((rest, kind)) = known.iter().find_map(|(p, k)| Some((name.strip_prefix(p)?, *k))) else { continue };
        let repository = rest.replace("--", "/");
        let folder = root.join(&name);
        let mut add = |commit: &str, path: String, place: PathBuf, leftover: bool| {
            let bytes = fs::metadata(&place).ok().map(|m| m.len());
            let state = match bytes {
                _ if leftover => State::Leftover,
                None => State::Broken,
                Some(_) => State::There,
            };
            let (repository, commit) = (repository.clone(), commit.to_string());
            found.push(Cached { kind, repository, commit, path, place, bytes, state });
        };
        for blob in names_in(&folder.join("blobs"))?.iter().filter(|n| n.ends_with(".incomplete")) {
            add("", format!("blobs/{blob}"), folder.join("blobs").join(blob), true);
        }
        for commit in names_in(&folder.join("snapshots"))? {
            let snapshot = folder.join("snapshots").join(&commit);
            for (path, place) in files(&snapshot)? {
                add(&commit, path, place, false);
            }
        }
    }
    Ok(found)
}

/// Files and links below a folder with their paths from it, in order.
pub fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), folder.to_path_buf())];
    while let Some((before, folder)) = folders.pop() {
        for name in names_in(&folder)? {
            let (path, place) = (format!("{before}{name}"), folder.join(&name));
            match fs::symlink_metadata(&place) {
                Ok(m) if m.is_dir() => folders.push((format!("{path}/"), place)),
                Ok(_) => found.push((path, place)),
                Err(_) => {}
            }
        }
        if found.len() > MOST_FILES {
            return Err(Error::Hub(format!("more than {MOST_FILES} files below {}", folder.display())));
        }
    }
    found.sort();
    Ok(found)
}

/// Names in a folder that are Unicode, in order; none where it is no folder.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", folder))?,
    };
    let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}
