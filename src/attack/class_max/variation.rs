//! Total variation (Rudin, Osher, Fatemi 1992), isotropic and smoothed, as Mahendran and Vedaldi 2015 use it with β = 1:
//! TV(x) = Σ_c Σ_ij ( √(Δ_down² + Δ_right² + ε²) − ε ), differences across the border left out.

/// ε, in units of pixels in [0,1]: less than an edge that one sees. TV is then smooth, with second derivatives of at most 8/ε,
/// so that ascent with steps η and weight w does not swing while η·w < ε/4.
const EPSILON: f32 = 0.03;

/// Gradient of TV, C×H×W. Each value is at most 2 + √2 in absolute value, whatever the image.
pub fn gradient(image: &[f32], size: [usize; 2]) -> Vec<f32> {
    let (mut gradient, plane) = (vec![0.0; image.len()], size[0] * size[1]);
    for (x, g) in image.chunks(plane).zip(gradient.chunks_mut(plane)) {
        each_difference(size, x, |at, down, right| {
            let length = (down * down + right * right + EPSILON * EPSILON).sqrt();
            g[at] -= (down + right) / length;
            // a difference across the border is 0 and has no second end
            if down != 0.0 {
                g[at + size[1]] += down / length;
            }
            if right != 0.0 {
                g[at + 1] += right / length;
            }
        });
    }
    gradient
}

/// Calls `f(index, Δ_down, Δ_right)` for each pixel of one channel.
fn each_difference([height, width]: [usize; 2], x: &[f32], mut f: impl FnMut(usize, f32, f32)) {
    for i in 0..height {
        for j in 0..width {
            let at = i * width + j;
            let down = if i + 1 < height { x[at + width] - x[at] } else { 0.0 };
            let right = if j + 1 < width { x[at + 1] - x[at] } else { 0.0 };
            f(at, down, right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TV, C×H×W.
    fn variation(image: &[f32], size: [usize; 2]) -> f64 {
        let mut sum = 0.0;
        for x in image.chunks(size[0] * size[1]) {
            each_difference(size, x, |_, down, right| {
                let [down, right, e] = [down, right, EPSILON].map(f64::from);
                sum += (down * down + right * right + e * e).sqrt() - e;
            });
        }
        sum
    }

    #[test]
    fn a_constant_image_has_none() {
        let x = vec![0.3; 3 * 25];
        assert_eq!(variation(&x, [5; 2]), 0.0);
        assert!(gradient(&x, [5; 2]).iter().all(|g| *g == 0.0));
    }

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let size = [4, 6];
        let x: Vec<f32> = (0..3 * 4 * 6).map(|i| ((i * i * 5 + i) % 23) as f32 / 22.0).collect();
        let g = gradient(&x, size);
        let h = 1.0 / 1024.0; // exact in f32
        for i in 0..x.len() {
            let at = |d: f32| {
                let mut moved = x.clone();
                moved[i] += d;
                variation(&moved, size)
            };
            let difference = (at(h) - at(-h)) / (2.0 * f64::from(h));
            assert!((difference - f64::from(g[i])).abs() < 2e-3, "{i}: {difference} {}", g[i]);
            assert!(g[i].abs() <= 2.0 + 2f32.sqrt());
        }
    }
}
