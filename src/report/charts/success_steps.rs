//! Success over the number of steps: how many of the images that were right are fooled within so many iterations of an
//! attack at one budget. Restarts count one after the other.

use crate::analysis::groups::line_key;
use crate::analysis::groups::{budget_key, grouped};
use crate::analysis::summary::Rates;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, Panel, Point, is_drawn};
use crate::report::draw::groups::at_usual_budget;
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::{Titles, with_target};
use crate::terms::Mode;

/// The figure, or nothing where no attack takes several steps.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let complete: Vec<&Summary> = look.shown(run).filter(|s| steps(s).is_some_and(|n| n > 1)).collect();
    let shown = at_usual_budget(&complete, look);
    if shown.is_empty() {
        return Ok(None);
    }
    let (legend, titles) = (Legend::of(&shown, look), Titles::of(&shown, look));
    let mut panels = Vec::new();
    for group in grouped(&shown, budget_key) {
        let drawn = |cells: &Vec<&Summary>| is_drawn(panels.len(), legend.style(cells[0]));
        let line = |cells: Vec<&Summary>| {
            let (style, points) = (legend.style(cells[0]), points(run, cells[0])?);
            Ok(Line { style, form: Form::Stairs, points, budget: None })
        };
        let lines = grouped(&group, line_key).into_iter().filter(drawn).map(line).collect::<Result<_>>()?;
        panels.push(Panel {
            title: with_target(run, group[0], titles.with_budget(group[0]))?,
            unit: look.label("steps"),
            share: look.label("fooled / % of right"),
            axis: Axis::log(group.iter().filter_map(|s| steps(s)).map(f64::from).chain([1.0])),
            chance: None,
            lines,
        });
    }
    let note = "bands: 95 % Wilson intervals; restarts one after the other";
    render(&Curves::new(look, panels, legend.names, note), look).map(Some)
}

/// Steps of all restarts of a cell that begins at the clean image.
fn steps(s: &Summary) -> Option<u32> {
    let number = |name: &str| s.cell.attack.params.get(name).and_then(|v| v.parse::<u32>().ok());
    // steps without gradients at the image are those of a patch that was fitted before
    let stepped = |r: &Rates| r.labelled && r.clean_correct > 0 && r.backwards.is_some_and(|b| b > 0.0);
    let complete = s.cell.mode == Mode::At && !s.cell.threat.eps.is_minimal() && s.rates.as_ref().is_some_and(stepped);
    number("steps").filter(|_| complete)?.checked_mul(number("restarts").unwrap_or(1))
}

/// A point wherever an image falls, and one at the end.
fn points(run: &Run, s: &Summary) -> Result<Vec<Point>> {
    let (Some(end), Some(rates)) = (steps(s), &s.rates) else { return Ok(Vec::new()) };
    let restarts = s.cell.attack.params.get("restarts").and_then(|v| v.parse::<u32>().ok()).unwrap_or(1).max(1);
    let fooled = s.fooled(run.store)?;
    let mut at: Vec<u32> =
        fooled.iter().map(|f| f.restart.saturating_mul(end / restarts).saturating_add(f.step).max(1)).collect();
    at.sort();
    Ok(cumulative(&at, end, rates.clean_correct, &s.id))
}

/// How many of `n` have fallen, at each place where one does (sorted), at 1 and at the end.
pub fn cumulative(at: &[u32], end: u32, n: usize, cell: &str) -> Vec<Point> {
    let mut places: Vec<u32> = at.iter().copied().chain([1, end]).collect();
    places.sort();
    places.dedup();
    places.iter().map(|x| Point::share(f64::from(*x), at.partition_point(|v| v <= x), n, cell)).collect()
}
