//! What is left of a network behind a defence, beside what is left of the network alone (Athalye, Carlini, Wagner 2018).

use super::answer::labelled;
use super::groups::grouped;
use super::summary::Summary;
use crate::record::{Cell, DEFENCE};
use crate::terms::Through;
use std::collections::HashMap;

/// By how many points a defended network may stand better than the bare one, and the defence count as fallen.
const FALLEN: f64 = 5.0;

/// A cell of a defended network.
pub struct Defended<'a> {
    /// The cell.
    pub cell: &'a Summary,
    /// What stands before the network.
    pub defence: &'a str,
    /// The same attack on the same network with nothing before it; `None`: the run has no such cell.
    pub bare: Option<&'a Summary>,
}

/// One defended network under one attack.
pub struct Compared<'a> {
    /// Name of the defended network.
    pub model: &'a str,
    /// What stands before the network.
    pub defence: &'a str,
    /// The attack that does not know of it.
    pub blind: Option<&'a Summary>,
    /// Of those that do, the one that leaves least.
    pub adaptive: Option<&'a Summary>,
    /// The network alone.
    pub bare: Option<&'a Summary>,
}

impl Compared<'_> {
    /// By how many points more is left of the defended network than of the bare one.
    pub fn over(&self) -> Option<f64> {
        Some(left(self.adaptive?)? - left(self.bare?)?)
    }

    /// Whether the defence has fallen: hardly more is left than of the bare network, and the adaptive attack fools most of what
    /// the defended network has right. Otherwise a control, or an attack that breaks nothing, would say so too.
    pub fn falls(&self) -> bool {
        let rates = self.adaptive.and_then(|s| s.rates.as_ref());
        let fools_most = rates.is_some_and(|r| 2 * (r.clean_correct - r.robust_correct) > r.clean_correct);
        fools_most && self.over().is_some_and(|over| over <= FALLEN)
    }
}

/// What stands before a network, as its record says; `None`: nothing.
pub fn defence(cell: &Cell) -> Option<&str> {
    let (_, rest) = cell.model.network.split_once(DEFENCE)?;
    // of an ensemble, what stands before the first network that is defended
    rest.trim_start_matches('[').split(']').next()
}

/// The cell of the same attack on the network alone, whatever that is called.
fn bare(cell: &Cell) -> String {
    let mut bare = cell.clone().without_defence();
    bare.model.name.clear();
    bare.id()
}

/// The share of images that are right after the attack, in percent.
pub fn left(s: &Summary) -> Option<f64> {
    s.rates.as_ref().filter(|r| r.labelled).map(|r| 100.0 * r.robust_correct as f64 / r.n as f64)
}

/// Complete cells of networks with nothing before them, by what those with a defence share with them.
fn alone(cells: &[Summary]) -> HashMap<String, &Summary> {
    if cells.iter().all(|s| defence(&s.cell).is_none()) {
        return HashMap::new(); // a run may have very many
    }
    let alone = cells.iter().filter(|s| labelled(s) && defence(&s.cell).is_none());
    alone.map(|s| (bare(&s.cell), s)).collect()
}

/// Every complete cell of a defended network, in the order of the plan.
pub fn defended<'a>(cells: &'a [Summary]) -> Vec<Defended<'a>> {
    let alone = alone(cells);
    let row = |cell: &'a Summary| {
        let defence = defence(&cell.cell)?;
        Some(Defended { cell, defence, bare: alone.get(&bare(&cell.cell)).copied() })
    };
    cells.iter().filter(|s| labelled(s)).filter_map(row).collect()
}

/// The same, the ways of meeting a defence side by side: one entry a defended network and attack, those of one attack on one
/// network together.
pub fn compared(cells: &[Summary]) -> Vec<Vec<Compared<'_>>> {
    let alone = alone(cells);
    let all: Vec<&Summary> = cells.iter().filter(|s| labelled(s) && defence(&s.cell).is_some()).collect();
    let own = |s: &Summary| (s.cell.model.name.clone(), s.cell.model.network.clone());
    let mut groups = Vec::new();
    for of_one in grouped(&all, |s| bare(&s.cell)) {
        let bare = alone.get(&bare(&of_one[0].cell)).copied();
        groups.push(grouped(&of_one, own).iter().map(|ways| side_by_side(ways, bare)).collect());
    }
    groups
}

/// The ways of meeting one defence.
fn side_by_side<'a>(ways: &[&'a Summary], bare: Option<&'a Summary>) -> Compared<'a> {
    let is_blind = |s: &&&Summary| s.cell.through == Some(Through::Straight);
    let least = |a: &&&Summary, b: &&&Summary| left(a).unwrap_or(0.0).total_cmp(&left(b).unwrap_or(0.0));
    Compared {
        model: &ways[0].cell.model.name,
        defence: defence(&ways[0].cell).unwrap_or_default(),
        blind: ways.iter().find(is_blind).copied(),
        adaptive: ways.iter().filter(|s| !is_blind(s)).min_by(least).copied(),
        bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ladder::tests::summary;

    /// A cell of `n` images of which `fooled` fall, of a network behind `defence`, met `through`.
    fn cell(defence: &str, through: Option<Through>, fooled: u32) -> Summary {
        let fallen: Vec<u32> = (0..fooled).collect();
        summary(20, &fallen, |c| {
            c.model.name = format!("net{defence}");
            if !defence.is_empty() {
                c.model.network += &format!(" {DEFENCE}[{defence}]");
            }
            c.through = through;
        })
    }

    #[test]
    fn blind_and_adaptive_stand_beside_the_same_attack_on_the_network_alone() {
        let cells = [
            cell("", None, 19),
            cell("jpeg quality=75", Some(Through::Straight), 4),
            cell("jpeg quality=75", Some(Through::Bpda), 18),
            cell("blur sigma=1", Some(Through::Bpda), 12),
            cell("blur sigma=1", Some(Through::Exact), 20),
        ];
        let found = compared(&cells);
        assert_eq!(found.len(), 1, "one attack on one network");
        let told: Vec<_> =
            found[0].iter().map(|c| (c.defence, [c.blind, c.adaptive, c.bare].map(|s| s.and_then(left)))).collect();
        assert_eq!(
            told,
            [("jpeg quality=75", [Some(80.0), Some(10.0), Some(5.0)]), ("blur sigma=1", [None, Some(0.0), Some(5.0)]),]
        );
    }
}
