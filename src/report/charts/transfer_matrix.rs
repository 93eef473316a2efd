//! How witnesses found on one network do on others: a square for each pair, a panel for each attack at one budget.

use crate::analysis::groups::line_key;
use crate::analysis::groups::{Key, grouped};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::{ModelRecord, Outcome, Transfer};
use crate::report::draw::canvas::{Drawing, Picture, Points, Scale, render};
use crate::report::draw::font::{FONT, text_mm};
use crate::report::draw::legend::Legend;
use crate::report::draw::look::{Look, fitted};
use crate::report::draw::stamp::figure_error;
use crate::table::csv::six;
use crate::terms::{Goal, Norm};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::{BTreeMap, HashMap};

/// More panels are no figure.
const MOST_PANELS: usize = 12;
/// More models leave no room for numbers.
const MOST_MODELS: usize = 12;
const EDGE_MM: f64 = 2.0;
const MOST_SQUARE_MM: f64 = 20.0;
const FRAME: RGBColor = RGBColor(225, 225, 225);
const GREY: RGBColor = RGBColor(90, 90, 90);

/// Images that count, of how many.
type Share = (usize, usize);

/// Name of another network, and what it says of a cell; `None`: it is the attacked one.
type Shown = (String, Option<Share>);

struct Figure<'a> {
    look: &'a Look<'a>,
    /// Rows and columns.
    models: Vec<String>,
    panels: Vec<Panel>,
    notes: Vec<String>,
}

struct Panel {
    title: String,
    /// (found on, shown to) to the share.
    cells: BTreeMap<(usize, usize), Share>,
}

/// The figure, or nothing where no network was shown the witnesses of another.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let complete: Vec<&Summary> = look.shown(run).filter(|s| s.rates.as_ref().is_some_and(|r| r.n > 0)).collect();
    let mut shown = Vec::new();
    let mut transfers: HashMap<&str, Vec<Shown>> = HashMap::new();
    for s in complete {
        let found = run.store.read_transfers(&s.id)?;
        if found.iter().any(|(model, _)| model.weights != s.cell.model.weights) {
            shown.push(s);
            let outcomes = run.store.read(&s.id)?.outcomes;
            let to = |(model, rows): (ModelRecord, Vec<Transfer>)| {
                let own = model.weights == s.cell.model.weights;
                (model.name, (!own).then(|| share(&s.cell.goal, &outcomes, &rows)))
            };
            transfers.insert(&s.id, found.into_iter().map(to).collect());
        }
    }
    if shown.is_empty() {
        return Ok(None);
    }
    let sources = shown.iter().map(|s| &s.cell.model.name);
    let judges = shown.iter().flat_map(|s| transfers[s.id.as_str()].iter().map(|(name, _)| name));
    let (mut models, mut places): (Vec<String>, HashMap<&String, usize>) = Default::default();
    for name in sources.chain(judges) {
        places.entry(name).or_insert_with(|| {
            models.push(name.clone());
            models.len() - 1
        });
    }
    let legend = Legend::of(&shown, look);
    let mut panels = Vec::new();
    for group in grouped(&shown, panel_key) {
        let mut cells: BTreeMap<(usize, usize), Share> = BTreeMap::new();
        for s in &group {
            let row = places[&s.cell.model.name];
            let mut add = |column: usize, (k, n): Share| {
                let cell = cells.entry((row, column)).or_insert((0, 0));
                *cell = (cell.0 + k, cell.1 + n);
            };
            add(row, own(s));
            for (model, share) in &transfers[s.id.as_str()] {
                share.iter().for_each(|share| add(places[model], *share));
            }
        }
        panels.push(Panel { title: title(group[0], &legend, look), cells });
    }
    let targeted = shown.iter().any(|s| s.cell.goal.is_targeted());
    let what = if targeted {
        "share that reaches its target, or of the images that were right, is wrong"
    } else {
        "share of the images that the judging network had right that it has wrong"
    };
    let mut notes = vec![format!("row: found on; column: shown to; {what}, of n")];
    if panels.len() > MOST_PANELS || models.len() > MOST_MODELS {
        let (p, m) = (panels.len(), models.len());
        notes.push(format!("{p} panels, {m} models: shown are {MOST_PANELS} and {MOST_MODELS} at most"));
    }
    panels.truncate(MOST_PANELS);
    models.truncate(MOST_MODELS);
    let (rows, columns) = (models.len(), models.len());
    panels.iter_mut().for_each(|p| p.cells.retain(|(row, column), _| *row < rows && *column < columns));
    render(&Figure { look, models, panels, notes }, look).map(Some)
}

/// All goals of one kind together.
fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    let mut key = line_key(s);
    key.extend([
        c.data.text(),
        c.threat.norm.name().to_string(),
        c.threat.eps_text(),
        (!c.goal.is_targeted()).to_string(),
    ]);
    key
}

fn title(s: &Summary, legend: &Legend, look: &Look) -> String {
    let threat = &s.cell.threat;
    let budget = if threat.norm == Norm::Any {
        String::new()
    } else {
        format!(", {} {}", look.label(threat.norm.name()), threat.eps_text())
    };
    look.label(&format!("{}{budget}, {}", legend.names[legend.style(s)], s.cell.data.text()))
}

/// What the attacked network itself says.
fn own(s: &Summary) -> Share {
    let rates = s.rates.as_ref().expect("complete");
    match s.cell.goal.is_targeted() {
        false => (rates.clean_correct - rates.robust_correct, rates.clean_correct),
        true => (s.tally.target[1], rates.n),
    }
}

/// What another network says: of the images that it had right, those it has wrong; of targeted ones, those at the target.
fn share(goal: &Goal, outcomes: &[Outcome], rows: &[Transfer]) -> Share {
    let pairs = || outcomes.iter().zip(rows);
    match goal.is_targeted() {
        false => {
            let right = || pairs().filter(|(o, t)| o.label.is_some() && t.clean_prediction == o.label);
            (right().filter(|(o, t)| t.prediction != o.label).count(), right().count())
        }
        true => (rows.iter().filter(|t| t.target_rank == Some(0)).count(), rows.len()),
    }
}

impl Figure<'_> {
    fn width(&self) -> f64 {
        self.look.panels_mm(self.panels.len())
    }

    fn columns(&self) -> usize {
        self.look.columns(self.panels.len())
    }

    fn panel_mm(&self) -> f64 {
        self.width() / self.columns() as f64
    }

    /// Room for the names of rows, and of columns, which stand upright.
    fn names_mm(&self) -> f64 {
        let longest = self.models.iter().map(|m| text_mm(&self.look.label(m), self.look.font())).fold(0.0, f64::max);
        longest.min(0.4 * self.panel_mm()) + 1.5
    }

    fn side_mm(&self) -> f64 {
        ((self.panel_mm() - 2.0 * EDGE_MM - self.names_mm()) / self.models.len() as f64).min(MOST_SQUARE_MM)
    }

    fn title_mm(&self) -> f64 {
        let room = self.panel_mm() - 2.0 * EDGE_MM;
        let lines = self.panels.iter().map(|p| self.look.wrapped(&p.title, room).len()).max().unwrap_or(1);
        lines as f64 * self.look.line_mm() + 2.0
    }

    fn height_mm(&self) -> f64 {
        self.title_mm() + self.side_mm() * self.models.len() as f64 + self.names_mm() + 2.0
    }

    fn note_lines(&self) -> Vec<String> {
        self.notes.iter().flat_map(|note| self.look.wrapped(note, self.width() - 2.0 * EDGE_MM)).collect()
    }
}

impl Drawing for Figure<'_> {
    fn size(&self) -> (f64, f64) {
        let rows = self.panels.len().div_ceil(self.columns());
        let notes = self.note_lines().len() as f64 * self.look.line_mm() + 1.5;
        (self.width(), (rows as f64 * self.height_mm() + notes).ceil())
    }

    fn points(&self) -> Points {
        let row = |panel: &Panel, (&(from, to), &(k, n)): (&(usize, usize), &Share)| {
            let share = (n > 0).then(|| k as f64 / n as f64);
            vec![
                panel.title.clone(),
                self.models[from].clone(),
                self.models[to].clone(),
                k.to_string(),
                n.to_string(),
                six(share),
            ]
        };
        let rows = self.panels.iter().flat_map(|p| p.cells.iter().map(move |cell| row(p, cell)));
        (&["panel", "found_on", "shown_to", "count", "n", "share"], rows.collect())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let look = self.look;
        let style = |points: f64, side| TextStyle::from((FONT, scale.font(points))).pos(Pos::new(side, VPos::Center));
        let put = |words: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(words.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        let (side, names) = (self.side_mm(), self.names_mm());
        let line = look.line_mm();
        // one size for all numbers, such that the longest fits
        let longest = self.panels.iter().flat_map(|p| p.cells.values()).map(|(_, n)| text_mm(&format!("n={n}"), 1.0));
        let widest = longest.fold(text_mm("100 %", 1.0), f64::max);
        let number = look.font().min(0.85 * side / widest);
        for (k, panel) in self.panels.iter().enumerate() {
            let left = (k % self.columns()) as f64 * self.panel_mm() + EDGE_MM;
            let top = (k / self.columns()) as f64 * self.height_mm();
            for (i, title) in look.wrapped(&panel.title, self.panel_mm() - 2.0 * EDGE_MM).iter().enumerate() {
                put(title, left, top + (i as f64 + 0.7) * line, &style(look.font(), HPos::Left))?;
            }
            let (x0, y0) = (left + names, top + self.title_mm());
            for (i, model) in self.models.iter().enumerate() {
                let name = fitted(&look.label(model), look.font(), names - 1.0);
                let middle = (i as f64 + 0.5) * side;
                put(&name, x0 - 1.0, y0 + middle, &style(look.font(), HPos::Right))?;
                let upright = style(look.font(), HPos::Right).transform(FontTransform::Rotate270);
                put(&name, x0 + middle, y0 + side * self.models.len() as f64 + 1.0, &upright)?;
            }
            for ((row, column), (hits, n)) in &panel.cells {
                let share = *hits as f64 / (*n).max(1) as f64;
                let (x, y) = (x0 + *column as f64 * side, y0 + *row as f64 * side);
                let corners = [(scale.mm(x), scale.mm(y)), (scale.mm(x + side), scale.mm(y + side))];
                let colour = look.colour(0).mix(0.06 + 0.94 * share);
                area.draw(&Rectangle::new(corners, colour.filled())).map_err(figure_error)?;
                area.draw(&Rectangle::new(corners, FRAME.stroke_width(scale.pt(0.4)))).map_err(figure_error)?;
                let ink = if share > 0.5 { WHITE } else { BLACK };
                let text = style(number, HPos::Center).color(&ink);
                put(&format!("{:.0} %", 100.0 * share), x + side / 2.0, y + side / 2.0 - 0.25 * number, &text)?;
                put(&format!("n={n}"), x + side / 2.0, y + side / 2.0 + 0.25 * number, &text)?;
            }
        }
        let rows = self.panels.len().div_ceil(self.columns());
        for (i, note) in self.note_lines().iter().enumerate() {
            let y = rows as f64 * self.height_mm() + (i as f64 + 0.5) * line;
            put(note, EDGE_MM, y, &style(look.font(), HPos::Left).color(&GREY))?;
        }
        Ok(())
    }
}
