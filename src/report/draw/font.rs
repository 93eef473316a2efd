//! The built-in font (DejaVu Sans), and how long a text is in it.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use ttf_parser::Face;

/// Millimetres in a point.
pub const POINT_MM: f64 = 25.4 / 72.0;

/// Family name of the built-in font (DejaVu Sans), and what SVG viewers fall back to.
pub const FONT: &str = "sans-serif";

/// The font itself.
pub fn font_data() -> &'static [u8] {
    dejavu::sans::regular()
}

/// The font, for measuring.
pub fn face() -> &'static Face<'static> {
    static FACE: LazyLock<Face> = LazyLock::new(|| Face::parse(font_data(), 0).expect("it is compiled in"));
    &FACE
}

/// Length of a line of text in millimetres.
pub fn text_mm(text: &str, points: f64) -> f64 {
    let face = face();
    // viewers of an SVG take letters that the font lacks from another one, where Chinese ones are as wide as they are high
    let advance = |letter| match face.glyph_index(letter) {
        Some(glyph) => face.glyph_hor_advance(glyph).unwrap_or(0),
        None => face.units_per_em(),
    };
    let units: f64 = text.chars().map(|letter| f64::from(advance(letter))).sum();
    units / f64::from(face.units_per_em()) * points * POINT_MM
}

/// Letters of a text that the font lacks: in their places PNG and PDF files have boxes.
pub fn lacking(text: &str) -> BTreeSet<char> {
    let is_shown = |letter: &char| !letter.is_control() && *letter != '\u{feff}';
    text.chars().filter(is_shown).filter(|letter| face().glyph_index(*letter).is_none()).collect()
}
