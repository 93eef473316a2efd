//! Pictures that the command line gave: each before and after, what changed, and where the network looked, side by side.

use super::explain::overlaid;
use super::gallery::difference;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::{Explanation, Inputs, Outcome};
use crate::report::draw::canvas::{Drawing, Picture, Points, Raster, Scale, encode, render};
use crate::report::draw::font::FONT;
use crate::report::draw::look::{Look, shortened};
use crate::report::draw::sheet::{caption, picture, title};
use crate::report::draw::stamp::figure_error;
use crate::table::csv::{six, text};
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Rows of the figure, as many as fit on a page. Every picture has its files in `pictures/`.
const MOST_ROWS: usize = 6;
/// Left of the pictures.
const LEFT_MM: f64 = 20.0;
const GAP_MM: f64 = 2.0;
/// A larger picture shows no more.
const MOST_MM: f64 = 33.0;
/// Which colour of the palette a wrong prediction has.
const FOOLED: usize = 1;

/// A picture that was given, and what came of it.
struct Shown {
    /// Name of its file.
    name: String,
    cell: String,
    outcome: Outcome,
    /// Each with its heading, and what stands below it.
    panels: Vec<(String, RgbImage, String)>,
}

struct Figure<'a> {
    look: &'a Look<'a>,
    title: Vec<String>,
    shown: Vec<Shown>,
}

/// The first pictures of the run, or nothing where none was given.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let Some(summary) = given(run).find(|s| look.shows(&s.cell)) else { return Ok(None) };
    let inputs = run.store.read_inputs(&summary.cell.data.digest)?;
    let mut shown = shown(run, summary, &inputs)?;
    let text = title(&summary.cell, &inputs.classes, look);
    let mut title = Vec::new();
    if shown.len() > MOST_ROWS {
        title.push(format!("{MOST_ROWS} of {} pictures; the others are in pictures/", shown.len()));
        shown.truncate(MOST_ROWS);
    }
    if shown.is_empty() {
        return Ok(None);
    }
    let mut figure = Figure { look, title: Vec::new(), shown };
    // the title is as wide as the pictures are
    figure.title = [look.wrapped(&text, figure.size().0 - 2.0), title].concat();
    render(&figure, look).map(Some)
}

/// Of each picture the clean image and the witness, pixel for pixel.
pub fn pictures(run: &Run) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for summary in given(run) {
        let inputs = run.store.read_inputs(&summary.cell.data.digest)?;
        let mut names: Vec<String> = Vec::new();
        for shown in shown(run, summary, &inputs)? {
            let stem = shown.name.rsplit_once('.').map_or(shown.name.as_str(), |(stem, _)| stem);
            let safe: String =
                stem.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
            // files of one name from several folders
            let again = names.contains(&safe);
            let name = if again { format!("{safe}-{}", shown.outcome.example) } else { safe };
            for ((_, image, _), what) in shown.panels.iter().zip(["clean", "adversarial"]) {
                files.push((format!("pictures/{name}-{what}.png"), encode(image)?));
            }
            names.push(name);
        }
    }
    Ok(files)
}

/// Cells of pictures that the command line gave.
fn given<'a>(run: &'a Run) -> impl Iterator<Item = &'a Summary> {
    run.cells.iter().filter(|s| s.cell.data.files.is_some() && s.rates.is_some())
}

fn shown(run: &Run, summary: &Summary, inputs: &Inputs) -> Result<Vec<Shown>> {
    let outcomes = run.store.read(&summary.id)?.outcomes;
    let witnesses = run.store.read_witnesses(&summary.id)?.into_levels();
    let explanation = run.store.read_explanation(&summary.id)?;
    let files = summary.cell.data.files.as_deref().unwrap_or_default();
    let values = 3 * inputs.size[0] * inputs.size[1];
    let of = |(k, outcome): (usize, Outcome)| {
        let at = inputs.examples.iter().position(|e| *e == outcome.example)?;
        let (clean, adversarial) = (&inputs.pixels[at * values..][..values], &witnesses[k * values..][..values]);
        let times = (127.0 / outcome.linf_255.unwrap_or(0.0).max(1.0)).floor().max(1.0) as u32;
        let image = |levels: &[u8]| picture(levels, inputs.size);
        let before = caption(inputs, outcome.clean_prediction, outcome.confidence_clean);
        let after = caption(inputs, outcome.adversarial_prediction, outcome.confidence_adversarial);
        let mut panels = vec![
            ("clean".into(), image(clean), before),
            ("adversarial".into(), image(adversarial), after),
            ("difference".into(), image(&difference(clean, adversarial, times)), format!("×{times}")),
        ];
        if let Some(explanation) = &explanation {
            let Explanation { size, clean: before, adversarial: after, .. } = explanation;
            let plane = size[0] * size[1];
            let map = |maps: &[f32], on: &[u8]| overlaid(&image(on), &maps[k * plane..][..plane], *size);
            panels.push(("Grad-CAM, clean".into(), map(before, clean), String::new()));
            panels.push(("Grad-CAM, adversarial".into(), map(after, adversarial), String::new()));
        }
        let name = files.get(outcome.example).cloned().unwrap_or_default();
        Some(Shown { name, cell: summary.id.clone(), outcome, panels })
    };
    Ok(outcomes.into_iter().enumerate().filter_map(of).collect())
}

impl Figure<'_> {
    fn columns(&self) -> usize {
        self.shown[0].panels.len()
    }

    fn side(&self) -> f64 {
        ((self.look.page_mm() - LEFT_MM) / self.columns() as f64 - GAP_MM).min(MOST_MM)
    }

    fn left(&self, column: usize) -> f64 {
        LEFT_MM + column as f64 * (self.side() + GAP_MM)
    }

    /// Upper edge of the pictures of a row.
    fn top(&self, row: usize) -> f64 {
        let titles = (self.title.len() + 1) as f64 * self.look.line_mm() + 2.5;
        titles + row as f64 * (self.side() + self.look.line_mm() + 1.2)
    }
}

impl Drawing for Figure<'_> {
    fn size(&self) -> (f64, f64) {
        (self.left(self.columns()), self.top(self.shown.len()).ceil())
    }

    fn points(&self) -> Points {
        let columns = &[
            "cell",
            "example",
            "picture",
            "clean_prediction",
            "clean_probability",
            "adversarial_prediction",
            "adversarial_probability",
            "linf_255",
        ];
        let row = |s: &Shown| {
            let (o, number) = (&s.outcome, |v: Option<f32>| six(v.map(f64::from)));
            vec![
                s.cell.clone(),
                o.example.to_string(),
                s.name.clone(),
                text(o.clean_prediction),
                number(o.confidence_clean),
                text(o.adversarial_prediction),
                number(o.confidence_adversarial),
                text(o.linf_255),
            ]
        };
        (columns, self.shown.iter().map(row).collect())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (look, side, line) = (self.look, self.side(), self.look.line_mm());
        let style = |anchor| TextStyle::from((FONT, scale.font(look.font()))).pos(Pos::new(anchor, VPos::Center));
        let put = |words: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(words.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        for (i, title) in self.title.iter().enumerate() {
            put(title, 1.0, (i as f64 + 0.8) * line, &style(HPos::Left))?;
        }
        let centre = |column: usize| self.left(column) + side / 2.0;
        let fit = |words: &str| shortened(words, look.font(), side);
        for (column, (heading, ..)) in self.shown[0].panels.iter().enumerate() {
            put(&fit(heading), centre(column), self.top(0) - 0.7 * line, &style(HPos::Center))?;
        }
        for (row, shown) in self.shown.iter().enumerate() {
            let top = self.top(row);
            // names of files have no spaces to be broken at
            let lines = look.wrapped(&shown.name.replace('_', "_ ").replace('-', "- "), LEFT_MM - 3.0);
            for (i, name) in lines.iter().enumerate() {
                let y = top + side / 2.0 + (i as f64 - (lines.len() - 1) as f64 / 2.0) * line;
                put(name, LEFT_MM - 2.0, y, &style(HPos::Right))?;
            }
            for (column, (_, _, below)) in shown.panels.iter().enumerate() {
                let fooled = column == 1 && shown.outcome.success == Some(true);
                let colour = if fooled { look.colour(FOOLED) } else { BLACK };
                put(&fit(below), centre(column), top + side + line / 2.0 + 0.3, &style(HPos::Center).color(&colour))?;
            }
        }
        Ok(())
    }

    fn rasters(&self) -> Vec<Raster> {
        let side = self.side();
        let of_row = |(row, shown): (usize, &Shown)| -> Vec<Raster> {
            let panel = |(column, (_, image, _)): (usize, &(String, RgbImage, String))| Raster {
                x: self.left(column),
                y: self.top(row),
                side,
                image: image.clone(),
            };
            shown.panels.iter().enumerate().map(panel).collect()
        };
        self.shown.iter().enumerate().flat_map(of_row).collect()
    }
}
