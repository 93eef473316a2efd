//! Which cell of the run answers which cell of the baseline.

use super::side::Measured;
use crate::record::Cell;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A cell of the baseline, the run, or both.
pub type Pair<'a> = (Option<&'a Measured>, Option<&'a Measured>);

/// A part of two descriptions that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: `model.weights`.
    pub key: String,
    /// In the baseline's cell.
    pub baseline: String,
    /// In the run's cell.
    pub run: String,
}

/// What cells are paired by: by the first key under which each side has exactly one cell left.
const KEYS: [fn(&Measured) -> String; 3] =
    [|m| m.id.clone(), |m| question(&m.cell, true), |m| question(&m.cell, false)];

/// Pairs cells: the same id, else the same question with the same seed, else the same question where only one seed asks it.
/// In the order of the run; what only the baseline has comes last, in its order.
pub fn pair<'a>(baseline: &'a [Measured], run: &'a [Measured]) -> Vec<Pair<'a>> {
    let mut partner: Vec<Option<usize>> = vec![None; run.len()];
    let mut taken = vec![false; baseline.len()];
    for key in KEYS {
        let mut groups: BTreeMap<String, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (b, cell) in baseline.iter().enumerate().filter(|(b, _)| !taken[*b]) {
            groups.entry(key(cell)).or_default().0.push(b);
        }
        for (r, cell) in run.iter().enumerate().filter(|(r, _)| partner[*r].is_none()) {
            groups.entry(key(cell)).or_default().1.push(r);
        }
        for group in groups.into_values() {
            if let ([b], [r]) = (&group.0[..], &group.1[..]) {
                (partner[*r], taken[*b]) = (Some(*b), true);
            }
        }
    }
    let of_run = run.iter().zip(partner).map(|(cell, b)| (b.map(|b| &baseline[b]), Some(cell)));
    let missing = baseline.iter().zip(taken).filter(|(_, taken)| !taken).map(|(cell, _)| (Some(cell), None));
    of_run.chain(missing).collect()
}

/// What a cell asks, whatever code, weights and pixels answered: its description without schema, revision of the attack and
/// digests.
fn question(cell: &Cell, seeded: bool) -> String {
    let mut question = cell.clone();
    question.schema = 0;
    question.attack.revision = 0;
    if !seeded {
        question.seed = 0;
    }
    let mut models = vec![&mut question.model];
    let mut data = vec![&mut question.data];
    if let Some(train) = &mut question.train {
        models.extend(&mut train.models);
        data.push(&mut train.data);
    }
    for model in models {
        model.network.clear();
        model.weights.clear();
    }
    for data in data {
        data.prepared.clear();
        data.digest.clear();
    }
    question.canonical()
}

/// Where two descriptions differ: why ids do.
pub fn differences(baseline: &Cell, run: &Cell) -> Vec<Difference> {
    let (mut a, mut b) = (BTreeMap::new(), BTreeMap::new());
    flatten("", &serde_json::to_value(baseline).expect("plain data"), &mut a);
    flatten("", &serde_json::to_value(run).expect("plain data"), &mut b);
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let text = |side: &BTreeMap<String, String>, key: &String| side.get(key).cloned().unwrap_or_default();
    keys.into_iter()
        .filter(|key| a.get(*key) != b.get(*key))
        .map(|key| Difference { key: key.clone(), baseline: text(&a, key), run: text(&b, key) })
        .collect()
}

/// Every value by its path.
fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    let below = |part: &str| if path.is_empty() { part.to_string() } else { format!("{path}.{part}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| flatten(&below(key), v, out)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| flatten(&below(&i.to_string()), v, out)),
        Value::String(text) => drop(out.insert(path.to_string(), text.clone())),
        other => drop(out.insert(path.to_string(), other.to_string())),
    }
}
