//! Runs that are stopped and taken up again, and what they leave.
#![allow(dead_code)] // each test binary uses its part

use super::support::machine;
use foolproof::data::Source;
use foolproof::error::Error;
use foolproof::store::Store;
use foolproof::sweep::plan;
use foolproof::sweep::run::{self, Event};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Runs a sweep into a folder, until `stop`.
pub fn attempt(text: &str, folder: &Path, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<run::Done, Error> {
    let plan = plan::parse(Path::new("x.toml"), text, &Source::new("nowhere")).unwrap();
    run::run(&plan, &Store::create(folder).unwrap(), &machine(None), stop, tell)
}

/// Every file of cells, fits and maps but provenance, which holds times.
pub fn results(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for shelf in ["cells", "fits", "explanations"] {
        for entry in fs::read_dir(folder.join(shelf)).into_iter().flatten().flatten() {
            for file in fs::read_dir(entry.path()).unwrap().flatten() {
                if file.file_name() != "provenance.json" {
                    let path = file.path().strip_prefix(folder).unwrap().to_path_buf();
                    files.insert(path, fs::read(file.path()).unwrap());
                }
            }
        }
    }
    files
}
