//! Tables as Parquet: typed columns, nulls where CSV has an empty field, the same bytes every time.

use super::typed::{Column, Kind, Table, Values};
use crate::error::{Error, Result};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;

fn problem(e: impl Display) -> Error {
    Error::Store(format!("parquet: {e}"))
}

/// The most rows of one row group, unless one call of [`Parquet::append`] brings more. A row takes 1 to 2 KiB of memory until its
/// group is written.
const GROUP: usize = 1 << 16;

/// A Parquet file under way.
pub struct Parquet<W: Write + Send> {
    file: SerializedFileWriter<W>,
    /// Of the next row group, and how many rows they have.
    waiting: Vec<Table>,
    rows: usize,
}

impl<W: Write + Send> Parquet<W> {
    /// A file of these columns.
    pub fn new(to: W, columns: &[Column]) -> Result<Parquet<W>> {
        let field = |column: &Column| {
            let (physical, logical) = match column.kind {
                Kind::Count => (Physical::INT64, None),
                Kind::Number(_) => (Physical::DOUBLE, None),
                Kind::Flag => (Physical::BOOLEAN, None),
                Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            };
            let field = Type::primitive_type_builder(column.name, physical);
            let field = field.with_logical_type(logical).with_repetition(Repetition::OPTIONAL).build();
            field.map(Arc::new).map_err(problem)
        };
        let fields = columns.iter().map(field).collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("table").with_fields(fields).build().map_err(problem)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by("foolproof".into())
            .build();
        let file = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties)).map_err(problem)?;
        Ok(Parquet { file, waiting: Vec::new(), rows: 0 })
    }

    /// Adds rows.
    pub fn append(&mut self, rows: Table) -> Result<()> {
        if self.rows + rows.rows() > GROUP {
            self.write_group()?;
        }
        self.rows += rows.rows();
        self.waiting.push(rows);
        Ok(())
    }

    /// Writes what waits; no rows make no row group.
    fn write_group(&mut self) -> Result<()> {
        self.rows = 0;
        let mut parts = std::mem::take(&mut self.waiting).into_iter();
        let Some(mut rows) = parts.next() else { return Ok(()) };
        parts.for_each(|part| rows.extend(part));
        if rows.rows() == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group().map_err(problem)?;
        for column in rows.values() {
            let mut writer = group.next_column().map_err(problem)?.ok_or_else(|| problem("a column too many"))?;
            match column {
                Values::Counts(v) => put::<Int64Type>(&mut writer, v),
                Values::Numbers(v) => put::<DoubleType>(&mut writer, v),
                Values::Flags(v) => put::<BoolType>(&mut writer, v),
                Values::Texts(v) => put::<ByteArrayType>(&mut writer, v),
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

/// The whole of a table.
pub fn bytes(table: Table) -> Result<Vec<u8>> {
    let mut file = Parquet::new(Vec::new(), table.columns())?;
    file.append(table)?;
    file.finish()
}
