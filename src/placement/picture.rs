//! What is pasted: a square picture, and the contents of the controls.

use crate::error::{Error, Result};
use crate::rng::Stream;

/// A square picture, its colours on the grid of 8 bits as everything that is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Height and width in pixels.
    pub side: usize,
    /// 3×side×side in [0,1].
    pub rgb: Vec<f32>,
    /// side×side in [0,1]; `None`: opaque everywhere.
    pub alpha: Option<Vec<f32>>,
}

impl Picture {
    /// From 8-bit pixels 3×side×side, as datasets and fitted patches hold them.
    pub fn from_rgb_u8(side: usize, pixels: &[u8]) -> Result<Picture> {
        if side == 0 || pixels.len() != 3 * side * side {
            return Err(Error::usage(format!("a picture of {} bytes is not 3×{side}×{side}", pixels.len())));
        }
        Ok(Picture { side, rgb: pixels.iter().map(|v| level(*v)).collect(), alpha: None })
    }

    /// The square in the middle of 8-bit pixels 3×height×width; odd remainders go to the right and bottom.
    pub fn middle_u8([height, width]: [usize; 2], pixels: &[u8]) -> Result<Picture> {
        let side = height.min(width);
        let (top, left) = ((height - side) / 2, (width - side) / 2);
        let rows = pixels
            .chunks_exact(width.max(1))
            .enumerate()
            .filter(|(row, _)| (top..top + side).contains(&(row % height)));
        let square: Vec<u8> = rows.flat_map(|(_, row)| &row[left..left + side]).copied().collect();
        Picture::from_rgb_u8(side, &square)
    }

    /// The 8-bit colours and, where it is not opaque, the alpha.
    pub fn to_u8(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let bytes = |values: &[f32]| values.iter().map(|v| (v * 255.0).round_ties_even() as u8).collect();
        (bytes(&self.rgb), self.alpha.as_deref().map(bytes))
    }

    /// From rows of RGBA pixels, as image files hold them. An opaque picture is cut to the square in its middle; one with
    /// transparent pixels is an object, which must stay whole, and gets transparent margins instead.
    pub fn from_rgba_u8(width: usize, height: usize, bytes: &[u8]) -> Result<Picture> {
        if width == 0 || height == 0 || bytes.len() != 4 * width * height {
            return Err(Error::usage(format!("a picture of {} bytes is not {height}×{width}×4", bytes.len())));
        }
        let opaque = bytes.iter().skip(3).step_by(4).all(|a| *a == 255);
        let side = if opaque { width.min(height) } else { width.max(height) };
        // the place of column (row) 0 of the square in the original; odd remainders go to the right and bottom
        let source = |i: usize, length: usize| {
            (i + length.saturating_sub(side) / 2).checked_sub(side.saturating_sub(length) / 2).filter(|i| *i < length)
        };
        let (mut rgb, mut alpha) = (vec![0.0; 3 * side * side], vec![0.0; side * side]);
        for i in 0..side * side {
            if let (Some(row), Some(column)) = (source(i / side, height), source(i % side, width)) {
                let pixel = &bytes[4 * (row * width + column)..][..4];
                (0..3).for_each(|c| rgb[c * side * side + i] = level(pixel[c]));
                alpha[i] = level(pixel[3]);
            }
        }
        Ok(Picture { side, rgb, alpha: (!opaque).then_some(alpha) })
    }

    /// Shrunk to at most `most` pixels a side, each the mean of those it covers; smaller ones stay as they are.
    pub fn at_most(self, most: usize) -> Result<Picture> {
        if self.side <= most {
            return Ok(self);
        }
        let rgb = self.rgb.chunks_exact(self.side * self.side).flat_map(|plane| shrunk(plane, self.side, most));
        let alpha = self.alpha.as_ref().map(|alpha| shrunk(alpha, self.side, most));
        let rgb = rgb.map(|v| level((v * 255.0).round_ties_even() as u8)).collect();
        Ok(Picture { side: most, rgb, alpha })
    }

    /// A control: every value uniform among the 256 levels. It has a picture's contrast and no message.
    pub fn noise(side: usize, stream: &mut Stream) -> Picture {
        let rgb = (0..3 * side * side).map(|_| level(stream.below(256) as u8)).collect();
        Picture { side, rgb, alpha: None }
    }

    /// A control: one colour in [0,1], as the mean of the training images, at the nearest 8-bit levels.
    pub fn uniform(side: usize, colour: [f32; 3]) -> Picture {
        let nearest = colour.map(|v| level((v * 255.0).round_ties_even() as u8));
        Picture { side, rgb: nearest.iter().flat_map(|v| vec![*v; side * side]).collect(), alpha: None }
    }

    /// A control: mid grey, which hides what lies below and says nothing.
    pub fn grey(side: usize) -> Picture {
        Picture::uniform(side, [0.5; 3])
    }
}

/// Means over the cells of a coarser grid.
fn shrunk(plane: &[f32], side: usize, to: usize) -> Vec<f32> {
    let range = |i: usize| i * side / to..((i + 1) * side).div_ceil(to);
    let mean = |i: usize| {
        let (ys, xs) = (range(i / to), range(i % to));
        let n = ys.len() * xs.len();
        let sum: f64 = ys.flat_map(|y| xs.clone().map(move |x| y * side + x)).map(|p| f64::from(plane[p])).sum();
        (sum / n as f64) as f32
    };
    (0..to * to).map(mean).collect()
}

/// An 8-bit level in [0,1].
fn level(v: u8) -> f32 {
    f32::from(v) / 255.0
}
