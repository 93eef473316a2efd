//! Which cells stand together in a panel or table.

use super::look::Look;
use crate::analysis::Summary;
use crate::analysis::groups::{distance_to_usual, grouped, panel_key};

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
