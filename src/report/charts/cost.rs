//! What an attack costs against what it finds: robust accuracy over the passes spent on an image, a mark an attack, at one
//! budget. Passes and not seconds, which would differ from machine to machine.

use crate::analysis::groups::line_key;
use crate::analysis::groups::{budget_key, grouped};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, Panel, Point};
use crate::report::draw::groups::at_usual_budget;
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::{Titles, with_target};
use crate::terms::Mode;

/// The figure, or nothing where no two attacks meet at one budget.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        // what an image brought along from a smaller budget cost nothing here
        let complete = s.cell.mode == Mode::At
            && !s.cell.threat.eps.is_minimal()
            && s.rates.as_ref().is_some_and(|r| r.labelled && r.n > 0);
        complete && passes(s) > 0.0
    };
    let complete: Vec<&Summary> = look.shown(run).filter(drawn).collect();
    let shown = at_usual_budget(&complete, look);
    let (legend, titles) = (Legend::of(&shown, look), Titles::of(&shown, look));
    let mut panels = Vec::new();
    for group in grouped(&shown, budget_key).into_iter().filter(|g| g.len() > 1) {
        let line = |cells: Vec<&Summary>| {
            let points = cells.iter().filter_map(|s| {
                let rates = s.rates.as_ref()?;
                Some(Point::share(passes(s), rates.robust_correct, rates.n, &s.id))
            });
            Line { style: legend.style(cells[0]), form: Form::Marks, points: points.collect(), budget: None }
        };
        panels.push(Panel {
            title: with_target(run, group[0], titles.with_budget(group[0]))?,
            unit: look.label("passes an image"),
            share: look.label("robust accuracy / %"),
            axis: Axis::log(group.iter().map(|s| passes(s))),
            chance: None,
            lines: grouped(&group, line_key).into_iter().map(line).collect(),
        });
    }
    let note = "passes: forward and gradient, at the image (what a fit took before is not in it); whiskers: 95 % Wilson intervals";
    if panels.is_empty() { Ok(None) } else { render(&Curves::new(look, panels, legend.names, note), look).map(Some) }
}

/// Mean passes an attacked image.
fn passes(s: &Summary) -> f64 {
    s.rates.as_ref().map_or(0.0, |r| r.forwards.unwrap_or(0.0) + r.backwards.unwrap_or(0.0))
}
