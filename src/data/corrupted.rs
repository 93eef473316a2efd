//! Images that suffer a corruption before anybody attacks them.

use super::subset::Subset;
use crate::corruption;
use crate::error::{Error, Result};
use crate::record::CorruptionRecord;
use crate::rng::Streams;

/// The same images after it.
///
/// # Errors
/// A corruption that nothing here makes.
pub fn corrupted(clean: &Subset, record: &CorruptionRecord) -> Result<Subset> {
    let found = corruption::find(&record.name).and_then(|known| Some((known.generate?, record.seed?)));
    let (generate, seed) = found.ok_or_else(|| {
        Error::usage(format!(
            "corruption `{}` is not made here (hint: `foolproof corruptions` lists those that are)",
            record.name
        ))
    })?;
    let streams = Streams::new(seed, record.name.as_str());
    let pixels = corruption::corrupt(generate, &streams, record.severity, clean.size, &clean.examples, &clean.pixels);
    let (examples, labels, classes) = (clean.examples.clone(), clean.labels.clone(), clean.classes.clone());
    let made = Subset::new(examples, labels, pixels, clean.size, classes);
    Ok(Subset {
        labelled: clean.labelled,
        sources: clean.sources.clone(),
        preparation: clean.preparation,
        notes: clean.notes.clone(),
        ..made
    })
}
