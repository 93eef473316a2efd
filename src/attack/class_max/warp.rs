//! Transformation robustness (Mordvintsev et al. 2015 jitter; Olah, Mordvintsev, Schubert 2017 for all of it): the net looks at
//! the picture a little shifted, scaled and turned, another way in each step, so that nothing survives that one pixel's place
//! decides. lucid applies pad, jitter, scale, rotate, jitter one after the other; here their composition is one affine map
//! with one bilinear interpolation, and its gradient is the exact transpose.

use super::Settings;
use crate::rng::Stream;

/// A view q of a picture p: q(u) = p(M·(u − t) − s), coordinates from the middle of the image, in pixels.
pub struct Warp {
    /// Height and width of both.
    size: [usize; 2],
    /// M, 2×2 by rows (x, y): turns and scales back.
    back: [f64; 4],
    /// t, x and y: shift of the view.
    after: [f64; 2],
    /// s, x and y: shift of the picture.
    before: [f64; 2],
}

/// Four neighbours of a place with their weights; `None`: outside.
type Taps = [(Option<usize>, f32); 4];

impl Warp {
    /// A random one; `None` where the settings ask for none.
    pub fn random(settings: &Settings, size: [usize; 2], stream: &mut Stream) -> Option<Warp> {
        let Settings { jitter, jitter_after, scale, rotate, .. } = *settings;
        if [jitter, jitter_after, scale, rotate] == [0.0; 4] {
            return None;
        }
        // uniform in [-reach, reach)
        let mut within = |reach: f64| reach * (2.0 * f64::from(stream.uniform()) - 1.0);
        let before = [within(jitter / 2.0), within(jitter / 2.0)];
        let zoom = 1.0 + within(scale);
        let (sin, cos) = within(rotate).to_radians().sin_cos();
        let after = [within(jitter_after / 2.0), within(jitter_after / 2.0)];
        Some(Warp { size, back: [cos / zoom, sin / zoom, -sin / zoom, cos / zoom], after, before })
    }

    /// The view, 3×H×W, of a picture of that shape; outside the picture lies `margin`.
    pub fn apply(&self, picture: &[f32], margin: [f32; 3]) -> Vec<f32> {
        let area = self.size[0] * self.size[1];
        let mut view = vec![0.0; 3 * area];
        self.each(|at, taps| {
            for c in 0..3 {
                let value = |tap: Option<usize>| tap.map_or(margin[c], |i| picture[c * area + i]);
                view[c * area + at] = taps.iter().map(|(tap, weight)| weight * value(*tap)).sum();
            }
        });
        view
    }

    /// Gradient with respect to the picture, 3×H×W, from that with respect to the view.
    pub fn transposed(&self, gradient: &[f32]) -> Vec<f32> {
        let area = self.size[0] * self.size[1];
        let mut at_picture = vec![0.0; 3 * area];
        self.each(|at, taps| {
            for (tap, weight) in taps {
                let Some(i) = tap else { continue };
                (0..3).for_each(|c| at_picture[c * area + i] += weight * gradient[c * area + at]);
            }
        });
        at_picture
    }

    /// Calls `f` for each pixel of the view, with what it is made of.
    fn each(&self, mut f: impl FnMut(usize, Taps)) {
        let [height, width] = self.size;
        let [down, across] = self.size.map(|side| (side as f64 - 1.0) / 2.0); // to the middle
        let [a, b, c, d] = self.back;
        for i in 0..height {
            for j in 0..width {
                let (u, v) = (j as f64 - across - self.after[0], i as f64 - down - self.after[1]);
                let x = a * u + b * v - self.before[0] + across;
                let y = c * u + d * v - self.before[1] + down;
                f(i * width + j, self.taps(x, y));
            }
        }
    }

    /// Bilinear interpolation at column x, row y.
    fn taps(&self, x: f64, y: f64) -> Taps {
        let (left, top) = (x.floor(), y.floor());
        let (right, down) = ((x - left) as f32, (y - top) as f32);
        let [height, width] = self.size;
        let inside = |x: f64, y: f64| (0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y);
        let index = |x: f64, y: f64| inside(x, y).then(|| y as usize * width + x as usize);
        [
            (index(left, top), (1.0 - right) * (1.0 - down)),
            (index(left + 1.0, top), right * (1.0 - down)),
            (index(left, top + 1.0), (1.0 - right) * down),
            (index(left + 1.0, top + 1.0), right * down),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, factor: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * i * factor + i) % 41) as f32 / 40.0 - 0.3).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn the_transpose_is_one() {
        let (size, n) = ([7, 9], 3 * 63);
        let angle = 0.3f64;
        let back = [angle.cos() / 0.8, angle.sin() / 0.8, -angle.sin() / 0.8, angle.cos() / 0.8];
        let warp = Warp { size, back, after: [0.7, -1.2], before: [-0.4, 0.2] };
        let (p, g) = (values(n, 7), values(n, 11));
        // ⟨A p, g⟩ = ⟨p, Aᵀ g⟩
        assert!((dot(&warp.apply(&p, [0.0; 3]), &g) - dot(&p, &warp.transposed(&g))).abs() < 1e-4);
    }

    #[test]
    fn whole_shifts_and_quarter_turns_only_move_pixels() {
        let (size, n) = ([5; 2], 75);
        let p = values(n, 7);
        let shift = Warp { size, back: [1.0, 0.0, 0.0, 1.0], after: [1.0, 0.0], before: [0.0, 2.0] };
        let view = shift.apply(&p, [9.0, 8.0, 7.0]);
        assert_eq!(view[2 * 5 + 1], p[0]);
        assert_eq!(view[25 + 4 * 5 + 4], p[25 + 2 * 5 + 3]);
        assert_eq!((view[0], view[25], view[50]), (9.0, 8.0, 7.0));
        // M = turn by a quarter: view (x, y) shows picture (y, −x), about the middle
        let turn = Warp { size, back: [0.0, 1.0, -1.0, 0.0], after: [0.0; 2], before: [0.0; 2] };
        assert_eq!(turn.apply(&p, [0.0; 3])[4], p[0]);
        assert_eq!(turn.apply(&p, [0.0; 3])[12], p[12]);
    }
}
