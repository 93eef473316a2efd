//! Which classes the network takes for which others before any attack: a table, and a figure of it.

use super::Run;
use super::canvas::{Drawing, FONT, Picture, Scale, figure_error, render};
use super::summary::Summary;
use super::tables::{csv, dataset};
use crate::error::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeMap;

/// Columns of `confusion.csv`: what is predicted for the images of a label; a prediction that is no number is empty.
const COLUMNS: [&str; 8] =
    ["model", "dataset", "label", "label_name", "prediction", "prediction_name", "count", "of_label"];

/// What one model says of the clean images of one subset.
struct Confusion {
    model: String,
    dataset: String,
    classes: Vec<String>,
    /// (label, prediction) to the number of images.
    counts: BTreeMap<(usize, Option<usize>), usize>,
    /// Images of each label.
    of_label: BTreeMap<usize, usize>,
}

impl Confusion {
    /// One for each model and subset, in the order of the plan, from the cell that keeps most images: a target drops
    /// those that carry its label, no goal changes what is said of the others.
    fn all(run: &Run) -> Result<Vec<Confusion>> {
        let key = |s: &Summary| [&s.cell.model.name, &s.cell.model.weights, &s.cell.data.digest].map(String::clone);
        let mut best: Vec<&Summary> = Vec::new();
        for s in run.cells.iter().filter(|s| s.rates.as_ref().is_some_and(|r| r.n > 0)) {
            match best.iter_mut().find(|b| key(b) == key(s)) {
                Some(b) if s.n > b.n => *b = s,
                Some(_) => {}
                None => best.push(s),
            }
        }
        // where each goal drops some, there is no whole to show
        best.iter().filter(|s| s.n == Some(s.cell.data.take)).map(|s| Confusion::of(run, s)).collect()
    }

    fn of(run: &Run, summary: &Summary) -> Result<Confusion> {
        let (mut counts, mut of_label) = (BTreeMap::new(), BTreeMap::new());
        for o in run.store.read(&summary.id)?.outcomes {
            let Some(label) = o.label else { continue };
            *counts.entry((label, o.clean_prediction)).or_insert(0) += 1;
            *of_label.entry(label).or_insert(0) += 1;
        }
        Ok(Confusion {
            model: summary.cell.model.name.clone(),
            dataset: dataset(&summary.cell),
            classes: run.store.read_inputs(&summary.cell.data.digest)?.classes,
            counts,
            of_label,
        })
    }

    fn name(&self, class: usize) -> &str {
        self.classes.get(class).map_or("?", String::as_str)
    }

    /// Images whose prediction is their label.
    fn right(&self) -> usize {
        self.counts.iter().filter(|((label, prediction), _)| Some(*label) == *prediction).map(|(_, n)| n).sum()
    }

    fn total(&self) -> usize {
        self.of_label.values().sum()
    }

    /// Wrong predictions, the most frequent first; of equals, by label and prediction.
    fn mistakes(&self) -> Vec<(usize, usize, usize)> {
        let wrong = self.counts.iter().filter_map(|((label, prediction), n)| Some((*label, (*prediction)?, *n)));
        let mut wrong: Vec<_> = wrong.filter(|(label, prediction, _)| label != prediction).collect();
        wrong.sort_by_key(|(label, prediction, n)| (usize::MAX - n, *label, *prediction));
        wrong
    }
}

/// One row for each label and prediction that occur together.
pub fn table(run: &Run) -> Result<Option<Vec<u8>>> {
    let mut rows = Vec::new();
    for c in Confusion::all(run)? {
        rows.extend(c.counts.iter().map(|((label, prediction), n)| {
            vec![
                c.model.clone(),
                c.dataset.clone(),
                label.to_string(),
                c.name(*label).to_string(),
                prediction.map_or(String::new(), |p| p.to_string()),
                prediction.map_or(String::new(), |p| c.name(p).to_string()),
                n.to_string(),
                c.of_label[label].to_string(),
            ]
        }));
    }
    if rows.is_empty() { Ok(None) } else { csv(&COLUMNS, rows.into_iter()).map(Some) }
}

/// More classes than this do not fit as rows and columns: then the most frequent mistakes are listed.
const MOST_SQUARES: usize = 25;
/// Mistakes of a list.
const MOST_BARS: usize = 20;
/// No more models than fit on two pages; all are in the table.
const MOST_PANELS: usize = 6;

const WIDTH_MM: f64 = 120.0;
const MARGIN_MM: f64 = 3.0;
const TITLE_MM: f64 = 7.0;
const ROW_MM: f64 = 4.2;
const FONT_PT: f64 = 7.0;
const SMALL_PT: f64 = 5.5;
/// The widest name that a label of a row is given room for; longer ones are cut.
const MOST_LETTERS: usize = 30;
const LETTER_MM: f64 = 1.25;

/// Okabe and Ito's (2008) blue, for what is right, and vermilion, for what is not.
const RIGHT: RGBColor = RGBColor(0, 114, 178);
const WRONG: RGBColor = RGBColor(213, 94, 0);
const FRAME: RGBColor = RGBColor(225, 225, 225);
const GREY: RGBColor = RGBColor(90, 90, 90);

struct Figure(Vec<Panel>);

struct Panel {
    title: String,
    content: Content,
}

enum Content {
    /// Names of the classes, and the share and number of each row's images in each column.
    Squares { names: Vec<String>, cells: Vec<Vec<Option<(f64, usize)>>> },
    /// What is taken for what, how often, of how many.
    Bars(Vec<(String, usize, usize)>),
}

/// The figure, or nothing where no cell keeps every image, or no image is wrong.
pub fn draw(run: &Run) -> Result<Option<Picture>> {
    let confusions = Confusion::all(run)?;
    let panels = confusions.iter().filter(|c| !c.mistakes().is_empty()).take(MOST_PANELS).map(Panel::of);
    let figure = Figure(panels.collect());
    if figure.0.is_empty() { Ok(None) } else { render(&figure).map(Some) }
}

impl Panel {
    fn of(c: &Confusion) -> Panel {
        let (right, total) = (c.right(), c.total());
        let title = format!("{}, {}: {right} of {total} right", c.model, c.dataset);
        let content = if c.classes.len() <= MOST_SQUARES { Content::squares(c) } else { Content::bars(c) };
        Panel { title, content }
    }

    fn height(&self) -> f64 {
        let rows = match &self.content {
            Content::Squares { names, .. } => square_mm(names) * names.len() as f64 + names_mm(names) + ROW_MM,
            Content::Bars(bars) => ROW_MM * (bars.len() + 1) as f64,
        };
        TITLE_MM + rows + MARGIN_MM
    }
}

impl Content {
    fn squares(c: &Confusion) -> Content {
        let classes = 0..c.classes.len();
        let cell = |label: usize, prediction: usize| {
            let n = *c.counts.get(&(label, Some(prediction)))?;
            Some((n as f64 / c.of_label[&label] as f64, n))
        };
        let cells = classes.clone().map(|label| classes.clone().map(|p| cell(label, p)).collect()).collect();
        Content::Squares { names: c.classes.iter().map(|n| shortened(n)).collect(), cells }
    }

    fn bars(c: &Confusion) -> Content {
        let bar = |(label, prediction, n): &(usize, usize, usize)| {
            let pair = format!("{} → {}", shortened(c.name(*label)), shortened(c.name(*prediction)));
            (pair, *n, c.of_label[label])
        };
        Content::Bars(c.mistakes().iter().take(MOST_BARS).map(bar).collect())
    }
}

fn shortened(name: &str) -> String {
    match name.chars().count() > MOST_LETTERS {
        true => name.chars().take(MOST_LETTERS - 1).collect::<String>().trim_end().to_string() + "…",
        false => name.to_string(),
    }
}

/// Room for the longest name.
fn names_mm(names: &[String]) -> f64 {
    names.iter().map(|n| n.chars().count()).max().unwrap_or(0) as f64 * LETTER_MM + 2.0
}

/// Side of a square.
fn square_mm(names: &[String]) -> f64 {
    ((WIDTH_MM - 2.0 * MARGIN_MM - names_mm(names) - ROW_MM) / names.len() as f64).min(8.0)
}

impl Drawing for Figure {
    fn size(&self) -> (f64, f64) {
        (WIDTH_MM, self.0.iter().map(Panel::height).sum::<f64>().ceil())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let pen = Pen { area, scale };
        let mut top = 0.0;
        for panel in &self.0 {
            pen.text(&panel.title, (MARGIN_MM, top + TITLE_MM / 2.0), &pen.style(FONT_PT, HPos::Left))?;
            match &panel.content {
                Content::Squares { names, cells } => pen.squares(names, cells, top + TITLE_MM)?,
                Content::Bars(bars) => pen.bars(bars, top + TITLE_MM)?,
            }
            top += panel.height();
        }
        Ok(())
    }
}

/// Draws in millimetres.
struct Pen<'a, B: DrawingBackend> {
    area: &'a DrawingArea<B, Shift>,
    scale: Scale,
}

impl<B: DrawingBackend> Pen<'_, B>
where
    B::ErrorType: 'static,
{
    fn style(&self, points: f64, side: HPos) -> TextStyle<'static> {
        TextStyle::from((FONT, self.scale.pt(points))).pos(Pos::new(side, VPos::Center))
    }

    fn text(&self, words: &str, (x, y): (f64, f64), style: &TextStyle) -> Result<()> {
        let at = (self.scale.mm(x), self.scale.mm(y));
        self.area.draw(&Text::new(words.to_string(), at, style)).map_err(figure_error)
    }

    fn rectangle(&self, (x, y): (f64, f64), (width, height): (f64, f64), style: ShapeStyle) -> Result<()> {
        let mm = |x: f64, y: f64| (self.scale.mm(x), self.scale.mm(y));
        self.area.draw(&Rectangle::new([mm(x, y), mm(x + width, y + height)], style)).map_err(figure_error)
    }

    /// A row a label, a column a prediction; a square is as dark as its share of the row.
    fn squares(&self, names: &[String], cells: &[Vec<Option<(f64, usize)>>], top: f64) -> Result<()> {
        let (side, room) = (square_mm(names), names_mm(names));
        let left = MARGIN_MM + ROW_MM + room;
        let (row, column) = (self.style(FONT_PT, HPos::Right), self.style(FONT_PT, HPos::Right));
        let column = column.transform(FontTransform::Rotate270);
        let middle = |i: usize| (i as f64 + 0.5) * side;
        for (i, name) in names.iter().enumerate() {
            self.text(name, (left - 1.0, top + middle(i)), &row)?;
            self.text(name, (left + middle(i), top + side * names.len() as f64 + 1.0), &column)?;
        }
        for (i, cells) in cells.iter().enumerate() {
            for (j, cell) in cells.iter().enumerate() {
                let at = (left + j as f64 * side, top + i as f64 * side);
                if let Some((share, n)) = cell {
                    let colour = if i == j { RIGHT } else { WRONG };
                    self.rectangle(at, (side, side), colour.mix(0.12 + 0.88 * share).filled())?;
                    let ink = if *share > 0.5 { WHITE } else { BLACK };
                    let style = self.style(SMALL_PT, HPos::Center).color(&ink);
                    self.text(&n.to_string(), (at.0 + side / 2.0, at.1 + side / 2.0), &style)?;
                }
                self.rectangle(at, (side, side), FRAME.stroke_width(self.scale.pt(0.4) as u32))?;
            }
        }
        let (length, style) = (side * names.len() as f64, self.style(FONT_PT, HPos::Center).color(&GREY));
        let upright = style.transform(FontTransform::Rotate270);
        self.text("label", (MARGIN_MM + ROW_MM / 2.0, top + length / 2.0), &upright)?;
        self.text("prediction", (left + length / 2.0, top + length + room + ROW_MM / 2.0), &style)
    }

    /// A line a mistake: what is taken for what, and a bar as long as the share of the label's images.
    fn bars(&self, bars: &[(String, usize, usize)], top: f64) -> Result<()> {
        let longest = bars.iter().map(|(pair, ..)| pair.chars().count()).max().unwrap_or(0);
        let left = MARGIN_MM + longest as f64 * LETTER_MM + 2.0;
        let room = WIDTH_MM - MARGIN_MM - left - 16.0;
        for (k, (pair, n, of)) in bars.iter().enumerate() {
            let y = top + k as f64 * ROW_MM;
            let middle = y + ROW_MM / 2.0;
            self.text(pair, (left - 1.5, middle), &self.style(FONT_PT, HPos::Right))?;
            let length = room * *n as f64 / *of as f64;
            self.rectangle((left, y + 0.5), (length, ROW_MM - 1.4), WRONG.filled())?;
            self.text(&format!("{n} of {of}"), (left + length + 1.0, middle), &self.style(FONT_PT, HPos::Left))?;
        }
        let note = "label → prediction, of the label's images";
        let y = top + (bars.len() as f64 + 0.5) * ROW_MM;
        self.text(note, (MARGIN_MM, y), &self.style(FONT_PT, HPos::Left).color(&GREY))
    }
}
