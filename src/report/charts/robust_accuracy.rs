//! Robust accuracy over eps: one panel a model (and dataset, norm, goal), one line an attack, and the worst case over them, with
//! Wilson bands.

use crate::analysis::groups::line_key;
use crate::analysis::groups::{grouped, panel_key};
use crate::analysis::worst::{ByCell, NAME, WorstCase, over_all, worst_cases};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, MOST_LINES, Panel, Point};
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::Titles;

/// The figure, or nothing where no cell is complete.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        let on_axis = s.cell.threat.norm.terms().axis.is_some() && !s.cell.threat.eps.is_minimal();
        on_axis && s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled)
    };
    let complete: Vec<&Summary> = look.shown(run).filter(drawn).collect();
    let (mut legend, titles) = (Legend::of(&complete, look), Titles::of(&complete, look));
    let worst = worst_cases(&complete);
    let by_cell = ByCell::new(&worst);
    // however many lines there are, it is among those that are drawn
    let worst_style = legend.names.len().min(MOST_LINES - 1);
    let style_of = |legend: &Legend, s: &Summary| {
        let style = legend.style(s);
        if worst.is_empty() || style < worst_style { style } else { style + 1 }
    };
    let mut panels = Vec::new();
    for group in grouped(&complete, panel_key) {
        let first = group[0];
        let axis = first.cell.threat.norm.terms().axis.as_ref().expect("filtered");
        let classes = run.classes(&first.cell.data.digest)?.len();
        let mut lines: Vec<Line> = grouped(&group, line_key)
            .into_iter()
            .map(|cells| Line {
                style: style_of(&legend, cells[0]),
                form: Form::Joined,
                points: points(&cells, axis.units),
                budget: None,
            })
            .collect();
        leave_single_budgets_alone(&mut lines);
        let points = points_of_worst(by_cell.of_group(&group), axis.units);
        if !points.is_empty() {
            lines.push(Line { style: worst_style, form: Form::Joined, points, budget: None });
        }
        panels.push(Panel {
            title: titles.title(first),
            unit: look.label(axis.caption),
            share: look.label("robust accuracy / %"),
            axis: Axis::at(lines.iter().flat_map(|l| l.points.iter().map(|p| p.x)).collect()),
            chance: (!first.cell.goal.is_targeted()).then(|| 100.0 / classes as f64),
            lines,
        });
    }
    let mut note = "bands: 95 % Wilson intervals; dotted: guessing".to_string();
    if !worst.is_empty() {
        legend.names.insert(worst_style, look.label(NAME));
        note += &format!("; worst case: what stands against {}", over_all(&worst));
    }
    if panels.is_empty() { Ok(None) } else { render(&Curves::new(look, panels, legend.names, &note), look).map(Some) }
}

/// Beside curves over several budgets a line from the clean accuracy to an attack's only one would say what nobody measured
/// between them, and make it look weaker: such an attack is a mark.
fn leave_single_budgets_alone(lines: &mut [Line]) {
    let budgets = |line: &Line| line.points.iter().filter(|point| point.x > 0.0).count();
    if lines.iter().all(|line| budgets(line) < 2) {
        return;
    }
    for line in lines.iter_mut().filter(|line| budgets(line) == 1) {
        line.points.retain(|point| point.x > 0.0);
        line.form = Form::Marks;
    }
}

/// The clean point at 0, then the worst cases by eps.
fn points_of_worst(worst: Vec<&WorstCase>, unit: f64) -> Vec<Point> {
    let mut points = Vec::new();
    for w in worst {
        points.push(Point::share(w.cells[0].cell.threat.eps.to_f64() * unit, w.robust, w.n, &w.ids()));
        points.push(Point::share(0.0, w.right, w.n, &w.ids()));
    }
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points.dedup_by(|a, b| a.x == b.x);
    points
}

/// The clean point at 0, then the cells by eps.
fn points(cells: &[&Summary], unit: f64) -> Vec<Point> {
    let mut points = Vec::new();
    for s in cells {
        let (Some(rates), eps) = (&s.rates, s.cell.threat.eps) else { continue };
        points.push(Point::share(eps.to_f64() * unit, rates.robust_correct, rates.n, &s.id));
        points.push(Point::share(0.0, rates.clean_correct, rates.n, &s.id));
    }
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points.dedup_by(|a, b| a.x == b.x);
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_of_one_budget_is_a_mark_beside_curves() {
        let line = |budgets: &[f64]| Line {
            style: 0,
            form: Form::Joined,
            points: [&[0.0], budgets].concat().iter().map(|x| Point::share(*x, 1, 2, "cell")).collect(),
            budget: None,
        };
        let mut lines = [line(&[1.0, 2.0]), line(&[2.0])];
        leave_single_budgets_alone(&mut lines);
        assert_eq!(lines.each_ref().map(|line| line.points.len()), [3, 1]);
        assert!(lines[1].form == Form::Marks && lines[0].form == Form::Joined);
        // where nobody has a curve the line says where it comes from
        let mut lines = [line(&[2.0]), line(&[2.0])];
        leave_single_budgets_alone(&mut lines);
        assert_eq!(lines.each_ref().map(|line| line.points.len()), [2, 2]);
    }
}
