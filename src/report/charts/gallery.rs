//! Clean image, adversarial image, amplified difference: six pictures of one cell a model, with what the net says.

use crate::analysis::groups::distance_to_usual;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::{Inputs, Outcome};
use crate::report::draw::canvas::{Drawing, Picture, Points, Raster, Scale, render};
use crate::report::draw::font::FONT;
use crate::report::draw::look::{Look, shortened};
use crate::report::draw::sheet::{Sheet, caption, picture, title};
use crate::report::draw::stamp::figure_error;
use crate::table::csv::text;
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// No more models than fit on a page.
const MOST_BLOCKS: usize = 2;

struct Figure<'a> {
    look: &'a Look<'a>,
    blocks: Vec<Block>,
}

/// One cell's pictures.
struct Block {
    title: String,
    amplification: u32,
    shown: Vec<Shown>,
}

struct Shown {
    /// Cell, example, prediction before and after, largest change in grey levels.
    row: Vec<String>,
    clean: RgbImage,
    adversarial: RgbImage,
    difference: RgbImage,
    clean_caption: String,
    adversarial_caption: String,
    fooled: bool,
}

/// The figure, or nothing where no cell is complete.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let mut blocks = Vec::new();
    for cell in chosen(run, look) {
        blocks.extend(Block::of(run, cell, look)?);
    }
    if blocks.is_empty() { Ok(None) } else { render(&Figure { look, blocks }, look).map(Some) }
}

/// Cells with at least one picture that was one before the attack.
fn complete<'a>(run: &'a Run, look: &'a Look) -> impl Iterator<Item = &'a Summary> {
    look.shown(run).filter(|s| s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled))
}

/// For each model the cell that fools most at the usual budget; of equals, the first.
fn chosen<'a>(run: &'a Run, look: &'a Look) -> Vec<&'a Summary> {
    let mut models: Vec<&str> = Vec::new();
    for s in complete(run, look).filter(|s| !s.cell.goal.is_targeted()).chain(complete(run, look)) {
        if models.len() < MOST_BLOCKS && !models.contains(&s.cell.model.name.as_str()) {
            models.push(&s.cell.model.name);
        }
    }
    let best = |model: &&str| {
        complete(run, look).filter(|s| s.cell.model.name == **model).min_by_key(|s| {
            let rates = s.rates.as_ref().expect("complete");
            ((distance_to_usual(s) * 1e6) as u64, rates.robust_correct, s.cell.goal.is_targeted())
        })
    };
    models.iter().filter_map(best).collect()
}

impl Block {
    fn of(run: &Run, summary: &Summary, look: &Look) -> Result<Option<Block>> {
        let inputs = run.store.read_inputs(&summary.cell.data.digest)?;
        let outcomes = run.store.read(&summary.id)?.outcomes;
        let witnesses = run.store.read_witnesses(&summary.id)?.into_levels();
        let values = 3 * inputs.size[0] * inputs.size[1];
        let mut rows: Vec<usize> = (0..outcomes.len()).collect();
        rows.sort_by_key(|k| (outcomes[*k].success != Some(true), outcomes[*k].step == 0, *k));
        rows.truncate(Sheet { look }.columns());
        let changes = rows.iter().filter_map(|k| outcomes[*k].linf_255);
        let amplification = (127.0 / changes.fold(1.0, f64::max)).floor().max(1.0) as u32;
        let shown = rows.iter().filter_map(|k| {
            let at = inputs.examples.iter().position(|e| *e == outcomes[*k].example)?;
            let (clean, adversarial) =
                (&inputs.pixels[at * values..(at + 1) * values], &witnesses[k * values..(k + 1) * values]);
            let row = |o: &Outcome| {
                vec![
                    summary.id.clone(),
                    o.example.to_string(),
                    text(o.clean_prediction),
                    text(o.adversarial_prediction),
                    text(o.linf_255),
                ]
            };
            let shown = Shown::of(&inputs, &outcomes[*k], clean, adversarial, amplification);
            Some(Shown { row: row(&outcomes[*k]), ..shown })
        });
        let title = title(&summary.cell, &inputs.classes, look);
        let shown: Vec<Shown> = shown.collect();
        Ok((!shown.is_empty()).then_some(Block { title, amplification, shown }))
    }
}

impl Shown {
    fn of(inputs: &Inputs, o: &Outcome, clean: &[u8], adversarial: &[u8], amplification: u32) -> Shown {
        let difference = difference(clean, adversarial, amplification);
        Shown {
            row: Vec::new(),
            clean: picture(clean, inputs.size),
            adversarial: picture(adversarial, inputs.size),
            difference: picture(&difference, inputs.size),
            clean_caption: caption(inputs, o.clean_prediction, o.confidence_clean),
            adversarial_caption: caption(inputs, o.adversarial_prediction, o.confidence_adversarial),
            fooled: o.success == Some(true),
        }
    }
}

/// What changed, so many times enlarged, around mid grey.
pub fn difference(clean: &[u8], adversarial: &[u8], times: u32) -> Vec<u8> {
    let level = |(c, a): (&u8, &u8)| (128 + (i32::from(*a) - i32::from(*c)) * times as i32).clamp(0, 255) as u8;
    clean.iter().zip(adversarial).map(level).collect()
}

impl Figure<'_> {
    fn sheet(&self) -> Sheet<'_> {
        Sheet { look: self.look }
    }

    /// Upper edges of the blocks, and the lower edge of the last.
    fn tops(&self) -> Vec<f64> {
        let mut tops = vec![0.0];
        for block in &self.blocks {
            let sheet = self.sheet();
            let title = sheet.title(sheet.titles(&block.title).len());
            tops.push(tops[tops.len() - 1] + title + 3.0 * sheet.picture() + 2.0 * sheet.caption() + 3.0);
        }
        tops
    }

    /// Upper edges of the three rows of pictures of a block.
    fn rows(&self, block: usize) -> [f64; 3] {
        let sheet = self.sheet();
        let first = self.tops()[block] + sheet.title(sheet.titles(&self.blocks[block].title).len());
        let row = sheet.picture() + sheet.caption();
        [first, first + row, first + 2.0 * row]
    }
}

/// Which colour of the palette a wrong prediction has.
const FOOLED: usize = 1;

impl Drawing for Figure<'_> {
    fn size(&self) -> (f64, f64) {
        (self.look.page_mm(), self.tops().last().copied().unwrap_or(0.0).ceil())
    }

    fn points(&self) -> Points {
        let rows = self.blocks.iter().flat_map(|b| b.shown.iter().map(|s| s.row.clone()));
        (&["cell", "example", "clean_prediction", "adversarial_prediction", "linf_255"], rows.collect())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (look, sheet) = (self.look, self.sheet());
        let style = |anchor| TextStyle::from((FONT, scale.font(look.font()))).pos(Pos::new(anchor, VPos::Center));
        let put = |text: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(text.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        for (b, block) in self.blocks.iter().enumerate() {
            for (i, title) in sheet.titles(&block.title).iter().enumerate() {
                put(title, 1.0, self.tops()[b] + (i as f64 + 0.8) * look.line_mm(), &style(HPos::Left))?;
            }
            let rows = self.rows(b);
            // the margin has room for two digits
            let name = if block.amplification > 99 { "diff." } else { "difference" };
            let difference = format!("{name} ×{}", block.amplification);
            for (name, row) in ["clean", "adversarial", difference.as_str()].iter().zip(rows) {
                put(name, sheet.left() - 2.0, row + sheet.picture() / 2.0, &style(HPos::Right))?;
            }
            for (k, shown) in block.shown.iter().enumerate() {
                let fit = |text: &str| shortened(text, look.font(), sheet.cell() - 0.5);
                let [clean, adversarial, _] = rows.map(|row| row + sheet.picture() + sheet.caption() / 2.0);
                let colour = if shown.fooled { look.colour(FOOLED) } else { BLACK };
                put(&fit(&shown.clean_caption), sheet.centre(k), clean, &style(HPos::Center))?;
                let style = style(HPos::Center).color(&colour);
                put(&fit(&shown.adversarial_caption), sheet.centre(k), adversarial, &style)?;
            }
        }
        Ok(())
    }

    fn rasters(&self) -> Vec<Raster> {
        let mut rasters = Vec::new();
        for (b, block) in self.blocks.iter().enumerate() {
            for (k, shown) in block.shown.iter().enumerate() {
                let sheet = self.sheet();
                let x = sheet.left() + k as f64 * sheet.cell();
                for (image, y) in [&shown.clean, &shown.adversarial, &shown.difference].into_iter().zip(self.rows(b)) {
                    rasters.push(Raster { x, y, side: sheet.picture(), image: image.clone() });
                }
            }
        }
        rasters
    }
}
