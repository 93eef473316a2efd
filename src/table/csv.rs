//! Tables as CSV. Rates are fractions with six digits; what is missing is an empty field.

use super::typed::Table;
use crate::error::{Error, Result};
use std::fmt::Display;

/// The whole of a table.
pub fn bytes(table: &Table) -> Result<Vec<u8>> {
    let names = table.columns().iter().map(|column| column.name);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(names).map_err(problem)?;
    append(table, &mut writer)?;
    writer.into_inner().map_err(problem)
}

/// The rows of a table without their heading.
pub fn rows(table: &Table) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(128 * table.rows()));
    append(table, &mut writer)?;
    writer.into_inner().map_err(problem)
}

/// A heading and lines of fields that are text already: the points of a figure.
pub fn lines(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns).map_err(problem)?;
    for row in rows {
        writer.write_record(row).map_err(problem)?;
    }
    writer.into_inner().map_err(problem)
}

fn append(table: &Table, writer: &mut csv::Writer<Vec<u8>>) -> Result<()> {
    let mut field = String::new();
    for row in 0..table.rows() {
        for column in 0..table.columns().len() {
            field.clear();
            table.write(row, column, &mut field);
            writer.write_field(&field).map_err(problem)?;
        }
        writer.write_record(None::<&[u8]>).map_err(problem)?;
    }
    Ok(())
}

fn problem(e: impl Display) -> Error {
    Error::Store(format!("table: {e}"))
}

/// A word for a column.
pub fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A field, empty where there is no value.
pub fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |v| v.to_string())
}

/// Six digits, empty where there is no value.
pub fn six(value: Option<f64>) -> String {
    value.map_or(String::new(), |v| format!("{v:.6}"))
}
