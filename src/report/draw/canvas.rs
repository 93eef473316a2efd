//! One drawing, three files: SVG in millimetres, PNG at 300 dpi, drawn twice as large and averaged down, and PDF. Beside
//! them the plotted points as CSV; each file names the run and the digest of the points.

use super::font::{FONT, POINT_MM, face, font_data};
use super::look::Look;
use super::pdf::{Backend, Page};
use super::stamp::{Stamp, figure_error};
use crate::digest;
use crate::error::Result;
use crate::table::csv;
use base64::Engine as _;
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use png::{BitDepth, ColorType, Encoder, PixelDimensions, Unit};
use std::sync::Once;

/// A finished figure.
pub struct Picture {
    /// Text of the SVG file.
    pub svg: String,
    /// Bytes of the PNG file.
    pub png: Vec<u8>,
    /// Bytes of the PDF file.
    pub pdf: Vec<u8>,
    /// The plotted points as CSV.
    pub points: Vec<u8>,
}

const DOTS_PER_MM: f64 = 300.0 / 25.4;
/// PNG pixels are averages of this many squared.
const OVERSAMPLING: f64 = 2.0;
/// PDF is drawn on a grid this much finer.
const PDF_GRID: f64 = 4.0;
/// The SVG backend of the drawing library divides sizes of type by this.
const SVG_EM: f64 = 1.24;

/// Converts lengths to dots of the drawing.
#[derive(Clone, Copy)]
pub struct Scale {
    dots_per_mm: f64,
    /// What the backend calls the size of a font whose em is 1.
    em: f64,
}

impl Scale {
    fn svg() -> Scale {
        Scale { dots_per_mm: DOTS_PER_MM, em: SVG_EM }
    }

    fn png() -> Scale {
        // the rasteriser takes the height from the lowest to the highest edge of a letter
        let (above, below) = (f64::from(face().ascender()), f64::from(face().descender()));
        Scale { dots_per_mm: DOTS_PER_MM * OVERSAMPLING, em: (above - below) / f64::from(face().units_per_em()) }
    }

    fn pdf() -> Scale {
        Scale { dots_per_mm: DOTS_PER_MM * PDF_GRID, em: 1.0 }
    }

    /// Millimetres.
    pub fn mm(self, length: f64) -> i32 {
        (length * self.dots_per_mm).round() as i32
    }

    /// Width of a line in points; never nothing.
    pub fn pt(self, width: f64) -> u32 {
        self.mm(width * POINT_MM).max(1) as u32
    }

    /// Size of type in points: its em in print.
    pub fn font(self, points: f64) -> f64 {
        points * POINT_MM * self.dots_per_mm * self.em
    }
}

/// The heading and rows of a table.
pub type Points = (&'static [&'static str], Vec<Vec<String>>);

/// A raster image in the middle of a square of the drawing, which its longer side fills; its pixels stay sharp squares.
pub struct Raster {
    /// Left edge of the square, in millimetres.
    pub x: f64,
    /// Its upper edge.
    pub y: f64,
    /// Its width and height.
    pub side: f64,
    /// RGB pixels.
    pub image: RgbImage,
}

impl Raster {
    /// Left and upper edge of the image itself, its width and its height, in dots.
    fn placed(&self, scale: Scale) -> [i32; 4] {
        let (x, y, side) = (scale.mm(self.x), scale.mm(self.y), scale.mm(self.side));
        let (width, height) = (self.image.width(), self.image.height());
        let share = |length: u32| (f64::from(side) * f64::from(length) / f64::from(width.max(height))).round() as i32;
        let (width, height) = (share(width).max(1), share(height).max(1));
        [x + (side - width) / 2, y + (side - height) / 2, width, height]
    }
}

/// Something that can be drawn on either backend.
pub trait Drawing {
    /// Width and height in millimetres.
    fn size(&self) -> (f64, f64);

    /// Lines and text.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static;

    /// Exactly what is plotted.
    fn points(&self) -> Points;

    /// Raster images, on top.
    fn rasters(&self) -> Vec<Raster> {
        Vec::new()
    }
}

/// Draws all files.
pub fn render(drawing: &impl Drawing, look: &Look) -> Result<Picture> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        register_font(FONT, FontStyle::Normal, font_data()).ok();
    });
    let (columns, rows) = drawing.points();
    let points = csv::lines(columns, rows.into_iter())?;
    let stamp = Stamp { look, points: digest::sha256(&points) };
    Ok(Picture { svg: svg(drawing, &stamp)?, png: png(drawing, &stamp)?, pdf: pdf(drawing, &stamp)?, points })
}

fn dots(drawing: &impl Drawing, scale: Scale) -> (u32, u32) {
    let (width, height) = drawing.size();
    (scale.mm(width).max(1) as u32, scale.mm(height).max(1) as u32)
}

fn draw_on<B: DrawingBackend>(backend: B, drawing: &impl Drawing, scale: Scale) -> Result<()>
where
    B::ErrorType: 'static,
{
    let area = backend.into_drawing_area();
    area.fill(&WHITE).map_err(figure_error)?;
    drawing.draw(&area, scale)?;
    area.present().map_err(figure_error)
}

fn svg(drawing: &impl Drawing, stamp: &Stamp) -> Result<String> {
    let ((width, height), scale) = (drawing.size(), Scale::svg());
    let (w, h) = dots(drawing, scale);
    let mut text = String::new();
    draw_on(SVGBackend::with_string(&mut text, (w, h)), drawing, scale)?;
    // XML has no control characters, which names of files may have
    let text = text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
    let mut text = text.replacen(
        &format!("width=\"{w}\" height=\"{h}\""),
        &format!("width=\"{width:.2}mm\" height=\"{height:.2}mm\""),
        1,
    );
    let start = text.find("<svg").and_then(|at| Some(at + text[at..].find('>')? + 2));
    let start = start.filter(|at| text.is_char_boundary(*at)).ok_or_else(|| figure_error("no start of the SVG"))?;
    text.insert_str(start, &stamp.svg());
    let end = text.rfind("</svg>").ok_or_else(|| figure_error("no end of the SVG"))?;
    let images: String = drawing.rasters().iter().map(|r| svg_image(r, scale)).collect::<Result<_>>()?;
    text.insert_str(end, &images);
    Ok(text)
}

/// Pixels enlarged to whole squares, so that no viewer smooths them.
fn enlarged(image: &RgbImage) -> RgbImage {
    let times = (512 / image.width().max(image.height())).max(1);
    imageops::resize(image, times * image.width(), times * image.height(), imageops::FilterType::Nearest)
}

fn svg_image(raster: &Raster, scale: Scale) -> Result<String> {
    let png = encode(&enlarged(&raster.image))?;
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    let [x, y, width, height] = raster.placed(scale);
    Ok(format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" style=\"image-rendering:pixelated\" \
         href=\"data:image/png;base64,{data}\"/>\n"
    ))
}

fn pdf(drawing: &impl Drawing, stamp: &Stamp) -> Result<Vec<u8>> {
    let scale = Scale::pdf();
    let mut page = Page::new(dots(drawing, scale), scale.dots_per_mm);
    draw_on(Backend(&mut page), drawing, scale)?;
    for raster in drawing.rasters() {
        page.image(enlarged(&raster.image), raster.placed(scale));
    }
    page.finish(stamp)
}

fn png(drawing: &impl Drawing, stamp: &Stamp) -> Result<Vec<u8>> {
    let (small, large) = (Scale::svg(), Scale::png());
    let (width, height) = dots(drawing, small);
    let (w, h) = (width * OVERSAMPLING as u32, height * OVERSAMPLING as u32);
    let mut pixels = vec![255; 3 * w as usize * h as usize];
    draw_on(BitMapBackend::with_buffer(&mut pixels, (w, h)), drawing, large)?;
    let drawn = RgbImage::from_raw(w, h, pixels).ok_or_else(|| figure_error("a buffer of the wrong size"))?;
    let mut page = imageops::thumbnail(&drawn, width, height);
    for raster in drawing.rasters() {
        let [x, y, width, height] = raster.placed(small);
        let placed = imageops::resize(&raster.image, width as u32, height as u32, imageops::FilterType::Nearest);
        imageops::replace(&mut page, &placed, x.into(), y.into());
    }
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let per_metre = (1000.0 * DOTS_PER_MM).round() as u32;
    encoder.set_pixel_dims(Some(PixelDimensions { xppu: per_metre, yppu: per_metre, unit: Unit::Meter }));
    encoder.add_text_chunk("Title".into(), stamp.title()).map_err(figure_error)?;
    encoder.add_text_chunk("Description".into(), stamp.text()).map_err(figure_error)?;
    let mut writer = encoder.write_header().map_err(figure_error)?;
    writer.write_image_data(page.as_raw()).map_err(figure_error)?;
    writer.finish().map_err(figure_error)?;
    Ok(bytes)
}

/// PNG bytes of an image.
pub fn encode(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(figure_error)?;
    Ok(bytes)
}
