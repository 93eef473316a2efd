//! The table of all images of all cells: longer than memory, so it goes to its file while the cells are read.

use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::Outcome;
use crate::statistics::wilson;
use crate::store::Store;
use crate::table::csv::{self, yes_or_no};
use crate::table::parquet::Parquet;
use crate::table::{Column, Table, row};
use std::fs::File;
use std::io::{BufReader, Read, Write};

/// Path of the CSV.
pub const CSV: &str = "tables/images.csv";
/// Path of the Parquet file.
pub const PARQUET: &str = "tables/images.parquet";

/// Columns, normative.
const COLUMNS: [Column; 20] = [
    Column::text("cell"),
    Column::count("example"),
    Column::count("label"),
    Column::count("clean_prediction"),
    Column::count("adversarial_prediction"),
    Column::flag("success"),
    Column::exact("linf_255"),
    Column::exact("l2"),
    Column::exact("margin_clean"),
    Column::exact("margin_adversarial"),
    Column::count("step"),
    Column::count("restart"),
    Column::exact("forwards"),
    Column::exact("backwards"),
    Column::text("flags"),
    Column::text("weights_pinned"),
    Column::text("data_pinned"),
    Column::count("votes"),
    Column::number("votes_low"),
    Column::number("votes_high"),
];

/// Reads the run, and writes the table of its images. `to` gets the text of one cell after the other, with its id; the
/// heading has none.
pub fn stream<W: Write + Send>(
    store: &Store,
    mut to: impl FnMut(Option<&str>, &[u8]) -> Result<()>,
    parquet: W,
) -> Result<(Run<'_>, W)> {
    let mut parquet = Parquet::new(parquet, &COLUMNS)?;
    to(None, &csv::bytes(&Table::new(&COLUMNS))?)?;
    let run = Run::read_for(
        store,
        |summary, outcomes| {
            let table = rows(summary, &outcomes)?;
            Ok((summary.id.clone(), csv::rows(&table)?, table))
        },
        |(id, text, table)| {
            to(Some(&id), &text)?;
            parquet.append(table)
        },
    )?;
    Ok((run, parquet.finish()?))
}

/// One row an image.
fn rows(s: &Summary, outcomes: &[Outcome]) -> Result<Table> {
    let mut table = Table::new(&COLUMNS);
    for o in outcomes {
        let votes = s.cell.votes.and_then(|of| Some((o.votes(of)? as usize, of as usize)));
        let share = votes.map(|(votes, of)| wilson(votes, of));
        table.push(row![
            &s.id,
            o.example,
            o.label,
            o.clean_prediction,
            o.adversarial_prediction,
            o.success,
            o.linf_255,
            o.l2,
            o.margin_clean,
            o.margin_adversarial,
            o.step,
            o.restart,
            o.forwards,
            o.backwards,
            &o.flags,
            yes_or_no(s.weights_pinned),
            yes_or_no(s.data_pinned),
            votes.map(|(votes, _)| votes),
            share.map(|(low, _)| low),
            share.map(|(_, high)| high),
        ])?;
    }
    Ok(table)
}

/// Reads the run, and says what is wrong with the stored tables of its images.
pub fn stale(store: &Store) -> Result<(Option<String>, Run<'_>)> {
    let open =
        |path: &str| Compared { stored: File::open(store.dir().join(path)).ok().map(BufReader::new), same: true };
    let (mut csv, mut first) = (open(CSV), None);
    let compare = |id: Option<&str>, bytes: &[u8]| {
        let before = csv.same;
        csv.compare(bytes);
        if before && !csv.same {
            first = id.map(|id| format!("cell {id}"));
        }
        Ok(())
    };
    let (run, mut parquet) = stream(store, compare, open(PARQUET))?;
    let problem = if !csv.ends() {
        Some(not_what_cells_give(first.as_deref().unwrap_or("all cells"), CSV))
    } else if !parquet.ends() {
        Some(not_what_cells_give("all cells", PARQUET))
    } else {
        None
    };
    Ok((problem, run))
}

/// Takes what should be in a file, and says whether it is. A file that is not there is right.
struct Compared {
    stored: Option<BufReader<File>>,
    same: bool,
}

impl Compared {
    fn compare(&mut self, bytes: &[u8]) {
        if let Some(file) = self.stored.as_mut().filter(|_| self.same) {
            let mut there = vec![0; bytes.len()];
            self.same = file.read_exact(&mut there).is_ok() && there == bytes;
        }
    }

    /// Whether all was the same, to the end.
    fn ends(&mut self) -> bool {
        let more = self.stored.as_mut().is_some_and(|file| !matches!(file.read(&mut [0]), Ok(0)));
        self.same && !more
    }
}

impl Write for Compared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.compare(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The finding that a file is not what it should be.
pub fn not_what_cells_give(cell: &str, path: &str) -> String {
    format!("{cell}: {path} is not what the cells give (hint: `foolproof report` writes it anew)")
}
