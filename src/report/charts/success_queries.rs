//! Success over the number of queries, for attacks that use no gradient: how many of the images that were right are fooled
//! within so many forward passes; lines go on to the budget, which is marked.

use super::success_steps::cumulative;
use crate::analysis::groups::line_key;
use crate::analysis::groups::{budget_key, grouped};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, Panel, is_drawn};
use crate::report::draw::groups::at_usual_budget;
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::Titles;
use crate::terms::{Mode, Norm};

/// Norms in which attacks search without gradients.
const NORMS: [Norm; 5] = [Norm::Pixels, Norm::L0, Norm::Linf, Norm::L2, Norm::L1];

/// The figure, or nothing where no attack searches without gradients.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let complete: Vec<&Summary> = look.shown(run).filter(|s| budget(s).is_some_and(|b| b > 1)).collect();
    let shown = at_usual_budget(&complete, look);
    if shown.is_empty() {
        return Ok(None);
    }
    let (legend, titles) = (Legend::of(&shown, look), Titles::of(&shown, look));
    let mut panels = Vec::new();
    for group in grouped(&shown, budget_key) {
        let drawn = |cells: &Vec<&Summary>| is_drawn(panels.len(), legend.style(cells[0]));
        let line = |cells: Vec<&Summary>| {
            let s = cells[0];
            let mut at: Vec<u32> = s.fooled(run.store)?.iter().map(|f| f.forwards.max(1)).collect();
            at.sort();
            let of = s.rates.as_ref().map_or(0, |r| r.clean_correct);
            let end = budget(s).unwrap_or(1);
            let points = cumulative(&at, end, of, &s.id);
            Ok(Line { style: legend.style(s), form: Form::Stairs, points, budget: Some(f64::from(end)) })
        };
        let lines = grouped(&group, line_key).into_iter().filter(drawn).map(line).collect::<Result<_>>()?;
        panels.push(Panel {
            title: titles.with_budget(group[0]),
            unit: look.label("queries (forward passes an image)"),
            share: look.label("fooled / % of right"),
            axis: Axis::log(group.iter().filter_map(|s| budget(s)).map(f64::from).chain([1.0])),
            chance: None,
            lines,
        });
    }
    let note = "bands: 95 % Wilson intervals; dotted upright: the most queries that an image may take or, where no parameter says \
                so, took";
    render(&Curves::new(look, panels, legend.names, note), look).map(Some)
}

/// Most queries that an image may take, where parameters tell it, else that one took; of a cell that took no gradient.
fn budget(s: &Summary) -> Option<u32> {
    let threat = &s.cell.threat;
    let complete = NORMS.contains(&threat.norm) && !threat.eps.is_minimal() && s.cell.mode == Mode::At;
    let rates = s.rates.as_ref().filter(|r| complete && r.labelled && r.clean_correct > 0)?;
    let spent = s.tally.most_forwards;
    // the judge's own passes come on top of what the attack asks
    let may = allowed(s).unwrap_or(0).max(spent);
    (rates.backwards == Some(0.0)).then_some(u32::try_from(may).unwrap_or(u32::MAX))
}

/// Queries of a full search: so many draws or queries, or the first population and that of each generation. A scan, and a union
/// of as many searches as there are classes to reach, are not told by parameters alone.
fn allowed(s: &Summary) -> Option<u64> {
    let params = &s.cell.attack.params;
    let number = |name: &str| params.get(name).and_then(|v| v.parse::<u64>().ok());
    let is = |name: &str, value: &str| params.get(name).is_some_and(|v| v == value);
    if is("variant", "scan") || is("objective", "union") {
        return None;
    }
    match (number("population"), number("generations")) {
        (Some(population), Some(generations)) => population.checked_mul(generations.checked_add(1)?),
        _ => number("draws").or_else(|| number("queries")),
    }
}
