//! The training file: a network, the images it learns, and recipes, each of which makes a model.

use super::asked::Asked;
use super::model_file::{self, FamilyKey, ModelFile};
use super::reader::{self, At, Problems, Table};
use super::sweep_file::{DataSpec, folder_name};

/// A training file as written.
#[derive(Debug, Clone)]
pub struct TrainingFile {
    /// Name of the folder below `results/`.
    pub name: At<String>,
    /// Seed of every random choice.
    pub seed: u64,
    /// What every recipe trains; its `place` is of no model yet. `None`: a problem was told.
    pub network: Option<ModelFile>,
    /// Line of `[network]`.
    pub network_line: usize,
    /// What is learned.
    pub data: Option<DataSpec>,
    /// What is measured after every epoch, and never learned.
    pub held_out: Option<DataSpec>,
    /// In order.
    pub recipes: Vec<RecipeSpec>,
}

/// One `[[train]]`.
#[derive(Debug, Clone)]
pub struct RecipeSpec {
    /// Line it begins on.
    pub line: usize,
    /// Name of the model that it makes.
    pub model: At<String>,
    /// Name of the recipe.
    pub recipe: At<String>,
    /// Whole numbers, by their keys.
    pub counts: Vec<(&'static str, At<u64>)>,
    /// Numbers.
    pub numbers: Vec<(&'static str, At<f64>)>,
    /// Exact fractions, as text.
    pub fractions: Vec<(&'static str, At<String>)>,
    /// True or false.
    pub flags: Vec<(&'static str, At<bool>)>,
    /// How the rate changes.
    pub schedule: Option<At<String>>,
}

/// Names of recipes.
pub const RECIPES: &[&str] = &["standard", "fast-at", "pgd-at", "trades", "free"];

/// How a rate may change.
pub const SCHEDULES: &[&str] = &["one-cycle", "cosine", "constant"];

const COUNTS: [&str; 5] = ["epochs", "batch", "crop", "steps", "replays"];
const NUMBERS: [&str; 6] = ["learning_rate", "momentum", "weight_decay", "label_smoothing", "ema", "beta"];
const FRACTIONS: [&str; 2] = ["eps", "step_size"];
const FLAGS: [&str; 2] = ["flip", "early_stop"];

impl TrainingFile {
    /// Reads a training file, with the keys that families declare; what is wrong goes to `problems`.
    pub fn parse(problems: &Problems, own: &[FamilyKey]) -> TrainingFile {
        reader::read(problems, |top| TrainingFile::read(top, own))
    }

    /// All that a training file may say.
    pub fn asked(own: &[FamilyKey]) -> Asked {
        reader::ask(|top| drop(TrainingFile::read(top, own)))
    }

    fn read(top: &Table, own: &[FamilyKey]) -> TrainingFile {
        let name = top.required_text("name").unwrap_or(At { value: String::new(), line: top.line });
        check_name(top, "name", &name);
        let mut network_line = top.line;
        let network = top.required_table("network", |t| {
            network_line = t.line;
            // read by nobody here, but known to the reader of model files
            if let Some(key) = ["weights", "file"].into_iter().find(|key| t.peek(key).is_some()) {
                t.problem(
                    t.line,
                    format!("`{key}` in `network`: what is to be trained has no weights yet (hint: remove it)"),
                );
            }
            model_file::network(t, own)
        });
        let mut recipes = Vec::new();
        top.tables("train", |t| recipes.extend(RecipeSpec::parse(t)));
        TrainingFile {
            name,
            seed: top.count("seed").map_or(0, |s| s.value),
            network: network.flatten(),
            network_line,
            data: top.required_table("data", DataSpec::parse).flatten(),
            held_out: top.required_table("held_out", DataSpec::parse).flatten(),
            recipes,
        }
    }
}

/// Refuses what cannot be the name of a folder or file.
fn check_name(table: &Table, key: &str, name: &At<String>) {
    if !name.value.is_empty() && folder_name(&name.value, "") != name.value {
        table.problem(
            name.line,
            format!(
                "`{key}` becomes a name of files: use letters, digits, `-`, `_`, `.`, and begin with a letter or digit"
            ),
        );
    }
}

impl RecipeSpec {
    fn parse(table: &Table) -> Option<RecipeSpec> {
        let (model, recipe) = (table.required_text("model"), table.required_text("recipe"));
        table.word("recipe", RECIPES);
        if let Some(model) = &model {
            check_name(table, "model", model);
        }
        let spec = RecipeSpec {
            line: table.line,
            counts: COUNTS.into_iter().filter_map(|key| Some((key, table.count(key)?))).collect(),
            numbers: NUMBERS.into_iter().filter_map(|key| Some((key, table.number(key)?))).collect(),
            fractions: FRACTIONS.into_iter().filter_map(|key| Some((key, table.text(key)?))).collect(),
            flags: FLAGS.into_iter().filter_map(|key| Some((key, table.flag(key)?))).collect(),
            schedule: table.word("schedule", SCHEDULES),
            model: At { value: String::new(), line: table.line },
            recipe: At { value: String::new(), line: table.line },
        };
        Some(RecipeSpec { model: model?, recipe: recipe?, ..spec })
    }
}
