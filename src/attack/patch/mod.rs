//! The adversarial patch (Brown, Mané, Roy, Abadi, Gilmer 2017, arXiv:1712.09665): one picture that makes a net answer the
//! target class wherever it lies, on whatever scene.

pub mod fit;
mod rule;

pub use fit::{FitSettings, PatchFit};
pub use rule::Rule;
