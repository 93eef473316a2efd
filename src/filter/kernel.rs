//! A small square of weights laid over every pixel.

use super::{Size, reflected};

/// Each plane's weighted sums, the square's middle on the pixel, edges reflected (OpenCV's `filter2D`); `kernel` has an
/// odd side.
pub fn weighted(image: &[f32], [height, width]: Size, kernel: &[f32]) -> Vec<f32> {
    let side = kernel.len().isqrt();
    let reach = (side / 2) as isize;
    let wide = width + side - 1;
    let columns: Vec<usize> = (-reach..width as isize + reach).map(|x| reflected(x, width)).collect();
    let mut out = vec![0.0; image.len()];
    for (from, to) in image.chunks_exact(height * width).zip(out.chunks_exact_mut(height * width)) {
        // a plane with its rows prolonged, so that a tap runs along a whole row at once
        let long: Vec<f32> = from.chunks_exact(width).flat_map(|row| columns.iter().map(|x| row[*x])).collect();
        for (y, to) in to.chunks_exact_mut(width).enumerate() {
            for (k, taps) in kernel.chunks_exact(side).enumerate() {
                let row = reflected(y as isize + k as isize - reach, height);
                let row = &long[row * wide..(row + 1) * wide];
                for (j, tap) in taps.iter().enumerate().filter(|(_, tap)| **tap != 0.0) {
                    to.iter_mut().zip(&row[j..]).for_each(|(to, from)| *to += tap * from);
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
    fn a_square_is_laid_on_unturned_and_edges_are_reflected() {
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        // what lies right below
        let kernel = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(weighted(&image, [2, 3], &kernel), [5.0, 6.0, 5.0, 2.0, 3.0, 2.0]);
        assert_eq!(weighted(&[7.0], [1, 1], &[1.0; 25]), [175.0]);
    }
}
