//! A model found: what describes it, and its weights, hashed but not yet unpacked.

use super::families;
use super::family::Family;
use super::format::{foreign, is_onnx, mistaken};
use super::layer::{self, Layer};
use super::onnx::{self, Imported};
use super::weights::Weights;
use crate::config::{self, ModelFile, PublishedSpec};
use crate::defence::{Defence, Defended, Draws};
use crate::digest;
use crate::error::{Error, Result};
use crate::explain::Explainer;
use crate::fingerprint::Fingerprints;
use crate::hub::Local;
use crate::kernel::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::Cuda;
use crate::kernel::graph::Graph;
#[cfg(feature = "cuda")]
use crate::kernel::halving::Halving;
use crate::kernel::{Engine, Ensemble, Precision};
use crate::record::{DEFENCE, ModelRecord};
use crate::statistics::{GATE, tails};
use crate::terms::Through;
use candle_core::Device;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A model as described, its weights hashed but not yet unpacked.
pub struct ModelSource {
    /// Name in tables.
    pub name: String,
    /// What its model file says.
    pub file: ModelFile,
    /// How it is found again: path of its model file, or `hub:owner/name@commit`; `None`: by its name.
    pub origin: Option<String>,
    /// SHA-256 of the weight file.
    pub digest: String,
    /// The commit that weights from the Hub belong to.
    pub commit: Option<String>,
    /// Whether the description is a repository's own, at a branch or tag, and so may be another tomorrow.
    pub(super) drifts: bool,
    family: &'static Family,
    /// What stands before it.
    defence: Option<Arc<Defence>>,
    bytes: Bytes,
    /// Other models whose logits are averaged with this one's; `digest` and `name` speak of all.
    others: Vec<ModelSource>,
    notes: OnceLock<Vec<String>>,
    multiply_adds: OnceLock<u64>,
}

/// Between the names of models that are one.
pub const WITH: &str = " + ";

/// Where the bytes of a weight file are.
pub(super) enum Bytes {
    /// Here.
    Memory(Cow<'static, [u8]>),
    /// In the Hub's cache, hashed, under a name that stands for the content. They are read when the network is made, so
    /// that a sweep over many large nets does not hold all of them.
    Cached(Local),
    /// In a file of the user's that was hashed before, as far as the file system tells.
    Known { path: PathBuf, sha256: String, fingerprints: Fingerprints },
}

impl ModelSource {
    /// A model from a description and the bytes of its weight file, whose digest is checked if the description has one.
    pub fn new(
        name: String,
        file: ModelFile,
        origin: Option<String>,
        bytes: Cow<'static, [u8]>,
    ) -> Result<ModelSource> {
        let digest = digest::sha256(&bytes);
        ModelSource::with_digest(name, file, origin, Bytes::Memory(bytes), digest)
    }

    /// The same where the digest is known.
    pub(super) fn with_digest(
        name: String,
        file: ModelFile,
        origin: Option<String>,
        bytes: Bytes,
        digest: String,
    ) -> Result<ModelSource> {
        if let Some(pinned) = file.sha256.as_ref().filter(|p| **p != digest) {
            let mut problem = format!("the file's SHA-256 is {digest}, the model file pins {pinned}");
            let is_network = |bytes: &[u8]| file.family == config::ONNX && is_onnx(bytes);
            if let Some(what) = bytes.read().ok().filter(|b| !is_network(b)).and_then(|bytes| mistaken(&bytes)) {
                problem = format!("{what}: {problem}");
            }
            return Err(Error::Weights { model: name, problem });
        }
        let family = families::checked(&file);
        let family = family.map_err(|problem| Error::usage(format!("model `{name}`: {problem}")))?;
        let defence = defence_of(&file).map_err(|problem| Error::usage(format!("model `{name}`: {problem}")))?;
        Ok(ModelSource {
            name,
            file,
            origin,
            digest,
            commit: None,
            drifts: false,
            family,
            defence: defence.map(Arc::new),
            bytes,
            others: Vec::new(),
            notes: OnceLock::new(),
            multiply_adds: OnceLock::new(),
        })
    }

    /// Models as one, whose logits are the mean of theirs: an ensemble (`a + b`).
    pub(super) fn together(mut models: Vec<ModelSource>) -> Result<ModelSource> {
        let others = models.split_off(1);
        let first = models.remove(0);
        let all = || std::iter::once(&first).chain(&others);
        let joined = |of: &dyn Fn(&ModelSource) -> String| all().map(of).collect::<Vec<_>>().join(WITH);
        let (name, digest) = (joined(&|m| m.name.clone()), joined(&|m| m.digest.clone()));
        let takes = |m: &ModelSource| (m.file.size, m.file.classes, m.file.resize, m.file.bicubic);
        if let Some(other) = others.iter().find(|m| takes(m) != takes(&first)) {
            return Err(Error::usage(format!(
                "model `{name}`: `{}` does not take the images of `{}`, or has other classes (hint: an ensemble is of networks of one size and the same classes)",
                other.name, first.name
            )));
        }
        let origin = joined(&|m| m.origin.clone().unwrap_or_else(|| m.name.clone()));
        Ok(ModelSource {
            origin: all().any(|m| m.origin.is_some()).then_some(origin),
            drifts: all().any(|m| !m.is_pinned()),
            name,
            digest,
            commit: None,
            others,
            multiply_adds: OnceLock::new(),
            ..first
        })
    }

    /// What its model files say: one, or those of the networks that are one.
    pub fn files(&self) -> impl Iterator<Item = &ModelFile> {
        std::iter::once(&self.file).chain(self.others.iter().map(|other| &other.file))
    }

    /// As it stands in a cell.
    pub fn record(&self) -> ModelRecord {
        ModelRecord { name: self.name.clone(), network: self.network(), weights: self.digest.clone() }
    }

    /// Everything but the weights that decides a logit, in one line.
    pub fn network(&self) -> String {
        let own = network_text(self.family, &self.file, self.defence.as_deref());
        std::iter::once(own).chain(self.others.iter().map(ModelSource::network)).collect::<Vec<_>>().join(WITH)
    }

    /// Whether the weights are named by their SHA-256, and a description that lies on the Hub by its commit.
    pub fn is_pinned(&self) -> bool {
        self.file.sha256.is_some() && !self.drifts
    }

    /// Unpacks and checks the weights. Nothing is folded yet: every layer is a value of its own.
    pub fn load(&self) -> Result<Graph<f32>> {
        Ok(self.unpacked()?.0)
    }

    /// The network, and every layer of it whose output is a map.
    fn unpacked(&self) -> Result<(Graph<f32>, Vec<Layer>)> {
        self.refuse_several()?;
        self.unpacked_alone()
    }

    /// What an ensemble has several of is none of its own.
    fn refuse_several(&self) -> Result<()> {
        match self.others.is_empty() {
            true => Ok(()),
            false => Err(Error::usage(format!(
                "model `{}` is several networks, and has no layers of its own (hint: each apart)",
                self.name
            ))),
        }
    }

    fn unpacked_alone(&self) -> Result<(Graph<f32>, Vec<Layer>)> {
        let bytes = self.bytes.read()?;
        if self.file.family == config::ONNX {
            let network = self.imported(&bytes)?;
            let layers = network.layers();
            self.notes.get_or_init(|| network.notes);
            return Ok((network.graph, layers));
        }
        let weights = Weights::parse(&bytes, self.file.state_dict.as_deref()).map_err(|p| self.weights_error(p))?;
        let network = self.family.network(&self.file, Some(&weights)).map_err(|problem| self.weights_error(problem))?;
        self.notes.get_or_init(|| [weights.notes(), &network.notes].concat());
        Ok((network.graph, network.layers))
    }

    /// The network of an ONNX file, held to its description.
    fn imported(&self, bytes: &[u8]) -> Result<Imported> {
        let ModelFile { size, classes, mean, std, .. } = self.file;
        let network = onnx::import(bytes, None, Some(size), mean, std);
        let network = network.map_err(|problem| self.weights_error(foreign(bytes).unwrap_or(problem)))?;
        match network.graph.classes() {
            n if n == classes => Ok(network),
            n => Err(self.weights_error(format!(
                "the network has {n} classes, the model file says {classes} (hint: classes = {n})"
            ))),
        }
    }

    /// What the user is to know of how the weights were read, a line each; empty before they are.
    pub fn notes(&self) -> Vec<String> {
        let own = self.notes.get().cloned().unwrap_or_default();
        own.into_iter().chain(self.others.iter().flat_map(ModelSource::notes)).collect()
    }

    /// Ready to compute on `device`, on a GPU in the given precision: behind its defence, if it has one, by the draws that are
    /// put to the vote.
    ///
    /// # Errors
    /// Weights that do not load; those of the device.
    pub fn engine(&self, device: &Device, precision: Precision) -> Result<Box<dyn Engine>> {
        self.each(&|one| {
            let vote = one.defence.as_ref().and_then(|defence| defence.vote());
            let draws = vote.map_or(Draws::Mean(1, 0), |vote| Draws::Votes(vote.of, vote.draws));
            Ok(one.behind_its_defence(one.bare(device, precision)?, draws))
        })
    }

    /// The same as an attack meets it that asks `through` a defence, each gradient the mean over `eot` draws of its own by this
    /// seed.
    ///
    /// # Errors
    /// See [`ModelSource::engine`].
    pub fn attacked(
        &self,
        device: &Device,
        precision: Precision,
        through: Option<Through>,
        (eot, seed): (u32, u64),
    ) -> Result<Box<dyn Engine>> {
        self.each(&|one| {
            let bare = one.bare(device, precision)?;
            match through {
                Some(Through::Straight) => Ok(bare),
                _ => Ok(one.behind_its_defence(bare, Draws::Mean(eot, seed))),
            }
        })
    }

    /// What the last linear layer of the network reads, as an engine whose logits these are: behind its defence as the judge
    /// meets it, of a random one the mean over the draws that are put to the vote.
    ///
    /// # Errors
    /// An ensemble; a network that does not end in a linear layer; see [`ModelSource::engine`].
    pub fn features(&self, device: &Device) -> Result<Box<dyn Engine>> {
        let vote = self.defence.as_ref().and_then(|defence| defence.vote());
        let draws = vote.map_or(Draws::Mean(1, 0), |vote| Draws::Mean(vote.of, vote.draws));
        Ok(self.behind_its_defence(self.bare_features(device, Precision::F32)?, draws))
    }

    /// The same as an attack meets it: [`ModelSource::attacked`].
    ///
    /// # Errors
    /// See [`ModelSource::features`].
    pub fn attacked_features(
        &self,
        device: &Device,
        precision: Precision,
        through: Option<Through>,
        (eot, seed): (u32, u64),
    ) -> Result<Box<dyn Engine>> {
        let bare = self.bare_features(device, precision)?;
        match through {
            Some(Through::Straight) => Ok(bare),
            _ => Ok(self.behind_its_defence(bare, Draws::Mean(eot, seed))),
        }
    }

    /// Whether the network has features, without its weights where a family knows that.
    ///
    /// # Errors
    /// See [`ModelSource::features`].
    pub fn check_features(&self) -> Result<()> {
        self.refuse_several()?;
        let found = if self.file.family == config::ONNX {
            self.imported(&self.bytes.read()?)?.graph.into_features().map(|_| ())
        } else {
            let network = self.family.network(&self.file, None);
            network.expect("the description was checked when the model was found").graph.into_features().map(|_| ())
        };
        found.map_err(|problem| self.without_features(&problem))
    }

    fn without_features(&self, problem: &str) -> Error {
        Error::usage(format!("model `{}` has no features: {problem} (hint: without `binarise`)", self.name))
    }

    fn bare_features(&self, device: &Device, precision: Precision) -> Result<Box<dyn Engine>> {
        let graph = self.load()?.into_features().map_err(|problem| self.without_features(&problem))?;
        compiled(graph, device, precision)
    }

    /// What stands before it, or before one of the networks that it is.
    pub fn defences(&self) -> impl Iterator<Item = &Defence> {
        std::iter::once(self).chain(&self.others).filter_map(|one| one.defence.as_deref())
    }

    fn behind_its_defence(&self, engine: Box<dyn Engine>, draws: Draws) -> Box<dyn Engine> {
        match &self.defence {
            Some(defence) => Box::new(Defended::new(engine, defence.clone(), draws)),
            None => engine,
        }
    }

    /// The engines that `make` makes of each of its networks, as one.
    fn each(&self, make: &dyn Fn(&ModelSource) -> Result<Box<dyn Engine>>) -> Result<Box<dyn Engine>> {
        let mut engines = vec![make(self)?];
        for other in &self.others {
            engines.push(make(other)?);
        }
        match engines.len() {
            1 => Ok(engines.remove(0)),
            _ => Ok(Box::new(Ensemble::new(engines))),
        }
    }

    /// The network itself, whatever stands before it.
    fn bare(&self, device: &Device, precision: Precision) -> Result<Box<dyn Engine>> {
        compiled(self.unpacked_alone()?.0, device, precision)
    }

    /// The layer that class activation maps are made of: that of this name, else the usual one ([`layer::usual`]).
    ///
    /// # Errors
    /// See [`layer::find`].
    pub fn layer(&self, name: Option<&str>) -> Result<Layer, String> {
        if self.defence.is_some() {
            return Err(format!(
                "model `{}`: a map would be of the network alone, not of the defence before it (hint: explain the network \
                 without its `defence`)",
                self.name
            ));
        }
        self.find_layer(&self.layers().map_err(|e| e.to_string())?, name)
    }

    fn find_layer(&self, layers: &[Layer], name: Option<&str>) -> Result<Layer, String> {
        let found = match name {
            Some(name) => layer::find(layers, name),
            None => layer::usual(layers).ok_or_else(|| layer::none_usual(layers)),
        };
        found.cloned().map_err(|problem| format!("model `{}`: {problem}", self.name))
    }

    /// Every layer whose output is a map, without the weights where a family knows them.
    fn layers(&self) -> Result<Vec<Layer>> {
        self.refuse_several()?;
        if self.file.family == config::ONNX {
            return Ok(self.imported(&self.bytes.read()?)?.layers());
        }
        let network = self.family.network(&self.file, None);
        Ok(network.expect("the description was checked when the model was found").layers)
    }

    /// Multiplications with an addition each that the logits of an image take ([`Graph::multiply_adds`]).
    ///
    /// # Errors
    /// An ONNX file that cannot be read; of other networks no weights are looked at.
    pub fn multiply_adds(&self) -> Result<u64> {
        if let Some(known) = self.multiply_adds.get() {
            return Ok(*known);
        }
        let own = if self.file.family == config::ONNX {
            self.imported(&self.bytes.read()?)?.graph.multiply_adds()
        } else {
            let network = self.family.network(&self.file, None);
            network.expect("the description was checked when the model was found").graph.multiply_adds()
        };
        let all = self.others.iter().try_fold(own, |sum, other| Ok::<_, Error>(sum + other.multiply_adds()?))?;
        Ok(*self.multiply_adds.get_or_init(|| all))
    }

    /// Ready to say where the network looks, by the map of this layer; `None`: of the one that was taken before one could be
    /// chosen.
    ///
    /// # Errors
    /// See [`ModelSource::layer`]; weights that do not load.
    pub fn explainer(&self, name: Option<&str>) -> Result<Explainer> {
        let (graph, layers) = self.unpacked()?;
        let value = match name {
            Some(name) => Some(self.find_layer(&layers, Some(name)).map_err(Error::usage)?.value),
            None => layer::of_unnamed_maps(&layers).map(|l| l.value),
        };
        let value = value.ok_or_else(|| {
            Error::usage(format!("model `{}`: no layer has places (hint: run without `explain`)", self.name))
        })?;
        Ok(Explainer::new(graph, value))
    }

    fn weights_error(&self, problem: String) -> Error {
        Error::Weights { model: self.name.clone(), problem }
    }

    /// The clean accuracy that is published of this population; of networks as one there is none.
    pub fn published(&self, population: Option<&str>) -> Option<&PublishedSpec> {
        let published = self.file.published.as_ref().filter(|_| self.others.is_empty());
        published.filter(|p| Some(p.population.as_str()) == population)
    }

    /// Refuses a clean accuracy that cannot belong to the published one: wrong weights or preprocessing. Fisher's exact
    /// test (1935) on the two counts, at [`GATE`] on each side.
    pub fn check_clean_accuracy(&self, population: Option<&str>, correct: usize, of: usize) -> Result<()> {
        let Some(published) = self.published(population) else { return Ok(()) };
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

/// A network ready to compute on `device`, on a GPU in the given precision.
fn compiled(graph: Graph<f32>, device: &Device, precision: Precision) -> Result<Box<dyn Engine>> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(Box::new(Halving::new(Box::new(Cuda::new(graph, device, precision)?))));
    }
    let _ = (device, precision);
    Ok(Box::new(Cpu::new(graph)))
}

/// What a model file says that stands before the network.
///
/// # Errors
/// See [`Defence::new`].
fn defence_of(file: &ModelFile) -> Result<Option<Defence>, String> {
    let spec = &file.defence;
    Defence::new(spec, file.size)
}

/// Everything but the weights that decides what a network says, in one line.
fn network_text(family: &Family, file: &ModelFile, defence: Option<&Defence>) -> String {
    family.text(file) + &defence.map_or(String::new(), |defence| format!(" {DEFENCE}[{}]", defence.text()))
}

/// The same of a model file.
///
/// # Errors
/// A family that is not known; a defence that is none.
pub(super) fn network_of(file: &ModelFile) -> Result<String, String> {
    Ok(network_text(families::find(&file.family)?, file, defence_of(file)?.as_ref()))
}

impl Bytes {
    fn read(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            Bytes::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Bytes::Cached(local) => read_checked(&local.path, &local.sha256),
            Bytes::Known { path, sha256, fingerprints } => {
                read_checked(path, sha256).inspect_err(|_| fingerprints.forget(path))
            }
        }
    }
}

/// The bytes of a file that was hashed before, if they are still those.
fn read_checked<'a>(path: &Path, sha256: &str) -> Result<Cow<'a, [u8]>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    match digest::sha256(&bytes) == sha256 {
        true => Ok(Cow::Owned(bytes)),
        false => Err(Error::usage(format!(
            "{}: changed since it was checked (hint: run again; does another program write there?)",
            path.display()
        ))),
    }
}
