//! Square (Andriushchenko et al. 2020): without gradients, a square window at a random place is changed, and the change is
//! kept where the label leads by less than before. Windows shrink with the queries. In Linf a window takes each channel to
//! one end of the budget; in L2 and L1 it takes up what another window gives back, as a hill and a valley ([`shape`]).

mod shape;

use super::search::{self, Ask, Search};
use super::vector::TINY;
use super::{Attack, Entry, Kind, Param, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::Aim;
use crate::oracle::{Oracle, Place};
use crate::rng::{Stream, Streams};
use crate::threat::{Norm, l1};
use shape::{hills, measure, share, side};

pub const ENTRY: Entry = Entry {
    name: "square",
    revision: 1,
    summary: "random search with square changes, without gradients (Andriushchenko et al. 2020)",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    params: &[
        Param {
            name: "queries",
            kind: Kind::Count,
            default: "5000",
            summary: "images that the net is asked about (AutoAttack: 5000)",
        },
        Param {
            name: "p",
            kind: Kind::Number,
            default: "0.8",
            summary: "share of the image that the first windows cover (AutoAttack: 0.8)",
        },
    ],
    build: |params, threat| {
        let (eps, p) = (threat.radius()?.to_f64(), params.number("p"));
        if p == 0.0 || p > 1.0 {
            return Err(format!("`p` = {p} is no share of an image (hint: above 0, up to 1)"));
        }
        Ok(Box::new(Square(Settings { norm: threat.norm, eps, queries: params.count("queries"), p })))
    },
};

/// Tiles along a side of the first change in L2 and L1 (Andriushchenko et al. 2020, section 4.3).
const TILES: usize = 5;

const CHANNELS: usize = 3;

/// What a search is told. Parameters of [`ENTRY`], and the threat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub norm: Norm,
    pub eps: f64,
    pub queries: usize,
    pub p: f64,
}

impl Settings {
    /// What a standing image costs, in gradients: a query is a pass forward, about half of one.
    pub fn cost(&self) -> u64 {
        self.queries.div_ceil(2) as u64
    }
}

struct Square(Settings);

impl Attack for Square {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let rows: Vec<usize> = (0..batch.len()).collect();
        search::run(&rows, oracle, batch, &mut |row, oracle| {
            let (x, example) = (batch.image(row), batch.example(row));
            Ok(begin(self.0, x, batch.size(), oracle.aim(row), example, &task.streams))
        })
    }

    fn cost(&self) -> u64 {
        self.0.cost()
    }
}

/// The search around the clean image `x` of this height and width.
pub(super) fn begin(
    settings: Settings,
    x: Vec<f32>,
    size: [usize; 2],
    aim: Aim,
    example: usize,
    streams: &Streams,
) -> Box<dyn Search> {
    let mut canvas = Canvas { settings, size, x, stream: streams.stream(example, 0, "square"), hills: Vec::new() };
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
        if self.query == self.canvas.settings.queries {
            return false;
        }
        self.canvas.change(&self.best, self.query - 1, &mut self.point);
        self.query += 1;
        true
    }

    fn place(&self) -> Place {
        Place { restart: 0, step: self.query }
    }
}

/// Draws changes of an image.
struct Canvas {
    settings: Settings,
    /// Height and width.
    size: [usize; 2],
    /// Clean image, 3×H×W.
    x: Vec<f32>,
    stream: Stream,
    /// [`hills`] of the last side.
    hills: Vec<f64>,
}

impl Canvas {
    /// What the search begins with: stripes in Linf, tiles in L2 and L1.
    fn start(&mut self) -> Vec<f32> {
        if self.settings.norm == Norm::Linf { self.stripes() } else { self.tiles() }
    }

    /// Another image: the best so far, with a window changed.
    fn change(&mut self, best: &[f32], query: usize, point: &mut [f32]) {
        let Settings { norm, p, .. } = self.settings;
        let side = side(norm, share(p, query), self.size);
        match norm {
            Norm::Linf => self.to_the_ends(best, side, point),
            _ => self.move_hills(best, side, point),
        }
    }

    /// Every column of every channel at one end of the budget.
    fn stripes(&mut self) -> Vec<f32> {
        let [height, width] = self.size;
        let mut point = self.x.clone();
        for channel in 0..CHANNELS {
            for column in 0..width {
                let up = self.coin();
                for row in 0..height {
                    let at = (channel * height + row) * width + column;
                    point[at] = self.end(at, up);
                }
            }
        }
        point
    }

    /// Each channel of the window at one end of the budget. From there, the authors' ±2·eps on the image at hand is clipped to
    /// the same.
    fn to_the_ends(&mut self, best: &[f32], side: usize, point: &mut [f32]) {
        let window = self.window(side);
        point.copy_from_slice(best);
        for channel in 0..CHANNELS {
            let up = self.coin();
            for at in window.values(channel, self.size) {
                point[at] = self.end(at, up);
            }
        }
    }

    /// The upper or lower end of what the budget and the box leave a value: a whole number of grey levels, as exactly as it is
    /// stored, where eps is one.
    fn end(&self, at: usize, up: bool) -> f32 {
        let (x, eps) = (f64::from(self.x[at]), self.settings.eps);
        let end = if up { (x + eps).min(1.0) } else { (x - eps).max(0.0) };
        let (level, levels) = ((end * 255.0).round(), eps * 255.0);
        // x are whole levels themselves
        if (levels - levels.round()).abs() < 1e-9 { level as f32 / 255.0 } else { end as f32 }
    }

    /// Tiles of hills, each channel of each up or down, brought to the budget.
    fn tiles(&mut self) -> Vec<f32> {
        let [height, width] = self.size;
        let side = (height.min(width) / TILES).max(1);
        let mut change = vec![0.0; self.x.len()];
        // the tiles stand in the middle
        let [top, left] = self.size.map(|length| length % side / 2);
        for row in 0..height / side {
            for column in 0..width / side {
                let window = Window { row: top + row * side, column: left + column * side, side };
                let hills = self.turned_hills(side);
                for channel in 0..CHANNELS {
                    let sign = self.sign();
                    window.values(channel, self.size).zip(&hills).for_each(|(at, v)| change[at] = sign * v);
                }
            }
        }
        let mut point = self.x.clone();
        self.bring_to_budget(&change, &mut point);
        point
    }

    /// One window gives back its change; another gets new hills over its own, and with them what is left of the budget.
    fn move_hills(&mut self, best: &[f32], side: usize, point: &mut [f32]) {
        let Settings { norm, eps, .. } = self.settings;
        let (window, emptied, hills) = (self.window(side), self.window(side), self.turned_hills(side));
        let mut change: Vec<f64> = best.iter().zip(&self.x).map(|(b, x)| f64::from(*b) - f64::from(*x)).collect();
        let length = measure(norm, change.iter().copied());
        let size = self.size;
        for channel in 0..CHANNELS {
            let sign = self.sign();
            let in_window = || window.values(channel, size);
            let only_emptied = emptied.values(channel, size).filter(|at| !window.holds(*at, size));
            let own = measure(norm, in_window().map(|at| change[at]));
            let both = measure(norm, in_window().chain(only_emptied).map(|at| change[at]));
            let new: Vec<f64> = in_window().zip(&hills).map(|(at, v)| sign * v + change[at] / (TINY + own)).collect();
            // each channel gets back what both windows had, and its part of what the image has left
            let parts = CHANNELS as f64;
            let freed = match norm {
                Norm::L2 => ((eps * eps - length * length).max(0.0) / parts + both * both).sqrt(),
                _ => ((eps - length).max(0.0) / parts + both) * parts,
            };
            let scale = freed / (TINY + measure(norm, new.iter().copied()));
            emptied.values(channel, size).for_each(|at| change[at] = 0.0);
            in_window().zip(new).for_each(|(at, v)| change[at] = v * scale);
        }
        self.bring_to_budget(&change, point);
    }

    /// The clean image with this change, in ball and box: in L2 the change is made as long as the budget, then clipped; in L1
    /// it is projected onto both.
    fn bring_to_budget(&self, change: &[f64], point: &mut [f32]) {
        let Settings { norm, eps, .. } = self.settings;
        let scale = if norm == Norm::L2 { eps / (TINY + measure(norm, change.iter().copied())) } else { 1.0 };
        for ((v, x), d) in point.iter_mut().zip(&self.x).zip(change) {
            let moved = f64::from(*x) + d * scale;
            *v = if norm == Norm::L2 { moved.clamp(0.0, 1.0) as f32 } else { moved as f32 };
        }
        if norm == Norm::L1 {
            l1::project_image(point, &self.x, eps);
        }
    }

    /// Of the hills of a window, rows and columns are exchanged in half of the cases.
    fn turned_hills(&mut self, side: usize) -> Vec<f64> {
        if self.hills.len() != side * side {
            self.hills = hills(self.settings.norm, side);
        }
        if self.coin() {
            return self.hills.clone();
        }
        (0..side * side).map(|i| self.hills[i % side * side + i / side]).collect()
    }

    /// A window at a random place. Where it fits, the last row and column are left out, as in the authors' code.
    fn window(&mut self, side: usize) -> Window {
        let [height, width] = self.size;
        Window { row: self.stream.below(height - side), column: self.stream.below(width - side), side }
    }

    fn coin(&mut self) -> bool {
        self.stream.below(2) == 0
    }

    fn sign(&mut self) -> f64 {
        if self.coin() { 1.0 } else { -1.0 }
    }
}

/// A square part of an image.
struct Window {
    row: usize,
    column: usize,
    side: usize,
}

impl Window {
    /// Places of its values in a channel of an image 3×H×W, row by row.
    fn values(&self, channel: usize, [height, width]: [usize; 2]) -> impl Iterator<Item = usize> {
        let (column, side) = (self.column, self.side);
        let rows = self.row..self.row + side;
        rows.flat_map(move |row| (column..column + side).map(move |x| (channel * height + row) * width + x))
    }

    /// Whether a place in an image 3×H×W lies within its rows and columns.
    fn holds(&self, at: usize, [height, width]: [usize; 2]) -> bool {
        let (row, column) = (at / width % height, at % width);
        (self.row..self.row + self.side).contains(&row) && (self.column..self.column + self.side).contains(&column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::vector::{difference, length};
    use crate::threat::Threat;

    const NORMS: [Norm; 3] = [Norm::Linf, Norm::L2, Norm::L1];
    const SIZES: [[usize; 2]; 5] = [[32, 32], [8, 24], [24, 8], [3, 2], [1, 1]];
    const AIM: Aim = Aim { label: 0, target: None };

    fn image([height, width]: [usize; 2], number: usize) -> Vec<f32> {
        let mut s = Streams::new(1, "square").stream(number, 0, "image");
        (0..CHANNELS * height * width).map(|_| [0.0, 1.0, s.below(256) as f32 / 255.0][s.below(3)]).collect()
    }

    /// Runs a search against a lead of the label that is `lead` minus a random slope times the change. What was asked about.
    fn walk(settings: Settings, size: [usize; 2], number: usize, lead: f32) -> Vec<(Vec<f32>, f32)> {
        let x = image(size, number);
        let mut s = Streams::new(2, "square").stream(number, 0, "slope");
        let w: Vec<f64> = x.iter().map(|_| s.normal()).collect();
        let mut search = begin(settings, x.clone(), size, AIM, number, &Streams::new(0, "square"));
        let mut asked = Vec::new();
        loop {
            assert_eq!((search.asks(), search.proposes()), (Ask::Logits, true));
            assert_eq!(search.place(), Place { restart: 0, step: asked.len() + 1 });
            let point = search.point().to_vec();
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
                    assert_eq!(asked.len(), 300, "what stands is asked about as often as may be");
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
