//! Curves, stairs and marks over one axis, with their bands: a grid of panels, one legend for all. What is drawn comes
//! computed.

use super::axis::Axis;
use super::canvas::{Drawing, Points, Scale};
use super::font::{FONT, text_mm};
use super::look::{Look, shortened};
use super::pen::Pen;
use super::stamp::figure_error;
use crate::error::Result;
use crate::table::csv::six;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// More panels are no figure.
pub const MOST_PANELS: usize = 30;
/// More lines are told apart by nothing: seven colours, four markers.
pub const MOST_LINES: usize = 28;
/// Bands of more lines add up to one dark colour: looked at with 6, 8, 10, 14 and 28.
const MOST_BANDS: usize = 6;
/// A line with more points has one marker, at its end.
const MOST_MARKERS: usize = 12;

/// The whole figure.
pub struct Curves<'a> {
    look: &'a Look<'a>,
    panels: Vec<Panel>,
    legend: Vec<String>,
    notes: Vec<String>,
}

/// One pair of axes.
pub struct Panel {
    /// Stands above.
    pub title: String,
    /// Name of the horizontal axis.
    pub unit: String,
    /// Name of the vertical axis, in percent.
    pub share: String,
    /// The horizontal axis.
    pub axis: Axis,
    /// What guessing gives: a dotted line.
    pub chance: Option<f64>,
    /// Later ones above.
    pub lines: Vec<Line>,
}

/// How the points of a line are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Joined by straight lines.
    Joined,
    /// Level from each point to the next.
    Stairs,
    /// Each by itself.
    Marks,
}

/// One curve.
pub struct Line {
    /// Index into the legend.
    pub style: usize,
    /// How it is drawn.
    pub form: Form,
    /// By x.
    pub points: Vec<Point>,
    /// Where it must end: an upright line of dots.
    pub budget: Option<f64>,
}

/// One point, vertically in percent.
pub struct Point {
    /// Horizontal place.
    pub x: f64,
    /// Vertical place.
    pub y: f64,
    /// Interval around y.
    pub band: Option<(f64, f64)>,
    /// Of how many images.
    pub n: usize,
    /// Id of the cell that it is from.
    pub cell: String,
}

impl Point {
    /// `k` of `n` with their 95 % Wilson interval.
    pub fn share(x: f64, k: usize, n: usize, cell: &str) -> Point {
        let (low, high) = crate::statistics::wilson(k, n.max(1));
        let y = 100.0 * k as f64 / n.max(1) as f64;
        Point { x, y, band: Some((100.0 * low, 100.0 * high)), n, cell: cell.to_string() }
    }
}

/// Where the parts of a panel lie, in millimetres.
struct Layout {
    columns: usize,
    width: f64,
    height: f64,
    /// Above, below, left and right of the plot.
    margins: [f64; 4],
}

/// An entry of the legend: which line of the chart, in which column and from which line of text on, and its text.
struct Entry {
    style: usize,
    column: usize,
    at: usize,
    lines: Vec<String>,
}

const GREY: RGBColor = RGBColor(90, 90, 90);
const FAINT: RGBColor = RGBColor(225, 225, 225);
/// Left of the text of a legend.
const KEY_MM: f64 = 10.0;
/// Between the edge of the page and what is on it.
const EDGE_MM: f64 = 2.0;

/// Whether a line of this style is drawn in the panel of this place: of a large run, the others need not be computed.
pub fn is_drawn(panel: usize, style: usize) -> bool {
    panel < MOST_PANELS && style < MOST_LINES
}

impl<'a> Curves<'a> {
    /// A figure; what is too much is left out, and the last note says so.
    pub fn new(look: &'a Look, mut panels: Vec<Panel>, mut legend: Vec<String>, note: &str) -> Curves<'a> {
        let mut notes = vec![note.to_string()];
        let mut cut = |found: usize, most: usize, what: &str| {
            if found > most {
                notes.push(format!("the first {most} of {found} {what}; `panels` in `[figure]` chooses others"));
            }
        };
        cut(panels.len(), MOST_PANELS, "panels");
        cut(legend.len(), MOST_LINES, "lines");
        panels.truncate(MOST_PANELS);
        legend.truncate(MOST_LINES);
        panels.iter_mut().for_each(|p| p.lines.retain(|l| l.style < MOST_LINES));
        if panels.iter().any(|p| !p.shows_bands()) {
            notes.push(format!(
                "no bands in a panel of more than {MOST_BANDS} lines; the intervals stand in the CSV file"
            ));
        }
        // what no panel shows needs no line in the legend, but keeps its colour
        Curves { look, panels, legend, notes }
    }

    fn layout(&self) -> Layout {
        let look = self.look;
        let columns = look.columns(self.panels.len());
        let width = look.panels_mm(self.panels.len()) / columns as f64;
        let titles = self.panels.iter().map(|p| look.wrapped(&p.title, width - 2.0 * EDGE_MM).len()).max().unwrap_or(1);
        let line = look.line_mm();
        let numbers = text_mm("100", look.font());
        let margins = [titles as f64 * line + 1.6, 2.0 * line + 2.2, line + numbers + 2.2, 3.0];
        let plot = (0.5 * width).clamp(26.0, 46.0);
        Layout { columns, width, height: margins[0] + plot + margins[1], margins }
    }

    fn panels_mm(&self) -> f64 {
        let layout = self.layout();
        self.panels.len().div_ceil(layout.columns) as f64 * layout.height
    }

    /// Lines of the legend's longest column, and its entries.
    fn legend_lines(&self) -> (usize, Vec<Entry>) {
        let width = self.look.panels_mm(self.panels.len());
        let longest = self.legend.iter().map(|name| text_mm(name, self.look.font())).fold(0.0, f64::max);
        let columns = ((width - 2.0 * EDGE_MM) / (longest + KEY_MM + 3.0)).floor().clamp(1.0, 4.0) as usize;
        let room = (width - 2.0 * EDGE_MM) / columns as f64 - KEY_MM - 1.0;
        let each = self.legend.len().div_ceil(columns).max(1);
        let (mut entries, mut most) = (Vec::new(), 0);
        for (column, styles) in self.legend.chunks(each).enumerate() {
            let mut at = 0;
            for (k, name) in styles.iter().enumerate() {
                let lines = self.look.wrapped(name, room);
                let height = lines.len();
                entries.push(Entry { style: column * each + k, column, at, lines });
                at += height;
            }
            most = most.max(at);
        }
        (most, entries)
    }

    fn note_lines(&self) -> Vec<String> {
        let room = self.look.panels_mm(self.panels.len()) - 2.0 * EDGE_MM;
        self.notes.iter().flat_map(|note| self.look.wrapped(note, room)).collect()
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let font = TextStyle::from((FONT, scale.font(self.look.font()))).pos(Pos::new(HPos::Left, VPos::Center));
        let (most, entries) = self.legend_lines();
        let width = self.look.panels_mm(self.panels.len()) - 2.0 * EDGE_MM;
        let columns = entries.iter().map(|e| e.column + 1).max().unwrap_or(1);
        let line = self.look.line_mm();
        let middle = |at: usize| scale.mm(self.panels_mm() + (at as f64 + 0.6) * line);
        for Entry { style, column, at, lines } in &entries {
            let left = EDGE_MM + *column as f64 * width / columns as f64;
            let y = middle(*at);
            let pen = Pen { look: self.look, area, scale, style: *style };
            pen.line(&[(scale.mm(left), y), (scale.mm(left + 8.0), y)])?;
            pen.marker((scale.mm(left + 4.0), y))?;
            for (k, text) in lines.iter().enumerate() {
                let at = (scale.mm(left + KEY_MM), middle(at + k));
                area.draw(&Text::new(text.clone(), at, &font)).map_err(figure_error)?;
            }
        }
        for (k, text) in self.note_lines().into_iter().enumerate() {
            let at = (scale.mm(EDGE_MM), middle(most + k));
            area.draw(&Text::new(text, at, font.color(&GREY))).map_err(figure_error)?;
        }
        Ok(())
    }
}

impl Drawing for Curves<'_> {
    fn size(&self) -> (f64, f64) {
        let lines = self.legend_lines().0 + self.note_lines().len();
        let height = self.panels_mm() + lines as f64 * self.look.line_mm() + 1.5;
        (self.look.panels_mm(self.panels.len()), height.ceil())
    }

    fn points(&self) -> Points {
        let mut rows = Vec::new();
        for panel in &self.panels {
            for line in &panel.lines {
                rows.extend(line.points.iter().map(|p| {
                    let band = |v: fn((f64, f64)) -> f64| six(p.band.map(v));
                    let (low, high) = (band(|b| b.0), band(|b| b.1));
                    let names = [&panel.title, &self.legend[line.style], &panel.unit].map(String::clone);
                    let numbers = [six(Some(p.x)), six(Some(p.y)), low, high, p.n.to_string(), p.cell.clone()];
                    names.into_iter().chain(numbers).collect()
                }));
            }
        }
        (&["panel", "line", "x_name", "x", "y", "y_low", "y_high", "n", "cell"], rows)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let layout = self.layout();
        for (k, panel) in self.panels.iter().enumerate() {
            let (column, row) = (k % layout.columns, k / layout.columns);
            let left = scale.mm(column as f64 * layout.width);
            let right = scale.mm((column + 1) as f64 * layout.width);
            let (top, bottom) = (scale.mm(row as f64 * layout.height), scale.mm((row + 1) as f64 * layout.height));
            let part = area.clone().shrink((left, top), (right - left, bottom - top));
            panel.draw(&part, scale, self.look, &layout)?;
        }
        self.draw_legend(area, scale)
    }
}

impl Panel {
    /// Whether the bands of its lines can be told apart.
    fn shows_bands(&self) -> bool {
        self.lines.iter().filter(|line| line.has_band()).count() <= MOST_BANDS
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: Scale,
        look: &Look,
        layout: &Layout,
    ) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let text = TextStyle::from((FONT, scale.font(look.font())));
        let [above, below, left, right] = layout.margins;
        let line = look.line_mm();
        let mut chart = ChartBuilder::on(area)
            .margin_right(scale.mm(right))
            .margin_top(scale.mm(above))
            .margin_bottom(scale.mm(below - line))
            .margin_left(scale.mm(line + 0.6))
            .x_label_area_size(scale.mm(line))
            .y_label_area_size(scale.mm(left - line - 0.6))
            .build_cartesian_2d(self.axis.clone(), Axis::percent())
            .map_err(figure_error)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT.stroke_width(scale.pt(0.4)))
            .axis_style(GREY.stroke_width(scale.pt(0.5)))
            .set_all_tick_mark_size(scale.mm(0.8))
            .label_style(text.clone())
            .x_label_formatter(&|v| format!("{}", (v * 1e6).round() / 1e6))
            .y_label_formatter(&|v| format!("{v:.0}"))
            .draw()
            .map_err(figure_error)?;
        let plot = chart.plotting_area();
        let origin = area.get_base_pixel();
        let local = |x: f64, y: f64| {
            let (x, y) = plot.map_coordinate(&(x, y));
            (x - origin.0, y - origin.1)
        };
        self.draw_names(area, &text, scale, look, layout)?;
        if let Some(chance) = self.chance {
            let ends = [local(self.axis.low, chance), local(self.axis.high, chance)];
            let stroke = GREY.stroke_width(scale.pt(0.6));
            let dots = DashedPathElement::new(ends, scale.pt(0.6), scale.pt(1.8), stroke);
            area.draw(&dots).map_err(figure_error)?;
        }
        for (line, budget) in self.lines.iter().filter_map(|l| l.budget.map(|budget| (l, budget))) {
            let stroke = look.colour(line.style).stroke_width(scale.pt(1.0));
            let ends = [local(budget, 0.0), local(budget, 100.0)];
            area.draw(&DashedPathElement::new(ends, scale.pt(1.0), scale.pt(2.4), stroke)).map_err(figure_error)?;
        }
        for line in self.lines.iter().filter(|l| l.has_band() && self.shows_bands()) {
            let colour = look.colour(line.style).mix(0.14);
            let upper = line.corners(|p| p.band.map(|b| b.1));
            let lower = line.corners(|p| p.band.map(|b| b.0));
            let band: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).map(|(x, y)| local(x, y)).collect();
            if !band.is_empty() {
                area.draw(&Polygon::new(band, colour.filled())).map_err(figure_error)?;
            }
        }
        for line in &self.lines {
            let pen = Pen { look, area, scale, style: line.style };
            match line.form {
                Form::Marks => {
                    for point in &line.points {
                        if let Some((low, high)) = point.band {
                            pen.whisker(local(point.x, low), local(point.x, high))?;
                        }
                    }
                }
                _ => {
                    let path: Vec<_> = line.corners(|p| Some(p.y)).into_iter().map(|(x, y)| local(x, y)).collect();
                    pen.line(&path)?;
                }
            }
            let marked = if line.points.len() > MOST_MARKERS { line.points.len() - 1 } else { 0 };
            for point in &line.points[marked..] {
                pen.marker(local(point.x, point.y))?;
            }
        }
        Ok(())
    }

    /// Title and names of the axes, by hand: the drawing library cuts the vertical one off.
    fn draw_names<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        text: &TextStyle,
        scale: Scale,
        look: &Look,
        layout: &Layout,
    ) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let [above, below, left, right] = layout.margins;
        let centred = text.pos(Pos::new(HPos::Center, VPos::Center));
        let upright = centred.transform(FontTransform::Rotate270);
        let put = |words: &str, x: f64, y: f64, style: &TextStyle| {
            area.draw(&Text::new(words.to_string(), (scale.mm(x), scale.mm(y)), style)).map_err(figure_error)
        };
        let line = look.line_mm();
        let titles = look.wrapped(&self.title, layout.width - 2.0 * EDGE_MM);
        for (k, title) in titles.iter().enumerate() {
            let y = above - 1.6 - (titles.len() as f64 - k as f64 - 0.5) * line + 0.4;
            put(title, layout.width / 2.0, y, &centred)?;
        }
        // below the middle of the axis, unless that is too far to the right
        let unit = shortened(&self.unit, look.font(), layout.width - 2.0);
        let half = text_mm(&unit, look.font()) / 2.0;
        let middle = ((left + layout.width - right) / 2.0).min(layout.width - 1.0 - half);
        put(&unit, middle, layout.height - 1.2 - line / 2.0, &centred)?;
        put(&self.share, line / 2.0 + 0.8, above + (layout.height - above - below) / 2.0, &upright)
    }
}

impl Line {
    /// Whether an interval is drawn as a band along it.
    fn has_band(&self) -> bool {
        self.form != Form::Marks && self.points.iter().any(|p| p.band.is_some())
    }

    /// Corners of the path through a value of the points; none where a point has none.
    fn corners(&self, value: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
        let mut corners: Vec<(f64, f64)> = Vec::new();
        for point in &self.points {
            let Some(y) = value(point) else { return Vec::new() };
            if let Some((_, before)) = corners.last().copied().filter(|_| self.form == Form::Stairs) {
                corners.push((point.x, before));
            }
            corners.push((point.x, y));
        }
        corners
    }
}
