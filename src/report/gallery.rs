//! Clean image, adversarial image, amplified difference: six pictures of one cell a model, with what the net says.

use super::Run;
use super::canvas::{Drawing, FONT, Picture, Raster, Scale, figure_error, render};
use super::patch_area::with_class_name;
use super::summary::Summary;
use crate::error::Result;
use crate::ratio::Ratio;
use crate::record::{Cell, Inputs, Outcome};
use image::{Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH_MM: f64 = 180.0;
const LEFT_MM: f64 = 24.0;
const COLUMNS: usize = 6;
const CELL_MM: f64 = (WIDTH_MM - LEFT_MM) / COLUMNS as f64;
const PICTURE_MM: f64 = CELL_MM - 2.0;
const TITLE_MM: f64 = 7.0;
const CAPTION_MM: f64 = 4.5;
const FONT_PT: f64 = 7.0;
/// No more models than fit on a page.
const MOST_BLOCKS: usize = 2;
/// The budget shown is the one nearest to what the field reports most, 8/255 in Linf, 0.5 in L2.
const USUAL_EPS: [(&str, f64); 4] = [("linf", 8.0 / 255.0), ("l2", 0.5), ("pixels", 1.0), ("patch", 0.1)];

struct Figure(Vec<Block>);

/// One cell's pictures.
struct Block {
    title: String,
    amplification: u32,
    shown: Vec<Shown>,
}

struct Shown {
    clean: RgbImage,
    adversarial: RgbImage,
    difference: RgbImage,
    clean_caption: String,
    adversarial_caption: String,
    fooled: bool,
}

/// The figure, or nothing where no cell is complete.
pub fn draw(run: &Run) -> Result<Option<Picture>> {
    let mut blocks = Vec::new();
    for cell in chosen(run) {
        blocks.extend(Block::of(run, cell)?);
    }
    if blocks.is_empty() { Ok(None) } else { render(&Figure(blocks)).map(Some) }
}

/// Cells with at least one picture that was one before the attack.
fn complete<'a>(run: &'a Run) -> impl Iterator<Item = &'a Summary> {
    run.cells.iter().filter(|s| s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled))
}

/// For each model the cell that fools most at the usual budget; of equals, the first.
fn chosen<'a>(run: &'a Run) -> Vec<&'a Summary> {
    let mut models: Vec<&str> = Vec::new();
    for s in complete(run).filter(|s| s.cell.goal == "untargeted").chain(complete(run)) {
        if !models.contains(&s.cell.model.name.as_str()) {
            models.push(&s.cell.model.name);
        }
    }
    models.truncate(MOST_BLOCKS);
    let best = |model: &&str| {
        complete(run).filter(|s| s.cell.model.name == **model).min_by_key(|s| {
            let rates = s.rates.as_ref().expect("complete");
            ((distance_to_usual(s) * 1e6) as u64, rates.robust_correct, s.cell.goal != "untargeted")
        })
    };
    models.iter().filter_map(best).collect()
}

/// How far a budget is from the one that the field reports most.
pub fn distance_to_usual(s: &Summary) -> f64 {
    let usual = USUAL_EPS.iter().find(|(norm, _)| *norm == s.cell.threat.norm).map_or(0.0, |(_, eps)| *eps);
    Ratio::parse(&s.cell.threat.eps).map_or(f64::MAX, |eps| (eps.to_f64() - usual).abs())
}

impl Block {
    fn of(run: &Run, summary: &Summary) -> Result<Option<Block>> {
        let inputs = run.store.read_inputs(&summary.cell.data.digest)?;
        let outcomes = run.store.read(&summary.id)?.outcomes;
        let witnesses = run.store.read_witnesses(&summary.id)?.into_levels();
        let values = 3 * inputs.side * inputs.side;
        let mut rows: Vec<usize> = (0..outcomes.len()).collect();
        rows.sort_by_key(|k| (outcomes[*k].success != Some(true), outcomes[*k].step == 0, *k));
        rows.truncate(COLUMNS);
        let changes = rows.iter().filter_map(|k| outcomes[*k].linf_255);
        let amplification = (127.0 / changes.fold(1.0, f64::max)).floor().max(1.0) as u32;
        let shown = rows.iter().filter_map(|k| {
            let at = inputs.examples.iter().position(|e| *e == outcomes[*k].example)?;
            let (clean, adversarial) =
                (&inputs.pixels[at * values..(at + 1) * values], &witnesses[k * values..(k + 1) * values]);
            Some(Shown::of(&inputs, &outcomes[*k], clean, adversarial, amplification))
        });
        let title = title(&summary.cell, &inputs.classes);
        let shown: Vec<Shown> = shown.collect();
        Ok((!shown.is_empty()).then_some(Block { title, amplification, shown }))
    }
}

impl Shown {
    fn of(inputs: &Inputs, o: &Outcome, clean: &[u8], adversarial: &[u8], amplification: u32) -> Shown {
        let difference: Vec<u8> = clean
            .iter()
            .zip(adversarial)
            .map(|(c, a)| (128 + (i32::from(*a) - i32::from(*c)) * amplification as i32).clamp(0, 255) as u8)
            .collect();
        Shown {
            clean: picture(clean, inputs.side),
            adversarial: picture(adversarial, inputs.side),
            difference: picture(&difference, inputs.side),
            clean_caption: caption(inputs, o.clean_prediction, o.confidence_clean),
            adversarial_caption: caption(inputs, o.adversarial_prediction, o.confidence_adversarial),
            fooled: o.success == Some(true),
        }
    }
}

/// Longest list of parameters in a title; a longer one stands in the tables.
const MOST_LETTERS: usize = 80;

/// What is shown: model, attack, budget, goal.
pub fn title(c: &Cell, classes: &[String]) -> String {
    let params = c.params().replace(';', ", ");
    let params = if params.is_empty() || params.len() > MOST_LETTERS { String::new() } else { format!(" ({params})") };
    let budget = match c.threat.norm.as_str() {
        "any" => String::new(),
        "pixels" => format!(", {} pixels", c.threat.eps),
        "patch" => format!(", area {}", c.threat.eps),
        norm => format!(", {norm} eps {}", c.threat.eps),
    };
    let goal = with_class_name(c.goal.clone(), &c.goal, classes);
    format!("{}: {}{params}{budget}, {goal}", c.model.name, c.attack.name)
        + if c.mode_name() == "within" { ", within" } else { "" }
        + &if c.precision == "f32" { String::new() } else { format!(", {} gradients", c.precision) }
}

/// Name of a class, and how sure the net is.
pub fn caption(inputs: &Inputs, class: Option<usize>, confidence: Option<f32>) -> String {
    let name = class.and_then(|c| inputs.classes.get(c)).map_or("?", String::as_str);
    let percent = confidence.map_or(String::new(), |c| format!(" {:.0} %", 100.0 * c));
    format!("{name}{percent}")
}

/// 3×side×side as an image.
pub fn picture(pixels: &[u8], side: usize) -> RgbImage {
    let plane = side * side;
    RgbImage::from_fn(side as u32, side as u32, |x, y| {
        let p = y as usize * side + x as usize;
        Rgb([pixels[p], pixels[plane + p], pixels[2 * plane + p]])
    })
}

/// Upper edges of the three rows of pictures within a block.
fn row_tops() -> [f64; 3] {
    let row = PICTURE_MM + CAPTION_MM;
    [TITLE_MM, TITLE_MM + row, TITLE_MM + 2.0 * row]
}

fn block_mm() -> f64 {
    row_tops()[2] + PICTURE_MM + 3.0
}

const FOOLED: RGBColor = RGBColor(213, 94, 0);

impl Drawing for Figure {
    fn size(&self) -> (f64, f64) {
        (WIDTH_MM, (self.0.len() as f64 * block_mm()).ceil())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let style = |anchor| TextStyle::from((FONT, scale.pt(FONT_PT))).pos(Pos::new(anchor, VPos::Center));
        let put = |text: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(text.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        for (b, block) in self.0.iter().enumerate() {
            let top = b as f64 * block_mm();
            put(&block.title, 1.0, top + 3.5, &style(HPos::Left))?;
            let difference = format!("difference ×{}", block.amplification);
            for (name, row) in ["clean", "adversarial", difference.as_str()].iter().zip(row_tops()) {
                put(name, LEFT_MM - 2.0, top + row + PICTURE_MM / 2.0, &style(HPos::Right))?;
            }
            for (k, shown) in block.shown.iter().enumerate() {
                let centre = LEFT_MM + k as f64 * CELL_MM + PICTURE_MM / 2.0;
                let [clean, adversarial, _] = row_tops().map(|row| top + row + PICTURE_MM + CAPTION_MM / 2.0);
                let colour = if shown.fooled { FOOLED } else { BLACK };
                put(&shown.clean_caption, centre, clean, &style(HPos::Center))?;
                put(&shown.adversarial_caption, centre, adversarial, &style(HPos::Center).color(&colour))?;
            }
        }
        Ok(())
    }

    fn rasters(&self) -> Vec<Raster> {
        let mut rasters = Vec::new();
        for (b, block) in self.0.iter().enumerate() {
            for (k, shown) in block.shown.iter().enumerate() {
                let x = LEFT_MM + k as f64 * CELL_MM;
                for (image, row) in [&shown.clean, &shown.adversarial, &shown.difference].into_iter().zip(row_tops()) {
                    rasters.push(Raster { x, y: b as f64 * block_mm() + row, side: PICTURE_MM, image: image.clone() });
                }
            }
        }
        rasters
    }
}
