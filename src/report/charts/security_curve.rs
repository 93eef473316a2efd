//! The security curve: robust accuracy at every eps, from the least distances that minimal attacks found. One panel a model, one
//! line an attack, and the worst case over them, with Wilson bands.

use crate::analysis::groups::{budget_key, grouped, line_key};
use crate::analysis::least::{Least, sorted};
use crate::analysis::worst::{ByCell, NAME, nearest_of, over_all, worst_cases};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, MOST_PANELS, Panel, Point, is_drawn};
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::Titles;

/// Steps of a line; of more images it is evaluated at as many places, evenly spaced, and exact there.
const MOST_STEPS: usize = 1000;

/// The figure, or nothing where no cell of a minimal threat is complete, or none fooled an image.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        let on_axis = s.cell.threat.norm.terms().axis.is_some() && s.cell.threat.eps.is_minimal();
        on_axis && s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled)
    };
    let complete: Vec<&Summary> = look.shown(run).filter(drawn).collect();
    let (mut legend, titles) = (Legend::of(&complete, look), Titles::of(&complete, look));
    let worst = worst_cases(&complete);
    let by_cell = ByCell::new(&worst);
    let worst_style = legend.names.len();
    let searches = grouped(&complete, |s| s.cell.threat.eps_text()).len();
    let mut panels = Vec::new();
    for group in grouped(&complete, budget_key) {
        let first = group[0];
        let axis = first.cell.threat.norm.terms().axis.as_ref().expect("filtered");
        // beyond the hardest image that anybody fooled nothing is to be seen
        let found = group.iter().any(|s| s.tally.finds);
        if !found {
            continue;
        }
        // what is not drawn is counted
        let best = if panels.len() < MOST_PANELS { sorted(&nearest_of(run.store, &group)?) } else { vec![1.0] };
        let right = best.iter().copied().rfind(|d| d.is_finite()).unwrap_or(1.0);
        let budget = format!(", {}", first.cell.threat.eps_text());
        let classes = run.classes(&first.cell.data.digest)?.len();
        let line = |style, least: &[Least], s: &Summary, ids: &str| {
            let n = s.rates.as_ref().map_or(0, |r| r.n);
            let points = steps(&sorted(least), right);
            let points = points.into_iter().map(|(x, standing)| Point::share(x * axis.units, standing, n, ids));
            Line { style, form: Form::Stairs, points: points.collect(), budget: None }
        };
        let drawn = |cells: &Vec<&Summary>| is_drawn(panels.len(), legend.style(cells[0]));
        let of_cell = |cells: Vec<&Summary>| -> Result<Line> {
            Ok(line(legend.style(cells[0]), &cells[0].least(run.store)?, cells[0], &cells[0].id))
        };
        let mut lines: Vec<Line> =
            grouped(&group, line_key).into_iter().filter(drawn).map(of_cell).collect::<Result<_>>()?;
        if is_drawn(panels.len(), worst_style) {
            for w in by_cell.of_group(&group) {
                lines.push(line(worst_style, &nearest_of(run.store, &w.cells)?, first, &w.ids()));
            }
        }
        panels.push(Panel {
            title: titles.title(first) + if searches > 1 { &budget } else { "" },
            unit: look.label(axis.caption),
            share: look.label("robust accuracy / %"),
            axis: Axis::linear(right * axis.units),
            chance: (!first.cell.goal.is_targeted()).then(|| 100.0 / classes as f64),
            lines,
        });
    }
    let mut note =
        "from the least distance found for each image; bands: 95 % Wilson intervals; dotted: guessing".to_string();
    if !worst.is_empty() {
        legend.names.push(look.label(NAME));
        note += &format!("; worst case: the nearest that {} found", over_all(&worst));
    }
    if panels.is_empty() { Ok(None) } else { render(&Curves::new(look, panels, legend.names, &note), look).map(Some) }
}

/// Where the number of standing images changes, up to `right`, and the number from there on. What is at most as far as eps is fooled
/// within eps.
fn steps(sorted: &[f64], right: f64) -> Vec<(f64, usize)> {
    let standing = |eps: f64| sorted.len() - sorted.partition_point(|d| *d <= eps);
    let mut places: Vec<f64> = sorted.iter().copied().filter(|d| *d <= right).collect();
    places.dedup();
    if places.len() > MOST_STEPS {
        places = (1..=MOST_STEPS).map(|k| right * k as f64 / MOST_STEPS as f64).collect();
    }
    let mut steps: Vec<(f64, usize)> = [0.0].into_iter().chain(places).map(|eps| (eps, standing(eps))).collect();
    if steps.last().is_some_and(|(eps, _)| *eps < right) {
        steps.push((right, standing(right)));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_falls_at_its_distance() {
        let inf = f64::INFINITY;
        assert_eq!(steps(&[1.0, 2.0, 2.0, inf], 2.0), [(0.0, 4), (1.0, 3), (2.0, 1)]);
        // an attack that found less than the best ends at the edge, not where it found its last
        assert_eq!(steps(&[1.0, 5.0, inf], 4.0), [(0.0, 3), (1.0, 2), (4.0, 2)]);
        assert_eq!(steps(&[inf], 4.0), [(0.0, 1), (4.0, 1)]);
        let many: Vec<f64> = (1..=5000).map(f64::from).collect();
        let found = steps(&many, 5000.0);
        assert_eq!((found.len(), found[1], found[1000]), (1001, (5.0, 4995), (5000.0, 0)));
    }
}
