//! Which classes the network takes for which others before any attack: a table, and a figure of it.

use crate::analysis::groups::grouped;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::report::draw::canvas::{Drawing, Picture, Points, Scale, render};
use crate::report::draw::font::{FONT, text_mm};
use crate::report::draw::look::{Look, shortened};
use crate::report::draw::stamp::figure_error;
use crate::table::{Column, Table, row};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Columns of `confusion.csv`: what is predicted for the images of a label; a prediction that is no number is empty.
const COLUMNS: [Column; 8] = [
    Column::text("model"),
    Column::text("dataset"),
    Column::count("label"),
    Column::text("label_name"),
    Column::count("prediction"),
    Column::text("prediction_name"),
    Column::count("count"),
    Column::count("of_label"),
];

/// What one model says of the clean images of one subset.
struct Confusion {
    model: String,
    dataset: String,
    classes: Arc<[String]>,
    /// (label, prediction) to the number of images.
    counts: BTreeMap<(usize, Option<usize>), usize>,
    /// Images of each label.
    of_label: BTreeMap<usize, usize>,
}

impl Confusion {
    /// One for each model and subset, in the order of the plan, from the cell that keeps most images: a target drops
    /// those that carry its label, no goal changes what is said of the others.
    fn all<'r>(run: &'r Run, wanted: impl Fn(&Summary) -> bool) -> Result<Vec<Confusion>> {
        let key = |s: &Summary| [&s.cell.model.name, &s.cell.model.weights, &s.cell.data.digest].map(String::clone);
        let cells = run.cells.iter().filter(|s| wanted(s) && s.rates.as_ref().is_some_and(|r| r.n > 0));
        let most = |group: Vec<&'r Summary>| group.into_iter().rev().max_by_key(|s| s.n);
        let best = grouped(&cells.collect::<Vec<_>>(), key).into_iter().filter_map(most);
        // where each goal drops some, there is no whole to show
        best.filter(|s| s.n == Some(s.cell.data.take)).map(|s| Confusion::of(run, s)).collect()
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
            dataset: summary.cell.data.text(),
            classes: run.classes(&summary.cell.data.digest)?,
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
pub fn table(run: &Run) -> Result<Option<Table>> {
    let confusions = Confusion::all(run, |_| true)?;
    let rows = confusions.iter().flat_map(|c| {
        c.counts.iter().map(move |((label, prediction), n)| {
            let name = prediction.map(|p| c.name(p));
            row![&c.model, &c.dataset, *label, c.name(*label), *prediction, name, *n, c.of_label[label]]
        })
    });
    Table::of(&COLUMNS, rows)
}

/// More classes than this do not fit as rows and columns: then the most frequent mistakes are listed.
const MOST_SQUARES: usize = 25;
/// Mistakes of a list.
const MOST_BARS: usize = 20;
/// No more models than fit on two pages; all are in the table.
const MOST_PANELS: usize = 6;

const MARGIN_MM: f64 = 3.0;
/// The widest square.
const MOST_SQUARE_MM: f64 = 9.0;
/// The most room for names of classes; longer ones are cut.
const MOST_NAME_MM: f64 = 32.0;

const FRAME: RGBColor = RGBColor(225, 225, 225);
const GREY: RGBColor = RGBColor(90, 90, 90);

struct Figure<'a> {
    look: &'a Look<'a>,
    panels: Vec<Panel>,
}

struct Panel {
    title: String,
    content: Content,
    /// What is shown: label, prediction, count, images of the label.
    rows: Vec<[String; 4]>,
}

enum Content {
    /// Names of the classes, and the share and number of each row's images in each column.
    Squares { names: Vec<String>, cells: Vec<Vec<Option<(f64, usize)>>> },
    /// What is taken for what, how often, of how many.
    Bars(Vec<(String, usize, usize)>),
}

/// The figure, or nothing where no cell keeps every image, or no image is wrong.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let confusions = Confusion::all(run, |s| look.shows(&s.cell))?;
    let panels = confusions.iter().filter(|c| !c.mistakes().is_empty()).take(MOST_PANELS).map(|c| Panel::of(c, look));
    let figure = Figure { look, panels: panels.collect() };
    if figure.panels.is_empty() { Ok(None) } else { render(&figure, look).map(Some) }
}

impl Panel {
    fn of(c: &Confusion, look: &Look) -> Panel {
        let (right, total) = (c.right(), c.total());
        let title = format!("{}, {}: {right} of {total} right", look.label(&c.model), look.label(&c.dataset));
        let squares = c.classes.len() <= MOST_SQUARES;
        let content = if squares { Content::squares(c) } else { Content::bars(c) };
        let row = |label: usize, prediction: usize, n: usize| {
            [label.to_string(), prediction.to_string(), n.to_string(), c.of_label[&label].to_string()]
        };
        let rows = match squares {
            true => c.counts.iter().filter_map(|((label, p), n)| Some(row(*label, (*p)?, *n))).collect(),
            false => c.mistakes().into_iter().take(MOST_BARS).map(|(label, p, n)| row(label, p, n)).collect(),
        };
        Panel { title, content, rows }
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
        Content::Squares { names: c.classes.to_vec(), cells }
    }

    fn bars(c: &Confusion) -> Content {
        let bar = |(label, prediction, n): &(usize, usize, usize)| {
            let pair = format!("{} → {}", c.name(*label), c.name(*prediction));
            (pair, *n, c.of_label[label])
        };
        Content::Bars(c.mistakes().iter().take(MOST_BARS).map(bar).collect())
    }
}

impl Figure<'_> {
    /// Room for the longest of some names.
    fn names_mm<'n>(&self, names: impl Iterator<Item = &'n String>, most: f64) -> f64 {
        names.map(|n| text_mm(n, self.look.font())).fold(0.0, f64::max).min(most) + 1.5
    }

    /// Side of a square.
    fn square_mm(&self, names: &[String]) -> f64 {
        let room =
            self.look.page_mm() - 2.0 * MARGIN_MM - self.names_mm(names.iter(), MOST_NAME_MM) - self.look.line_mm();
        (room / names.len() as f64).min(MOST_SQUARE_MM)
    }

    fn title_lines(&self, panel: &Panel) -> Vec<String> {
        self.look.wrapped(&panel.title, self.look.page_mm() - 2.0 * MARGIN_MM)
    }

    fn title_mm(&self, panel: &Panel) -> f64 {
        self.title_lines(panel).len() as f64 * self.look.line_mm() + 2.5
    }

    fn height(&self, panel: &Panel) -> f64 {
        let line = self.look.line_mm();
        let rows = match &panel.content {
            Content::Squares { names, .. } => {
                self.square_mm(names) * names.len() as f64 + self.names_mm(names.iter(), MOST_NAME_MM) + line
            }
            Content::Bars(bars) => line * (bars.len() + 1) as f64,
        };
        self.title_mm(panel) + rows + MARGIN_MM
    }

    /// Wide enough for what is shown: squares seldom need the page.
    fn width(&self) -> f64 {
        let widest = self.panels.iter().map(|panel| match &panel.content {
            Content::Squares { names, .. } => {
                let squares = self.square_mm(names) * names.len() as f64;
                let title = self.title_lines(panel).iter().map(|t| text_mm(t, self.look.font())).fold(0.0, f64::max);
                let names = self.names_mm(names.iter(), MOST_NAME_MM);
                2.0 * MARGIN_MM + (self.look.line_mm() + names + squares).max(title)
            }
            Content::Bars(_) => self.look.page_mm(),
        });
        widest.fold(0.0, f64::max).min(self.look.page_mm())
    }
}

impl Drawing for Figure<'_> {
    fn size(&self) -> (f64, f64) {
        (self.width().ceil(), self.panels.iter().map(|p| self.height(p)).sum::<f64>().ceil())
    }

    fn points(&self) -> Points {
        let row = |panel: &Panel, row: &[String; 4]| [std::slice::from_ref(&panel.title), &row[..]].concat();
        let rows = self.panels.iter().flat_map(|p| p.rows.iter().map(move |r| row(p, r)));
        (&["panel", "label", "prediction", "count", "of_label"], rows.collect())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let pen = Pen { figure: self, area, scale };
        let (mut top, font) = (0.0, self.look.font());
        for panel in &self.panels {
            for (i, title) in self.title_lines(panel).iter().enumerate() {
                let y = top + (i as f64 + 0.8) * self.look.line_mm();
                pen.text(title, (MARGIN_MM, y), &pen.style(font, HPos::Left))?;
            }
            match &panel.content {
                Content::Squares { names, cells } => pen.squares(names, cells, top + self.title_mm(panel))?,
                Content::Bars(bars) => pen.bars(bars, top + self.title_mm(panel))?,
            }
            top += self.height(panel);
        }
        Ok(())
    }
}

/// Draws in millimetres.
struct Pen<'a, B: DrawingBackend> {
    figure: &'a Figure<'a>,
    area: &'a DrawingArea<B, Shift>,
    scale: Scale,
}

impl<B: DrawingBackend> Pen<'_, B>
where
    B::ErrorType: 'static,
{
    fn style(&self, points: f64, side: HPos) -> TextStyle<'static> {
        TextStyle::from((FONT, self.scale.font(points))).pos(Pos::new(side, VPos::Center))
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
        let look = self.figure.look;
        let (side, room) = (self.figure.square_mm(names), self.figure.names_mm(names.iter(), MOST_NAME_MM));
        let left = MARGIN_MM + look.line_mm() + room;
        let row = self.style(look.font(), HPos::Right);
        let column = row.transform(FontTransform::Rotate270);
        let middle = |i: usize| (i as f64 + 0.5) * side;
        for (i, name) in names.iter().enumerate() {
            let name = shortened(name, look.font(), MOST_NAME_MM);
            self.text(&name, (left - 1.0, top + middle(i)), &row)?;
            self.text(&name, (left + middle(i), top + side * names.len() as f64 + 1.0), &column)?;
        }
        for (i, cells) in cells.iter().enumerate() {
            for (j, cell) in cells.iter().enumerate() {
                let at = (left + j as f64 * side, top + i as f64 * side);
                if let Some((share, n)) = cell {
                    let colour = look.colour(usize::from(i != j));
                    self.rectangle(at, (side, side), colour.mix(0.12 + 0.88 * share).filled())?;
                    let ink = if *share > 0.5 { WHITE } else { BLACK };
                    let size = look.font().min(0.85 * side / text_mm(&n.to_string(), 1.0));
                    let style = self.style(size, HPos::Center).color(&ink);
                    self.text(&n.to_string(), (at.0 + side / 2.0, at.1 + side / 2.0), &style)?;
                }
                self.rectangle(at, (side, side), FRAME.stroke_width(self.scale.pt(0.4)))?;
            }
        }
        let (length, style) = (side * names.len() as f64, self.style(look.font(), HPos::Center).color(&GREY));
        let upright = style.transform(FontTransform::Rotate270);
        self.text("label", (MARGIN_MM + look.line_mm() / 2.0, top + length / 2.0), &upright)?;
        let below = top + length + room + look.line_mm() / 2.0;
        self.text("prediction", (left + length / 2.0, below), &style)
    }

    /// A line a mistake: what is taken for what, and a bar as long as the share of the label's images.
    fn bars(&self, bars: &[(String, usize, usize)], top: f64) -> Result<()> {
        let look = self.figure.look;
        let (font, line, width) = (look.font(), look.line_mm(), look.page_mm());
        let names = self.figure.names_mm(bars.iter().map(|(pair, ..)| pair), width / 2.0);
        let left = MARGIN_MM + names;
        let room = width - MARGIN_MM - left - text_mm("1000 of 1000", font) - 1.0;
        for (k, (pair, n, of)) in bars.iter().enumerate() {
            let y = top + k as f64 * line;
            let middle = y + line / 2.0;
            self.text(&shortened(pair, font, names), (left - 1.0, middle), &self.style(font, HPos::Right))?;
            let length = room * *n as f64 / *of as f64;
            self.rectangle((left, y + 0.4), (length, line - 0.8), look.colour(1).filled())?;
            self.text(&format!("{n} of {of}"), (left + length + 1.0, middle), &self.style(font, HPos::Left))?;
        }
        let note = "label → prediction, of the label's images";
        let y = top + (bars.len() as f64 + 0.5) * line;
        self.text(note, (MARGIN_MM, y), &self.style(font, HPos::Left).color(&GREY))
    }
}
