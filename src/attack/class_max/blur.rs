//! Gaussian blur, the smoothing between steps of Yosinski et al. 2015.

/// How many standard deviations the kernel reaches: beyond lie 6e-5 of a Gaussian.
const REACH: f64 = 4.0;

/// Each channel of `image`, C×H×W, convolved with a Gaussian of `sigma` pixels. The image goes on beyond its border as
/// in a mirror, edge pixels twice: the matrix is then symmetric with rows that sum to 1, so each channel keeps its mean.
pub fn blur(image: &[f32], [height, width]: [usize; 2], sigma: f64) -> Vec<f32> {
    let (columns, rows) = (matrix(width, sigma), matrix(height, sigma));
    let mut across = vec![0.0; image.len()];
    let mut down = vec![0.0; image.len()];
    for (line, to) in image.chunks(width).zip(across.chunks_mut(width)) {
        for (to, row) in to.iter_mut().zip(&columns) {
            *to = row.weights.iter().zip(&line[row.first..]).map(|(w, v)| w * v).sum();
        }
    }
    for (channel, to) in across.chunks(height * width).zip(down.chunks_mut(height * width)) {
        for (to, row) in to.chunks_mut(width).zip(&rows) {
            for (w, line) in row.weights.iter().zip(channel[row.first * width..].chunks(width)) {
                to.iter_mut().zip(line).for_each(|(to, v)| *to += w * v);
            }
        }
    }
    down
}

/// What one output value is made of.
struct Row {
    first: usize,
    weights: Vec<f32>,
}

/// The blur of a line of `side` values.
fn matrix(side: usize, sigma: f64) -> Vec<Row> {
    let reach = (REACH * sigma).ceil() as isize;
    let kernel: Vec<f64> = (-reach..=reach).map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = kernel.iter().sum();
    let row = |i: usize| {
        let mut weights = vec![0.0; side];
        for (d, k) in (-reach..=reach).zip(&kernel) {
            weights[mirrored(i as isize + d, side)] += k / total;
        }
        let first = weights.iter().position(|w| *w > 0.0).unwrap_or(0);
        let last = weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
        Row { first, weights: weights[first..=last].iter().map(|w| *w as f32).collect() }
    };
    (0..side).map(row).collect()
}

/// Index inside 0..side that a mirrored line has at `i`.
fn mirrored(i: isize, side: usize) -> usize {
    let period = 2 * side as isize;
    let i = i.rem_euclid(period);
    (if i < side as isize { i } else { period - 1 - i }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A C×H×W image of no particular kind.
    fn image(channels: usize, [height, width]: [usize; 2]) -> Vec<f32> {
        (0..channels * height * width).map(|i| ((i * i * 7 + 3 * i) % 101) as f32 / 100.0).collect()
    }

    #[test]
    fn a_blur_keeps_the_mean_of_each_channel() {
        for (size, sigma) in [([8, 8], 0.5), ([9, 9], 1.3), ([5, 5], 4.0), ([3, 8], 1.3)] {
            let x = image(3, size);
            let (y, plane) = (blur(&x, size, sigma), size[0] * size[1]);
            for (x, y) in x.chunks(plane).zip(y.chunks(plane)) {
                let mean = |v: &[f32]| v.iter().map(|v| f64::from(*v)).sum::<f64>() / v.len() as f64;
                assert!((mean(x) - mean(y)).abs() < 1e-6, "{size:?}, sigma {sigma}");
            }
        }
    }

    #[test]
    fn far_from_the_border_it_is_the_gaussian() {
        let (side, sigma) = (21, 1.5);
        let mut x = vec![0.0; side * side];
        x[10 * side + 10] = 1.0;
        let y = blur(&x, [side; 2], sigma);
        for (dy, dx) in [(0i32, 0i32), (1, 0), (2, 1), (3, 3)] {
            let at = y[((10 + dy) * 21 + 10 + dx) as usize] / y[10 * side + 10];
            let gaussian = (-0.5 * f64::from(dy * dy + dx * dx) / (sigma * sigma)).exp();
            assert!((f64::from(at) - gaussian).abs() < 1e-6, "{dy} {dx}: {at} {gaussian}");
        }
    }
}
