//! Sheets of pictures with text below each and at the left.

use super::font::text_mm;
use super::look::Look;
use super::titles::with_class_name;
use crate::record::{Cell, Inputs};
use crate::terms::{Mode, Norm, Precision};
use image::{Rgb, RgbImage};

/// A picture with the gap beside it is as wide as fits in between these.
const CELL_MM: f64 = 26.0;
/// Between pictures.
const GAP_MM: f64 = 2.0;

/// Longest list of parameters in a title; a longer one stands in the tables.
const MOST_LETTERS: usize = 80;

/// What is shown: model, attack, budget, goal.
pub fn title(c: &Cell, classes: &[String], look: &Look) -> String {
    let params = c.params().replace(';', ", ");
    let params = if params.is_empty() || params.len() > MOST_LETTERS { String::new() } else { format!(" ({params})") };
    let budget = match c.threat.norm {
        Norm::Any => String::new(),
        Norm::Pixels | Norm::Patch => format!(", {}", c.threat.caption()),
        norm => format!(", {} eps {}", look.label(norm.name()), c.threat.eps_text()),
    };
    let goal = with_class_name(c.goal.name(), &c.goal, classes);
    let suffered = c.data.corruption.as_ref().map_or(String::new(), |suffered| format!(" on {}", suffered.text()));
    format!("{}{suffered}: {}{params}{budget}, {goal}", look.label(&c.model.name), look.label(&c.attack.name))
        + if c.mode != Mode::At { ", within" } else { "" }
        + &if c.precision == Precision::F32 { String::new() } else { format!(", {} gradients", c.precision) }
}

/// Name of a class, and how sure the net is.
pub fn caption(inputs: &Inputs, class: Option<usize>, confidence: Option<f32>) -> String {
    let name = class.and_then(|c| inputs.classes.get(c)).map_or("?", String::as_str);
    let percent = confidence.map_or(String::new(), |c| format!(" {:.0} %", 100.0 * c));
    format!("{name}{percent}")
}

/// 3×height×width as an image.
pub fn picture(pixels: &[u8], [height, width]: [usize; 2]) -> RgbImage {
    let plane = height * width;
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let p = y as usize * width + x as usize;
        Rgb([pixels[p], pixels[plane + p], pixels[2 * plane + p]])
    })
}

/// Sizes of a sheet of pictures with text below each and at the left, in millimetres.
#[derive(Clone, Copy)]
pub struct Sheet<'a> {
    /// Decides them.
    pub look: &'a Look<'a>,
}

impl Sheet<'_> {
    /// Left of the pictures.
    pub fn left(self) -> f64 {
        text_mm("difference ×99", self.look.font()) + 3.0
    }

    /// Pictures side by side.
    pub fn columns(self) -> usize {
        ((self.look.page_mm() - self.left()) / CELL_MM + 0.1).floor().max(1.0) as usize
    }

    /// From one picture to the next.
    pub fn cell(self) -> f64 {
        (self.look.page_mm() - self.left()) / self.columns() as f64
    }

    /// Side of the square that a picture lies in.
    pub fn picture(self) -> f64 {
        self.cell() - GAP_MM
    }

    /// Below a picture.
    pub fn caption(self) -> f64 {
        self.look.line_mm() + 0.6
    }

    /// Above the pictures.
    pub fn title(self, lines: usize) -> f64 {
        lines as f64 * self.look.line_mm() + 2.5
    }

    /// The title in lines.
    pub fn titles(self, title: &str) -> Vec<String> {
        self.look.wrapped(title, self.look.page_mm() - 2.0)
    }

    /// Middle of a column.
    pub fn centre(self, column: usize) -> f64 {
        self.left() + column as f64 * self.cell() + self.picture() / 2.0
    }
}
