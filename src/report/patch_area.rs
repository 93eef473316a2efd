//! How often the target is predicted over the area of what is pasted: one panel a model (and dataset, goal), one line a
//! patch or control.

use super::Run;
use super::canvas::{Picture, render};
use super::curves::{Axis, Curves, Form, Line, Panel, Point};
use super::look::Look;
use super::robust_accuracy::{Key, Legend, Titles, grouped, line_key};
use super::summary::Summary;
use super::tables::dataset;
use crate::error::Result;
use crate::terms::{Goal, Norm};

/// The figure, or nothing where nothing is pasted toward a target.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        let patch = s.cell.threat.norm == Norm::Patch && s.cell.goal.is_targeted();
        patch && s.rates.as_ref().is_some_and(|r| r.n > 0)
    };
    let complete: Vec<&Summary> = run.shown(look).filter(drawn).collect();
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

/// The title of a panel of this cell, with the name of its target.
pub fn with_target(run: &Run, s: &Summary, title: String) -> Result<String> {
    match s.cell.goal.is_targeted() {
        true => Ok(with_class_name(title, &s.cell.goal, &run.store.read_inputs(&s.cell.data.digest)?.classes)),
        false => Ok(title),
    }
}

/// `target:6` becomes `target frog`.
pub fn with_class_name(text: String, goal: &Goal, classes: &[String]) -> String {
    let class = goal.class().and_then(|n| classes.get(n));
    class.map_or(text.clone(), |name| text.replace(&goal.name(), &format!("target {name}")))
}

fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    vec![c.model.name.clone(), c.model.weights.clone(), dataset(c), c.goal.name(), c.seed.to_string()]
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
