//! Where a net looked (Grad-CAM), before and after: maps laid over the images, and a table of what they share.

use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::{Explanation, Inputs};
use crate::report::draw::canvas::{Drawing, Picture, Points, Raster, Scale, render};
use crate::report::draw::font::FONT;
use crate::report::draw::heat;
use crate::report::draw::look::{Look, shortened};
use crate::report::draw::sheet::{Sheet, caption, picture, title};
use crate::report::draw::stamp::figure_error;
use crate::table::csv::six;
use crate::table::{Column, Table, row};
use crate::terms::Norm;
use image::{Rgb, RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Columns of `explain.csv`, normative; the last two only where a map is no square.
const COLUMNS: [Column; 11] = [
    Column::text("cell"),
    Column::count("example"),
    Column::number("maximum_clean"),
    Column::number("maximum_adversarial"),
    Column::number("correlation"),
    Column::number("share_clean"),
    Column::number("share_adversarial"),
    Column::text("layer"),
    Column::count("side"),
    Column::count("height"),
    Column::count("width"),
];
const OF_SQUARES: usize = 9;

/// One row an image whose predictions are explained.
pub fn table(run: &Run) -> Result<Option<Table>> {
    let (mut rows, mut columns) = (Vec::new(), OF_SQUARES);
    for s in &run.cells {
        let Some(explanation) = run.store.read_explanation(&s.id)? else { continue };
        let [height, width] = explanation.size;
        let is_square = height == width;
        columns = if is_square { columns } else { COLUMNS.len() };
        rows.extend(explanation.rows.iter().map(|e| {
            let maxima = [e.maximum_clean, e.maximum_adversarial].map(f64::from);
            let layer = explanation.layer.clone();
            let shares = [e.share_clean, e.share_adversarial];
            let row = row![&s.id, e.example, maxima[0], maxima[1], e.correlation, shares[0], shares[1], layer];
            let size = if is_square { row![height].to_vec() } else { row![None::<usize>, height, width].to_vec() };
            row.into_iter().chain(size)
        }));
    }
    Table::of(&COLUMNS[..columns], rows)
}

/// Blocks of images, one a cell: no more than fit on a page.
const MOST_BLOCKS: usize = 2;
const ROWS: [&str; 4] = ["clean", "Grad-CAM", "adversarial", "Grad-CAM"];
/// Share of the map's colour over the image where the map is highest.
const OVERLAY: f32 = 0.75;
/// Images are enlarged to at least so many pixels first, so that the map over them is smooth.
const SMOOTH: usize = 128;

struct Figure<'a> {
    look: &'a Look<'a>,
    blocks: Vec<Block>,
}

struct Block {
    title: String,
    /// By column: four pictures, and what stands below each.
    columns: Vec<[(RgbImage, String); 4]>,
    /// By column: cell, example, shares and correlation.
    rows: Vec<Vec<String>>,
}

/// The figure, or nothing where nothing is explained.
pub fn draw(run: &Run, look: &Look) -> Result<Option<Picture>> {
    // of each model and attack the cell that fools most; every model has its turn before one has a second
    let fooled = |s: &Summary| s.rates.as_ref().map_or(0, |r| r.clean_correct - r.robust_correct);
    let mut cells: Vec<&Summary> = look.shown(run).filter(|s| s.rates.is_some()).collect();
    cells.sort_by_key(|s| std::cmp::Reverse(fooled(s)));
    let mut best: Vec<(usize, &Summary)> = Vec::new();
    for s in cells.into_iter().filter(|s| run.store.has_explanation(&s.id)) {
        let of_model = || best.iter().filter(|(_, b)| b.cell.model.name == s.cell.model.name);
        if !of_model().any(|(_, b)| b.cell.attack.name == s.cell.attack.name) {
            best.push((of_model().count(), s));
        }
    }
    best.sort_by_key(|(turn, _)| *turn);
    let mut blocks = Vec::new();
    for (_, s) in best.into_iter().take(MOST_BLOCKS) {
        if let Some(explanation) = run.store.read_explanation(&s.id)? {
            blocks.extend(Block::of(run, s, &explanation, look)?);
        }
    }
    if blocks.is_empty() { Ok(None) } else { render(&Figure { look, blocks }, look).map(Some) }
}

impl Block {
    fn of(run: &Run, summary: &Summary, explanation: &Explanation, look: &Look) -> Result<Option<Block>> {
        let inputs: Inputs = run.store.read_inputs(&summary.cell.data.digest)?;
        let outcomes = run.store.read(&summary.id)?.outcomes;
        let witnesses = run.store.read_witnesses(&summary.id)?.into_levels();
        let values = 3 * inputs.size[0] * inputs.size[1];
        let of_map = explanation.size[0] * explanation.size[1];
        let mut order: Vec<usize> = (0..outcomes.len()).collect();
        order.sort_by_key(|k| (outcomes[*k].success != Some(true), *k));
        // elsewhere everything may change, and all of a map lies inside
        let in_places = [Norm::Patch, Norm::Pixels].contains(&summary.cell.threat.norm);
        let column = |k: &usize| {
            let (k, o) = (*k, &outcomes[*k]);
            let at = inputs.examples.iter().position(|e| *e == o.example)?;
            let clean = picture(&inputs.pixels[at * values..][..values], inputs.size);
            let adversarial = picture(&witnesses[k * values..][..values], inputs.size);
            let map = |maps: &[f32], on: &RgbImage| overlaid(on, &maps[k * of_map..][..of_map], explanation.size);
            let row = &explanation.rows[k];
            let number = |name: &str, v: Option<f64>| v.map_or(String::new(), |v| format!("{name} {v:.2}"));
            let inside = |share: Option<f64>| number("inside", share.filter(|_| in_places));
            Some([
                (clean.clone(), caption(&inputs, o.clean_prediction, o.confidence_clean)),
                (map(&explanation.clean, &clean), inside(row.share_clean)),
                (adversarial.clone(), caption(&inputs, o.adversarial_prediction, o.confidence_adversarial)),
                (
                    map(&explanation.adversarial, &adversarial),
                    [inside(row.share_adversarial), number("r", row.correlation)].join("  ").trim().to_string(),
                ),
            ])
        };
        let row = |k: &usize| {
            let e = &explanation.rows[*k];
            let numbers = [six(e.share_clean), six(e.share_adversarial), six(e.correlation)];
            [summary.id.clone(), e.example.to_string()].into_iter().chain(numbers).collect()
        };
        let (columns, rows): (Vec<_>, Vec<Vec<String>>) =
            order.iter().filter_map(|k| Some((column(k)?, row(k)))).take(Sheet { look }.columns()).unzip();
        let title = format!("{}, {}", title(&summary.cell, &inputs.classes, look), of_layer(explanation));
        Ok((!columns.is_empty()).then_some(Block { title, columns, rows }))
    }
}

/// What maps are of, for captions: `Grad-CAM of features.20, 4×4`.
pub fn of_layer(explanation: &Explanation) -> String {
    let Explanation { layer, size: [height, width], .. } = explanation;
    format!("Grad-CAM of {}, {height}×{width}", layer.as_deref().unwrap_or("the last map"))
}

/// The map over the image in grey: nothing of it where it is 0, so that the image stays readable, most where it is highest.
pub fn overlaid(image: &RgbImage, map: &[f32], size: [usize; 2]) -> RgbImage {
    let times = SMOOTH.div_ceil(image.width().max(image.height()) as usize).max(1) as u32;
    let enlarged = [times * image.height(), times * image.width()];
    let mut shown = imageops::resize(image, enlarged[1], enlarged[0], imageops::FilterType::Nearest);
    let most = map.iter().copied().fold(0.0, f32::max);
    for (x, y, pixel) in shown.enumerate_pixels_mut() {
        let at = |v: u32, axis: usize| {
            let (places, pixels) = (size[axis] as f64, f64::from(enlarged[axis]));
            ((f64::from(v) + 0.5) * places / pixels - 0.5).clamp(0.0, places - 1.0) as f32
        };
        let value = if most > 0.0 { bilinear(map, size, at(x, 1), at(y, 0)) / most } else { 0.0 };
        let (heat, share) = (heat::colour(value), OVERLAY * value.clamp(0.0, 1.0));
        // what has a colour is of the map
        let grey = 0.299 * f32::from(pixel.0[0]) + 0.587 * f32::from(pixel.0[1]) + 0.114 * f32::from(pixel.0[2]);
        *pixel = Rgb(heat.map(|c| ((1.0 - share) * grey + share * c).round() as u8));
    }
    shown
}

fn bilinear(map: &[f32], [height, width]: [usize; 2], x: f32, y: f32) -> f32 {
    let (left, upper) = (x as usize, y as usize);
    let (right, lower) = ((left + 1).min(width - 1), (upper + 1).min(height - 1));
    let (dx, dy) = (x - left as f32, y - upper as f32);
    let row = |r: usize| map[r * width + left] * (1.0 - dx) + map[r * width + right] * dx;
    row(upper) * (1.0 - dy) + row(lower) * dy
}

impl Figure<'_> {
    fn sheet(&self) -> Sheet<'_> {
        Sheet { look: self.look }
    }

    fn row_mm(&self) -> f64 {
        self.sheet().picture() + self.sheet().caption()
    }

    /// Upper edges of the blocks with the number of lines of their titles, and the lower edge of the last.
    fn tops(&self) -> Vec<(f64, usize)> {
        let mut tops = Vec::new();
        let mut top = 0.0;
        for block in &self.blocks {
            let lines = self.sheet().titles(&block.title).len();
            tops.push((top, lines));
            top += self.sheet().title(lines) + ROWS.len() as f64 * self.row_mm() + 3.0;
        }
        tops.push((top, 0));
        tops
    }
}

impl Drawing for Figure<'_> {
    fn size(&self) -> (f64, f64) {
        (self.look.page_mm(), self.tops().last().map_or(0.0, |t| t.0).ceil())
    }

    fn points(&self) -> Points {
        let rows = self.blocks.iter().flat_map(|b| b.rows.clone()).collect();
        (&["cell", "example", "share_clean", "share_adversarial", "correlation"], rows)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (look, sheet) = (self.look, self.sheet());
        let style = |anchor, size| TextStyle::from((FONT, scale.font(size))).pos(Pos::new(anchor, VPos::Center));
        let put = |words: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(words.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        for (block, (top, lines)) in self.blocks.iter().zip(self.tops()) {
            for (i, title) in sheet.titles(&block.title).iter().enumerate() {
                put(title, 1.0, top + (i as f64 + 0.8) * look.line_mm(), &style(HPos::Left, look.font()))?;
            }
            for (r, name) in ROWS.iter().enumerate() {
                let y = top + sheet.title(lines) + r as f64 * self.row_mm();
                put(name, sheet.left() - 2.0, y + sheet.picture() / 2.0, &style(HPos::Right, look.font()))?;
                for (k, column) in block.columns.iter().enumerate() {
                    let below = y + sheet.picture() + sheet.caption() / 2.0;
                    let text = shortened(&column[r].1, look.small(), sheet.cell() - 0.5);
                    put(&text, sheet.centre(k), below, &style(HPos::Center, look.small()))?;
                }
            }
        }
        Ok(())
    }

    fn rasters(&self) -> Vec<Raster> {
        let (mut rasters, sheet) = (Vec::new(), self.sheet());
        for (block, (top, lines)) in self.blocks.iter().zip(self.tops()) {
            for (k, column) in block.columns.iter().enumerate() {
                for (r, (image, _)) in column.iter().enumerate() {
                    let x = sheet.left() + k as f64 * sheet.cell();
                    let y = top + sheet.title(lines) + r as f64 * self.row_mm();
                    rasters.push(Raster { x, y, side: sheet.picture(), image: image.clone() });
                }
            }
        }
        rasters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_is_the_image_where_the_map_is_zero_and_mostly_colour_where_it_is_highest() {
        // 0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2
        let image = RgbImage::from_pixel(2, 2, Rgb([200, 100, 50]));
        let grey = Rgb([124; 3]);
        assert!(overlaid(&image, &[0.0; 4], [2; 2]).pixels().all(|p| *p == grey));
        let half = overlaid(&image, &[0.0, 4.0, 0.0, 4.0], [2; 2]);
        assert_eq!((half.width(), half[(0, 0)], half[(31, 127)]), (128, grey, grey));
        // a quarter of the grey, three quarters of viridis' end (253, 231, 37)
        assert_eq!(half[(127, 64)], Rgb([221, 204, 59]));
    }
}
