//! From a sweep file to stored cells: [`plan`] resolves, [`run`] computes what is missing, [`verify`] checks what is
//! claimed.

mod afterwards;
mod claim;
pub mod class_names;
mod fits;
pub mod given;
pub mod plan;
pub mod price;
mod probe;
pub mod run;
mod runner;
mod units;
pub mod verify;
