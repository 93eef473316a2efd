//! `export RUN`.

use super::registries::print;
use crate::error::Result;
use crate::export::{self, FORMATS, Request};
use crate::notice::say;
use crate::store::Store;
use clap::builder::{PossibleValue, PossibleValuesParser};
use std::path::{Path, PathBuf};

/// Arguments of `export`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name below --out, or path
    pub run: PathBuf,
    /// Format
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    format: String,
    /// Folder to write to [default: export/ and the run's name]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// A bundle without the weights that only this machine has
    #[arg(long)]
    without_weights: bool,
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(FORMATS.iter().map(|f| PossibleValue::new(f.name).help(f.summary)))
}

/// Writes a run in a form, and prints the paths.
pub fn export(arguments: &Arguments, dir: &Path) -> Result<()> {
    let store = Store::open(dir)?;
    let format = FORMATS.iter().find(|f| f.name == arguments.format).expect("clap knows the names");
    let to = arguments.to.clone().map_or_else(|| export::folder(&store), Ok)?;
    let request = Request { store: &store, to: &to, weights: !arguments.without_weights };
    let written = format.write(&request)?;
    written.notes.iter().for_each(say);
    let paths: String = written.files.iter().map(|path| format!("{}\n", path.display())).collect();
    print(paths.as_bytes())
}
