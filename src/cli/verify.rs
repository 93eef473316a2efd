//! `verify RUN`.

use super::options::Options;
use super::registries::print;
use crate::error::{Error, Result};
use crate::export;
use crate::notice::say;
use crate::report;
use crate::store::Store;
use crate::sweep::verify;
use std::path::Path;

/// Problems printed one by one; the rest are counted.
const SHOWN: usize = 50;

/// Checks a run, or a bundle of one.
pub fn verify(run: &Path, options: &Options) -> Result<()> {
    if !run.is_file() {
        return verify_store(&Store::open(run)?, "", options);
    }
    let folder = tempfile::tempdir().map_err(Error::io("create a folder in", &std::env::temp_dir()))?;
    let rest = folder.path().to_path_buf();
    let interrupted = move || {
        std::fs::remove_dir_all(&rest).ok();
        std::process::exit(i32::from(Error::Interrupted.exit_code()));
    };
    ctrlc::set_handler(interrupted).map_err(|e| {
        Error::usage(format!("cannot listen for Ctrl-C: {e} (hint: please report it, with `foolproof doctor`)"))
    })?;
    let unpacked = export::unpack(run, folder.path())?;
    verify_store(&Store::open(&unpacked)?, &format!("{}/", folder.path().display()), options)
}

/// Checks cells, tables and figures of a run; says on stdout what was checked. Of paths that are printed the reader knows
/// nothing before `unpacked`.
fn verify_store(store: &Store, unpacked: &str, options: &Options) -> Result<()> {
    let mut findings = verify::verify(store, &options.source(), &options.machine()?)?;
    if findings.problems.is_empty() {
        findings.problems.extend(report::stale(store)?);
    }
    let plain = |text: &str| plain(&if unpacked.is_empty() { text.into() } else { text.replace(unpacked, "") });
    findings.absent.iter().for_each(|line| say(plain(line)));
    findings.out_of_reach.iter().take(SHOWN).for_each(|line| say(plain(line)));
    if findings.unplanned > 0 {
        say(format_args!("{} stored cells are not in the plan: only their bytes were checked", findings.unplanned));
    }
    for problem in findings.problems.iter().take(SHOWN) {
        say(plain(problem));
    }
    let line = format!(
        "{} cells, {} witnesses, {} successes{} verified,{} {} undecided at the boundary, {} problems\n",
        findings.cells,
        findings.witnesses,
        findings.successes,
        counts(&[(findings.transfers, ", {} transfers"), (findings.maps, ", {} maps")]),
        counts(&[
            (findings.absent.len(), " {} subsets held to no dataset,"),
            (findings.brought, " {} models that came with the run,"),
            (findings.out_of_reach.len(), " {} cells out of reach,")
        ]),
        findings.undecided,
        findings.problems.len()
    );
    print(line.as_bytes())?;
    match (findings.problems.first(), findings.out_of_reach.first()) {
        (None, None) => Ok(()),
        (None, Some(first)) => Err(Error::Absent(format!(
            "{} cells could not be checked, first: {}",
            findings.out_of_reach.len(),
            plain(first)
        ))),
        (Some(first), _) => {
            Err(Error::Verify(format!("{} problems, first: {}", findings.problems.len(), plain(first))))
        }
    }
}

/// Counts of what there is any of, each in its words.
fn counts(parts: &[(usize, &str)]) -> String {
    parts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| words.replace("{}", &n.to_string())).collect()
}

/// Text of a run that may come from anywhere, on one line and without a word to the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}
