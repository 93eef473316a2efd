//! From a sweep file to stored cells: [`plan`] resolves, [`run`] computes what is missing, [`verify`] checks what is
//! claimed.

mod afterwards;
mod binarised;
mod chunks;
mod claim;
pub mod class_names;
mod compute;
mod fits;
pub mod given;
mod pieces;
pub mod plan;
pub mod price;
mod probe;
pub mod run;
mod runner;
pub mod share;
pub mod status;
mod units;
pub mod verify;
pub mod worker;
