//! Elastic transform: the picture is tilted by moving three of its points, then every pixel is moved by a smooth random
//! field (Simard, Steinkraus and Platt 2003; Hendrycks and Dietterich 2019; constants: `create_c` of
//! hendrycks/robustness).

use super::entry::{Corruption, is_large, of_size};
use crate::filter::{Size, blur, mirrored, reflected};
use crate::rng::Stream;

pub const CORRUPTION: Corruption = Corruption {
    name: "elastic-transform",
    summary: "stretched and contracted in small regions",
    is_common: true,
    alexnet_error: Some(0.646_056),
    generate: Some(generate),
};

/// Where the smoothing Gaussian is cut off, in standard deviations.
const REACH: f64 = 3.0;

/// x, y.
type Point = [f64; 2];

fn generate(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32> {
    let (strength, smoothness, tilt) = of_size(
        size,
        severity,
        [(0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
        [(2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)],
    );
    // the constants are parts of the side, those of ImageNet by a slip of 244 for 224; here, of the shorter side of any
    // picture
    let side = size[0].min(size[1]) as f64 * if is_large(size) { 244.0 / 224.0 } else { 1.0 };
    let old = triangle(size);
    let new = old.map(|point| point.map(|v| v + tilt * side * signed(draw)));
    let back = affine(new, old);
    let tilted = moved(image, size, reflected, |x, y| back([x, y]));
    if strength == 0.0 {
        return tilted;
    }
    let sigma = smoothness * side;
    let taps = blur::taps_within(sigma, (REACH * sigma + 0.5) as usize);
    let mut field = || {
        let noise: Vec<f32> = (0..size[0] * size[1]).map(|_| signed(draw) as f32).collect();
        blur::gaussian_mirrored(&noise, size, &taps)
    };
    let (dx, dy) = (field(), field());
    let shift = |field: &[f32], x: f64, y: f64| strength * side * f64::from(field[y as usize * size[1] + x as usize]);
    moved(&tilted, size, mirrored, |x, y| [x + shift(&dx, x, y), y + shift(&dy, x, y)])
}

/// Uniform in [−1, 1).
fn signed(draw: &mut Stream) -> f64 {
    2.0 * f64::from(draw.uniform()) - 1.0
}

/// Three corners of a square of two thirds of the shorter side, around the middle.
fn triangle([height, width]: Size) -> [Point; 3] {
    let (x, y) = ((width / 2) as f64, (height / 2) as f64);
    let half = (height.min(width) / 3).max(1) as f64;
    [[x + half, y + half], [x + half, y - half], [x - half, y - half]]
}

/// The affine map that takes the first triangle to the second; the identity where the first is flat.
fn affine([p, q, r]: [Point; 3], [to_p, to_q, to_r]: [Point; 3]) -> impl Fn(Point) -> Point {
    let minus = |a: Point, b: Point| [a[0] - b[0], a[1] - b[1]];
    let cross = |a: Point, b: Point| a[0] * b[1] - a[1] * b[0];
    let (u, v) = (minus(q, p), minus(r, p));
    let (to_u, to_v) = (minus(to_q, to_p), minus(to_r, to_p));
    let area = cross(u, v);
    move |at| {
        if area.abs() < 1e-6 {
            return at;
        }
        // the point as a sum of the triangle's sides
        let off = minus(at, p);
        let (a, b) = (cross(off, v) / area, cross(u, off) / area);
        [to_p[0] + a * to_u[0] + b * to_v[0], to_p[1] + a * to_u[1] + b * to_v[1]]
    }
}

/// Every pixel taken from where `from` says, between four pixels in proportion.
fn moved(
    image: &[f32],
    [height, width]: Size,
    edge: fn(isize, usize) -> usize,
    from: impl Fn(f64, f64) -> Point,
) -> Vec<f32> {
    let n = height * width;
    let mut out = vec![0.0; image.len()];
    for i in 0..n {
        let [x, y] = from((i % width) as f64, (i / width) as f64);
        let (left, top) = (x.floor(), y.floor());
        let (right_share, low_share) = ((x - left) as f32, (y - top) as f32);
        let [x0, x1] = [0, 1].map(|d| edge(left as isize + d, width));
        let [y0, y1] = [0, 1].map(|d| edge(top as isize + d, height) * width);
        for (plane, out) in image.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            let along = |y: usize| plane[y + x0] * (1.0 - right_share) + plane[y + x1] * right_share;
            out[i] = along(y0) * (1.0 - low_share) + along(y1) * low_share;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corruption::tests::assert_made;

    #[test]
    fn an_affine_map_takes_its_triangle_along() {
        let (from, to) = ([[1.0, 2.0], [5.0, 1.0], [2.0, 7.0]], [[0.0, 0.0], [3.0, 3.0], [-1.0, 2.0]]);
        let map = affine(from, to);
        for (p, q) in from.into_iter().zip(to) {
            assert!(map(p).iter().zip(q).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn between_pixels_is_their_mean_and_beyond_the_edge_their_mirror() {
        let image = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(moved(&image, [2, 2], mirrored, |_, _| [0.5, 0.5]), [1.5; 4]);
        assert_eq!(moved(&image, [2, 2], mirrored, |x, y| [x - 1.0, y]), [0.0, 0.0, 2.0, 2.0]);
        assert_eq!(moved(&image, [2, 2], reflected, |x, y| [x - 1.0, y]), [1.0, 0.0, 3.0, 2.0]);
    }

    /// What OpenCV 5 and scipy 1.17 make of the definition, from the same random numbers.
    #[test]
    fn values_are_those_of_the_definition() {
        assert_made(
            &CORRUPTION,
            [20, 30],
            3,
            [0.244236, 0.060574, 0.254493, 0.600130, 0.412274, 0.816281, 0.212211, 0.239250],
        );
        assert_made(
            &CORRUPTION,
            [90, 100],
            1,
            [0.483272, 0.468650, 0.425258, 0.627926, 0.575816, 0.399096, 0.350267, 0.270011],
        );
    }
}
