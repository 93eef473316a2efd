//! What a family of networks gives.

use super::layer::Layer;
use super::weights::Weights;
use crate::config::{FamilyKey, KeyKind, ModelFile};
use crate::error::{Result, hint};
use crate::kernel::Net;
use crate::kernel::old::Graph;
use candle_core::Device;

/// Networks that one file builds.
pub struct Family {
    /// What they are called together.
    pub title: &'static str,
    /// What `family` of a model file may be.
    pub names: &'static [&'static str],
    /// Whether it builds a [`Network::Sequence`], which a GPU computes in any precision; a graph is computed in f32.
    pub sequential: bool,
    /// Keys of the description that only this family has: they decide logits.
    pub keys: &'static [FamilyKey],
    /// Whether a description makes sense, before any weight is read; its keys are of the family, its choices known.
    pub check: fn(&ModelFile) -> Result<(), String>,
    /// Every layer of a checked description that has places, in the order of computation.
    pub layers: fn(&ModelFile) -> Vec<Layer>,
    /// The network of a checked description, every tensor of the file used and of the right shape.
    pub build: fn(&ModelFile, &Weights) -> Result<Network, String>,
}

impl Family {
    /// Everything but the weights that decides a logit, in one line.
    pub fn network(&self, file: &ModelFile) -> String {
        let f = file;
        let mut own: String = self.keys.iter().map(|key| format!("{}={} ", key.name, f.value(key))).collect();
        // a file may hold other weights, too
        own += &f.state_dict.as_ref().map_or(String::new(), |key| format!("state_dict={key:?} "));
        format!("{} {own}classes={} side={} mean={:?} std={:?}", f.family, f.classes, f.side, f.mean, f.std)
    }

    /// Refuses a word that is none of a key's choices.
    pub(super) fn check_choices(&self, file: &ModelFile) -> Result<(), String> {
        self.keys.iter().try_for_each(|key| match (key.kind, file.word(key)) {
            (KeyKind::Choice { known, .. }, word) if !known.contains(&word.as_str()) => {
                Err(format!("unknown {} `{word}`{}", key.name, hint(&word, known.iter().copied())))
            }
            _ => Ok(()),
        })
    }
}

/// A network in one of the two forms that engines take.
pub enum Network {
    /// One step after the other: the compiled engines take it.
    Sequence(Net<f32>),
    /// Anything else, in f32 on the CPU.
    Graph(Graph),
}

impl Network {
    /// As a graph on `device`.
    pub fn graph(self, device: &Device) -> Result<Graph> {
        match self {
            Network::Graph(graph) => graph.on(device),
            Network::Sequence(net) => Graph::of(&net, device),
        }
    }
}
