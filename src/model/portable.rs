//! Models that go with a run to another machine.

use super::built_in::{BuiltIn, MODELS};
use super::find::{DATA_FOLDER, HUB, MODEL_FOLDER, Origins, described, find, model_files, weight_file, weight_places};
use super::{ModelSource, WITH, families, onnx, source};
use crate::config::{self, ModelFile, ModelText, Place};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprints;
use crate::hub::Hub;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// What another machine needs to find a model.
pub struct Portable {
    /// Its model file.
    pub text: String,
    /// [`ModelSource::network`]; `None`: a repository of the Hub describes it.
    pub network: Option<String>,
    /// Its weight file; `None`: it is on the Hub.
    pub weights: Option<WeightFile>,
}

/// A weight file that nobody finds on the Hub.
pub struct WeightFile {
    /// As the model file names it.
    name: String,
    /// Where it lies here, or why it does not.
    pub here: Result<PathBuf>,
}

impl WeightFile {
    /// Where [`Portable::find`] looks for it on any machine, from the current folder.
    pub fn places(&self) -> Vec<PathBuf> {
        let places = weight_places(&self.name, Path::new(MODEL_FOLDER), Path::new(DATA_FOLDER));
        places.into_iter().filter(|place| place.is_relative()).collect()
    }
}

/// Refuses an ONNX file with external data: one file goes with a run.
fn alone(name: &str, file: &ModelFile, path: PathBuf) -> Result<PathBuf> {
    if file.family != config::ONNX {
        return Ok(path);
    }
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    match onnx::has_external_data(&bytes) {
        false => Ok(path),
        true => Err(Error::usage(format!(
            "model `{name}`: {} has external data, and one file goes with a run (hint: `external_data=False` when exporting)",
            path.display()
        ))),
    }
}

impl Portable {
    /// Of the model that [`super::find`] finds by this name from the current folder; `None`: it is compiled in or on the Hub,
    /// where everybody finds it.
    pub fn of(name: &str) -> Result<Option<Portable>> {
        if name.contains(WITH) {
            for one in name.split(WITH) {
                if Portable::of(one)?.is_some() {
                    return Err(Error::usage(format!(
                        "model `{name}`: only models that are compiled in or on the Hub go with a run as one, and `{one}` is not (hint: export it --without-weights)"
                    )));
                }
            }
            return Ok(None);
        }
        let known = MODELS.iter().find(|m| m.name == name);
        if name.starts_with(HUB) || known.is_some_and(BuiltIn::is_embedded) {
            return Ok(None);
        }
        if let Some(path) = model_files(name, Path::new(".")).iter().find(|p| p.is_file()) {
            return Portable::read(name, path, path.parent().unwrap_or(Path::new("."))).map(Some);
        }
        let known = known.ok_or_else(|| {
            Error::usage(format!(
                "model `{name}`: its model file is not here (hint: put it back where the sweep found it)"
            ))
        })?;
        let portable = Portable::described(name, known.text.into(), &known.file()?, Path::new(MODEL_FOLDER))?;
        Ok(Some(portable).filter(|p| p.weights.is_some()))
    }

    /// Of the model called `name` in a folder of [`Portable::FILES`].
    pub fn brought(folder: &Path, name: &str) -> Result<Portable> {
        let [description, weights] = Portable::FILES.map(|file| folder.join(file));
        let mut portable = Portable::read(name, &description, Path::new(MODEL_FOLDER))?;
        if let Some(own) = portable.weights.as_mut().filter(|_| weights.exists()) {
            own.here = Ok(weights);
        }
        Ok(portable)
    }

    /// Of a model file whose weights are looked for in `folder`.
    fn read(name: &str, path: &Path, folder: &Path) -> Result<Portable> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        match families::parse_either(path, &text)? {
            ModelText::Repository(_) => Ok(Portable { text, network: None, weights: None }),
            ModelText::Whole(file) => Portable::described(name, text, &file, folder),
        }
    }

    fn described(name: &str, text: String, file: &ModelFile, folder: &Path) -> Result<Portable> {
        let network = source::network_of(file).map_err(|problem| Error::usage(format!("model `{name}`: {problem}")))?;
        let weights = match &file.place {
            Place::Hub { .. } => None,
            Place::File(own) => {
                let here = weight_file(name, file, folder).and_then(|path| alone(name, file, path));
                Some(WeightFile { name: own.clone(), here })
            }
        };
        Ok(Portable { text, network: Some(network), weights })
    }

    /// Names of the two files in a folder.
    pub const FILES: [&str; 2] = ["model.toml", "weights"];

    /// Finds the model called `name` in a folder of these files; without weights there, where a model of the user's has them.
    pub fn find(folder: &Path, name: &str, hub: &Hub) -> Result<ModelSource> {
        let [description, weights] = Portable::FILES.map(|file| folder.join(file));
        if let Some(known) = MODELS.iter().find(|m| m.name == name) {
            if !weights.exists() {
                return find(name, Path::new("."), hub);
            }
            // what a known name stands for is not for others to say
            let bytes = std::fs::read(&weights).map_err(Error::io("read", &weights))?;
            return ModelSource::new(name.into(), known.file()?, None, Cow::Owned(bytes));
        }
        if !weights.exists() {
            let place = Path::new(MODEL_FOLDER).join(format!("{name}.toml"));
            let origins = Origins { hub, fingerprints: &Fingerprints::none() };
            return described(name.into(), &description, &place, origins);
        }
        let text = std::fs::read_to_string(&description).map_err(Error::io("read", &description))?;
        let file = families::parse(&description, &text)?;
        let bytes = std::fs::read(&weights).map_err(Error::io("read", &weights))?;
        ModelSource::new(name.into(), file, Some(description.display().to_string()), Cow::Owned(bytes))
    }
}
