//! The tables of a report.

pub mod binarised;
pub mod cells;
pub mod corruptions;
pub mod defences;
pub mod distances;
pub mod images;
pub mod optimality;
pub mod readable;
pub mod sanity;
pub mod stages;
pub mod worst_case;
