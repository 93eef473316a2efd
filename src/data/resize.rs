//! Short side to a size, then the centre: torchvision's `Resize` and `CenterCrop` on 8-bit pictures, to the bit.
//!
//! The resampling is Pillow's antialiased `BILINEAR` (its `Resample.c`): weights of a triangle that widens when shrinking,
//! as integers of 22 fractional bits; first along rows, then along columns, with 8-bit values between. No crate gives
//! these bits. Only the part that the crop keeps is computed, so a picture of 1×60,000 pixels costs no more than another.

use image::RgbImage;

/// Fractional bits of a weight: 32, less 8 of a pixel, less 2 for sums (Pillow's `PRECISION_BITS`).
const BITS: u32 = 32 - 8 - 2;

/// The picture with its short side at `resize`, and of that the middle `crop`×`crop` pixels, row by row in RGB.
/// `crop` is at most `resize`.
pub fn short_side_and_centre(picture: &RgbImage, resize: usize, crop: usize) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    // the long side is cut off to a whole number, as Python's int() does
    let scaled = |side: usize| side * resize / width.min(height);
    let window = |side: usize| Window { from: side, to: scaled(side), first: centre(scaled(side), crop), take: crop };
    let (columns, rows) = (window(width).taps(), window(height).taps());
    // rows that some tap of the second pass reads
    let top = rows.iter().map(|t| t.first).min().unwrap_or(0);
    let bottom = rows.iter().map(|t| t.first + t.weights.len()).max().unwrap_or(0);
    let source = picture.as_raw();
    let mut between = Vec::with_capacity((bottom - top) * crop * 3);
    for y in top..bottom {
        for tap in &columns {
            between.extend(tap.apply(|i| &source[(y * width + i) * 3..]));
        }
    }
    let mut result = Vec::with_capacity(crop * crop * 3);
    for tap in &rows {
        for x in 0..crop {
            result.extend(tap.apply(|i| &between[((i - top) * crop + x) * 3..]));
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
    fn taps(&self) -> Vec<Tap> {
        let scale = self.from as f64 / self.to as f64;
        let support = scale.max(1.0);
        let tap = |x: usize| {
            if self.from == self.to {
                return Tap { first: x, weights: vec![1 << BITS] }; // Pillow leaves this pass out
            }
            let middle = (x as f64 + 0.5) * scale;
            // casts cut off towards zero and stop at zero
            let first = (middle - support + 0.5) as usize;
            let end = ((middle + support + 0.5) as usize).min(self.from);
            let inverse = 1.0 / support;
            let triangle = |i: usize| (1.0 - ((i as f64 - middle + 0.5) * inverse).abs()).max(0.0);
            let weights: Vec<f64> = (first..end).map(triangle).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |w: &f64| (0.5 + w / sum * f64::from(1 << BITS)) as i32;
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

    /// Enlarged, shrunk and left alone: values of Pillow 13.0.0.
    #[test]
    fn resampling_is_pillows_to_the_bit() {
        for (seed, width, height, resize, crop, expected) in [
            (5, 120, 90, 256, 224, "569f061952a4fbb690e385acfaca09abc4e4340319273d775530c9e3eba0d68f"),
            (3, 640, 427, 256, 227, "4b77d0306bd80e603d9deabc74dc1533110820f07712ee91b423ec1870d72d05"),
            (4, 256, 256, 256, 224, "05177139afda308bfdec4b19144d93974497d9a7da9a66ff505bdb8febbee253"),
        ] {
            let prepared = short_side_and_centre(&picture(seed, width, height), resize, crop);
            assert_eq!(digest::sha256(&prepared), expected, "{width}x{height}");
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
        assert_eq!(short_side_and_centre(&grey, 256, 2), [7, 8, 9].repeat(4));
    }
}
