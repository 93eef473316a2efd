//! From a sweep file to stored cells: [`plan`] resolves, [`run`] computes what is missing, [`verify`] checks what is
//! claimed.

mod afterwards;
mod figures;
mod fits;
pub mod plan;
pub mod run;
mod units;
pub mod verify;
