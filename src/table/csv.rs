//! Tables as CSV. Rates are fractions with six digits; what is missing is an empty field.

use crate::error::{Error, Result};

/// A table in bytes.
pub fn csv(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let problem = |e: csv::Error| Error::Store(format!("table: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns).map_err(problem)?;
    for row in rows {
        writer.write_record(row).map_err(problem)?;
    }
    writer.into_inner().map_err(|e| Error::Store(format!("table: {e}")))
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
