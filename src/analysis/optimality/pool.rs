//! Which cells are held against each other.

use crate::analysis::answer::labelled;
use crate::analysis::groups::Key;
use crate::analysis::summary::Summary;
use std::collections::BTreeSet;

/// What attacks are held against each other under: all but the attack and its search.
pub fn pool(s: &Summary) -> Key {
    let model = &s.cell.model;
    [vec![model.network.clone(), model.weights.clone()], population(s)].concat()
}

/// [`pool`] whatever the net.
pub fn population(s: &Summary) -> Key {
    let c = &s.cell;
    vec![c.data.digest.clone(), c.threat.norm.name().to_string(), c.goal.name(), c.witness.to_string()]
}

/// An attack with all that may change what it finds.
pub fn attack(s: &Summary) -> Key {
    let c = &s.cell;
    vec![c.attack.name.clone(), c.params(), c.threat.eps_text(), c.precision.to_string(), c.seed.to_string()]
}

/// The cells that take part: those of minimal threats that are complete, on images with a true class, each once.
pub fn entrants<'a>(cells: impl IntoIterator<Item = &'a Summary>) -> Vec<&'a Summary> {
    let mut seen = BTreeSet::new();
    let takes_part = |s: &&Summary| s.cell.threat.eps.is_minimal() && labelled(s);
    cells.into_iter().filter(takes_part).filter(|s| seen.insert(s.id.as_str())).collect()
}
