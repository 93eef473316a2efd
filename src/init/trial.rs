//! Tries what nothing tells of a network on labelled images, and takes what makes most of them right.

use super::images::Images;
use super::normalisation::{Normalisation, in_order};
use super::weights::{Found, choices};
use crate::config::KeyValue;
use crate::data::to_tensor;
use crate::error::{Error, Result};
use crate::goal::argmax;
use crate::kernel::Precision;
use crate::notice::say;
use crate::statistics::{at_least, mcnemar};
use candle_core::Device;

/// A network as it may be, and which images it has right.
struct Row {
    own: Vec<String>,
    normalisation: Normalisation,
    right: Vec<bool>,
}

/// Images at a time.
const BATCH: usize = 20;

/// Chance at which so many right ones are more than guessing, or one way is better than another.
const GUESSING: f64 = 1e-3;
const SAME: f64 = 0.05;

/// Tries all; whether something was found that is better than guessing, which `found` then has.
///
/// # Errors
/// Those of the device.
pub fn run(found: &mut Found, images: &Images, device: &Device) -> Result<bool> {
    let normalisations = match found.normalisation {
        Some(known) => vec![known],
        None => in_order(&found.source.file),
    };
    let mut rows = Vec::new();
    for own in combinations(found) {
        for normalisation in &normalisations {
            let right = right(found, images, &own, *normalisation, device)?;
            let row = Row { own: own.clone(), normalisation: *normalisation, right };
            say(format_args!("tried: {}", row.text()));
            rows.push(row);
        }
    }
    // of equally good ones the first
    let best = rows.iter().rev().max_by_key(|row| row.count()).expect("at least one way");
    let chance = |right: usize| chance_of(right, images);
    if chance(best.count()) >= GUESSING {
        let (n, of, name) = (best.count(), best.right.len(), images.name);
        match chance(n) < SAME || chance(of) >= GUESSING {
            true => say(format_args!("to fill in: {n} of {of} right on `{name}` may be chance (hint: more images)")),
            false => say(format_args!(
                "to fill in: nothing that was tried is better than guessing on `{name}` (hint: are these the right images, with \
                 classes in the network's order, and the network of RGB?)"
            )),
        }
        return Ok(false);
    }
    say(format_args!("recognised: {}, by the highest clean accuracy on `{}`", best.text(), images.name));
    let same: Vec<String> =
        rows.iter().filter(|row| !best.is(row) && best.is_within_chance(row)).map(Row::short).collect();
    if !same.is_empty() {
        say(format_args!("assumed: none of these, which are within chance of it: {}", same.join(", ")));
    }
    take(found, &rows, best, images);
    Ok(true)
}

/// Every way in which the open keys may be.
fn combinations(found: &Found) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    for key in &found.open {
        let with = |own: &Vec<String>| {
            choices(key).into_iter().map(|word| [own.clone(), vec![word]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

fn right(
    found: &mut Found,
    images: &Images,
    own: &[String],
    normalisation: Normalisation,
    device: &Device,
) -> Result<Vec<bool>> {
    let file = &mut found.source.file;
    (file.mean, file.std) = (normalisation.mean, normalisation.std);
    file.own.extend(found.open.iter().zip(own).map(|(key, word)| (key.name, KeyValue::Word(word.clone()))));
    let engine = found.source.engine(device, Precision::F32)?;
    let subset = &images.subset;
    let mut right = Vec::new();
    for (pixels, labels) in subset.pixels.chunks(BATCH * subset.values()).zip(subset.labels.chunks(BATCH)) {
        let logits = engine.logits(&to_tensor(pixels, subset.size, device)?)?.to_vec2::<f32>().map_err(Error::from)?;
        right.extend(logits.iter().zip(labels).map(|(logits, label)| argmax(logits) == *label));
    }
    Ok(right)
}

/// Chance of so many right ones by guessing, of which the share of the largest class is right.
fn chance_of(right: usize, images: &Images) -> f64 {
    let labels = &images.subset.labels;
    let largest = labels.iter().map(|label| labels.iter().filter(|other| *other == label).count()).max().unwrap_or(0);
    let share = (largest as f64 / labels.len() as f64).max(1.0 / images.subset.classes.len() as f64);
    if share < 1.0 { at_least(right, labels.len(), share) } else { 1.0 }
}

/// What the best row has, except keys that another row has otherwise within chance: those stay open.
fn take(found: &mut Found, rows: &[Row], best: &Row, images: &Images) {
    let Found { source, open, .. } = found;
    let file = &mut source.file;
    (file.mean, file.std) = (best.normalisation.mean, best.normalisation.std);
    let mut i = 0;
    open.retain(|key| {
        let word = &best.own[i];
        let is_sure = !rows.iter().any(|row| row.own[i] != *word && best.is_within_chance(row));
        i += 1;
        match is_sure {
            true => file.own.insert(key.name, KeyValue::Word(word.clone())),
            false => file.own.remove(key.name),
        };
        !is_sure
    });
    if found.normalisation.is_none() {
        let (n, of) = (best.count(), best.right.len());
        found.why = format!("{}: {n} of {of} of `{}` are right so", best.normalisation.name, images.name);
        found.normalisation = Some(best.normalisation);
    }
}

impl Row {
    fn count(&self) -> usize {
        self.right.iter().filter(|right| **right).count()
    }

    fn is(&self, other: &Row) -> bool {
        self.own == other.own && self.normalisation == other.normalisation
    }

    /// Whether the images on which the two differ are shared out as by a coin.
    fn is_within_chance(&self, other: &Row) -> bool {
        let only = |a: &Row, b: &Row| a.right.iter().zip(&b.right).filter(|(a, b)| **a && !**b).count();
        mcnemar(only(self, other), only(other, self)) > SAME
    }

    fn short(&self) -> String {
        let own: String = self.own.iter().map(|word| format!("{word} with ")).collect();
        format!("{own}{} ({})", self.normalisation.name, self.count())
    }

    fn text(&self) -> String {
        let Normalisation { name, mean, std } = self.normalisation;
        let own: String = self.own.iter().map(|word| format!("{word}, ")).collect();
        let (n, of) = (self.count(), self.right.len());
        let short = |numbers: [f64; 3]| numbers.map(|v| (v * 1e4).round() / 1e4);
        format!("{own}normalisation {name} (mean {:?}, std {:?}): {n} of {of} right", short(mean), short(std))
    }
}
