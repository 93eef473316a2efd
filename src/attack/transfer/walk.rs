//! The loop that all these attacks share: gradients at one or more copies of the iterate make one direction, momentum gathers
//! them, and a step goes along its signs.

use super::method::{Back, Method};
use crate::attack::search::{Ask, Search};
use crate::attack::vector::sign;
use crate::data::Batch;
use crate::goal::Aim;
use crate::loss;
use crate::oracle::Place;
use crate::rng::Stream;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Iterations.
    pub steps: usize,
    /// α, in units of [0,1] pixels.
    pub step_size: f32,
    /// μ.
    pub decay: f32,
    /// Radius of the Linf ball.
    pub eps: f32,
}

/// The search of one image: x_adv ← clip(project(x_adv + α·sign(g))), g ← μ·g + ∇/mean|∇|.
pub struct Walk<'a> {
    settings: Settings,
    method: Method,
    batch: &'a Batch<'a>,
    row: usize,
    aim: Aim,
    stream: Stream,
    /// Clean image, 3×H×W.
    x: Vec<f32>,
    x_adv: Vec<f32>,
    /// g.
    momentum: Vec<f32>,
    /// Iterations done, and copies of this one heard.
    step: usize,
    copy: usize,
    /// What the logits count for where copies are weighed: with logits of another size than usual the least sure copy would be
    /// heard alone.
    scale: f64,
    /// The copy that is asked about, and the way back from it.
    asked: (Vec<f32>, Back),
    /// What the copies of this iteration have said.
    heard: Sum,
    /// Of variance tuning: the gradient at the iterate itself, and by how much those around the last one differed.
    here: Sum,
    variance: Sum,
}

impl<'a> Walk<'a> {
    /// From the clean image of `row`.
    pub fn begin(
        (settings, method): (Settings, Method),
        row: usize,
        aim: Aim,
        batch: &'a Batch<'a>,
        stream: Stream,
    ) -> Walk<'a> {
        let x = batch.image(row);
        let none = Sum::none(x.len());
        let mut walk = Walk {
            settings,
            method,
            batch,
            row,
            aim,
            stream,
            x_adv: x.clone(),
            momentum: vec![0.0; x.len()],
            step: 0,
            copy: 0,
            scale: 1.0,
            asked: (Vec::new(), Back::Same),
            heard: none.clone(),
            here: none.clone(),
            variance: none,
            x,
        };
        walk.ask();
        walk
    }

    /// Copies of this iterate that are asked about.
    fn copies(&self) -> usize {
        self.method.copies(self.step + 1 == self.settings.steps)
    }

    /// Makes the next copy; after the last step the iterate itself.
    fn ask(&mut self) {
        let Settings { step_size, decay, eps, .. } = self.settings;
        let size = self.batch.size();
        self.asked = match (self.step == self.settings.steps, self.method) {
            (true, _) | (_, Method::Plain) => (self.x_adv.clone(), Back::Same),
            (_, Method::LookAhead) => {
                let ahead = step_size * decay;
                (self.x_adv.iter().zip(&self.momentum).map(|(x, g)| x + ahead * g).collect(), Back::Same)
            }
            (_, Method::Tuned { radius, .. }) => match self.copy {
                0 => (self.x_adv.clone(), Back::Same),
                _ => {
                    let reach = radius * eps;
                    let near = self.x_adv.iter().map(|x| x + reach * (2.0 * self.stream.uniform() - 1.0));
                    (near.collect(), Back::Same)
                }
            },
            (_, Method::Diverse { chance, largest }) => {
                match Method::resized(chance, largest, size, &mut self.stream) {
                    Some(axes) => (axes.apply(&self.x_adv, size), Back::Through(axes)),
                    None => (self.x_adv.clone(), Back::Same),
                }
            }
            (_, Method::Smoothed { taps }) => (self.x_adv.clone(), Back::Through(Method::smoothing(taps, size))),
            (_, Method::Scaled { .. }) => {
                let scale = Method::scale(self.copy);
                (self.x_adv.iter().map(|x| x * scale).collect(), Back::Times(scale))
            }
            (_, Method::Mixed { images, strength, .. }) => {
                let scale = Method::scale(self.copy / images);
                let other = self.batch.image(self.other(self.copy % images));
                let mixed = self.x_adv.iter().zip(other).map(|(x, o)| (x + strength * o) * scale);
                (mixed.collect(), Back::Times(scale))
            }
        };
    }

    /// Which row is mixed in as number `image` of this step: any other of those attacked, the same at all scales; where there
    /// is no other, itself.
    fn other(&self, image: usize) -> usize {
        let others = self.batch.len() - 1;
        let drawn = self.stream.at((self.step as u64) << 32 | image as u64).below(others);
        if others == 0 { self.row } else { drawn + usize::from(drawn >= self.row) }
    }

    /// A step along what was heard.
    fn climb(&mut self) {
        let Settings { step_size, decay, eps, .. } = self.settings;
        let mut heard = std::mem::replace(&mut self.heard, Sum::none(self.x.len()));
        let direction = match self.method {
            Method::Tuned { neighbours, .. } => {
                let mut here = std::mem::replace(&mut self.here, Sum::none(self.x.len()));
                heard.values.iter_mut().for_each(|v| *v /= neighbours as f32);
                heard.add(&here.values, -1.0, here.log);
                here.add(&self.variance.values, 1.0, self.variance.log);
                self.variance = heard;
                here.values
            }
            _ => heard.values,
        };
        let mean = direction.iter().map(|v| f64::from(v.abs())).sum::<f64>() / direction.len() as f64;
        // without a slope the momentum carries on
        let inverse = if mean > 0.0 { mean.recip() } else { 0.0 };
        for (g, v) in self.momentum.iter_mut().zip(&direction) {
            *g = decay * *g + (f64::from(*v) * inverse) as f32;
        }
        for ((x_adv, x), g) in self.x_adv.iter_mut().zip(&self.x).zip(&self.momentum) {
            *x_adv = (*x_adv + sign(*g) * step_size).clamp(x - eps, x + eps).clamp(0.0, 1.0);
        }
    }
}

impl Search for Walk<'_> {
    fn point(&self) -> &[f32] {
        &self.asked.0
    }

    fn asks(&self) -> Ask {
        if self.step == self.settings.steps { Ask::Logits } else { Ask::LogOdds }
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        if self.step == self.settings.steps {
            return false;
        }
        let back = self.asked.1.of(gradient, self.batch.size());
        // the slope of the cross-entropy is that of the log-odds times this
        if (self.step, self.copy) == (0, 0) {
            self.scale = loss::to_usual_size(logits);
        }
        let logits: Vec<f32> = logits.iter().map(|z| (f64::from(*z) * self.scale) as f32).collect();
        let log = loss::log_share_of_others(&logits, self.aim.target.unwrap_or(self.aim.label));
        let of_copy = if matches!(self.method, Method::Tuned { .. }) && self.copy == 0 {
            &mut self.here
        } else {
            &mut self.heard
        };
        of_copy.add(&back, 1.0, log);
        self.copy += 1;
        if self.copy == self.copies() {
            self.climb();
            (self.step, self.copy) = (self.step + 1, 0);
        }
        self.ask();
        true
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.step }
    }

    /// With fewer other images than are mixed in at a step, how many there were.
    fn note(&self) -> String {
        let others = self.batch.len() - 1;
        match self.method {
            Method::Mixed { images, .. } if images > others => format!("others={others}"),
            _ => String::new(),
        }
    }

    /// The last iterate alone: one that has just left the label on this net is not what carries over to another.
    fn proposes(&self) -> bool {
        self.step == self.settings.steps
    }
}

/// A sum of gradients, values·exp(log): what it is made of may be shorter than any float, as cross-entropies of a sure net are,
/// and still has a direction.
#[derive(Debug, Clone)]
struct Sum {
    values: Vec<f32>,
    log: f64,
}

impl Sum {
    fn none(values: usize) -> Sum {
        Sum { values: vec![0.0; values], log: f64::NEG_INFINITY }
    }

    /// Adds `times`·exp(log)·values.
    fn add(&mut self, values: &[f32], times: f32, log: f64) {
        if log == f64::NEG_INFINITY {
            return;
        }
        let top = self.log.max(log);
        let (old, new) = ((self.log - top).exp() as f32, (log - top).exp() as f32 * times);
        self.values.iter_mut().zip(values).for_each(|(sum, v)| *sum = *sum * old + v * new);
        self.log = top;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Subset;
    use crate::oracle::up;
    use crate::rng::Streams;
    use crate::terms::Ratio;
    use crate::threat::{Norm, Threat};
    use candle_core::Device;

    const SIZE: [usize; 2] = [8, 12];
    const VALUES: usize = 3 * SIZE[0] * SIZE[1];
    const EPS: &str = "16/255";

    fn subset(images: usize) -> Subset {
        let mut s = Streams::new(0, "walk").stream(0, 0, "images");
        let pixels = (0..images * VALUES).map(|_| s.below(256) as u8).collect();
        Subset::new((0..images).collect(), vec![0; images], pixels, SIZE, vec!["0".into(), "1".into()])
    }

    /// A gradient that bends, and logits that are less sure where it is dark.
    fn net(x: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let g = |(i, v): (usize, &f32)| (9.0 * v + i as f32).sin() * (i % 7) as f32;
        let lead = x.iter().sum::<f32>() / x.len() as f32;
        (vec![4.0 * lead, 0.0, -1.0], x.iter().enumerate().map(g).collect())
    }

    /// The iterates of the first image: after each step, the last as it is proposed; and how often the net was asked.
    fn walked(method: Method, decay: f32, images: usize) -> (Vec<Vec<f32>>, usize) {
        let (subset, rows) = (subset(images), (0..images).collect::<Vec<_>>());
        let batch = Batch::new(&subset, &rows, None, &Device::Cpu, 4);
        let eps = Ratio::parse(EPS).unwrap().to_f64() as f32;
        let settings = Settings { steps: 10, step_size: eps / 10.0, decay, eps };
        let aim = Aim { label: 0, target: None };
        let stream = Streams::new(0, "walk").stream(0, 0, "copies");
        let mut walk = Walk::begin((settings, method), 0, aim, &batch, stream);
        let (mut iterates, mut asked) = (Vec::new(), 0);
        loop {
            assert_eq!(walk.proposes(), walk.place().step == 10);
            let (logits, gradient) = net(walk.point());
            let before = walk.step;
            asked += usize::from(walk.asks() == Ask::LogOdds);
            let proposed = walk.point().to_vec();
            if !walk.hear(&logits, &gradient) {
                assert_eq!(&proposed, iterates.last().unwrap());
                return (iterates, asked);
            }
            if walk.step > before {
                iterates.push(walk.x_adv.clone());
            }
        }
    }

    #[test]
    fn without_decay_momentum_is_descent_by_signs() {
        let threat = Threat::within(Norm::Linf, Ratio::parse(EPS).unwrap());
        let x: Vec<f32> = subset(1).image(0).iter().map(|v| f32::from(*v) / 255.0).collect();
        let tensor = |v: &[f32]| up(v.to_vec(), (1, 3, SIZE[0], SIZE[1]), &Device::Cpu).unwrap();
        let mut x_adv = x.clone();
        for iterate in walked(Method::Plain, 0.0, 1).0 {
            let (_, g) = net(&x_adv);
            let step =
                threat.step(&tensor(&x_adv), &tensor(&g), f64::from(threat.eps.to_f64() as f32 / 10.0), &tensor(&x));
            x_adv = step.unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(x_adv, iterate);
        }
    }

    #[test]
    fn every_method_is_the_plain_one_where_its_copy_is_the_iterate() {
        let (plain, asked) = walked(Method::Plain, 1.0, 3);
        assert_eq!(asked, 10);
        for (method, passes) in [
            (Method::Tuned { neighbours: 1, radius: 0.0 }, 19),
            (Method::Diverse { chance: 0.0, largest: 1.1 }, 10),
            (Method::Diverse { chance: 1.0, largest: 1.0 }, 10),
            (Method::Smoothed { taps: 1 }, 10),
            (Method::Scaled { scales: 1 }, 10),
            (Method::Mixed { scales: 1, images: 1, strength: 0.0 }, 10),
        ] {
            let (iterates, asked) = walked(method, 1.0, 3);
            assert_eq!((iterates.last(), asked), (plain.last(), passes), "{method:?}");
        }
        assert_eq!(walked(Method::LookAhead, 0.0, 1), walked(Method::Plain, 0.0, 1));
    }

    #[test]
    fn every_method_goes_its_own_way_inside_the_ball() {
        let methods = [
            (Method::Plain, 10),
            (Method::LookAhead, 10),
            (Method::Tuned { neighbours: 3, radius: 1.5 }, 37),
            (Method::Diverse { chance: 0.5, largest: 1.5 }, 10),
            (Method::Smoothed { taps: 5 }, 10),
            (Method::Scaled { scales: 5 }, 50),
            (Method::Mixed { scales: 2, images: 3, strength: 0.2 }, 60),
        ];
        let x: Vec<f32> = subset(1).image(0).iter().map(|v| f32::from(*v) / 255.0).collect();
        let threat = Threat::within(Norm::Linf, Ratio::parse(EPS).unwrap());
        let mut ends = Vec::new();
        for (method, passes) in methods {
            let (iterates, asked) = walked(method, 1.0, 3);
            assert_eq!(asked, passes, "{method:?}");
            assert!(iterates.iter().all(|i| threat.contains(i, &x, SIZE)), "{method:?}");
            assert!(!ends.contains(iterates.last().unwrap()), "{method:?}");
            ends.push(iterates.last().unwrap().clone());
        }
    }

    #[test]
    fn what_is_mixed_in_is_another_image() {
        let (subset, rows) = (subset(5), [4, 1, 2]);
        let batch = Batch::new(&subset, &rows, None, &Device::Cpu, 4);
        let settings = Settings { steps: 9, step_size: 0.0, decay: 1.0, eps: 0.1 };
        let method = Method::Mixed { scales: 2, images: 3, strength: 1.0 };
        for row in 0..3 {
            let stream = Streams::new(0, "walk").stream(row, 0, "copies");
            let mut walk = Walk::begin((settings, method), row, Aim { label: 0, target: None }, &batch, stream);
            assert_eq!(walk.note(), "others=2", "three were asked for");
            let mut mixed = Vec::new();
            for copy in 0..6 {
                let scale = if copy < 3 { 1.0 } else { 0.5 };
                let other = (0..3).find(|other| {
                    let (x, o) = (batch.image(row), batch.image(*other));
                    x.iter().zip(&o).zip(walk.point()).all(|((x, o), p)| ((x + o) * scale - p).abs() < 1e-6)
                });
                mixed.push(other.unwrap());
                let (logits, gradient) = net(walk.point());
                walk.hear(&logits, &gradient);
            }
            assert_eq!(mixed[..3], mixed[3..], "the same at every scale");
            assert!(!mixed.contains(&row), "{row}: {mixed:?}");
        }
    }

    /// The mean of the slopes of cross-entropies, in f64, of which PyTorch's f32 has those below 1e-45 as zeros.
    #[test]
    fn a_sum_is_that_of_cross_entropies_however_sure_the_net_is() {
        let [a, b, c] = [[1.0f32, -2.0, 0.5], [0.25, 4.0, -1.0], [-3.0, 1.0, 2.0]];
        for sure in [0.0f32, 30.0, 200.0, 3000.0] {
            let copies = [(a, [sure, 0.0, 0.5]), (b, [sure + 2.0, 0.0, 1.0]), (c, [sure + 1.0, -1.0, 0.0])];
            let mut sum = Sum::none(3);
            for (g, logits) in &copies {
                sum.add(g, 1.0, loss::log_share_of_others(logits, 0));
            }
            // relative to the first
            let log = |z: &[f32; 3]| loss::log_share_of_others(z, 0) - loss::log_share_of_others(&copies[0].1, 0);
            let value = |i: usize| copies.iter().map(|(g, z)| f64::from(g[i]) * log(z).exp()).sum::<f64>();
            for i in 1..3 {
                let (got, wanted) = (f64::from(sum.values[i] / sum.values[0]), value(i) / value(0));
                assert!((got - wanted).abs() < 1e-5 * wanted.abs(), "{sure} {i}: {got} {wanted}");
            }
        }
        let mut none = Sum::none(3);
        none.add(&a, 1.0, f64::NEG_INFINITY);
        assert_eq!(none.values, [0.0; 3]);
    }
}
