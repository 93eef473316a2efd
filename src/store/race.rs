//! Several processes that write one run: who comes second compares.

use super::pending::{TEMPORARY, remove, sync_dir, write_synced};
use super::{BINARISED, EXPLANATIONS, IMAGES, LAYER, PROVENANCE, Store};
use crate::digest;
use crate::error::{Error, Result};
use crate::record::Provenance;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Where what was computed twice, and differently, is kept: both are.
const CONFLICTS: &str = "conflicts";

/// What to do where somebody has stored the same already.
enum Rival {
    /// It says the same, or more: leave it.
    Keep,
    /// It is damaged, failed, or of another layer: take its place.
    Replace,
    /// It says something else.
    Differs,
}

impl Store {
    /// Stores a folder of files with their digests, all of it or nothing. Rename alone decides who is first: it never replaces a
    /// folder that has files.
    pub(super) fn put_files(
        &self,
        shelf: &str,
        id: &str,
        files: Vec<(&str, Vec<u8>)>,
        mut provenance: Provenance,
    ) -> Result<()> {
        provenance.files = files.iter().map(|(name, bytes)| (name.to_string(), digest::sha256(bytes))).collect();
        let sealed = digest::seal(&serde_json::to_string_pretty(&provenance).expect("plain data"));
        let folder = self.dir.join(shelf);
        let beside = temporary_folder(&folder)?;
        for (name, bytes) in files.iter().map(|(n, b)| (*n, b.as_slice())).chain([(PROVENANCE, sealed.as_bytes())]) {
            write_synced(&beside.path().join(name), bytes)?;
        }
        sync_dir(beside.path())?;
        let place = folder.join(id);
        loop {
            match fs::rename(beside.path(), &place) {
                Ok(()) => break,
                Err(_) if place.exists() => match self.rival(shelf, id, &provenance) {
                    Rival::Keep => return Ok(()),
                    // moved, not removed, so that a kill never leaves half of it
                    Rival::Replace => {
                        let old = temporary_folder(&folder)?;
                        fs::rename(&place, old.path().join(id)).map_err(Error::io("rename", &place))?;
                    }
                    Rival::Differs => return Err(self.conflict(&format!("{shelf}/{id}"), beside.path())),
                },
                Err(problem) => return Err(Error::io("rename into", &place)(problem)),
            }
        }
        sync_dir(&folder)
    }

    /// What another process, or an earlier run, has stored in the same place.
    fn rival(&self, shelf: &str, id: &str, ours: &Provenance) -> Rival {
        // whoever is alone replaces a failed cell, maps of another layer, or a test on other images
        let (true, Ok(there)) = (self.is_shared, self.provenance(shelf, id)) else { return Rival::Replace };
        if ours.error.is_some() || there.files == ours.files {
            return Rival::Keep;
        }
        let other = |of: &str, file: &str| shelf == of && there.files.get(file) != ours.files.get(file);
        if there.error.is_some() || other(EXPLANATIONS, LAYER) || other(BINARISED, IMAGES) {
            Rival::Replace
        } else {
            Rival::Differs
        }
    }

    /// Keeps what differs from what is stored, and says where.
    pub(super) fn conflict(&self, name: &str, beside: &Path) -> Error {
        let kept = self.dir.join(CONFLICTS).join(name.replace('/', "-"));
        // one conflict of a place is enough to know of it
        let kept_now = fs::create_dir_all(kept.parent().expect("below the run"))
            .and_then(|()| if kept.exists() { Ok(()) } else { fs::rename(beside, &kept) });
        let place = match kept_now {
            Ok(()) => kept.display().to_string(),
            Err(problem) => format!("nowhere: {problem}"),
        };
        Error::Store(format!(
            "{name} was computed twice, and differently; the second is kept at {place} (hint: was it on machines of two kinds? \
             `foolproof doctor` on both; delete the wrong one)"
        ))
    }
}

/// A folder that is still being written, under a name that no other process has; gone when it is dropped.
fn temporary_folder(shelf: &Path) -> Result<TempDir> {
    fs::create_dir_all(shelf).map_err(Error::io("create folder", shelf))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(shelf).map_err(Error::io("create folder in", shelf))
}

/// Removes what is there; what another process has removed meanwhile is none the less gone.
pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match remove(path) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
