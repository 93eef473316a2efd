//! From a picture of any size to the square that a network takes.

use super::{picture, resize};
use crate::error::{Error, Result};
use image::RgbImage;
use rayon::prelude::*;
use std::path::Path;

/// How pictures are prepared; part of the cell, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preparation {
    /// Length that the short side is brought to.
    pub resize: usize,
    /// Side of the square that is cut from the middle.
    pub crop: usize,
}

/// A side above this is a slip of the pen.
const MOST_RESIZE: usize = 4096;

impl Preparation {
    /// `Err` says what cannot be.
    pub fn new(resize: usize, crop: usize) -> Result<Preparation, String> {
        match resize {
            0 => Err("`resize` is the length of the short side: 1 at least".into()),
            r if r > MOST_RESIZE => Err(format!("`resize` is {r}, more than {MOST_RESIZE}")),
            r if r < crop => Err(format!(
                "`resize` is {r}, less than the side of {crop} that the models take: pictures would need padding \
                 (hint: resize = {crop} or more)"
            )),
            _ => Ok(Preparation { resize, crop }),
        }
    }

    /// As it stands in a cell.
    pub fn text(&self) -> String {
        let Preparation { resize, crop } = self;
        format!("resize={resize} crop={crop} bilinear (Pillow) decoder={}", picture::DECODER)
    }

    /// As it stands in a cell whose images are made for the network, not read.
    pub fn side_text(&self) -> String {
        format!("side={}", self.crop)
    }

    /// From [`Preparation::text`], of whatever decoder, or [`Preparation::side_text`].
    pub fn parse(text: &str) -> Option<Preparation> {
        if let Some(side) = text.strip_prefix("side=").and_then(|side| side.parse().ok()) {
            return Preparation::new(side, side).ok();
        }
        let (sizes, _) = text.split_once(" bilinear (Pillow) decoder=")?;
        let (resize, crop) = sizes.strip_prefix("resize=")?.split_once(" crop=")?;
        Preparation::new(resize.parse().ok()?, crop.parse().ok()?).ok()
    }

    /// The square of one picture, 3×crop×crop.
    pub fn square(&self, picture: &RgbImage) -> Vec<u8> {
        planes(&resize::short_side_and_centre(picture, self.resize, self.crop))
    }

    /// The squares of many files, decoded in parallel; those that cannot be read are the error.
    pub fn read_all<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Result<Vec<u8>> {
        let paths: Vec<&Path> = paths.collect();
        let read = |path: &&Path| Ok(picture::read_rgb(path)?.map(|picture| self.square(&picture)));
        let squares: Vec<Result<Result<Vec<u8>, String>>> = paths.par_iter().map(read).collect();
        let (mut pixels, mut unreadable) = (Vec::with_capacity(paths.len() * 3 * self.crop * self.crop), Vec::new());
        for (path, square) in paths.iter().zip(squares) {
            match square? {
                Ok(square) => pixels.extend(square),
                Err(problem) => unreadable.push((picture::name(path), problem)),
            }
        }
        all_read(&unreadable)?;
        Ok(pixels)
    }
}

/// From RGB pixel by pixel to three planes.
pub fn planes(pixels: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
}

/// More names are a list nobody reads.
const MOST_NAMED: usize = 10;

/// The error that names the pictures that cannot be read, each with what is wrong, if there is one.
pub fn all_read(unreadable: &[(String, String)]) -> Result<()> {
    let Some(((name, problem), others)) = unreadable.split_first() else { return Ok(()) };
    let more = match others.len() {
        0 => String::new(),
        n => {
            let named: Vec<&str> = others.iter().map(|(name, _)| name.as_str()).take(MOST_NAMED).collect();
            format!("; {n} more cannot be read: {}{}", named.join(", "), if n > MOST_NAMED { ", …" } else { "" })
        }
    };
    Err(Error::usage(format!("{name}: {problem}{more}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preparation_is_read_back_from_its_text() {
        let preparation = Preparation::new(256, 227).unwrap();
        assert_eq!(Preparation::parse(&preparation.text()), Some(preparation));
        assert_eq!(Preparation::parse("side=32"), Preparation::new(32, 32).ok());
        assert_eq!(Preparation::parse(""), None);
        assert_eq!(Preparation::parse("resize=9 crop=10 bilinear (Pillow) decoder=x"), None);
    }

    #[test]
    fn padding_is_refused_with_the_way_out() {
        assert!(Preparation::new(224, 227).unwrap_err().contains("resize = 227 or more"));
        assert!(Preparation::new(0, 0).is_err() && Preparation::new(5000, 1).is_err());
    }
}
