//! Blur of a camera that moves along a line while the shutter is open.

use super::{Size, repeated};

/// Each plane averaged along a ray from every pixel, at `degrees` from the x axis, y downwards: 2·`radius` + 1 pixels
/// whose weights fall as half a Gaussian, at the nearest whole steps (a half rounds down), edges repeated
/// (ImageMagick's `MotionBlurImage`).
pub fn motion(image: &[f32], [height, width]: Size, radius: usize, sigma: f64, degrees: f64) -> Vec<f32> {
    let weight = |k: usize| (-0.5 * (k as f64 / sigma).powi(2)).exp();
    let length = 2 * radius + 1;
    let sum: f64 = (0..length).map(weight).sum();
    let (sine, cosine) = degrees.to_radians().sin_cos();
    let step = |k: usize, along: f64| (k as f64 * along - 0.5).ceil() as isize;
    let mut out = vec![0.0; image.len()];
    for k in 0..length {
        let (tap, dy, dx) = ((weight(k) / sum) as f32, step(k, sine), step(k, cosine));
        let columns: Vec<usize> = (0..width as isize).map(|x| repeated(x + dx, width)).collect();
        for (from, to) in image.chunks_exact(height * width).zip(out.chunks_exact_mut(height * width)) {
            for (y, to) in to.chunks_exact_mut(width).enumerate() {
                let row = &from[repeated(y as isize + dy, height) * width..][..width];
                to.iter_mut().zip(&columns).for_each(|(to, x)| *to += tap * row[*x]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_drawn_out_against_the_ray() {
        let mut image = vec![0.0; 35];
        image[2 * 7 + 3] = 1.0;
        let row = |degrees| motion(&image, [5, 7], 1, 1.0, degrees);
        let weights = [1.0f32, (-0.5f32).exp(), (-2.0f32).exp()];
        let sum: f32 = weights.iter().sum();
        let across = row(0.0);
        let down = row(90.0);
        for (k, w) in weights.iter().enumerate() {
            assert!((across[2 * 7 + 3 - k] - w / sum).abs() < 1e-6);
            assert!((down[(2 - k) * 7 + 3] - w / sum).abs() < 1e-6);
        }
    }

    #[test]
    fn an_even_picture_stays_even() {
        let out = motion(&[0.5; 12], [3, 4], 10, 3.0, 30.0);
        assert!(out.iter().all(|v| (v - 0.5).abs() < 1e-6));
    }
}
