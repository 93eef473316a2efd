//! What JPEG loses: colours at half the resolution (4:2:0) and the coefficients of 8×8 blocks rounded to multiples of the tables
//! of the standard, as libjpeg scales them. What it only packs is left out.

use super::{Size, grey_level};
use std::f32::consts::PI;

/// Luminance (ITU-T T.81, Annex K, table K.1).
#[rustfmt::skip]
const LUMINANCE: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];

/// Chrominance (table K.2).
#[rustfmt::skip]
const CHROMINANCE: [u16; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// Multiples that coefficients are rounded to at a quality from 1 to 100 (libjpeg's `jpeg_quality_scaling`).
fn table(standard: &[u16; 64], quality: u32) -> [f32; 64] {
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    standard.map(|q| ((u32::from(q) * scale + 50) / 100).clamp(1, 255) as f32)
}

/// The picture 3×H×W as it comes back from a JPEG file of this quality, in whole grey levels.
pub fn lossy(image: &[f32], size: Size, quality: u32) -> Vec<f32> {
    let [height, width] = size;
    let n = height * width;
    let level = |c: usize, i: usize| f32::from(grey_level(image[c * n + i]));
    let ycc = |i: usize| {
        let (r, g, b) = (level(0, i), level(1, i), level(2, i));
        [
            0.299 * r + 0.587 * g + 0.114 * b,
            128.0 - 0.168_735_9 * r - 0.331_264_1 * g + 0.5 * b,
            128.0 + 0.5 * r - 0.418_687_6 * g - 0.081_312_4 * b,
        ]
        .map(f32::round)
    };
    let all: Vec<[f32; 3]> = (0..n).map(ycc).collect();
    let plane = |c: usize| all.iter().map(|v| v[c]).collect::<Vec<f32>>();
    let luma = coded(&plane(0), size, &table(&LUMINANCE, quality));
    let half = [height.div_ceil(2), width.div_ceil(2)];
    let chroma = |c: usize| {
        // whole blocks are halved, of pixels repeated beyond the edge
        let whole = half.map(|side| side.next_multiple_of(8));
        let coded = coded(&halved(&plane(c), size, whole), whole, &table(&CHROMINANCE, quality));
        let real: Vec<f32> =
            coded.chunks_exact(whole[1]).take(half[0]).flat_map(|row| &row[..half[1]]).copied().collect();
        doubled(&real, half, size)
    };
    let (blue, red) = (chroma(1), chroma(2));
    let mut out = vec![0.0; 3 * n];
    for i in 0..n {
        let (y, b, r) = (luma[i], blue[i] - 128.0, red[i] - 128.0);
        let rgb = [y + 1.402 * r, y - 0.344_136_3 * b - 0.714_136_3 * r, y + 1.772 * b];
        rgb.iter().enumerate().for_each(|(c, v)| out[c * n + i] = v.round().clamp(0.0, 255.0) / 255.0);
    }
    out
}

/// Means of two by two pixels, edges repeated as far as asked, rounded down and up in turn (libjpeg's `h2v2_downsample`).
fn halved(plane: &[f32], [height, width]: Size, [rows, columns]: Size) -> Vec<f32> {
    let at = |y: usize, x: usize| plane[y.min(height - 1) * width + x.min(width - 1)];
    let mut out = Vec::new();
    for y in 0..rows {
        for x in 0..columns {
            let sum: f32 = [(0, 0), (0, 1), (1, 0), (1, 1)].iter().map(|(dy, dx)| at(2 * y + dy, 2 * x + dx)).sum();
            let bias = if x.is_multiple_of(2) { 1.0 } else { 2.0 };
            out.push(((sum + bias) / 4.0).floor());
        }
    }
    out
}

/// Twice the size, by three parts of the nearest and one of the next (libjpeg's "fancy" `h2v2_upsample`).
fn doubled(plane: &[f32], [h, w]: Size, [height, width]: Size) -> Vec<f32> {
    let near =
        |i: usize, n: usize| if i.is_multiple_of(2) { (i / 2).saturating_sub(1) } else { (i / 2 + 1).min(n - 1) };
    // 3/4 of the row that the pixel lies in, and 1/4 of the next: in quarters
    let column = |y: usize, x: usize| 3.0 * plane[y / 2 * w + x] + plane[near(y, h) * w + x];
    let mut out = Vec::with_capacity(height * width);
    for y in 0..height {
        for x in 0..width {
            let sum = 3.0 * column(y, x / 2) + column(y, near(x, w));
            let bias = if x.is_multiple_of(2) { 8.0 } else { 7.0 };
            out.push(((sum + bias) / 16.0).floor());
        }
    }
    out
}

/// cos((2x + 1)·u·π/16)/2, by frequency, then place; the first frequency by 1/√2 of that.
fn basis() -> [[f32; 8]; 8] {
    let mut basis = [[0.0; 8]; 8];
    for (u, row) in basis.iter_mut().enumerate() {
        let scale = if u == 0 { 0.125f32.sqrt() } else { 0.5 };
        row.iter_mut().enumerate().for_each(|(x, v)| *v = scale * ((2 * x + 1) as f32 * u as f32 * PI / 16.0).cos());
    }
    basis
}

/// A plane of grey levels, each 8×8 block through its coefficients and back; edges are repeated to whole blocks.
fn coded(plane: &[f32], [height, width]: Size, table: &[f32; 64]) -> Vec<f32> {
    let basis = basis();
    let mut out = vec![0.0; plane.len()];
    for (top, left) in (0..height).step_by(8).flat_map(|y| (0..width).step_by(8).map(move |x| (y, x))) {
        let mut block = [[0.0f32; 8]; 8];
        for (y, row) in block.iter_mut().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                *value = plane[(top + y).min(height - 1) * width + (left + x).min(width - 1)] - 128.0;
            }
        }
        let mut coefficients = through(&block, |u, x| basis[u][x]);
        for (row, of_table) in coefficients.iter_mut().zip(table.chunks_exact(8)) {
            row.iter_mut().zip(of_table).for_each(|(c, q)| *c = (*c / q).round() * q);
        }
        let back = through(&coefficients, |x, u| basis[u][x]);
        for y in 0..8.min(height - top) {
            for x in 0..8.min(width - left) {
                out[(top + y) * width + left + x] = (back[y][x] + 128.0).round().clamp(0.0, 255.0);
            }
        }
    }
    out
}

/// M·B·Mᵀ.
fn through(block: &[[f32; 8]; 8], m: impl Fn(usize, usize) -> f32) -> [[f32; 8]; 8] {
    let (mut half, mut out) = ([[0.0; 8]; 8], [[0.0; 8]; 8]);
    for (u, x) in (0..8).flat_map(|u| (0..8).map(move |x| (u, x))) {
        half[u][x] = (0..8).map(|y| m(u, y) * block[y][x]).sum();
    }
    for (u, v) in (0..8).flat_map(|u| (0..8).map(move |v| (u, v))) {
        out[u][v] = (0..8).map(|x| m(v, x) * half[u][x]).sum();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = [13, 18];

    /// A picture whose sides are no multiples of a block.
    fn picture() -> Vec<f32> {
        let at = |c: usize, y: usize, x: usize| match c {
            0 => (x * 11 + y * 5) % 256,
            1 => (x * x + 7 * y) % 256,
            _ => (200 + 3 * y - 6 * x) % 256,
        };
        let [h, w] = SIZE;
        let places = (0..3).flat_map(|c| (0..h).flat_map(move |y| (0..w).map(move |x| (c, y, x))));
        places.map(|(c, y, x)| at(c, y, x) as f32 / 255.0).collect()
    }

    /// Every fourth row and fifth column, RGB, as Pillow 13 (libjpeg-turbo) writes and reads the picture.
    #[rustfmt::skip]
    const OF_PILLOW: [(u32, [u8; 48]); 2] = [
        (75, [22, 0, 183, 60, 22, 167, 105, 88, 120, 205, 213, 154, 34, 20, 201, 79, 49, 181, 133, 121, 143, 217, 181, 155,
              42, 57, 212, 97, 82, 187, 158, 163, 166, 175, 60, 101, 58, 85, 224, 117, 109, 192, 170, 195, 176, 227, 49, 147]),
        (30, [0, 11, 181, 79, 23, 184, 82, 108, 125, 222, 209, 167, 19, 33, 200, 96, 48, 196, 123, 145, 159, 211, 178, 147,
              40, 58, 218, 109, 78, 198, 143, 156, 164, 184, 116, 107, 59, 80, 233, 122, 105, 201, 166, 167, 171, 193, 88, 102]),
    ];

    /// libjpeg computes in integers: a coefficient in the middle between two multiples may fall to the other side.
    #[test]
    fn what_is_lost_is_what_libjpeg_loses() {
        let [h, w] = SIZE;
        for (quality, expected) in OF_PILLOW {
            let ours = lossy(&picture(), SIZE, quality);
            let places = (0..h).step_by(4).flat_map(|y| (0..w).step_by(5).map(move |x| y * w + x));
            let values = places.flat_map(|i| [0, 1, 2].map(|c| grey_level(ours[c * h * w + i])));
            let off: Vec<i32> = values.zip(expected).map(|(a, b)| (i32::from(a) - i32::from(b)).abs()).collect();
            assert!(off.iter().max() <= Some(&3), "quality {quality}: {off:?}");
            assert!(off.iter().filter(|d| **d > 1).count() <= 6, "quality {quality}: {off:?}");
        }
    }

    #[test]
    fn grey_stays_and_a_better_quality_loses_less() {
        assert_eq!(lossy(&vec![128.0 / 255.0; 3 * 234], SIZE, 10), vec![128.0 / 255.0; 3 * 234]);
        let loss =
            |quality| lossy(&picture(), SIZE, quality).iter().zip(picture()).map(|(a, b)| (a - b).abs()).sum::<f32>();
        assert!(loss(100) < loss(75) && loss(75) < loss(30) && loss(30) < loss(5));
    }
}
