//! Resolves the `[figure]` blocks of a sweep file: names of charts, widths, palettes, and what their panels show.

use super::cells::PlannedCell;
use crate::config::{At, FigureSpec, Problems};
use crate::error::hint;
use crate::figure::{FONTS, FigureRecord, KINDS, MOST_COLUMNS, PALETTES, WIDTHS};
use crate::terms::Ratio;
use std::collections::{BTreeMap, BTreeSet};

/// Budgets that are all listed; of more the nearest.
const MOST_BUDGETS: usize = 20;

/// The figures of a plan; what is wrong goes to `problems`.
pub fn resolve(specs: &[FigureSpec], cells: &[PlannedCell], problems: &Problems) -> Vec<FigureRecord> {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut figures = Vec::new();
    for spec in specs {
        let figure = Resolver { cells, problems }.figure(spec);
        match file_name(&figure) {
            Ok(name) => {
                if let Some(before) = lines.insert(name.clone(), spec.line) {
                    let hint = "(hint: give one of them a `name`)";
                    problems.add(spec.line, format!("line {before} is about {name}, too {hint}"));
                }
            }
            Err(problem) => problems.add(spec.line, problem),
        }
        figures.push(figure);
    }
    figures
}

/// What tells figures of a run apart.
fn file_name(figure: &FigureRecord) -> Result<String, String> {
    match (&figure.kind, &figure.name) {
        (None, Some(name)) => Err(format!("figure `{name}` has no `kind` (known: {})", KINDS.join(", "))),
        (None, None) => Ok("all figures".into()),
        (Some(kind), Some(name)) if name != kind && KINDS.contains(&name.as_str()) => {
            Err(format!("`{name}` is the name of another chart (hint: choose another `name`)"))
        }
        (Some(kind), name) => Ok(format!("figure `{}`", name.as_ref().unwrap_or(kind))),
    }
}

struct Resolver<'a> {
    cells: &'a [PlannedCell],
    problems: &'a Problems,
}

impl Resolver<'_> {
    fn figure(&self, spec: &FigureSpec) -> FigureRecord {
        let chosen = |given: &Option<At<String>>, key: &str, known: &[&str]| {
            let at = given.as_ref()?;
            if !known.contains(&at.value.as_str()) {
                let hint = hint(&at.value, known.iter().copied());
                self.problems.add(at.line, format!("unknown {key} \"{}\"{hint}", at.value));
            }
            Some(at.value.clone())
        };
        if let Some(font) = spec.font.as_ref().filter(|f| !FONTS.contains(&f.value)) {
            let (least, most) = (FONTS.start(), FONTS.end());
            self.problems.add(font.line, format!("`font` is a size in points from {least} to {most}"));
        }
        let panels = &spec.panels;
        if let Some(columns) = panels.columns.as_ref().filter(|c| !(1..=MOST_COLUMNS as u64).contains(&c.value)) {
            self.problems.add(columns.line, format!("`columns` is a number of panels from 1 to {MOST_COLUMNS}"));
        }
        FigureRecord {
            kind: chosen(&spec.kind, "kind of figure", &KINDS),
            name: spec.name.as_ref().map(|n| n.value.clone()),
            width: chosen(&spec.width, "width", &WIDTHS.map(|(name, _)| name)),
            font: spec.font.as_ref().map(|f| f.value),
            palette: chosen(&spec.palette, "palette", &PALETTES.map(|(name, _)| name)),
            columns: panels.columns.as_ref().map(|c| c.value.min(MOST_COLUMNS as u64) as usize),
            labels: spec.labels.iter().cloned().collect(),
            models: self.known(&panels.models, "model", |c| &c.cell.model.name),
            attacks: self.known(&panels.attacks, "attack", |c| &c.cell.attack.name),
            norms: self.known(&panels.norms, "norm", |c| c.cell.threat.norm.name()),
            eps: panels.eps.iter().map(|eps| self.eps(eps)).collect(),
        }
    }

    /// Names that cells of the sweep carry.
    fn known(&self, given: &[At<String>], what: &str, of: fn(&PlannedCell) -> &str) -> Vec<String> {
        let known: BTreeSet<&str> = self.cells.iter().map(of).collect();
        // where the sweep itself is wrong, that is reported where it stands
        for at in given.iter().filter(|at| !known.is_empty() && !known.contains(at.value.as_str())) {
            let hint = hint(&at.value, known.iter().copied());
            self.problems.add(at.line, format!("no cell of this sweep has the {what} \"{}\"{hint}", at.value));
        }
        given.iter().map(|at| at.value.clone()).collect()
    }

    /// A budget as cells write it.
    fn eps(&self, given: &At<String>) -> String {
        let same = |c: &&PlannedCell| {
            c.cell.threat.eps.radius().is_some() && c.cell.threat.eps.radius() == Ratio::of_share(&given.value)
        };
        let found = self.cells.iter().find(same).map(|c| c.cell.threat.eps_text());
        if found.is_none() && !self.cells.is_empty() {
            let known: BTreeSet<String> = self.cells.iter().map(|c| c.cell.threat.eps_text()).collect();
            let known = match known.len() <= MOST_BUDGETS {
                true => format!(" (known: {})", known.into_iter().collect::<Vec<_>>().join(", ")),
                false => hint(&given.value, known.iter().map(String::as_str)),
            };
            self.problems.add(given.line, format!("no cell of this sweep has the budget \"{}\"{known}", given.value));
        }
        found.unwrap_or_else(|| given.value.clone())
    }
}
