//! What some file systems cannot do: lock, and say when bytes are safe.

use crate::error::{Error, Result};
use crate::notice::say;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Once;

/// Whether an error of locking says that the file system knows no locks. NFS without a lock service says ENOLCK, others
/// EOPNOTSUPP or ENOSYS.
pub fn knows_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    let none = error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error());
    #[cfg(not(unix))]
    let none = false;
    none || error.kind() == ErrorKind::Unsupported
}

/// Whether an error of syncing says that the file system cannot say when bytes are safe, rather than that they are not. Some that
/// run in user space or over a network say EINVAL, others EOPNOTSUPP or ENOSYS.
pub fn knows_no_sync(error: &io::Error) -> bool {
    [ErrorKind::InvalidInput, ErrorKind::Unsupported].contains(&error.kind())
}

/// Waits until the bytes of a file, or the entries of a folder, are on the disk. One that cannot say so is told of once a process,
/// and taken at its word: every file here is checked against its digest when it is read.
///
/// # Errors
/// Those of the operating system that say that the bytes are not on the disk.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    static TOLD: Once = Once::new();
    match file.sync_all() {
        Err(problem) if knows_no_sync(&problem) => {
            let folder = path.parent().unwrap_or(path).display();
            TOLD.call_once(|| {
                say(format_args!(
                    "warning: the disk of {folder} cannot say when files are safe (fsync: {problem}); what is written just \
                     before a power failure may be lost, and is then told and computed again"
                ));
            });
            Ok(())
        }
        result => result,
    }
}

/// A file in place of the one before, whole or not at all; its folder is made. The umask decides who may read it.
///
/// # Errors
/// Those of the operating system.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let mut beside = tempfile::Builder::new();
    #[cfg(unix)]
    beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = beside.tempfile_in(folder).map_err(Error::io("write in", folder))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    sync(file.as_file(), path).map_err(Error::io("sync", path))?;
    file.persist(path).map(drop).map_err(|e| Error::io("rename into", path)(e.error))
}

/// Name of this machine, by which those that share a disk are told apart; empty where the system does not say.
pub fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    name
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn error(code: Errno) -> io::Error {
        io::Error::from_raw_os_error(code.raw_os_error())
    }

    #[test]
    fn what_a_disk_cannot_do_is_told_from_what_went_wrong() {
        let locks = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS].map(error);
        assert!(locks.iter().all(knows_no_locks));
        let syncs = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS].map(error);
        assert!(syncs.iter().all(knows_no_sync));
        for wrong in [Errno::IO, Errno::NOSPC, Errno::ACCESS, Errno::DQUOT, Errno::ROFS].map(error) {
            assert!(!knows_no_locks(&wrong) && !knows_no_sync(&wrong), "{wrong}");
        }
        assert!(!knows_no_locks(&error(Errno::WOULDBLOCK)));
    }
}
