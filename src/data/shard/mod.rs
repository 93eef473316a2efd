//! One parquet file with a picture and a label a row, read without trust: what it claims is checked ([`thrift`]), its
//! values are decoded here ([`page`]); the `parquet` crate reads schema and pages, and unpacks them.

mod page;
mod thrift;

use super::columns::Columns;
use crate::error::{Error, Result};
use bytes::Bytes;
use page::Physical;
use parquet::basic::{Compression, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a footer; those of ImageNet's shards have some hundred thousand.
const MOST_FOOTER: u64 = 16 << 20;
/// Bytes of a page header, which may hold the smallest and the largest value.
const MOST_HEADER: u64 = 64 << 10;

/// A parquet file whose schema has been read.
pub struct Shard {
    path: PathBuf,
    file: Arc<Guarded>,
    metadata: ParquetMetaData,
    image: Column,
    label: Column,
    /// Names of the classes, by label, where the file says them.
    pub names: Option<Vec<String>>,
}

/// A row that has both.
pub struct Row {
    /// Index in the file.
    pub row: usize,
    /// An encoded picture.
    pub picture: Bytes,
    /// As stored.
    pub label: i64,
}

/// A column of the file.
struct Column {
    index: usize,
    name: String,
    physical: Physical,
    /// Level of a row that has a value; 0: every row has one.
    max_level: i16,
}

/// What columns are called where nothing is said.
const IMAGES: [&str; 2] = ["image", "img"];
const LABELS: [&str; 2] = ["label", "fine_label"];

impl Shard {
    /// Reads the footer; no row.
    pub fn open(path: &Path, columns: &Columns) -> Result<Shard> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let file = Arc::new(Guarded { file, length });
        Shard::parse(path, file, columns).map_err(|problem| wrong(path, problem))
    }

    fn parse(path: &Path, file: Arc<Guarded>, columns: &Columns) -> Result<Shard, String> {
        let footer = file.footer()?;
        thrift::check_footer(&footer)?;
        let options = ParquetMetaDataOptions::new()
            .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = ParquetMetaDataReader::decode_metadata_with_options(&footer, Some(&options)).map_err(text)?;
        let image = find_column(&metadata, columns.image.as_deref(), &IMAGES, "image", |name, path, physical| {
            physical == Physical::Bytes && (path == [name, "bytes"] || path == [name])
        })?;
        let label = find_column(&metadata, columns.label.as_deref(), &LABELS, "label", |name, path, physical| {
            physical != Physical::Bytes && path == [name]
        })?;
        check_rows(&metadata, file.length)?;
        let names = class_names(&metadata, &label.name)?;
        Ok(Shard { path: path.to_path_buf(), file, metadata, image, label, names })
    }

    /// What is wrong with it.
    pub fn wrong(&self, problem: impl std::fmt::Display) -> Error {
        wrong(&self.path, problem)
    }

    /// A row's picture, for messages.
    pub fn picture_name(&self, row: usize) -> String {
        format!("picture of row {row} of {}", self.path.display())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.groups().last().map_or(0, |group| group.end)
    }

    /// Rows that are stored, and read, together.
    pub fn groups(&self) -> impl Iterator<Item = Range<usize>> {
        let mut end = 0;
        self.metadata.row_groups().iter().map(move |group| {
            let begin = end;
            end += group.num_rows() as usize; // not negative: `check_rows`
            begin..end
        })
    }

    /// The rows `wanted` (rising) of the group of this number. Where one lacks picture or label, that is the error.
    pub fn read(&self, group: usize, wanted: &[usize]) -> Result<Vec<Row>> {
        let begin = self.groups().nth(group).map_or(0, |g| g.start);
        let within: Vec<usize> = wanted.iter().map(|row| row - begin).collect();
        let column = |column: &Column| {
            let problem = |problem| wrong(&self.path, format!("column `{}`: {problem}", column.name));
            self.values(group, column, &within).map_err(problem)
        };
        let (pictures, labels) = (column(&self.image)?, column(&self.label)?);
        let rows = wanted.iter().zip(pictures.into_iter().zip(labels));
        rows.map(|(row, (picture, label))| {
            let missing = |name: &str| wrong(&self.path, format!("row {row} has no `{name}`"));
            let label = label.ok_or_else(|| missing(&self.label.name))?;
            Ok(Row { row: *row, picture: picture.ok_or_else(|| missing(&self.image.name))?, label: integer(&label) })
        })
        .collect()
    }

    /// Values of the rows `wanted`, counted from the first of the group.
    fn values(&self, group: usize, column: &Column, wanted: &[usize]) -> Result<Vec<Option<Bytes>>, String> {
        let group = self.metadata.row_group(group);
        let chunk = group.columns().get(column.index).ok_or("a row group lacks it")?;
        self.file.check_chunk(chunk)?;
        let mut pages =
            SerializedPageReader::new(self.file.clone(), chunk, group.num_rows() as usize, None).map_err(text)?;
        let (mut dictionary, mut found, mut begin) = (None, Vec::with_capacity(wanted.len()), 0);
        while found.len() < wanted.len() {
            let rest = &wanted[found.len()..];
            // not peeked at first: that panics where a header says one type and is of another
            let page = pages.get_next_page().map_err(text)?.ok_or("it ends before its last row")?;
            if let Page::DictionaryPage { .. } = page {
                dictionary = Some(page::dictionary(&page, column.physical)?);
                continue;
            }
            let end = begin + page.num_values() as usize;
            let here: Vec<usize> = rest.iter().take_while(|row| **row < end).map(|row| row - begin).collect();
            found.extend(page::values(&page, column.physical, column.max_level, dictionary.as_deref(), &here)?);
            begin = end;
        }
        Ok(found)
    }
}

fn wrong(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::usage(format!("parquet file {}: {problem}", path.display()))
}

fn text(error: ParquetError) -> String {
    match error {
        ParquetError::General(text) | ParquetError::EOF(text) | ParquetError::NYI(text) => text,
        other => other.to_string(),
    }
}

/// Little endian, four or eight bytes.
fn integer(bytes: &[u8]) -> i64 {
    match bytes.first_chunk::<8>() {
        Some(eight) => i64::from_le_bytes(*eight),
        None => bytes.first_chunk::<4>().map_or(-1, |four| i64::from(i32::from_le_bytes(*four))),
    }
}

/// The column of this name, else of the first known name, that `fits`.
fn find_column(
    metadata: &ParquetMetaData,
    named: Option<&str>,
    known: &[&str],
    what: &str,
    fits: impl Fn(&str, &[&str], Physical) -> bool,
) -> Result<Column, String> {
    let schema = metadata.file_metadata().schema_descr();
    let candidates: Vec<&str> = named.map_or(known.to_vec(), |name| vec![name]);
    for name in &candidates {
        for (index, column) in schema.columns().iter().enumerate() {
            let path: Vec<&str> = column.path().parts().iter().map(String::as_str).collect();
            let physical = match column.physical_type() {
                Type::BYTE_ARRAY => Physical::Bytes,
                Type::INT32 => Physical::Integer(4),
                Type::INT64 => Physical::Integer(8),
                _ => continue,
            };
            if column.max_rep_level() == 0 && fits(name, &path, physical) {
                return Ok(Column { index, name: name.to_string(), physical, max_level: column.max_def_level() });
            }
        }
    }
    let there: Vec<String> =
        schema.columns().iter().map(|c| format!("`{}` ({})", c.path().string(), c.physical_type())).take(20).collect();
    let kind = if what == "image" { "encoded pictures" } else { "whole numbers" };
    Err(format!(
        "no column of {kind} named `{}`; there are {} (hint: `{what}` names it)",
        candidates.join("` or `"),
        there.join(", ")
    ))
}

/// Rows are counted by the footer alone; a picture takes a byte at least.
fn check_rows(metadata: &ParquetMetaData, length: u64) -> Result<(), String> {
    let mut rows = 0u64;
    for group in metadata.row_groups() {
        rows = u64::try_from(group.num_rows()).ok().and_then(|n| rows.checked_add(n)).unwrap_or(u64::MAX);
    }
    match i64::try_from(rows) == Ok(metadata.file_metadata().num_rows()) && rows <= length {
        true => Ok(()),
        false => Err(format!("its footer claims {rows} rows in {length} bytes")),
    }
}

/// What Python's `datasets` writes beside the schema: `info.features.LABEL.names`. `Err`: it is there, and not as it writes it.
fn class_names(metadata: &ParquetMetaData, label: &str) -> Result<Option<Vec<String>>, String> {
    let keys = metadata.file_metadata().key_value_metadata();
    let text = keys.and_then(|keys| keys.iter().find(|k| k.key == "huggingface")?.value.as_deref());
    let Some(text) = text else { return Ok(None) };
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| "its metadata of Python's `datasets` is no JSON")?;
    let names = value.pointer("/info/features").and_then(|features| features.get(label)?.get("names"));
    let Some(names) = names.filter(|names| !names.is_null()) else { return Ok(None) };
    let texts: Option<Vec<String>> =
        names.as_array().and_then(|names| names.iter().map(|name| name.as_str().map(String::from)).collect());
    texts.map(Some).ok_or_else(|| format!("the names of the classes of `{label}` are no texts"))
}

/// A file that hands out page headers only when they make sense.
struct Guarded {
    file: File,
    length: u64,
}

impl Guarded {
    /// Footer without its length and mark.
    fn footer(&self) -> Result<Vec<u8>, String> {
        let tail = self.length.checked_sub(12).and_then(|_| self.bytes(self.length - 8, 8).ok());
        let tail = tail.filter(|t| t[4..] == *b"PAR1").ok_or("no parquet file: it has no end mark")?;
        let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        if length > MOST_FOOTER || length > self.length - 12 {
            return Err(format!("its footer claims {length} bytes"));
        }
        self.bytes(self.length - 8 - length, length).map_err(|e| e.to_string())
    }

    fn bytes(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether a column's pages lie inside the file, in a codec that is compiled in.
    fn check_chunk(&self, chunk: &ColumnChunkMetaData) -> Result<(), String> {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size());
        if start < 0 || chunk.compressed_size() < 0 || end.is_none_or(|end| end as u64 > self.length) {
            return Err("its pages lie outside the file".into());
        }
        match chunk.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_) => Ok(()),
            other => Err(format!("compressed by {other} (hint: write it with snappy or zstd)")),
        }
    }
}

impl Length for Guarded {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Guarded {
    type T = Cursor<Vec<u8>>;

    /// The crate calls this for page headers.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let bytes = self.bytes(start, MOST_HEADER)?;
        thrift::check_page(&bytes).map_err(ParquetError::General)?;
        Ok(Cursor::new(bytes))
    }

    /// And this for what follows a header, which is no longer than the rest of the column.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.file.get_bytes(start, length)
    }
}
