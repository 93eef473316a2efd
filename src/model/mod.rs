//! Classifiers: the registry of built-in models, model files of the user's own, and loading.

pub mod family;
pub mod squeezenet;
pub mod vgg;
mod weights;

use crate::config::ModelFile;
use crate::digest;
use crate::error::{Error, Result, hint};
use crate::explain::Explainer;
use crate::hub::Hub;
use crate::kernel::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::Cuda;
use crate::kernel::halving::Halving;
use crate::kernel::{Engine, Net, Precision};
use crate::record::ModelRecord;
use candle_core::Device;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use family::{FAMILIES, Family, Network};
pub use weights::{Taken, Weights};

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
    family: &'static Family,
    bytes: Cow<'static, [u8]>,
}

/// A built-in model.
pub fn built_in(name: &str) -> Result<ModelSource> {
    find(name, Path::new("."), &Hub::none())
}

/// Finds a model: built in, a path ending in `.toml`, or `configs/models/NAME.toml`. A path is taken from the current
/// folder, then from the folder of the sweep file.
pub fn find(name: &str, beside: &Path, hub: &Hub) -> Result<ModelSource> {
    _ = hub;
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
        return Err(Error::usage(format!("unknown model `{name}`: no file {}{known}", candidates[0].display())));
    };
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let file = ModelFile::parse(path, &text)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let weights = weight_file(&stem, &file, path)?;
    let bytes = std::fs::read(&weights).map_err(Error::io("read", &weights))?;
    ModelSource::new(stem, file, Some(path.clone()), Cow::Owned(bytes))
}

/// Where the weights lie: beside the model file `path`, else in `models/` below the folder of the data (`FOOLPROOF_DATA`,
/// else `datasets`), where large files go that are not part of the project.
fn weight_file(model: &str, file: &ModelFile, path: &Path) -> Result<PathBuf> {
    let data = std::env::var_os("FOOLPROOF_DATA").map_or_else(|| "datasets".into(), PathBuf::from);
    let places = [path.parent().unwrap_or(Path::new(".")).to_path_buf(), data.join("models")];
    let candidates = places.map(|folder| folder.join(&file.weights));
    let pinned = file.sha256.as_ref().map_or_else(String::new, |s| format!(" with SHA-256 {s}"));
    candidates.iter().find(|f| f.is_file()).cloned().ok_or_else(|| {
        Error::usage(format!(
            "model `{model}`: no weights, neither {} nor {} (hint: put a file{pinned} at one of these places, or name the \
             folder of the data with FOOLPROOF_DATA)",
            candidates[0].display(),
            candidates[1].display(),
        ))
    })
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
        let family = family::find(&file.family);
        let family = family
            .and_then(|f| (f.check)(&file).map(|()| f))
            .map_err(|problem| Error::usage(format!("model `{name}`: {problem}")))?;
        Ok(ModelSource { name, file, path, digest, family, bytes })
    }

    /// As it stands in a cell.
    pub fn record(&self) -> ModelRecord {
        ModelRecord { name: self.name.clone(), network: self.network(), weights: self.digest.clone() }
    }

    /// Everything but the weights that decides a logit, in one line.
    pub fn network(&self) -> String {
        let f = &self.file;
        let own_keys = (self.family.own_keys)(f);
        format!("{} {own_keys}classes={} side={} mean={:?} std={:?}", f.family, f.classes, f.side, f.mean, f.std)
    }

    /// Unpacks and checks the weights.
    pub fn load(&self) -> Result<Network> {
        let weights = Weights::parse(&self.bytes);
        weights.and_then(|w| (self.family.build)(&self.file, &w)).map_err(|problem| self.weights_error(problem))
    }

    /// [`ModelSource::load`] of a family of sequential nets.
    pub fn net(&self) -> Result<Net<f32>> {
        match self.load()? {
            Network::Sequence(net) => Ok(net),
            Network::Graph { .. } => {
                Err(Error::usage(format!("model `{}`: {} is no sequential net", self.name, self.file.family)))
            }
        }
    }

    /// Ready to compute on `device`, on a GPU in the given precision: compiled where there is a compiled engine, a graph of
    /// tensor operations elsewhere.
    pub fn engine(&self, device: &Device, precision: Precision) -> Result<Box<dyn Engine>> {
        let network = self.load()?;
        #[cfg(feature = "cuda")]
        if let (Network::Sequence(net), true) = (&network, device.is_cuda()) {
            return Ok(Box::new(Halving::new(Box::new(Cuda::new(net, device, precision)?))));
        }
        _ = precision;
        let network = match (network, device) {
            (Network::Sequence(net), Device::Cpu) => match Cpu::new(net) {
                Ok(compiled) => return Ok(Box::new(compiled)),
                Err(net) => Network::Sequence(net),
            },
            (network, _) => network,
        };
        Ok(Box::new(Halving::new(Box::new(network.graph(device)?.0))))
    }

    /// Ready to say on `device` where the network looks.
    pub fn explainer(&self, device: &Device) -> Result<Explainer> {
        let (graph, features) = self.load()?.graph(device)?;
        Ok(Explainer::new(graph, features))
    }

    fn weights_error(&self, problem: String) -> Error {
        Error::Weights { model: self.name.clone(), problem }
    }

    /// Refuses a clean accuracy that cannot belong to the published one: wrong weights or preprocessing. Fisher's exact
    /// test (1935) on the two counts, at [`GATE`] on each side.
    pub fn check_clean_accuracy(&self, population: Option<&str>, correct: usize, of: usize) -> Result<()> {
        let Some(published) = self.file.published.as_ref().filter(|p| Some(p.population.as_str()) == population) else {
            return Ok(());
        };
        let (low, high) = tails(correct as u64, of as u64, published.correct, published.of);
        if low.min(high) >= GATE {
            return Ok(());
        }
        Err(Error::usage(format!(
            "model `{}` is right on {correct} of {of} clean images, but {} of {} is published ({}); no attack was run \
             (hint: check weights, mean, std and channel order)",
            self.name, published.correct, published.of, published.source
        )))
    }
}

/// Chance on each side at which a right model is refused: that of 4 standard errors of a normal distribution.
const GATE: f64 = 3.17e-5;

/// Chances that at most, and at least, k of n images are right when k + k0 of n + n0 are, whichever they be
/// (hypergeometric distribution).
fn tails(k: u64, n: u64, k0: u64, n0: u64) -> (f64, f64) {
    let (right, all) = (k + k0, n + n0);
    let mut ln_factorial = vec![0.0; all as usize + 1];
    for i in 1..=all as usize {
        ln_factorial[i] = ln_factorial[i - 1] + (i as f64).ln();
    }
    let ln_choose =
        |n: u64, k: u64| ln_factorial[n as usize] - ln_factorial[k as usize] - ln_factorial[(n - k) as usize];
    let chance = |x: u64| (ln_choose(right, x) + ln_choose(all - right, n - x) - ln_choose(all, n)).exp();
    let (first, last) = (n.saturating_sub(all - right), n.min(right));
    ((first..=k).map(chance).sum(), (k..=last).map(chance).sum())
}

#[cfg(test)]
mod tests {
    use super::tails;

    /// Values of scipy 1.17.1, `hypergeom(n + n0, k + k0, n)`: `cdf(k)` and `sf(k - 1)`.
    #[test]
    fn tails_are_those_of_the_hypergeometric_distribution() {
        for (k, n, k0, n0, low, high) in [
            (0, 2, 451, 500, 0.01013908438103872, 1.0),
            (20, 20, 451, 500, 1.0, 0.13286030285517827),
            (2, 20, 451, 500, 1.6346596422351369e-15, 1.0),
            (885, 1000, 451, 500, 0.1826106013262266, 0.8607887989972487),
            (50, 500, 451, 500, 2.2282699284027625e-162, 1.0),
        ] {
            let (l, h) = tails(k, n, k0, n0);
            assert!((l / low - 1.0).abs() < 1e-8 && (h / high - 1.0).abs() < 1e-8, "{k}/{n}: {l:e} {h:e}");
        }
    }
}
