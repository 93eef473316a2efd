//! Classifiers: the registry of built-in models, models of the user's own and of the Hub, and loading.

mod archive;
pub mod builder;
mod built_in;
mod convnext;
mod densenet;
pub mod families;
pub mod family;
mod find;
mod format;
pub mod layer;
mod legacy;
mod mobilenet;
mod naming;
pub mod onnx;
mod pickle;
mod portable;
mod preact_resnet;
mod repository;
mod resnet;
mod source;
pub mod squeezenet;
mod unpickle;
pub mod vgg;
mod vit;
mod weights;
mod wide_resnet;
mod width;

pub use builder::{Builder, Named, Network};
pub use built_in::{BuiltIn, MODELS};
pub use families::{FAMILIES, parse};
pub use family::Family;
pub use find::{MODEL_FOLDER, built_in, find};
pub use portable::Portable;
pub use source::ModelSource;
pub use weights::{Taken, Weights};
pub use width::WIDTH;
