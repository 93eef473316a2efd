//! Pixels from a decorrelated spectrum (Olah, Mordvintsev, Schubert 2017, "Preconditioning and parameterization"; lucid's
//! `fft_image` and `to_valid_rgb`): p = σ( σ⁻¹(canvas) + γ·C·Bᵀ(S∘W)B ).
//!
//! S are the coefficients, 3×H×W: of three decorrelated colours, each in the real Fourier bases B of its two axes, H×H on the
//! left and W×W on the right, orthonormal, so that the inverse transform is two matrix products, its transpose two more, and any
//! size will do. W gives them the 1/f amplitudes of natural images, C the colours of natural images.

/// lucid's `color_correlation_svd_sqrt`: root of the covariance of the colours of ImageNet's images. Rows: red, green, blue.
const COLOUR: [[f32; 3]; 3] = [[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]];

/// γ: lucid divides by 4. It writes a spectrum of complex numbers, where each stands for itself and its conjugate, so that a
/// unit of it makes a wave √2 as long as a unit of ours.
const GAIN: f32 = std::f32::consts::SQRT_2 / 4.0;

/// Levels next to 0 and 1 a canvas is moved to, which no finite coefficient reaches.
const LIMIT: f32 = 0.5 / 255.0;

/// The map from coefficients to pixels.
pub struct Spectrum {
    /// Height and width.
    size: [usize; 2],
    /// B of each axis, square: each row a wave.
    waves: [Vec<f32>; 2],
    /// Bᵀ of each.
    transposed: [Vec<f32>; 2],
    /// W, H×W.
    amplitudes: Vec<f32>,
    /// γ·C over its longest column.
    colour: [[f32; 3]; 3],
    /// σ⁻¹(canvas), 3×H×W.
    ground: Vec<f32>,
}

impl Spectrum {
    /// For pictures on this canvas, 3×H×W in [0,1], which coefficients of zero leave as it is.
    pub fn new(size: [usize; 2], canvas: &[f32]) -> Spectrum {
        let [height, width] = size;
        let waves = size.map(waves);
        let frequency = |row: usize, side: usize| row.div_ceil(2) as f64 / side as f64; // cycles a pixel
        let lowest = 1.0 / height.max(width) as f64;
        let amplitude = |i: usize| {
            let f = frequency(i / width, height).hypot(frequency(i % width, width));
            (1.0 / f.max(lowest)) as f32
        };
        let logit = |p: &f32| {
            let p = f64::from(p.clamp(LIMIT, 1.0 - LIMIT));
            (p / (1.0 - p)).ln() as f32
        };
        Spectrum {
            size,
            transposed: [0, 1].map(|axis| transpose(&waves[axis], size[axis])),
            waves,
            amplitudes: (0..height * width).map(amplitude).collect(),
            colour: colour(),
            ground: canvas.iter().map(logit).collect(),
        }
    }

    /// Coefficients to pixels in (0,1), both 3×H×W.
    pub fn picture(&self, coefficients: &[f32]) -> Vec<f32> {
        let [height, width] = self.size;
        let area = height * width;
        let mut colours = Vec::with_capacity(3 * area); // decorrelated
        for s in coefficients.chunks(area) {
            let weighed: Vec<f32> = s.iter().zip(&self.amplitudes).map(|(s, w)| s * w).collect();
            let half = product(&weighed, &self.waves[1], width, width);
            colours.extend(product(&self.transposed[0], &half, height, width));
        }
        let pixel = |at: usize| {
            let (c, i) = (at / area, at % area);
            let [r, g, b] = self.colour[c];
            sigmoid(self.ground[at] + r * colours[i] + g * colours[area + i] + b * colours[2 * area + i])
        };
        (0..3 * area).map(pixel).collect()
    }

    /// Gradient with respect to the coefficients, from that with respect to the pixels of `picture`; all 3×H×W.
    pub fn gradient(&self, picture: &[f32], gradient: &[f32]) -> Vec<f32> {
        let [height, width] = self.size;
        let area = height * width;
        // σ' = σ·(1 − σ)
        let inner: Vec<f32> = picture.iter().zip(gradient).map(|(p, g)| g * p * (1.0 - p)).collect();
        let mut at_coefficients = Vec::with_capacity(3 * area);
        for k in 0..3 {
            let colour: Vec<f32> =
                (0..area).map(|i| (0..3).map(|c| self.colour[c][k] * inner[c * area + i]).sum()).collect();
            let half = product(&colour, &self.transposed[1], width, width);
            let s = product(&self.waves[0], &half, height, width);
            at_coefficients.extend(s.iter().zip(&self.amplitudes).map(|(s, w)| s * w));
        }
        at_coefficients
    }
}

/// γ·C over its longest column (lucid's `color_correlation_normalized`).
fn colour() -> [[f32; 3]; 3] {
    let length = |k: usize| COLOUR.iter().map(|row| row[k] * row[k]).sum::<f32>().sqrt();
    let longest = [0, 1, 2].map(length).into_iter().fold(0.0, f32::max);
    COLOUR.map(|row| row.map(|v| GAIN * v / longest))
}

/// σ(y), through f64, where the system's exponential is right to the last digit of an f32.
fn sigmoid(y: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(y)).exp())) as f32
}

/// B, side×side: the constant, then cosine and sine of 1, 2, … cycles; of an even side the last is alone. Orthonormal.
fn waves(side: usize) -> Vec<f32> {
    let n = side as f64;
    let value = |row: usize, x: usize| {
        let cycles = row.div_ceil(2);
        // the angle by its rest modulo a turn, so that a large product loses nothing
        let angle = std::f64::consts::TAU * ((cycles * x) % side) as f64 / n;
        let alone = row == 0 || 2 * cycles == side;
        let length = if alone { n } else { n / 2.0 };
        (if row % 2 == 1 || alone { angle.cos() } else { angle.sin() }) / length.sqrt()
    };
    (0..side * side).map(|i| value(i / side, i % side) as f32).collect()
}

fn transpose(a: &[f32], n: usize) -> Vec<f32> {
    (0..n * n).map(|i| a[i % n * n + i / n]).collect()
}

/// a·b by rows, `a` with rows of `k` numbers and `b` k×n. Four rows of `b` at a time, in a fixed order of additions, so that the bits do not depend on the
/// machine's vectors.
fn product(a: &[f32], b: &[f32], k: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; a.len() / k * n];
    for (a, out) in a.chunks(k).zip(out.chunks_mut(n)) {
        for (a, b) in a.chunks(4).zip(b.chunks(4 * n)) {
            if let [a0, a1, a2, a3] = *a {
                let (b01, b23) = b.split_at(2 * n);
                let ((b0, b1), (b2, b3)) = (b01.split_at(n), b23.split_at(n));
                for ((((out, b0), b1), b2), b3) in out.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                    *out += (a0 * b0 + a1 * b1) + (a2 * b2 + a3 * b3);
                }
            } else {
                for (a, b) in a.iter().zip(b.chunks(n)) {
                    out.iter_mut().zip(b).for_each(|(out, b)| *out += a * b);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * i * 13 + 5 * i) % 37) as f32 / 36.0 - 0.5).collect()
    }

    #[test]
    fn waves_are_orthonormal() {
        for side in [1, 2, 7, 8, 32, 227] {
            let b = waves(side);
            let square = product(&b, &transpose(&b, side), side, side);
            for (i, v) in square.iter().enumerate() {
                let one = if i / side == i % side { 1.0 } else { 0.0 };
                assert!((v - one).abs() < 2e-6, "side {side}, {i}: {v}");
            }
        }
    }

    #[test]
    fn a_product_is_one() {
        for (m, k, n) in [(1, 1, 1), (4, 4, 4), (5, 5, 5), (7, 7, 7), (3, 6, 5)] {
            let (a, b) = (values(m * k), values(m * k + k * n)[m * k..].to_vec());
            let product = product(&a, &b, k, n);
            for i in 0..m * n {
                let exact: f64 = (0..k).map(|j| f64::from(a[i / n * k + j]) * f64::from(b[j * n + i % n])).sum();
                assert!((f64::from(product[i]) - exact).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_longest_colour_has_length_one_before_the_gain() {
        // the first column is the longest, √(0.26² + 2·0.27²) = 0.46195: it becomes 0.26 and 0.27 over that
        let c = colour().map(|row| row.map(|v| v / GAIN));
        for (k, expected) in [0.56282, 0.58447, 0.58447].into_iter().enumerate() {
            assert!((c[k][0] - expected).abs() < 2e-4, "{c:?}");
        }
        // decorrelated colours can be had back
        let [[a, b, d], [e, f, g], [h, i, j]] = c;
        let determinant = a * (f * j - g * i) - b * (e * j - g * h) + d * (e * i - f * h);
        assert!(determinant.abs() > 1e-3);
    }

    #[test]
    fn zero_is_the_canvas_and_a_coefficient_is_a_wave() {
        let side = 6;
        let canvas: Vec<f32> = (0..3 * 36).map(|i| [0.2, 0.5, 0.9][i / 36]).collect();
        let spectrum = Spectrum::new([side; 2], &canvas);
        let blank = spectrum.picture(&vec![0.0; 3 * 36]);
        assert!(blank.iter().zip(&canvas).all(|(a, b)| (a - b).abs() < 1e-6));
        // one cycle down, cosine, first colour: brighter at the top, darker three rows below, as much in inner units
        let mut s = vec![0.0; 3 * 36];
        s[side] = 0.5;
        let picture = spectrum.picture(&s);
        let inner = |p: f32| (p / (1.0 - p)).ln();
        let rise = |i: usize| inner(picture[i]) - inner(canvas[i]);
        // γ·C₀₀·S·W·B: W = side, B = √(2/side)·√(1/side)
        let expected = colour()[0][0] * 0.5 * 6.0 * (2f32 / 6.0).sqrt() * (1f32 / 6.0).sqrt();
        assert!((rise(0) - expected).abs() < 1e-5, "{} {expected}", rise(0));
        assert!((rise(3 * side) + expected).abs() < 1e-5);
        assert!((rise(5) - expected).abs() < 1e-5);
    }

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        for size in [[4, 4], [5, 5], [3, 6]] {
            let n = 3 * size[0] * size[1];
            let canvas: Vec<f32> = values(n).iter().map(|v| v + 0.5).collect();
            let spectrum = Spectrum::new(size, &canvas);
            let (s, g) = (values(2 * n)[n..].to_vec(), values(3 * n)[2 * n..].to_vec());
            let analytic = spectrum.gradient(&spectrum.picture(&s), &g);
            let loss = |s: &[f32]| -> f64 {
                spectrum.picture(s).iter().zip(&g).map(|(p, g)| f64::from(*p) * f64::from(*g)).sum()
            };
            for i in 0..n {
                let at = |d: f32| {
                    let mut moved = s.clone();
                    moved[i] += d;
                    loss(&moved)
                };
                let difference = (at(1.0 / 64.0) - at(-1.0 / 64.0)) * 32.0;
                let error = (difference - f64::from(analytic[i])).abs();
                assert!(error < 1e-3 + 1e-3 * difference.abs(), "{i}: {difference} {}", analytic[i]);
            }
        }
    }
}
