//! Digests of files that were hashed before, so that a plan need not read gigabytes again: kept by path, size, times and inode in
//! the user's cache folder; and what was made of many files, by the same of each. Whoever then uses a file, or what was made,
//! holds its bytes to the digest. What is deleted there costs time alone.

use crate::digest;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that was changed so shortly ago may be changed again within what its time tells apart.
const RECENT: Duration = Duration::from_secs(3);

/// Where digests are kept.
#[derive(Debug, Clone, Default)]
pub struct Fingerprints {
    folder: Option<PathBuf>,
}

impl Fingerprints {
    /// Nothing is kept.
    pub fn none() -> Fingerprints {
        Fingerprints::default()
    }

    /// In this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Fingerprints {
        Fingerprints { folder: Some(folder.into()) }
    }

    /// In `digests/` of the folder that `FOOLPROOF_CACHE` names, else of `foolproof/` in the user's folder of caches; with
    /// `FOOLPROOF_CACHE` empty nowhere.
    pub fn from_env() -> Fingerprints {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let usual = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let folder = variable("FOOLPROOF_CACHE").or_else(|| Some(usual()?.join("foolproof")));
        // a path from the current folder would be another one tomorrow
        Fingerprints { folder: folder.filter(|f| f.is_absolute()).map(|f| f.join("digests")) }
    }

    /// SHA-256 of a file that is as it was when it was hashed, as far as the file system tells.
    pub fn known(&self, path: &Path) -> Option<String> {
        let text = fs::read_to_string(self.place(path)?).ok()?;
        let (digest, seen) = text.split_once('\n')?;
        let sound = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        (sound && seen == look(&fs::metadata(path).ok()?)?).then(|| digest.to_string())
    }

    /// Reads a file and hashes it; the digest is kept, where that can be done.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&self, path: &Path) -> io::Result<(Vec<u8>, String)> {
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let digest = digest::sha256(&bytes);
        let old = before.modified().is_ok_and(is_old);
        if let (Some(place), Some(seen)) = (self.place(path).filter(|_| old), look(&before))
            && file.metadata().ok().and_then(|after| look(&after)).as_ref() == Some(&seen)
        {
            keep(&place, &format!("{digest}\n{seen}")).ok(); // a cache that cannot be written is none
        }
        Ok((bytes, digest))
    }

    /// What was kept under this name, of files that are as they were then.
    pub fn recall(&self, name: &str, files: &[&Path]) -> Option<String> {
        let text = fs::read_to_string(self.place_of(name)?).ok()?;
        let (state, value) = text.split_once('\n')?;
        (state == self.state(files)?.0).then(|| value.to_string())
    }

    /// What the file system says of files now, to be kept with what is made of them; `None`: nothing is kept, because there is no
    /// place for it, or because a file changed just now.
    pub fn before(&self, files: &[&Path]) -> Option<State> {
        let (text, newest) = self.state(files)?;
        is_old(newest).then_some(State(text))
    }

    /// Keeps what was made of files, if they are still as they were `before`.
    pub fn remember(&self, name: &str, files: &[&Path], before: &State, value: &str) {
        if let Some(place) = self.place_of(name)
            && self.state(files).is_some_and(|(now, _)| now == before.0)
        {
            keep(&place, &format!("{}\n{value}", before.0)).ok(); // a cache that cannot be written is none
        }
    }

    /// What the file system says of files, as a digest, and when the last of them was changed.
    fn state(&self, files: &[&Path]) -> Option<(String, SystemTime)> {
        self.folder.as_ref()?;
        let (mut text, mut newest) = (String::new(), SystemTime::UNIX_EPOCH);
        for file in files {
            let of = fs::metadata(file).ok()?;
            text += &look(&of)?;
            newest = newest.max(of.modified().ok()?);
        }
        Some((digest::sha256(text.as_bytes()), newest))
    }

    fn place_of(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(digest::sha256(name.as_bytes())))
    }

    /// Forgets the digest of a file that turned out to be another one.
    pub fn forget(&self, path: &Path) {
        self.place(path).map(fs::remove_file);
    }

    /// One small file a path: processes that write at once take nothing from each other.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let whole = path.canonicalize().ok()?;
        Some(folder.join(digest::sha256(whole.as_os_str().as_encoded_bytes())))
    }
}

/// What the file system said of files.
pub struct State(String);

fn is_old(changed: SystemTime) -> bool {
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > RECENT)
}

/// What the file system says of a file, the time at which its inode changed too: a new time of modification is soon given.
#[cfg(unix)]
fn look(of: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
    Some(format!("{} {times:?} {}\n", of.size(), of.ino()))
}

/// Nothing that would tell a file from one in its place.
#[cfg(not(unix))]
fn look(_: &Metadata) -> Option<String> {
    None
}

/// Written beside and renamed, so that nobody reads half of it.
fn keep(place: &Path, text: &str) -> io::Result<()> {
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder)?;
    let beside = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(beside.path(), text)?;
    beside.persist(place)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn write(path: &Path, bytes: &[u8], age: Duration) {
        fs::write(path, bytes).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn a_digest_is_known_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, file) = (Fingerprints::at(folder.path().join("kept")), folder.path().join("weights"));
        let old = Duration::from_secs(60);
        write(&file, b"one", old);
        assert_eq!(kept.known(&file), None);
        let (bytes, digest) = kept.read(&file).unwrap();
        assert_eq!((bytes.as_slice(), &digest), (&b"one"[..], &digest::sha256(b"one")));
        assert_eq!(kept.known(&file), Some(digest.clone()));
        assert_eq!(Fingerprints::none().known(&file), None);
        // as long, and as old
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, b"two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert_eq!(kept.known(&file), None);
        kept.read(&file).unwrap();
        assert_eq!(kept.known(&file), Some(digest::sha256(b"two")));
        kept.forget(&file);
        assert_eq!(kept.known(&file), None);
    }

    #[test]
    fn what_was_made_of_files_is_known_until_one_of_them_changes() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Fingerprints::at(folder.path().join("kept"));
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let files = [a.as_path(), b.as_path()];
        [&a, &b].into_iter().for_each(|file| write(file, b"one", Duration::from_secs(60)));
        assert!(Fingerprints::none().before(&files).is_none());
        let before = kept.before(&files).unwrap();
        kept.remember("both", &files, &before, "two\nlines");
        assert_eq!(kept.recall("both", &files).as_deref(), Some("two\nlines"));
        assert_eq!((kept.recall("other", &files), kept.recall("both", &files[..1])), (None, None));
        write(&b, b"two", Duration::from_secs(60));
        assert_eq!(kept.recall("both", &files), None);
        // they changed while something was made of them
        kept.remember("late", &files, &before, "x");
        assert_eq!(kept.recall("late", &files), None);
        write(&b, b"two", Duration::ZERO);
        assert!(kept.before(&files).is_none(), "just now");
    }

    #[test]
    fn a_file_that_has_just_changed_and_a_damaged_entry_are_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, file) = (Fingerprints::at(folder.path().join("kept")), folder.path().join("weights"));
        write(&file, b"one", Duration::ZERO);
        kept.read(&file).unwrap();
        assert_eq!(kept.known(&file), None);
        write(&file, b"one", Duration::from_secs(60));
        kept.read(&file).unwrap();
        let place = kept.place(&file).unwrap();
        let text = fs::read_to_string(&place).unwrap();
        for damaged in ["", "\n", &text[..70], &text[1..], &format!("{text}more")] {
            fs::write(&place, damaged).unwrap();
            assert_eq!(kept.known(&file), None, "{damaged:?}");
        }
        fs::write(&place, text).unwrap();
        assert!(kept.known(&file).is_some());
    }
}
