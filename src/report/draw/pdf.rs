//! PDF as one more backend of the drawing library: one page, text as text in an embedded subset of the font, the same
//! bytes every time.
//!
//! `svg2pdf` would do it from the SVG, but writes its resources in the order of a hash map with a random key, so its bytes
//! differ from run to run, and it has no place for our metadata.

use super::font::{face, font_data};
use super::stamp::{Stamp, figure_error};
use crate::error::Result;
use image::RgbImage;
use miniz_oxide::deflate::compress_to_vec_zlib;
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use plotters::prelude::{DrawingBackend, FontTransform};
use plotters::style::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use subsetter::GlyphRemapper;

/// Name of the font in the file.
const FONT: Name = Name(b"F0");
/// The usual level of zlib.
const LEVEL: u8 = 6;

/// A page under way, drawn in dots from the upper left corner.
pub struct Page {
    size: (u32, u32),
    points_per_dot: f32,
    content: Content,
    glyphs: GlyphRemapper,
    letters: BTreeMap<u16, char>,
    /// Opacities in use, in thousandths.
    opacities: BTreeSet<u32>,
    images: Vec<RgbImage>,
}

impl Page {
    /// An empty page of so many dots.
    pub fn new(size: (u32, u32), dots_per_mm: f64) -> Page {
        let points_per_dot = (72.0 / 25.4 / dots_per_mm) as f32;
        let mut content = Content::new();
        // from now on in dots, downwards
        content.transform([points_per_dot, 0.0, 0.0, -points_per_dot, 0.0, size.1 as f32 * points_per_dot]);
        let (letters, opacities, images) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Page { size, points_per_dot, content, glyphs: GlyphRemapper::new(), letters, opacities, images }
    }

    /// Places an image: left and upper edge, width and height.
    pub fn image(&mut self, image: RgbImage, place: [i32; 4]) {
        let name = format!("I{}", self.images.len());
        let [x, y, width, height] = place.map(|dots| dots as f32);
        self.content.save_state().transform([width, 0.0, 0.0, -height, x, y + height]);
        self.content.x_object(Name(name.as_bytes())).restore_state();
        self.images.push(image);
    }

    /// Draws in a colour, with its opacity.
    fn paint(&mut self, colour: BackendColor, draw: impl FnOnce(&mut Content)) {
        if colour.alpha == 0.0 {
            return;
        }
        let (r, g, b) = colour.rgb;
        let [r, g, b] = [r, g, b].map(|v| f32::from(v) / 255.0);
        let opacity = (colour.alpha * 1000.0).round() as u32;
        self.content.save_state();
        if opacity < 1000 {
            self.opacities.insert(opacity);
            self.content.set_parameters(Name(format!("O{opacity}").as_bytes()));
        }
        self.content.set_fill_rgb(r, g, b).set_stroke_rgb(r, g, b);
        draw(&mut self.content);
        self.content.restore_state();
    }

    /// The file.
    pub fn finish(self, stamp: &Stamp) -> Result<Vec<u8>> {
        let mut next = Ref::new(1);
        let [catalog, pages, page, content, info, font] = std::array::from_fn(|_| next.bump());
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(pages);
        pdf.pages(pages).kids([page]).count(1);
        let (width, height) = (self.size.0 as f32 * self.points_per_dot, self.size.1 as f32 * self.points_per_dot);
        let images: Vec<Ref> = self.images.iter().map(|_| next.bump()).collect();
        let mut described = pdf.page(page);
        described.parent(pages).media_box(Rect::new(0.0, 0.0, width, height)).contents(content);
        let mut resources = described.resources();
        resources.fonts().pair(FONT, font);
        let mut names = resources.x_objects();
        for (i, image) in images.iter().enumerate() {
            names.pair(Name(format!("I{i}").as_bytes()), *image);
        }
        names.finish();
        let mut states = resources.ext_g_states();
        for opacity in &self.opacities {
            let alpha = *opacity as f32 / 1000.0;
            let mut state = states.insert(Name(format!("O{opacity}").as_bytes())).dict();
            state.pair(Name(b"ca"), alpha).pair(Name(b"CA"), alpha);
        }
        states.finish();
        resources.finish();
        described.finish();
        let bytes = compress_to_vec_zlib(&self.content.finish(), LEVEL);
        pdf.stream(content, &bytes).filter(Filter::FlateDecode);
        for (image, id) in self.images.iter().zip(&images) {
            let bytes = compress_to_vec_zlib(image.as_raw(), LEVEL);
            let mut object = pdf.image_xobject(*id, &bytes);
            object.width(image.width() as i32).height(image.height() as i32);
            object.color_space().device_rgb();
            object.bits_per_component(8).interpolate(false);
            object.filter(Filter::FlateDecode);
        }
        write_font(&mut pdf, font, &mut next, &self.glyphs, &self.letters)?;
        let mut described = pdf.document_info(info);
        described.title(TextStr(&stamp.title())).subject(TextStr(&stamp.text())).creator(TextStr("foolproof"));
        described.finish();
        Ok(pdf.finish())
    }
}

/// The glyphs in use, their widths, and which letters they are (so that text can be searched and copied).
fn write_font(
    pdf: &mut Pdf,
    font: Ref,
    next: &mut Ref,
    glyphs: &GlyphRemapper,
    letters: &BTreeMap<u16, char>,
) -> Result<()> {
    let [described, descriptor, unicode, data] = std::array::from_fn(|_| next.bump());
    let face = face();
    let per_mille = |units: i32| units as f32 * 1000.0 / f32::from(face.units_per_em());
    // six letters say that it is a subset
    let name = Name(b"FOOLPR+DejaVuSans");
    let system = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
    let mut type0 = pdf.type0_font(font);
    type0.base_font(name).encoding_predefined(Name(b"Identity-H")).descendant_font(described).to_unicode(unicode);
    type0.finish();
    let mut cid = pdf.cid_font(described);
    cid.subtype(CidFontType::Type2).base_font(name).system_info(system).font_descriptor(descriptor);
    cid.default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
    let width = |old: u16| per_mille(i32::from(face.glyph_hor_advance(ttf_parser::GlyphId(old)).unwrap_or(0)));
    cid.widths().consecutive(0, glyphs.remapped_gids().map(width));
    cid.finish();
    let bounds = face.global_bounding_box();
    let [left, bottom, right, top] =
        [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].map(|v| per_mille(i32::from(v)));
    let mut about = pdf.font_descriptor(descriptor);
    about.name(name).flags(FontFlags::SYMBOLIC).bbox(Rect::new(left, bottom, right, top)).italic_angle(0.0);
    about.ascent(per_mille(i32::from(face.ascender()))).descent(per_mille(i32::from(face.descender())));
    about.cap_height(per_mille(i32::from(face.capital_height().unwrap_or(face.ascender())))).stem_v(80.0);
    about.font_file2(data);
    about.finish();
    let mut map = UnicodeCmap::new(Name(b"Letters"), system);
    for (old, letter) in letters {
        map.pair(glyphs.get(*old).unwrap_or(0), *letter);
    }
    pdf.cmap(unicode, &map.finish());
    let subset = subsetter::subset(font_data(), 0, glyphs).map_err(|e| figure_error(format!("font: {e}")))?;
    let bytes = compress_to_vec_zlib(&subset, LEVEL);
    pdf.stream(data, &bytes).filter(Filter::FlateDecode).pair(Name(b"Length1"), subset.len() as i32);
    Ok(())
}

/// Draws onto a [`Page`].
pub struct Backend<'a>(pub &'a mut Page);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

fn line_to(content: &mut Content, path: impl IntoIterator<Item = BackendCoord>) {
    for (i, (x, y)) in path.into_iter().enumerate() {
        match i {
            0 => content.move_to(x as f32, y as f32),
            _ => content.line_to(x as f32, y as f32),
        };
    }
}

impl DrawingBackend for Backend<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.0.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Drawn {
        self.0.paint(colour, |c| {
            c.rect(x as f32, y as f32, 1.0, 1.0).fill_nonzero();
        });
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn {
        let (x, y) = (from.0.min(to.0) as f32, from.1.min(to.1) as f32);
        let (width, height) = (from.0.abs_diff(to.0) as f32, from.1.abs_diff(to.1) as f32);
        self.0.paint(style.color(), |c| {
            c.set_line_width(style.stroke_width() as f32).rect(x, y, width, height);
            if fill {
                c.fill_nonzero()
            } else {
                c.stroke()
            };
        });
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        self.0.paint(style.color(), |c| {
            c.set_line_width(style.stroke_width() as f32);
            line_to(c, path);
            c.stroke();
        });
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, centre: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        let (x, y, r) = (centre.0 as f32, centre.1 as f32, radius as f32);
        // a quarter of a circle as a cubic curve
        let k = 0.552_284_8 * r;
        self.0.paint(style.color(), |c| {
            c.set_line_width(style.stroke_width() as f32).move_to(x + r, y);
            c.cubic_to(x + r, y + k, x + k, y + r, x, y + r).cubic_to(x - k, y + r, x - r, y + k, x - r, y);
            c.cubic_to(x - r, y - k, x - k, y - r, x, y - r).cubic_to(x + k, y - r, x + r, y - k, x + r, y);
            c.close_path();
            if fill {
                c.fill_nonzero()
            } else {
                c.stroke()
            };
        });
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, corners: I, style: &S) -> Drawn {
        self.0.paint(style.color(), |c| {
            line_to(c, corners);
            c.close_path().fill_nonzero();
        });
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        let face = face();
        let em = style.size() as f32;
        let (mut shown, mut width) = (Vec::new(), 0.0);
        for letter in text.chars() {
            let glyph = face.glyph_index(letter).unwrap_or(ttf_parser::GlyphId(0));
            width += f32::from(face.glyph_hor_advance(glyph).unwrap_or(0)) / f32::from(face.units_per_em()) * em;
            self.0.letters.entry(glyph.0).or_insert(letter);
            shown.extend(self.0.glyphs.remap(glyph.0).to_be_bytes());
        }
        let along = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        // as the SVG has it: half the height of an x is 0.27 em in this font
        let below = match style.anchor().v_pos {
            VPos::Top => 0.76 * em,
            VPos::Center => 0.27 * em,
            VPos::Bottom => -0.27 * em,
        };
        let (cos, sin) = match style.transform() {
            FontTransform::None => (1.0, 0.0),
            FontTransform::Rotate90 => (0.0, 1.0),
            FontTransform::Rotate180 => (-1.0, 0.0),
            FontTransform::Rotate270 => (0.0, -1.0),
        };
        let at = (x as f32 + along * cos - below * sin, y as f32 + along * sin + below * cos);
        self.0.paint(style.color(), |c| {
            c.begin_text().set_font(FONT, em).set_text_matrix([cos, sin, sin, -cos, at.0, at.1]);
            c.show(Str(&shown)).end_text();
        });
        Ok(())
    }
}
