//! What a network says of pictures that the command line gives, before there is a plan: those that are attacked are labelled so.

pub use super::class_names::class_names;
use super::plan::Takes;
use super::run::Machine;
use crate::data::{self, Choice, Given, Source};
use crate::error::{Error, Result};
use crate::judge::{self, Verdict};
use crate::kernel::Precision;
use crate::model::ModelSource;
use crate::record::Witnesses;
use std::path::PathBuf;
use std::sync::Arc;

/// Pictures, and what a network says of them.
pub struct Seen {
    /// What has to be said of how they were prepared.
    pub notes: Vec<String>,
    /// What it says, in their order.
    pub verdicts: Vec<Verdict>,
    /// The source that has them, labelled by what it says.
    pub source: Source,
}

/// Length that the short side of pictures gets where nobody says one; `None`: as in a sweep.
pub fn usual_resize(model: &ModelSource) -> Option<usize> {
    model.file.resize_of_given_pictures()
}

/// Shows pictures to a network.
///
/// # Errors
/// Pictures that cannot be read, or not be prepared for it; weights that do not load; an answer that is not finite.
pub fn look(
    model: &ModelSource,
    files: Vec<PathBuf>,
    classes: Vec<String>,
    resize: Option<usize>,
    mut source: Source,
    machine: &Machine,
) -> Result<Seen> {
    let mut given = Given { labels: vec![0; files.len()], files, classes };
    let preparation = Takes::of(&model.file).preparation(resize).map_err(Error::usage)?;
    let choice = Choice { preparation: Some(preparation), ..Choice::new(data::ALL, 0, None) };
    let dataset = data::find("pictures")?;
    source.given = Some(Arc::new(given.clone()));
    let subset = dataset.subset(&source, &choice)?;
    let engine = model.engine(&machine.device, Precision::F32)?;
    let (pixels, batch) = (Witnesses::U8(subset.pixels.clone()), machine.batch_size(subset.values()));
    let verdicts = judge::predict_stored(engine.as_ref(), &pixels, subset.size, &machine.device, batch)?;
    for (verdict, (label, file)) in verdicts.iter().zip(given.labels.iter_mut().zip(&given.files)) {
        *label = verdict.prediction.ok_or_else(|| {
            Error::usage(format!(
                "model `{}` gives NaN or infinite logits for picture {} (hint: other weights, or leave it out)",
                model.name,
                file.display()
            ))
        })?;
    }
    source.given = Some(Arc::new(given));
    Ok(Seen { notes: subset.notes, verdicts, source })
}
