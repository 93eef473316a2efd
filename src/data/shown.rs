//! What the command line gives: pictures that nobody labelled, and canvases for any network. A sweep file cannot name them.

use super::dataset::Dataset;
use super::given::Given;
use super::picture;
use super::place::{Content, Pictures, Place, Split};
use super::walk::{self, Unread};
use crate::error::{Error, Result};
use std::path::PathBuf;

pub const PICTURES: Dataset = Dataset {
    name: "pictures",
    summary: "pictures given to `foolproof attack`; what the network says of each is its label",
    splits: &["all"],
    prepared: true,
    given: true,
    load: |place| {
        let given = given(place)?;
        let Given { files, labels, classes } = given.clone();
        Ok(Content::Split(Split { classes, labels, pictures: Pictures::Files(files) }))
    },
    ..Dataset::BASE
};

pub const CANVAS: Dataset = Dataset {
    name: "blank",
    summary: "grey canvases for the network given to `foolproof dream`",
    splits: &["all"],
    labelled: false,
    given: true,
    load: |place| Ok(super::blank::split(given(place)?.classes.clone())),
    ..Dataset::BASE
};

fn given<'a>(place: &Place<'a>) -> Result<&'a Given> {
    let kept =
        || Error::Absent("the command line gave it, and the run has the only copy (hint: inputs/ of the run)".into());
    place.source.given.as_deref().ok_or_else(kept)
}

/// The picture files that paths lead to: files as they stand, of a folder all pictures in it. What lies there and is none is
/// told by the second.
///
/// # Errors
/// A path that leads nowhere; a folder without pictures.
pub fn picture_files(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    for path in paths {
        match walk::follow(path)? {
            None => {
                return Err(Error::Absent(format!(
                    "no picture {} (hint: name picture files, or a folder of them)",
                    path.display()
                )));
            }
            Some(found) if found.is_dir() => {
                let mut unread = Unread::default();
                let pictures = walk::pictures(path, &mut unread)?;
                if pictures.is_empty() {
                    let endings = picture::ENDINGS.join(", ");
                    return Err(Error::usage(format!(
                        "no picture in folder {} (hint: names end in {endings})",
                        path.display()
                    )));
                }
                files.extend(pictures);
                notes.extend(unread.text(path));
            }
            Some(_) => files.push(path.clone()),
        }
    }
    Ok((files, notes))
}
