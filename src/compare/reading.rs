//! What lies at a path, read into a [`Side`].

use super::side::Side;
use super::{baseline, criterion};
use crate::error::{Error, Result};
use crate::store::Store;
use std::path::Path;

impl Side {
    /// Reads whatever lies at `path`: a baseline file, a run, or a folder of criterion.
    pub fn read(path: &Path) -> Result<Side> {
        if path.is_file() {
            return baseline::read(path);
        }
        if path.join("cells").is_dir() {
            return Side::of_run(Store::open(path)?);
        }
        let benches = criterion::read(path)?;
        match benches.is_empty() {
            false => Ok(Side::of_benches(path, benches)),
            true => Err(Error::usage(format!(
                "nothing to compare at {} (hint: a baseline file, a run below --out by its name or path, or a folder of \
                 criterion like target/criterion)",
                path.display()
            ))),
        }
    }
}
