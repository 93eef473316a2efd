//! Models whose descriptions are compiled in.

use super::families;
use super::source::{Bytes, ModelSource};
use crate::config::{ModelFile, Place};
use crate::digest;
use crate::error::Result;
use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

/// A model whose description is compiled in, perhaps with its weights.
pub struct BuiltIn {
    /// Name in sweep files.
    pub name: &'static str,
    /// Its model file.
    pub(super) text: &'static str,
    /// Its weight file; `None`: it lies elsewhere.
    weights: Option<&'static [u8]>,
    /// SHA-256 of that, computed once a process.
    digest: OnceLock<String>,
}

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../configs/models/", $name, ".toml"))
    };
}

macro_rules! embedded {
    ($name:literal) => {
        BuiltIn {
            name: $name,
            text: text!($name),
            weights: Some(include_bytes!(concat!("../../configs/models/", $name, ".safetensors"))),
            digest: OnceLock::new(),
        }
    };
}

/// The standard network, bare or behind a defence: the same weights.
macro_rules! standard {
    ($name:literal) => {
        BuiltIn { name: $name, text: text!($name), weights: Some(STANDARD), digest: OnceLock::new() }
    };
}

/// Weights of `vgg11-half-cifar10`.
static STANDARD: &[u8] = include_bytes!("../../configs/models/vgg11-half-cifar10.safetensors");

macro_rules! described {
    ($name:literal) => {
        BuiltIn { name: $name, text: text!($name), weights: None, digest: OnceLock::new() }
    };
}

/// Every model that is known without a file of the user's.
pub static MODELS: [BuiltIn; 33] = [
    standard!("vgg11-half-cifar10"),
    embedded!("vgg11-half-cifar10-robust"),
    standard!("vgg11-half-bit-depth"),
    standard!("vgg11-half-blur"),
    standard!("vgg11-half-crops"),
    standard!("vgg11-half-jpeg"),
    standard!("vgg11-half-median"),
    standard!("vgg11-half-noise"),
    standard!("vgg11-half-quantise"),
    standard!("vgg11-half-random-resize-pad"),
    standard!("vgg11-half-tv"),
    described!("vgg16_bn_cifar10"),
    described!("vgg11.tv_in1k"),
    described!("vgg13.tv_in1k"),
    described!("vgg16.tv_in1k"),
    described!("vgg19.tv_in1k"),
    described!("vgg11_bn.tv_in1k"),
    described!("vgg13_bn.tv_in1k"),
    described!("vgg16_bn.tv_in1k"),
    described!("vgg19_bn.tv_in1k"),
    described!("squeezenet1_0-imagenet"),
    described!("resnet18_cifar10"),
    described!("resnet18.tv_in1k"),
    described!("resnet50.tv_in1k"),
    described!("resnet50.a1_in1k"),
    described!("deit_small_patch16_224.fb_in1k"),
    described!("convnext_tiny.fb_in1k"),
    described!("salman2020-resnet50-linf"),
    described!("salman2020-resnet50-l2"),
    described!("wang2023-wrn28-10-linf"),
    described!("wang2023-wrn28-10-l2"),
    described!("wang2023-wrn70-16-linf"),
    described!("wang2023-wrn70-16-l2"),
];

impl BuiltIn {
    /// What its model file says.
    pub fn file(&self) -> Result<ModelFile> {
        families::parse(Path::new(self.name), self.text)
    }

    /// Its model file as text.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Whether its weights are compiled in.
    pub fn is_embedded(&self) -> bool {
        self.weights.is_some()
    }

    /// Its model file with the lines that pin `found`, which was found by its name.
    pub(super) fn pinned(&self, found: &ModelSource) -> String {
        let line = |line: &str| match (line.split_whitespace().next(), &found.commit) {
            (Some("revision"), Some(commit)) => format!("revision   = \"{commit}\""),
            (Some("sha256"), _) => format!("sha256     = \"{}\"", found.digest),
            _ => line.to_string(),
        };
        // the comments speak of what is not known yet
        let lines = self.text.lines().filter(|line| !line.starts_with('#')).map(line);
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The model, where its weights are compiled in.
    pub fn embedded(&self) -> Option<Result<ModelSource>> {
        let weights = self.weights?;
        let digest = self.digest.get_or_init(|| digest::sha256(weights)).clone();
        let bytes = Bytes::Memory(Cow::Borrowed(weights));
        Some(self.file().and_then(|file| ModelSource::with_digest(self.name.into(), file, None, bytes, digest)))
    }
}

impl ModelSource {
    /// The lines of a model file that pin the model as it is; all of them where its description is compiled in.
    pub fn pin(&self) -> String {
        if let Some(known) = MODELS.iter().find(|known| self.origin.is_none() && known.name == self.name) {
            return known.pinned(self);
        }
        let mut lines = Vec::new();
        if let (Place::Hub { repository, .. }, Some(commit)) = (&self.file.place, &self.commit) {
            if self.origin.as_ref().is_some_and(|o| o.starts_with("hub:")) {
                lines.push(format!("hub      = \"{repository}\""));
            }
            lines.push(format!("revision = \"{commit}\""));
        }
        lines.push(format!("sha256   = \"{}\"", self.digest));
        lines.join("\n")
    }
}
