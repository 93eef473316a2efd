//! `compare BASELINE RUN` and `bless RUN`.

use super::registries::print;
use crate::compare::{self, FailOn, Rules, Side};
use crate::error::{Error, Result};
use crate::notice::say;
use std::fs;
use std::path::{Path, PathBuf};

/// Arguments of `compare`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A baseline file, a run (its name below --out, or path), or a folder of criterion
    baseline: PathBuf,
    /// What is compared with it: any of the same three
    run: PathBuf,
    /// Exit with 3 on: regressed, changed, slower=10% (a list, or several times)
    #[arg(long, value_name = "RULES", value_delimiter = ',', value_parser = fail_on)]
    fail_on: Vec<FailOn>,
    /// Chance of any false alarm, over all cells
    #[arg(long, value_name = "P", default_value = "0.05", value_parser = probability)]
    alpha: f64,
    /// Least change of an accuracy, in points
    #[arg(long, value_name = "POINTS", default_value = "0.5", value_parser = points)]
    min_effect: f64,
    /// Write a page for a pull request
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write JUnit XML, one test case per cell
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write everything that was found
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Compares, prints, writes, and fails where a rule says so. `find` looks for a run.
pub fn compare(arguments: &Arguments, find: &dyn Fn(&Path) -> PathBuf) -> Result<()> {
    let read = |path: &PathBuf| Side::read(&find(path));
    let (baseline, run) = (read(&arguments.baseline)?, read(&arguments.run)?);
    if baseline.cells.is_empty() && baseline.benches.is_empty() {
        return Err(Error::usage(format!("{} holds nothing to compare (hint: bless a run anew)", baseline.path)));
    }
    let slower = arguments.fail_on.iter().find_map(|rule| match rule {
        FailOn::Slower(threshold) => Some(*threshold),
        _ => None,
    });
    let defaults = Rules::default();
    let rules = Rules {
        alpha: arguments.alpha,
        min_effect: arguments.min_effect / 100.0,
        slower: slower.unwrap_or(defaults.slower),
    };
    let mut found = compare::compare(&baseline, &run, rules)?;
    found.judge(&arguments.fail_on);
    type Writer = fn(&compare::Comparison) -> String;
    let writers: [(&Option<PathBuf>, Writer); 3] = [
        (&arguments.markdown, compare::markdown),
        (&arguments.junit, compare::junit),
        (&arguments.json, compare::Comparison::json),
    ];
    for (path, writer) in writers {
        if let Some(path) = path {
            fs::write(path, writer(&found)).map_err(Error::io("write", path))?;
        }
    }
    print(compare::text(&found).as_bytes())?;
    if found.failures.is_empty() { Ok(()) } else { Err(Error::Gate(found.failures.join("; "))) }
}

/// Writes the baseline of a run.
pub fn bless(run: &Path, to: &Path) -> Result<()> {
    let side = Side::read(run)?;
    let (cells, benches) = (side.cells.len(), side.benches.len());
    let failed = side.cells.iter().filter(|c| matches!(c.result, compare::Outcomes::Failed(_))).count();
    if failed > 0 {
        say(format_args!(
            "{failed} cells failed and are blessed as failed: no comparison will speak of their outcomes"
        ));
    }
    let path = compare::bless(side, to)?;
    let bytes = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    print(format!("{}: {cells} cells, {benches} benches, {bytes} bytes\n", path.display()).as_bytes())
}

/// `regressed`, `changed`, `slower=10%`.
fn fail_on(text: &str) -> Result<FailOn, String> {
    let threshold = |text: &str| text.trim().strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
    match text.trim().split_once('=') {
        None if text.trim() == "regressed" => Ok(FailOn::Regressed),
        None if text.trim() == "changed" => Ok(FailOn::Changed),
        Some(("slower", by)) => match threshold(by).filter(|t| (0.0..=1000.0).contains(t)) {
            Some(percent) => Ok(FailOn::Slower(percent / 100.0)),
            None => Err(format!("`{by}` is no percentage (hint: slower=10%)")),
        },
        _ => Err("known: regressed, changed, slower=10%".into()),
    }
}

fn probability(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| *p > 0.0 && *p < 1.0).ok_or("a number between 0 and 1".into())
}

fn points(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| (0.0..=100.0).contains(p)).ok_or("a number from 0 to 100".into())
}
