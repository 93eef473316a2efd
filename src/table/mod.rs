//! Tables, as programs and people read them.

pub mod csv;
pub mod pages;
pub mod parquet;
