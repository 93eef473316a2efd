//! Wire types: what sweep files and model files say, with the line of every value, before any name is resolved.

mod model_file;
mod reader;
mod sweep_file;

pub use model_file::{ModelFile, PublishedSpec};
pub use reader::{At, Problems};
pub use sweep_file::{AttackSpec, Block, DataSpec, FigureSpec, PanelSpec, SweepFile, ThreatSpec, TrainSpec};
