//! What other nets say of the witnesses of a cell.

use super::paired::{Verdict, Verdicts};
use super::summary::{Summary, mean};
use crate::error::Result;
use crate::record::{Outcome, Transfer};
use crate::store::Store;

/// What another model says of the witnesses of a cell, in counts.
pub struct Asked<'a> {
    /// The cell.
    pub summary: &'a Summary,
    /// Name of the other model.
    pub model: String,
    /// Number of images.
    pub n: usize,
    /// Clean images that it has right; `None`: they have no true class.
    pub clean_right: Option<usize>,
    /// Witnesses that it has right.
    pub right: Option<usize>,
    /// Witnesses that it takes for the target; `None`: there is none.
    pub target: Option<usize>,
    /// Mean probabilities of label and target, witnesses.
    pub probabilities: [Option<f64>; 2],
}

/// Every other model that was asked, cell by cell.
pub fn asked<'a>(store: &Store, cells: &'a [Summary]) -> Result<Vec<Asked<'a>>> {
    let mut all = Vec::new();
    for summary in cells.iter().filter(|s| s.n.is_some()) {
        let transfers = store.read_transfers(&summary.id)?;
        if transfers.is_empty() {
            continue;
        }
        let labels: Vec<Option<usize>> = store.read(&summary.id)?.outcomes.iter().map(|o| o.label).collect();
        let labelled = labels.iter().any(Option::is_some);
        for (model, found) in transfers {
            let count = |of: &dyn Fn(usize, &Transfer) -> bool, wanted: bool| {
                wanted.then(|| found.iter().enumerate().filter(|(k, t)| of(*k, t)).count())
            };
            all.push(Asked {
                summary,
                n: found.len(),
                clean_right: count(&|k, t| t.clean_prediction == labels[k], labelled),
                right: count(&|k, t| t.prediction == labels[k], labelled),
                target: count(&|_, t| t.target_rank == Some(0), summary.cell.goal.is_targeted()),
                probabilities: [
                    mean(found.iter().filter_map(|t| t.label_probability)),
                    mean(found.iter().filter_map(|t| t.target_probability)),
                ],
                model: model.name,
            });
        }
    }
    Ok(all)
}

/// What another net says of the witnesses of a cell.
pub struct Transferred {
    /// Index of the cell.
    pub cell: usize,
    /// Name and weights of the other net.
    pub model: (String, String),
    /// By number of the image.
    pub verdicts: Verdicts,
}

/// What the other net makes of each image, as if the cell were its own.
pub fn transferred(outcomes: &[Outcome], rows: &[Transfer]) -> Verdicts {
    let verdict = |(o, t): (&Outcome, &Transfer)| {
        let right = t.clean_prediction.is_some() && t.clean_prediction == o.label;
        let reached = match o.target {
            Some(_) => t.target_rank == Some(0),
            None => t.prediction != o.label,
        };
        Verdict { example: o.example as u32, fooled: right && reached, ..Verdict::default() }
    };
    outcomes.iter().zip(rows).map(verdict).collect()
}
