//! What is compared: a run, a baseline file, or a folder of criterion, each read into a [`Side`].

use crate::digest;
use crate::error::Result;
use crate::record::{Cell, CellId, Outcome, Provenance, Witnesses};
use crate::store::{State, Store};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// One side of a comparison.
pub struct Side {
    /// Name of the sweep; `benches` for a folder of criterion.
    pub name: String,
    /// Where it was read.
    pub path: String,
    /// Cells that were computed or failed, in the order of the plan.
    pub cells: Vec<Measured>,
    /// Ids of the cells that are planned, but not stored.
    pub absent: BTreeSet<CellId>,
    /// Benches, by name.
    pub benches: Vec<Bench>,
    /// Where marks can be computed that were not read.
    store: Option<Store>,
}

/// A cell as a comparison needs it: one line of a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Its id.
    pub id: CellId,
    /// Its description.
    pub cell: Cell,
    /// Where it was computed.
    pub place: Place,
    /// What came out.
    pub result: Outcomes,
}

/// What a cell gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcomes {
    /// One fate an image.
    Complete(Found),
    /// It failed, or holds error rows; why.
    Failed(String),
}

/// What tells machines apart. Times are compared between equal places only, bits between equal kinds of machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// As in [`Provenance::machine`].
    pub machine: Option<String>,
    /// Threads of the CPU kernels.
    pub threads: usize,
    /// Images a batch.
    pub batch: usize,
}

/// The outcomes of a complete cell, a few bytes an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Seconds, to the tenth of a millisecond.
    pub time_s: f64,
    /// Forward passes over all images.
    pub forwards: u64,
    /// Input gradients over all images.
    pub backwards: u64,
    /// The cell whose run passed here on its way, if it has no time of its own.
    pub served_by: Option<CellId>,
    /// SHA-256 of `outcomes.csv`.
    pub outcomes: String,
    /// SHA-256 of the witnesses.
    pub witnesses: String,
    /// Numbers of the images in their split.
    pub examples: Examples,
    /// One an image.
    pub fates: Fates,
    /// One an image; `None`: not computed yet.
    pub marks: Option<Marks>,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Right before the attack, and not fooled: `r`.
    Robust,
    /// Right before, and fooled: `b`.
    Broken,
    /// Wrong before the attack: `w`.
    Wrong,
}

impl Fate {
    /// Right before the attack.
    pub fn is_right(self) -> bool {
        self != Fate::Wrong
    }

    /// Right before and after.
    pub fn is_robust(self) -> bool {
        self == Fate::Robust
    }
}

/// One letter an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fates(pub Vec<Fate>);

impl TryFrom<String> for Fates {
    type Error = String;

    fn try_from(text: String) -> Result<Fates, String> {
        let fate = |c| match c {
            'r' => Ok(Fate::Robust),
            'b' => Ok(Fate::Broken),
            'w' => Ok(Fate::Wrong),
            other => Err(format!("`{other}` is no fate of an image (known: r, b, w)")),
        };
        text.chars().map(fate).collect::<Result<_, _>>().map(Fates)
    }
}

impl From<Fates> for String {
    fn from(fates: Fates) -> String {
        let letter = |fate: &Fate| match fate {
            Fate::Robust => 'r',
            Fate::Broken => 'b',
            Fate::Wrong => 'w',
        };
        fates.0.iter().map(letter).collect()
    }
}

/// The head of a digest of an image's row and witness: it names the images that differ where whole files do, all but one
/// in 65,536 of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Marks(pub Vec<u16>);

impl TryFrom<String> for Marks {
    type Error = String;

    fn try_from(text: String) -> Result<Marks, String> {
        let digits = text.bytes().all(|b| b.is_ascii_hexdigit()) && text.len().is_multiple_of(4);
        let mark = |at: usize| u16::from_str_radix(&text[at..at + 4], 16).expect("four hexadecimal digits");
        match digits {
            true => Ok(Marks((0..text.len()).step_by(4).map(mark).collect())),
            false => Err("marks are four hexadecimal digits an image".into()),
        }
    }
}

impl From<Marks> for String {
    fn from(marks: Marks) -> String {
        marks.0.iter().map(|m| format!("{m:04x}")).collect()
    }
}

/// Ascending numbers as ranges, both ends included: `0-19,21`. Never written out in full, whatever a file claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Examples(Vec<(usize, usize)>);

impl Examples {
    /// The ranges of ascending numbers.
    pub fn of(numbers: impl Iterator<Item = usize>) -> Examples {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        Examples(ranges)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.iter().fold(0usize, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl TryFrom<String> for Examples {
    type Error = String;

    fn try_from(text: String) -> Result<Examples, String> {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.parse().ok().zip(last.parse().ok());
            let after = |(first, _): &(usize, usize)| ranges.last().is_none_or(|(_, before)| before < first);
            ranges.push(range.filter(|r| r.0 <= r.1 && after(r)).ok_or(format!("`{part}` is no ascending range"))?);
        }
        Ok(Examples(ranges))
    }
}

impl From<Examples> for String {
    fn from(examples: Examples) -> String {
        let range = |(first, last): &(usize, usize)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        examples.0.iter().map(range).collect::<Vec<_>>().join(",")
    }
}

/// The samples of one bench of criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// Its folder: `gradient step/vgg11-half/8`.
    pub name: String,
    /// Nanoseconds an iteration, one a sample, to six digits.
    pub nanoseconds: Vec<f64>,
}

impl Side {
    /// Cells and benches as they are, without a store behind them.
    pub fn of(name: &str, path: &Path, cells: Vec<Measured>, benches: Vec<Bench>) -> Side {
        let path = path.display().to_string();
        Side { name: name.to_string(), path, cells, absent: BTreeSet::new(), benches, store: None }
    }

    /// Benches alone.
    pub fn of_benches(path: &Path, benches: Vec<Bench>) -> Side {
        Side::of("benches", path, Vec::new(), benches)
    }

    /// The cells of a run's plan.
    pub fn of_run(store: Store) -> Result<Side> {
        let plan = store.read_plan()?;
        let read = |cell: &Cell| measured(&store, cell);
        let found: Vec<Option<Measured>> = plan.cells.par_iter().map(read).collect::<Result<_>>()?;
        let absent = plan.cells.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(c, _)| c.id()).collect();
        let path = store.dir().display().to_string();
        let cells = found.into_iter().flatten().collect();
        Ok(Side { name: plan.name, path, cells, absent, benches: Vec::new(), store: Some(store) })
    }

    /// The marks of a cell, computed from rows and witnesses where they were not read; none for a failed cell.
    pub fn marks(&self, cell: &Measured) -> Result<Marks> {
        match (&cell.result, &self.store) {
            (Outcomes::Complete(Found { marks: Some(marks), .. }), _) => Ok(marks.clone()),
            (Outcomes::Complete(_), Some(store)) => {
                Ok(marks(&store.read(&cell.id)?.outcomes, &store.read_witnesses(&cell.id)?))
            }
            _ => Ok(Marks(Vec::new())),
        }
    }

    /// Fills in the marks of every complete cell.
    pub fn with_marks(mut self) -> Result<Side> {
        let all: Vec<Marks> = self.cells.par_iter().map(|cell| self.marks(cell)).collect::<Result<_>>()?;
        for (cell, marks) in self.cells.iter_mut().zip(all) {
            if let Outcomes::Complete(found) = &mut cell.result {
                found.marks = Some(marks);
            }
        }
        Ok(self)
    }
}

/// What the store has of a cell.
fn measured(store: &Store, cell: &Cell) -> Result<Option<Measured>> {
    let id = cell.id();
    if store.state(&id)? == State::Missing {
        return Ok(None);
    }
    let stored = store.read(&id)?;
    let result = match stored.provenance.error.clone().or_else(|| error_rows(&stored.outcomes)) {
        Some(error) => Outcomes::Failed(error),
        None => Outcomes::Complete(Found::of(&stored.outcomes, &stored.provenance)),
    };
    let p = stored.provenance;
    let place = Place { device: p.device, machine: p.machine, threads: p.threads, batch: p.batch };
    Ok(Some(Measured { id, cell: stored.cell, place, result }))
}

/// What is wrong with a cell if some of its rows are error rows.
fn error_rows(outcomes: &[Outcome]) -> Option<String> {
    let faults: Vec<&Outcome> = outcomes.iter().filter(|o| o.is_error()).collect();
    let (first, n) = (faults.first()?, outcomes.len());
    Some(format!("{} of {n} images are error rows, first image {}: {}", faults.len(), first.example, first.flags))
}

impl Found {
    /// Of a cell without error rows.
    pub fn of(outcomes: &[Outcome], provenance: &Provenance) -> Found {
        let fate = |o: &Outcome| match (o.success, o.is_right_before()) {
            (Some(true), _) => Fate::Broken,
            (_, true) => Fate::Robust,
            (_, false) => Fate::Wrong,
        };
        let digest = |file: &str| provenance.files.get(file).cloned().unwrap_or_default();
        Found {
            time_s: (provenance.time_s * 1e4).round() / 1e4,
            forwards: outcomes.iter().map(|o| o.forwards).sum(),
            backwards: outcomes.iter().map(|o| o.backwards).sum(),
            served_by: provenance.served_by.clone(),
            outcomes: digest("outcomes.csv"),
            witnesses: digest("witnesses.safetensors"),
            examples: Examples::of(outcomes.iter().map(|o| o.example)),
            fates: Fates(outcomes.iter().map(fate).collect()),
            marks: None,
        }
    }
}

fn marks(outcomes: &[Outcome], witnesses: &Witnesses) -> Marks {
    let bytes: Vec<u8> = match witnesses {
        Witnesses::U8(v) => v.clone(),
        Witnesses::F32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let each = (bytes.len() / outcomes.len().max(1)).max(1);
    let mark = |(outcome, witness): (&Outcome, &[u8])| {
        let mut text = serde_json::to_vec(outcome).expect("plain data");
        text.extend(witness);
        let digest = digest::sha256_bytes(&text);
        u16::from_be_bytes([digest[0], digest[1]])
    };
    Marks(outcomes.iter().zip(bytes.chunks(each)).map(mark).collect())
}
