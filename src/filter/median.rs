//! Median of a square window.

use super::{Size, mirrored};

/// For each value of 3×H×W the index of the one that is the median of the window of `width`×`width` around it: of an even
/// number of values the larger of the two in the middle, the window reaching one further up and left (scipy's
/// `median_filter`, mirrored at edges).
pub fn chosen(image: &[f32], [h, w]: Size, width: usize) -> Vec<usize> {
    let before = (width / 2) as isize;
    let mut chosen = Vec::with_capacity(image.len());
    let mut window: Vec<(f32, usize)> = Vec::with_capacity(width * width);
    for plane in 0..image.len() / (h * w) {
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            window.clear();
            for (dy, dx) in (0..width as isize).flat_map(|dy| (0..width as isize).map(move |dx| (dy, dx))) {
                let row = mirrored(y as isize + dy - before, h);
                let column = mirrored(x as isize + dx - before, w);
                let at = (plane * h + row) * w + column;
                window.push((image[at], at));
            }
            window.sort_by(|a, b| a.0.total_cmp(&b.0));
            chosen.push(window[window.len() / 2].1);
        }
    }
    chosen
}
