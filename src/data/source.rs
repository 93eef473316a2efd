//! Where data comes from.

use super::given::Given;
use crate::hub::Hub;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where datasets that are not built in come from.
#[derive(Debug, Clone)]
pub struct Source {
    folder: PathBuf,
    /// For datasets and models of the Hub.
    pub hub: Hub,
    /// No more images than so many are attacked of any data; `None`: no limit.
    pub limit: Option<usize>,
    /// What the command line gives; `None`: nothing, as a rule.
    pub given: Option<Arc<Given>>,
}

impl Source {
    /// The folder in the environment variable `FOOLPROOF_DATA`, else `datasets`, and the Hub as the environment says.
    pub fn from_env() -> Source {
        let folder = std::env::var_os("FOOLPROOF_DATA").map_or_else(|| "datasets".into(), PathBuf::from);
        Source { folder, hub: Hub::from_env(), limit: None, given: None }
    }

    /// This folder, and no Hub.
    pub fn new(folder: impl AsRef<Path>) -> Source {
        Source { folder: folder.as_ref().to_path_buf(), hub: Hub::none(), limit: None, given: None }
    }

    /// The folder of the data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
