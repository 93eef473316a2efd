//! Any pictures, one folder a class, as torchvision's `ImageFolder` has them: the sorted names of the folders are the classes,
//! and folders in them are looked into.

use super::dataset::{Dataset, Folder};
use super::picture;
use super::place::{Content, Pictures, Place, Split};
use super::walk::{self, Unread};
use crate::error::{Error, Result};
use std::path::PathBuf;

pub const DATASET: Dataset = Dataset {
    name: "folder",
    summary: "pictures of your own, one folder a class; `path` names the folder above",
    splits: &["all"],
    folder: Some(Folder { default: None }),
    prepared: true,
    load,
    ..Dataset::BASE
};

/// Picture files with their classes.
#[derive(Default)]
pub(super) struct Listing {
    files: Vec<PathBuf>,
    labels: Vec<usize>,
}

impl Listing {
    pub fn push(&mut self, file: PathBuf, class: usize) {
        self.files.push(file);
        self.labels.push(class);
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub fn into_content(self, classes: Vec<String>) -> Content {
        Content::Split(Split { classes, labels: self.labels, pictures: Pictures::Files(self.files) })
    }
}

fn load(place: &Place) -> Result<Content> {
    let folder = &place.folder;
    let (mut classes, mut listing, mut empty) = (Vec::new(), Listing::default(), Vec::new());
    let mut unread = Unread::default();
    let here = walk::contents_of_pictures(folder, &mut unread)?;
    here.files.iter().for_each(|file| unread.add("outside the folders of the classes", file));
    for class_folder in here.folders {
        let name = class_folder.file_name().and_then(|n| n.to_str()).filter(|n| !n.contains(char::is_control));
        let name = name.ok_or_else(|| {
            Error::usage(format!("folder {}: its name is no plain text (hint: rename it)", class_folder.display()))
        })?;
        let pictures = walk::pictures(&class_folder, &mut unread)?;
        if pictures.is_empty() {
            empty.push(name.to_string());
        }
        pictures.into_iter().for_each(|picture| listing.push(picture, classes.len()));
        classes.push(name.to_string());
    }
    if listing.is_empty() {
        return Err(Error::usage(format!(
            "dataset `folder`: no picture in the folders of {} (hint: one folder a class, with files named as {})",
            folder.display(),
            picture_names()
        )));
    }
    refuse_empty(place, &empty)?;
    unread.text(folder).into_iter().for_each(|text| place.note(text));
    order_of_numbers(&classes).into_iter().for_each(|text| place.note(text));
    Ok(listing.into_content(classes))
}

/// What has to be said of folders that are numbers of different lengths: as texts, which is how torchvision sorts them, too, `10`
/// comes before `2`.
fn order_of_numbers(classes: &[String]) -> Option<String> {
    let numbers: Option<Vec<u64>> = classes.iter().map(|name| name.parse().ok()).collect();
    let place = numbers?.windows(2).position(|pair| pair[0] > pair[1])?;
    let [first, second] = [&classes[place], &classes[place + 1]];
    Some(format!(
        "folders are classes in the order of their names as texts, as torchvision has them: `{first}` is class {place}, before \
         `{second}` (hint: if the network counts otherwise, names of one length, as `01`)"
    ))
}

/// A class that has no picture is one whose pictures are lost, unless the sweep says otherwise.
pub(super) fn refuse_empty(place: &Place, empty: &[String]) -> Result<()> {
    let named: Vec<&str> = empty.iter().take(MOST_NAMED).map(String::as_str).collect();
    let more = if empty.len() > MOST_NAMED { format!(", … ({} in all)", empty.len()) } else { String::new() };
    let text = format!("no picture in the class folders `{}`{more} of {}", named.join("`, `"), place.folder.display());
    match empty.is_empty() {
        true => Ok(()),
        false if place.allow_empty => {
            place.note(text);
            Ok(())
        }
        false => Err(Error::usage(format!(
            "dataset `{}`: {text} (hint: pictures are named as {}; take the folders out, or say `allow_empty = true`)",
            place.dataset,
            picture_names()
        ))),
    }
}

/// More names are a list nobody reads.
const MOST_NAMED: usize = 10;

fn picture_names() -> String {
    picture::ENDINGS.map(|ending| format!("*.{ending}")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_sorted_as_texts_are_said() {
        let order = |names: &[&str]| order_of_numbers(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        let said = order(&["1", "10", "2"]).unwrap();
        assert!(said.contains("`10` is class 1, before `2`"), "{said}");
        assert_eq!([order(&["01", "02", "10"]), order(&["1", "2"]), order(&["10", "2", "cat"])], [None, None, None]);
    }
}
