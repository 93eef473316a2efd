//! Curves with their bands: one panel below the other, one legend for all. What is drawn comes computed.

use super::canvas::{Drawing, FONT, Scale, figure_error};
use crate::error::Result;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Okabe and Ito (2008), told apart by colour-blind readers; yellow is left out, it vanishes on white.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Lines are told apart in grey too: by marker, and the second seven by dashes.
const MARKERS: [Marker; 4] = [Marker::Disc, Marker::Square, Marker::Triangle, Marker::Cross];

#[derive(Clone, Copy)]
enum Marker {
    Disc,
    Square,
    Triangle,
    Cross,
}

const WIDTH_MM: f64 = 85.0;
const PANEL_MM: f64 = 52.0;
const LEGEND_ROW_MM: f64 = 3.6;
const FONT_PT: f64 = 7.0;

/// The whole figure.
pub struct Curves {
    /// From top to bottom.
    pub panels: Vec<Panel>,
    /// Names of the lines, by style.
    pub legend: Vec<String>,
    /// Last line of the legend.
    pub note: &'static str,
}

/// One pair of axes.
pub struct Panel {
    /// Stands above.
    pub title: String,
    /// Name of the horizontal axis.
    pub unit: &'static str,
    /// Name of the vertical axis, in percent.
    pub share: &'static str,
    /// What guessing gives: a dotted line.
    pub chance: Option<f64>,
    /// Later ones above.
    pub lines: Vec<Line>,
}

/// One curve.
pub struct Line {
    /// Index into the legend.
    pub style: usize,
    /// (x, y, low, high), y in percent, by x.
    pub points: Vec<(f64, f64, f64, f64)>,
}

impl Drawing for Curves {
    fn size(&self) -> (f64, f64) {
        (WIDTH_MM, self.panels.len() as f64 * PANEL_MM + self.legend_mm())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (panels, legend) = area.split_vertically(scale.mm(self.panels.len() as f64 * PANEL_MM));
        for (panel, area) in self.panels.iter().zip(panels.split_evenly((self.panels.len(), 1))) {
            panel.draw(&area, scale)?;
        }
        self.draw_legend(&legend, scale)
    }
}

impl Curves {
    fn legend_mm(&self) -> f64 {
        (self.legend.len() + 1) as f64 * LEGEND_ROW_MM + 2.0
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let font = TextStyle::from((FONT, scale.pt(FONT_PT))).pos(Pos::new(HPos::Left, VPos::Center));
        for (style, name) in self.legend.iter().enumerate() {
            let y = scale.mm((style as f64 + 0.7) * LEGEND_ROW_MM);
            let ends = vec![(scale.mm(11.0), y), (scale.mm(19.0), y)];
            draw_line(area, &ends, style, scale)?;
            draw_marker(area, (scale.mm(15.0), y), style, scale)?;
            area.draw(&Text::new(name.clone(), (scale.mm(20.5), y), &font)).map_err(figure_error)?;
        }
        let y = scale.mm((self.legend.len() as f64 + 0.7) * LEGEND_ROW_MM);
        area.draw(&Text::new(self.note, (scale.mm(11.0), y), font.color(&GREY))).map_err(figure_error)
    }
}

const GREY: RGBColor = RGBColor(90, 90, 90);

impl Panel {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let mut ticks: Vec<f64> = self.lines.iter().flat_map(|l| l.points.iter().map(|p| p.0)).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let right = ticks.last().copied().unwrap_or(1.0).max(1e-9);
        let text = TextStyle::from((FONT, scale.pt(FONT_PT)));
        let mut chart = ChartBuilder::on(area)
            .margin_right(scale.mm(3.0))
            .margin_top(scale.mm(6.0))
            .margin_bottom(scale.mm(4.5))
            .margin_left(scale.mm(4.0))
            .x_label_area_size(scale.mm(4.0))
            .y_label_area_size(scale.mm(7.0))
            .build_cartesian_2d(
                Axis { end: right * 1.02, ticks: spaced(&ticks, right) },
                Axis { end: 100.0, ticks: vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0] },
            )
            .map_err(figure_error)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225).stroke_width(scale.pt(0.4) as u32))
            .axis_style(GREY.stroke_width(scale.pt(0.5) as u32))
            .set_all_tick_mark_size(scale.mm(0.8))
            .label_style(text.clone())
            .x_label_formatter(&|v| format!("{}", (v * 1e6).round() / 1e6))
            .y_label_formatter(&|v| format!("{v:.0}"))
            .draw()
            .map_err(figure_error)?;
        let plot = chart.plotting_area();
        let at = |x: f64, y: f64| plot.map_coordinate(&(x, y));
        let plane = area.clone();
        let origin = area.get_base_pixel();
        let local = |(x, y): (i32, i32)| (x - origin.0, y - origin.1);
        self.draw_names(area, &text, scale)?;
        if let Some(chance) = self.chance {
            let ends = [local(at(0.0, chance)), local(at(right, chance))];
            let dots =
                DashedPathElement::new(ends, scale.pt(0.6), scale.pt(1.8), GREY.stroke_width(scale.pt(0.6) as u32));
            plane.draw(&dots).map_err(figure_error)?;
        }
        for line in &self.lines {
            let upper = line.points.iter().map(|p| local(at(p.0, p.3)));
            let lower = line.points.iter().rev().map(|p| local(at(p.0, p.2)));
            let band: Vec<_> = upper.chain(lower).collect();
            let colour = PALETTE[line.style % PALETTE.len()].mix(0.14);
            plane.draw(&Polygon::new(band, colour.filled())).map_err(figure_error)?;
        }
        for line in &self.lines {
            let middle: Vec<_> = line.points.iter().map(|p| local(at(p.0, p.1))).collect();
            draw_line(&plane, &middle, line.style, scale)?;
            for point in middle {
                draw_marker(&plane, point, line.style, scale)?;
            }
        }
        Ok(())
    }
}

impl Panel {
    /// Title and names of the axes, by hand: plotters cuts the vertical one off.
    fn draw_names<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, text: &TextStyle, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let centred = text.pos(Pos::new(HPos::Center, VPos::Center));
        let upright = centred.transform(FontTransform::Rotate270);
        let middle = scale.mm((11.0 + WIDTH_MM - 3.0) / 2.0);
        let put = |words: &str, at: (i32, i32), style: &TextStyle| {
            area.draw(&Text::new(words.to_string(), at, style)).map_err(figure_error)
        };
        put(&self.title, (middle, scale.mm(3.2)), &centred)?;
        put(self.unit, (middle, scale.mm(PANEL_MM - 3.2)), &centred)?;
        put(self.share, (scale.mm(2.5), scale.mm(6.0 + (PANEL_MM - 14.5) / 2.0)), &upright)
    }
}

/// A linear axis from 0 with ticks where we want them.
struct Axis {
    end: f64,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        low + (value / self.end * f64::from(high - low)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..self.end
    }
}

/// Ticks at the budgets themselves, without those that would stand in each other's way (4 % of the axis).
fn spaced(ticks: &[f64], right: f64) -> Vec<f64> {
    let mut kept: Vec<f64> = Vec::new();
    for tick in ticks.iter().rev() {
        if kept.last().is_none_or(|last| last - tick >= 0.04 * right) {
            kept.push(*tick);
        }
    }
    kept.reverse();
    kept
}

fn draw_line<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    points: &[(i32, i32)],
    style: usize,
    scale: Scale,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    // later lines are thinner, so that a line below one that coincides with it still shows
    let width = (2.2 - 0.45 * style as f64).max(0.8);
    let stroke = PALETTE[style % PALETTE.len()].stroke_width(scale.pt(width) as u32);
    let drawn = match style < PALETTE.len() {
        true => area.draw(&PathElement::new(points.to_vec(), stroke)),
        false => area.draw(&DashedPathElement::new(points.to_vec(), scale.pt(4.0), scale.pt(2.5), stroke)),
    };
    drawn.map_err(figure_error)
}

fn draw_marker<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    at: (i32, i32),
    style: usize,
    scale: Scale,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let colour = PALETTE[style % PALETTE.len()].filled();
    let r = scale.mm(0.75);
    let (x, y) = at;
    let drawn = match MARKERS[style % MARKERS.len()] {
        Marker::Disc => area.draw(&Circle::new(at, r, colour)),
        Marker::Square => area.draw(&Rectangle::new([(x - r, y - r), (x + r, y + r)], colour)),
        Marker::Triangle => area.draw(&Polygon::new([(x - r, y + r), (x + r, y + r), (x, y - r)], colour)),
        Marker::Cross => area.draw(&Cross::new(at, r, colour.stroke_width(scale.pt(1.0) as u32))),
    };
    drawn.map_err(figure_error)
}
