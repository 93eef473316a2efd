//! Which cells stand together in a panel or table.

use super::look::Look;
use crate::analysis::Summary;
use std::collections::HashMap;

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
pub fn grouped<'a>(items: &[&'a Summary], key: impl Fn(&Summary) -> Key) -> Vec<Vec<&'a Summary>> {
    let mut groups: Vec<Vec<&Summary>> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    for item in items {
        let place = *places.entry(key(item)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// Cells at the budgets that are asked for; where none is, of each panel those at the usual one.
pub fn at_usual_budget<'a>(cells: &[&'a Summary], look: &Look) -> Vec<&'a Summary> {
    if look.names_budgets() {
        return cells.to_vec();
    }
    let nearest = |group: Vec<&'a Summary>| {
        let distance = |s: &Summary| (distance_to_usual(s) * 1e6) as u64;
        let least = group.iter().map(|s| distance(s)).min();
        group.into_iter().filter(move |s| Some(distance(s)) == least)
    };
    grouped(cells, panel_key).into_iter().flat_map(nearest).collect()
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
