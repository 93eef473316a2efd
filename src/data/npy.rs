//! Numpy's array files, as far as data sets of images use them: whole numbers in row order. Rows are read from where they lie: the
//! reader of `candle` takes a whole file into memory, however long its header says that it is, for a fifth of it.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"\x93NUMPY";

/// A header is a line of text; numpy itself reads no longer ones.
const MOST_HEADER: usize = 10_000;

/// An array in a file.
pub struct Npy {
    path: PathBuf,
    file: File,
    /// Where the numbers begin, in bytes.
    begin: u64,
    /// Bytes of a number.
    width: usize,
    is_signed: bool,
    /// Length of each axis.
    pub shape: Vec<usize>,
}

impl Npy {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// No such file; a file that is none of these, or shorter or longer than its header says.
    pub fn open(path: &Path) -> Result<Npy> {
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let header = header(&mut file).and_then(|(begin, text)| Ok((begin, parsed(&text)?)));
        let (begin, (width, is_signed, shape)) = header.map_err(|problem| refused(path, &problem))?;
        let bytes = shape.iter().try_fold(width as u64, |product, n| product.checked_mul(*n as u64));
        match bytes.and_then(|bytes| bytes.checked_add(begin)) {
            Some(expected) if expected == length => {
                Ok(Npy { path: path.to_path_buf(), file, begin, width, is_signed, shape })
            }
            expected => {
                let expected = expected.map_or("more than a file can have".into(), |n| n.to_string());
                Err(refused(path, &format!("{length} bytes, expected {expected} (hint: download it again)")))
            }
        }
    }

    /// The bytes of some rows, of an array of bytes.
    ///
    /// # Errors
    /// Numbers that are no bytes; rows beyond the last.
    pub fn rows(&mut self, rows: Range<usize>) -> Result<Vec<u8>> {
        if self.width != 1 {
            return Err(self.refused("its numbers are no bytes (uint8)"));
        }
        self.bytes(rows)
    }

    /// The numbers of some rows.
    ///
    /// # Errors
    /// Rows beyond the last.
    pub fn numbers(&mut self, rows: Range<usize>) -> Result<Vec<i64>> {
        let (width, is_signed) = (self.width, self.is_signed);
        let number = |bytes: &[u8]| {
            let unsigned = bytes.iter().rev().fold(0i64, |n, byte| n << 8 | i64::from(*byte));
            let unused = 64 - 8 * width;
            if is_signed { unsigned << unused >> unused } else { unsigned }
        };
        Ok(self.bytes(rows)?.chunks_exact(width).map(number).collect())
    }

    fn bytes(&mut self, rows: Range<usize>) -> Result<Vec<u8>> {
        let [count, inner @ ..] = self.shape.as_slice() else { return Err(self.refused("it has no rows")) };
        if rows.end > *count {
            return Err(self.refused(&format!("it has {count} rows, expected {} at least", rows.end)));
        }
        let row = inner.iter().product::<usize>() * self.width;
        let mut bytes = vec![0; rows.len() * row];
        let place = SeekFrom::Start(self.begin + (rows.start * row) as u64);
        let read = self.file.seek(place).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    /// The error of an array that is not what is needed.
    pub fn refused(&self, problem: &str) -> Error {
        refused(&self.path, problem)
    }
}

fn refused(path: &Path, problem: &str) -> Error {
    let hint = if problem.contains("(hint: ") { "" } else { " (hint: the file of the archive, unchanged)" };
    Error::usage(format!("{}: {problem}{hint}", path.display()))
}

/// Where the numbers begin, and the text of the header.
fn header(file: &mut File) -> Result<(u64, String), String> {
    let no_array = || "no array file of numpy".to_string();
    let none = |_| no_array();
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(none)?;
    if !start.starts_with(MAGIC) {
        return Err(no_array());
    }
    let mut length = [0; 4];
    let wide = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(format!("version {version} of numpy's format, expected 1 to 3")),
    };
    file.read_exact(&mut length[..wide]).map_err(none)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST_HEADER {
        return Err(format!("a header of {length} bytes, expected {MOST_HEADER} at most"));
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text).map_err(none)?;
    Ok(((start.len() + wide + length) as u64, String::from_utf8_lossy(&text).into_owned()))
}

/// Bytes of a number, whether it has a sign, and the shape: `{'descr': '|u1', 'fortran_order': False, 'shape': (50000, 32, 32, 3), }`.
fn parsed(text: &str) -> Result<(usize, bool, Vec<usize>), String> {
    let after = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let missing = |key: &str| format!("no `{key}` in the header of numpy");
    let kind = after("descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next()).ok_or(missing("descr"))?;
    let (width, is_signed) = match kind {
        "|u1" => (1, false),
        "<u4" => (4, false),
        "<i4" => (4, true),
        "<i8" | "<u8" => (8, true),
        other => return Err(format!("numbers of kind `{other}`, expected uint8, of labels int32 or int64")),
    };
    if !after("fortran_order").is_some_and(|rest| rest.starts_with("False")) {
        return Err("numbers in column order (hint: numpy.ascontiguousarray before numpy.save)".into());
    }
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next()).ok_or(missing("shape"))?;
    let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty()).map(str::parse);
    Ok((width, is_signed, axes.collect::<Result<_, _>>().map_err(|_| format!("a shape of ({shape})"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: &str, order: &str, shape: &str, data: &[u8]) -> tempfile::NamedTempFile {
        let text = format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        let head = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes(), data].concat();
        std::fs::write(file.path(), head).unwrap();
        file
    }

    #[test]
    fn rows_are_read_where_they_lie() {
        let file = written("|u1", "False", "3, 2", &[1, 2, 3, 4, 5, 6]);
        let mut array = Npy::open(file.path()).unwrap();
        assert_eq!(array.shape, [3, 2]);
        assert_eq!(array.rows(1..3).unwrap(), [3, 4, 5, 6]);
        assert!(array.rows(1..4).unwrap_err().to_string().contains("3 rows, expected 4"));
        for (kind, data) in [
            ("<i8", [7i64.to_le_bytes(), (-1i64).to_le_bytes()].concat()),
            ("<i4", [7i32.to_le_bytes(), (-1i32).to_le_bytes()].concat()),
        ] {
            let labels = written(kind, "False", "2,", &data);
            assert_eq!(Npy::open(labels.path()).unwrap().numbers(0..2).unwrap(), [7, -1]);
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let problem = |file: tempfile::NamedTempFile| Npy::open(file.path()).err().unwrap().to_string();
        for (file, expected) in [
            (written("|u1", "False", "3, 2", &[0; 5]), "bytes, expected"),
            (written("|u1", "False", "18446744073709551615, 9", &[0; 5]), "more than a file can have"),
            (written("|u1", "True", "3, 2", &[0; 6]), "column order"),
            (written("<f4", "False", "1,", &[0; 4]), "numbers of kind `<f4`"),
            (written("|u1", "False", "3, -2", &[0; 6]), "a shape of"),
        ] {
            let text = problem(file);
            assert!(text.contains(expected), "{text}");
        }
        let none = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(none.path(), b"PK\x03\x04 something else").unwrap();
        assert!(problem(none).contains("no array file of numpy"));
    }
}
