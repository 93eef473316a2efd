//! How often the target is predicted over the area of what is pasted: one panel a model (and dataset, goal), one line a
//! patch or control.

use crate::analysis::groups::line_key;
use crate::analysis::groups::{Key, grouped};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, Panel, Point};
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::{Titles, with_target};
use crate::terms::Norm;

/// The figure, or nothing where nothing is pasted toward a target.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        let patch = s.cell.threat.norm == Norm::Patch && s.cell.goal.is_targeted();
        patch && s.rates.as_ref().is_some_and(|r| r.n > 0)
    };
    let complete: Vec<&Summary> = look.shown(run).filter(drawn).collect();
    if complete.is_empty() {
        return Ok(None);
    }
    let (legend, titles) = (Legend::of(&complete, look), Titles::of(&complete, look));
    let mut panels = Vec::new();
    for group in grouped(&complete, panel_key) {
        let lines: Vec<Line> = grouped(&group, line_key)
            .into_iter()
            .map(|cells| Line {
                style: legend.style(cells[0]),
                form: Form::Joined,
                points: points(&cells),
                budget: None,
            })
            .collect();
        panels.push(Panel {
            title: with_target(run, group[0], titles.title(group[0]))?,
            unit: look.label("area / % of the image"),
            share: look.label("target predicted / %"),
            axis: Axis::at(lines.iter().flat_map(|l| l.points.iter().map(|p| p.x)).collect()),
            chance: None,
            lines,
        });
    }
    let note = "bands: 95 % Wilson intervals; at 0: the clean images";
    render(&Curves::new(look, panels, legend.names, note), look).map(Some)
}

fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    vec![c.model.name.clone(), c.model.weights.clone(), c.data.text(), c.goal.name(), c.seed.to_string()]
}

/// The clean point at 0, then the cells by area.
fn points(cells: &[&Summary]) -> Vec<Point> {
    let mut points = Vec::new();
    for s in cells {
        let (area, Some(n)) = (s.cell.threat.eps, s.n) else { continue };
        points.push(Point::share(100.0 * area.to_f64(), s.tally.target[1], n, &s.id));
        points.push(Point::share(0.0, s.tally.target[0], n, &s.id));
    }
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points.dedup_by(|a, b| a.x == b.x);
    points
}
