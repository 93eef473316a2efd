//! What JPEG loses: colours at half the resolution (4:2:0) and the coefficients of 8×8 blocks rounded to multiples of
//! the tables of the standard, as libjpeg scales them. What it only packs is left out. All is computed in libjpeg's
//! integers: a float would round many a coefficient to the other of two multiples.

use super::{Size, grey_level};

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
fn table(standard: &[u16; 64], quality: u32) -> [i64; 64] {
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    standard.map(|q| ((u32::from(q) * scale + 50) / 100).clamp(1, 255).into())
}

/// The picture 3×H×W as it comes back from a JPEG file of this quality, in whole grey levels.
pub fn lossy(image: &[f32], size: Size, quality: u32) -> Vec<f32> {
    let [height, width] = size;
    let n = height * width;
    let level = |c: usize, i: usize| i64::from(grey_level(image[c * n + i]));
    // weights in parts of 2^16; what is added rounds, for colours a half down, around 128
    let ycc = |i: usize| {
        let (r, g, b) = (level(0, i), level(1, i), level(2, i));
        let middle = (128 << 16) + (1 << 15) - 1;
        [
            (19_595 * r + 38_470 * g + 7_471 * b + (1 << 15)) >> 16,
            (-11_059 * r - 21_709 * g + 32_768 * b + middle) >> 16,
            (32_768 * r - 27_439 * g - 5_329 * b + middle) >> 16,
        ]
    };
    let all: Vec<[i64; 3]> = (0..n).map(ycc).collect();
    let plane = |c: usize| all.iter().map(|v| v[c]).collect::<Vec<i64>>();
    let luma = coded(&plane(0), size, &table(&LUMINANCE, quality));
    let half = [height.div_ceil(2), width.div_ceil(2)];
    let chroma = |c: usize| {
        // whole blocks are halved, of pixels repeated beyond the edge
        let whole = half.map(|side| side.next_multiple_of(8));
        let coded = coded(&halved(&plane(c), size, whole), whole, &table(&CHROMINANCE, quality));
        let real: Vec<i64> =
            coded.chunks_exact(whole[1]).take(half[0]).flat_map(|row| &row[..half[1]]).copied().collect();
        doubled(&real, half, size)
    };
    let (blue, red) = (chroma(1), chroma(2));
    let mut out = vec![0.0; 3 * n];
    for i in 0..n {
        let (y, b, r) = (luma[i], blue[i] - 128, red[i] - 128);
        let half = 1 << 15;
        let rgb = [
            y + ((91_881 * r + half) >> 16),
            y + ((-22_554 * b - 46_802 * r + half) >> 16),
            y + ((116_130 * b + half) >> 16),
        ];
        rgb.iter().enumerate().for_each(|(c, v)| out[c * n + i] = (*v).clamp(0, 255) as f32 / 255.0);
    }
    out
}

/// Means of two by two pixels, rounded down and up in turn (libjpeg's `h2v2_downsample`), as many as asked: beyond the
/// right edge the last pixel is repeated, beyond the lower one the last mean.
fn halved(plane: &[i64], [height, width]: Size, [rows, columns]: Size) -> Vec<i64> {
    let at = |y: usize, x: usize| plane[y.min(height - 1) * width + x.min(width - 1)];
    let mut out = Vec::with_capacity(rows * columns);
    for y in (0..rows).map(|y| y.min(height.div_ceil(2) - 1)) {
        for x in 0..columns {
            let sum: i64 = [(0, 0), (0, 1), (1, 0), (1, 1)].iter().map(|(dy, dx)| at(2 * y + dy, 2 * x + dx)).sum();
            let bias = if x.is_multiple_of(2) { 1 } else { 2 };
            out.push((sum + bias) >> 2);
        }
    }
    out
}

/// Twice the size, by three parts of the nearest and one of the next (libjpeg's "fancy" `h2v2_upsample`); a plane of
/// one or two columns is only repeated.
fn doubled(plane: &[i64], [h, w]: Size, [height, width]: Size) -> Vec<i64> {
    let near =
        |i: usize, n: usize| if i.is_multiple_of(2) { (i / 2).saturating_sub(1) } else { (i / 2 + 1).min(n - 1) };
    // 3/4 of the row that the pixel lies in, and 1/4 of the next: in quarters
    let column = |y: usize, x: usize| 3 * plane[y / 2 * w + x] + plane[near(y, h) * w + x];
    let mut out = Vec::with_capacity(height * width);
    for y in 0..height {
        for x in 0..width {
            if w <= 2 {
                out.push(plane[y / 2 * w + x / 2]);
                continue;
            }
            let sum = 3 * column(y, x / 2) + column(y, near(x, w));
            let bias = if x.is_multiple_of(2) { 8 } else { 7 };
            out.push((sum + bias) >> 4);
        }
    }
    out
}

/// 8×8 numbers, row by row.
type Block = [[i64; 8]; 8];

/// A plane of grey levels, each block through its coefficients and back; edges are repeated to whole blocks.
fn coded(plane: &[i64], [height, width]: Size, table: &[i64; 64]) -> Vec<i64> {
    let mut out = vec![0; plane.len()];
    for (top, left) in (0..height).step_by(8).flat_map(|y| (0..width).step_by(8).map(move |x| (y, x))) {
        let mut block = [[0; 8]; 8];
        for (y, row) in block.iter_mut().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                *value = plane[(top + y).min(height - 1) * width + (left + x).min(width - 1)] - 128;
            }
        }
        let mut coefficients = to_coefficients(block);
        for (row, of_table) in coefficients.iter_mut().zip(table.chunks_exact(8)) {
            row.iter_mut().zip(of_table).for_each(|(c, q)| *c = c.signum() * ((c.abs() + 4 * q) / (8 * q)) * q);
        }
        let back = from_coefficients(coefficients);
        for y in 0..8.min(height - top) {
            for x in 0..8.min(width - left) {
                out[(top + y) * width + left + x] = (back[y][x] + 128).clamp(0, 255);
            }
        }
    }
    out
}

/// Bits after the point of the cosines, and bits more than whole numbers kept between rows and columns (libjpeg's
/// `CONST_BITS` and `PASS1_BITS`).
const FRACTION: u32 = 13;
const BETWEEN: u32 = 2;

/// Eight times the coefficients of the cosine transform (Loeffler, Ligtenberg and Moschytz 1989; libjpeg's `jfdctint`).
fn to_coefficients(block: Block) -> Block {
    let rows = block.map(|row| shifted(forward(row), FRACTION - BETWEEN));
    turned(turned(rows).map(|column| shifted(forward(column), FRACTION + BETWEEN)))
}

/// The block of these coefficients (libjpeg's `jidctint`).
fn from_coefficients(coefficients: Block) -> Block {
    let columns = turned(coefficients).map(|column| shifted(backward(column), FRACTION - BETWEEN));
    turned(columns).map(|row| shifted(backward(row), FRACTION + BETWEEN + 3))
}

/// Rows as columns.
fn turned(block: Block) -> Block {
    std::array::from_fn(|y| std::array::from_fn(|x| block[x][y]))
}

/// Without the last bits, rounded.
fn shifted(line: [i64; 8], bits: u32) -> [i64; 8] {
    line.map(|v| (v + (1 << (bits - 1))) >> bits)
}

/// √8 times the transform of a line, in parts of 2^13.
fn forward(x: [i64; 8]) -> [i64; 8] {
    let sum: [i64; 4] = std::array::from_fn(|i| x[i] + x[7 - i]);
    let [even_sum, even] = [sum[0] + sum[3], sum[0] - sum[3]];
    let [odd_sum, odd] = [sum[1] + sum[2], sum[1] - sum[2]];
    let (two, six) = turn(even, odd);
    let [seven, five, three, one] = quarter([x[3] - x[4], x[2] - x[5], x[1] - x[6], x[0] - x[7]]);
    [(even_sum + odd_sum) << FRACTION, one, two, three, (even_sum - odd_sum) << FRACTION, five, six, seven]
}

/// √8 times the line of a transform, in parts of 2^13.
fn backward(c: [i64; 8]) -> [i64; 8] {
    let (more, less) = turn(c[2], c[6]);
    let [sum, difference] = [(c[0] + c[4]) << FRACTION, (c[0] - c[4]) << FRACTION];
    let even = [sum + more, difference + less, difference - less, sum - more];
    let odd = quarter([c[7], c[5], c[3], c[1]]);
    std::array::from_fn(|i| if i < 4 { even[i] + odd[3 - i] } else { even[7 - i] - odd[i - 4] })
}

/// A turn by 3π/8, times √2: a·cos + b·sin of π/8, and a·sin − b·cos.
fn turn(a: i64, b: i64) -> (i64, i64) {
    let both = 4_433 * (a + b);
    (both + 6_270 * a, both - 15_137 * b)
}

/// The odd half of the transform, which is its own inverse.
fn quarter([a, b, c, d]: [i64; 4]) -> [i64; 4] {
    let all = 9_633 * (a + b + c + d);
    let (outer, inner) = (-7_373 * (a + d), -20_995 * (b + c));
    let (first, second) = (all - 16_069 * (a + c), all - 3_196 * (b + d));
    [2_446 * a + outer + first, 16_819 * b + inner + second, 25_172 * c + inner + first, 12_299 * d + outer + second]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose channels have slopes and edges.
    fn picture([height, width]: Size) -> Vec<f32> {
        let at = |c: usize, y: usize, x: usize| match c {
            0 => (x * 11 + y * 5) % 256,
            1 => (x * x + 7 * y) % 256,
            _ => (200 + 3 * y - 6 * x) % 256,
        };
        let places = (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
        places.map(|(c, y, x)| at(c, y, x) as f32 / 255.0).collect()
    }

    /// Size, quality, and every fourth row from the fourth on and every fifth column, RGB, as Pillow 13 (libjpeg-turbo)
    /// writes and reads the picture: with sides that are no multiples of a block, odd or even, and so narrow that
    /// colours are not smoothed.
    #[rustfmt::skip]
    const OF_PILLOW: [(Size, u32, &[u8]); 4] = [
        ([13, 18], 75, &[
            34, 14, 199, 76, 42, 180, 125, 112, 138, 244, 224, 187, 40, 48, 209, 91, 73, 185, 156, 156, 164, 149, 55, 79,
            54, 79, 221, 112, 104, 190, 164, 185, 170, 229, 63, 149,
        ]),
        ([13, 18], 30, &[
            13, 25, 195, 92, 39, 192, 118, 141, 157, 237, 211, 176, 33, 48, 211, 103, 66, 195, 144, 158, 169, 125, 66, 52,
            55, 76, 231, 120, 99, 200, 161, 164, 169, 176, 79, 88,
        ]),
        ([20, 12], 80, &[
            24, 21, 200, 68, 44, 182, 126, 123, 154, 44, 49, 211, 88, 72, 194, 145, 151, 163, 60, 77, 219, 109, 104, 206,
            165, 180, 173, 81, 105, 227, 129, 131, 218, 184, 207, 187, 82, 114, 197, 148, 155, 227, 204, 233, 205,
        ]),
        ([10, 3], 90, &[
            20, 18, 203, 43, 48, 214,
        ]),
    ];

    #[test]
    fn what_is_lost_is_what_libjpeg_loses() {
        for ([h, w], quality, expected) in OF_PILLOW {
            let ours = lossy(&picture([h, w]), [h, w], quality);
            let places = (3..h).step_by(4).flat_map(|y| (0..w).step_by(5).map(move |x| y * w + x));
            let values: Vec<u8> = places.flat_map(|i| [0, 1, 2].map(|c| grey_level(ours[c * h * w + i]))).collect();
            assert_eq!(values, expected, "{h}×{w}, quality {quality}");
        }
    }

    #[test]
    fn grey_stays_and_a_better_quality_loses_less() {
        let size = [13, 18];
        assert_eq!(lossy(&vec![128.0 / 255.0; 3 * 234], size, 10), vec![128.0 / 255.0; 3 * 234]);
        let loss = |quality| {
            let out = lossy(&picture(size), size, quality);
            out.iter().zip(picture(size)).map(|(a, b)| (a - b).abs()).sum::<f32>()
        };
        assert!(loss(100) < loss(75) && loss(75) < loss(30) && loss(30) < loss(5));
    }
}
