//! Layers of a network that have places, by the names of the library that its weight files come from: where one may ask
//! for a class activation map.

use crate::error::hint;
use std::fmt::Write;

/// A module of a network whose output is a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// As the tensors of a weight file are named: `features.18`.
    pub name: String,
    /// Height and width of its map.
    pub size: [usize; 2],
    /// The value of the graph that it is ([`crate::kernel::graph::Graph::push`]).
    pub value: usize,
    /// Whether a map may be made of it where no layer is asked for: the last ReLU of a block, before any pool (Selvaraju et
    /// al. 2017, section 3).
    pub usual: bool,
}

/// A map of fewer places along its shorter side shows next to nothing.
const LEAST_SIDE: usize = 4;

/// The layer where none is asked for: the last usual one of at least 4×4, else the last of those with the largest map.
pub fn usual(layers: &[Layer]) -> Option<&Layer> {
    let usual = || layers.iter().filter(|l| l.usual);
    usual().rfind(|l| l.size[0].min(l.size[1]) >= LEAST_SIDE).or_else(|| usual().max_by_key(|l| l.places()))
}

/// The layer of maps that were stored before a layer could be chosen: the last usual one, whatever its side.
pub fn of_unnamed_maps(layers: &[Layer]) -> Option<&Layer> {
    layers.iter().rfind(|l| l.usual)
}

/// Says that there is no usual layer, and what there is.
pub fn none_usual(layers: &[Layer]) -> String {
    match layers.iter().find(|l| l.explains()) {
        Some(first) => format!(
            "no layer is the usual one to explain (hint: explain = {{ layer = \"{}\" }}); layers with a map: {}",
            first.name,
            listed(layers)
        ),
        None => "no layer has places".into(),
    }
}

/// The layer of this name.
///
/// # Errors
/// A name that is none, with the names there are; a layer that gives no map to look at, with the reason.
pub fn find<'a>(layers: &'a [Layer], name: &str) -> Result<&'a Layer, String> {
    let Some(layer) = layers.iter().find(|l| l.name == name) else {
        let names = layers.iter().filter(|l| l.explains()).map(|l| l.name.as_str());
        return Err(format!("no layer `{name}`{}; layers with a map: {}", hint(name, names), listed(layers)));
    };
    if !layer.explains() {
        return Err(format!(
            "the map of layer `{name}` is 1×1, one place, and says nothing of where the network looks; layers with a map: {}",
            listed(layers)
        ));
    }
    Ok(layer)
}

impl Layer {
    fn explains(&self) -> bool {
        self.places() > 1
    }

    fn places(&self) -> usize {
        self.size[0] * self.size[1]
    }
}

/// `features.0, features.1 (32×32), features.2 (16×16)`.
fn listed(layers: &[Layer]) -> String {
    let mut text = String::new();
    let mut all = layers.iter().filter(|l| l.explains()).peekable();
    while let Some(Layer { name, size, .. }) = all.next() {
        text += name;
        let next = all.peek().map(|l| l.size);
        if next != Some(*size) {
            write!(text, " ({}×{})", size[0], size[1]).expect("a String takes all");
        }
        text += if next.is_some() { ", " } else { "" };
    }
    text
}
