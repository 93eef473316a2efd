//! A table with typed columns, held by columns: what is written as CSV, as Parquet and on the page are the same values.

use crate::error::{Error, Result};
use parquet::data_type::ByteArray;
use std::borrow::Cow;
use std::fmt::Write as _;

/// What is in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number, not negative.
    Count,
    /// Yes or no.
    Flag,
    /// A number, as exact as it is written.
    Number(Digits),
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    /// Six behind the point.
    Six,
    /// Four, with an exponent: a chance.
    Chance,
    /// As many as tell it from any other number of its type.
    All,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name; a table has it once.
    pub name: &'static str,
    /// What is in it.
    pub kind: Kind,
}

impl Column {
    /// Of text.
    pub const fn text(name: &'static str) -> Column {
        Column { name, kind: Kind::Text }
    }

    /// Of whole numbers.
    pub const fn count(name: &'static str) -> Column {
        Column { name, kind: Kind::Count }
    }

    /// Of yes and no.
    pub const fn flag(name: &'static str) -> Column {
        Column { name, kind: Kind::Flag }
    }

    /// Of numbers with six digits behind the point.
    pub const fn number(name: &'static str) -> Column {
        Column { name, kind: Kind::Number(Digits::Six) }
    }

    /// Of chances.
    pub const fn chance(name: &'static str) -> Column {
        Column { name, kind: Kind::Number(Digits::Chance) }
    }

    /// Of numbers with all their digits.
    pub const fn exact(name: &'static str) -> Column {
        Column { name, kind: Kind::Number(Digits::All) }
    }
}

/// One field of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Field<'a> {
    /// Missing.
    Empty,
    /// Text; empty text is missing.
    Text(Cow<'a, str>),
    /// A whole number.
    Count(u64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(text: &'a str) -> Field<'a> {
        Field::Text(text.into())
    }
}

impl<'a> From<&'a String> for Field<'a> {
    fn from(text: &'a String) -> Field<'a> {
        Field::Text(text.into())
    }
}

impl From<String> for Field<'_> {
    fn from(text: String) -> Self {
        Field::Text(text.into())
    }
}

impl From<u64> for Field<'_> {
    fn from(n: u64) -> Self {
        Field::Count(n)
    }
}

impl From<usize> for Field<'_> {
    fn from(n: usize) -> Self {
        Field::Count(n as u64)
    }
}

impl From<f64> for Field<'_> {
    fn from(v: f64) -> Self {
        Field::Number(v)
    }
}

/// The number that its shortest text names: 0.1 is 0.1 in both precisions.
impl From<f32> for Field<'_> {
    fn from(v: f32) -> Self {
        Field::Number(v.to_string().parse().unwrap_or(f64::NAN))
    }
}

impl From<bool> for Field<'_> {
    fn from(yes: bool) -> Self {
        Field::Flag(yes)
    }
}

impl<'a, T: Into<Field<'a>>> From<Option<T>> for Field<'a> {
    fn from(value: Option<T>) -> Field<'a> {
        value.map_or(Field::Empty, T::into)
    }
}

/// A row of [`Field`]s from values of any type that is one.
macro_rules! row {
    ($($field:expr),* $(,)?) => { [$($crate::table::Field::from($field)),*] };
}
pub(crate) use row;

/// The fields of a column; `None`: missing.
#[derive(Debug, Clone)]
pub enum Values {
    /// Of [`Kind::Count`].
    Counts(Vec<Option<i64>>),
    /// Of [`Kind::Number`], rounded as they are written.
    Numbers(Vec<Option<f64>>),
    /// Of [`Kind::Flag`].
    Flags(Vec<Option<bool>>),
    /// Of [`Kind::Text`].
    Texts(Vec<Option<ByteArray>>),
}

/// Rows under typed columns.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    values: Vec<Values>,
    rows: usize,
}

impl Table {
    /// Without rows.
    pub fn new(columns: &[Column]) -> Table {
        let none = |column: &Column| match column.kind {
            Kind::Text => Values::Texts(Vec::new()),
            Kind::Count => Values::Counts(Vec::new()),
            Kind::Flag => Values::Flags(Vec::new()),
            Kind::Number(_) => Values::Numbers(Vec::new()),
        };
        Table { columns: columns.to_vec(), values: columns.iter().map(none).collect(), rows: 0 }
    }

    /// Of these rows; `None` where there are none.
    pub fn of<'a, R: IntoIterator<Item = Field<'a>>>(
        columns: &[Column],
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Option<Table>> {
        let mut table = Table::new(columns);
        rows.into_iter().try_for_each(|row| table.push(row))?;
        Ok((table.rows > 0).then_some(table))
    }

    /// Adds a row. A field that is not what its column holds is an error of ours.
    pub fn push<'a>(&mut self, row: impl IntoIterator<Item = Field<'a>>) -> Result<()> {
        let mut fields = row.into_iter();
        for (column, values) in self.columns.iter().zip(&mut self.values) {
            let field = fields.next().unwrap_or(Field::Empty);
            values.push(column, field)?;
        }
        self.rows += 1;
        match fields.next() {
            None => Ok(()),
            Some(field) => Err(Error::Store(format!("table: {field:?} is a field too many"))),
        }
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What is in them.
    pub fn values(&self) -> &[Values] {
        &self.values
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// These rows, in this order.
    pub fn picked(&self, rows: &[usize]) -> Table {
        fn picked<T: Clone>(all: &[Option<T>], rows: &[usize]) -> Vec<Option<T>> {
            rows.iter().map(|row| all[*row].clone()).collect()
        }
        let of = |values: &Values| match values {
            Values::Counts(v) => Values::Counts(picked(v, rows)),
            Values::Numbers(v) => Values::Numbers(picked(v, rows)),
            Values::Flags(v) => Values::Flags(picked(v, rows)),
            Values::Texts(v) => Values::Texts(picked(v, rows)),
        };
        Table { columns: self.columns.clone(), values: self.values.iter().map(of).collect(), rows: rows.len() }
    }

    /// Adds rows of the same table.
    pub fn extend(&mut self, other: Table) {
        self.rows += other.rows;
        for pair in self.values.iter_mut().zip(other.values) {
            match pair {
                (Values::Counts(a), Values::Counts(b)) => a.extend(b),
                (Values::Numbers(a), Values::Numbers(b)) => a.extend(b),
                (Values::Flags(a), Values::Flags(b)) => a.extend(b),
                (Values::Texts(a), Values::Texts(b)) => a.extend(b),
                _ => unreachable!("columns of a table have one kind each"),
            }
        }
    }

    /// Appends a field as text to `out`; nothing where it is missing.
    pub fn write(&self, row: usize, column: usize, out: &mut String) {
        let written = match (&self.values[column], self.columns[column].kind) {
            (Values::Texts(v), _) => {
                v[row].as_ref().and_then(|v| v.as_utf8().ok()).map_or(Ok(()), |v| out.write_str(v))
            }
            (Values::Counts(v), _) => v[row].map_or(Ok(()), |v| write!(out, "{v}")),
            (Values::Flags(v), _) => v[row].map_or(Ok(()), |v| write!(out, "{v}")),
            (Values::Numbers(v), Kind::Number(digits)) => v[row].map_or(Ok(()), |v| digits.write(v, out)),
            (Values::Numbers(_), _) => unreachable!("a column of numbers says how they are written"),
        };
        written.expect("a string takes all");
    }

    /// A field as text.
    pub fn text(&self, row: usize, column: usize) -> String {
        let mut text = String::new();
        self.write(row, column, &mut text);
        text
    }
}

impl Digits {
    fn write(self, v: f64, out: &mut String) -> std::fmt::Result {
        match self {
            Digits::Six => write!(out, "{v:.6}"),
            Digits::Chance => write!(out, "{v:.3e}"),
            Digits::All => write!(out, "{v}"),
        }
    }

    /// The number as it is written.
    fn rounded(self, v: f64) -> f64 {
        if self == Digits::All {
            return v;
        }
        let mut text = String::new();
        let written = self.write(v, &mut text);
        written.ok().and_then(|()| text.parse().ok()).unwrap_or(f64::NAN)
    }
}

impl Values {
    fn push(&mut self, column: &Column, field: Field) -> Result<()> {
        match (self, column.kind, field) {
            (Values::Texts(v), _, Field::Text(text)) if !text.is_empty() => {
                // most texts repeat what stands above
                let above = v.last().and_then(Option::as_ref).filter(|above| above.data() == text.as_bytes());
                let text = above.cloned().unwrap_or_else(|| text.as_bytes().to_vec().into());
                v.push(Some(text));
            }
            (Values::Texts(v), _, Field::Empty | Field::Text(_)) => v.push(None),
            (Values::Counts(v), _, Field::Empty) => v.push(None),
            (Values::Counts(v), _, Field::Count(n)) if i64::try_from(n).is_ok() => v.push(Some(n as i64)),
            (Values::Numbers(v), _, Field::Empty) => v.push(None),
            (Values::Numbers(v), _, Field::Count(n)) => v.push(Some(n as f64)),
            (Values::Numbers(v), Kind::Number(digits), Field::Number(number)) => v.push(Some(digits.rounded(number))),
            (Values::Flags(v), _, Field::Empty) => v.push(None),
            (Values::Flags(v), _, Field::Flag(yes)) => v.push(Some(yes)),
            (_, _, field) => return Err(Error::Store(format!("table: {field:?} in column `{}`", column.name))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 6] = [
        Column::text("a"),
        Column::count("b"),
        Column::flag("c"),
        Column::number("d"),
        Column::chance("e"),
        Column::exact("f"),
    ];

    fn text(row: [Field; 6]) -> Vec<String> {
        let table = Table::of(&COLUMNS, [row]).unwrap().unwrap();
        (0..6).map(|column| table.text(0, column)).collect()
    }

    #[test]
    fn fields_are_written_by_their_columns() {
        assert_eq!(
            text(row!["x", 3usize, true, 0.5, 0.000_123_45, 0.1f32]),
            ["x", "3", "true", "0.500000", "1.234e-4", "0.1"]
        );
        assert_eq!(
            text(row!["", None::<usize>, None::<bool>, None::<f64>, f64::NAN, 1e-7]),
            ["", "", "", "", "NaN", "0.0000001"]
        );
        assert_eq!(text(row!["", 0usize, false, 2usize, f64::INFINITY, -0.0])[3..], ["2.000000", "inf", "-0"]);
    }

    #[test]
    fn a_field_of_another_kind_is_refused() {
        let push = |row: [Field; 6]| Table::new(&COLUMNS).push(row).unwrap_err().to_string();
        assert!(push(row![1usize, 3usize, true, 0.5, 0.5, 0.5]).contains("`a`"));
        assert!(push(row!["x", "3", true, 0.5, 0.5, 0.5]).contains("`b`"));
        assert!(push(row!["x", u64::MAX, true, 0.5, 0.5, 0.5]).contains("`b`"));
        assert!(Table::new(&COLUMNS[..1]).push(row!["x", "y"]).is_err());
        assert!(Table::of(&COLUMNS, Vec::<[Field; 6]>::new()).unwrap().is_none());
    }

    /// Every decimal of an f32 is one of an f64, and comes back as the text that it was.
    #[test]
    fn single_precision_keeps_its_digits() {
        for k in 0..20_000u32 {
            let v = f32::from_bits(k.wrapping_mul(2_654_435_761));
            let written = text(row!["", None::<usize>, None::<bool>, None::<f64>, None::<f64>, v]);
            assert_eq!(written[5], v.to_string());
        }
    }
}
