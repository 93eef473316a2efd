//! Success over the number of queries, for attacks that use no gradient: how many of the images that were right are fooled
//! within so many forward passes; the axis ends at the budget.

use super::Run;
use super::canvas::{Picture, render};
use super::curves::{Axis, Curves, Form, Line, Panel};
use super::look::Look;
use super::robust_accuracy::{Legend, Titles, at_usual_budget, budget_key, grouped, line_key};
use super::success_steps::cumulative;
use super::summary::Summary;
use crate::error::Result;

/// Norms in which attacks search without gradients.
const NORM: &str = "pixels";

/// The figure, or nothing where no attack searches without gradients.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let complete: Vec<&Summary> = run.shown(look).filter(|s| budget(s).is_some_and(|b| b > 1)).collect();
    let shown = at_usual_budget(&complete, look);
    if shown.is_empty() {
        return Ok(None);
    }
    let (legend, titles) = (Legend::of(&shown, look), Titles::of(&shown, look));
    let mut panels = Vec::new();
    for group in grouped(&shown, budget_key) {
        let line = |cells: Vec<&Summary>| {
            let s = cells[0];
            let mut at: Vec<u32> = s.tally.fooled.iter().map(|f| f.forwards.max(1)).collect();
            at.sort();
            let of = s.rates.as_ref().map_or(0, |r| r.clean_correct);
            let points = cumulative(&at, budget(s).unwrap_or(1), of, &s.id);
            Line { style: legend.style(s), form: Form::Stairs, points }
        };
        panels.push(Panel {
            title: titles.with_budget(group[0]),
            unit: look.label("queries (forward passes an image)"),
            share: look.label("fooled / % of right"),
            axis: Axis::log(group.iter().filter_map(|s| budget(s)).map(f64::from).chain([1.0])),
            chance: None,
            lines: grouped(&group, line_key).into_iter().map(line).collect(),
        });
    }
    let note = "bands: 95 % Wilson intervals; lines end at the most queries that an image took";
    render(&Curves::new(look, panels, legend.names, note), look).map(Some)
}

/// Most queries spent on an image of a cell that took no gradient.
fn budget(s: &Summary) -> Option<u32> {
    let complete = s.cell.threat.norm == NORM && s.cell.mode_name() == "at";
    let rates = s.rates.as_ref().filter(|r| complete && r.labelled && r.clean_correct > 0)?;
    (rates.backwards == Some(0.0)).then_some(u32::try_from(s.tally.most_forwards).unwrap_or(u32::MAX))
}
