//! Classifiers: the registry of built-in models, model files of the user's own, and loading.

pub mod vgg;
mod weights;

use crate::config::ModelFile;
use crate::digest;
use crate::error::{Error, Result, hint};
use crate::kernel::cpu::Cpu;
use crate::kernel::plain::Plain;
use crate::kernel::{Engine, Net};
use candle_core::Device;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use weights::Weights;

/// A model that is compiled in.
pub struct Embedded {
    /// Name in sweep files.
    pub name: &'static str,
    /// Its model file.
    file: &'static str,
    /// Its weight file.
    weights: &'static [u8],
    /// SHA-256 of that, computed once a process.
    digest: OnceLock<String>,
}

macro_rules! embedded {
    ($name:literal) => {
        Embedded {
            name: $name,
            file: include_str!(concat!("../../configs/models/", $name, ".toml")),
            weights: include_bytes!(concat!("../../configs/models/", $name, ".safetensors")),
            digest: OnceLock::new(),
        }
    };
}

/// Every built-in model.
pub static MODELS: [Embedded; 2] = [embedded!("vgg11-half-cifar10"), embedded!("vgg11-half-cifar10-robust")];

/// Folder of model files that a sweep names without a path.
const MODEL_FOLDER: &str = "configs/models";

/// A model as described, its weights read and hashed but not yet unpacked.
pub struct ModelSource {
    /// Name in tables.
    pub name: String,
    /// What its model file says.
    pub file: ModelFile,
    /// Where that file lies; `None`: compiled in.
    pub path: Option<PathBuf>,
    /// SHA-256 of the weight file.
    pub digest: String,
    bytes: Cow<'static, [u8]>,
}

/// Finds a model: built in, a path ending in `.toml`, or `configs/models/NAME.toml`. A path is taken from the current
/// folder, then from the folder of the sweep file.
pub fn find(name: &str, beside: &Path) -> Result<ModelSource> {
    if let Some(embedded) = MODELS.iter().find(|m| m.name == name) {
        let file = ModelFile::parse(Path::new(name), embedded.file)?;
        let digest = embedded.digest.get_or_init(|| digest::sha256(embedded.weights)).clone();
        return ModelSource::with_digest(name.to_string(), file, None, Cow::Borrowed(embedded.weights), digest);
    }
    let candidates = match name.ends_with(".toml") {
        true => vec![PathBuf::from(name), beside.join(name)],
        false => vec![Path::new(MODEL_FOLDER).join(format!("{name}.toml"))],
    };
    let Some(path) = candidates.iter().find(|p| p.is_file()) else {
        let known = hint(name, MODELS.iter().map(|m| m.name));
        return Err(Error::usage(format!(
            "unknown model `{name}`: no file {}{known}",
            candidates[0].display()
        )));
    };
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let file = ModelFile::parse(path, &text)?;
    let weights = path.parent().unwrap_or(Path::new(".")).join(&file.weights);
    let bytes = std::fs::read(&weights).map_err(Error::io("read", &weights))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    ModelSource::new(stem, file, Some(path.clone()), Cow::Owned(bytes))
}

impl ModelSource {
    /// A model from a description and the bytes of its weight file, whose digest is checked if the description has one.
    pub fn new(name: String, file: ModelFile, path: Option<PathBuf>, bytes: Cow<'static, [u8]>) -> Result<ModelSource> {
        let digest = digest::sha256(&bytes);
        ModelSource::with_digest(name, file, path, bytes, digest)
    }

    fn with_digest(
        name: String,
        file: ModelFile,
        path: Option<PathBuf>,
        bytes: Cow<'static, [u8]>,
        digest: String,
    ) -> Result<ModelSource> {
        if let Some(pinned) = file.sha256.as_ref().filter(|p| **p != digest) {
            let problem = format!("the file's SHA-256 is {digest}, the model file pins {pinned}");
            return Err(Error::Weights { model: name, problem });
        }
        vgg::check(&file).map_err(|problem| Error::usage(format!("model `{name}`: {problem}")))?;
        Ok(ModelSource {
            name,
            file,
            path,
            digest,
            bytes,
        })
    }

    /// Everything but the weights that decides a logit, in one line.
    pub fn network(&self) -> String {
        let f = &self.file;
        format!(
            "{} width={} head={} classes={} side={} mean={:?} std={:?}",
            f.family, f.width, f.head, f.classes, f.side, f.mean, f.std
        )
    }

    /// Unpacks and checks the weights.
    pub fn net(&self) -> Result<Net<f32>> {
        vgg::build(
            &self.file,
            &Weights::parse(&self.bytes).map_err(|problem| self.weights_error(problem))?,
        )
        .map_err(|problem| self.weights_error(problem))
    }

    /// Ready to compute on `device`: our kernels on the CPU, tensor operations elsewhere.
    pub fn engine(&self, device: &Device) -> Result<Box<dyn Engine>> {
        let net = self.net()?;
        Ok(match device {
            Device::Cpu => Box::new(Cpu::new(net)),
            _ => Box::new(Plain::new(&net, device)?),
        })
    }

    fn weights_error(&self, problem: String) -> Error {
        Error::Weights {
            model: self.name.clone(),
            problem,
        }
    }

    /// Refuses a clean accuracy that cannot belong to the published one: wrong weights or preprocessing. Two binomial
    /// proportions, pooled; 4 standard errors, so a right model is refused once in 16,000 runs.
    pub fn check_clean_accuracy(&self, population: Option<&str>, correct: usize, of: usize) -> Result<()> {
        let Some(published) = self
            .file
            .published
            .as_ref()
            .filter(|p| Some(p.population.as_str()) == population)
        else {
            return Ok(());
        };
        let (k, n, k0, n0) = (correct as f64, of as f64, published.correct as f64, published.of as f64);
        let pooled = (k + k0) / (n + n0);
        let error = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / n0)).sqrt();
        if (k / n - k0 / n0).abs() <= 4.0 * error {
            return Ok(());
        }
        Err(Error::usage(format!(
            "model `{}` is right on {correct} of {of} clean images, but {} of {} is published ({}); no attack was run \
             (hint: check weights, mean, std and channel order)",
            self.name, published.correct, published.of, published.source
        )))
    }
}
