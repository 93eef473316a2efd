//! Pictures as networks take them: decoded, or, where the same files were decoded before, from the copy that the run keeps.

use super::picture;
use super::prepare::Preparation;
use super::source::Source;
use super::subset::Subset;
use crate::error::Result;
use crate::record::Inputs;
use std::path::Path;

/// Pictures as networks take them.
pub(super) struct Prepared {
    /// What was done.
    pub(super) preparation: Preparation,
    pub(super) pixels: Vec<u8>,
    /// What has to be said of them.
    pub(super) note: Option<String>,
}

impl Prepared {
    /// Of the `wanted` files, which are these examples of a split that begins with the file `first`.
    pub(super) fn of(
        source: &Source,
        asked: Preparation,
        first: &Path,
        wanted: &[&Path],
        examples: &[usize],
        labels: &[usize],
    ) -> Result<Prepared> {
        let fingerprints = &source.fingerprints;
        // all that decides the images but the content of the files
        let labels: Vec<usize> = examples.iter().map(|i| labels[*i]).collect();
        let name = format!("{} {asked:?} {} {examples:?} {labels:?}", env!("CARGO_PKG_VERSION"), asked.text());
        let files: Vec<&Path> = [first].into_iter().chain(wanted.iter().copied()).collect();
        let name = files.iter().fold(name, |name, file| name + "\n" + &file.to_string_lossy());
        let known = fingerprints.recall(&name, &files).and_then(|value| {
            let (digest, settled, note): (String, String, Option<String>) = serde_json::from_str(&value).ok()?;
            let inputs = source.kept.images(&digest)?;
            let preparation = Preparation::parse(&settled)?;
            let same = inputs.examples == examples && inputs.size == preparation.crop;
            let pixels = checked(inputs, labels.clone(), &digest).filter(|_| same)?;
            Some(Prepared { preparation, pixels, note })
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let before = fingerprints.before(&files);
        let preparation = asked.settled(|| picture::read_size(first))?;
        let (pixels, note) = preparation.read_all(wanted)?;
        if let Some(before) = before {
            let subset = Subset::new(examples.to_vec(), labels, pixels, preparation.crop, Vec::new());
            let value = (&subset.digest, preparation.text(), &note);
            let value = serde_json::to_string(&value).expect("plain data");
            fingerprints.remember(&name, &files, &before, &value);
            return Ok(Prepared { preparation, pixels: subset.pixels, note });
        }
        Ok(Prepared { preparation, pixels, note })
    }
}

/// The pixels of images with these labels, if they have this digest.
fn checked(inputs: Inputs, labels: Vec<usize>, digest: &str) -> Option<Vec<u8>> {
    let subset = Subset::new(inputs.examples, labels, inputs.pixels, inputs.size, Vec::new());
    (subset.digest == digest).then_some(subset.pixels)
}
