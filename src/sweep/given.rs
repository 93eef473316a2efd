//! What a network says of pictures that the command line gives, before there is a plan: those that are attacked are labelled so.

use super::plan::Takes;
use super::run::Machine;
use crate::data::{self, CLASS_SETS, Choice, Given, Source};
use crate::error::{Error, Result};
use crate::judge::{self, Verdict};
use crate::kernel::Precision;
use crate::model::ModelSource;
use crate::record::Witnesses;
use std::path::PathBuf;
use std::sync::Arc;

/// Smaller networks are shown a whole picture, not the middle of one that was brought to ImageNet's size.
const WHOLE_BELOW: usize = 224;

/// Pictures, and what a network says of them.
pub struct Seen {
    /// What has to be said of how they were prepared.
    pub notes: Vec<String>,
    /// What it says, in their order.
    pub verdicts: Vec<Verdict>,
    /// The source that has them, labelled by what it says.
    pub source: Source,
}

/// Names of a model's classes: those of the set that is asked for, or of the lines of a file; else of the data that its
/// published accuracy speaks of; else ImageNet's, of a thousand; else numbers. The second says what was assumed.
///
/// # Errors
/// Another number of names than of classes; a file that cannot be read.
pub fn class_names(model: &ModelSource, asked: Option<&str>) -> Result<(Vec<String>, Option<String>)> {
    let classes = model.file.classes;
    if let Some(asked) = asked {
        let names = match data::class_names(asked) {
            Some(names) => names,
            None => lines_of(asked)?,
        };
        return match names.len() == classes {
            true => Ok((names, None)),
            false => Err(Error::usage(format!(
                "`{asked}` names {} classes, model `{}` has {classes} (hint: a file with {classes} lines)",
                names.len(),
                model.name
            ))),
        };
    }
    let fits = |set: &str| data::class_names(set).filter(|names| names.len() == classes);
    let population = model.file.published.as_ref().and_then(|p| p.population.split('-').next());
    if let Some(names) = population.and_then(fits) {
        return Ok((names, None));
    }
    if let Some(names) = fits("imagenet") {
        let note = format!("model `{}` has 1000 classes: taken to be ImageNet's (hint: --classes FILE)", model.name);
        return Ok((names, Some(note)));
    }
    let note = format!(
        "nothing names the {classes} classes of model `{}`: they are numbered from 0 (hint: --classes {} or a file with a name \
         a line)",
        model.name,
        CLASS_SETS.join(", ")
    );
    Ok(((0..classes).map(|class| format!("class {class}")).collect(), Some(note)))
}

/// Names of a text file, one a line.
fn lines_of(path: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let known = CLASS_SETS.join(", ");
        Error::usage(format!(
            "classes `{path}`: no file that can be read: {e} (hint: {known}, or a file with a name a line)"
        ))
    })?;
    Ok(text.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect())
}

/// Length that the short side of pictures gets where nobody says one; `None`: as in a sweep.
pub fn usual_resize(model: &ModelSource) -> Option<usize> {
    let short = model.file.size[0].min(model.file.size[1]);
    Some(short).filter(|short| model.file.resize.is_none() && *short < WHOLE_BELOW)
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
    let preparation = Takes::of(model).preparation(resize).map_err(Error::usage)?;
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
