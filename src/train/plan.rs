//! Resolves a training file: the network, the images, a recipe for each model; all errors at once.

use super::recipe::Recipe;
use crate::config::{DataSpec, ModelFile, Problems, TrainingFile};
use crate::data::{Source, Subset};
use crate::digest;
use crate::error::{Error, Result};
use crate::kernel::learn::Blueprint;
use crate::model::{MODELS, families};
use crate::size;
use crate::sweep::plan::{LoadedData, Takes, images};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// All that a training file asks for.
pub struct Plan {
    /// Name of the run.
    pub name: String,
    /// What is learned.
    pub data: Arc<Subset>,
    /// What is measured.
    pub held_out: Arc<Subset>,
    /// In order.
    pub trainings: Vec<Training>,
    /// What has to be said of paths and pictures, a line each.
    pub notes: Vec<String>,
}

/// One model to be.
pub struct Training {
    /// Its name.
    pub model: String,
    /// The network, without weights.
    pub file: ModelFile,
    /// What there is to learn of it.
    pub blueprint: Blueprint,
    /// How.
    pub recipe: Recipe,
    /// Of every random choice.
    pub seed: u64,
    /// Everything that decides a weight, in lines.
    pub description: String,
    /// What the data call the network's classes; empty where they name fewer.
    pub classes: Vec<String>,
    /// What is learned, in words: dataset, split and how many images.
    pub images: String,
}

impl Training {
    /// SHA-256 of the description.
    pub fn digest(&self) -> String {
        digest::sha256(self.description.as_bytes())
    }
}

/// Raised when the same description gives other weights.
const REVISION: u32 = 1;

/// Reads and resolves a training file.
///
/// # Errors
/// All its problems.
pub fn load(path: &Path, source: &Source) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let problems = Problems::new(path, &text);
    let file = TrainingFile::parse(&problems, &families::keys());
    let beside = path.parent().unwrap_or(Path::new("."));
    let mut notes = Vec::new();
    let network = file.network.as_ref().and_then(|network| {
        let found = families::checked(network).and_then(|family| Ok((family, family.blueprint(network)?)));
        found
            .map_err(|problem| problems.add(file.network_line, format!("`network`: {problem}{}", way_out(&problem))))
            .ok()
    });
    let takes = file.network.as_ref().map(Takes::of);
    let mut load = |spec: &Option<DataSpec>| {
        let (loaded, said) = images(&problems, beside, source, spec.as_ref()?, takes.as_ref()?, file.seed)?;
        notes.extend(said);
        notes.extend(loaded.subset.notes.iter().cloned());
        Some(loaded)
    };
    let (data, held_out) = (load(&file.data), load(&file.held_out));
    if let Some(suffered) = held_out.as_ref().and_then(|held_out: &LoadedData| held_out.choice.corruption.as_ref()) {
        notes.push(format!("accuracies are of held-out images that suffer `{}`", suffered.text()));
    }
    if let (Some(network), Some(data), Some(held_out)) = (&file.network, &data, &held_out) {
        check_images(&file, network, [data, held_out], &problems);
    }
    let mut trainings = Vec::new();
    let mut names = BTreeSet::new();
    for spec in &file.recipes {
        let name = &spec.model;
        if !names.insert(name.value.clone()) {
            problems.add(name.line, format!("two models are called `{}` (hint: another name)", name.value));
        }
        if MODELS.iter().any(|known| known.name == name.value) {
            let problem = format!("`{}` is a model that the program brings along (hint: another name)", name.value);
            problems.add(name.line, problem);
        }
        let recipe = Recipe::resolve(spec, &problems);
        let (Some(recipe), Some((family, blueprint)), Some(network), Some(data)) =
            (recipe, &network, &file.network, &data)
        else {
            continue;
        };
        let description = format!(
            "training revision={REVISION}\nnetwork {}\nrecipe {recipe}\ndata {}\nseed {}\n",
            family.text(network),
            data.subset.digest,
            file.seed
        );
        let suffered = data.choice.corruption.as_ref().map_or(String::new(), |c| format!(" {}", c.text()));
        let images = format!("{} {}{suffered}, {} images", data.dataset.name, data.choice.split, data.subset.len());
        let classes =
            if data.subset.classes.len() == network.classes { data.subset.classes.clone() } else { Vec::new() };
        let (file, blueprint, seed, model) = (network.clone(), blueprint.clone(), file.seed, name.value.clone());
        trainings.push(Training { model, file, blueprint, recipe, seed, description, classes, images });
    }
    problems.into_result()?;
    let [data, held_out] = [data, held_out].map(|loaded| Arc::new(loaded.expect("else there is a problem").subset));
    Ok(Plan { name: file.name.value, data, held_out, trainings, notes })
}

fn way_out(problem: &str) -> &'static str {
    if problem.contains("(hint: ") || problem.contains("(known: ") {
        ""
    } else {
        " (hint: the VGG and ResNet families can be trained)"
    }
}

/// Labels that the network has no class for, images of another size, too few of them, and images that would be learned and measured.
fn check_images(file: &TrainingFile, network: &ModelFile, [data, held_out]: [&LoadedData; 2], problems: &Problems) {
    for (key, loaded, spec) in [("data", data, &file.data), ("held_out", held_out, &file.held_out)] {
        let line = spec.as_ref().map_or(1, |spec| spec.name.line);
        let subset = &loaded.subset;
        let refuse = |problem: String| problems.add(line, format!("`{key}`: {problem}"));
        if !subset.labelled {
            refuse(format!("`{}` has no labels to learn (hint: another dataset)", loaded.dataset.name));
        }
        if subset.classes.len() > network.classes {
            let (has, takes) = (subset.classes.len(), network.classes);
            refuse(format!("{has} classes, and the network has {takes} (hint: classes = {has} in `network`)"));
        }
        if subset.size != network.size {
            let [has, takes] = [subset.size, network.size].map(size::in_words);
            refuse(format!("images of {has}, and the network takes {takes} (hint: side in `network`)"));
        }
        let least = if key == "data" { 2 } else { 1 };
        if subset.len() < least {
            refuse(format!("{} images, and {least} is the least (hint: `take` more)", subset.len()));
        }
    }
    let same_split = data.dataset.name == held_out.dataset.name
        && data.choice.split == held_out.choice.split
        && data.choice.path == held_out.choice.path
        && data.choice.table == held_out.choice.table;
    if same_split {
        let learned: BTreeSet<usize> = data.subset.examples.iter().copied().collect();
        let both = held_out.subset.examples.iter().filter(|e| learned.contains(e)).count();
        if both > 0 {
            let line = file.held_out.as_ref().map_or(1, |spec| spec.name.line);
            problems.add(
                line,
                format!(
                    "`held_out`: {both} of its images are in `data` and would be learned (hint: `first` and `take`)"
                ),
            );
        }
    }
}
