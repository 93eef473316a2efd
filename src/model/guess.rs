//! What the names and shapes of tensors suggest that a network is: what every family's `recognise` gives.

use super::weights::Weights;
use crate::config::{FamilyKey, KeyValue};

/// A description, not yet held against the tensors.
#[derive(Debug, Clone)]
pub struct Guess {
    /// As a model file names it.
    pub family: String,
    /// Keys of the family that shapes tell.
    pub own: Vec<(FamilyKey, KeyValue)>,
    /// Keys of the family that decide logits and leave no trace in names and shapes.
    pub open: Vec<FamilyKey>,
    /// Whose names the tensors have.
    pub naming: &'static str,
    /// Number of classes.
    pub classes: usize,
    /// Height and width of images.
    pub side: Side,
    /// What else is to be said, a line each.
    pub notes: Vec<String>,
}

/// The side of square images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Side {
    /// Shapes tell it.
    Told(usize),
    /// The network takes others, too; this is the usual one.
    Usual(usize),
}

impl Side {
    /// Its pixels.
    pub fn pixels(self) -> usize {
        match self {
            Side::Told(side) | Side::Usual(side) => side,
        }
    }
}

impl Guess {
    /// A network whose last layer has this weight, outputs first; `None`: the file has no such tensor.
    pub fn of(weights: &Weights, family: &str, last: &str, naming: &'static str, side: Side) -> Option<Guess> {
        let classes = weights.size(last, 0)?;
        let (own, open, notes) = Default::default();
        Some(Guess { family: family.into(), own, open, naming, classes, side, notes })
    }

    /// With a key that shapes tell.
    pub fn with(mut self, key: FamilyKey, value: KeyValue) -> Guess {
        self.own.push((key, value));
        self
    }

    /// With a key that they do not tell.
    pub fn without(mut self, key: FamilyKey) -> Guess {
        self.open.push(key);
        self
    }

    /// With a line to be said.
    pub fn noting(mut self, note: impl Into<String>) -> Guess {
        self.notes.push(note.into());
        self
    }
}
