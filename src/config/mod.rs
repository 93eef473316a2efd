//! Wire types: what sweep files, model files and training files say, with the line of every value, before any name is resolved.

mod asked;
mod class_names;
mod keys;
mod model_file;
mod quoted;
mod reader;
mod resize;
mod sweep_file;
mod training_file;

pub use asked::{Asked, AskedKey, Form};
pub use class_names::{ClassNames, Names, problem_of};
pub use keys::{Key, MODEL_KEYS, SWEEP_KEYS, TRAINING_KEYS};
pub use model_file::{
    BICUBIC, DefenceSpec, FamilyKey, INTERPOLATIONS, KeyKind, KeyValue, ModelFile, ModelText, ONNX, Place,
    PublishedSpec, RepositorySpec, RobustSpec, SAFETENSORS, StageSpec, UNPINNED, asked as asked_of_a_model,
};
pub use quoted::quoted;
pub use reader::{At, FILL_IN, Problems};
pub use sweep_file::{
    AttackSpec, Block, DataSpec, ExplainSpec, FigureSpec, MOST_DRAWS, PanelSpec, SweepFile, TableSpec, ThreatSpec,
    TrainSpec, folder_name,
};
pub use training_file::{RECIPES, RecipeSpec, SCHEDULES, TrainingFile};
