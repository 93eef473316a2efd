//! Files that are there whole or not at all.

use crate::disk;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file under way; dropped before [`Pending::finish`], it is gone.
pub struct Pending {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Pending {
    /// Begins a file, and makes its folder. It grows beside its place, under a name that no other process has.
    pub fn at(path: PathBuf) -> Result<Pending> {
        let folder = path.parent().expect("a file in a folder");
        let mut beside = tempfile::Builder::new();
        beside.prefix(TEMPORARY);
        // as `File::create` has it: the umask decides who may read
        #[cfg(unix)]
        beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = match beside.tempfile_in(folder) {
            // asked for only where it is missing: a network file system is slow to say that it is there
            Err(problem) if problem.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(folder).map_err(Error::io("create folder", folder))?;
                beside.tempfile_in(folder)
            }
            result => result,
        };
        let file = file.map_err(Error::io("create", &path))?;
        Ok(Pending { path, file: BufWriter::with_capacity(1 << 20, file) })
    }

    /// Adds bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Puts it into its place.
    pub fn finish(self) -> Result<()> {
        let (path, file) = self.synced()?;
        file.persist(&path).map_err(|e| Error::io("rename into", &path)(e.error))?;
        sync_dir(path.parent().expect("below the run"))
    }

    /// Puts it into its place if that is free, and gives it back where it is not: it is gone when it is dropped. For files that are
    /// sealed: after a power failure one may be there, and damaged.
    pub fn finish_first(self) -> Result<Option<NamedTempFile>> {
        let (path, file) = self.written()?;
        match file.persist_noclobber(&path) {
            // one wait for the disk, for bytes and name: a file that was renamed is synced with its name (ext4, XFS, Btrfs)
            Ok(file) => disk::sync(&file, &path).map(|()| None).map_err(Error::io("sync", &path)),
            Err(problem) if path.exists() => Ok(Some(problem.file)),
            Err(problem) => Err(Error::io("rename into", &path)(problem.error)),
        }
    }

    /// Puts it into its place without waiting for the disk: for what may be lost.
    pub fn finish_soon(self) -> Result<()> {
        let (path, file) = self.written()?;
        file.persist(&path).map(drop).map_err(|e| Error::io("rename into", &path)(e.error))
    }

    fn written(self) -> Result<(PathBuf, NamedTempFile)> {
        let Pending { path, file } = self;
        let file = file.into_inner().map_err(|e| Error::io("write", &path)(e.into_error()))?;
        Ok((path, file))
    }

    fn synced(self) -> Result<(PathBuf, NamedTempFile)> {
        let (path, file) = self.written()?;
        disk::sync(file.as_file(), &path).map_err(Error::io("sync", &path))?;
        Ok((path, file))
    }
}

/// Prefix of files and folders that are still being written.
pub const TEMPORARY: &str = ".tmp-";

/// Removes a file, or a folder with all in it.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(Error::io("remove", path))
}

/// Writes a file, and waits until it is on the disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    disk::sync(&file, path).map_err(Error::io("sync", path))
}

/// Waits until the names in a folder are on the disk. Windows opens no folder as a file, and keeps a log of names.
pub fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(path).and_then(|folder| disk::sync(&folder, path)).map_err(Error::io("sync folder", path))
}
