//! What is said of one relation of the ladder.

use crate::analysis::paired::{Counts, Paired, Verdicts};
use crate::analysis::summary::Summary;
use crate::statistics::mcnemar;

/// Without a correction: what is worth a look.
pub const LOOK: f64 = 0.05;

/// What is said of a relation, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It holds, or misses by what chance explains.
    Ok,
    /// Worth a look.
    Suspicious,
    /// Beyond chance: a bug, or gradients that are hidden.
    Violated,
}

impl Judgement {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Judgement::Ok => "ok",
            Judgement::Suspicious => "suspicious",
            Judgement::Violated => "violated",
        }
    }
}

/// One relation, held against the cells of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub relation: &'static str,
    /// What came of it.
    pub verdict: Judgement,
    /// The attacked net.
    pub model: String,
    /// The cell that is to be no stronger, or the one that is looked at.
    pub cell: String,
    /// The cell that is to be no weaker; `None`: the relation is about one cell.
    pub against: Option<String>,
    /// Images compared.
    pub n: usize,
    /// Of these, fooled (or, of a patch, taken for the target; or counted) in `cell`.
    pub count: usize,
    /// The same in `against`.
    pub against_count: Option<usize>,
    /// Images that count in `cell` alone, and in `against` alone.
    pub only: Option<(usize, usize)>,
    /// Chance of so bad a result where the relation just holds; `None`: no chance is involved.
    pub p: Option<f64>,
    /// The same, corrected for all relations of the run (Holm 1979).
    pub p_holm: Option<f64>,
    /// One sentence.
    pub why: String,
    /// The worst that may be said, whatever the figures.
    pub worst: Judgement,
}

/// Two cells on the images they share, the first of which is to be no stronger. Where nothing but chance parts them, each image
/// on which they differ falls to either side as likely as to the
/// other: the exact one-sided test of McNemar (1947).
pub fn pair(
    relation: &'static str,
    (weaker, stronger): (&Summary, &Summary),
    against: &Verdicts,
    counts: Counts,
    why: &str,
) -> Row {
    let Paired { n, both, only } = Paired::of(&weaker.verdicts, against, counts);
    let p = if only.0 > only.1 { mcnemar(only.0, only.1) / 2.0 } else { 1.0 };
    Row {
        relation,
        verdict: Judgement::Ok,
        model: weaker.cell.model.name.clone(),
        cell: weaker.id.clone(),
        against: Some(stronger.id.clone()),
        n,
        count: both + only.0,
        against_count: Some(both + only.1),
        only: Some(only),
        p: Some(p),
        p_holm: None,
        why: format!("{} alone against {} alone: {why}", only.0, only.1),
        worst: Judgement::Violated,
    }
}

/// A relation about one cell in which chance plays no part.
pub fn single(relation: &'static str, s: &Summary, n: usize, count: usize, verdict: Judgement, why: String) -> Row {
    Row {
        relation,
        verdict,
        model: s.cell.model.name.clone(),
        cell: s.id.clone(),
        against: None,
        n,
        count,
        against_count: None,
        only: None,
        p: None,
        p_holm: None,
        why,
        worst: Judgement::Violated,
    }
}

impl Row {
    /// Ids of the cells that it is about.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        [Some(self.cell.as_str()), self.against.as_deref()].into_iter().flatten()
    }

    /// `violated: gradients are not zero: 12 of 12 attacked … (cell 0123456789abcdef, net)`.
    pub fn line(&self) -> String {
        let cells = match &self.against {
            Some(against) => format!("cells {} and {against}", self.cell),
            None => format!("cell {}", self.cell),
        };
        format!("{}: {}: {} ({cells}, {})", self.verdict.name(), self.relation, self.why, self.model)
    }
}
