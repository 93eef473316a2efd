//! Tables, as programs and people read them.

pub mod csv;
pub mod pages;
pub mod parquet;
mod typed;

pub(crate) use typed::row;
pub use typed::{Column, Digits, Field, Kind, Table, Values};
