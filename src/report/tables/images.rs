//! The table of all images of all cells: longer than memory, so it goes to its file while the cells are read.

use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::Outcome;
use crate::store::Store;
use crate::table::csv::yes_or_no;
use crate::table::parquet::{Columns, Parquet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read, Write};

/// Path of the CSV.
pub const CSV: &str = "tables/images.csv";
/// Path of the Parquet file.
pub const PARQUET: &str = "tables/images.parquet";

/// Columns, normative.
const COLUMNS: [&str; 17] = [
    "cell",
    "example",
    "label",
    "clean_prediction",
    "adversarial_prediction",
    "success",
    "linf_255",
    "l2",
    "margin_clean",
    "margin_adversarial",
    "step",
    "restart",
    "forwards",
    "backwards",
    "flags",
    "weights_pinned",
    "data_pinned",
];

/// Reads the run, and writes the table of its images. `csv` gets the text of one cell after the other, with its id; the
/// heading has none.
pub fn stream<W: Write + Send>(
    store: &Store,
    mut csv: impl FnMut(Option<&str>, &[u8]) -> Result<()>,
    parquet: W,
) -> Result<(Run<'_>, W)> {
    let mut parquet = Parquet::new(parquet, &COLUMNS)?;
    csv(None, (COLUMNS.join(",") + "\n").as_bytes())?;
    let run = Run::read_with(
        store,
        |summary, outcomes| {
            let text = rows(summary, &outcomes);
            let columns = Columns::parse(&COLUMNS, text.as_bytes())?;
            Ok((summary.id.clone(), text, columns))
        },
        |(id, text, columns)| {
            csv(Some(&id), text.as_bytes())?;
            parquet.append(columns)
        },
    )?;
    Ok((run, parquet.finish()?))
}

/// One row an image.
fn rows(s: &Summary, outcomes: &[Outcome]) -> String {
    let mut text = String::with_capacity(128 * outcomes.len());
    fn field<T: std::fmt::Display>(text: &mut String, value: Option<T>) {
        text.push(',');
        if let Some(value) = value {
            write!(text, "{value}").expect("a string takes all");
        }
    }
    for o in outcomes {
        text.push_str(&s.id);
        field(&mut text, Some(o.example));
        field(&mut text, o.label);
        field(&mut text, o.clean_prediction);
        field(&mut text, o.adversarial_prediction);
        field(&mut text, o.success);
        field(&mut text, o.linf_255);
        field(&mut text, o.l2);
        field(&mut text, o.margin_clean);
        field(&mut text, o.margin_adversarial);
        field(&mut text, Some(o.step));
        field(&mut text, Some(o.restart));
        field(&mut text, Some(o.forwards));
        field(&mut text, Some(o.backwards));
        field(&mut text, Some(&o.flags)); // words and spaces: nothing to quote
        field(&mut text, Some(yes_or_no(s.weights_pinned)));
        field(&mut text, Some(yes_or_no(s.data_pinned)));
        text.push('\n');
    }
    text
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
