//! Histogram of the least change that fooled an image: over all budgets of an attack, the nearest witness of each image.

use crate::analysis::groups::line_key;
use crate::analysis::groups::{grouped, panel_key};
use crate::analysis::summary::Fooled;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::axis::Axis;
use crate::report::draw::canvas::{Picture, render};
use crate::report::draw::curves::{Curves, Form, Line, Panel, Point, is_drawn};
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::Titles;
use crate::terms::{Norm, WitnessKind};
use std::collections::BTreeMap;

/// How far an image was moved.
type Distance = fn(&Fooled) -> f32;

/// What is kept of distances in each norm, in the units of its axis.
const DISTANCES: [(Norm, Distance); 4] =
    [(Norm::Linf, |f| f.linf_255), (Norm::L2, |f| f.l2), (Norm::L1, |f| f.l1), (Norm::L0, |f| f.l0)];

/// Bars of a histogram; of 8-bit witnesses in Linf as many as there are levels, or joined levels.
const BINS: usize = 16;
const MOST_BINS: usize = 32;

/// The figure, or nothing where no image is fooled, or each attack has one budget alone.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        let measured = DISTANCES.iter().any(|(norm, _)| *norm == s.cell.threat.norm);
        measured && s.rates.as_ref().is_some_and(|r| r.labelled && r.clean_correct > 0)
    };
    let complete: Vec<&Summary> = look.shown(run).filter(drawn).collect();
    let (legend, titles) = (Legend::of(&complete, look), Titles::of(&complete, look));
    let mut panels = Vec::new();
    for group in grouped(&complete, panel_key) {
        let (norm, distance) = DISTANCES.iter().find(|(n, _)| *n == group[0].cell.threat.norm).expect("filtered");
        let terms = norm.terms();
        let (Some(unit), Some(axis)) = (terms.distance, &terms.axis) else { continue };
        // one budget alone says no distance, but that a minimal attack looks for one
        let tells = |l: &Vec<&Summary>| l.len() > 1 || l.iter().any(|s| s.cell.threat.eps.is_minimal());
        let ladders: Vec<Vec<&Summary>> = grouped(&group, line_key).into_iter().filter(tells).collect();
        if ladders.iter().flatten().all(|s| s.tally.most_change.is_none()) {
            continue;
        }
        let radii = group.iter().filter_map(|s| s.cell.threat.eps.radius()).map(|eps| eps.to_f64() * axis.units);
        let found = group.iter().filter(|s| s.cell.threat.eps.is_minimal()).filter_map(|s| s.tally.most_change);
        let most = radii.chain(found.map(f64::from)).fold(1e-9, f64::max);
        let levels = *norm == Norm::Linf && group.iter().all(|s| s.cell.witness == WitnessKind::U8);
        let (bins, width) = if levels { of_levels(most) } else { (BINS, most / BINS as f64) };
        let most = bins as f64 * width;
        let drawn = |cells: &&Vec<&Summary>| is_drawn(panels.len(), legend.style(cells[0]));
        let line = |cells: &Vec<&Summary>| {
            let (style, distances) = (legend.style(cells[0]), nearest_of(run, cells, *distance)?);
            Ok(Line { budget: None, style, form: Form::Stairs, points: bars(&distances, (bins, width), cells) })
        };
        let lines = ladders.iter().filter(drawn).map(line).collect::<Result<_>>()?;
        panels.push(Panel {
            title: titles.title(group[0]),
            unit: look.label(unit),
            share: look.label("share / % of right"),
            axis: Axis::linear(most),
            chance: None,
            lines,
        });
    }
    let note = "share of the images that were right, in each bar up to its right edge; the rest was never fooled";
    if panels.is_empty() { Ok(None) } else { render(&Curves::new(look, panels, legend.names, note), look).map(Some) }
}

/// Of each image that some budget fools, the least distance.
fn nearest_of(run: &Run, cells: &[&Summary], distance: Distance) -> Result<Vec<f32>> {
    let mut least: BTreeMap<u32, f32> = BTreeMap::new();
    for s in cells {
        for fooled in s.fooled(run.store)?.iter().filter(|f| distance(f).is_finite()) {
            let entry = least.entry(fooled.example).or_insert(f32::MAX);
            *entry = entry.min(distance(fooled));
        }
    }
    Ok(least.into_values().collect())
}

/// Number and width of bars that each hold whole grey levels, up to `most` of them.
fn of_levels(most: f64) -> (usize, f64) {
    let levels = (most.ceil() as usize).max(1);
    let joined = levels.div_ceil(MOST_BINS);
    (levels.div_ceil(joined), joined as f64)
}

/// The left edge of each bar with its height, and the right edge of the last. A bar counts what is above its left edge and at
/// most its right one: a budget that was used up is in the last bar of that budget.
fn bars(distances: &[f32], (bins, width): (usize, f64), cells: &[&Summary]) -> Vec<Point> {
    let n = cells[0].rates.as_ref().map_or(1, |r| r.clean_correct.max(1));
    let mut counts = vec![0usize; bins];
    for distance in distances {
        // a distance is an f32: its last bit is no step over an edge
        let edge = (f64::from(*distance) / width - 1e-5).ceil().max(1.0) as usize;
        counts[edge.min(bins) - 1] += 1;
    }
    let ids = cells.iter().map(|s| s.id.as_str()).collect::<Vec<_>>().join(" ");
    let heights = counts.iter().chain(counts.last()).enumerate();
    let point = |(bin, count): (usize, &usize)| Point {
        x: bin as f64 * width,
        y: 100.0 * *count as f64 / n as f64,
        band: None,
        n,
        cell: ids.clone(),
    };
    heights.map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ladder::tests::summary;

    #[test]
    fn bars_hold_whole_levels() {
        assert_eq!(of_levels(16.0), (16, 1.0));
        assert_eq!(of_levels(8.0), (8, 1.0));
        assert_eq!(of_levels(10.0), (10, 1.0));
        assert_eq!(of_levels(0.5), (1, 1.0));
        assert_eq!(of_levels(33.0), (17, 2.0));
        assert_eq!(of_levels(255.0), (32, 8.0));
    }

    #[test]
    fn a_distance_counts_up_to_its_edge() {
        let cell = summary(10, &[], |_| ());
        let heights = |distances: &[f32], bins| -> Vec<f64> {
            bars(distances, bins, &[&cell]).iter().map(|p| p.y / 10.0).collect()
        };
        assert_eq!(heights(&[1.0, 2.0, 2.0, 4.0, 0.0], (4, 1.0)), [2.0, 2.0, 0.0, 1.0, 1.0]);
        assert_eq!(heights(&[0.25, 0.125_000_01, 0.3, 9.0], (4, 0.125)), [1.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
