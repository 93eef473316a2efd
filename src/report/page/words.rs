//! How the page names things.

use super::html::Html;
use crate::analysis::Summary;
use crate::record::Cell;
use crate::report::draw::legend::{Ensembles, in_words};
use crate::terms::{Precision, WitnessKind};
use std::collections::{BTreeMap, BTreeSet};

/// An error message may quote anything.
const LONGEST: usize = 500;

/// The head of an id.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

pub fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

pub fn link_to_file(html: &mut Html, path: &str) {
    html.element("a", &[("href", path)], path);
}

/// Budgets sort by norm, then by size.
pub fn budget_order(cell: &Cell) -> String {
    format!("{} {:018.9}", cell.threat.norm.name(), cell.threat.eps.to_f64())
}

/// The goal, and what else tells cells apart.
pub fn goal(cell: &Cell) -> String {
    let mut text = cell.goal.name();
    if cell.witness != WitnessKind::U8 {
        text += &format!(", {} witness", cell.witness);
    }
    if cell.precision != Precision::F32 {
        text += &format!(", {} gradients", cell.precision);
    }
    if cell.seed != 0 {
        text += &format!(", seed {}", cell.seed);
    }
    text
}

/// Of each cell the attack, with the parameters in which attacks of that name differ.
pub fn attack_names(cells: &[Summary]) -> Vec<String> {
    let mut values: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for s in cells {
        for (key, value) in &s.cell.attack.params {
            values.entry((&s.cell.attack.name, key)).or_default().insert(value);
        }
    }
    let ensembles = Ensembles::of(cells);
    let name = |s: &Summary| {
        let attack = &s.cell.attack;
        let differs = |key: &str| values.get(&(attack.name.as_str(), key)).is_some_and(|v| v.len() > 1);
        let words = attack.params.iter().filter(|(key, value)| differs(key) && !value.is_empty());
        let words = words.map(|(key, value)| in_words(&key.replace('_', " "), value));
        [attack.name.clone()].into_iter().chain(words).chain(ensembles.fitted_to(s)).collect::<Vec<_>>().join(", ")
    };
    cells.iter().map(name).collect()
}
