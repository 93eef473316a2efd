//! CIFAR (Krizhevsky 2009): its binary format, records of labels and 3072 pixel bytes, channel first, in
//! `NAME/test.bin` and `NAME/train.bin` below the data folder; else tables of PNG pictures, there or on the Hub.

use super::columns::Columns;
use super::place::{Content, Pictures, Place, Split, names};
use super::table;
use super::table::{Labels, Table, TableFile};
use crate::error::{Error, Result};
use std::path::Path;

/// Height and width of its images.
pub const SIDE: usize = 32;

const PIXELS: usize = 3 * SIDE * SIDE;

/// One of the two.
pub struct Cifar {
    /// Name of the dataset and of its folder.
    pub name: &'static str,
    /// Names of the classes, by label.
    pub classes: &'static [&'static str],
    /// Bytes of a record before its pixels; the last is the label.
    pub labels: usize,
    /// Where it lies on the Hub.
    pub repository: &'static str,
    /// Commit there.
    pub revision: &'static str,
    /// Split, path and SHA-256.
    pub files: [(&'static str, &'static str, Option<&'static str>); 2],
    /// What its binary files are called in the archive, test and training.
    pub archive: [&'static str; 2],
}

impl Cifar {
    /// A split: the first of the binary file, tables beside it, the Hub.
    pub fn load(&self, place: &Place) -> Result<Content> {
        let (folder, split) = (place.source.folder().join(self.name), place.split);
        let path = folder.join(format!("{split}.bin"));
        match std::fs::read(&path) {
            Ok(bytes) => {
                let parsed = self.parse(&bytes);
                let (labels, pixels) = parsed.map_err(|problem| {
                    Error::usage(format!("dataset `{}`: {}: {problem}", self.name, path.display()))
                })?;
                let is_table = |path: &str| path.ends_with(".parquet") && table::is_of_split(path, split);
                if let Some(TableFile::Local(table)) = table::below(place, &folder, is_table)?.first() {
                    place.note(format!("{} is read, and not {}", path.display(), table.display()));
                }
                Ok(content(self.classes, labels, pixels))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let files = table::local_first(place, self.name, "", || Ok(self.on_hub(split)))?;
                let columns = Columns::default();
                let labels = Labels::Classes(names(self.classes));
                Ok(Table { files, columns, labels, side: Some(SIDE), missing: Some(self.missing(&path, split)) }.into())
            }
            Err(e) => Err(Error::io("read", &path)(e)),
        }
    }

    /// What is missing where neither the data folder nor the Hub has it, and what helps.
    fn missing(&self, path: &Path, split: &str) -> [String; 2] {
        let (name, archive) = (self.name, self.archive[usize::from(split != "test")]);
        let hint =
            format!("put {archive} of its binary version there, or name the folder above {name}/ in FOOLPROOF_DATA");
        [path.display().to_string(), hint]
    }

    fn on_hub(&self, split: &str) -> Vec<TableFile> {
        let files = self.files.iter().filter(|(of, ..)| *of == split);
        files.map(|(_, path, sha256)| table::on_hub(self.repository, self.revision, path, *sha256)).collect()
    }

    fn parse(&self, bytes: &[u8]) -> Result<(Vec<usize>, Vec<u8>), String> {
        let record = self.labels + PIXELS;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            return Err(format!(
                "{} bytes, expected a multiple of {record} (labels and 3072 pixels an image)",
                bytes.len()
            ));
        }
        let (mut labels, mut pixels) = (Vec::new(), Vec::with_capacity(bytes.len()));
        for (i, record) in bytes.chunks_exact(record).enumerate() {
            let label = usize::from(record[self.labels - 1]);
            if label >= self.classes.len() {
                return Err(format!("image {i} has label {label}, expected 0 to {}", self.classes.len() - 1));
            }
            labels.push(label);
            pixels.extend_from_slice(&record[self.labels..]);
        }
        Ok((labels, pixels))
    }
}

/// A split from labels and pixels.
pub fn content(classes: &[&str], labels: Vec<usize>, pixels: Vec<u8>) -> Content {
    Content::Split(Split { classes: names(classes), labels, pictures: Pictures::Pixels { side: SIDE, pixels } })
}

#[cfg(test)]
mod tests {
    use super::super::{cifar10, cifar100};

    #[test]
    fn truncated_files_and_wrong_labels_are_refused() {
        let ten = &cifar10::CIFAR;
        assert!(ten.parse(&[]).is_err());
        assert!(ten.parse(&vec![0; 3072]).unwrap_err().contains("3072 bytes"));
        assert!(ten.parse(&vec![10; 3073]).unwrap_err().contains("label 10"));
        let (labels, pixels) = ten.parse(&vec![9; 2 * 3073]).unwrap();
        assert_eq!((labels, pixels.len()), (vec![9, 9], 2 * 3072));
    }

    #[test]
    fn the_finer_of_two_labels_counts() {
        let hundred = &cifar100::CIFAR;
        let record = [&[19, 99][..], &[7; 3072]].concat();
        assert_eq!(hundred.parse(&record).unwrap(), (vec![99], vec![7; 3072]));
        assert!(hundred.parse(&[&[0, 100][..], &[7; 3072]].concat()).unwrap_err().contains("0 to 99"));
        let distinct: std::collections::BTreeSet<_> = hundred.classes.iter().collect();
        assert_eq!((distinct.len(), hundred.classes.is_sorted()), (100, true));
    }
}
