//! Models that go with a run to another machine.

use super::find::{BuiltIn, HUB, MODEL_FOLDER, MODELS, described, model_files, weight_file};
use super::{ModelSource, family};
use crate::config::{ModelFile, ModelText, Place};
use crate::error::{Error, Result};
use crate::hub::Hub;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// What another machine needs to find a model.
pub struct Portable {
    /// Its model file.
    pub text: String,
    /// Its weight file; `None`: it is on the Hub.
    pub weights: Option<PathBuf>,
    /// [`ModelSource::network`]; `None`: a repository of the Hub describes it.
    pub network: Option<String>,
}

impl Portable {
    /// Of the model that [`super::find`] finds by this name from the current folder; `None`: it is compiled in or on the Hub,
    /// where everybody finds it.
    pub fn of(name: &str) -> Result<Option<Portable>> {
        let known = MODELS.iter().find(|m| m.name == name);
        if name.starts_with(HUB) || known.is_some_and(BuiltIn::is_embedded) {
            return Ok(None);
        }
        if let Some(path) = model_files(name, Path::new(".")).iter().find(|p| p.is_file()) {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            return Ok(Some(match ModelText::parse(path, &text)? {
                ModelText::Repository(_) => Portable { text, weights: None, network: None },
                ModelText::Whole(file) => {
                    Portable::described(name, text, &file, path.parent().unwrap_or(Path::new(".")))?
                }
            }));
        }
        let known = known.ok_or_else(|| Error::usage(format!("model `{name}`: its model file is not here")))?;
        let portable = Portable::described(name, known.text.into(), &known.file()?, Path::new(MODEL_FOLDER))?;
        Ok(Some(portable).filter(|p| p.weights.is_some()))
    }

    fn described(name: &str, text: String, file: &ModelFile, folder: &Path) -> Result<Portable> {
        let network = family::find(&file.family).map(|family| family.network(file));
        let network = network.map_err(|problem| Error::usage(format!("model `{name}`: {problem}")))?;
        let weights = match &file.place {
            Place::Hub { .. } => None,
            Place::File(_) => Some(weight_file(name, file, folder)?),
        };
        Ok(Portable { text, weights, network: Some(network) })
    }

    /// Names of the two files in a folder.
    pub const FILES: [&str; 2] = ["model.toml", "weights"];

    /// Finds the model called `name` in a folder of these files; without weights there, where a model of the user's has them.
    pub fn find(folder: &Path, name: &str, hub: &Hub) -> Result<ModelSource> {
        let [description, weights] = Portable::FILES.map(|file| folder.join(file));
        if let Some(known) = MODELS.iter().find(|m| m.name == name) {
            if !weights.exists() {
                return super::find(name, Path::new("."), hub);
            }
            // what a known name stands for is not for others to say
            let bytes = std::fs::read(&weights).map_err(Error::io("read", &weights))?;
            return ModelSource::new(name.into(), known.file()?, None, Cow::Owned(bytes));
        }
        if !weights.exists() {
            let place = Path::new(MODEL_FOLDER).join(format!("{name}.toml"));
            return described(name.into(), &description, &place, hub);
        }
        let text = std::fs::read_to_string(&description).map_err(Error::io("read", &description))?;
        let file = ModelFile::parse(&description, &text)?;
        let bytes = std::fs::read(&weights).map_err(Error::io("read", &weights))?;
        ModelSource::new(name.into(), file, Some(description.display().to_string()), Cow::Owned(bytes))
    }
}
