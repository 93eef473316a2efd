//! Lines, whiskers and markers in the style of an attack.

use super::canvas::Scale;
use super::font::POINT_MM;
use super::look::Look;
use super::stamp::figure_error;
use crate::error::Result;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// Lines are told apart in grey too: by marker, and those after the last colour by dashes.
const MARKERS: [Marker; 4] = [Marker::Disc, Marker::Square, Marker::Triangle, Marker::Cross];

#[derive(Clone, Copy)]
enum Marker {
    Disc,
    Square,
    Triangle,
    Cross,
}

/// Draws in the colour, dashes and marker of a style.
pub struct Pen<'a, B: DrawingBackend> {
    /// Colours.
    pub look: &'a Look<'a>,
    /// What is drawn on.
    pub area: &'a DrawingArea<B, Shift>,
    /// Its dots.
    pub scale: Scale,
    /// Which colour, dashes and marker.
    pub style: usize,
}

impl<B: DrawingBackend> Pen<'_, B>
where
    B::ErrorType: 'static,
{
    /// A path.
    pub fn line(&self, points: &[(i32, i32)]) -> Result<()> {
        let Pen { look, area, scale, style } = *self;
        // later lines are thinner, so that a line below one that coincides with it still shows
        let width = (2.2 - 0.45 * style as f64).max(0.8);
        let stroke = look.colour(style).stroke_width(scale.pt(width));
        let drawn = match style < look.palette().len() {
            true => area.draw(&PathElement::new(points.to_vec(), stroke)),
            false => area.draw(&DashedPathElement::new(points.to_vec(), scale.pt(4.0), scale.pt(2.5), stroke)),
        };
        drawn.map_err(figure_error)
    }

    /// An upright line.
    pub fn whisker(&self, low: (i32, i32), high: (i32, i32)) -> Result<()> {
        let stroke = self.look.colour(self.style).stroke_width(self.scale.pt(0.8));
        self.area.draw(&PathElement::new(vec![low, high], stroke)).map_err(figure_error)
    }

    /// A marker.
    pub fn marker(&self, at: (i32, i32)) -> Result<()> {
        let Pen { look, area, scale, style } = *self;
        let colour = look.colour(style).filled();
        let r = scale.mm(2.1 * POINT_MM);
        let (x, y) = at;
        let drawn = match MARKERS[style % MARKERS.len()] {
            Marker::Disc => area.draw(&Circle::new(at, r, colour)),
            Marker::Square => area.draw(&Rectangle::new([(x - r, y - r), (x + r, y + r)], colour)),
            Marker::Triangle => area.draw(&Polygon::new([(x - r, y + r), (x + r, y + r), (x, y - r)], colour)),
            Marker::Cross => area.draw(&Cross::new(at, r, colour.stroke_width(scale.pt(1.0)))),
        };
        drawn.map_err(figure_error)
    }
}
