//! Where data comes from.

use super::given::Given;
use crate::fingerprint::Fingerprints;
use crate::hub::Hub;
use crate::record::Inputs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where datasets that are not built in come from.
#[derive(Debug, Clone)]
pub struct Source {
    folder: PathBuf,
    /// For datasets and models of the Hub.
    pub hub: Hub,
    /// Files that were hashed before.
    pub fingerprints: Fingerprints,
    /// Folder of all runs, each of which keeps the images that it attacks; `None`: none is known.
    pub runs: Option<PathBuf>,
    /// Images that a run keeps, by their digest.
    pub kept: Kept,
    /// No more images than so many are attacked of any data; `None`: no limit.
    pub limit: Option<usize>,
    /// What the command line gives; `None`: nothing, as a rule.
    pub given: Option<Arc<Given>>,
}

impl Source {
    /// The folder in the environment variable `FOOLPROOF_DATA`, else `datasets`, and the Hub as the environment says.
    pub fn from_env() -> Source {
        let folder = std::env::var_os("FOOLPROOF_DATA").map_or_else(|| "datasets".into(), PathBuf::from);
        Source { fingerprints: Fingerprints::from_env(), hub: Hub::from_env(), ..Source::new(folder) }
    }

    /// This folder, and no Hub.
    pub fn new(folder: impl AsRef<Path>) -> Source {
        let (folder, fingerprints) = (folder.as_ref().to_path_buf(), Fingerprints::none());
        let (runs, kept) = (None, Kept::default());
        Source { folder, hub: Hub::none(), fingerprints, runs, kept, limit: None, given: None }
    }

    /// The same, with images that a run keeps.
    pub fn with(&self, kept: Kept) -> Source {
        Source { kept, ..self.clone() }
    }

    /// The folder of the data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Reads images that are kept somewhere.
#[derive(Clone, Default)]
pub struct Kept(Option<Arc<Read>>);

type Read = dyn Fn(&str) -> Option<Inputs> + Send + Sync;

impl Kept {
    /// By their digest.
    pub fn by(read: impl Fn(&str) -> Option<Inputs> + Send + Sync + 'static) -> Kept {
        Kept(Some(Arc::new(read)))
    }

    /// The images of this digest, if they are kept; whoever takes them holds them to it.
    pub fn images(&self, digest: &str) -> Option<Inputs> {
        self.0.as_ref()?(digest)
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, to: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(to, "Kept({})", if self.0.is_some() { "somewhere" } else { "nowhere" })
    }
}
