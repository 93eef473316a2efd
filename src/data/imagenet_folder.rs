//! Pictures of the 1,000 ImageNet classes (Deng et al. 2009; the classes of ILSVRC 2012): with a labels file, in
//! folders named by wnid, or with names that begin with one. A label is a place among the sorted wnids.

use super::dataset::{Dataset, Folder};
use super::folder::{Listing, refuse_empty};
use super::picture;
use super::place::{Content, Place};
use super::walk::{self, Contents, Unread};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

pub const DATASET: Dataset = Dataset {
    name: "imagenet-folder",
    summary: "pictures of ImageNet's 1,000 classes: labels.csv, wnid folders, or files named by wnid",
    splits: &["all"],
    classes: Some(1000),
    folder: Some(Folder { default: Some("imagenet") }),
    prepared: true,
    load,
    ..Dataset::BASE
};

/// wnid and name, one class a line, sorted: the n-th line is class n.
static CLASSES: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let lines = include_str!("imagenet_classes.txt").lines();
    lines.map(|line| line.split_once(' ').expect("a wnid and a name")).collect()
});

/// File with a line a picture.
const LABELS: &str = "labels.csv";

/// What lies in the folder of a place.
pub(super) fn load(place: &Place) -> Result<Content> {
    let folder = &place.folder;
    let labels = folder.join(LABELS);
    let mut unread = Unread::default();
    let listing = match walk::follow(&labels)? {
        Some(_) => by_labels_file(folder, &labels, &mut unread)?,
        None => by_name(place, &mut unread)?,
    };
    unread.text(folder).into_iter().for_each(|text| place.note(text));
    Ok(listing.into_content(class_names()))
}

/// Names of the classes, by label.
pub fn class_names() -> Vec<String> {
    CLASSES.iter().map(|(_, name)| name.to_string()).collect()
}

/// The class of a wnid or a name; of several names with commas between them the first counts.
pub fn class_named(name: &str) -> Option<usize> {
    let name = name.split(',').next().unwrap_or_default().trim().replace('_', " ");
    let by_name = || CLASSES.iter().position(|(_, known)| known.eq_ignore_ascii_case(&name));
    CLASSES.binary_search_by_key(&name.as_str(), |(wnid, _)| wnid).ok().or_else(by_name)
}

/// The class of a name that begins with a wnid, as `n01440764` or `n01440764_10026.JPEG`; `Err`: a wnid of no class.
fn class_of(name: &str) -> Option<Result<usize, &str>> {
    let wnid = name.get(..9).filter(|w| w.starts_with('n') && w[1..].bytes().all(|b| b.is_ascii_digit()))?;
    if name[9..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    Some(CLASSES.binary_search_by_key(&wnid, |(wnid, _)| wnid).map_err(|_| wnid))
}

/// Columns `file` and `label`; others are let be. Pictures in the order of the lines; those that no line names are counted.
fn by_labels_file(folder: &Path, path: &Path, unread: &mut Unread) -> Result<Listing> {
    let wrong = |line: u64, problem: String| Error::usage(format!("{}:{line}: {problem}", path.display()));
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let headers = reader.headers().map_err(|e| wrong(1, e.to_string()))?.clone();
    let column = |name: &str| {
        let found = headers.iter().position(|h| h.trim() == name);
        found.ok_or_else(|| wrong(1, format!("no column `{name}` (hint: the columns are file,label,name)")))
    };
    let (file, label) = (column("file")?, column("label")?);
    let (mut listing, mut lines) = (Listing::default(), BTreeMap::new());
    for record in reader.records() {
        let record = record.map_err(|e| wrong(e.position().map_or(0, |p| p.line()), e.to_string()))?;
        let line = record.position().map_or(0, |p| p.line());
        let (file, label) = (record.get(file).unwrap_or_default(), record.get(label).unwrap_or_default());
        if file.is_empty() || !Path::new(file).components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(wrong(line, format!("`{file}` is no file of this folder")));
        }
        let class = label.trim().parse().ok().filter(|c| *c < CLASSES.len());
        let class =
            class.ok_or_else(|| wrong(line, format!("label `{label}`: expected 0 to {}", CLASSES.len() - 1)))?;
        if let Some(Ok(named)) = class_of(file).filter(|named| *named != Ok(class)) {
            return Err(wrong(line, format!("`{file}` has label {class}, but its name says {named}")));
        }
        if let Some(earlier) = lines.insert(folder.join(file), line) {
            return Err(wrong(line, format!("`{file}` stands on line {earlier} already")));
        }
        listing.push(folder.join(file), class);
    }
    // what else lies there, but for the file itself
    for picture in walk::pictures(folder, &mut Unread::default())?.iter().filter(|p| !lines.contains_key(*p)) {
        unread.add("pictures that no line of labels.csv names", picture);
    }
    match listing.is_empty() {
        true => Err(wrong(1, "no line names a picture".into())),
        false => Ok(listing),
    }
}

/// wnid folders where there are any, else files whose names begin with a wnid.
fn by_name(place: &Place, unread: &mut Unread) -> Result<Listing> {
    let Contents { folders, files } = walk::contents_of_pictures(&place.folder, unread)?;
    let (mut listing, mut empty, mut others) = (Listing::default(), Vec::new(), Vec::new());
    for class_folder in folders {
        let Some(class) = class_of_path(&class_folder)? else {
            others.push(class_folder);
            continue;
        };
        let pictures = walk::pictures(&class_folder, unread)?;
        if pictures.is_empty() {
            empty.push(class_folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        pictures.into_iter().for_each(|picture| listing.push(picture, class));
    }
    others.iter().for_each(|other| unread.add("folders that no wnid names", other));
    if listing.is_empty() && empty.is_empty() {
        return by_file_name(place, files, unread);
    }
    refuse_empty(place, &empty)?;
    files.iter().for_each(|file| unread.add("outside the folders of the classes", file));
    match listing.is_empty() {
        true => Err(no_picture(place)),
        false => Ok(listing),
    }
}

fn by_file_name(place: &Place, files: Vec<PathBuf>, unread: &mut Unread) -> Result<Listing> {
    let mut listing = Listing::default();
    for file in files {
        if !picture::is_picture(&file) {
            unread.add("no pictures by their names", &file);
            continue;
        }
        let class = class_of_path(&file)?.ok_or_else(|| {
            Error::usage(format!(
                "{}: the name does not begin with a wnid as n01440764 (hint: write {LABELS} with columns file,label)",
                file.display()
            ))
        })?;
        listing.push(file, class);
    }
    match listing.is_empty() {
        true => Err(no_picture(place)),
        false => Ok(listing),
    }
}

/// The class that the name of a file or folder begins with, if it begins with a wnid.
fn class_of_path(path: &Path) -> Result<Option<usize>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    class_of(&name).map(|c| c.map_err(str::to_string)).transpose().map_err(|wnid| {
        Error::usage(format!("{}: {wnid} is none of ImageNet's 1,000 classes (hint: take it out)", path.display()))
    })
}

fn no_picture(place: &Place) -> Error {
    Error::usage(format!(
        "dataset `{}`: no picture in {} (hint: {LABELS} with columns file,label, folders named n01440764 and \
         so on, or files named n01440764_1.JPEG)",
        place.dataset,
        place.folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_a_thousand_classes_in_the_order_of_their_wnids() {
        assert_eq!(CLASSES.len(), 1000);
        assert!(CLASSES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(
            CLASSES.iter().all(|(wnid, name)| class_of(wnid).is_some() && *name == name.trim() && !name.is_empty())
        );
        let names: BTreeSet<&str> = CLASSES.iter().map(|(_, name)| *name).collect();
        assert_eq!(names.len(), 1000, "names are unique");
        for (class, name) in
            [(1, "goldfish"), (22, "bald eagle"), (151, "chihuahua"), (859, "toaster"), (954, "banana")]
        {
            assert_eq!(CLASSES[class].1, name);
        }
    }

    #[test]
    fn a_class_is_found_by_wnid_or_name() {
        assert_eq!(class_named("n01440764"), Some(0));
        assert_eq!(class_named("Tench, Tinca tinca"), Some(0));
        assert_eq!(class_named("garbage_truck"), Some(569));
        assert_eq!((class_named("n00000001"), class_named("")), (None, None));
    }

    #[test]
    fn a_class_is_read_from_the_beginning_of_a_name() {
        assert_eq!(class_of("n01440764"), Some(Ok(0)));
        assert_eq!(class_of("n15075141_7.JPEG"), Some(Ok(999)));
        assert_eq!(class_of("n00000001_7.JPEG"), Some(Err("n00000001")));
        assert_eq!(class_of("n014407640_7.JPEG"), None);
        assert_eq!(class_of("nightingale.png"), None);
        assert_eq!(class_of("n0144é764"), None);
    }
}
