//! Tables as Parquet: typed columns, nulls where CSV has an empty field, the same bytes every time.

use crate::error::{Error, Result};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Count,
    Number,
    Flag,
    Text,
}

/// What is in a column, by its name: the same in every table and for every run.
fn kind(column: &str) -> Kind {
    const COUNTS: [&str; 24] = [
        "n",
        "clean_correct",
        "robust_correct",
        "example",
        "label",
        "clean_prediction",
        "adversarial_prediction",
        "step",
        "restart",
        "prediction",
        "count",
        "of_label",
        "class",
        "seed",
        "canvas",
        "steps",
        "rank",
        "second_rank",
        "against_count",
        "only",
        "only_against",
        "target",
        "target_rank_clean",
        "target_rank_adversarial",
    ];
    const TEXTS: [&str; 33] = [
        "cell",
        "model",
        "dataset",
        "attack",
        "params",
        "norm",
        "eps",
        "goal",
        "mode",
        "witness",
        "precision",
        "status",
        "error",
        "flags",
        "fitted_to",
        "transfer_to",
        "label_name",
        "prediction_name",
        "name",
        "recipe",
        "objective",
        "objective_curve",
        "second_model",
        "weights_pinned",
        "data_pinned",
        "relation",
        "verdict",
        "against",
        "why",
        "run",
        "network",
        "weights",
        "note",
    ];
    match column {
        "success" => Kind::Flag,
        name if COUNTS.contains(&name) => Kind::Count,
        name if TEXTS.contains(&name) => Kind::Text,
        _ => Kind::Number,
    }
}

/// The fields of a column; `None`: empty.
enum Column {
    Counts(Vec<Option<i64>>),
    Numbers(Vec<Option<f64>>),
    Flags(Vec<Option<bool>>),
    Texts(Vec<Option<ByteArray>>),
}

/// Some rows of a table by columns.
pub struct Columns(Vec<Column>);

impl Columns {
    /// Rows in CSV without their heading. A field that is not what its column holds is an error of ours.
    pub fn parse(names: &[&str], rows: &[u8]) -> Result<Columns> {
        let mut columns: Vec<Column> = names
            .iter()
            .map(|name| match kind(name) {
                Kind::Count => Column::Counts(Vec::new()),
                Kind::Number => Column::Numbers(Vec::new()),
                Kind::Flag => Column::Flags(Vec::new()),
                Kind::Text => Column::Texts(Vec::new()),
            })
            .collect();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(rows);
        let mut record = csv::StringRecord::new();
        // most columns of text repeat what stands above
        let mut above: Vec<Option<ByteArray>> = vec![None; names.len()];
        while reader.read_record(&mut record).map_err(problem)? {
            for (((column, field), name), above) in columns.iter_mut().zip(&record).zip(names).zip(&mut above) {
                let wrong = || problem(format!("`{field}` in column {name}"));
                match column {
                    Column::Counts(v) => v.push(parsed(field).map_err(|()| wrong())?),
                    Column::Numbers(v) => v.push(parsed(field).map_err(|()| wrong())?),
                    Column::Flags(v) => v.push(parsed(field).map_err(|()| wrong())?),
                    Column::Texts(v) => {
                        let same = above.as_ref().is_some_and(|a| a.data() == field.as_bytes());
                        if !same {
                            *above = (!field.is_empty()).then(|| field.as_bytes().to_vec().into());
                        }
                        v.push(above.clone());
                    }
                }
            }
        }
        Ok(Columns(columns))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.0.first().map_or(0, |column| match column {
            Column::Counts(v) => v.len(),
            Column::Numbers(v) => v.len(),
            Column::Flags(v) => v.len(),
            Column::Texts(v) => v.len(),
        })
    }

    /// Adds rows of the same table.
    fn extend(&mut self, other: Columns) {
        for pair in self.0.iter_mut().zip(other.0) {
            match pair {
                (Column::Counts(a), Column::Counts(b)) => a.extend(b),
                (Column::Numbers(a), Column::Numbers(b)) => a.extend(b),
                (Column::Flags(a), Column::Flags(b)) => a.extend(b),
                (Column::Texts(a), Column::Texts(b)) => a.extend(b),
                _ => unreachable!("columns of a table have one kind each"),
            }
        }
    }
}

fn parsed<T: std::str::FromStr>(field: &str) -> Result<Option<T>, ()> {
    if field.is_empty() { Ok(None) } else { field.parse().map(Some).map_err(|_| ()) }
}

fn problem(e: impl Display) -> Error {
    Error::Store(format!("parquet: {e}"))
}

/// The most rows of one row group, unless one call of [`Parquet::append`] brings more. A row takes 1 to 2 KiB of memory until its
/// group is written.
const GROUP: usize = 1 << 16;

/// A Parquet file under way.
pub struct Parquet<W: Write + Send> {
    file: SerializedFileWriter<W>,
    /// Of the next row group.
    waiting: Vec<Columns>,
}

impl<W: Write + Send> Parquet<W> {
    /// A file of these columns.
    pub fn new(to: W, names: &[&str]) -> Result<Parquet<W>> {
        let field = |name: &&str| {
            let (physical, logical) = match kind(name) {
                Kind::Count => (Physical::INT64, None),
                Kind::Number => (Physical::DOUBLE, None),
                Kind::Flag => (Physical::BOOLEAN, None),
                Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            };
            let field = Type::primitive_type_builder(name, physical);
            let field = field.with_logical_type(logical).with_repetition(Repetition::OPTIONAL).build();
            field.map(Arc::new).map_err(problem)
        };
        let fields = names.iter().map(field).collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("table").with_fields(fields).build().map_err(problem)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by("foolproof".into())
            .build();
        let file = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties)).map_err(problem)?;
        Ok(Parquet { file, waiting: Vec::new() })
    }

    /// Adds rows.
    pub fn append(&mut self, rows: Columns) -> Result<()> {
        let waiting: usize = self.waiting.iter().map(Columns::rows).sum();
        if waiting + rows.rows() > GROUP {
            self.write_group()?;
        }
        self.waiting.push(rows);
        Ok(())
    }

    /// Writes what waits; no rows make no row group.
    fn write_group(&mut self) -> Result<()> {
        let mut parts = std::mem::take(&mut self.waiting).into_iter();
        let Some(mut rows) = parts.next() else { return Ok(()) };
        parts.for_each(|part| rows.extend(part));
        if rows.rows() == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group().map_err(problem)?;
        for column in &rows.0 {
            let mut writer = group.next_column().map_err(problem)?.ok_or_else(|| problem("a column too many"))?;
            match column {
                Column::Counts(v) => put::<Int64Type>(&mut writer, v),
                Column::Numbers(v) => put::<DoubleType>(&mut writer, v),
                Column::Flags(v) => put::<BoolType>(&mut writer, v),
                Column::Texts(v) => put::<ByteArrayType>(&mut writer, v),
            }?;
            writer.close().map_err(problem)?;
        }
        group.close().map(|_| ()).map_err(problem)
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<W> {
        self.write_group()?;
        self.file.into_inner().map_err(problem)
    }
}

fn put<T: DataType>(writer: &mut parquet::file::writer::SerializedColumnWriter, fields: &[Option<T::T>]) -> Result<()> {
    let there: Vec<i16> = fields.iter().map(|f| i16::from(f.is_some())).collect();
    let values: Vec<T::T> = fields.iter().flatten().cloned().collect();
    writer.typed::<T>().write_batch(&values, Some(&there), None).map(|_| ()).map_err(problem)
}

/// The whole of a table in CSV.
pub fn of_csv(csv: &[u8]) -> Result<Vec<u8>> {
    let heading = csv.iter().position(|b| *b == b'\n').map_or(csv.len(), |at| at + 1);
    let names = std::str::from_utf8(&csv[..heading]).map_err(problem)?.trim_end();
    let names: Vec<&str> = names.split(',').collect();
    let mut file = Parquet::new(Vec::new(), &names)?;
    file.append(Columns::parse(&names, &csv[heading..])?)?;
    file.finish()
}
