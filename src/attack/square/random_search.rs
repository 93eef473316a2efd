//! The random search of Square on one image: a change is kept where it comes closer to success.

use super::canvas::{Canvas, Settings};
use crate::attack::search::{Ask, Search};
use crate::goal::Aim;
use crate::oracle::Place;
use crate::rng::Streams;

/// The search around the clean image `x` of this height and width.
pub fn begin(
    settings: Settings,
    x: Vec<f32>,
    size: [usize; 2],
    aim: Aim,
    example: usize,
    streams: &Streams,
) -> Box<dyn Search> {
    let mut canvas = Canvas::new(settings, size, x, streams.stream(example, 0, "square"));
    let point = canvas.start();
    Box::new(RandomSearch { canvas, aim, best: point.clone(), point, least: f32::INFINITY, query: 1 })
}

/// The search of one image.
struct RandomSearch {
    canvas: Canvas,
    aim: Aim,
    /// What is asked about, and the best so far, 3×H×W each.
    point: Vec<f32>,
    best: Vec<f32>,
    /// How far the best is from success, in logits.
    least: f32,
    /// Number of the query, from 1.
    query: usize,
}

impl Search for RandomSearch {
    fn point(&self) -> &[f32] {
        &self.point
    }

    fn asks(&self) -> Ask {
        Ask::Logits
    }

    fn hear(&mut self, logits: &[f32], _: &[f32]) -> bool {
        let distance = self.aim.distance(logits);
        if distance < self.least {
            self.least = distance;
            self.best.copy_from_slice(&self.point);
        }
        while self.query < self.canvas.settings.queries {
            self.canvas.change(&self.best, self.query - 1, &mut self.point);
            self.query += 1;
            // of the best the answer is known: it counts as a query, and costs no pass
            if self.point != self.best {
                return true;
            }
        }
        false
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::vector::{difference, length};
    use crate::threat::{Norm, Threat};

    const NORMS: [Norm; 3] = [Norm::Linf, Norm::L2, Norm::L1];
    const CHANNELS: usize = 3;
    const SIZES: [[usize; 2]; 5] = [[32, 32], [8, 24], [24, 8], [3, 2], [1, 1]];
    const AIM: Aim = Aim { label: 0, target: None };

    fn image([height, width]: [usize; 2], number: usize) -> Vec<f32> {
        let mut s = Streams::new(1, "square").stream(number, 0, "image");
        (0..CHANNELS * height * width).map(|_| [0.0, 1.0, s.below(256) as f32 / 255.0][s.below(3)]).collect()
    }

    /// Runs a search against a lead of the label that is `lead` minus a random slope times the change. What was asked about.
    /// What is the same as the best is no question.
    fn walk(settings: Settings, size: [usize; 2], number: usize, lead: f32) -> Vec<(Vec<f32>, f32)> {
        let x = image(size, number);
        let mut s = Streams::new(2, "square").stream(number, 0, "slope");
        let w: Vec<f64> = x.iter().map(|_| s.normal()).collect();
        let mut search = begin(settings, x.clone(), size, AIM, number, &Streams::new(0, "square"));
        let mut asked: Vec<(Vec<f32>, f32)> = Vec::new();
        loop {
            assert_eq!((search.asks(), search.proposes()), (Ask::Logits, true));
            assert!(asked.len() < search.place().step && search.place().step <= settings.queries);
            let point = search.point().to_vec();
            let best = asked.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
            assert!(best.is_none_or(|(best, _)| *best != point), "{:?}", settings.norm);
            let gain: f64 = point.iter().zip(&x).zip(&w).map(|((p, x), w)| w * f64::from(p - x)).sum();
            let lead = lead - gain as f32;
            asked.push((point, lead));
            if !search.hear(&[lead, 0.0], &[]) {
                return asked;
            }
        }
    }

    #[test]
    fn every_query_is_inside_and_changes_two_windows_at_most() {
        for norm in NORMS {
            for (i, size) in SIZES.into_iter().enumerate() {
                for eps in ["8/255", "0.5", "0.0123", "0"] {
                    let threat = Threat::within(norm, norm.budget(eps).unwrap());
                    let eps = threat.eps.to_f64();
                    let settings = Settings { norm, eps, queries: 300, p: 0.8 };
                    let x = image(size, i);
                    let asked = walk(settings, size, i, 1e9);
                    let most = if eps == 0.0 || size == [1, 1] { 1 } else { 250 };
                    assert!(asked.len() >= most, "what stands is asked about: {norm:?} {size:?} {eps} {}", asked.len());
                    for (point, _) in &asked {
                        assert!(threat.contains(point, &x, size), "{norm:?} {size:?} {eps}");
                        assert!(point.iter().all(|v| (0.0..=1.0).contains(v)));
                        // closer than the judge asks
                        assert!(length(norm, &difference(point, &x)) <= eps + 1e-7, "{norm:?} {size:?} {eps}");
                    }
                    if norm == Norm::Linf {
                        let at_the_ends = |(p, x): (&f32, &f32)| {
                            [(f64::from(*x) + eps).min(1.0), (f64::from(*x) - eps).max(0.0)]
                                .iter()
                                .any(|end| (f64::from(*p) - end).abs() < 1e-7)
                        };
                        assert!(asked.iter().all(|(p, _)| p.iter().zip(&x).all(at_the_ends)), "{size:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn whole_grey_levels_are_asked_about_as_they_are_stored() {
        let settings = Settings { norm: Norm::Linf, eps: 8.0 / 255.0, queries: 40, p: 0.8 };
        for (point, _) in walk(settings, [16, 16], 0, 1e9) {
            assert!(point.iter().all(|v| *v == (v * 255.0).round() / 255.0));
        }
    }

    #[test]
    fn the_budget_is_used_and_the_lead_falls() {
        for (norm, eps) in NORMS.into_iter().zip([0.03, 0.5, 5.0]) {
            for (i, size) in SIZES[..3].iter().enumerate() {
                let asked = walk(Settings { norm, eps, queries: 600, p: 0.8 }, *size, i, 50.0);
                let x = image(*size, i);
                let least = asked.iter().map(|(_, lead)| *lead).fold(f32::INFINITY, f32::min);
                assert!(least < asked[0].1, "{norm:?} {size:?}");
                // the search goes on from the best: the late ones lie near it
                let late = asked[500..].iter().map(|(_, lead)| *lead).fold(f32::NEG_INFINITY, f32::max);
                assert!(late < asked[0].1, "{norm:?} {size:?}: {late} after {}", asked[0].1);
                let used = asked.iter().map(|(p, _)| length(norm, &difference(p, &x))).fold(0.0, f64::max);
                assert!(used > 0.7 * eps, "{norm:?} {size:?}: {used} of {eps}");
            }
        }
    }

    #[test]
    fn an_image_draws_the_same_in_any_company() {
        for norm in NORMS {
            let settings = Settings { norm, eps: 0.25, queries: 50, p: 0.8 };
            assert!(walk(settings, [8, 8], 3, 9.0) == walk(settings, [8, 8], 3, 9.0));
            let (a, b) = (image([8, 8], 3), image([8, 8], 3));
            let start =
                |number| begin(settings, a.clone(), [8, 8], AIM, number, &Streams::new(0, "square")).point().to_vec();
            assert!(a == b && start(3) != start(4));
        }
    }

    #[test]
    fn a_target_is_climbed_to() {
        let settings = Settings { norm: Norm::Linf, eps: 0.25, queries: 2, p: 0.8 };
        let aim = Aim { label: 0, target: Some(2) };
        let mut search = begin(settings, image([8, 8], 0), [8, 8], aim, 0, &Streams::new(0, "square"));
        let first = search.point().to_vec();
        assert!(search.hear(&[9.0, 0.0, 3.0], &[]) && !search.hear(&[0.0, 9.0, 3.0], &[]));
        // both lack 6; the second is no better
        let mut search =
            begin(Settings { queries: 3, ..settings }, image([8, 8], 0), [8, 8], aim, 0, &Streams::new(0, "square"));
        search.hear(&[9.0, 0.0, 3.0], &[]);
        let second = search.point().to_vec();
        search.hear(&[0.0, 9.0, 2.5], &[]);
        let third = search.point().to_vec();
        let away = |from: &[f32]| third.iter().zip(from).filter(|(a, b)| a != b).count();
        assert!(away(&first) < third.len() && second != third);
    }
}
