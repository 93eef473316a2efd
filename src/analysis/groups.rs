//! Which cells belong together.

use super::summary::Summary;
use std::collections::HashMap;
use std::hash::Hash;

/// What items are told apart by.
pub type Key = Vec<String>;

/// One panel a model, dataset, norm, goal and whatever else decides what is measured.
pub fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    vec![
        c.model.name.clone(),
        c.model.weights.clone(),
        c.data.text(),
        c.threat.norm.name().to_string(),
        c.goal.name(),
        c.mode.name().to_string(),
        c.witness.to_string(),
        c.precision.to_string(),
        c.seed.to_string(),
    ]
}

/// Items with equal keys together, in the order of their first.
pub fn grouped<'a, K: Eq + Hash>(items: &[&'a Summary], key: impl Fn(&Summary) -> K) -> Vec<Vec<&'a Summary>> {
    let mut groups: Vec<Vec<&Summary>> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for item in items {
        let place = *places.entry(key(item)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// [`panel_key`] with the budget.
pub fn budget_key(s: &Summary) -> Key {
    let mut key = panel_key(s);
    key.push(s.cell.threat.eps_text());
    key
}

/// How far a budget is from the one that the field reports most.
pub fn distance_to_usual(s: &Summary) -> f64 {
    let usual = s.cell.threat.norm.terms().usual;
    (s.cell.threat.eps.to_f64() - usual).abs()
}

/// One line an attack with its parameters and, where it learnt elsewhere, the nets that it learnt from.
pub fn line_key(s: &Summary) -> Key {
    vec![s.cell.attack.name.clone(), s.cell.params(), fitted_elsewhere(s).join(" ")]
}

/// Names of the nets that a picture was fitted to, unless that is the attacked net alone.
pub fn fitted_elsewhere(s: &Summary) -> Vec<&str> {
    let nets = s.cell.train.as_ref().map_or(&[][..], |t| t.models.as_slice());
    match nets {
        [net] if net.weights == s.cell.model.weights => Vec::new(),
        nets => nets.iter().map(|net| net.name.as_str()).collect(),
    }
}
