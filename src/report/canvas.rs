//! One drawing, two files: SVG in millimetres, and PNG at 300 dpi, drawn twice as large and averaged down.

use crate::error::{Error, Result};
use base64::Engine as _;
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::fmt::Display;
use std::sync::Once;

/// A finished figure.
pub struct Picture {
    /// Text of the SVG file.
    pub svg: String,
    /// Bytes of the PNG file.
    pub png: Vec<u8>,
}

/// Family name of the built-in font (DejaVu Sans), and what SVG viewers fall back to.
pub const FONT: &str = "sans-serif";

const DOTS_PER_MM: f64 = 300.0 / 25.4;
const POINTS_PER_MM: f64 = 72.0 / 25.4;
/// PNG pixels are averages of this many squared.
const OVERSAMPLING: f64 = 2.0;

/// Converts lengths to pixels of the drawing.
#[derive(Clone, Copy)]
pub struct Scale(f64);

impl Scale {
    /// Millimetres.
    pub fn mm(self, length: f64) -> i32 {
        (length * DOTS_PER_MM * self.0).round() as i32
    }

    /// Points of type.
    pub fn pt(self, size: f64) -> i32 {
        self.mm(size / POINTS_PER_MM)
    }
}

/// A raster image placed on the drawing, in millimetres; its pixels stay sharp squares.
pub struct Raster {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width and height.
    pub side: f64,
    /// RGB pixels.
    pub image: RgbImage,
}

/// Something that can be drawn on either backend.
pub trait Drawing {
    /// Width and height in millimetres.
    fn size(&self) -> (f64, f64);

    /// Lines and text.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: Scale) -> Result<()>
    where
        B::ErrorType: 'static;

    /// Raster images, on top.
    fn rasters(&self) -> Vec<Raster> {
        Vec::new()
    }
}

/// Any error of the drawing library.
pub fn figure_error(problem: impl Display) -> Error {
    Error::Figure(problem.to_string())
}

/// Draws both files.
pub fn render(drawing: &impl Drawing) -> Result<Picture> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).ok();
        register_font(FONT, FontStyle::Bold, dejavu::sans::bold()).ok();
    });
    Ok(Picture { svg: svg(drawing)?, png: png(drawing)? })
}

fn svg(drawing: &impl Drawing) -> Result<String> {
    let (width, height) = drawing.size();
    let scale = Scale(1.0);
    let mut text = String::new();
    {
        let area =
            SVGBackend::with_string(&mut text, (scale.mm(width) as u32, scale.mm(height) as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(figure_error)?;
        drawing.draw(&area, scale)?;
        area.present().map_err(figure_error)?;
    }
    let pixels = format!("width=\"{}\" height=\"{}\"", scale.mm(width), scale.mm(height));
    let mut text = text.replacen(&pixels, &format!("width=\"{width}mm\" height=\"{height}mm\""), 1);
    let end = text.rfind("</svg>").ok_or_else(|| figure_error("no end of the SVG"))?;
    let images: String = drawing.rasters().iter().map(|r| svg_image(r, scale)).collect::<Result<_>>()?;
    text.insert_str(end, &images);
    Ok(text)
}

/// Pixels enlarged to whole squares, so that no viewer smooths them.
fn svg_image(raster: &Raster, scale: Scale) -> Result<String> {
    let enlarged = (512 / raster.image.width()).max(1) * raster.image.width();
    let png = encode(&imageops::resize(&raster.image, enlarged, enlarged, imageops::FilterType::Nearest))?;
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    let (x, y, side) = (scale.mm(raster.x), scale.mm(raster.y), scale.mm(raster.side));
    Ok(format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" style=\"image-rendering:pixelated\" \
         href=\"data:image/png;base64,{data}\"/>\n"
    ))
}

fn png(drawing: &impl Drawing) -> Result<Vec<u8>> {
    let (width, height) = drawing.size();
    let (small, large) = (Scale(1.0), Scale(OVERSAMPLING));
    let (w, h) = (small.mm(width) as u32 * OVERSAMPLING as u32, small.mm(height) as u32 * OVERSAMPLING as u32);
    let mut pixels = vec![255; 3 * w as usize * h as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (w, h)).into_drawing_area();
        area.fill(&WHITE).map_err(figure_error)?;
        drawing.draw(&area, large)?;
        area.present().map_err(figure_error)?;
    }
    let drawn = RgbImage::from_raw(w, h, pixels).ok_or_else(|| figure_error("a buffer of the wrong size"))?;
    let mut page = imageops::thumbnail(&drawn, w / OVERSAMPLING as u32, h / OVERSAMPLING as u32);
    for raster in drawing.rasters() {
        let side = small.mm(raster.side) as u32;
        let placed = imageops::resize(&raster.image, side, side, imageops::FilterType::Nearest);
        imageops::replace(&mut page, &placed, small.mm(raster.x).into(), small.mm(raster.y).into());
    }
    encode(&page)
}

/// PNG bytes of an image.
pub fn encode(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(figure_error)?;
    Ok(bytes)
}
