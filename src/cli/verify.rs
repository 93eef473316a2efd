//! `verify RUN`.

use super::Options;
use super::registries::print;
use crate::error::{Error, Result};
use crate::export;
use crate::report;
use crate::store::Store;
use crate::sweep::verify;
use std::path::Path;

/// Problems printed one by one; the rest are counted.
const SHOWN: usize = 50;

/// Checks a run, or a bundle of one.
pub fn verify(run: &Path, options: &Options) -> Result<()> {
    if !run.is_file() {
        return verify_store(&Store::open(run)?, options);
    }
    let folder = tempfile::tempdir().map_err(Error::io("create a folder in", &std::env::temp_dir()))?;
    verify_store(&Store::open(&export::unpack(run, folder.path())?)?, options)
}

/// Checks cells, tables and figures of a run; says on stdout what was checked.
fn verify_store(store: &Store, options: &Options) -> Result<()> {
    let mut findings = verify::verify(store, &options.source(), &options.machine()?)?;
    if findings.problems.is_empty() {
        findings.problems.extend(report::stale(store)?);
    }
    findings.absent.iter().for_each(|line| eprintln!("{line}"));
    if findings.unplanned > 0 {
        eprintln!("{} stored cells are not in the plan: only their bytes were checked", findings.unplanned);
    }
    for problem in findings.problems.iter().take(SHOWN) {
        eprintln!("{problem}");
    }
    let own = match findings.absent.len() {
        0 => String::new(),
        n => format!(" {n} subsets held to no dataset,"),
    };
    let line = format!(
        "{} cells, {} witnesses, {} successes{} verified,{own} {} undecided at the boundary, {} problems\n",
        findings.cells,
        findings.witnesses,
        findings.successes,
        beside(&findings),
        findings.undecided,
        findings.problems.len()
    );
    print(line.as_bytes())?;
    match findings.problems.first() {
        None => Ok(()),
        Some(first) => Err(Error::Verify(format!("{} problems, first: {first}", findings.problems.len()))),
    }
}

/// What was checked beside the cells, where there is something.
fn beside(findings: &verify::Findings) -> String {
    let parts = [(findings.transfers, "transfers"), (findings.maps, "maps")];
    parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect()
}
