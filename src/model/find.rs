//! Where models come from: compiled in, a file of the user's, a repository of the Hub.

use super::built_in::{BuiltIn, MODELS};
use super::source::{Bytes, ModelSource, WITH};
use super::{families, onnx, repository};
use crate::config::{self, ModelFile, ModelText, Place, RepositorySpec};
use crate::error::{Error, Result, hint};
use crate::fingerprint::Fingerprints;
use crate::hub::{Hub, Kind, RemoteFile, is_commit};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Folder of model files that a sweep names without a path.
pub const MODEL_FOLDER: &str = "configs/models";

/// Folder of the data where `FOOLPROOF_DATA` names no other.
pub(super) const DATA_FOLDER: &str = "datasets";

/// Before a repository of the Hub in place of a model's name.
pub(super) const HUB: &str = "hub:";

/// Where weights come from, and which of them are hashed already.
#[derive(Clone, Copy)]
pub(super) struct Origins<'a> {
    pub(super) hub: &'a Hub,
    pub(super) fingerprints: &'a Fingerprints,
}

/// A model that is compiled in with its weights.
pub fn built_in(name: &str) -> Result<ModelSource> {
    find(name, Path::new("."), &Hub::none())
}

/// Finds a model and brings its weights here: compiled in, a path ending in `.toml`, `configs/models/NAME.toml`, a
/// description that is compiled in, or `hub:owner/name`; several of them with ` + ` between, as one. A path is taken from the
/// current folder, then from the folder of the sweep file.
pub fn find(name: &str, beside: &Path, hub: &Hub) -> Result<ModelSource> {
    find_hashed(name, beside, hub, &Fingerprints::none())
}

/// The same, without reading weights whose digest is known; they are read, and held to it, when the network is made.
pub fn find_hashed(name: &str, beside: &Path, hub: &Hub, fingerprints: &Fingerprints) -> Result<ModelSource> {
    find_from(name, beside, Origins { hub, fingerprints })
}

fn find_from(name: &str, beside: &Path, origins: Origins) -> Result<ModelSource> {
    if name.contains(WITH) {
        let models: Result<Vec<ModelSource>> =
            name.split(WITH).map(|one| find_from(one.trim(), beside, origins)).collect();
        return ModelSource::together(models?);
    }
    if let Some(text) = name.strip_prefix(HUB) {
        return from_hub(text, origins);
    }
    let known = MODELS.iter().find(|m| m.name == name);
    if let Some(embedded) = known.and_then(BuiltIn::embedded) {
        return embedded;
    }
    let candidates = model_files(name, beside);
    // before what is compiled in: a pin that is pasted there counts at once
    if let Some(path) = candidates.iter().find(|p| p.is_file()) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return described(stem, path, path, origins);
    }
    if let Some(known) = known {
        return with_weights(known.name.into(), known.file()?, None, origins);
    }
    if ["onnx", "pth", "pt", "safetensors"].iter().any(|e| Path::new(name).extension().is_some_and(|own| own == *e)) {
        return Err(Error::Absent(format!(
            "unknown model `{name}`: a model is named by its model file, which says what the network is (hint: \
             `foolproof init {name}` writes one)"
        )));
    }
    let parts: Vec<&str> = name.split('+').map(str::trim).collect();
    if parts.len() > 1 && parts.iter().all(|part| find_from(part, beside, origins).is_ok()) {
        let meant = parts.join(WITH);
        return Err(Error::usage(format!(
            "unknown model `{name}` (hint: did you mean `{meant}`, the networks together?)"
        )));
    }
    let known = hint(name, MODELS.iter().map(|m| m.name));
    Err(Error::Absent(format!("unknown model `{name}`: no file {}{known}", candidates[0].display())))
}

/// The model of a model file, whose weights are looked for beside `place`.
pub(super) fn described(name: String, path: &Path, place: &Path, origins: Origins) -> Result<ModelSource> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let (file, drifts) = match families::parse_either(path, &text)? {
        ModelText::Whole(file) => (*file, false),
        ModelText::Repository(spec) => (repository::describe(&spec, origins.hub)?, !is_commit(&spec.revision)),
    };
    let mut source = with_weights(name, file, Some(place), origins)?;
    source.drifts = drifts;
    Ok(source)
}

/// Where the model file of this name may be.
pub(super) fn model_files(name: &str, beside: &Path) -> Vec<PathBuf> {
    match name.ends_with(".toml") {
        true => vec![PathBuf::from(name), beside.join(name)],
        false => vec![Path::new(MODEL_FOLDER).join(format!("{name}.toml"))],
    }
}

/// `owner/name`, with `@revision` or without. What we know of it counts before what it says of itself.
fn from_hub(text: &str, origins: Origins) -> Result<ModelSource> {
    let spec = RepositorySpec::parse(text).ok_or_else(|| {
        Error::usage(format!("model `{HUB}{text}`: expected {HUB}owner/name or {HUB}owner/name@revision"))
    })?;
    let asks_for_no_revision = !text.contains('@');
    let known = if asks_for_no_revision { known_of(&spec.repository)? } else { None };
    if let Some(name) = known {
        return find_from(name, Path::new("."), origins);
    }
    let file = repository::describe(&spec, origins.hub)?;
    let (_, name) = spec.repository.split_once('/').expect("checked");
    let mut source = with_weights(name.into(), file, None, origins)?;
    let commit = source.commit.as_deref().unwrap_or(&spec.revision);
    source.origin = Some(format!("{HUB}{}@{commit}", spec.repository));
    Ok(source)
}

/// The model that is known of a repository.
///
/// # Errors
/// Several, which have names.
fn known_of(repository: &str) -> Result<Option<&'static str>> {
    let mut names = Vec::new();
    for known in &MODELS {
        if matches!(&known.file()?.place, Place::Hub { repository: of, .. } if of == repository) {
            names.push(known.name);
        }
    }
    match names.as_slice() {
        [] => Ok(None),
        [name] => Ok(Some(*name)),
        _ => Err(Error::usage(format!(
            "model `{HUB}{repository}`: several models are known of it (hint: one of `{}`)",
            names.join("`, `")
        ))),
    }
}

/// A described model with its weights, from beside its model file `path`, from the data folder, or from the Hub.
fn with_weights(name: String, file: ModelFile, path: Option<&Path>, origins: Origins) -> Result<ModelSource> {
    let origin = path.map(|p| p.display().to_string());
    let (repository, revision, weights) = match &file.place {
        Place::Hub { repository, revision, file } => (repository.clone(), revision.clone(), file.clone()),
        Place::File(_) => {
            let folder = path.map_or(Path::new(MODEL_FOLDER), |p| p.parent().unwrap_or(Path::new(".")));
            let weights = weight_file(&name, &file, folder)?;
            let fingerprints = origins.fingerprints;
            if let Some(sha256) = fingerprints.known(&weights) {
                let there = Bytes::Known { path: weights, sha256: sha256.clone(), fingerprints: fingerprints.clone() };
                return ModelSource::with_digest(name, file, origin, there, sha256);
            }
            let (bytes, sha256) = fingerprints.read(&weights).map_err(Error::io("read", &weights))?;
            if file.family == config::ONNX {
                let whole = onnx::whole(&bytes, Some(&folder_of(&weights)));
                let whole = whole.map_err(|problem| Error::Weights { model: name.clone(), problem })?;
                if let Cow::Owned(whole) = whole {
                    fingerprints.forget(&weights); // numbers of the network lie in other files
                    return ModelSource::new(name, file, origin, Cow::Owned(whole));
                }
            }
            return ModelSource::with_digest(name, file, origin, Bytes::Memory(Cow::Owned(bytes)), sha256);
        }
    };
    let sha256 = file.sha256.clone();
    let local = origins.hub.get(&RemoteFile { kind: Kind::Model, repository, revision, path: weights, sha256 })?;
    let (digest, commit) = (local.sha256.clone(), local.commit.clone());
    let mut source = ModelSource::with_digest(name, file, origin, Bytes::Cached(local), digest)?;
    source.commit = Some(commit);
    Ok(source)
}

/// The folder that a file lies in.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_path_buf()
}

/// Where weights may lie: beside the model file, in `folder`, and in `models/` below the folder of the data.
pub fn weight_places(weights: &str, folder: &Path, data: &Path) -> [PathBuf; 2] {
    // an absolute path is one of another machine, perhaps
    let below = if Path::new(weights).is_absolute() { Path::new(weights).file_name() } else { Some(weights.as_ref()) };
    [folder.join(weights), data.join("models").join(below.unwrap_or_default())]
}

/// Where the weights lie: beside the model file, in `folder`, else in `models/` below the folder of the data
/// (`FOOLPROOF_DATA`, else `datasets`), where large files go that are not part of the project.
pub(super) fn weight_file(model: &str, file: &ModelFile, folder: &Path) -> Result<PathBuf> {
    let Place::File(weights) = &file.place else { unreachable!("asked for files alone") };
    let data = std::env::var_os("FOOLPROOF_DATA").map_or_else(|| DATA_FOLDER.into(), PathBuf::from);
    let candidates = weight_places(weights, folder, &data);
    let pinned = file.sha256.as_ref().map_or_else(String::new, |s| format!(" with SHA-256 {s}"));
    candidates.iter().find(|f| f.is_file()).cloned().ok_or_else(|| {
        Error::Absent(format!(
            "model `{model}`: no weights, neither {} nor {} (hint: put a file{pinned} at one of these places, or name the \
             folder of the data with FOOLPROOF_DATA)",
            candidates[0].display(),
            candidates[1].display(),
        ))
    })
}
