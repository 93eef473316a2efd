//! The baseline file: what a comparison needs of a run, small enough to commit. JSON lines: a heading, then one line a cell
//! in the order of the plan, or one a bench. The same run gives the same bytes.

use super::side::{Bench, Measured, Outcomes, Side};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the file; readers refuse any other.
const SCHEMA: u32 = 1;

/// First line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    schema: u32,
    name: String,
    cells: usize,
    benches: usize,
}

/// Any line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Baseline(Heading),
    Cell(Box<Measured>),
    Bench(Bench),
}

/// The baseline of a side, in bytes.
pub fn render(side: Side) -> Result<String> {
    let side = side.with_marks()?;
    let (cells, benches) = (side.cells.len(), side.benches.len());
    let heading = Heading { schema: SCHEMA, name: side.name, cells, benches };
    let lines = [Line::Baseline(heading)]
        .into_iter()
        .chain(side.cells.into_iter().map(|cell| Line::Cell(Box::new(cell))))
        .chain(side.benches.into_iter().map(Line::Bench));
    Ok(lines.map(|line| serde_json::to_string(&line).expect("plain data") + "\n").collect())
}

/// Writes the baseline of a run, or of a folder of criterion, to `folder/<name>.jsonl`; returns the path. Refuses a run
/// that is not finished; failed cells are blessed as failed.
pub fn bless(side: Side, folder: &Path) -> Result<PathBuf> {
    if let Some(id) = side.absent.first() {
        let planned = side.cells.len() + side.absent.len();
        return Err(Error::usage(format!(
            "{} of {planned} cells are missing, first {id} (hint: run the sweep to its end, then bless)",
            side.absent.len()
        )));
    }
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !side.name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !side.name.chars().all(sound) {
        return Err(Error::usage(format!(
            "`{}` is no name for a file (hint: another `name` in the sweep file)",
            side.name
        )));
    }
    let path = folder.join(format!("{}.jsonl", side.name));
    let beside = folder.join(format!(".tmp-{}.jsonl", side.name));
    let text = render(side)?;
    fs::create_dir_all(folder).map_err(Error::io("create folder", folder))?;
    fs::write(&beside, text).map_err(Error::io("write", &beside))?;
    fs::rename(&beside, &path).map_err(Error::io("rename into", &path))?;
    Ok(path)
}

/// Reads a baseline file; each line is checked against itself.
pub fn read(path: &Path) -> Result<Side> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    // some editors and shells put a byte-order mark before what they save
    parse(text.trim_start_matches('\u{feff}'), path)
}

fn parse(text: &str, path: &Path) -> Result<Side> {
    let problem = |line: usize, what: &str| {
        Error::usage(format!(
            "{}:{line}: {what} (hint: `foolproof bless RUN` writes a baseline; bless the run anew)",
            path.display()
        ))
    };
    let mut heading = None;
    let (mut cells, mut benches, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = serde_json::from_str(line).map_err(|e| problem(number, &e.to_string()))?;
        match (line, &heading) {
            (Line::Baseline(h), None) if h.schema != SCHEMA => {
                return Err(problem(number, &format!("schema {}, this foolproof reads {SCHEMA}", h.schema)));
            }
            (Line::Baseline(h), None) => heading = Some(h),
            (Line::Baseline(_), Some(_)) => return Err(problem(number, "a second heading")),
            (_, None) => return Err(problem(number, "no heading in the first line")),
            (Line::Cell(cell), _) => {
                check(&cell).map_err(|what| problem(number, &what))?;
                if !ids.insert(cell.id.clone()) {
                    return Err(problem(number, &format!("cell {} a second time", cell.id)));
                }
                cells.push(*cell);
            }
            (Line::Bench(bench), _) if bench.nanoseconds.iter().any(|v| *v <= 0.0) => {
                return Err(problem(number, &format!("bench {}: a sample without a time", bench.name)));
            }
            (Line::Bench(bench), _) => benches.push(bench),
        }
    }
    match heading {
        Some(h) if (h.cells, h.benches) == (cells.len(), benches.len()) => Ok(Side::of(&h.name, path, cells, benches)),
        Some(h) => Err(problem(
            1,
            &format!(
                "the heading speaks of {} cells and {} benches, the file holds {} and {}",
                h.cells,
                h.benches,
                cells.len(),
                benches.len()
            ),
        )),
        None => Err(problem(1, "an empty file")),
    }
}

/// Whether a line belongs together.
fn check(cell: &Measured) -> Result<(), String> {
    if cell.cell.id() != cell.id {
        return Err(format!("cell {}: the id is not its description's", cell.id));
    }
    let Outcomes::Complete(found) = &cell.result else {
        return Ok(());
    };
    let n = found.fates.0.len();
    if found.examples.count() != n || found.marks.as_ref().is_none_or(|m| m.0.len() != n) {
        return Err(format!("cell {}: {n} fates, but not as many examples and marks", cell.id));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_files_are_refused_with_their_line() {
        let refused = |text: &str| parse(text, Path::new("b.jsonl")).err().unwrap().to_string();
        let heading = r#"{"baseline":{"schema":1,"name":"b","cells":0,"benches":0}}"#;
        assert!(parse(heading, Path::new("b.jsonl")).is_ok());
        for (text, line, part) in [
            ("", 1, "an empty file"),
            ("not json", 1, "expected"),
            (r#"{"bench":{"name":"b","nanoseconds":[]}}"#, 1, "no heading"),
            (r#"{"baseline":{"schema":2,"name":"b","cells":0,"benches":0}}"#, 1, "schema 2"),
            (&format!("{heading}\n{heading}"), 2, "a second heading"),
            (&format!("{heading}\n{}", r#"{"bench":{"name":"b","nanoseconds":[1.0]}}"#), 1, "the file holds 0 and 1"),
        ] {
            let error = refused(text);
            assert!(error.starts_with(&format!("b.jsonl:{line}: ")) && error.contains(part), "{error}");
            assert!(error.contains("(hint: "), "{error}");
        }
    }
}
