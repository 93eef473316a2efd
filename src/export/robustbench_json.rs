//! Entries of RobustBench's `model_info/<dataset>/<threat>/<model>.json` (Croce et al. 2021): the same keys, accuracies as
//! text in percent with two decimals. Our robust accuracy stands under `external`, as RobustBench calls an evaluation that
//! is not AutoAttack's; its tables take that before `autoattack_acc`. What the store does not know is to be filled in by hand:
//! text is `N/A`, and `additional_data` null, as RobustBench's own `update_json` leaves it (its tables show null as no).

use super::evaluation::{Evaluation, evaluations};
use super::request::{Request, Written, file_name};
use crate::analysis::Run;
use crate::analysis::rounding::percent;
use crate::error::Result;
use crate::statistics::wilson;
use crate::store::Pending;
use serde::Serialize;

/// RobustBench's name of a dataset that we call otherwise.
const DATASETS: [(&str, &str); 1] = [("imagenet-1k", "imagenet")];

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
    external: String,
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

fn entry(run: &Run, evaluation: &Evaluation) -> Entry {
    let cell = &evaluation.cells[0].cell;
    let (n, robust) = (evaluation.images.len(), evaluation.robust());
    let percent_of = |k: usize| format!("{:.2}", 100.0 * k as f64 / n as f64);
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
        external: percent_of(robust),
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
