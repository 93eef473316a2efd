//! Sparse PGD (Zhong, Huang and Liu 2024): a change of all pixels, and a mask of which the k largest entries say where it
//! counts; both climb by gradients. Two of its variants and Sparse-RS make up Sparse-AutoAttack.
//!
//! With p the change and m the mask, the image is x + p∘top_k(σ(m)). Through the choice of the k there is no slope, so that of
//! the product p∘σ(m) is taken for it: `projected` lets p move where it counts alone, `unprojected` everywhere.

use super::search::{self, Ask, Search};
use super::vector::sign;
use super::{Attack, Entry, Kind, Param, STEPS, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::{Oracle, Place};
use crate::rng::Stream;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "spgd",
    revision: 1,
    summary: "few pixels by gradients of a change and of a mask (Zhong et al. 2024)",
    source: "Zhong, Huang and Liu 2024, arXiv:2405.05075",
    norms: &[Norm::Pixels],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "10000", summary: "iterations (Zhong et al. 2024: 10000)" },
        Param {
            name: "variant",
            kind: Kind::Choice(&["unprojected", "projected"]),
            default: "unprojected",
            summary: "whether the change moves where it does not count, too (Sparse-AutoAttack begins with it)",
        },
        Param {
            name: "alpha",
            kind: Kind::Positive,
            default: "0.25",
            summary: "step of the change, pixels in [0,1] (Zhong et al. 2024: 0.25)",
        },
        Param {
            name: "beta",
            kind: Kind::Positive,
            default: "0.25",
            summary: "step of the mask, times the root of its pixels (Zhong et al. 2024: 0.25)",
        },
        Param {
            name: "patience",
            kind: Kind::Count,
            default: "3",
            summary: "steps without another pixel after which the mask is drawn anew (Zhong et al. 2024: 3)",
        },
    ],
    build: |params, threat| {
        threat.radius()?;
        Ok(Box::new(Spgd(Settings {
            steps: params.count(STEPS),
            projected: params.choice("variant") == "projected",
            alpha: params.number("alpha") as f32,
            beta: params.number("beta"),
            patience: params.count("patience"),
        })))
    },
};

#[derive(Debug, Clone, Copy)]
struct Settings {
    steps: usize,
    projected: bool,
    alpha: f32,
    beta: f64,
    patience: usize,
}

struct Spgd(Settings);

impl Attack for Spgd {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        let pixels = task.threat.pixels(batch.values());
        search::run(&all, oracle, batch, &mut |row, _| {
            let stream = task.streams.stream(batch.example(row), 0, "spgd");
            Ok(Box::new(Walk::begin(self.0, batch.image(row), pixels, stream)))
        })
    }

    fn cost(&self) -> u64 {
        self.0.steps as u64
    }

    fn iterations(&self) -> Option<usize> {
        Some(self.0.steps)
    }
}

/// The search of one image.
struct Walk {
    settings: Settings,
    /// Pixels that may change, k.
    pixels: usize,
    stream: Stream,
    /// Clean image, 3×H×W.
    x: Vec<f32>,
    /// p, 3×H×W, inside the box around x.
    change: Vec<f32>,
    /// m, H×W.
    mask: Vec<f32>,
    /// Whether a pixel is among the k.
    chosen: Vec<bool>,
    /// Steps for which the same were.
    unchanged: usize,
    step: usize,
    x_adv: Vec<f32>,
}

impl Walk {
    fn begin(settings: Settings, x: Vec<f32>, pixels: usize, mut stream: Stream) -> Walk {
        let change = x.iter().map(|x| (2.0 * stream.uniform() - 1.0).clamp(-x, 1.0 - x)).collect();
        let mask = random_mask(x.len() / 3, &mut stream);
        let chosen = largest(&mask, pixels);
        let mut walk =
            Walk { settings, pixels, stream, change, mask, chosen, unchanged: 0, step: 0, x_adv: x.clone(), x };
        walk.stand();
        walk
    }

    /// x + p∘top_k(m).
    fn stand(&mut self) {
        let plane = self.mask.len();
        for (i, (x_adv, (x, p))) in self.x_adv.iter_mut().zip(self.x.iter().zip(&self.change)).enumerate() {
            *x_adv = if self.chosen[i % plane] { (x + p).clamp(0.0, 1.0) } else { *x };
        }
    }

    /// β·√(HW)·∇/‖∇‖₂ with respect to the mask; 0 where there is no slope.
    fn step_of_mask(&self, gradient: &[f32]) -> Vec<f32> {
        let plane = self.mask.len();
        let slope = |(place, m): (usize, &f32)| {
            let through: f64 =
                (0..3).map(|c| c * plane + place).map(|i| f64::from(gradient[i]) * f64::from(self.change[i])).sum();
            // σ(m)·(1 − σ(m))
            let small = (-f64::from(m.abs())).exp();
            through * small / (1.0 + small).powi(2)
        };
        let slopes: Vec<f64> = self.mask.iter().enumerate().map(slope).collect();
        // by the largest first: the squares alone may be below any float
        let most = slopes.iter().fold(0.0, |most: f64, s| most.max(s.abs()));
        if most == 0.0 {
            return vec![0.0; plane];
        }
        let length = slopes.iter().map(|s| (s / most).powi(2)).sum::<f64>().sqrt();
        let step = self.settings.beta * (plane as f64).sqrt();
        slopes.into_iter().map(|s| (step * (s / most / length)) as f32).collect()
    }

    /// p ← clip(p + α·sign(∇)).
    fn climb_change(&mut self, gradient: &[f32]) {
        let plane = self.mask.len();
        for (i, (p, (x, g))) in self.change.iter_mut().zip(self.x.iter().zip(gradient)).enumerate() {
            if !self.settings.projected || self.chosen[i % plane] {
                *p = (*p + self.settings.alpha * sign(*g)).clamp(-x, 1.0 - x);
            }
        }
    }
}

/// Standard normal entries.
fn random_mask(plane: usize, stream: &mut Stream) -> Vec<f32> {
    (0..plane).map(|_| stream.normal() as f32).collect()
}

/// Which are the `n` largest values, the first of equals first.
fn largest(values: &[f32], n: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if n < values.len() {
        order.select_nth_unstable_by(n, |a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    }
    let mut chosen = vec![false; values.len()];
    order.into_iter().take(n).for_each(|i| chosen[i] = true);
    chosen
}

impl Search for Walk {
    fn point(&self) -> &[f32] {
        &self.x_adv
    }

    fn asks(&self) -> Ask {
        if self.step == self.settings.steps { Ask::Logits } else { Ask::LogOdds }
    }

    fn hear(&mut self, _: &[f32], gradient: &[f32]) -> bool {
        if self.step == self.settings.steps {
            return false;
        }
        // both from where the net was asked
        let step = self.step_of_mask(gradient);
        self.climb_change(gradient);
        if self.unchanged == self.settings.patience {
            self.unchanged = 0;
            self.mask = random_mask(self.mask.len(), &mut self.stream);
            self.chosen = largest(&self.mask, self.pixels);
        }
        self.mask.iter_mut().zip(step).for_each(|(m, step)| *m += step);
        let chosen = largest(&self.mask, self.pixels);
        self.unchanged = if chosen == self.chosen { self.unchanged + 1 } else { 0 };
        self.chosen = chosen;
        self.stand();
        self.step += 1;
        true
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    const PLANE: usize = 64;

    fn settings(projected: bool) -> Settings {
        Settings { steps: 200, projected, alpha: 0.25, beta: 0.25, patience: 3 }
    }

    fn walk(projected: bool, pixels: usize) -> (Walk, Vec<f32>) {
        let mut s = Streams::new(0, "spgd").stream(0, 0, "x");
        let x: Vec<f32> = (0..3 * PLANE).map(|_| s.below(256) as f32 / 255.0).collect();
        (Walk::begin(settings(projected), x.clone(), pixels, Streams::new(0, "spgd").stream(0, 0, "spgd")), x)
    }

    /// On a linear net the best k pixels are those that gain most, each at the best corner: the search comes near.
    #[test]
    fn it_finds_the_best_pixels_of_a_linear_net() {
        let w: Vec<f32> = (0..3 * PLANE).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        for projected in [false, true] {
            for pixels in [1, 5, PLANE] {
                let (mut walk, x) = walk(projected, pixels);
                let gain = |place: usize| -> f32 {
                    let of = |i: usize| if w[i] > 0.0 { w[i] * (1.0 - x[i]) } else { -w[i] * x[i] };
                    (0..3).map(|c| of(c * PLANE + place)).sum()
                };
                let mut gains: Vec<f32> = (0..PLANE).map(gain).collect();
                gains.sort_by(|a, b| b.total_cmp(a));
                let best: f32 = gains[..pixels].iter().sum();
                let mut found = f32::MIN;
                loop {
                    let changed =
                        (0..PLANE).filter(|p| (0..3).any(|c| walk.point()[c * PLANE + p] != x[c * PLANE + p])).count();
                    assert!(changed <= pixels, "{changed}");
                    assert!(walk.point().iter().all(|v| (0.0..=1.0).contains(v)));
                    found = found.max(w.iter().zip(walk.point()).zip(&x).map(|((w, a), x)| w * (a - x)).sum());
                    assert_eq!(walk.asks() == Ask::Logits, walk.step == 200);
                    if !walk.hear(&[], &w) {
                        break;
                    }
                }
                assert!(found <= best + 1e-3);
                assert!(found >= 0.9 * best, "{projected} {pixels}: {found} of {best}");
            }
        }
    }

    #[test]
    fn a_step_is_as_long_whatever_the_size_of_the_gradient() {
        let (walk, _) = walk(false, 5);
        let g: Vec<f32> = (0..3 * PLANE).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let at = |power: i32| {
            let scaled: Vec<f32> = g.iter().map(|g| g * 2f32.powi(power)).collect();
            walk.step_of_mask(&scaled)
        };
        let length = at(0).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        assert!((length - 0.25 * 8.0).abs() < 1e-6, "{length}");
        for power in [-100, -40, 10, 100] {
            assert_eq!(at(power), at(0), "2^{power}");
        }
        assert_eq!(walk.step_of_mask(&[0.0; 3 * PLANE]), [0.0; PLANE]);
    }

    #[test]
    fn projected_it_moves_where_it_counts_alone() {
        for projected in [false, true] {
            let (mut walk, _) = walk(projected, 5);
            let (before, chosen) = (walk.change.clone(), walk.chosen.clone());
            walk.hear(&[], &[1.0; 3 * PLANE]);
            let moved = (0..3 * PLANE).filter(|i| !chosen[i % PLANE] && walk.change[*i] != before[*i]).count();
            assert_eq!(moved == 0, projected, "{moved}");
        }
    }

    #[test]
    fn the_largest_are_chosen_and_of_equals_the_first() {
        assert_eq!(largest(&[1.0, 3.0, 3.0, 2.0, 3.0], 2), [false, true, true, false, false]);
        assert_eq!(largest(&[1.0, 3.0], 2), [true, true]);
        assert_eq!(largest(&[1.0, 3.0], 0), [false, false]);
    }

    #[test]
    fn a_mask_that_chooses_the_same_is_drawn_anew() {
        let (mut walk, _) = walk(false, 5);
        let first = walk.chosen.clone();
        let mut redrawn = 0;
        for _ in 0..8 {
            // no slope: only a new mask chooses others
            walk.hear(&[], &[0.0; 3 * PLANE]);
            redrawn += usize::from(walk.chosen != first);
        }
        assert!(redrawn > 0, "three steps without another pixel");
        assert_eq!(walk.step, 8);
    }
}
