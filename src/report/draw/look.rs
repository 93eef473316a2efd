//! How one figure is drawn: what the sweep file asks for, with what is left to the chart filled in.

use super::font::{POINT_MM, text_mm};
use crate::analysis::{Run, Summary};
use crate::figure::{FONT_PT, FigureRecord, PALETTES, WIDTHS};
use crate::record::Cell;
use plotters::style::RGBColor;

/// One figure: its name, and how it is drawn.
pub struct Look<'a> {
    /// Name of the files.
    pub name: &'a str,
    /// The chart.
    pub kind: &'static str,
    /// Id of the run.
    pub run: &'a str,
    /// Name of the run.
    pub run_name: &'a str,
    asked: &'a FigureRecord,
}

/// Widths of the page and of a column, in millimetres.
const PAGE_MM: f64 = WIDTHS[1].1;
const COLUMN_MM: f64 = WIDTHS[0].1;

impl<'a> Look<'a> {
    /// A figure of `kind` as `asked`.
    pub fn new(kind: &'static str, asked: &'a FigureRecord, run: &'a str, run_name: &'a str) -> Look<'a> {
        Look { name: asked.name.as_deref().unwrap_or(kind), kind, run, run_name, asked }
    }

    /// Whether the cell is shown.
    pub fn shows(&self, cell: &Cell) -> bool {
        let among = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        among(&self.asked.models, &cell.model.name)
            && among(&self.asked.attacks, &cell.attack.name)
            && among(&self.asked.norms, cell.threat.norm.name())
            && among(&self.asked.eps, &cell.threat.eps_text())
    }

    /// The cells that are shown.
    pub fn shown<'r>(&'r self, run: &'r Run) -> impl Iterator<Item = &'r Summary> {
        run.cells.iter().filter(|s| self.shows(&s.cell))
    }

    /// Whether the budgets to show are named.
    pub fn names_budgets(&self) -> bool {
        !self.asked.eps.is_empty()
    }

    /// The text, or what it is called instead.
    pub fn label(&self, text: &str) -> String {
        self.asked.labels.get(text).map_or(text, String::as_str).to_string()
    }

    /// Width in millimetres: as asked, else the page.
    pub fn page_mm(&self) -> f64 {
        self.width_or(PAGE_MM)
    }

    /// Width in millimetres: as asked, else a column for one panel or two, the page for more.
    pub fn panels_mm(&self, panels: usize) -> f64 {
        self.width_or(if panels <= 2 { COLUMN_MM } else { PAGE_MM })
    }

    fn width_or(&self, otherwise: f64) -> f64 {
        let asked = WIDTHS.iter().find(|(name, _)| Some(*name) == self.asked.width.as_deref());
        asked.map_or(otherwise, |(_, mm)| *mm)
    }

    /// Panels side by side: as asked, else one in a column, two or three on the page.
    pub fn columns(&self, panels: usize) -> usize {
        let usual = match (self.panels_mm(panels) > COLUMN_MM, panels) {
            (false, _) => 1,
            (true, 2 | 4) => 2,
            (true, _) => 3,
        };
        self.asked.columns.unwrap_or(usual).min(panels).max(1)
    }

    /// Size of type in points.
    pub fn font(&self) -> f64 {
        self.asked.font.unwrap_or(FONT_PT)
    }

    /// A smaller size for what stands in or below pictures.
    pub fn small(&self) -> f64 {
        0.8 * self.font()
    }

    /// From one line of text to the next, in millimetres.
    pub fn line_mm(&self) -> f64 {
        1.45 * POINT_MM * self.font()
    }

    /// Colour number `style`; they repeat.
    pub fn colour(&self, style: usize) -> RGBColor {
        let palette = self.palette();
        palette[style % palette.len()]
    }

    /// All colours.
    pub fn palette(&self) -> Vec<RGBColor> {
        let asked = PALETTES.iter().find(|(name, _)| Some(*name) == self.asked.palette.as_deref());
        asked.unwrap_or(&PALETTES[0]).1.iter().map(|(r, g, b)| RGBColor(*r, *g, *b)).collect()
    }

    /// The text in lines of at most `width_mm`, broken after commas, else between words; a longer word is [`fitted`].
    pub fn wrapped(&self, text: &str, width_mm: f64) -> Vec<String> {
        let fits = |line: &str| text_mm(line, self.font()) <= width_mm;
        let mut lines: Vec<String> = Vec::new();
        for part in text.split_inclusive(", ") {
            let pieces = if fits(part) { vec![part] } else { part.split_inclusive(' ').collect() };
            for piece in pieces {
                let piece = match fits(piece.trim_end()) {
                    true => piece.to_string(),
                    false => fitted(piece.trim_end(), self.font(), width_mm) + &piece[piece.trim_end().len()..],
                };
                match lines.last_mut() {
                    Some(line) if fits(&format!("{line}{}", piece.trim_end())) => line.push_str(&piece),
                    _ => lines.push(piece),
                }
            }
        }
        lines.iter().map(|line| line.trim_end().to_string()).collect()
    }
}

/// A name without its middle where it is longer than `width_mm`: names that begin alike differ at their ends. Of the networks of an
/// ensemble each loses its own, or it would be taken for the last of them.
pub fn fitted(name: &str, points: f64, width_mm: f64) -> String {
    const AND: &str = " + ";
    let parts: Vec<&str> = name.split(AND).collect();
    let between = text_mm(AND, points) * (parts.len() - 1) as f64;
    if parts.len() == 1 || text_mm(name, points) <= width_mm || between >= width_mm {
        return without_middle(name, points, width_mm);
    }
    let share = (width_mm - between) / parts.len() as f64;
    let cut: Vec<String> = parts.iter().map(|part| without_middle(part, points, share)).collect();
    cut.join(AND)
}

fn without_middle(name: &str, points: f64, width_mm: f64) -> String {
    let letters: Vec<char> = name.chars().collect();
    let without = |n: usize| -> String {
        let kept = letters.len() - n;
        let (begin, end) = (&letters[..kept.div_ceil(2)], &letters[letters.len() - kept / 2..]);
        begin.iter().chain(['…'].iter().filter(|_| n > 0)).chain(end).collect()
    };
    let fits = |text: &String| text_mm(text, points) <= width_mm;
    (0..=letters.len()).map(without).find(fits).unwrap_or_else(|| "…".into())
}

/// The text, cut to `width_mm` where it is longer.
pub fn shortened(text: &str, points: f64, width_mm: f64) -> String {
    if text_mm(text, points) <= width_mm {
        return text.to_string();
    }
    let mut kept: String = text.to_string();
    while !kept.is_empty() && text_mm(&format!("{kept}…"), points) > width_mm {
        kept.pop();
    }
    kept.trim_end().to_string() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_keeps_its_ends() {
        let name = "resnet".repeat(13) + "-robust";
        let short = fitted(&name, 8.0, 40.0);
        assert!(text_mm(&short, 8.0) <= 40.0 && text_mm(&short, 8.0) > 36.0, "{short}");
        assert!(short.starts_with("resnet") && short.contains('…') && short.ends_with("-robust"), "{short}");
        assert_eq!(fitted("vgg11", 8.0, 40.0), "vgg11");
        assert_eq!((fitted("vgg11", 8.0, 0.0), fitted("", 8.0, 0.0)), ("…".into(), String::new()));
        let two = fitted("vgg11-half-cifar10 + vgg11-half-cifar10-robust", 8.0, 30.0);
        assert!(two.contains("… + ") || two.contains(" + vgg"), "{two}");
        assert!(two != fitted("vgg11-half-cifar10-robust", 8.0, 30.0) && text_mm(&two, 8.0) <= 30.5, "{two}");
        let asked = FigureRecord::default();
        let look = Look::new("robust-accuracy", &asked, "0", "r");
        let lines = look.wrapped(&format!("{name}, cifar10:test[0..8], n = 8"), 40.0);
        assert!(lines.iter().all(|line| text_mm(line, look.font()) <= 40.0), "{lines:?}");
        assert!(lines[0].ends_with("-robust,"), "{lines:?}");
    }
}
