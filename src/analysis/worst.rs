//! The worst case over all attacks of a budget, image by image: an image stands if it stands against every attack on that
//! model, of these images, with that goal, in that norm, within that budget. It is no cell: nothing stores or counts it as one.

use super::answer::{labelled, worst_case};
use super::groups::{Key, grouped};
use super::least::Least;
use super::summary::Summary;
use crate::error::Result;
use crate::store::Store;
use crate::terms::Norm;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What it is called in tables and figures.
pub const NAME: &str = "worst case";

/// Attacks that are named in words; of more, it is said how many.
const MOST_NAMED: usize = 6;

/// The worst case over two or more complete cells.
pub struct WorstCase<'a> {
    /// The cells, in the order of the plan.
    pub cells: Vec<&'a Summary>,
    /// Cells of this budget that failed or are missing: the net may be weaker than this.
    pub lacking: usize,
    /// Images that stand against all of them.
    pub robust: usize,
    /// Images that were right before.
    pub right: usize,
    /// Images.
    pub n: usize,
}

/// What the cells of a worst case share: what a description alone tells, because cells that failed are counted, too.
fn key(s: &Summary) -> Key {
    let (c, model) = (&s.cell, &s.cell.model);
    let asked = [c.threat.norm.name().to_string(), c.threat.eps_text(), c.goal.name(), c.witness.to_string()];
    let images = [&model.name, &model.network, &model.weights, &c.data.digest].map(String::clone);
    [images, asked].concat()
}

/// Where two or more attacks have a complete cell, in the order of the plan. What is pasted is left out: no image is lost to two
/// patches at once.
pub fn worst_cases<'a>(cells: &[&'a Summary]) -> Vec<WorstCase<'a>> {
    let counts = |s: &&Summary| !matches!(s.cell.threat.norm, Norm::Patch | Norm::Any);
    let cells: Vec<&Summary> = cells.iter().copied().filter(counts).collect();
    let worst = |all: Vec<&'a Summary>| {
        let cells: Vec<&Summary> = all.iter().copied().filter(|s| labelled(s)).collect();
        let lacking = all.iter().filter(|s| s.rates.is_none()).count();
        let right = cells.first()?.rates.as_ref()?.clean_correct;
        let (robust, n) = worst_case(&cells);
        (cells.len() > 1).then_some(WorstCase { cells, lacking, robust, right, n })
    };
    grouped(&cells, key).into_iter().filter_map(worst).collect()
}

impl WorstCase<'_> {
    /// Names of the attacks, each once, in the order of the plan.
    pub fn attacks(&self) -> Vec<&str> {
        attacks(&self.cells)
    }

    /// Its attacks in words: `noise, fgsm, pgd`, or how many there are.
    pub fn over(&self) -> String {
        match self.attacks() {
            names if names.len() <= MOST_NAMED => names.join(", "),
            names => format!("{} attacks", names.len()),
        }
    }

    /// Ids of the cells, with spaces between.
    pub fn ids(&self) -> String {
        self.cells.iter().map(|s| s.id.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// Worst cases by the cells that they took.
pub struct ByCell<'w, 'a> {
    all: &'w [WorstCase<'a>],
    places: HashMap<&'a str, usize>,
}

impl<'w, 'a> ByCell<'w, 'a> {
    /// A cell belongs to one at most.
    pub fn new(all: &'w [WorstCase<'a>]) -> ByCell<'w, 'a> {
        let of = |(place, w): (usize, &WorstCase<'a>)| w.cells.iter().map(move |s| (s.id.as_str(), place)).collect();
        let places: Vec<Vec<(&str, usize)>> = all.iter().enumerate().map(of).collect();
        ByCell { all, places: places.into_iter().flatten().collect() }
    }

    /// Those that took a cell of this group, in their order.
    pub fn of_group(&self, group: &[&Summary]) -> Vec<&'w WorstCase<'a>> {
        let places: BTreeSet<usize> = group.iter().filter_map(|s| self.places.get(s.id.as_str())).copied().collect();
        places.into_iter().map(|place| &self.all[place]).collect()
    }
}

/// The attacks of all in words, where they are the same.
pub fn over_all(all: &[WorstCase]) -> String {
    let first = all.first().map_or(String::new(), WorstCase::over);
    if all.iter().all(|w| w.over() == first) { first } else { "all attacks of a budget".into() }
}

/// Names of attacks, each once.
pub fn attacks<'a>(cells: &[&'a Summary]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for s in cells {
        if !names.contains(&s.cell.attack.name.as_str()) {
            names.push(&s.cell.attack.name);
        }
    }
    names
}

/// Of each image the nearest that was seen; of equally near ones the first.
#[derive(Default)]
struct Nearest(BTreeMap<u32, Least>);

impl Nearest {
    /// Looks at what a cell found.
    fn see(&mut self, all: &[Least]) {
        for least in all {
            let entry = self.0.entry(least.example).or_insert(*least);
            if least.distance < entry.distance {
                *entry = *least;
            }
        }
    }

    /// By number of the image.
    fn into_least(self) -> Vec<Least> {
        self.0.into_values().collect()
    }
}

/// Of each image the nearest.
pub fn nearest<'a>(all: impl Iterator<Item = &'a [Least]>) -> Vec<Least> {
    let mut nearest = Nearest::default();
    all.for_each(|least| nearest.see(least));
    nearest.into_least()
}

/// Of each image the least that any of these cells found.
pub fn nearest_of(store: &Store, cells: &[&Summary]) -> Result<Vec<Least>> {
    let mut nearest = Nearest::default();
    for s in cells {
        nearest.see(&s.least(store)?);
    }
    Ok(nearest.into_least())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ladder::tests::summary;
    use crate::analysis::least::tests::at;
    use crate::terms::{Budget, Goal};

    fn cell(attack: &str, eps: &str, fooled: &[u32]) -> Summary {
        summary(10, fooled, |c| {
            c.attack.name = attack.into();
            c.threat.eps = Budget::Within(Norm::L2.budget(eps).unwrap());
        })
    }

    /// Robust images by budget.
    fn found(cells: &[Summary]) -> Vec<(String, usize, usize, Vec<String>)> {
        let all: Vec<&Summary> = cells.iter().collect();
        let told = |w: &WorstCase| {
            let names = w.attacks().into_iter().map(String::from).collect();
            (w.cells[0].cell.threat.eps_text(), w.robust, w.lacking, names)
        };
        worst_cases(&all).iter().map(told).collect()
    }

    #[test]
    fn an_image_stands_if_it_stands_against_every_attack() {
        let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let cells = [cell("noise", "1", &[0]), cell("pgd", "1", &[0, 1, 2]), cell("fab", "1", &[2, 5])];
        assert_eq!(found(&cells), [("255/255".into(), 6, 0, names(&["noise", "pgd", "fab"]))]);
        // one attack alone needs no worst case, and budgets are apart
        assert_eq!(found(&[cell("pgd", "1", &[0]), cell("pgd", "2", &[0])]), []);
        let mut failed = cell("square", "1", &[]);
        failed.rates = None;
        let cells = [cell("pgd", "1", &[0, 1]), cell("fab", "1", &[1]), failed.clone()];
        assert_eq!(found(&cells), [("255/255".into(), 8, 1, names(&["pgd", "fab"]))]);
        assert_eq!(found(&[cell("pgd", "1", &[0, 1]), failed]), [], "one that is complete");
        let goal = |name: &str, goal| {
            let mut s = cell(name, "1", &[3]);
            s.cell.goal = goal;
            s
        };
        assert_eq!(found(&[goal("pgd", Goal::Untargeted), goal("pgd", Goal::Class(1))]), [], "goals are apart");
        let mut patch = [cell("patch", "1", &[0]), cell("paste", "1", &[1])];
        patch.iter_mut().for_each(|s| s.cell.threat.norm = Norm::Patch);
        assert_eq!(found(&patch), []);
    }

    #[test]
    fn of_least_distances_the_least_counts() {
        let inf = f64::INFINITY;
        let all = [at(&[1.0, inf, 3.0]), at(&[2.0, inf, 0.5])];
        let distances: Vec<f64> = nearest(all.iter().map(Vec::as_slice)).iter().map(|l| l.distance).collect();
        assert_eq!(distances, [1.0, inf, 0.5]);
    }
}
