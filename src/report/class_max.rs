//! Class maximisation: a contact sheet, a table, and each picture by itself.

use super::Run;
use super::canvas::{Drawing, FONT, Picture, Raster, Scale, figure_error, render};
use super::gallery::picture;
use super::summary::Summary;
use super::tables::{csv, six, text};
use crate::error::Result;
use crate::record::Outcome;
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Name of the attack whose pictures these are.
const ATTACK: &str = "class-max";

/// Columns of `class-max.csv`, normative.
const COLUMNS: [&str; 17] = [
    "cell",
    "model",
    "class",
    "name",
    "recipe",
    "objective",
    "params",
    "seed",
    "canvas",
    "steps",
    "logit",
    "probability",
    "rank",
    "second_model",
    "second_probability",
    "second_rank",
    "objective_curve",
];

/// One picture.
struct Painted<'a> {
    summary: &'a Summary,
    outcome: Outcome,
    class: String,
    image: RgbImage,
    /// Probability and rank of the class under another net, by its name.
    second: Vec<(String, Option<f32>, Option<usize>)>,
}

fn painted<'a>(run: &'a Run) -> Result<Vec<Painted<'a>>> {
    let mut all = Vec::new();
    for summary in run.cells.iter().filter(|s| s.cell.attack.name == ATTACK && s.rates.is_some()) {
        let inputs = run.store.read_inputs(&summary.cell.data.digest)?;
        let pixels = run.store.read_witnesses(&summary.id)?.into_levels();
        let transfers = run.store.read_transfers(&summary.id)?;
        let values = 3 * inputs.side * inputs.side;
        let outcomes = run.store.read(&summary.id)?.outcomes;
        for (k, outcome) in outcomes.into_iter().enumerate() {
            // a net says nothing new of its own pictures
            let others = transfers.iter().filter(|(model, _)| model.weights != summary.cell.model.weights);
            let second = others.filter_map(|(model, rows)| {
                let row = rows.get(k)?;
                Some((model.name.clone(), row.target_probability, row.target_rank))
            });
            all.push(Painted {
                summary,
                class: outcome.target.and_then(|t| inputs.classes.get(t)).cloned().unwrap_or_default(),
                image: picture(&pixels[k * values..][..values], inputs.side),
                second: second.collect(),
                outcome,
            });
        }
    }
    Ok(all)
}

impl Painted<'_> {
    fn param(&self, name: &str) -> String {
        self.summary.cell.attack.params.get(name).cloned().unwrap_or_default()
    }

    /// Recipe, with the objective where it is not the usual one.
    fn recipe(&self) -> String {
        match self.param("objective").as_str() {
            "logit" => self.param("recipe"),
            other => format!("{}, {other}", self.param("recipe")),
        }
    }

    /// What stands in one row of the sheet.
    fn row(&self) -> String {
        match self.outcome.example {
            0 => self.recipe(),
            canvas => format!("{} #{canvas}", self.recipe()),
        }
    }
}

/// One row a picture, and second model if there are some.
pub fn table(run: &Run) -> Result<Option<Vec<u8>>> {
    let mut rows = Vec::new();
    for p in painted(run)? {
        let (c, o) = (&p.summary.cell, &p.outcome);
        let mut second: Vec<[String; 3]> = Vec::new();
        second.extend(p.second.iter().map(|(name, z, rank)| [name.clone(), six(z.map(f64::from)), text(*rank)]));
        if second.is_empty() {
            second.push(Default::default());
        }
        for [name, probability, rank] in second {
            rows.push(vec![
                p.summary.id.clone(),
                c.model.name.clone(),
                text(o.target),
                p.class.clone(),
                p.param("recipe"),
                p.param("objective"),
                c.params(),
                c.seed.to_string(),
                o.example.to_string(),
                p.param("steps"),
                six(o.target_logit_adversarial.map(f64::from)),
                six(o.target_probability_adversarial.map(f64::from)),
                text(o.target_rank_adversarial),
                name,
                probability,
                rank,
                o.note.clone(),
            ]);
        }
    }
    if rows.is_empty() { Ok(None) } else { csv(&COLUMNS, rows.into_iter()).map(Some) }
}

/// Each picture as PNG, pixel for pixel what was judged.
pub fn pictures(run: &Run) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for p in painted(run)? {
        let name = [p.summary.cell.model.name.as_str(), &p.class, &p.row(), &p.summary.id[..6]].join("-");
        let safe: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        files.push((format!("pictures/class-max/{safe}.png"), super::canvas::encode(&p.image)?));
    }
    Ok(files)
}

const WIDTH_MM: f64 = 180.0;
const LEFT_MM: f64 = 21.0;
const TITLE_MM: f64 = 11.0;
const CAPTION_MM: f64 = 3.2;
const GAP_MM: f64 = 1.2;
/// A larger picture shows no more.
const MOST_MM: f64 = 38.0;
/// More columns go to another block: pictures of 14 mm at least.
const MOST_COLUMNS: usize = 11;
/// No more pictures than fit on a few pages; all are in `pictures/`.
const MOST_ROWS: usize = 40;
const FONT_PT: f64 = 7.0;
const SMALL_PT: f64 = 5.5;

struct Sheet(Vec<Block>);

/// A picture a column, with what stands below it.
type Row = Vec<Option<(RgbImage, String)>>;

/// Rows of one model.
struct Block {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Row)>,
}

/// The contact sheet: a block a model, a row a recipe, a column a class; below each picture its probability, and that under
/// the second model.
pub fn draw(run: &Run) -> Result<Option<Picture>> {
    let all = painted(run)?;
    let mut blocks: Vec<Block> = Vec::new();
    for model in distinct(all.iter().map(|p| p.summary.cell.model.name.clone())) {
        let of: Vec<&Painted> = all.iter().filter(|p| p.summary.cell.model.name == model).collect();
        let second = of.iter().find_map(|p| p.second.first()).map(|(name, ..)| name.clone());
        let title = match &second {
            Some(second) => format!("{model} (in brackets: under {second})"),
            None => model.clone(),
        };
        for columns in distinct(of.iter().map(|p| p.class.clone())).chunks(MOST_COLUMNS) {
            let rows = distinct(of.iter().map(|p| p.row())).into_iter().map(|row| {
                let find = |class: &String| of.iter().find(|p| p.row() == row && p.class == *class);
                let cells = columns.iter().map(|class| find(class).map(|p| (p.image.clone(), caption(p)))).collect();
                (row, cells)
            });
            blocks.push(Block {
                title: title.clone(),
                columns: columns.to_vec(),
                rows: rows.take(MOST_ROWS).collect(),
            });
        }
    }
    if blocks.is_empty() { Ok(None) } else { render(&Sheet(blocks)).map(Some) }
}

/// `99.99 % (42 %)`.
fn caption(p: &Painted) -> String {
    let percent = |v: f32| match v {
        v if v > 0.99995 => "100 %".to_string(),
        v if v > 0.99 => format!("{:.2} %", (f64::from(v) * 1e4).floor() / 100.0),
        v => format!("{:.0} %", 100.0 * v),
    };
    let own = p.outcome.target_probability_adversarial.map_or("?".into(), percent);
    match p.second.first().and_then(|(_, probability, _)| *probability) {
        Some(second) => format!("{own} ({})", percent(second)),
        None => own,
    }
}

/// Each once, in order.
fn distinct(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

impl Block {
    fn picture_mm(&self) -> f64 {
        ((WIDTH_MM - LEFT_MM) / self.columns.len() as f64 - GAP_MM).min(MOST_MM)
    }

    fn row_mm(&self) -> f64 {
        self.picture_mm() + CAPTION_MM + GAP_MM
    }

    fn height_mm(&self) -> f64 {
        TITLE_MM + self.rows.len() as f64 * self.row_mm() + 2.0
    }
}

impl Sheet {
    /// Calls `visit` with the upper edge of each block.
    fn blocks(&self, mut visit: impl FnMut(&Block, f64) -> Result<()>) -> Result<()> {
        let mut top = 0.0;
        for block in &self.0 {
            visit(block, top)?;
            top += block.height_mm();
        }
        Ok(())
    }
}

impl Drawing for Sheet {
    fn size(&self) -> (f64, f64) {
        (WIDTH_MM, self.0.iter().map(Block::height_mm).sum::<f64>().ceil())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let style = |anchor, size| TextStyle::from((FONT, scale.pt(size))).pos(Pos::new(anchor, VPos::Center));
        let put = |words: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(words.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        self.blocks(|block, top| {
            put(&block.title, 1.0, top + 3.5, &style(HPos::Left, FONT_PT))?;
            let centre = |k: usize| LEFT_MM + k as f64 * (block.picture_mm() + GAP_MM) + block.picture_mm() / 2.0;
            for (k, name) in block.columns.iter().enumerate() {
                put(name, centre(k), top + TITLE_MM - 2.0, &style(HPos::Center, FONT_PT))?;
            }
            for (r, (name, cells)) in block.rows.iter().enumerate() {
                let y = top + TITLE_MM + r as f64 * block.row_mm();
                put(name, LEFT_MM - 2.0, y + block.picture_mm() / 2.0, &style(HPos::Right, FONT_PT))?;
                for (k, cell) in cells.iter().enumerate() {
                    if let Some((_, caption)) = cell {
                        let below = y + block.picture_mm() + CAPTION_MM / 2.0;
                        put(caption, centre(k), below, &style(HPos::Center, SMALL_PT))?;
                    }
                }
            }
            Ok(())
        })
    }

    fn rasters(&self) -> Vec<Raster> {
        let mut rasters = Vec::new();
        let filled = self.blocks(|block, top| {
            for (r, (_, cells)) in block.rows.iter().enumerate() {
                for (k, cell) in cells.iter().enumerate() {
                    if let Some((image, _)) = cell {
                        let x = LEFT_MM + k as f64 * (block.picture_mm() + GAP_MM);
                        let y = top + TITLE_MM + r as f64 * block.row_mm();
                        rasters.push(Raster { x, y, side: block.picture_mm(), image: image.clone() });
                    }
                }
            }
            Ok(())
        });
        debug_assert!(filled.is_ok(), "nothing here fails");
        rasters
    }
}
