//! How often the target is predicted over the area of what is pasted: one panel a model (and dataset, goal), one line a
//! patch or control.

use super::Run;
use super::canvas::{Picture, render};
use super::curves::{Curves, Line, Panel};
use super::robust_accuracy::{Key, grouped, legend, line_key, title};
use super::summary::{Summary, wilson};
use super::tables::dataset;
use crate::error::Result;
use crate::ratio::Ratio;
use crate::record::Outcome;

/// The figure, or nothing where nothing is pasted toward a target.
pub fn draw(run: &Run) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        let patch = s.cell.threat.norm == "patch" && s.cell.goal != "untargeted";
        patch && s.rates.as_ref().is_some_and(|r| r.n > 0)
    };
    let complete: Vec<&Summary> = run.cells.iter().filter(drawn).collect();
    if complete.is_empty() {
        return Ok(None);
    }
    let legend = legend(&complete);
    let mut panels = Vec::new();
    for group in grouped(&complete, panel_key) {
        let mut lines = Vec::new();
        for cells in grouped(&group, line_key) {
            let style = legend.iter().position(|(key, _)| *key == line_key(cells[0])).expect("every line has a style");
            lines.push(Line { style, points: points(run, &cells)? });
        }
        let classes = run.store.read_inputs(&group[0].cell.data.digest)?.classes;
        panels.push(Panel {
            title: with_class_name(title(group[0], &complete), &group[0].cell.goal, &classes),
            unit: "area / % of the image",
            share: "target predicted / %",
            chance: None,
            lines,
        });
    }
    let note = "bands: 95 % Wilson intervals; at 0: the clean images";
    let legend = legend.into_iter().map(|(_, name)| name).collect();
    render(&Curves { panels, legend, note }).map(Some)
}

/// `target:6` becomes `target frog`.
pub fn with_class_name(text: String, goal: &str, classes: &[String]) -> String {
    let class = goal.strip_prefix("target:").and_then(|n| n.parse::<usize>().ok()).and_then(|n| classes.get(n));
    class.map_or(text.clone(), |name| text.replace(goal, &format!("target {name}")))
}

fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    vec![c.model.name.clone(), c.model.weights.clone(), dataset(c), c.goal.clone(), c.seed.to_string()]
}

/// The clean point at 0, then the cells by area.
fn points(run: &Run, cells: &[&Summary]) -> Result<Vec<(f64, f64, f64, f64)>> {
    let mut points = Vec::new();
    for s in cells {
        let Some(area) = Ratio::parse(&s.cell.threat.eps) else { continue };
        let outcomes = run.store.read(&s.id)?.outcomes;
        let point = |x: f64, rank: &dyn Fn(&Outcome) -> Option<usize>| {
            let k = outcomes.iter().filter(|o| rank(o) == Some(0)).count();
            let (low, high) = wilson(k, outcomes.len());
            (x, 100.0 * k as f64 / outcomes.len() as f64, 100.0 * low, 100.0 * high)
        };
        points.push(point(100.0 * area.to_f64(), &|o| o.target_rank_adversarial));
        points.push(point(0.0, &|o| o.target_rank_clean));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|a, b| a.0 == b.0);
    Ok(points)
}
