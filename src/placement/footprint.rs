//! Which pixels a placed picture covers, and with what weights each of them reads the picture: a sparse linear map.

use super::picture::Picture;
use super::place::{Mask, Placement, cos_sin, covered};

impl Placement {
    /// What a picture of `picture_side` pixels covers on an image of this height and width, and how it is sampled there.
    pub fn footprint(&self, size: [usize; 2], picture_side: usize) -> Footprint {
        Footprint::new(self, size, picture_side)
    }
}

/// What a placed picture covers. The mask is hard: a pixel is the picture's or the scene's, never a mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct Footprint {
    /// Height and width of the image.
    size: [usize; 2],
    /// Side of the picture.
    picture_side: usize,
    /// Indices row·width + column of covered pixels, ascending.
    pixels: Vec<usize>,
    /// Where the taps of each covered pixel end.
    ends: Vec<usize>,
    /// Indices into the picture and weights, which add up to 1 for each covered pixel.
    taps: Vec<(u32, f32)>,
}

impl Footprint {
    /// The `covered(area, size)` pixels nearest to the centre: by Euclidean distance for the circle, by the larger
    /// coordinate in the turned frame for the square. Ties go to the lower index.
    pub(super) fn new(placement: &Placement, size: [usize; 2], picture_side: usize) -> Footprint {
        let count = covered(placement.area, size);
        let [height, width] = size;
        let (cos, sin) = cos_sin(placement.angle);
        // offset from the centre in the picture's frame, in pixels of the image
        let turned = |x: f64, y: f64| {
            let (dx, dy) = (x - placement.centre[0], y - placement.centre[1]);
            (cos * dx + sin * dy, cos * dy - sin * dx)
        };
        let distance = |i: usize| {
            let (a, b) = turned((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
            match placement.mask {
                Mask::Circle => a * a + b * b,
                Mask::Square => a.abs().max(b.abs()),
            }
        };
        let mut nearest: Vec<(f64, usize)> = (0..height * width).map(|i| (distance(i), i)).collect();
        if (1..nearest.len()).contains(&count) {
            nearest.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        let mut pixels: Vec<usize> = nearest[..count].iter().map(|(_, i)| *i).collect();
        pixels.sort_unstable();

        // pixels of the picture per pixel of the image
        let scale = picture_side as f64 / placement.mask.span(count.max(1));
        // a shrunk picture is averaged over the area of a pixel; a scale of 1 that is off by a rounding error is none
        let per_axis = ((scale - 1e-9).ceil() as usize).max(1);
        let offset = |i: usize| (i as f64 + 0.5) / per_axis as f64 - 0.5;
        let (mut ends, mut taps) = (Vec::new(), Vec::new());
        let mut of_pixel = Vec::new();
        for i in &pixels {
            let (x, y) = ((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
            of_pixel.clear();
            for tap in 0..per_axis * per_axis {
                let (a, b) = turned(x + offset(tap % per_axis), y + offset(tap / per_axis));
                let middle = picture_side as f64 / 2.0;
                bilinear(a * scale + middle, b * scale + middle, picture_side, &mut of_pixel);
            }
            merge(&mut of_pixel, &mut taps);
            ends.push(taps.len());
        }
        Footprint { size, picture_side, pixels, ends, taps }
    }

    /// Covered pixels row·width + column, ascending, each with its taps.
    fn rows(&self) -> impl Iterator<Item = (usize, &[(u32, f32)])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.pixels.iter().zip(starts.zip(&self.ends)).map(|(i, (from, to))| (*i, &self.taps[from..*to]))
    }

    /// Number of pixels of the image.
    fn area(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Number of covered pixels.
    pub fn len(&self) -> usize {
        self.pixels.len()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Whether each pixel of the image, row by row, is covered.
    pub fn mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.area()];
        self.pixels.iter().for_each(|i| mask[*i] = true);
        mask
    }

    /// Without the pixels where the picture's alpha, sampled like its colours, is below ½: there the scene stays. Colours
    /// are weighed by alpha, so that what lies hidden under a transparent pixel does not bleed into the object's edge.
    pub fn cut_out(self, picture: &Picture) -> Footprint {
        let Some(alpha) = &picture.alpha else { return self };
        let mut cut = Footprint {
            pixels: Vec::new(),
            ends: Vec::new(),
            taps: Vec::new(),
            size: self.size,
            picture_side: self.picture_side,
        };
        for (i, taps) in self.rows() {
            let total: f32 = taps.iter().map(|(p, w)| w * alpha[*p as usize]).sum();
            if total >= 0.5 {
                cut.pixels.push(i);
                cut.taps.extend(taps.iter().map(|(p, w)| (*p, w * alpha[*p as usize] / total)).filter(|t| t.1 > 0.0));
                cut.ends.push(cut.taps.len());
            }
        }
        cut
    }

    /// Writes the picture's colours, 3×P×P in [0,1], over the covered pixels of an image 3×H×W.
    pub fn paste(&self, picture: &[f32], image: &mut [f32]) {
        self.sample(picture, |i, v| image[i] = v);
    }

    /// [`Footprint::paste`] onto 8-bit pixels: computed in f32, in the order of the taps, then rounded half to even. The
    /// same bytes on every machine.
    pub fn paste_u8(&self, picture: &[f32], image: &mut [u8]) {
        self.sample(picture, |i, v| image[i] = (v * 255.0).round_ties_even().clamp(0.0, 255.0) as u8);
    }

    /// Index into the image and sampled colour, for every channel of every covered pixel.
    fn sample(&self, picture: &[f32], mut put: impl FnMut(usize, f32)) {
        let (area, plane) = (self.area(), self.picture_side * self.picture_side);
        assert_eq!(picture.len(), 3 * plane, "the footprint is one of another picture");
        for (i, taps) in self.rows() {
            for (c, colours) in picture.chunks_exact(plane).enumerate() {
                put(c * area + i, taps.iter().map(|(p, w)| w * colours[*p as usize]).sum());
            }
        }
    }

    /// The exact transpose of [`Footprint::paste`]: adds to the picture's gradient, 3×P×P, what the gradient of the image,
    /// 3×H×W, says of it.
    pub fn pull(&self, image_gradient: &[f32], picture_gradient: &mut [f32]) {
        let (area, plane) = (self.area(), self.picture_side * self.picture_side);
        assert_eq!(picture_gradient.len(), 3 * plane, "the footprint is one of another picture");
        for (i, taps) in self.rows() {
            for (c, colours) in picture_gradient.chunks_exact_mut(plane).enumerate() {
                let g = image_gradient[c * area + i];
                taps.iter().for_each(|(p, w)| colours[*p as usize] += w * g);
            }
        }
    }
}

/// The four pixels around a point, which is in pixels from the picture's corner, with their weights. Beyond the centres of
/// the outermost pixels the picture goes on as it ends.
fn bilinear(x: f64, y: f64, side: usize, taps: &mut Vec<(u32, f64)>) {
    let along = |v: f64| {
        let v = (v - 0.5).clamp(0.0, (side - 1) as f64);
        let low = v.floor();
        let high = (low as usize + 1).min(side - 1);
        [(low as usize, 1.0 - (v - low)), (high, v - low)]
    };
    for (row, wy) in along(y) {
        taps.extend(along(x).map(|(column, wx)| ((row * side + column) as u32, wx * wy)));
    }
}

/// Appends the taps of one pixel in ascending order, one for each pixel of the picture, scaled to a sum of 1.
fn merge(of_pixel: &mut [(u32, f64)], taps: &mut Vec<(u32, f32)>) {
    // a stable sort: equal indices are added in the order in which they were sampled
    of_pixel.sort_by_key(|t| t.0);
    let total: f64 = of_pixel.iter().map(|t| t.1).sum();
    for same in of_pixel.chunk_by(|a, b| a.0 == b.0) {
        let weight = same.iter().map(|t| t.1).sum::<f64>() / total;
        if weight > 0.0 {
            taps.push((same[0].0, weight as f32));
        }
    }
}
