//! A rectangle of a picture brought to another size: each new value is a sum of old ones, so the way back is known.

use super::Size;
use std::ops::Range;

/// For each of `to` places along a line, up to two places of the old line with their weights.
pub type Line = Vec<[(usize, f32); 2]>;

/// The pixel in whose middle, or left of it, each new one begins (TensorFlow 1's `NEAREST_NEIGHBOR`): place i takes
/// ⌊i·from/to⌋.
pub fn nearest(first: usize, from: usize, to: usize) -> Line {
    (0..to).map(|i| [(first + i * from / to, 1.0), (first, 0.0)]).collect()
}

/// The two pixels between whose middles each new one's lies, the outermost repeated.
pub fn bilinear(first: usize, from: usize, to: usize) -> Line {
    let place = |i: usize| {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
        let low = at.floor() as usize;
        let share = (at - low as f64) as f32;
        [(first + low, 1.0 - share), (first + (low + 1).min(from - 1), share)]
    };
    (0..to).map(place).collect()
}

/// The two pixels between which each new one's place lies when the outermost ones keep theirs (scipy's `zoom` of order
/// 1).
pub fn spread(first: usize, from: usize, to: usize) -> Line {
    let place = |i: usize| {
        let at = i as f64 * (from - 1) as f64 / (to - 1).max(1) as f64;
        let low = at.floor() as usize;
        let share = (at - low as f64) as f32;
        [(first + low, 1.0 - share), (first + (low + 1).min(from - 1), share)]
    };
    (0..to).map(place).collect()
}

/// The middle of a line of n pixels, so much of it that it fills the line when enlarged by a factor of at least 1: the
/// crop, enlarged, may be longer by a pixel or so, which is trimmed on both sides (the `clipped_zoom` of ImageNet-C).
pub fn zoomed(n: usize, factor: f64) -> Line {
    let crop = (n as f64 / factor).ceil() as usize;
    let enlarged = ((crop as f64 * factor).round_ties_even() as usize).max(n);
    let mut line = spread((n - crop) / 2, crop, enlarged);
    line.drain(..(enlarged - n) / 2);
    line.truncate(n);
    line
}

/// For each of `to` places along a line, the old pixels whose middles lie in its share of the line (Pillow's `BOX`).
fn boxes(from: usize, to: usize) -> Vec<Range<usize>> {
    let scale = from as f64 / to as f64;
    let wide = scale.max(1.0);
    let covered = |i: usize| {
        let middle = (i as f64 + 0.5) * scale;
        let inside = |x: &usize| {
            let off = (*x as f64 - middle + 0.5) * (1.0 / wide);
            -0.5 < off && off <= 0.5
        };
        let around = (middle - 0.5 * wide + 0.5) as usize..((middle + 0.5 * wide + 0.5) as usize).min(from);
        let first = around.clone().find(inside).unwrap_or(around.start);
        first..first + around.filter(inside).count().max(1)
    };
    (0..to).map(covered).collect()
}

/// Planes of grey levels at another size, each new value the mean of its box, rounded after either direction as Pillow
/// does.
pub fn box_means(image: &[f32], [height, width]: Size, [rows, columns]: Size) -> Vec<f32> {
    let (across, down) = (boxes(width, columns), boxes(height, rows));
    let rounded = |sum: f32, count: usize| (sum / count as f32 + 0.5).floor();
    let mut out = Vec::with_capacity(image.len() / (height * width) * rows * columns);
    for plane in image.chunks_exact(height * width) {
        let narrow: Vec<f32> = plane
            .chunks_exact(width)
            .flat_map(|line| across.iter().map(move |b| rounded(line[b.clone()].iter().sum(), b.len())))
            .collect();
        for b in &down {
            let sum = |x: usize| b.clone().map(|y| narrow[y * columns + x]).sum();
            out.extend((0..columns).map(|x| rounded(sum(x), b.len())));
        }
    }
    out
}

/// Planes of the old width made of `rows` and `columns`.
pub fn resample(image: &[f32], [height, width]: [usize; 2], rows: &Line, columns: &Line) -> Vec<f32> {
    let mut out = Vec::with_capacity(image.len() / (height * width) * rows.len() * columns.len());
    for plane in image.chunks_exact(height * width) {
        for row in rows {
            for column in columns {
                let along = |y: usize| column.iter().map(|(x, weight)| weight * plane[y * width + x]).sum::<f32>();
                out.push(row.iter().filter(|(_, weight)| *weight != 0.0).map(|(y, weight)| weight * along(*y)).sum());
            }
        }
    }
    out
}

/// The gradient with respect to the old planes, from that with respect to the new.
pub fn resample_back(slope: &[f32], [height, width]: [usize; 2], rows: &Line, columns: &Line) -> Vec<f32> {
    let made = rows.len() * columns.len();
    let mut out = vec![0.0; slope.len() / made * height * width];
    for (slope, plane) in slope.chunks_exact(made).zip(out.chunks_exact_mut(height * width)) {
        for (row, slope) in rows.iter().zip(slope.chunks_exact(columns.len())) {
            for (column, slope) in columns.iter().zip(slope) {
                for (y, of_row) in row {
                    column.iter().for_each(|(x, of_column)| plane[y * width + x] += of_row * of_column * slope);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_of_one_changes_nothing_and_two_keeps_the_middle() {
        let image: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let whole = |side| zoomed(side, 1.0);
        assert_eq!(resample(&image, [3, 4], &whole(3), &whole(4)), image);
        // of four pixels the two in the middle, their ends kept
        let places: Vec<f32> = zoomed(4, 2.0).iter().map(|p| p.iter().map(|(x, w)| *x as f32 * w).sum()).collect();
        assert!(places.iter().zip([1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{places:?}");
    }

    /// As Pillow 13 has them.
    #[test]
    fn boxes_take_pixels_whole_and_means_round_up() {
        assert_eq!(box_means(&[10.0, 13.0, 11.0, 14.0, 250.0, 1.0], [3, 2], [2, 1]), [13.0, 126.0]);
        assert_eq!(box_means(&[1.0, 2.0], [1, 2], [2, 5]), [1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(boxes(5, 3), [0..2, 2..3, 3..5]);
    }
}
