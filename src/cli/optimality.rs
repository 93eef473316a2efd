//! `optimality RUN…`.

use super::registries::print;
use crate::analysis::optimality::{Reference, Rule, entrants, scores};
use crate::analysis::{Run, Summary};
use crate::error::{Error, Result};
use crate::notice::say;
use crate::report::tables::optimality as tables;
use crate::store::Store;
use clap::builder::{PossibleValue, PossibleValuesParser};
use std::fs;
use std::path::{Path, PathBuf};

/// Arguments of `optimality`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Names below --out, or paths
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write the scores
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the optimality at every budget of passes
    #[arg(long, value_name = "FILE")]
    curve: Option<PathBuf>,
    /// Measure against the least distances of this file, not those of these runs
    #[arg(long, value_name = "FILE")]
    frozen: Option<PathBuf>,
    /// Write the least distances of these runs for --frozen, and no scores
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "curve", "frozen", "rule"])]
    bless: Option<PathBuf>,
    /// How areas are measured: exactly, or as AttackBench does
    #[arg(long, value_name = "RULE", default_value = "steps", value_parser = rules())]
    rule: String,
}

fn rules() -> PossibleValuesParser {
    PossibleValuesParser::new(Rule::ALL.iter().map(|(name, _)| PossibleValue::new(name)))
}

/// Scores the minimal attacks of some runs, or freezes what they found. `find` looks for a run.
pub fn optimality(arguments: &Arguments, find: &dyn Fn(&Path) -> PathBuf) -> Result<()> {
    let stores = arguments.runs.iter().map(|run| Store::open(&find(run))).collect::<Result<Vec<_>>>()?;
    let runs = stores.iter().map(Run::read_whole).collect::<Result<Vec<_>>>()?;
    let cells: Vec<&Summary> = runs.iter().flat_map(|run| &run.cells).collect();
    let entrants = entrants(cells.iter().copied());
    say_what_is_left_out(&cells);
    if entrants.is_empty() {
        return Err(Error::usage(
            "no complete cell looks for the least distance (hint: `threats = [{ norm = \"l2\", minimal = true }]` in the \
             sweep file)",
        ));
    }
    if let Some(path) = &arguments.bless {
        let (pools, images) = Reference::bless(&entrants, path)?;
        let bytes = fs::metadata(path).map_err(Error::io("read", path))?.len();
        return print(format!("{}: {pools} pools, {images} images, {bytes} bytes\n", path.display()).as_bytes());
    }
    let frozen = arguments.frozen.as_deref().map(Reference::read).transpose()?;
    let rule = Rule::ALL.iter().find(|(name, _)| *name == arguments.rule).expect("clap knows the names").1;
    let scores = scores(&entrants, frozen.as_ref(), rule)?;
    if let Some(path) = &arguments.csv {
        fs::write(path, tables::rows(&scores, rule)?).map_err(Error::io("write", path))?;
    }
    if let Some(path) = &arguments.curve {
        fs::write(path, tables::curve(&scores)?).map_err(Error::io("write", path))?;
    }
    print(tables::text(&runs[0], &scores).as_bytes())
}

/// One line, where something of the runs takes no part.
fn say_what_is_left_out(cells: &[&Summary]) {
    let fixed = cells.iter().filter(|s| !s.cell.threat.eps.is_minimal()).count();
    let incomplete = cells.iter().filter(|s| s.cell.threat.eps.is_minimal() && s.status != "ok").count();
    let reasons = [(fixed, "of fixed budgets"), (incomplete, "that failed or are missing")];
    let told: Vec<String> = reasons.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !told.is_empty() {
        say(format_args!("cells left out: {}", told.join(", ")));
    }
}
