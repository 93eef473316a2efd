//! What a form is asked for, and what it wrote.

use crate::store::Store;
use std::path::{Path, PathBuf};

/// What is asked for.
pub struct Request<'a> {
    /// The run.
    pub store: &'a Store,
    /// Folder of what is written.
    pub to: &'a Path,
    /// Whether a bundle holds the models that only this machine has.
    pub weights: bool,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// Paths.
    pub files: Vec<PathBuf>,
    /// What was left out, and what to know of it.
    pub notes: Vec<String>,
}

/// A name as part of a file's name: what is no letter, digit, `-`, `_` or `.` becomes `_`, and so does a dot at the beginning.
pub fn file_name(text: &str) -> String {
    let plain = |(i, c): (usize, char)| c.is_ascii_alphanumeric() || "-_".contains(c) || c == '.' && i > 0;
    text.chars().enumerate().map(|(i, c)| if plain((i, c)) { c } else { '_' }).collect()
}
