//! A picture brought to a size, then its centre: torchvision's `Resize` and `CenterCrop` on 8-bit pictures, to the bit. Those
//! know a length for the short side alone, which is for squares; what covers a rectangle is said at [`covered`].
//!
//! The resampling is Pillow's antialiased `BILINEAR` or `BICUBIC` (its `Resample.c`): weights of a triangle or of a cubic that
//! widens when shrinking, as integers of 22 fractional bits; first along rows, then along columns, with 8-bit values between.
//! (Pillow 13 takes the columns first where a picture is much higher than wide, which moves some values by a level; up to 11.3
//! it began with the rows, as here.) No crate gives these bits. Only the part that the crop keeps is computed, so a picture of
//! 1×60,000 pixels costs no more than another.

use image::RgbImage;

/// Fractional bits of a weight: 32, less 8 of a pixel, less 2 for sums (Pillow's `PRECISION_BITS`).
const BITS: u32 = 32 - 8 - 2;

/// What a pixel is made of where a picture changes its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// The cubic of Keys 1981 with a = −½.
    Bicubic,
}

impl Filter {
    /// All of them.
    pub const ALL: [Filter; 2] = [Filter::Bilinear, Filter::Bicubic];

    /// Name in cells.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
        }
    }

    /// How far it reaches, in pixels of the smaller picture.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    /// Weight at a distance, in Pillow's order of operations.
    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Filter::Bicubic => 0.0,
        }
    }
}

/// Height and width of what a picture is made to cover before `crop`, height and width, is cut from its middle: the crop
/// enlarged so that its short side has the length `resize`, which is no less; the long side cut off to a whole number.
pub fn covered(resize: usize, crop: [usize; 2]) -> [usize; 2] {
    let short = crop[0].min(crop[1]).max(1);
    crop.map(|side| side * resize / short)
}

/// The picture as small as it covers [`covered`], its shape kept, and of that the middle `crop`, row by row in RGB. It then has
/// the height or the width that is to be covered; of a square, its short side has the length `resize`.
pub fn covering_and_centre(picture: &RgbImage, resize: usize, crop: [usize; 2], filter: Filter) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let [most_height, most_width] = covered(resize, crop);
    // which of the two sides is enlarged more
    let (to, of) = if most_height * width > most_width * height { (most_height, height) } else { (most_width, width) };
    // the other is cut off to a whole number, as Python's int() does
    let window = |from: usize, take: usize| {
        let to = from * to / of;
        Window { from, to, first: centre(to, take), take }
    };
    let (columns, rows) = (window(width, crop[1]).taps(filter), window(height, crop[0]).taps(filter));
    // rows that some tap of the second pass reads
    let top = rows.iter().map(|t| t.first).min().unwrap_or(0);
    let bottom = rows.iter().map(|t| t.first + t.weights.len()).max().unwrap_or(0);
    let source = picture.as_raw();
    let [_, cut] = crop;
    let mut between = Vec::with_capacity((bottom - top) * cut * 3);
    for y in top..bottom {
        for tap in &columns {
            between.extend(tap.apply(|i| &source[(y * width + i) * 3..]));
        }
    }
    let mut result = Vec::with_capacity(rows.len() * cut * 3);
    for tap in &rows {
        for x in 0..cut {
            result.extend(tap.apply(|i| &between[((i - top) * cut + x) * 3..]));
        }
    }
    result
}

/// Where the crop begins: half of what is too much, halves to the even number, as Python's round() does.
fn centre(side: usize, crop: usize) -> usize {
    let over = side - crop;
    over / 2 + usize::from(over % 4 == 3)
}

/// A side scaled from one length to another, of which only a stretch is wanted.
struct Window {
    from: usize,
    to: usize,
    first: usize,
    take: usize,
}

/// What one pixel is made of: consecutive pixels and their weights.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

impl Window {
    /// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`, in its order of operations.
    fn taps(&self, filter: Filter) -> Vec<Tap> {
        let scale = self.from as f64 / self.to as f64;
        let wider = scale.max(1.0);
        let support = filter.support() * wider;
        let tap = |x: usize| {
            if self.from == self.to {
                return Tap { first: x, weights: vec![1 << BITS] }; // Pillow leaves this pass out
            }
            let middle = (x as f64 + 0.5) * scale;
            // casts cut off towards zero and stop at zero
            let first = (middle - support + 0.5) as usize;
            let end = ((middle + support + 0.5) as usize).min(self.from);
            let inverse = 1.0 / wider;
            let weights: Vec<f64> = (first..end).map(|i| filter.weight((i as f64 - middle + 0.5) * inverse)).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |w: &f64| (0.5f64.copysign(*w) + w / sum * f64::from(1 << BITS)) as i32;
            Tap { first, weights: weights.iter().map(fixed).collect() }
        };
        (self.first..self.first + self.take).map(tap).collect()
    }
}

impl Tap {
    /// One pixel; `at(i)` begins with pixel i. Sums do not leave `i32`, which is what [`BITS`] is for.
    fn apply<'a>(&self, at: impl Fn(usize) -> &'a [u8]) -> [u8; 3] {
        let mut sums = [1 << (BITS - 1); 3];
        for (k, weight) in self.weights.iter().enumerate() {
            let pixel = at(self.first + k);
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*value) * weight;
            }
        }
        sums.map(|sum| (sum >> BITS).clamp(0, 255) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;
    use image::Rgb;

    fn picture(seed: u32, width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let red = (7 * x + 13 * y + 29 * seed) ^ (x * y / 3);
            let green = x * x / 5 + 3 * y + seed;
            let blue = (11 * x) ^ (17 * y) ^ (101 * seed);
            Rgb([red, green, blue].map(|v| (v % 256) as u8))
        })
    }

    /// Enlarged, shrunk and left alone: values of Pillow 13.0.0, those of 300×800 pixels of 11.3.0.
    #[test]
    fn resampling_is_pillows_to_the_bit() {
        use Filter::{Bicubic as C, Bilinear as B};
        for (filter, seed, width, height, resize, crop, expected) in [
            (B, 5, 120, 90, 256, [224; 2], "569f061952a4fbb690e385acfaca09abc4e4340319273d775530c9e3eba0d68f"),
            (B, 3, 640, 427, 256, [227; 2], "4b77d0306bd80e603d9deabc74dc1533110820f07712ee91b423ec1870d72d05"),
            (B, 4, 256, 256, 256, [224; 2], "05177139afda308bfdec4b19144d93974497d9a7da9a66ff505bdb8febbee253"),
            (B, 5, 120, 90, 219, [224, 192], "78f41ff28200353e69805a21a5be157da327346faf04e44ee40087dfcbf68127"),
            (B, 3, 640, 427, 256, [192, 224], "5923d060fa264ba8844eff8a4d89bcd2e4be7b08b0e7850e4d350a651840d0d5"),
            (B, 7, 800, 300, 52, [64, 48], "88638ffcd269db46e489216f0ddb12ef4ce69971abc0fc13a718c8b8ab062541"),
            (C, 5, 120, 90, 256, [224; 2], "397dcc857d70ea539c6085f5492f74c87ac1040185806d5f16c02bffa6debe5f"),
            (C, 3, 640, 427, 256, [227; 2], "634babb0c729cea81386e8bdbb075d3f3986131b4d242007ef30a63dcab15838"),
            (C, 4, 256, 256, 256, [224; 2], "05177139afda308bfdec4b19144d93974497d9a7da9a66ff505bdb8febbee253"),
            (C, 6, 37, 500, 248, [224; 2], "276d15e8afb9637ffcb752b02bd95cd5255a8756c22667fb9475ceecbdfc3503"),
            (C, 7, 800, 300, 52, [64, 48], "351f41c5c9a879bfde6307f81580af4519984c5d7b4c040c81a79ec20c867d19"),
            (B, 7, 300, 800, 52, [64, 48], "ee25ea18a2f78a5b5a5cbe9b265c450c395d1ac8780969d8e85a54d51ed47e76"),
            (C, 7, 300, 800, 52, [64, 48], "ad7e71ab643269e7077d9f9261c7a222aa5d7074c7d5b020e45d0f5cb7ff471c"),
        ] {
            let prepared = covering_and_centre(&picture(seed, width, height), resize, crop, filter);
            assert_eq!(digest::sha256(&prepared), expected, "{filter:?} {width}x{height}");
        }
    }

    #[test]
    fn the_crop_begins_at_half_of_what_is_too_much_rounded_to_even() {
        let begins: Vec<usize> = (10..18).map(|side| centre(side, 10)).collect();
        assert_eq!(begins, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn a_very_long_picture_costs_no_more_than_its_crop() {
        let grey = RgbImage::from_pixel(1, 60_000, Rgb([7, 8, 9]));
        assert_eq!(covering_and_centre(&grey, 256, [2; 2], Filter::Bicubic), [7, 8, 9].repeat(4));
    }
}
