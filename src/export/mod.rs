//! What others read: RobustBench's and AutoAttack's forms, a table for data frames, a bundle to be verified elsewhere. Made
//! of the store alone; the bundle adds the models that only this machine has.
//!
//! To add a format: a file, a `mod` line, a line in [`FORMATS`].

mod autoattack_log;
mod evaluation;
mod request;
mod robustbench_json;
mod table;
mod tar;
mod unpack;

pub use request::{Request, Written};
pub use unpack::unpack;

use crate::error::{Error, Result};
use crate::store::Store;
use request::file_name;
use std::path::{Component, Path, PathBuf};

/// A form of a run.
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    write: fn(&Request) -> Result<Written>,
}

/// Every format.
pub const FORMATS: [Format; 4] = [
    Format {
        name: "robustbench-json",
        summary: "one entry in RobustBench's model_info form per model, dataset, norm and eps",
        write: robustbench_json::write,
    },
    Format {
        name: "autoattack-log",
        summary: "one log in AutoAttack's words per model, dataset, norm and eps",
        write: autoattack_log::write,
    },
    Format {
        name: "parquet",
        summary: "one table with a row per image and cell, and all that is known of both",
        write: table::write,
    },
    Format {
        name: "tar",
        summary: "the run as a bundle that anybody can verify, with the models that only this machine has",
        write: tar::write,
    },
];

impl Format {
    /// Writes a run; not into its own folder, whose files are the run.
    pub fn write(&self, request: &Request) -> Result<Written> {
        let [to, run] = [request.to, request.store.dir()].map(|path| resolved(path).map_err(Error::io("find", path)));
        if to?.starts_with(run?) {
            return Err(Error::usage(format!(
                "{} lies in the run's own folder, where it would be taken for a part of the run (hint: --to DIR, elsewhere)",
                request.to.display()
            )));
        }
        (self.write)(request)
    }
}

/// Where a run is written where nothing else is asked for: `export/<name>`, so that two runs do not meet.
pub fn folder(store: &Store) -> Result<PathBuf> {
    Ok(Path::new("export").join(file_name(&store.read_plan()?.name)))
}

/// A path without links, `.` and `..`, whether it exists or not.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let mut at = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => drop(at.pop()),
            part => at.push(part),
        }
        at = at.canonicalize().unwrap_or(at);
    }
    Ok(at)
}
