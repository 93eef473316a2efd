//! Where data comes from.

use super::given::Given;
use crate::fingerprint::Fingerprints;
use crate::hub::Hub;
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
        Source { folder, hub: Hub::none(), fingerprints, limit: None, given: None }
    }

    /// The folder of the data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
