//! Entries of RobustBench's `model_info/<dataset>/<threat>/<model>.json` (Croce et al. 2021): the same keys, accuracies as
//! text in percent with two decimals. What AutoAttack left stands under `autoattack_acc` where it was run as the leaderboard runs
//! it ([`is_leaderboards`]), and nowhere else. The worst case over all attacks of the run stands under `external`, as RobustBench
//! calls an evaluation that is not AutoAttack's alone; its tables take that before `autoattack_acc`. What the store does not know is to be filled in by hand:
//! text is `N/A`, and `additional_data` null, as RobustBench's own `update_json` leaves it (its tables show null as no).

use super::evaluation::{Evaluation, evaluations};
use super::request::{Request, Written, file_name};
use crate::analysis::rounding::percent;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::Cell;
use crate::statistics::wilson;
use crate::store::Pending;
use crate::terms::{Goal, Norm};
use serde::Serialize;

/// RobustBench's name of a dataset that we call otherwise.
const DATASETS: [(&str, &str); 1] = [("imagenet-1k", "imagenet")];

/// The leaderboards: a dataset of ours and its split, a norm, its eps, and the number of images.
const LEADERBOARDS: [(&str, &str, Norm, &str, usize); 6] = [
    ("cifar10", "test", Norm::Linf, "8/255", 10_000),
    ("cifar10", "test", Norm::L2, "0.5", 10_000),
    ("cifar100", "test", Norm::Linf, "8/255", 10_000),
    ("cifar100", "test", Norm::L2, "0.5", 10_000),
    ("imagenet-1k", "validation", Norm::Linf, "4/255", 5_000),
    ("imagenet-folder", "all", Norm::Linf, "4/255", 5_000),
];

/// The attack of the leaderboards.
const AUTOATTACK: &str = "autoattack";

/// Its parameters there: with others it is another attack.
pub(super) const AS_THERE: [(&str, &str); 3] = [("version", "standard"), ("steps", "100"), ("queries", "5000")];

#[derive(Serialize)]
struct Entry {
    link: &'static str,
    name: String,
    authors: &'static str,
    additional_data: Option<bool>,
    number_forward_passes: u32,
    dataset: String,
    venue: &'static str,
    architecture: String,
    eps: String,
    clean_acc: String,
    /// What the model's authors claim.
    reported: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    autoattack_acc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<String>,
    unreliable: bool,
    footnote: String,
}

/// One file an evaluation.
pub fn write(request: &Request) -> Result<Written> {
    let run = Run::read(request.store)?;
    let (evaluations, notes) = evaluations(&run)?;
    let mut files = Vec::new();
    for evaluation in &evaluations {
        let entry = entry(&run, evaluation);
        let folder = request.to.join("model_info").join(file_name(&entry.dataset)).join(evaluation.norm);
        let path = folder.join(format!("{}.json", evaluation.name));
        let mut file = Pending::at(path.clone())?;
        file.append((serde_json::to_string_pretty(&entry).expect("plain data") + "\n").as_bytes())?;
        file.finish()?;
        files.push(path);
    }
    Ok(Written { files, notes })
}

/// Whether a cell of so many images is a leaderboard's: its attack, version, norm, eps and number of images.
fn is_leaderboards(cell: &Cell, images: usize) -> bool {
    let param = |name: &str| cell.attack.params.get(name).map(String::as_str);
    let eps = cell.threat.eps_text();
    cell.attack.name == AUTOATTACK
        && AS_THERE.iter().all(|(name, there)| param(name) == Some(there))
        && cell.goal == Goal::Untargeted
        && !cell.mode.carries()
        && LEADERBOARDS.contains(&(&cell.data.name, &cell.data.split, cell.threat.norm, &eps, images))
}

fn entry(run: &Run, evaluation: &Evaluation) -> Entry {
    let cell = &evaluation.cells[0].cell;
    let (n, robust) = (evaluation.images.len(), evaluation.robust());
    let percent_of = |k: usize| format!("{:.2}", 100.0 * k as f64 / n as f64);
    let standard = evaluation.cells.iter().find(|s| s.n == Some(n) && is_leaderboards(&s.cell, n));
    let left = |s: &&Summary| s.rates.as_ref().map(|rates| percent_of(rates.robust_correct));
    let dataset = DATASETS.iter().find(|(ours, _)| *ours == cell.data.name).map_or(cell.data.name.as_str(), |d| d.1);
    Entry {
        link: "N/A",
        name: cell.model.name.clone(),
        authors: "N/A",
        additional_data: None,
        number_forward_passes: 1,
        dataset: dataset.to_string(),
        venue: "N/A",
        architecture: cell.model.network.split(" classes=").next().unwrap_or_default().to_string(),
        eps: cell.threat.eps_text(),
        clean_acc: percent_of(evaluation.clean()),
        reported: "N/A",
        autoattack_acc: standard.and_then(left),
        external: (standard.is_none() || evaluation.cells.len() > 1).then(|| percent_of(robust)),
        unreliable: evaluation.unreliable,
        footnote: format!(
            "Worst case over {} on {}, {n} images, {} witnesses: {} % (95 % interval). Weights {}. foolproof {}, run {} ({}).",
            evaluation.attacks().join(", "),
            cell.data.text(),
            evaluation.witnesses(),
            percent(robust as f64 / n as f64, wilson(robust, n)),
            cell.model.weights,
            env!("CARGO_PKG_VERSION"),
            run.id,
            run.name
        ),
    }
}
