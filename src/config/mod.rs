//! Wire types: what sweep files and model files say, with the line of every value, before any name is resolved.

mod model_file;
mod reader;
mod sweep_file;

pub use model_file::{
    BICUBIC, FamilyKey, INTERPOLATIONS, KeyKind, KeyValue, ModelFile, ModelText, ONNX, Place, PublishedSpec,
    RepositorySpec, RobustSpec, SAFETENSORS, UNPINNED,
};
pub use reader::{At, FILL_IN, Problems};
pub use sweep_file::{
    AttackSpec, Block, DataSpec, ExplainSpec, FigureSpec, PanelSpec, SweepFile, TableSpec, ThreatSpec, TrainSpec,
};
