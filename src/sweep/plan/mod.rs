//! Resolves a sweep file: names through the registries, blocks into their products, all errors at once.

mod attack;
mod binarise;
mod block;
mod budget;
mod cells;
mod corruption;
mod data;
mod defence;
mod figures;
mod goal;
mod model;
mod resolver;
mod takes;
mod train;

pub use block::{load, parse};
pub use cells::{Fitting, LoadedData, Plan, PlannedCell};
pub use data::images;
pub use takes::Takes;
