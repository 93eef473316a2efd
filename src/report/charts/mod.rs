//! The figures of a report, one file each; a file whose figure has a table beside it makes that, too.

pub mod class_max;
pub mod confusion;
pub mod corruption;
pub mod cost;
pub mod distance;
pub mod explain;
pub mod gallery;
pub mod patch_area;
pub mod patch_picture;
pub mod robust_accuracy;
pub mod security_curve;
pub mod side_by_side;
pub mod success_queries;
pub mod success_steps;
pub mod transfer_matrix;
