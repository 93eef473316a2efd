//! From a picture of any size to the one that a network takes.

use super::resize::Filter;
use super::{picture, resize};
use crate::error::{Error, Result};
use crate::size;
use image::RgbImage;
use rayon::prelude::*;
use std::path::Path;

/// How pictures are prepared; part of the cell, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preparation {
    /// What is done to their size.
    pub size: Size,
    /// Height and width of what is cut from the middle.
    pub crop: [usize; 2],
    /// By what they are resized, if they are.
    pub filter: Filter,
}

/// What is done to the size of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// They cover what is cut enlarged so that its short side has this length: of a square, their short side has it.
    Resized(usize),
    /// Nothing: they have the size of the cut.
    AsStored,
    /// Nothing where the first picture of the split has the size of the cut, else they are resized to this.
    /// Nobody asked for it, so pictures that were made for the network are left alone.
    Usual(usize),
}

/// A side above this is a slip of the pen.
const MOST_RESIZE: usize = 4096;

/// A picture that is enlarged so many times or more shows a network little but the interpolation.
const MUCH: usize = 4;

impl Preparation {
    /// Pictures that are resized to `resize`, bilinearly. `Err` says what cannot be.
    pub fn new(resize: usize, crop: [usize; 2]) -> Result<Preparation, String> {
        let short = crop[0].min(crop[1]);
        let what = if crop[0] == crop[1] { "side" } else { "short side" };
        match resize {
            0 => Err("`resize` is the length of the short side: 1 at least".into()),
            r if r > MOST_RESIZE => Err(format!("`resize` is {r}, more than {MOST_RESIZE}")),
            r if r < short => Err(format!(
                "`resize` is {r}, less than the {what} of {short} that the models take: pictures would need padding \
                 (hint: resize = {short} or more)"
            )),
            _ => Ok(Preparation { size: Size::Resized(resize), crop, filter: Filter::Bilinear }),
        }
    }

    /// Images that are made in the size that the network takes.
    pub fn unresized(crop: [usize; 2]) -> Result<Preparation, String> {
        Preparation::new(crop[0].min(crop[1]), crop)
    }

    /// The same as [`Preparation::new`] where the sweep does not ask for it ([`Size::Usual`]).
    pub fn usual(resize: usize, crop: [usize; 2]) -> Result<Preparation, String> {
        Preparation::new(resize, crop).map(|asked| Preparation { size: Size::Usual(resize), ..asked })
    }

    /// What is done in the end: the size of the first picture of the split, width and height, decides where nothing is asked
    /// for. Which pictures are taken does not, so a picture becomes the same image in every subset.
    pub fn settled(self, first: impl FnOnce() -> Result<(u32, u32)>) -> Result<Preparation> {
        let Size::Usual(resize) = self.size else { return Ok(self) };
        let size = if first()? == self.pixels() { Size::AsStored } else { Size::Resized(resize) };
        Ok(Preparation { size, ..self })
    }

    /// Width and height of what is cut, as pictures say their size.
    fn pixels(&self) -> (u32, u32) {
        let [height, width] = self.crop;
        (width as u32, height as u32)
    }

    /// As it stands in a cell.
    pub fn text(&self) -> String {
        let crop = size::text(self.crop);
        match self.size {
            Size::AsStored => format!("{} as stored decoder={}", size::named(self.crop), picture::DECODER),
            Size::Resized(resize) | Size::Usual(resize) => {
                format!("resize={resize} crop={crop} {} (Pillow) decoder={}", self.filter.name(), picture::DECODER)
            }
        }
    }

    /// As it stands in a cell whose images are made for the network, not read.
    pub fn size_text(&self) -> String {
        size::named(self.crop)
    }

    /// From [`Preparation::text`], of whatever decoder, or [`Preparation::size_text`].
    pub fn parse(text: &str) -> Option<Preparation> {
        if let Some(crop) = text.strip_prefix("side=").or_else(|| text.strip_prefix("size=")) {
            let (crop, stored) = crop.split_once(" as stored decoder=").map_or((crop, false), |(crop, _)| (crop, true));
            let made = size::parse(crop).and_then(|crop| Preparation::unresized(crop).ok())?;
            return Some(if stored { Preparation { size: Size::AsStored, ..made } } else { made });
        }
        let (sizes, _) = text.split_once(" (Pillow) decoder=")?;
        let (resize, rest) = sizes.strip_prefix("resize=")?.split_once(" crop=")?;
        let (crop, name) = rest.split_once(' ')?;
        let filter = Filter::ALL.into_iter().find(|filter| filter.name() == name)?;
        Preparation::new(resize.parse().ok()?, size::parse(crop)?).ok().map(|made| Preparation { filter, ..made })
    }

    /// What is cut of one picture, 3×height×width. `Err` says why that is nothing.
    pub fn cut(&self, picture: &RgbImage) -> Result<Vec<u8>, String> {
        match self.size {
            Size::Resized(resize) | Size::Usual(resize) => {
                Ok(planes(&resize::covering_and_centre(picture, resize, self.crop, self.filter)))
            }
            Size::AsStored if picture.dimensions() == self.pixels() => Ok(planes(picture.as_raw())),
            Size::AsStored => {
                let (width, height) = self.pixels();
                Err(format!(
                    "{}×{} pixels, where the first picture of the dataset has the models' {width}×{height} (hint: \
                     `resize = {}` brings all to one size)",
                    picture.width(),
                    picture.height(),
                    width.min(height)
                ))
            }
        }
    }

    /// What is cut of many files, decoded in parallel, and what has to be said of them; those that cannot be read are the
    /// error.
    pub fn read_all(&self, paths: &[&Path]) -> Result<(Vec<u8>, Option<String>)> {
        let read = |path: &&Path| {
            let picture = picture::read_rgb(path)?;
            Ok(picture.and_then(|picture| Ok((picture.dimensions(), self.cut(&picture)?))))
        };
        let cuts: Vec<Result<Result<Cut, String>>> = paths.par_iter().map(read).collect();
        let [height, width] = self.crop;
        let (mut pixels, mut unreadable) = (Vec::with_capacity(paths.len() * 3 * height * width), Vec::new());
        let mut enlarged = Enlarged::by(self);
        for (path, cut) in paths.iter().zip(cuts) {
            match cut? {
                Ok((size, cut)) => {
                    enlarged.see(size, || picture::name(path));
                    pixels.extend(cut);
                }
                Err(problem) => unreadable.push((picture::name(path), problem)),
            }
        }
        all_read(&unreadable)?;
        Ok((pixels, enlarged.text()))
    }
}

/// Width and height of a picture, and what is cut of it.
pub type Cut = ((u32, u32), Vec<u8>);

/// Pictures that are enlarged [`MUCH`].
pub struct Enlarged {
    /// 0: none is resized.
    resize: usize,
    crop: [usize; 2],
    seen: usize,
    count: usize,
    /// The smallest of them, its width and height.
    least: Option<(String, (u32, u32))>,
}

impl Enlarged {
    /// None so far.
    pub fn by(preparation: &Preparation) -> Enlarged {
        let resize = match preparation.size {
            Size::AsStored => 0,
            Size::Resized(resize) | Size::Usual(resize) => resize,
        };
        Enlarged { resize, crop: preparation.crop, seen: 0, count: 0, least: None }
    }

    /// Looks at a picture of this width and height.
    pub fn see(&mut self, size: (u32, u32), name: impl FnOnce() -> String) {
        self.seen += 1;
        let times = self.times(size);
        if times < MUCH as f64 {
            return;
        }
        self.count += 1;
        if self.least.as_ref().is_none_or(|(_, least)| times > self.times(*least)) {
            self.least = Some((name(), size));
        }
    }

    /// How many times such a picture is enlarged.
    fn times(&self, (width, height): (u32, u32)) -> f64 {
        let [most_height, most_width] = resize::covered(self.resize, self.crop);
        (most_width as f64 / f64::from(width)).max(most_height as f64 / f64::from(height))
    }

    /// How many, and the smallest; `None`: none.
    pub fn text(&self) -> Option<String> {
        let (name, (width, height)) = self.least.as_ref()?;
        let Enlarged { resize, crop: [h, w], seen, count, .. } = self;
        let times = self.times((*width, *height));
        Some(format!(
            "resize = {resize} enlarges {count} of {seen} pictures {MUCH} times or more, at most {times:.1} times ({name}: \
             {width}×{height} pixels), and the models see the middle {w}×{h} of that (hint: pictures as large as \
             the models take, or another `resize`)"
        ))
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
        let preparation = Preparation::new(256, [227; 2]).unwrap();
        let cubic = Preparation { filter: Filter::Bicubic, crop: [224, 192], ..preparation };
        for preparation in [preparation, cubic] {
            assert_eq!(Preparation::parse(&preparation.text()), Some(preparation));
        }
        assert!(cubic.text().starts_with("resize=256 crop=224x192 bicubic (Pillow) decoder="));
        assert_eq!(Preparation::parse("side=32"), Preparation::new(32, [32; 2]).ok());
        let stored = Preparation { size: Size::AsStored, crop: [32; 2], filter: Filter::Bilinear };
        assert_eq!(Preparation::parse(&stored.text()), Some(stored));
        assert_eq!(Preparation::parse(""), None);
        assert_eq!(Preparation::parse("resize=9 crop=10 bilinear (Pillow) decoder=x"), None);
    }

    #[test]
    fn the_first_picture_decides_where_nothing_is_asked_for() {
        let usual = Preparation::usual(256, [32; 2]).unwrap();
        let settled = |size| usual.settled(|| Ok(size)).unwrap();
        assert_eq!(settled((32, 32)), Preparation { size: Size::AsStored, crop: [32; 2], filter: Filter::Bilinear });
        assert_eq!(settled((32, 33)), Preparation::new(256, [32; 2]).unwrap());
        let asked = Preparation::new(256, [32; 2]).unwrap();
        assert_eq!(asked.settled(|| unreachable!("it is asked for")).unwrap(), asked);
        assert_eq!(usual.text(), asked.text());
    }

    #[test]
    fn padding_is_refused_with_the_way_out() {
        assert!(Preparation::new(224, [227; 2]).unwrap_err().contains("resize = 227 or more"));
        assert!(Preparation::new(0, [0; 2]).is_err() && Preparation::new(5000, [1; 2]).is_err());
    }
}
