//! `verify RUN`.

use super::Options;
use super::registries::print;
use crate::error::{Error, Result};
use crate::report;
use crate::store::Store;
use crate::sweep::verify;
use std::fs::File;
use std::io::Read;

/// Problems printed one by one; the rest are counted.
const SHOWN: usize = 50;

/// Checks cells, tables and figures of a run; says on stdout what was checked.
pub fn verify(store: &Store, options: &Options) -> Result<()> {
    let mut findings = verify::verify(store, &options.source(), &options.machine()?)?;
    if findings.problems.is_empty() {
        findings.problems.extend(stale_reports(store)?);
    }
    if findings.unplanned > 0 {
        eprintln!("{} stored cells are not in the plan: only their bytes were checked", findings.unplanned);
    }
    for problem in findings.problems.iter().take(SHOWN) {
        eprintln!("{problem}");
    }
    let line = format!(
        "{} cells, {} witnesses, {} successes{} verified, {} undecided at the boundary, {} problems\n",
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

/// Tables and figures that are not what the cells give. A report that was never written is none.
fn stale_reports(store: &Store) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let run = report::Run::read(store)?;
    problems.extend(stale_images(&run)?.map(|cell| problem(&cell, report::IMAGES)));
    for (path, bytes) in report::render(&run)? {
        if !store.dir().join(&path).exists() {
            continue;
        }
        let stored = store.read_bytes(&path)?;
        if stored != bytes {
            let csv = path.ends_with(".csv");
            let cell = if csv { first_cell_that_differs(&stored, &bytes) } else { "all cells".into() };
            problems.push(problem(&cell, &path));
        }
    }
    Ok(problems)
}

fn problem(cell: &str, path: &str) -> String {
    format!("{cell}: {path} is not what the cells give (hint: `foolproof report` writes it anew)")
}

/// The first cell whose rows in the table of all images are others; it is compared as it is made.
fn stale_images(run: &report::Run) -> Result<Option<String>> {
    let path = run.store.dir().join(report::IMAGES);
    if !path.exists() {
        return Ok(None);
    }
    let mut stored = File::open(&path).map_err(Error::io("read", &path))?;
    let mut differs = None;
    report::images(run, &mut |cell, rows| {
        let mut there = Vec::with_capacity(rows.len());
        Read::by_ref(&mut stored).take(rows.len() as u64).read_to_end(&mut there).map_err(Error::io("read", &path))?;
        if there != rows {
            differs.get_or_insert(if cell.is_empty() { "all cells".to_string() } else { format!("cell {cell}") });
        }
        Ok(())
    })?;
    let rest = stored.read(&mut [0]).map_err(Error::io("read", &path))?;
    Ok(differs.or((rest > 0).then(|| "all cells".to_string())))
}

/// Names the cell in the first line of a table that is not as it should be; the heading speaks of all.
fn first_cell_that_differs(stored: &[u8], expected: &[u8]) -> String {
    let mut stored = stored.split(|b| *b == b'\n');
    let mut lines = expected.split(|b| *b == b'\n').enumerate();
    match lines.find(|(_, line)| stored.next() != Some(line)) {
        Some((i, line)) if i > 0 && !line.is_empty() => {
            let id = line.split(|b| *b == b',').next().unwrap_or_default();
            format!("cell {}", String::from_utf8_lossy(id))
        }
        _ => "all cells".into(),
    }
}
