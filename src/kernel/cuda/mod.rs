//! x
pub mod shim;
