//! What a family of networks gives.

use super::builder::{Builder, Network};
use super::guess::Guess;
use super::weights::Weights;
use crate::config::{self, FamilyKey, KeyKind, ModelFile};
use crate::error::hint;
use crate::kernel::learn::Blueprint;
use crate::size;

/// Networks that one file builds.
pub struct Family {
    /// What they are called together.
    pub title: &'static str,
    /// What `family` of a model file may be.
    pub names: &'static [&'static str],
    /// What `keys` of a model file may be: whose names its tensors may have.
    pub namings: &'static [&'static str],
    /// Keys of the description that only this family has: they decide logits.
    pub keys: &'static [FamilyKey],
    /// Whether a description makes sense, before any weight is read; its keys are of the family, its choices known.
    pub check: fn(&ModelFile) -> Result<(), String>,
    /// What a weight file may be of it, by the names and shapes of its tensors; whether that is so, building it decides.
    pub recognise: fn(&Weights) -> Vec<Guess>,
    /// What decides logits, leaves no trace in weights, and is taken as it usually is.
    pub unseen: &'static str,
    /// Makes the network of a checked description, up to its logits.
    pub build: fn(&ModelFile, &mut Builder) -> Result<(), String>,
}

impl Family {
    /// The network of a checked description, every tensor of the weight file used and of the right shape; without weights,
    /// what there is to list of it.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, not finite, or without a place in the network; images that it does not take.
    pub fn network<'a>(&self, file: &ModelFile, weights: Option<&'a Weights<'a>>) -> Result<Network, String> {
        let mut builder = Builder::new(file, weights);
        (self.build)(file, &mut builder)?;
        builder.finish()
    }

    /// What there is to learn of the network of a checked description.
    ///
    /// # Errors
    /// Images that it does not take; an operation that learners do not know.
    pub fn blueprint(&self, file: &ModelFile) -> Result<Blueprint, String> {
        let mut builder = Builder::to_train(file);
        (self.build)(file, &mut builder)?;
        let blueprint = builder.blueprint();
        blueprint.check().map(|()| blueprint)
    }

    /// Everything but the weights that decides a logit, in one line.
    pub fn text(&self, file: &ModelFile) -> String {
        let f = file;
        let mut own: String = self.keys.iter().map(|key| format!("{}={} ", key.name, f.value(key))).collect();
        // a file may hold other weights, too
        own += &f.state_dict.as_ref().map_or(String::new(), |key| format!("state_dict={key:?} "));
        if f.family == config::ONNX {
            // raised where files are read otherwise than before: since 2 a Softmax at the end is left out
            own += "reading=2 ";
        }
        format!("{} {own}classes={} {} mean={:?} std={:?}", f.family, f.classes, size::named(f.size), f.mean, f.std)
    }

    /// Refuses tensors named as this family's are not.
    pub(super) fn check_naming(&self, file: &ModelFile) -> Result<(), String> {
        let other = file.keys.as_deref().filter(|keys| !self.namings.contains(keys));
        let known: Vec<String> = self.namings.iter().map(|keys| format!("keys = \"{keys}\"")).collect();
        other.map_or(Ok(()), |o| Err(format!("{o} has no {} (hint: {})", self.title, known.join(" or "))))
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
