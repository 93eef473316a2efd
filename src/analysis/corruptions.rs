//! What a network has right on corrupted images, over corruptions and severities (Hendrycks and Dietterich 2019), alone or under an
//! attack besides.

use super::answer::labelled;
use super::groups::Key;
use super::summary::Summary;
use crate::corruption::{self, CORRUPTIONS, Corruption, SEVERITIES};
use crate::record::{Cell, CorruptionRecord, DataRecord};
use crate::statistics::of_mean;
use crate::terms::{Budget, Precision, WitnessKind};
use std::collections::{BTreeMap, HashMap};

/// One network on the corrupted versions of one set of images.
pub struct Suffering<'a> {
    /// Any of its cells.
    pub first: &'a Summary,
    /// Whether the images are attacked besides; otherwise a cell says what is right before its attack.
    pub attacked: bool,
    /// On the same images as they are; `None`: the run has no such cell.
    pub clean: Option<&'a Summary>,
    /// Of each corruption, in the order of the registry, the cells by severity.
    pub corruptions: Vec<Suffered<'a>>,
}

/// One corruption.
pub struct Suffered<'a> {
    /// What it is.
    pub corruption: &'static Corruption,
    /// Its name in the cells.
    pub name: String,
    /// By severity.
    pub cells: BTreeMap<u8, &'a Summary>,
}

/// The mean over all corruptions that count, at all severities.
pub struct Mean {
    /// Corruptions that it is over.
    pub corruptions: usize,
    /// Cells that it is over.
    pub cells: usize,
    /// Whether these are the fifteen corruptions at the five severities: the number that papers and RobustBench report.
    pub is_whole: bool,
    /// Mean of the accuracies, no corruption and no severity weighted.
    pub accuracy: f64,
    /// 95 % interval over images, which are the same in all cells.
    pub interval: Option<(f64, f64)>,
    /// Mean corruption error: each corruption's error by that of AlexNet. Of all sets of ImageNet-C, without an attack.
    pub mce: Option<f64>,
}

/// The complete cells of corrupted images, with what these suffered.
pub fn cells(all: &[Summary]) -> impl Iterator<Item = (&Summary, &CorruptionRecord)> {
    all.iter().filter(|s| labelled(s)).filter_map(|s| Some((s, s.cell.data.corruption.as_ref()?)))
}

/// The images before anything happened to them: `cifar10:test[0..1000]`, of CIFAR-10-C, too.
pub fn images(data: &DataRecord) -> String {
    DataRecord { name: name_of_clean(data), ..data.without_corruption() }.text()
}

/// Name of the dataset that images belong to before they are published as corrupted ones: `cifar10` of `cifar10-c`.
fn name_of_clean(data: &DataRecord) -> String {
    data.name.strip_suffix("-c").unwrap_or(&data.name).to_string()
}

/// Every network, first alone, then under each attack that may change something, in the order of the plan.
pub fn suffering(all: &[Summary]) -> Vec<Suffering<'_>> {
    let mut found: Vec<Suffering> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    let clean = if cells(all).next().is_some() { clean(all) } else { HashMap::new() };
    for (s, record) in cells(all) {
        let Some(corruption) = corruption::find(&record.name) else { continue };
        for &attacked in ways(s) {
            let key = key(s, attacked);
            let at = *places.entry(key).or_insert(found.len());
            if at == found.len() {
                let clean = clean.get(&of_clean(s, attacked)).copied();
                found.push(Suffering { first: s, attacked, clean, corruptions: Vec::new() });
            }
            found[at].add(corruption, record, s);
        }
    }
    for one in &mut found {
        one.corruptions.sort_by_key(|c| place(c.corruption));
        one.first = one.corruptions.iter().flat_map(|c| c.cells.values()).next().expect("a cell made it");
    }
    found
}

/// Whether what a cell says of the network alone is of more images than what another says: a target leaves those of its class out.
fn says_more(s: &Summary, than: &Summary) -> bool {
    let said = |s: &Summary| (!s.cell.goal.is_targeted(), s.n);
    said(s) > said(than)
}

/// Whether a cell says something of an attack, besides what it says of the network alone.
fn ways(s: &Summary) -> &'static [bool] {
    if s.cell.threat.eps == Budget::ZERO { &[false] } else { &[false, true] }
}

/// Names of all corruptions that some networks suffered, in the order of the registry.
pub fn names<'a>(found: &'a [Suffering]) -> Vec<&'a str> {
    let mut all: Vec<&Suffered> = Vec::new();
    for suffered in found.iter().flat_map(|one| &one.corruptions) {
        if all.iter().all(|known| known.name != suffered.name) {
            all.push(suffered);
        }
    }
    all.sort_by_key(|suffered| place(suffered.corruption));
    all.into_iter().map(|suffered| suffered.name.as_str()).collect()
}

/// Place in the registry.
fn place(corruption: &Corruption) -> Option<usize> {
    CORRUPTIONS.iter().position(|known| known.name == corruption.name)
}

/// What cells of one network have in common whatever their images suffered: without an attack, the network and the images; under
/// one, all but what the images suffered.
fn key(s: &Summary, attacked: bool) -> Key {
    let c = &s.cell;
    let own = [&c.model.name, &c.model.network, &c.model.weights, &c.data.name, &images(&c.data), &c.data.prepared];
    let mut key: Key = own.into_iter().cloned().collect();
    if attacked {
        let data = DataRecord { name: String::new(), digest: String::new(), ..c.data.without_corruption() };
        key.push(Cell { data, ..c.clone() }.id());
    }
    key
}

/// [`key`] of the same images as they are, which belong to a dataset of another name where corrupted ones are published.
fn of_clean(s: &Summary, attacked: bool) -> Key {
    let mut key = key(s, attacked);
    key[3] = name_of_clean(&s.cell.data);
    key
}

/// The cells of images as they are, by what corrupted ones share with them.
fn clean(all: &[Summary]) -> HashMap<Key, &Summary> {
    let mut found = HashMap::new();
    for s in all.iter().filter(|s| labelled(s) && s.cell.data.corruption.is_none()) {
        for attacked in ways(s) {
            let known = found.entry(of_clean(s, *attacked)).or_insert(s);
            if says_more(s, known) {
                *known = s;
            }
        }
    }
    found
}

impl<'a> Suffering<'a> {
    /// Of several cells that say the same of the network alone the one with most images counts.
    fn add(&mut self, corruption: &'static Corruption, record: &CorruptionRecord, s: &'a Summary) {
        let at = self.corruptions.iter().position(|c| c.name == record.name).unwrap_or_else(|| {
            let (name, cells) = (record.name.clone(), BTreeMap::new());
            self.corruptions.push(Suffered { corruption, name, cells });
            self.corruptions.len() - 1
        });
        let known = self.corruptions[at].cells.entry(record.severity).or_insert(s);
        if says_more(s, known) {
            *known = s;
        }
    }

    /// What is asked of the attack, as far as it is not the usual: `Linf 8/255, target:3`.
    pub fn asked(&self) -> String {
        let c = &self.first.cell;
        let mut parts = vec![c.budget_text()];
        parts.extend(c.goal.is_targeted().then(|| c.goal.name()));
        parts.extend((c.witness != WitnessKind::U8).then(|| format!("{} witness", c.witness)));
        parts.extend((c.precision != Precision::F32).then(|| format!("{} gradients", c.precision)));
        parts.join(", ")
    }

    /// Images of a cell that are right, of how many.
    pub fn right(&self, s: &Summary) -> (usize, usize) {
        let rates = s.rates.as_ref().expect("complete cells have rates");
        (if self.attacked { rates.robust_correct } else { rates.clean_correct }, rates.n)
    }

    /// The mean over the common corruptions; over the others, where no common one is there.
    pub fn mean(&self) -> Mean {
        let counted = self.counted();
        let cells: Vec<&Summary> = counted.iter().flat_map(|c| c.cells.values().copied()).collect();
        let is_whole = counted.len() == CORRUPTIONS.iter().filter(|known| known.is_common).count()
            && counted.iter().all(|c| c.corruption.is_common && c.cells.keys().copied().eq(SEVERITIES));
        let accuracy = self.mean_of(&cells);
        let mce = (is_whole && !self.attacked && self.first.cell.data.name == "imagenet-c").then(|| {
            let of_each = counted.iter().map(|c| {
                let cells: Vec<&Summary> = c.cells.values().copied().collect();
                Some((1.0 - self.mean_of(&cells)) / c.corruption.alexnet_error?)
            });
            of_each.collect::<Option<Vec<f64>>>().map(|errors| errors.iter().sum::<f64>() / errors.len() as f64)
        });
        Mean {
            corruptions: counted.len(),
            cells: cells.len(),
            is_whole,
            accuracy,
            interval: self.interval(&cells),
            mce: mce.flatten(),
        }
    }

    /// The corruptions that the mean is over.
    pub fn counted(&self) -> Vec<&Suffered<'a>> {
        let common: Vec<&Suffered> = self.corruptions.iter().filter(|c| c.corruption.is_common).collect();
        if common.is_empty() { self.corruptions.iter().collect() } else { common }
    }

    /// Mean accuracy of some cells, each with the same weight.
    pub fn mean_of(&self, cells: &[&Summary]) -> f64 {
        let share = |s: &&Summary| {
            let (right, n) = self.right(s);
            right as f64 / n as f64
        };
        cells.iter().map(share).sum::<f64>() / cells.len().max(1) as f64
    }

    /// The images are the sample: each has a share of the cells in which it is right.
    fn interval(&self, cells: &[&Summary]) -> Option<(f64, f64)> {
        let mut right: BTreeMap<u32, usize> = BTreeMap::new();
        for verdict in cells.iter().flat_map(|s| s.verdicts.iter()) {
            *right.entry(verdict.example).or_default() +=
                usize::from(verdict.right && !(self.attacked && verdict.fooled));
        }
        let of_all = cells.iter().all(|s| s.verdicts.len() == right.len());
        let shares: Vec<f64> = right.values().map(|k| *k as f64 / cells.len() as f64).collect();
        of_all.then(|| of_mean(&shares)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ladder::tests::summary;
    use crate::record::TrainRecord;
    use crate::terms::Goal;

    /// A cell of 20 images under a corruption, of which `fooled` fall to the attack.
    fn cell(corruption: Option<(&str, u8)>, fooled: u32) -> Summary {
        let fallen: Vec<u32> = (0..fooled).collect();
        summary(20, &fallen, |c| {
            let record = |(name, severity): (&str, u8)| CorruptionRecord { name: name.into(), severity, seed: None };
            c.data.name = if corruption.is_some() { "cifar10-c".into() } else { "cifar10".into() };
            c.data.corruption = corruption.map(record);
        })
    }

    #[test]
    fn severities_stand_together_beside_the_clean_images() {
        let cells = [
            cell(Some(("fog", 3)), 5),
            cell(None, 2),
            cell(Some(("fog", 1)), 3),
            cell(Some(("gaussian-noise", 1)), 10),
            cell(Some(("saturate", 1)), 20),
        ];
        let found = suffering(&cells);
        assert_eq!(found.iter().map(|one| one.attacked).collect::<Vec<_>>(), [false, true]);
        let attacked = &found[1];
        let told: Vec<_> = attacked
            .corruptions
            .iter()
            .map(|c| (c.name.as_str(), c.cells.iter().map(|(at, s)| (*at, attacked.right(s).0)).collect::<Vec<_>>()))
            .collect();
        let expected = [("gaussian-noise", vec![(1, 10)]), ("fog", vec![(1, 17), (3, 15)]), ("saturate", vec![(1, 0)])];
        assert_eq!(told, expected, "in the published order");
        assert_eq!(attacked.clean.map(|s| attacked.right(s)), Some((18, 20)));
        // the extra ones are no part of the mean
        let mean = attacked.mean();
        assert_eq!((mean.corruptions, mean.cells, mean.is_whole), (2, 3, false));
        assert!((mean.accuracy - (10.0 + 17.0 + 15.0) / 60.0).abs() < 1e-12);
        // an image that is right in no cell, in one, or in all
        let (low, high) = mean.interval.unwrap();
        assert!(low < mean.accuracy && mean.accuracy < high, "{low} {high}");
        assert_eq!(mean.mce, None);
    }

    #[test]
    fn cells_that_differ_in_more_than_the_corruption_stand_apart() {
        let of = |change: &dyn Fn(&mut Cell)| {
            let mut s = cell(Some(("fog", 1)), 5);
            change(&mut s.cell);
            s
        };
        let fitted = |digest: &'static str| {
            move |c: &mut Cell| {
                let data = DataRecord { digest: digest.into(), ..c.data.clone() };
                c.train = Some(TrainRecord { models: Vec::new(), data });
            }
        };
        let cells = [of(&|_| ()), of(&|c| c.goal = Goal::Class(1)), of(&fitted("a")), of(&fitted("b"))];
        let told: Vec<bool> = suffering(&cells).iter().map(|one| one.attacked).collect();
        assert_eq!(told, [false, true, true, true, true], "the network alone is one");
    }

    #[test]
    fn a_target_leaves_no_image_out_of_what_is_said_of_the_network_alone() {
        let of = |goal: Goal, n: u32| {
            let mut s = summary(n as usize, &[], |c| {
                c.goal = goal;
                c.data.corruption = Some(CorruptionRecord { name: "fog".into(), severity: 1, seed: None });
            });
            s.n = Some(n as usize);
            s
        };
        for cells in
            [[of(Goal::Class(3), 18), of(Goal::Untargeted, 20)], [of(Goal::Untargeted, 20), of(Goal::Class(3), 18)]]
        {
            let alone = suffering(&cells).remove(0);
            assert_eq!((alone.attacked, alone.first.n), (false, Some(20)));
        }
    }

    #[test]
    fn the_whole_is_fifteen_corruptions_at_five_severities() {
        let common = || CORRUPTIONS.iter().filter(|known| known.is_common);
        let of = |name: &str| {
            let all = common().flat_map(|known| SEVERITIES.map(|severity| (known.name, severity)));
            let mut cells: Vec<Summary> = all.map(|at| cell(Some(at), 0)).collect();
            cells.iter_mut().for_each(|s| s.cell.data.name = name.into());
            cells
        };
        let ten = of("cifar10-c");
        let mean = suffering(&ten)[0].mean();
        assert_eq!((mean.corruptions, mean.cells, mean.is_whole, mean.accuracy, mean.mce), (15, 75, true, 1.0, None));
        let imagenet = of("imagenet-c");
        assert_eq!(suffering(&imagenet)[0].mean().mce, Some(0.0), "no error at all");
        let lacking = suffering(&imagenet[1..]).remove(0).mean();
        assert_eq!((lacking.is_whole, lacking.mce), (false, None));
    }
}
