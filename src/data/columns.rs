//! Which columns of a file are read.

/// Names of the columns; `None`: the usual ones.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Encoded pictures.
    pub image: Option<String>,
    /// Whole numbers.
    pub label: Option<String>,
}
