//! Robust accuracy over eps: one panel a model (and dataset, norm, goal), one line an attack, Wilson bands.

use super::Run;
use super::canvas::{Picture, render};
use super::curves::{Axis, Curves, Form, Line, Panel, Point};
use super::gallery::distance_to_usual;
use super::look::Look;
use super::summary::Summary;
use super::tables::dataset;
use crate::error::Result;
use crate::terms::{Mode, Norm, Precision};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The figure, or nothing where no cell is complete.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let drawn = |s: &&Summary| {
        let on_axis = s.cell.threat.norm.terms().axis.is_some();
        on_axis && s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled)
    };
    let complete: Vec<&Summary> = run.shown(look).filter(drawn).collect();
    let (legend, titles) = (Legend::of(&complete, look), Titles::of(&complete, look));
    let mut panels = Vec::new();
    for group in grouped(&complete, panel_key) {
        let first = group[0];
        let axis = first.cell.threat.norm.terms().axis.as_ref().expect("filtered");
        let classes = run.store.read_inputs(&first.cell.data.digest)?.classes.len();
        let lines: Vec<Line> = grouped(&group, line_key)
            .into_iter()
            .map(|cells| Line {
                style: legend.style(cells[0]),
                form: Form::Joined,
                points: points(&cells, axis.units),
                budget: None,
            })
            .collect();
        panels.push(Panel {
            title: titles.title(first),
            unit: look.label(axis.caption),
            share: look.label("robust accuracy / %"),
            axis: Axis::at(lines.iter().flat_map(|l| l.points.iter().map(|p| p.x)).collect()),
            chance: (!first.cell.goal.is_targeted()).then(|| 100.0 / classes as f64),
            lines,
        });
    }
    let note = "bands: 95 % Wilson intervals; dotted: guessing";
    if panels.is_empty() { Ok(None) } else { render(&Curves::new(look, panels, legend.names, note), look).map(Some) }
}

/// What items are told apart by.
pub type Key = Vec<String>;

/// One panel a model, dataset, norm, goal and whatever else decides what is measured.
pub fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    vec![
        c.model.name.clone(),
        c.model.weights.clone(),
        dataset(c),
        c.threat.norm.name().to_string(),
        c.goal.name(),
        c.mode.name().to_string(),
        c.witness.to_string(),
        c.precision.to_string(),
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

/// The ensembles that pictures are fitted to, told apart: of those of one size, the places in which they differ.
pub struct Ensembles {
    differing: BTreeMap<usize, BTreeSet<usize>>,
}

impl Ensembles {
    /// Those of some cells.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a Summary>) -> Ensembles {
        let mut first: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        let mut differing: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for nets in cells.into_iter().map(fitted_elsewhere) {
            let first = first.entry(nets.len()).or_insert_with(|| nets.clone());
            let places = (0..nets.len()).filter(|k| nets[*k] != first[*k]);
            differing.entry(nets.len()).or_default().extend(places);
        }
        Ensembles { differing }
    }

    /// Where a picture was fitted elsewhere, that in words, the same for no two ensembles.
    pub fn fitted_to(&self, s: &Summary) -> Option<String> {
        let nets = fitted_elsewhere(s);
        let own: Vec<&str> = self.differing.get(&nets.len()).into_iter().flatten().map(|k| nets[*k]).collect();
        match nets.as_slice() {
            [] => None,
            [net] => Some(format!("fitted to {net}")),
            nets if own.is_empty() => Some(format!("fitted to an ensemble of {}", nets.len())),
            nets if own.len() == nets.len() => Some(format!("fitted to {}", own.join(" + "))),
            nets => Some(format!("fitted to an ensemble of {} with {}", nets.len(), own.join(" + "))),
        }
    }
}

/// Items with equal keys together, in the order of their first.
pub fn grouped<'a>(items: &[&'a Summary], key: impl Fn(&Summary) -> Key) -> Vec<Vec<&'a Summary>> {
    let mut groups: Vec<Vec<&Summary>> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    for item in items {
        let place = *places.entry(key(item)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// The lines of a figure, in the order of the plan: an attack each.
pub struct Legend {
    styles: HashMap<Key, usize>,
    /// What they are called.
    pub names: Vec<String>,
}

impl Legend {
    /// Attack names with the parameters in which attacks of the same name differ.
    pub fn of(complete: &[&Summary], look: &Look) -> Legend {
        let lines: Vec<&Summary> = grouped(complete, line_key).into_iter().map(|g| g[0]).collect();
        let ensembles = Ensembles::of(lines.iter().copied());
        let name = |s: &&Summary| {
            let attack = &s.cell.attack;
            let same: Vec<_> = lines.iter().map(|o| &o.cell.attack).filter(|a| a.name == attack.name).collect();
            let differs = |key: &str| same.iter().any(|a| a.params.get(key) != attack.params.get(key));
            let words: Vec<String> = attack
                .params
                .iter()
                .filter(|(k, v)| differs(k) && !v.is_empty())
                .map(|(k, v)| in_words(&k.replace('_', " "), v))
                .collect();
            let named = |name: &str| {
                let parts = [name.to_string()].into_iter().chain(words.clone()).chain(ensembles.fitted_to(s));
                parts.collect::<Vec<_>>().join(", ")
            };
            // a label for the whole line goes before one for the attack
            let whole = named(&attack.name);
            match look.label(&whole) {
                same if same == whole => named(&look.label(&attack.name)),
                label => label,
            }
        };
        let styles = lines.iter().enumerate().map(|(style, s)| (line_key(s), style)).collect();
        Legend { styles, names: lines.iter().map(name).collect() }
    }

    /// Index of a cell's line.
    pub fn style(&self, s: &Summary) -> usize {
        self.styles[&line_key(s)]
    }
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

/// Titles of panels: the model, and whatever else differs between them.
pub struct Titles<'a> {
    look: &'a Look<'a>,
    datasets: bool,
    norms: bool,
    witnesses: bool,
    seeds: bool,
}

impl<'a> Titles<'a> {
    /// For panels of these cells.
    pub fn of(complete: &[&Summary], look: &'a Look<'a>) -> Titles<'a> {
        let varies = |f: &dyn Fn(&Summary) -> String| {
            let first = complete.first().map(|s| f(s));
            complete.iter().any(|s| Some(f(s)) != first)
        };
        Titles {
            look,
            datasets: varies(&|s| dataset(&s.cell)),
            norms: varies(&|s| s.cell.threat.norm.name().to_string()),
            witnesses: varies(&|s| s.cell.witness.to_string()),
            seeds: varies(&|s| s.cell.seed.to_string()),
        }
    }

    /// Of the panel of this cell.
    pub fn title(&self, s: &Summary) -> String {
        self.with(s, None)
    }

    /// The same, with a budget.
    pub fn with_budget(&self, s: &Summary) -> String {
        let (norm, eps) = (s.cell.threat.norm, s.cell.threat.eps_text());
        let budget = match norm {
            Norm::Pixels => format!("{eps} changed pixel{}", if eps == "1" { "" } else { "s" }),
            _ => format!("{} eps {eps}", self.look.label(norm.name())),
        };
        self.with(s, Some(budget))
    }

    fn with(&self, s: &Summary, budget: Option<String>) -> String {
        let c = &s.cell;
        let mut parts = vec![self.look.label(&c.model.name)];
        if self.datasets {
            parts.push(self.look.label(&dataset(c)));
        }
        if self.norms && budget.is_none() {
            parts.push(self.look.label(c.threat.norm.name()));
        }
        parts.extend(budget);
        if c.goal.is_targeted() {
            parts.push(self.look.label(&c.goal.name()));
        }
        if c.mode != Mode::At {
            parts.push(c.mode.name().to_string());
        }
        if c.precision != Precision::F32 {
            parts.push(format!("{} gradients", c.precision));
        }
        if self.witnesses {
            parts.push(format!("{} witness", c.witness));
        }
        if self.seeds {
            parts.push(format!("seed {}", c.seed));
        }
        let title = format!("{}, n = {}", parts.join(", "), s.n.unwrap_or(0));
        self.look.label(&title)
    }
}

/// Cells at the budgets that are asked for; where none is, of each panel those at the usual one.
pub fn at_usual_budget<'a>(cells: &[&'a Summary], look: &Look) -> Vec<&'a Summary> {
    if look.names_budgets() {
        return cells.to_vec();
    }
    let nearest = |group: Vec<&'a Summary>| {
        let distance = |s: &Summary| (distance_to_usual(s) * 1e6) as u64;
        let least = group.iter().map(|s| distance(s)).min();
        group.into_iter().filter(move |s| Some(distance(s)) == least)
    };
    grouped(cells, panel_key).into_iter().flat_map(nearest).collect()
}

/// [`panel_key`] with the budget.
pub fn budget_key(s: &Summary) -> Key {
    let mut key = panel_key(s);
    key.push(s.cell.threat.eps_text());
    key
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
    use super::super::sanity::tests::summary;
    use super::*;
    use crate::figure::FigureRecord;
    use crate::record::{DataRecord, ModelRecord, TrainRecord};

    /// A patch fitted to these nets.
    fn fitted(nets: &[&str]) -> Summary {
        summary(10, &[], |c| {
            let net =
                |name: &&str| ModelRecord { name: name.to_string(), network: "n".into(), weights: name.to_string() };
            let data = DataRecord { digest: "22".into(), ..c.data.clone() };
            c.attack.name = "patch".into();
            c.train = Some(TrainRecord { models: nets.iter().map(net).collect(), data });
        })
    }

    fn names(cells: &[Summary]) -> Vec<String> {
        let general = FigureRecord::default();
        let look = Look::new("robust-accuracy", &general, "id", "run");
        Legend::of(&cells.iter().collect::<Vec<_>>(), &look).names
    }

    #[test]
    fn no_two_ensembles_share_a_name() {
        let alone = [fitted(&["00"]), fitted(&["a"]), fitted(&["a", "b"]), fitted(&["a", "b", "c"])];
        let wanted =
            ["patch", "patch, fitted to a", "patch, fitted to an ensemble of 2", "patch, fitted to an ensemble of 3"];
        assert_eq!(names(&alone), wanted);
        let two = [fitted(&["a", "b", "c"]), fitted(&["a", "b", "d"]), fitted(&["a", "e", "c"])];
        let wanted = ["b + c", "b + d", "e + c"].map(|nets| format!("patch, fitted to an ensemble of 3 with {nets}"));
        assert_eq!(names(&two), wanted);
        // a step a net in turn: the order counts
        let turned = [fitted(&["a", "b"]), fitted(&["b", "a"])];
        assert_eq!(names(&turned), ["patch, fitted to a + b", "patch, fitted to b + a"]);
    }
}
