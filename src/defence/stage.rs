//! One stage of a defence.

use crate::error::hint;
use crate::rng::Stream;
use std::collections::BTreeMap;

/// What changes an image on its way to a network, for images of one size. Images are 3×H×W, f32 in [0,1].
pub trait Stage: Send + Sync {
    /// The image that goes on. The size stays; a random stage takes all its chance from `draw`.
    fn apply(&self, image: &[f32], draw: &mut Stream) -> Vec<f32>;

    /// The gradient with respect to `image`, from that with respect to what [`Stage::apply`] made of it by the same draw; the
    /// gradient itself where there is no derivative (BPDA, Athalye et al. 2018, §4.1).
    fn back(&self, image: &[f32], slope: Vec<f32>, draw: &mut Stream) -> Vec<f32> {
        let _ = (image, draw);
        slope
    }
}

/// A stage, or why it does not fit the images.
pub type Built = Result<Box<dyn Stage>, String>;

/// A line of the registry.
pub struct StageEntry {
    /// Name in model files.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Paper, and where its constants are from.
    pub source: &'static str,
    /// Its constants.
    pub keys: &'static [Key],
    /// Whether it draws.
    pub is_random: bool,
    /// Whether [`Stage::back`] is its derivative.
    pub has_derivative: bool,
    /// Makes it for images of this height and width.
    pub build: fn(&Values, [usize; 2]) -> Built,
}

/// A constant of a stage: a number.
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Where it is not given, as one would write it: `75`, `90/299`.
    pub default: &'static str,
    /// Least value.
    pub least: f64,
    /// Greatest value.
    pub most: f64,
    /// Whether only whole numbers are meant.
    pub whole: bool,
    /// One line, with the source of the default.
    pub summary: &'static str,
}

/// The constants of a stage, all of them, each with its text: a fraction stands as it was written.
pub struct Values(BTreeMap<&'static str, (f64, String)>);

impl Values {
    /// What a model file says, the rest by default.
    ///
    /// # Errors
    /// A constant that the stage does not have, or out of its range.
    pub fn read(entry: &StageEntry, given: &[(String, String)]) -> Result<Values, String> {
        let default = |key: &Key| (number(key.default).expect("a default is a number"), key.default.to_string());
        let mut values: BTreeMap<_, _> = entry.keys.iter().map(|key| (key.name, default(key))).collect();
        for (name, text) in given {
            let key = entry.keys.iter().find(|key| key.name == name);
            let key = key.ok_or_else(|| {
                let others = hint(name, entry.keys.iter().map(|key| key.name));
                format!(
                    "unknown key `{name}`{}",
                    if others.is_empty() { " (hint: it has none)".into() } else { others }
                )
            })?;
            let number =
                number(text).filter(|n| (key.least..=key.most).contains(n) && (!key.whole || n.fract() == 0.0));
            let number = number.ok_or_else(|| {
                let kind = if key.whole { "a whole number" } else { "a number" };
                format!("`{name}`: expected {kind} from {} to {}, found {text}", key.least, key.most)
            })?;
            let text = if text.contains('/') { text.replace(' ', "") } else { number.to_string() };
            values.insert(key.name, (number, text));
        }
        Ok(Values(values))
    }

    /// The value of a key.
    ///
    /// # Panics
    /// Where the stage has no such key.
    pub fn get(&self, key: &str) -> f64 {
        self.0[key].0
    }

    /// The same as it was written.
    ///
    /// # Panics
    /// Where the stage has no such key.
    pub fn text_of(&self, key: &str) -> &str {
        &self.0[key].1
    }

    /// The same as a whole number.
    pub fn whole(&self, key: &str) -> usize {
        self.get(key) as usize
    }

    /// Stage and constants in words: `jpeg quality=75`.
    pub fn text(&self, entry: &StageEntry) -> String {
        let values: Vec<String> =
            entry.keys.iter().map(|key| format!(" {}={}", key.name, self.text_of(key.name))).collect();
        entry.name.to_string() + &values.concat()
    }
}

/// `0.5`, or a fraction as `90/299`.
fn number(text: &str) -> Option<f64> {
    let parse = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    match text.split_once('/') {
        Some((part, whole)) => Some(parse(part)? / parse(whole).filter(|n| *n != 0.0)?),
        None => parse(text),
    }
}
