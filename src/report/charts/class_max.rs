//! Class maximisation: a contact sheet, a table, and each picture by itself.

use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::Outcome;
use crate::report::draw::canvas::{Drawing, Picture, Points, Raster, Scale, encode, render};
use crate::report::draw::font::{FONT, POINT_MM, text_mm};
use crate::report::draw::look::{Look, fitted, shortened};
use crate::report::draw::sheet::picture;
use crate::report::draw::stamp::figure_error;
use crate::table::csv::six;
use crate::table::pages::{Group, NONE, Pages, Row, Stands};
use crate::table::{Column, Table, row};
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Name of the attack whose pictures these are.
const ATTACK: &str = "class-max";

/// Columns of `class-max.csv`, normative.
const COLUMNS: [Column; 17] = [
    Column::text("cell"),
    Column::text("model"),
    Column::count("class"),
    Column::text("name"),
    Column::text("recipe"),
    Column::text("objective"),
    Column::text("params"),
    Column::count("seed"),
    Column::count("canvas"),
    Column::count("steps"),
    Column::number("logit"),
    Column::number("probability"),
    Column::count("rank"),
    Column::text("second_model"),
    Column::number("second_probability"),
    Column::count("second_rank"),
    Column::text("objective_curve"),
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
        let values = 3 * inputs.size[0] * inputs.size[1];
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
                image: picture(&pixels[k * values..][..values], inputs.size),
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
pub fn table(run: &Run) -> Result<Option<Table>> {
    let mut table = Table::new(&COLUMNS);
    for p in painted(run)? {
        let (c, o) = (&p.summary.cell, &p.outcome);
        let mut second: Vec<_> = p.second.iter().map(|(name, z, rank)| (Some(name), *z, *rank)).collect();
        if second.is_empty() {
            second.push((None, None, None));
        }
        for (name, probability, rank) in second {
            table.push(row![
                &p.summary.id,
                &c.model.name,
                o.target,
                &p.class,
                p.param("recipe"),
                p.param("objective"),
                c.params(),
                c.seed,
                o.example,
                p.param("steps").parse::<u64>().ok(),
                o.target_logit_adversarial.map(f64::from),
                o.target_probability_adversarial.map(f64::from),
                o.target_rank_adversarial,
                name,
                probability.map(f64::from),
                rank,
                &o.note,
            ])?;
        }
    }
    Ok((table.rows() > 0).then_some(table))
}

/// For people: a table a model and second model, a row a picture, a recipe's together.
pub fn readable(run: &Run) -> Result<Option<Pages>> {
    let columns = &[
        ("recipe", Stands::Above),
        ("class", Stands::Wrapped),
        ("probability", Stands::Right),
        ("rank", Stands::Right),
        ("under the second", Stands::Right),
        ("rank", Stands::Right),
    ];
    let note = "Probability and rank of the class that the picture was made for (1: it is predicted), under the network \
                attacked and under the second one.";
    let said = |probability: Option<f32>, rank: Option<usize>| {
        [probability.map_or(NONE.into(), percent), rank.map_or(NONE.into(), |r| (r + 1).to_string())]
    };
    let all = painted(run)?;
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for p in &all {
        let model = &p.summary.cell.model.name;
        let own = said(p.outcome.target_probability_adversarial, p.outcome.target_rank_adversarial);
        let row =
            |second: [String; 2]| [p.row(), p.class.clone()].into_iter().chain(own.clone()).chain(second).collect();
        for (second, probability, rank) in &p.second {
            rows.push((format!("{model} (second network: {second})"), row(said(*probability, *rank))));
        }
        if p.second.is_empty() {
            rows.push((model.clone(), row(said(None, None))));
        }
    }
    let recipes = distinct(all.iter().map(Painted::row));
    rows.sort_by_cached_key(|(_, fields)| recipes.iter().position(|recipe| *recipe == fields[0]));
    let group = |title: String| {
        let of = rows.iter().filter(|(of, _)| *of == title);
        Group { rows: of.map(|(_, fields)| Row { fields: fields.clone(), bold: None }).collect(), title }
    };
    let groups: Vec<Group> = distinct(rows.iter().map(|(title, _)| title.clone())).into_iter().map(group).collect();
    Ok((!groups.is_empty()).then_some(Pages { columns, groups, note }))
}

/// Each picture as PNG, pixel for pixel what was judged.
pub fn pictures(run: &Run) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for p in painted(run)? {
        let name = [p.summary.cell.model.name.as_str(), &p.class, &p.row(), &p.summary.id[..6]].join("-");
        let safe: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        files.push((format!("pictures/class-max/{safe}.png"), encode(&p.image)?));
    }
    Ok(files)
}

const GAP_MM: f64 = 1.2;
/// A larger picture shows no more.
const MOST_MM: f64 = 38.0;
/// More columns go to another block.
const MOST_COLUMNS: usize = 11;
/// No more pictures than fit on a few pages; all are in `pictures/`.
const MOST_ROWS: usize = 40;
/// Height of a page: pictures are as small as it takes, but not narrower than the least.
const HIGH_MM: f64 = 240.0;
/// The narrowest picture.
const LEAST_MM: f64 = 14.0;

struct Sheet<'a> {
    look: &'a Look<'a>,
    blocks: Vec<Block>,
    /// What is shown: cell, canvas, model, class, recipe, probability.
    rows: Vec<Vec<String>>,
}

/// A picture a column, with what stands below it.
type Strip = Vec<Option<(RgbImage, String)>>;

/// Rows of one model.
struct Block {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Strip)>,
}

/// The contact sheet: a block a model, a row a recipe, a column a class; below each picture its probability, and that under
/// the second model.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    let mut all = painted(run)?;
    all.retain(|p| look.shows(&p.summary.cell));
    let room = look.page_mm() - LEFT_MM;
    let most_columns = MOST_COLUMNS.min((room / (LEAST_MM + GAP_MM)) as usize).max(1);
    let mut blocks: Vec<Block> = Vec::new();
    for model in distinct(all.iter().map(|p| p.summary.cell.model.name.clone())) {
        let of: Vec<&Painted> = all.iter().filter(|p| p.summary.cell.model.name == model).collect();
        let second = of.iter().find_map(|p| p.second.first()).map(|(name, ..)| name.clone());
        let title = match &second {
            Some(second) => format!("{} (in brackets: under {})", look.label(&model), look.label(second)),
            None => look.label(&model),
        };
        for columns in distinct(of.iter().map(|p| p.class.clone())).chunks(most_columns) {
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
    let row = |p: &Painted| {
        let probability = six(p.outcome.target_probability_adversarial.map(f64::from));
        let model = p.summary.cell.model.name.clone();
        vec![p.summary.id.clone(), p.outcome.example.to_string(), model, p.class.clone(), p.recipe(), probability]
    };
    let rows = all.iter().map(row).collect();
    if blocks.is_empty() { Ok(None) } else { render(&Sheet { look, blocks, rows }, look).map(Some) }
}

/// `99.99 % (42 %)`.
fn caption(p: &Painted) -> String {
    let own = p.outcome.target_probability_adversarial.map_or("?".into(), percent);
    match p.second.first().and_then(|(_, probability, _)| *probability) {
        Some(second) => format!("{own} ({})", percent(second)),
        None => own,
    }
}

/// `99.98 %`, and with less decimals where they say nothing.
fn percent(v: f32) -> String {
    match v {
        v if v > 0.99995 => "100 %".to_string(),
        v if v > 0.99 => format!("{:.2} %", (f64::from(v) * 1e4).floor() / 100.0),
        v => format!("{:.0} %", 100.0 * v),
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

/// Left of the pictures.
const LEFT_MM: f64 = 22.0;

impl Sheet<'_> {
    fn title_mm(&self) -> f64 {
        2.0 * self.look.line_mm() + 3.0
    }

    fn caption_mm(&self) -> f64 {
        1.45 * POINT_MM * self.look.small()
    }

    fn picture_mm(&self, block: &Block) -> f64 {
        let width = (self.look.page_mm() - LEFT_MM) / block.columns.len() as f64 - GAP_MM;
        let rows: usize = self.blocks.iter().map(|b| b.rows.len()).sum();
        let room = HIGH_MM - self.blocks.len() as f64 * (self.title_mm() + 2.0);
        let height = room / rows.max(1) as f64 - self.caption_mm() - GAP_MM;
        width.min(height.max(LEAST_MM)).min(MOST_MM)
    }

    fn row_mm(&self, block: &Block) -> f64 {
        self.picture_mm(block) + self.caption_mm() + GAP_MM
    }

    fn height_mm(&self, block: &Block) -> f64 {
        self.title_mm() + block.rows.len() as f64 * self.row_mm(block) + 2.0
    }

    /// Each block with its upper edge.
    fn placed(&self) -> Vec<(&Block, f64)> {
        let mut top = 0.0;
        let place = |block| {
            let at = top;
            top += self.height_mm(block);
            (block, at)
        };
        self.blocks.iter().map(place).collect()
    }
}

impl Drawing for Sheet<'_> {
    fn size(&self) -> (f64, f64) {
        (self.look.page_mm(), self.blocks.iter().map(|b| self.height_mm(b)).sum::<f64>().ceil())
    }

    fn points(&self) -> Points {
        (&["cell", "canvas", "model", "class", "recipe", "probability"], self.rows.clone())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let look = self.look;
        let style = |anchor, size| TextStyle::from((FONT, scale.font(size))).pos(Pos::new(anchor, VPos::Center));
        let put = |words: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(words.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        for (block, top) in self.placed() {
            let (side, line) = (self.picture_mm(block), look.line_mm());
            put(
                &fitted(&block.title, look.font(), look.page_mm() - 2.0),
                1.0,
                top + 0.8 * line,
                &style(HPos::Left, look.font()),
            )?;
            let centre = |k: usize| LEFT_MM + k as f64 * (side + GAP_MM) + side / 2.0;
            for (k, name) in block.columns.iter().enumerate() {
                let name = shortened(name, look.font(), side + GAP_MM);
                put(&name, centre(k), top + self.title_mm() - 0.7 * line, &style(HPos::Center, look.font()))?;
            }
            // one size for all captions of a block, such that the longest fits
            let captions = block.rows.iter().flat_map(|(_, cells)| cells.iter().flatten());
            let widest = captions.map(|(_, caption)| text_mm(caption, 1.0)).fold(1e-9, f64::max);
            let small = look.small().min((side + GAP_MM - 0.2) / widest);
            for (r, (name, cells)) in block.rows.iter().enumerate() {
                let y = top + self.title_mm() + r as f64 * self.row_mm(block);
                let lines = look.wrapped(name, LEFT_MM - 3.0);
                for (i, name) in lines.iter().enumerate() {
                    let at = y + side / 2.0 + (i as f64 - (lines.len() - 1) as f64 / 2.0) * line;
                    put(name, LEFT_MM - 2.0, at, &style(HPos::Right, look.font()))?;
                }
                for (k, cell) in cells.iter().enumerate() {
                    if let Some((_, caption)) = cell {
                        let below = y + side + self.caption_mm() / 2.0;
                        put(caption, centre(k), below, &style(HPos::Center, small))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn rasters(&self) -> Vec<Raster> {
        let mut rasters = Vec::new();
        for (block, top) in self.placed() {
            for (r, (_, cells)) in block.rows.iter().enumerate() {
                for (k, cell) in cells.iter().enumerate() {
                    if let Some((image, _)) = cell {
                        let side = self.picture_mm(block);
                        let x = LEFT_MM + k as f64 * (side + GAP_MM);
                        let y = top + self.title_mm() + r as f64 * self.row_mm(block);
                        rasters.push(Raster { x, y, side, image: image.clone() });
                    }
                }
            }
        }
        rasters
    }
}
