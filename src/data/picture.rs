//! Picture files: JPEG, PNG, GIF (its first frame), BMP, WebP, TIFF and PNM, told apart by their content.
//!
//! Around a first frame that is smaller than its GIF is what Pillow shows there ([`super::gif`]).
//!
//! Colours become 8-bit RGB as Pillow's `convert("RGB")` makes them: transparency is dropped, not blended; grey is
//! repeated; of 16 bits the upper 8 count (of 16-bit grey Pillow would make white). As in torchvision, a turn that a
//! camera noted (EXIF orientation) is ignored.

use super::gif;
use crate::error::{Error, Result};
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage};
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

/// What decodes lossy pictures: another decoder, or another version, may give other bits, so it stands in the cell.
pub const DECODER: &str = "image 0.25.10/zune-jpeg 0.5.15/image-webp 0.2.4";

/// Endings of the names of picture files, in lower case.
pub const ENDINGS: [&str; 12] = ["bmp", "gif", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"];

/// No picture has more pixels: a file of a few bytes may claim billions.
const MOST_PIXELS: u64 = 64 << 20;
/// Neither side is longer: no JPEG can be.
const MOST_SIDE: u32 = 65_535;
/// Neither a file nor what its decoder allocates is larger.
const MOST_BYTES: u64 = 512 << 20;

/// Whether a file is taken for a picture, by the ending of its name.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// A picture in RGB, transparency dropped. The inner error says why it cannot be decoded, the outer why it cannot be read.
pub fn read_rgb(path: &Path) -> Result<Result<RgbImage, String>> {
    let decoded = bytes(path).map(|bytes| bytes.and_then(|bytes| decode_rgb(&bytes)));
    decoded.map(|picture| picture.map_err(|problem| format!("{problem}{HINT}")))
}

/// The same from the bytes of a file.
pub fn decode_rgb(bytes: &[u8]) -> Result<RgbImage, String> {
    decode(bytes).and_then(to_rgb)
}

/// Width and height of a picture, from its header.
pub fn read_size(path: &Path) -> Result<(u32, u32)> {
    let problem = |problem| Error::usage(format!("{}: {problem}{HINT}", name(path)));
    bytes(path)?.and_then(|bytes| size(&bytes)).map_err(problem)
}

/// The same from the bytes of a file.
pub fn size(bytes: &[u8]) -> Result<(u32, u32), String> {
    decoder(bytes).map(|(_, decoder)| decoder.dimensions())
}

/// As it stands in messages.
pub fn name(path: &Path) -> String {
    format!("picture {}", path.display())
}

/// A picture with its transparency, 255 where it has none: to be laid on another.
pub fn read_rgba(path: &Path) -> Result<RgbaImage> {
    let problem = |problem| Error::usage(format!("{}: {problem}{HINT}", name(path)));
    let picture = bytes(path)?.and_then(|bytes| decode(&bytes)).map_err(problem)?;
    let alpha: Option<Vec<u8>> = match &picture {
        DynamicImage::ImageLumaA8(p) => Some(p.pixels().map(|p| p.0[1]).collect()),
        DynamicImage::ImageRgba8(p) => Some(p.pixels().map(|p| p.0[3]).collect()),
        DynamicImage::ImageLumaA16(p) => Some(p.pixels().map(|p| upper(p.0[1])).collect()),
        DynamicImage::ImageRgba16(p) => Some(p.pixels().map(|p| upper(p.0[3])).collect()),
        _ => None,
    };
    let mut rgba = DynamicImage::ImageRgb8(to_rgb(picture).map_err(problem)?).into_rgba8();
    for (pixel, alpha) in rgba.pixels_mut().zip(alpha.into_iter().flatten()) {
        pixel.0[3] = alpha;
    }
    Ok(rgba)
}

const HINT: &str = " (hint: replace the file or take it out)";

fn bytes(path: &Path) -> Result<Result<Vec<u8>, String>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    if fs::metadata(path).is_ok_and(|m| m.is_dir()) {
        return Ok(Err("a folder, not a file".into()));
    }
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Ok(bytes))
}

/// Decodes within the bounds.
fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let (format, decoder) = decoder(bytes)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    if let (ImageFormat::Gif, DynamicImage::ImageRgba8(pixels)) = (format, &mut picture) {
        gif::fill_around(bytes, pixels)?;
    }
    Ok(picture)
}

/// Whether bytes begin so, whatever the case.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with))
}

/// What a file is that is no picture: what downloads leave in place of one, first.
fn foreign(bytes: &[u8]) -> &'static str {
    match bytes.trim_ascii_start() {
        [] => "the file is empty",
        begin if begin.starts_with(b"version https://git-lfs.github.com/") => {
            "the file is a pointer of git-lfs, in place of the picture, which `git lfs pull` fetches"
        }
        begin if [&b"<html"[..], b"<!doc"].iter().any(|tag| begins(begin, tag)) => {
            "the file is a page of the web, in place of the picture"
        }
        _ => "no picture format that is known here (JPEG, PNG, GIF, BMP, WebP, TIFF, PNM)",
    }
}

/// What has read the header of a picture, if that is within the bounds.
fn decoder(bytes: &[u8]) -> Result<(ImageFormat, impl ImageDecoder + '_), String> {
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("the file is larger than {} MiB", MOST_BYTES >> 20));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or_else(|| foreign(bytes))?;
    if format == ImageFormat::Jpeg && !is_whole_jpeg(bytes) {
        return Err("the file is cut off: it has no end mark".into());
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_BYTES {
        return Err(format!(
            "{width}×{height} pixels are more than the {} million, or {} MiB, that are decoded",
            MOST_PIXELS >> 20,
            MOST_BYTES >> 20
        ));
    }
    if width == 0 || height == 0 {
        return Err("it has no pixel".into());
    }
    Ok((format, decoder))
}

/// Whether the end mark is there. The decoder fills up what is missing with grey, without a word.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&marker) = bytes.get(at + 1) {
        match (bytes[at], marker) {
            (0xff, 0xd9) => return true,
            // data, also stuffed zeros, restart marks and fill bytes: the next marker is somewhere after
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, 0xff) => at += 1,
            // a segment: its length includes the two bytes of the length
            (0xff, _) => match bytes.get(at + 2..at + 4) {
                Some(length) => at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2),
                None => return false,
            },
            _ => at += 1,
        }
    }
    false
}

fn to_rgb(picture: DynamicImage) -> Result<RgbImage, String> {
    let (width, height) = (picture.width(), picture.height());
    let pixels = match &picture {
        DynamicImage::ImageLuma8(_)
        | DynamicImage::ImageLumaA8(_)
        | DynamicImage::ImageRgb8(_)
        | DynamicImage::ImageRgba8(_) => return Ok(picture.into_rgb8()),
        DynamicImage::ImageLuma16(p) => p.pixels().flat_map(|p| [upper(p.0[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(p) => p.pixels().flat_map(|p| [upper(p.0[0]); 3]).collect(),
        DynamicImage::ImageRgb16(p) => p.pixels().flat_map(|p| p.0.map(upper)).collect(),
        DynamicImage::ImageRgba16(p) => p.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(upper)).collect(),
        other => return Err(unsupported(other.color())),
    };
    Ok(RgbImage::from_raw(width, height, pixels).expect("three values a pixel"))
}

fn unsupported(colours: ColorType) -> String {
    format!("pixels of type {colours:?} have no bounds; save it with 8 bits a channel")
}

fn upper(value: u16) -> u8 {
    (value >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{LumaA, Rgba};

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn sample() -> DynamicImage {
        RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 77])).into()
    }

    #[test]
    fn lossless_formats_give_the_pixels_they_were_given() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm] {
            let picture = decode(&encoded(&sample(), format)).unwrap();
            assert_eq!(to_rgb(picture).unwrap(), sample().into_rgb8(), "{format:?}");
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            assert_eq!(decode(&encoded(&sample(), format)).unwrap().width(), 9, "{format:?}");
        }
    }

    #[test]
    fn transparency_is_dropped_and_grey_repeated() {
        let red = DynamicImage::ImageRgba8(RgbaImage::from_pixel(1, 1, Rgba([200, 10, 20, 0])));
        assert_eq!(to_rgb(red).unwrap().into_raw(), [200, 10, 20]);
        let grey = DynamicImage::ImageLumaA8(image::GrayAlphaImage::from_pixel(1, 1, LumaA([9, 3])));
        assert_eq!(to_rgb(grey).unwrap().into_raw(), [9, 9, 9]);
    }

    #[test]
    fn a_cut_file_and_a_bomb_are_refused() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif] {
            let bytes = encoded(&sample(), format);
            assert!(decode(&bytes[..bytes.len() - 20]).is_err(), "{format:?}");
        }
        let mut bomb = encoded(&sample(), ImageFormat::Png);
        bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        // the header's checksum is wrong now too; both are reasons
        assert!(decode(&bomb).is_err());
        for (bytes, what) in [
            (&b"no picture"[..], "no picture format"),
            (b"", "is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "`git lfs pull`"),
            (b"\n<!DOCTYPE html><html>", "a page of the web"),
        ] {
            let problem = decode(bytes).unwrap_err();
            assert!(problem.contains(what), "{what}: {problem}");
        }
    }

    /// The constant that stands in cells names what is compiled in.
    #[test]
    fn the_decoder_is_the_one_of_the_lock_file() {
        let lock = include_str!("../../Cargo.lock").replace('\r', "");
        for part in DECODER.split('/') {
            let (name, version) = part.split_once(' ').unwrap();
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{part}");
        }
    }
}
