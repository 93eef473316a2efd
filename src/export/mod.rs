//! What others read: RobustBench's and AutoAttack's forms, a table for data frames, a bundle to be verified elsewhere. Made
//! of the store alone; the bundle adds the models that only this machine has.
//!
//! To add a format: a file, a `mod` line, a line in [`FORMATS`].

mod autoattack_log;
mod evaluation;
mod robustbench_json;
mod table;
mod tar;

pub use tar::unpack;

use crate::error::Result;
use crate::store::Store;
use std::path::{Path, PathBuf};

/// A form of a run.
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    write: fn(&Request) -> Result<Written>,
}

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

/// Every format.
pub const FORMATS: [Format; 4] = [
    Format {
        name: "robustbench-json",
        summary: "one entry of RobustBench's model_info a model, dataset, norm and eps",
        write: robustbench_json::write,
    },
    Format {
        name: "autoattack-log",
        summary: "one log in AutoAttack's sentences a model, dataset, norm and eps",
        write: autoattack_log::write,
    },
    Format {
        name: "parquet",
        summary: "one table, a row an image and cell with all that is known of both",
        write: table::write,
    },
    Format {
        name: "tar",
        summary: "the run as a bundle that anybody verifies, with the models that only this machine has",
        write: tar::write,
    },
];

impl Format {
    /// Writes a run.
    pub fn write(&self, request: &Request) -> Result<Written> {
        (self.write)(request)
    }
}

/// A name as part of a file's name: what is no letter, digit, `-`, `_` or `.` becomes `_`.
fn file_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
