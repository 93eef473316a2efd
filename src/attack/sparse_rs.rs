//! Sparse-RS (Croce, Andriushchenko, Singh, Flammarion and Hein 2022), the version for changed pixels: a random search over
//! places and colours that asks for logits alone. From one candidate to the next some of the k changed pixels get their own
//! colours back, and as many others become corners of the colour cube; what is not better is dropped.

use super::search::{self, Ask, Search};
use super::{Attack, Entry, Kind, Param, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::Aim;
use crate::loss::odds;
use crate::oracle::{Oracle, Place};
use crate::rng::{Stream, Streams};
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "sparse-rs",
    revision: 1,
    summary: "few pixels by random search over places and colours (Croce et al. 2022)",
    source: "Croce et al. 2022, arXiv:2006.12834",
    norms: &[Norm::Pixels],
    params: &[
        Param {
            name: "queries",
            kind: Kind::Count,
            default: "10000",
            summary: "logits a run (Croce et al. 2022: 10000)",
        },
        Param {
            name: "alpha_init",
            kind: Kind::Positive,
            default: "0.3",
            summary: "share of the pixels that move at first (Croce et al. 2022: 0.3, with a target 0.1)",
        },
        Param {
            name: "constant_schedule",
            kind: Kind::Flag,
            default: "false",
            summary: "move half of that share all the time, instead of less and less",
        },
        Param {
            name: "loss",
            kind: Kind::Choice(&["margin", "ce"]),
            default: "margin",
            summary: "what is to fall; with a target always the cross-entropy (Croce et al. 2022; Sparse-AutoAttack: ce)",
        },
        Param { name: "restarts", kind: Kind::Count, default: "1", summary: "runs (the authors' code: 1)" },
    ],
    build: |params, threat| {
        let settings = Settings {
            queries: params.count("queries"),
            alpha: params.number("alpha_init"),
            constant: params.flag("constant_schedule"),
            margin: params.choice("loss") == "margin",
            restarts: params.count("restarts"),
        };
        if settings.alpha > 1.0 {
            return Err("`alpha_init` is a share, at most 1".into());
        }
        threat.radius()?;
        Ok(Box::new(SparseRs(settings)))
    },
};

/// Up to which of 10,000 queries by what the first share is divided; beyond the last by 20 (the authors' code; the paper has
/// them in appendix A).
const SCHEDULE: [(usize, f64); 9] =
    [(0, 1.0), (50, 2.0), (200, 4.0), (500, 5.0), (1000, 6.0), (2000, 8.0), (4000, 10.0), (6000, 12.0), (8000, 15.0)];
const LAST: f64 = 20.0;

/// Queries that [`SCHEDULE`] is told for: other numbers are stretched to it.
const SCHEDULED: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Settings {
    queries: usize,
    alpha: f64,
    constant: bool,
    /// Else the cross-entropy.
    margin: bool,
    restarts: usize,
}

impl Settings {
    /// How many of `pixels` move on the way to query number `query`, of which the first is 0.
    fn moved(&self, query: usize, pixels: usize) -> usize {
        let at = query * SCHEDULED / self.queries;
        let by = match self.constant {
            true => 2.0,
            false => SCHEDULE.iter().find(|(until, _)| at <= *until).map_or(LAST, |(_, by)| *by),
        };
        ((self.alpha / by * pixels as f64) as usize).max(1)
    }
}

struct SparseRs(Settings);

impl Attack for SparseRs {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        let pixels = task.threat.pixels(batch.values());
        search::run(&all, oracle, batch, &mut |row, oracle| {
            let of_image = (batch.example(row), oracle.aim(row), batch.image(row));
            Ok(Box::new(Walk::begin(self.0, of_image, pixels, &task.streams)))
        })
    }

    fn cost(&self) -> u64 {
        // a pass forward is a third of a step
        (self.0.queries * self.0.restarts).div_ceil(3) as u64
    }

    fn queries(&self) -> Option<u64> {
        Some((self.0.queries * self.0.restarts) as u64)
    }
}

/// The search of one image.
struct Walk<'a> {
    settings: Settings,
    streams: &'a Streams,
    example: usize,
    aim: Aim,
    /// Clean image, 3×H×W.
    x: Vec<f32>,
    restart: usize,
    stream: Stream,
    /// Queries of this run that have been answered.
    query: usize,
    best: State,
    /// Of the best; smaller is better. Before the first answer infinite.
    loss: f64,
    /// What is asked about.
    candidate: State,
}

/// An image, and which of its pixels are changed.
#[derive(Debug, Clone)]
struct State {
    image: Vec<f32>,
    /// Places (row·W + column) of the k changed pixels, and of all others.
    changed: Vec<usize>,
    rest: Vec<usize>,
}

impl<'a> Walk<'a> {
    fn begin(
        settings: Settings,
        (example, aim, x): (usize, Aim, Vec<f32>),
        pixels: usize,
        streams: &'a Streams,
    ) -> Walk<'a> {
        let mut stream = streams.stream(example, 0, "sparse-rs");
        let candidate = State::random(&x, pixels, &mut stream);
        let best = candidate.clone();
        let loss = f64::INFINITY;
        Walk { settings, streams, example, aim, x, restart: 0, stream, query: 0, best, loss, candidate }
    }

    /// Smaller is better.
    fn value(&self, logits: &[f32]) -> f64 {
        match self.settings.margin && self.aim.target.is_none() {
            true => f64::from(self.aim.distance(logits)),
            // of equal order with the cross-entropy, and told apart where that rounds to 0
            false => -odds(&self.aim, logits),
        }
    }
}

impl State {
    /// k pixels at random places, each a random corner of the colour cube.
    fn random(x: &[f32], pixels: usize, stream: &mut Stream) -> State {
        let mut all: Vec<usize> = (0..x.len() / 3).collect();
        draw(&mut all, pixels, stream);
        let rest = all.split_off(pixels);
        let mut state = State { image: x.to_vec(), changed: all, rest };
        for place in state.changed.clone() {
            state.paint(place, corner(stream));
        }
        state
    }

    /// With `moved` of the changed pixels as they were, and as many others changed.
    fn next(&self, x: &[f32], moved: usize, stream: &mut Stream) -> State {
        let mut next = self.clone();
        let plane = x.len() / 3;
        let moved = moved.min(next.changed.len()).min(next.rest.len());
        draw(&mut next.changed, moved, stream);
        draw(&mut next.rest, moved, stream);
        for i in 0..moved {
            let (back, new) = (next.changed[i], next.rest[i]);
            let clean = |place: usize| [x[place], x[plane + place], x[2 * plane + place]];
            next.paint(back, clean(back));
            let mut colour = corner(stream);
            // one that moves alone does change
            while moved == 1 && colour == clean(new) {
                colour = corner(stream);
            }
            next.paint(new, colour);
            (next.changed[i], next.rest[i]) = (new, back);
        }
        // where every pixel may change none is left to move to: other colours for one of them
        if next.rest.is_empty() && !next.changed.is_empty() {
            let place = next.changed[stream.below(next.changed.len())];
            next.paint(place, corner(stream));
        }
        next
    }

    fn paint(&mut self, place: usize, colour: [f32; 3]) {
        let plane = self.image.len() / 3;
        colour.into_iter().enumerate().for_each(|(c, v)| self.image[c * plane + place] = v);
    }
}

/// A corner of the colour cube, each as likely.
fn corner(stream: &mut Stream) -> [f32; 3] {
    let drawn = stream.below(8);
    [0, 1, 2].map(|c| (drawn >> c & 1) as f32)
}

/// Puts `n` of the values, drawn without repeating, first (Fisher and Yates).
fn draw(values: &mut [usize], n: usize, stream: &mut Stream) {
    for i in 0..n {
        let other = i + stream.below(values.len() - i);
        values.swap(i, other);
    }
}

impl Search for Walk<'_> {
    fn point(&self) -> &[f32] {
        &self.candidate.image
    }

    fn asks(&self) -> Ask {
        Ask::Logits
    }

    fn hear(&mut self, logits: &[f32], _: &[f32]) -> bool {
        let loss = self.value(logits);
        if loss < self.loss || self.aim.is_reached(logits) {
            std::mem::swap(&mut self.best, &mut self.candidate);
            self.loss = self.loss.min(loss);
        }
        self.query += 1;
        if self.query < self.settings.queries {
            let moved = self.settings.moved(self.query, self.best.changed.len());
            self.candidate = self.best.next(&self.x, moved, &mut self.stream);
            return true;
        }
        self.restart += 1;
        if self.restart == self.settings.restarts {
            return false;
        }
        self.stream = self.streams.stream(self.example, self.restart, "sparse-rs");
        self.candidate = State::random(&self.x, self.best.changed.len(), &mut self.stream);
        (self.query, self.loss) = (0, f64::INFINITY);
        true
    }

    fn place(&self) -> Place {
        Place { restart: self.restart, step: self.query + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANE: usize = 60;

    fn settings(queries: usize) -> Settings {
        Settings { queries, alpha: 0.3, constant: false, margin: true, restarts: 2 }
    }

    fn clean() -> Vec<f32> {
        let mut s = Streams::new(0, "sparse").stream(0, 0, "x");
        (0..3 * PLANE).map(|_| s.below(256) as f32 / 255.0).collect()
    }

    fn changed(image: &[f32], x: &[f32]) -> Vec<usize> {
        (0..PLANE).filter(|p| (0..3).any(|c| image[c * PLANE + p] != x[c * PLANE + p])).collect()
    }

    #[test]
    fn fewer_and_fewer_pixels_move() {
        let at = |queries, query| settings(queries).moved(query, 150);
        // ⌊0.3·150 / 1, 2, 4, 5, 6, 8, 10, 12, 15, 20⌋
        let found = [0, 1, 51, 201, 501, 1001, 2001, 4001, 6001, 8001].map(|q| at(10_000, q));
        assert_eq!(found, [45, 22, 11, 9, 7, 5, 4, 3, 3, 2]);
        assert_eq!(
            [50, 200, 500, 1000, 2000, 4000, 6000, 8000, 9999].map(|q| at(10_000, q)),
            [22, 11, 9, 7, 5, 4, 3, 3, 2]
        );
        // stretched
        assert_eq!([5, 6, 801].map(|q| at(1000, q)), [22, 11, 2]);
        assert_eq!(Settings { constant: true, ..settings(100) }.moved(90, 150), 22);
        assert_eq!(settings(100).moved(90, 1), 1);
    }

    #[test]
    fn as_many_pixels_are_changed_all_the_time_and_all_are_corners() {
        let x = clean();
        let streams = Streams::new(0, "sparse");
        for pixels in [1, 7, PLANE] {
            let of_image = (0, Aim { label: 0, target: None }, x.clone());
            let mut walk = Walk::begin(settings(200), of_image, pixels, &streams);
            let mut asked = 0;
            loop {
                let state = &walk.candidate;
                let places = changed(walk.point(), &x);
                assert!(places.len() <= pixels && places.iter().all(|p| state.changed.contains(p)), "{places:?}");
                let corners = |p: &usize| (0..3).all(|c| [0.0, 1.0].contains(&state.image[c * PLANE + p]));
                assert!(state.changed.iter().all(corners));
                let mut both = [state.changed.clone(), state.rest.clone()].concat();
                both.sort_unstable();
                assert!(both.into_iter().eq(0..PLANE));
                assert_eq!(walk.place(), Place { restart: asked / 200, step: asked % 200 + 1 });
                asked += 1;
                // darker is better, and never enough
                let sum: f32 = walk.point().iter().sum();
                if !walk.hear(&[sum + 1.0, 0.0], &[]) {
                    break;
                }
            }
            assert_eq!(asked, 400);
        }
    }

    /// On a linear net with one pixel the best is the best of all pixels and corners; the search finds it.
    #[test]
    fn it_finds_the_best_pixel_of_a_linear_net() {
        let x = clean();
        let w: Vec<f32> = (0..3 * PLANE).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let margin = |image: &[f32]| w.iter().zip(image).map(|(w, v)| w * v).sum::<f32>() + 100.0;
        let gain = |place: usize| -> f32 {
            (0..3).map(|c| c * PLANE + place).map(|i| (w[i] * x[i]).max(w[i] * (x[i] - 1.0)).max(0.0)).sum()
        };
        let least = margin(&x) - (0..PLANE).map(gain).fold(0.0, f32::max);
        let streams = Streams::new(3, "sparse");
        let of_image = (0, Aim { label: 0, target: None }, x.clone());
        let mut walk = Walk::begin(Settings { restarts: 1, ..settings(4000) }, of_image, 1, &streams);
        while walk.hear(&[margin(walk.point()), 0.0], &[]) {}
        assert!((walk.loss - f64::from(least)).abs() < 1e-3, "{} {least}", walk.loss);
    }
}
