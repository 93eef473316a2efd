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

#[cfg(all(test, unix))]
mod tests {
    use crate::data::{self, Choice, Kept, Preparation, Source, Subset};
    use crate::fingerprint::Fingerprints;
    use image::{Rgb, RgbImage};
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    #[test]
    fn pictures_are_decoded_once_and_what_is_kept_is_held_to_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        for (class, level) in [("cat", 10), ("dog", 200)] {
            let pictures = folder.path().join("pictures").join(class);
            fs::create_dir_all(&pictures).unwrap();
            let file = pictures.join("0.png");
            RgbImage::from_pixel(4, 4, Rgb([level, 7, 9])).save(&file).unwrap();
            let hour = Duration::from_secs(3600);
            fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::now() - hour).unwrap();
        }
        let choice = Choice {
            path: Some(folder.path().join("pictures")),
            preparation: Preparation::usual(4, [4; 2]).ok(),
            ..Choice::new("all", 0, None)
        };
        let asked = Arc::new(AtomicUsize::new(0));
        // what stands in `change` becomes of what is kept
        let subset = |kept: Option<&Subset>, change: u8| {
            let (asked, inputs) = (asked.clone(), kept.map(Subset::inputs));
            let kept = Kept::by(move |digest| {
                asked.fetch_add(1, Ordering::Relaxed);
                let mut inputs = inputs.clone()?;
                inputs.pixels[0] ^= change;
                (digest.len() == 64).then_some(inputs)
            });
            let fingerprints = Fingerprints::at(folder.path().join("kept"));
            let mut source = Source::new("nowhere").with(kept);
            source.fingerprints = fingerprints;
            data::find("folder").unwrap().subset(&source, &choice).unwrap()
        };
        let same = |a: &Subset, b: &Subset| {
            assert_eq!((&a.digest, &a.pixels, &a.labels, &a.classes), (&b.digest, &b.pixels, &b.labels, &b.classes));
            assert_eq!((a.preparation, &a.notes), (b.preparation, &b.notes));
        };
        let first = subset(None, 0);
        assert_eq!(asked.load(Ordering::Relaxed), 0, "no digest is known");
        for (kept, change) in [(None, 0), (Some(&first), 0), (Some(&first), 1)] {
            same(&subset(kept, change), &first);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        let file = folder.path().join("pictures/cat/0.png");
        RgbImage::from_pixel(4, 4, Rgb([11, 7, 9])).save(&file).unwrap();
        assert_ne!(subset(Some(&first), 0).digest, first.digest);
        assert_eq!(asked.load(Ordering::Relaxed), 3, "another file: another digest");
    }
}
