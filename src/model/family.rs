//! Families of networks: the registry, and what a family gives. A new one is one file and one line in [`FAMILIES`].

use super::{Weights, squeezenet, vgg};
use crate::config::ModelFile;
use crate::error::{Result, hint};
use crate::kernel::Net;
use crate::kernel::graph::{Graph, Op};
use candle_core::Device;

/// Networks that one file builds.
pub struct Family {
    /// What `family` of a model file may be.
    pub names: &'static [&'static str],
    /// Whether it builds a [`Network::Sequence`], which a GPU computes in any precision; a graph is computed in f32.
    pub sequential: bool,
    /// Whether a description makes sense, before any weight is read.
    pub check: fn(&ModelFile) -> Result<(), String>,
    /// Keys of the description that only this family has, as `key=value ` each: they decide logits.
    pub own_keys: fn(&ModelFile) -> String,
    /// The network of a checked description, every tensor of the file used and of the right shape.
    pub build: fn(&ModelFile, &Weights) -> Result<Network, String>,
}

impl Family {
    /// Everything but the weights that decides a logit, in one line.
    pub fn network(&self, file: &ModelFile) -> String {
        let f = file;
        let own_keys = (self.own_keys)(f);
        format!("{} {own_keys}classes={} side={} mean={:?} std={:?}", f.family, f.classes, f.side, f.mean, f.std)
    }
}

/// Every family.
pub const FAMILIES: &[&Family] = &[&vgg::FAMILY, &squeezenet::FAMILY];

/// The family of this name.
pub fn find(name: &str) -> Result<&'static Family, String> {
    FAMILIES.iter().copied().find(|f| f.names.contains(&name)).ok_or_else(|| {
        let known = FAMILIES.iter().flat_map(|f| f.names.iter().copied());
        format!("unknown family `{name}`{}", hint(name, known))
    })
}

/// A network in one of the two forms that engines take.
pub enum Network {
    /// One step after the other: the compiled engines take it.
    Sequence(Net<f32>),
    /// Anything else, in f32 on the CPU.
    Graph {
        /// The operations.
        graph: Graph,
        /// The value that class activation maps explain: the last one that still has places.
        features: usize,
    },
}

impl Network {
    /// As a graph on `device`, with the value that class activation maps explain. In a sequence that is the output of the
    /// last convolution's ReLU, before any pool (Selvaraju et al. 2017, section 3).
    pub fn graph(self, device: &Device) -> Result<(Graph, usize)> {
        match self {
            Network::Graph { graph, features } => Ok((graph.on(device)?, features)),
            Network::Sequence(net) => {
                let graph = Graph::of(&net, device)?;
                // node i makes value i + 1, and a convolution's ReLU follows it
                let last = graph.operations().rposition(|op| matches!(op, Op::Conv { .. }));
                Ok((graph, last.map_or(0, |i| i + 2)))
            }
        }
    }
}
