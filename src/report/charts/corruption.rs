//! Accuracy over the severity of corruptions: one panel a corruption, the mean in the first, one line a network, alone or under an
//! attack besides.

use crate::analysis::corruptions::{Suffered, Suffering, images, names, suffering};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, Panel, Point};
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;

/// The figure, or nothing where no image was corrupted.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let found: Vec<Suffering> = suffering(&run.cells).into_iter().filter(|one| look.shows(&one.first.cell)).collect();
    let names = names(&found);
    if names.is_empty() {
        return Ok(None);
    }
    let of = |name: &str| {
        let line = |(style, one): (usize, &Suffering)| {
            let suffered = one.corruptions.iter().find(|c| c.name == name)?;
            Some(Line { style, form: Form::Joined, points: points(one, suffered), budget: None })
        };
        let lines = found.iter().enumerate().filter_map(line).collect();
        panel(look, look.label(name), lines)
    };
    let mut panels: Vec<Panel> = names.iter().map(|name| of(name)).collect();
    if names.len() > 1 {
        let mean = |(style, one): (usize, &Suffering)| Line {
            style,
            form: Form::Joined,
            points: points_of_mean(one),
            budget: None,
        };
        let lines = found.iter().enumerate().map(mean).collect();
        panels.insert(0, panel(look, look.label("mean"), lines));
    }
    let common = found.iter().any(|one| one.counted().iter().any(|suffered| suffered.corruption.is_common));
    let note = format!(
        "bands: 95 % Wilson intervals; at 0: the same images as they are, where the run has them; the mean is over the {} corruptions, \
         each with the same weight",
        if common { "common" } else { "extra" }
    );
    render(&Curves::new(look, panels, legend(&found, look), &note), look).map(Some)
}

fn panel(look: &Look, title: String, lines: Vec<Line>) -> Panel {
    Panel {
        title,
        unit: look.label("severity"),
        share: look.label("accuracy / %"),
        axis: Axis::linear(5.0),
        chance: None,
        lines,
    }
}

/// The network, the images where there are several sets of them, and the attack.
fn legend(found: &[Suffering], look: &Look) -> Vec<String> {
    let firsts: Vec<&Summary> = found.iter().map(|one| one.first).collect();
    let attacks = Legend::of(&firsts, look);
    let first = found.first().map(|one| images(&one.first.cell.data));
    let several = found.iter().any(|one| Some(images(&one.first.cell.data)) != first);
    let name = |one: &Suffering| {
        let c = &one.first.cell;
        let mut parts = vec![look.label(&c.model.name)];
        if several {
            parts.push(look.label(&images(&c.data)));
        }
        if one.attacked {
            parts.push(attacks.names[attacks.style(one.first)].clone());
            parts.push(one.asked());
        }
        look.label(&parts.join(", "))
    };
    found.iter().map(name).collect()
}

/// The clean images at 0, then the severities.
fn points(one: &Suffering, suffered: &Suffered) -> Vec<Point> {
    let clean = one.clean.map(|s| (0, s));
    let all = clean.into_iter().chain(suffered.cells.iter().map(|(severity, s)| (*severity, *s)));
    let point = |(severity, s): (u8, &Summary)| {
        let (right, n) = one.right(s);
        Point::share(severity.into(), right, n, &s.id)
    };
    all.map(point).collect()
}

/// The same of the mean over the corruptions that have a cell there.
fn points_of_mean(one: &Suffering) -> Vec<Point> {
    let counted = one.counted();
    let of = |severity: u8| {
        let cells: Vec<&Summary> = match severity {
            0 => one.clean.into_iter().collect(),
            _ => counted.iter().filter_map(|c| c.cells.get(&severity).copied()).collect(),
        };
        let n = cells.first().map(|s| one.right(s).1)?;
        let y = 100.0 * one.mean_of(&cells);
        let ids: Vec<&str> = cells.iter().map(|s| s.id.as_str()).collect();
        Some(Point { x: severity.into(), y, band: None, n, cell: ids.join(" ") })
    };
    (0..=5).filter_map(of).collect()
}
