//! Resolves names of models, and whether they take the images.

use super::resolver::Resolver;
use crate::config::{At, Block, ExplainSpec};
use crate::data::{self, Source};
use crate::model::{self};
use crate::size;
use crate::sweep::class_names;
use std::collections::BTreeSet;

impl Resolver<'_> {
    /// The layer whose maps explain what a model says.
    pub(super) fn explained_layer(&self, model: usize, asked: &ExplainSpec) -> Option<String> {
        let found = self.models[model].1.layer(asked.layer.as_deref());
        found.map_err(|problem| self.problem(asked.line, problem)).ok().map(|layer| layer.name)
    }

    pub(super) fn model(&mut self, name: &At<String>) -> Option<usize> {
        if let Some(known) = self.models.iter().position(|(n, _)| *n == name.value) {
            return Some(known);
        }
        // what is wrong with it is said where it is named first
        if self.refused.contains(&name.value) {
            return None;
        }
        let found = self.new_model(name);
        if found.is_none() {
            self.refused.push(name.value.clone());
        }
        found
    }

    fn new_model(&mut self, name: &At<String>) -> Option<usize> {
        let at = |one: &str| At { value: one.trim().to_string(), line: name.line };
        let named: Option<Vec<String>> = name.value.split(model::WITH).map(|one| self.model_file(&at(one))).collect();
        let Source { hub, fingerprints, .. } = self.source;
        let found = model::find_hashed(&named?.join(model::WITH), self.beside, hub, fingerprints);
        let model = self.or_problem(name.line, found)?;
        if model.file.classes < 2 {
            let hint = "hint: attacks ask for a wrong class, so there must be two";
            self.problem(name.line, format!("model `{}` has {} class ({hint})", model.name, model.file.classes));
            return None;
        }
        if self.models.iter().any(|(_, m)| m.name == model.name) {
            self.problem(name.line, format!("two models are named `{}`: rename a model file", model.name));
        }
        self.models.push((name.value.clone(), model));
        Some(self.models.len() - 1)
    }

    /// The path of the model file that is named, if one is; else the name of the model.
    pub(super) fn model_file(&self, name: &At<String>) -> Option<String> {
        if !name.value.ends_with(".toml") {
            return Some(name.value.clone());
        }
        let found = self.or_problem(name.line, data::find_model_file(&name.value, self.beside))?;
        let Some(found) = found else { return Some(name.value.clone()) };
        self.note(found.note);
        Some(found.path.to_str().map_or_else(|| name.value.clone(), String::from))
    }

    /// Whether the model takes these images and knows their classes; a problem where it does not.
    pub(super) fn fits(&self, model: usize, data: usize, line: usize) -> bool {
        let ((name, model), data) = (&self.models[model], &self.data[data]);
        let (file, subset) = (&model.file, &data.subset);
        let fits = file.size == subset.size && file.classes == subset.classes.len();
        // a file of names that cannot be read is no problem of a sweep, which does without
        if let (true, Ok(Some(names))) = (fits, class_names::of_file(file)) {
            let order = in_another_order(&names, &subset.classes);
            let set = data.dataset.name;
            self.note(order.map(|(class, own, other)| {
                format!(
                    "model `{name}` calls class {class} `{own}`, and it is `{other}` in dataset `{set}`, which has the same \
                     classes in another order: images count as wrong that are right (hint: names of folders that are sorted as \
                     the network's classes are)"
                )
            }));
        }
        if !fits {
            self.problem(
                line,
                format!(
                    "model `{name}` takes {} and has {} classes, dataset `{}` has {} and {} classes (hint: another model or another `data`)",
                    size::in_words(file.size),
                    file.classes,
                    data.dataset.name,
                    size::in_words(subset.size),
                    subset.classes.len()
                ),
            );
        }
        fits
    }

    /// Models that judge the witnesses too.
    pub(super) fn transfer_to(&mut self, block: &Block, data: Option<usize>) -> Vec<usize> {
        let mut models = Vec::new();
        for name in &block.transfer_to {
            models.extend(self.model(name).filter(|m| data.is_none_or(|d| self.fits(*m, d, name.line))));
        }
        models
    }
}

/// The first class of which two lists of the same names say another one, and what they say.
fn in_another_order<'a>(names: &'a [String], others: &'a [String]) -> Option<(usize, &'a str, &'a str)> {
    let sorted = |names: &'a [String]| names.iter().collect::<BTreeSet<_>>();
    let class = names.iter().zip(others).position(|(name, other)| name != other)?;
    (sorted(names) == sorted(others)).then(|| (class, names[class].as_str(), others[class].as_str()))
}
