//! What a run says, computed from the store alone: rates with intervals, cells held against each other image by image, the
//! sanity ladder, what other nets say of witnesses. It draws and writes nothing.

pub mod answer;
pub mod binarised;
pub mod corruptions;
pub mod defences;
pub mod groups;
pub mod ladder;
pub mod least;
pub mod optimality;
pub mod paired;
pub mod rounding;
pub mod run;
pub mod strongest;
pub mod summary;
pub mod transfers;
pub mod worst;

pub use run::Run;
pub use summary::Summary;
