//! Linear maps of images that go along one axis after the other: resizing, padding, smoothing; and their transposes, which lead
//! a gradient back.

/// Of each place of an axis the places that it is made of, each with its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis(Vec<Vec<(usize, f32)>>);

/// A map of planes: columns are made along the width, then rows along the height.
#[derive(Debug, Clone, PartialEq)]
pub struct Axes {
    /// Along the height.
    pub rows: Axis,
    /// Along the width.
    pub columns: Axis,
}

impl Axis {
    /// To `to` places from `from`, bilinear, half a pixel being the centre of the first, as PyTorch's `interpolate` does with
    /// `align_corners=False`: without smoothing where it shrinks.
    pub fn resize(from: usize, to: usize) -> Axis {
        let scale = from as f64 / to as f64;
        let taps = |place: usize| {
            let at = ((place as f64 + 0.5) * scale - 0.5).max(0.0);
            let first = (at as usize).min(from - 1);
            let share = (at - first as f64) as f32;
            vec![(first, 1.0 - share), ((first + 1).min(from - 1), share)]
        };
        Axis((0..to).map(taps).collect())
    }

    /// With zeros around, so many before and `to` places in all.
    pub fn pad(self, before: usize, to: usize) -> Axis {
        let mut places = vec![Vec::new(); to];
        self.0.into_iter().enumerate().for_each(|(place, taps)| places[before + place] = taps);
        Axis(places)
    }

    /// This one, then `next`.
    pub fn then(&self, next: &Axis) -> Axis {
        let through = |(place, weight): &(usize, f32)| {
            let weight = *weight;
            self.0[*place].iter().map(move |(from, w)| (*from, w * weight))
        };
        Axis(next.0.iter().map(|taps| taps.iter().flat_map(through).collect()).collect())
    }

    /// A Gaussian over `taps` places, three standard deviations from its middle to its end (scipy's `norm.pdf` on
    /// `linspace(-3, 3, taps)`), of sum 1, with zeros beyond the ends of the axis.
    pub fn gaussian(length: usize, taps: usize) -> Axis {
        let at = |tap: usize| if taps == 1 { 0.0 } else { 6.0 * tap as f64 / (taps - 1) as f64 - 3.0 };
        let weights: Vec<f64> = (0..taps).map(|tap| (-at(tap).powi(2) / 2.0).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let middle = taps / 2;
        let of = |place: usize| {
            let inside = (0..taps).filter(|tap| (middle..middle + length).contains(&(place + tap)));
            inside.map(|tap| (place + tap - middle, (weights[tap] / sum) as f32)).collect()
        };
        Axis((0..length).map(of).collect())
    }
}

impl Axes {
    /// The image 3×rows×columns that one 3×H×W becomes.
    pub fn apply(&self, image: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
        let (rows, columns) = (&self.rows.0, &self.columns.0);
        let mut made = Vec::with_capacity(3 * rows.len() * columns.len());
        for plane in image.chunks_exact(height * width) {
            let wide = |line: &[f32]| -> Vec<f32> {
                columns.iter().map(|taps| taps.iter().map(|(from, w)| w * line[*from]).sum()).collect()
            };
            let lines: Vec<Vec<f32>> = plane.chunks_exact(width).map(wide).collect();
            for taps in rows {
                let mut sum = vec![0.0; columns.len()];
                taps.iter().for_each(|(from, w)| sum.iter_mut().zip(&lines[*from]).for_each(|(s, v)| *s += w * v));
                made.extend(sum);
            }
        }
        made
    }

    /// The gradient 3×H×W at an image from the gradient at what [`Axes::apply`] made of it.
    pub fn back(&self, gradient: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
        let (rows, columns) = (&self.rows.0, &self.columns.0);
        let mut made = Vec::with_capacity(3 * height * width);
        for plane in gradient.chunks_exact(rows.len() * columns.len()) {
            let mut lines = vec![vec![0.0; columns.len()]; height];
            for (taps, line) in rows.iter().zip(plane.chunks_exact(columns.len())) {
                taps.iter().for_each(|(to, w)| lines[*to].iter_mut().zip(line).for_each(|(s, g)| *s += w * g));
            }
            for line in lines {
                let mut sum = vec![0.0; width];
                for (taps, g) in columns.iter().zip(line) {
                    taps.iter().for_each(|(to, w)| sum[*to] += w * g);
                }
                made.extend(sum);
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    fn values(n: usize, purpose: &str) -> Vec<f32> {
        let mut s = Streams::new(0, "axes").stream(0, 0, purpose);
        (0..n).map(|_| s.uniform() - 0.5).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn a_resized_line_is_that_of_its_formula() {
        let line = |to: usize| {
            let axes = Axes { rows: Axis::resize(1, 1), columns: Axis::resize(4, to) };
            axes.apply(&[0.0, 1.0, 4.0, 9.0], [1, 4])
        };
        assert_eq!(line(4), [0.0, 1.0, 4.0, 9.0]);
        assert_eq!(line(8), [0.0, 0.25, 0.75, 1.75, 3.25, 5.25, 7.75, 9.0]);
        assert_eq!(line(2), [0.5, 6.5]);
        let six = [0.0, 0.5, 1.5, 3.5, 6.5, 9.0];
        let off = line(6).iter().zip(six).map(|(a, b): (&f32, f32)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-5, "{:?}", line(6));
    }

    #[test]
    fn a_gaussian_has_sum_one_and_its_ends_at_three_deviations() {
        let Axis(places) = Axis::gaussian(40, 15);
        let middle = &places[20];
        assert_eq!((middle.len(), middle[0].0, middle[14].0), (15, 13, 27));
        assert!((middle.iter().map(|(_, w)| w).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((middle[0].1 / middle[7].1 - (-4.5f32).exp()).abs() < 1e-6);
        // at the edge half of it lies on zeros
        assert_eq!((places[0].len(), places[0][0].0), (8, 0));
        assert_eq!(
            Axis::gaussian(3, 1),
            Axis::resize(3, 3).then(&Axis(vec![vec![(0, 1.0)], vec![(1, 1.0)], vec![(2, 1.0)]])).trimmed()
        );
    }

    impl Axis {
        /// Without taps that weigh nothing.
        fn trimmed(self) -> Axis {
            Axis(self.0.into_iter().map(|taps| taps.into_iter().filter(|(_, w)| *w != 0.0).collect()).collect())
        }
    }

    #[test]
    fn what_goes_back_is_the_transpose() {
        let [height, width] = [11, 16];
        let resized =
            |from: usize, to: usize, all: usize| Axis::resize(from, to).pad(1, all).then(&Axis::resize(all, from));
        for axes in [
            Axes { rows: resized(height, 12, 14), columns: resized(width, 17, 19) },
            Axes { rows: Axis::resize(height, 5), columns: Axis::resize(width, 31) },
            Axes { rows: Axis::gaussian(height, 15), columns: Axis::gaussian(width, 7) },
        ] {
            let x = values(3 * height * width, "x");
            let made = axes.apply(&x, [height, width]);
            let g = values(made.len(), "g");
            let back = axes.back(&g, [height, width]);
            // ⟨A x, g⟩ = ⟨x, Aᵀ g⟩
            assert!((dot(&made, &g) - dot(&x, &back)).abs() < 1e-4);
            // and by finite differences, one value after the other
            for i in [0, 7, 100, 3 * height * width - 1] {
                let mut moved = x.clone();
                moved[i] += 1.0;
                let change = dot(&axes.apply(&moved, [height, width]), &g) - dot(&made, &g);
                assert!((change - f64::from(back[i])).abs() < 1e-4, "{i}: {change} {}", back[i]);
            }
        }
    }
}
