//! What the command line gives in place of a dataset.

use std::path::{Path, PathBuf};

/// Pictures, and the classes of the network that they are shown to.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Picture files.
    pub files: Vec<PathBuf>,
    /// What the network says of each: what it is to be led away from.
    pub labels: Vec<usize>,
    /// Names of the network's classes, by label.
    pub classes: Vec<String>,
}

impl Given {
    /// Names of the files, without their folders.
    pub fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| name_of(file)).collect()
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
