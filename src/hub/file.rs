//! A file of a repository, as it is asked for.

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Weights.
    Model,
    /// Images with labels.
    Dataset,
}

/// A file of a repository on the Hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteFile {
    /// Of which kind of repository.
    pub kind: Kind,
    /// `owner/name`.
    pub repository: String,
    /// A commit (40 hexadecimal digits), branch or tag.
    pub revision: String,
    /// Path inside the repository.
    pub path: String,
    /// SHA-256 that it must have; `None`: unpinned.
    pub sha256: Option<String>,
}
