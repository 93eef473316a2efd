//! A patch as PNG files: as it is judged, and large enough to be printed.

use crate::analysis::Run;
use crate::error::{Error, Result};
use crate::placement::{MASKS, Mask};
use crate::report::draw::stamp::figure_error;
use image::{RgbImage, imageops};
use png::{BitDepth, ColorType, Encoder, PixelDimensions, Unit};

/// 10 cm at 300 dots an inch.
const PRINT_SIDE: usize = 1181;
/// 300 dots an inch, in pixels a metre.
const PRINT_DENSITY: u32 = 11_811;

/// Name of the attack whose patches these are.
const ATTACK: &str = "patch";

/// Every universal patch of the run, twice.
pub fn pictures(run: &Run) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for cell in run.cells.iter().filter(|s| s.cell.attack.name == ATTACK && s.rates.is_some()).map(|s| &s.cell) {
        let Some(train) = &cell.train else { continue };
        let inputs = run.store.read_inputs(&cell.data.digest)?;
        let id = cell.fit(inputs.size).id();
        let nets: Vec<&str> = train.models.iter().map(|m| m.name.as_str()).collect();
        let class = cell.goal.class().and_then(|class| inputs.classes.get(class)).cloned();
        let name = [&class.unwrap_or_else(|| cell.goal.name()), &nets.join("+"), &id[..6]].join("-");
        let name: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '_' }).collect();
        let path = format!("pictures/patch/{name}.png");
        if files.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let pictures = run.store.read_fit(&id)?.1;
        let shape = cell.attack.params.get("mask").map_or("", String::as_str);
        let mask = MASKS.iter().find(|(name, _)| *name == shape).map_or(Mask::Square, |(_, mask)| *mask);
        files.push((path, patch(pictures.side, &pictures.rgb, mask)?));
        files.push((format!("pictures/patch/{name}-print.png"), printable(pictures.side, &pictures.rgb, mask)?));
    }
    Ok(files)
}

/// The patch pixel for pixel, RGBA; outside the mask it is transparent. Its colours stay there, because pixels at the rim of
/// a placed patch are interpolated from them too: so the file holds all that is needed to paste it again.
///
/// `rgb` is 3×side×side.
pub fn patch(side: usize, rgb: &[u8], mask: Mask) -> Result<Vec<u8>> {
    encode(side, &with_alpha(side, &interleaved(side, rgb)?, mask), None)
}

/// The patch at 10 cm and 300 dots an inch, 1181 pixels (Catmull-Rom interpolation), with the mask at that resolution and
/// the size in the file, so that programs print it at 10 cm.
pub fn printable(side: usize, rgb: &[u8], mask: Mask) -> Result<Vec<u8>> {
    let small = RgbImage::from_raw(side as u32, side as u32, interleaved(side, rgb)?).expect("length is checked");
    let large = imageops::resize(&small, PRINT_SIDE as u32, PRINT_SIDE as u32, imageops::FilterType::CatmullRom);
    encode(PRINT_SIDE, &with_alpha(PRINT_SIDE, large.as_raw(), mask), Some(PRINT_DENSITY))
}

/// 3×side×side to side×side×3.
fn interleaved(side: usize, rgb: &[u8]) -> Result<Vec<u8>> {
    let plane = side * side;
    if side == 0 || rgb.len() != 3 * plane {
        return Err(Error::Figure(format!("a patch of {} bytes is not 3×{side}×{side}", rgb.len())));
    }
    Ok((0..3 * plane).map(|i| rgb[i % 3 * plane + i / 3]).collect())
}

/// RGB pixels to RGBA: opaque where the pixel's centre lies inside the mask.
fn with_alpha(side: usize, pixels: &[u8], mask: Mask) -> Vec<u8> {
    // twice the distance from the centre, in integers
    let offset = |i: usize| (2 * i + 1).abs_diff(side).pow(2);
    let inside = |i: usize| mask == Mask::Square || offset(i % side) + offset(i / side) <= side * side;
    let (pixels, _) = pixels.as_chunks::<3>();
    pixels.iter().enumerate().flat_map(|(i, &[r, g, b])| [r, g, b, if inside(i) { 255 } else { 0 }]).collect()
}

fn encode(side: usize, rgba: &[u8], per_metre: Option<u32>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, side as u32, side as u32);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_pixel_dims(per_metre.map(|n| PixelDimensions { xppu: n, yppu: n, unit: Unit::Meter }));
    let mut writer = encoder.write_header().map_err(figure_error)?;
    writer.write_image_data(rgba).map_err(figure_error)?;
    writer.finish().map_err(figure_error)?;
    Ok(bytes)
}
