//! The tables of a report.

pub mod cells;
pub mod images;
pub mod readable;
pub mod sanity;
