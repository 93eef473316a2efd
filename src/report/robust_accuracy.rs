//! Robust accuracy over eps: one panel a model (and dataset, norm, goal), one line an attack, Wilson bands.

use super::Run;
use super::canvas::{Picture, render};
use super::curves::{Curves, Line, Panel};
use super::summary::Summary;
use super::tables::dataset;
use crate::error::Result;
use crate::ratio::Ratio;
use std::collections::BTreeMap;

/// Norms whose budget is an axis of this figure, the unit of the axis, and how many of it a budget of 1 is.
const AXES: [(&str, &str, f64); 3] =
    [("linf", "eps / 255 (Linf)", 255.0), ("l2", "eps (L2, pixels in [0,1])", 1.0), ("pixels", "changed pixels", 1.0)];

/// The figure, or nothing where no cell is complete.
pub fn draw(run: &Run) -> Result<Option<Picture>> {
    let figure = curves(run)?;
    if figure.panels.is_empty() { Ok(None) } else { render(&figure).map(Some) }
}

fn curves(run: &Run) -> Result<Curves> {
    let drawn = |s: &&Summary| {
        let on_axis = AXES.iter().any(|(norm, ..)| *norm == s.cell.threat.norm);
        on_axis && s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled)
    };
    let complete: Vec<&Summary> = run.cells.iter().filter(drawn).collect();
    let legend = legend(&complete);
    let mut panels = Vec::new();
    for group in grouped(&complete, panel_key) {
        let first = group[0];
        let (_, unit, scale) = AXES.iter().find(|(norm, ..)| *norm == first.cell.threat.norm).expect("filtered");
        let classes = run.store.read_inputs(&first.cell.data.digest)?.classes.len();
        let lines = grouped(&group, line_key).into_iter().map(|cells| Line {
            style: legend.iter().position(|(key, _)| *key == line_key(cells[0])).expect("every line has a style"),
            points: points(&cells, *scale),
        });
        panels.push(Panel {
            title: title(first, &complete),
            unit,
            share: "robust accuracy / %",
            chance: (first.cell.goal == "untargeted").then(|| 100.0 / classes as f64),
            lines: lines.collect(),
        });
    }
    let note = "bands: 95 % Wilson intervals; dotted: guessing";
    Ok(Curves { panels, legend: legend.into_iter().map(|(_, name)| name).collect(), note })
}

/// What items are told apart by.
pub type Key = Vec<String>;

fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    vec![
        c.model.name.clone(),
        c.model.weights.clone(),
        dataset(c),
        c.threat.norm.clone(),
        c.goal.clone(),
        c.mode_name().to_string(),
        c.witness.clone(),
        c.precision.clone(),
        c.seed.to_string(),
    ]
}

/// One line an attack with its parameters and, where it learnt elsewhere, the nets that it learnt from.
pub fn line_key(s: &Summary) -> Key {
    vec![s.cell.attack.name.clone(), s.cell.params(), fitted_elsewhere(s).join(" ")]
}

/// Names of the nets that a picture was fitted to, unless that is the attacked net alone.
fn fitted_elsewhere(s: &Summary) -> Vec<&str> {
    let nets = s.cell.train.as_ref().map_or(&[][..], |t| t.models.as_slice());
    match nets {
        [net] if net.weights == s.cell.model.weights => Vec::new(),
        nets => nets.iter().map(|net| net.name.as_str()).collect(),
    }
}

/// Where a picture was fitted elsewhere, that in words.
pub fn fitted_to(s: &Summary) -> Option<String> {
    match fitted_elsewhere(s).as_slice() {
        [] => None,
        [net] => Some(format!("fitted to {net}")),
        nets => Some(format!("fitted to an ensemble of {}", nets.len())),
    }
}

/// Items with equal keys together, in the order of their first.
pub fn grouped<'a>(items: &[&'a Summary], key: fn(&Summary) -> Key) -> Vec<Vec<&'a Summary>> {
    let mut groups: Vec<Vec<&Summary>> = Vec::new();
    let mut places: BTreeMap<Key, usize> = BTreeMap::new();
    for item in items {
        let place = *places.entry(key(item)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// Attack names with the parameters in which attacks of the same name differ.
pub fn legend(complete: &[&Summary]) -> Vec<(Key, String)> {
    let lines: Vec<&Summary> = grouped(complete, line_key).into_iter().map(|g| g[0]).collect();
    let name = |s: &&Summary| {
        let attack = &s.cell.attack;
        let same: Vec<_> = lines.iter().map(|o| &o.cell.attack).filter(|a| a.name == attack.name).collect();
        let differs = |key: &str| same.iter().any(|a| a.params.get(key) != attack.params.get(key));
        let words = attack
            .params
            .iter()
            .filter(|(k, v)| differs(k) && !v.is_empty())
            .map(|(k, v)| in_words(&k.replace('_', " "), v));
        let parts = [attack.name.clone()].into_iter().chain(words).chain(fitted_to(s));
        (line_key(s), parts.collect::<Vec<_>>().join(", "))
    };
    lines.iter().map(name).collect()
}

/// A parameter and its value as one reads them.
pub fn in_words(key: &str, value: &str) -> String {
    match value {
        // the digest of a picture's file
        digest if digest.len() == 64 => format!("{key} {}", &digest[..8]),
        "true" => key.to_string(),
        "false" => format!("no {key}"),
        _ => format!("{key} {value}"),
    }
}

/// The model, and whatever else differs between panels.
pub fn title(s: &Summary, complete: &[&Summary]) -> String {
    let c = &s.cell;
    let varies = |f: &dyn Fn(&Summary) -> String| complete.iter().any(|o| f(o) != f(s));
    let mut parts = vec![c.model.name.clone()];
    if varies(&|s| dataset(&s.cell)) {
        parts.push(dataset(c));
    }
    if varies(&|s| s.cell.threat.norm.clone()) {
        parts.push(c.threat.norm.clone());
    }
    if c.goal != "untargeted" {
        parts.push(c.goal.clone());
    }
    if c.mode_name() != "at" {
        parts.push(c.mode_name().to_string());
    }
    if c.precision != "f32" {
        parts.push(format!("{} gradients", c.precision));
    }
    if varies(&|s| s.cell.witness.clone()) {
        parts.push(format!("{} witness", c.witness));
    }
    if varies(&|s| s.cell.seed.to_string()) {
        parts.push(format!("seed {}", c.seed));
    }
    format!("{}, n = {}", parts.join(", "), s.n.unwrap_or(0))
}

/// The clean point at 0, then the cells by eps.
fn points(cells: &[&Summary], unit: f64) -> Vec<(f64, f64, f64, f64)> {
    let mut points = Vec::new();
    for s in cells {
        let Some((rates, eps)) = s.rates.as_ref().zip(Ratio::parse(&s.cell.threat.eps)) else {
            continue;
        };
        let percent = |k| {
            let (low, high) = super::summary::wilson(k, rates.n);
            (100.0 * k as f64 / rates.n as f64, 100.0 * low, 100.0 * high)
        };
        let (y, low, high) = percent(rates.robust_correct);
        points.push((eps.to_f64() * unit, y, low, high));
        let (y, low, high) = percent(rates.clean_correct);
        points.push((0.0, y, low, high));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|a, b| a.0 == b.0);
    points
}
