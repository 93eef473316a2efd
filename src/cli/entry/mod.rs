//! One entry of a registry in full: `attacks NAME`, `datasets NAME`, `models NAME`.

mod attack;
mod dataset;
mod model;

pub use attack::attack;
pub use dataset::{WRONG, dataset, found};
pub use model::model;
