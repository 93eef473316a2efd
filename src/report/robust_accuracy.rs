//! Robust accuracy over eps: one panel a model (and dataset, norm, goal), one line an attack, Wilson bands.

use super::Run;
use super::canvas::{Drawing, FONT, Picture, Scale, figure_error, render};
use super::summary::Summary;
use super::tables::dataset;
use crate::error::Result;
use crate::ratio::Ratio;
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

struct Figure {
    panels: Vec<Panel>,
    /// Names of the lines, by style.
    legend: Vec<String>,
}

struct Panel {
    title: String,
    unit: &'static str,
    /// Accuracy of guessing.
    chance: Option<f64>,
    lines: Vec<Line>,
}

struct Line {
    style: usize,
    /// (eps, robust accuracy, low, high), percent, by eps.
    points: Vec<(f64, f64, f64, f64)>,
}

/// The figure, or nothing where no cell is complete.
pub fn draw(run: &Run) -> Result<Option<Picture>> {
    let figure = Figure::of(run)?;
    if figure.panels.is_empty() { Ok(None) } else { render(&figure).map(Some) }
}

impl Figure {
    fn of(run: &Run) -> Result<Figure> {
        let complete: Vec<&Summary> = run.cells.iter().filter(|s| s.rates.as_ref().is_some_and(|r| r.n > 0)).collect();
        let legend = legend(&complete);
        let mut panels = Vec::new();
        for group in grouped(&complete, panel_key) {
            let first = group[0];
            let linf = first.cell.threat.norm == "linf";
            let classes = run.store.read_inputs(&first.cell.data.digest)?.classes.len();
            let lines = grouped(&group, line_key).into_iter().map(|cells| Line {
                style: legend.iter().position(|(key, _)| *key == line_key(cells[0])).expect("every line has a style"),
                points: points(&cells, linf),
            });
            panels.push(Panel {
                title: title(first, &complete),
                unit: if linf { "eps / 255 (Linf)" } else { "eps (L2, pixels in [0,1])" },
                chance: (first.cell.goal == "untargeted").then(|| 100.0 / classes as f64),
                lines: lines.collect(),
            });
        }
        Ok(Figure { panels, legend: legend.into_iter().map(|(_, name)| name).collect() })
    }

    fn legend_mm(&self) -> f64 {
        (self.legend.len() + 1) as f64 * LEGEND_ROW_MM + 2.0
    }
}

type Key = Vec<String>;

fn panel_key(s: &Summary) -> Key {
    let c = &s.cell;
    vec![
        c.model.name.clone(),
        c.model.weights.clone(),
        dataset(c),
        c.threat.norm.clone(),
        c.goal.clone(),
        c.mode_name().to_string(),
        c.witness.clone(),
        c.precision.clone(),
        c.seed.to_string(),
    ]
}

fn line_key(s: &Summary) -> Key {
    vec![s.cell.attack.name.clone(), s.cell.params()]
}

/// Items with equal keys together, in the order of their first.
fn grouped<'a>(items: &[&'a Summary], key: fn(&Summary) -> Key) -> Vec<Vec<&'a Summary>> {
    let mut groups: Vec<(Key, Vec<&Summary>)> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|(k, _)| *k == key(item)) {
            Some((_, group)) => group.push(item),
            None => groups.push((key(item), vec![item])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Attack names with the parameters in which attacks of the same name differ.
fn legend(complete: &[&Summary]) -> Vec<(Key, String)> {
    let lines: Vec<&Summary> = grouped(complete, line_key).into_iter().map(|g| g[0]).collect();
    let name = |s: &&Summary| {
        let attack = &s.cell.attack;
        let same: Vec<_> = lines.iter().map(|o| &o.cell.attack).filter(|a| a.name == attack.name).collect();
        let differs = |key: &str| same.iter().any(|a| a.params.get(key) != attack.params.get(key));
        let words = attack.params.iter().filter(|(k, _)| differs(k)).map(|(k, v)| in_words(&k.replace('_', " "), v));
        (line_key(s), [attack.name.clone()].into_iter().chain(words).collect::<Vec<_>>().join(", "))
    };
    lines.iter().map(name).collect()
}

fn in_words(key: &str, value: &str) -> String {
    match value {
        "true" => key.to_string(),
        "false" => format!("no {key}"),
        _ => format!("{key} {value}"),
    }
}

/// The model, and whatever else differs between panels.
fn title(s: &Summary, complete: &[&Summary]) -> String {
    let c = &s.cell;
    let varies = |f: &dyn Fn(&Summary) -> String| complete.iter().any(|o| f(o) != f(s));
    let mut parts = vec![c.model.name.clone()];
    if varies(&|s| dataset(&s.cell)) {
        parts.push(dataset(c));
    }
    if varies(&|s| s.cell.threat.norm.clone()) {
        parts.push(c.threat.norm.clone());
    }
    if c.goal != "untargeted" {
        parts.push(c.goal.clone());
    }
    if c.mode_name() != "at" {
        parts.push(c.mode_name().to_string());
    }
    if c.precision != "f32" {
        parts.push(format!("{} gradients", c.precision));
    }
    if varies(&|s| s.cell.witness.clone()) {
        parts.push(format!("{} witness", c.witness));
    }
    if varies(&|s| s.cell.seed.to_string()) {
        parts.push(format!("seed {}", c.seed));
    }
    format!("{}, n = {}", parts.join(", "), s.n.unwrap_or(0))
}

/// The clean point at 0, then the cells by eps.
fn points(cells: &[&Summary], linf: bool) -> Vec<(f64, f64, f64, f64)> {
    let unit = if linf { 255.0 } else { 1.0 };
    let mut points = Vec::new();
    for s in cells {
        let Some((rates, eps)) = s.rates.as_ref().zip(Ratio::parse(&s.cell.threat.eps)) else {
            continue;
        };
        let percent = |k| {
            let (low, high) = super::summary::wilson(k, rates.n);
            (100.0 * k as f64 / rates.n as f64, 100.0 * low, 100.0 * high)
        };
        let (y, low, high) = percent(rates.robust_correct);
        points.push((eps.to_f64() * unit, y, low, high));
        let (y, low, high) = percent(rates.clean_correct);
        points.push((0.0, y, low, high));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|a, b| a.0 == b.0);
    points
}

impl Drawing for Figure {
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

impl Figure {
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
        let note = "bands: 95 % Wilson intervals; dotted: guessing";
        area.draw(&Text::new(note, (scale.mm(11.0), y), font.color(&GREY))).map_err(figure_error)
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
        put("robust accuracy / %", (scale.mm(2.5), scale.mm(6.0 + (PANEL_MM - 14.5) / 2.0)), &upright)
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
