//! The lines of a figure, and what they are called.

use super::look::Look;
use crate::analysis::Summary;
use crate::analysis::groups::{Key, fitted_elsewhere, grouped, line_key};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The ensembles that pictures are fitted to, told apart: of those of one size, the places in which they differ.
pub struct Ensembles {
    differing: BTreeMap<usize, BTreeSet<usize>>,
}

impl Ensembles {
    /// Those of some cells.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a Summary>) -> Ensembles {
        let mut first: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        let mut differing: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for nets in cells.into_iter().map(fitted_elsewhere) {
            let first = first.entry(nets.len()).or_insert_with(|| nets.clone());
            let places = (0..nets.len()).filter(|k| nets[*k] != first[*k]);
            differing.entry(nets.len()).or_default().extend(places);
        }
        Ensembles { differing }
    }

    /// Where a picture was fitted elsewhere, that in words, the same for no two ensembles.
    pub fn fitted_to(&self, s: &Summary) -> Option<String> {
        let nets = fitted_elsewhere(s);
        let own: Vec<&str> = self.differing.get(&nets.len()).into_iter().flatten().map(|k| nets[*k]).collect();
        match nets.as_slice() {
            [] => None,
            [net] => Some(format!("fitted to {net}")),
            nets if own.is_empty() => Some(format!("fitted to an ensemble of {}", nets.len())),
            nets if own.len() == nets.len() => Some(format!("fitted to {}", own.join(" + "))),
            nets => Some(format!("fitted to an ensemble of {} with {}", nets.len(), own.join(" + "))),
        }
    }
}

/// The lines of a figure, in the order of the plan: an attack each.
pub struct Legend {
    styles: HashMap<Key, usize>,
    /// What they are called.
    pub names: Vec<String>,
}

impl Legend {
    /// Attack names with the parameters in which attacks of the same name differ.
    pub fn of(complete: &[&Summary], look: &Look) -> Legend {
        let lines: Vec<&Summary> = grouped(complete, line_key).into_iter().map(|g| g[0]).collect();
        let ensembles = Ensembles::of(lines.iter().copied());
        // of each attack, how many lines it has, and the values of each parameter, with how many lines have one
        let mut of_name: HashMap<&str, usize> = HashMap::new();
        let mut values: HashMap<(&str, &str), (usize, BTreeSet<&str>)> = HashMap::new();
        for attack in lines.iter().map(|s| &s.cell.attack) {
            *of_name.entry(&attack.name).or_default() += 1;
            for (key, value) in &attack.params {
                let (lines, seen) = values.entry((&attack.name, key)).or_default();
                *lines += 1;
                seen.insert(value);
            }
        }
        let name = |s: &&Summary| {
            let attack = &s.cell.attack;
            let differs = |key: &str| {
                let (lines, seen) = &values[&(attack.name.as_str(), key)];
                seen.len() > 1 || *lines < of_name[attack.name.as_str()]
            };
            let words: Vec<String> = attack
                .params
                .iter()
                .filter(|(k, v)| differs(k) && !v.is_empty())
                .map(|(k, v)| in_words(&k.replace('_', " "), v))
                .collect();
            let named = |name: &str| {
                let parts =
                    [name.to_string()].into_iter().chain(words.clone()).chain(met(s)).chain(ensembles.fitted_to(s));
                parts.collect::<Vec<_>>().join(", ")
            };
            // a label for the whole line goes before one for the attack
            let whole = named(&attack.name);
            match look.label(&whole) {
                same if same == whole => named(&look.label(&attack.name)),
                label => label,
            }
        };
        let styles = lines.iter().enumerate().map(|(style, s)| (line_key(s), style)).collect();
        Legend { styles, names: lines.iter().map(name).collect() }
    }

    /// Index of a cell's line.
    pub fn style(&self, s: &Summary) -> usize {
        self.styles[&line_key(s)]
    }
}

/// How an attack meets a defence, in words; nothing where there is none.
fn met(s: &Summary) -> Option<String> {
    let through = s.cell.through?.name();
    Some(match s.cell.eot {
        Some(draws) if draws > 1 => format!("{through}, eot {draws}"),
        _ => through.to_string(),
    })
}

/// A parameter and its value as one reads them.
pub fn in_words(key: &str, value: &str) -> String {
    match value {
        // the digest of a picture's file
        digest if digest.len() == 64 => format!("{key} {}", &digest[..8]),
        "true" => key.to_string(),
        "false" => format!("no {key}"),
        _ => format!("{key} {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ladder::tests::summary;
    use crate::figure::FigureRecord;
    use crate::record::{DataRecord, ModelRecord, TrainRecord};

    /// A patch fitted to these nets.
    fn fitted(nets: &[&str]) -> Summary {
        summary(10, &[], |c| {
            let net =
                |name: &&str| ModelRecord { name: name.to_string(), network: "n".into(), weights: name.to_string() };
            let data = DataRecord { digest: "22".into(), ..c.data.clone() };
            c.attack.name = "patch".into();
            c.train = Some(TrainRecord { models: nets.iter().map(net).collect(), data });
        })
    }

    fn names(cells: &[Summary]) -> Vec<String> {
        let general = FigureRecord::default();
        let look = Look::new("robust-accuracy", &general, "id", "run");
        Legend::of(&cells.iter().collect::<Vec<_>>(), &look).names
    }

    #[test]
    fn no_two_ensembles_share_a_name() {
        let alone = [fitted(&["00"]), fitted(&["a"]), fitted(&["a", "b"]), fitted(&["a", "b", "c"])];
        let wanted =
            ["patch", "patch, fitted to a", "patch, fitted to an ensemble of 2", "patch, fitted to an ensemble of 3"];
        assert_eq!(names(&alone), wanted);
        let two = [fitted(&["a", "b", "c"]), fitted(&["a", "b", "d"]), fitted(&["a", "e", "c"])];
        let wanted = ["b + c", "b + d", "e + c"].map(|nets| format!("patch, fitted to an ensemble of 3 with {nets}"));
        assert_eq!(names(&two), wanted);
        // a step a net in turn: the order counts
        let turned = [fitted(&["a", "b"]), fitted(&["b", "a"])];
        assert_eq!(names(&turned), ["patch, fitted to a + b", "patch, fitted to b + a"]);
    }
}
