//! Classifiers: the registry of built-in models, models of the user's own and of the Hub, and loading.

pub mod family;
mod find;
mod pickle;
mod portable;
mod repository;
mod source;
pub mod squeezenet;
pub mod vgg;
mod weights;

pub use family::{FAMILIES, Family, Network};
pub use find::{BuiltIn, MODEL_FOLDER, MODELS, built_in, find};
pub use portable::Portable;
pub use source::ModelSource;
pub use weights::{Number, Taken, Weights};
