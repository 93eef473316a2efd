//! One-pixel attack (Su, Vargas, Sakurai 2019): differential evolution over the places and colours of a few pixels, or a
//! scan of all places.
//!
//! A candidate is k tuples (x, y, r, g, b). The images of the active set evolve together: each generation asks the net
//! for all children of all of them in one call, and every child is tested for success.

use super::{Attack, Entry, Kind, Param, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::{Aim, Goal};
use crate::loss::odds;
use crate::oracle::{Change, Oracle, Place};
use crate::rng::Stream;
use crate::threat::Norm;
use candle_core::Tensor;
use rayon::prelude::*;

pub const ENTRY: Entry = Entry {
    name: "one-pixel",
    revision: 2,
    summary: "few pixels by differential evolution, or a scan of all places (Su, Vargas and Sakurai 2019)",
    source: "Su, Vargas and Sakurai 2019, arXiv:1710.08864",
    norms: &[Norm::Pixels],
    params: &[
        Param {
            name: "variant",
            kind: Kind::Choice(&["paper", "best1bin", "scan"]),
            default: "paper",
            summary: "DE/rand/1 of the paper; DE/best/1/bin (scipy's default); all places with 8 corner colours",
        },
        Param {
            name: "objective",
            kind: Kind::Choice(&["goal", "union"]),
            default: "goal",
            summary: "one run for the goal; or one towards each other class, the paper's non-targeted rate",
        },
        Param { name: "population", kind: Kind::Count, default: "400", summary: "candidates (the paper: 400)" },
        Param { name: "generations", kind: Kind::Count, default: "100", summary: "at most (the paper: 100)" },
    ],
    build: |params, threat| {
        let variant = match params.choice("variant") {
            "paper" => Variant::Rand1,
            "best1bin" => Variant::Best1Bin,
            _ => Variant::Scan,
        };
        let (population, count) = (params.count("population"), threat.pixels(usize::MAX));
        if variant == Variant::Scan && (count != 1 || params.choice("objective") == "union") {
            return Err("`scan` tries every place for one pixel (hint: count = [1], objective = \"goal\")".into());
        }
        if population < 4 {
            return Err("a population of 4 at least: a child has three other parents".into());
        }
        let generations = params.count("generations");
        Ok(Box::new(OnePixel { variant, union: params.choice("objective") == "union", population, generations, count }))
    },
};

/// F, the weight of a difference (the paper: 0.5).
const WEIGHT: f32 = 0.5;

/// Chance with which a gene of a child is the mutant's (scipy's `recombination`).
const CROSSOVER: f32 = 0.7;

/// Range of F in `best1bin`, drawn anew for each generation (scipy's `mutation`).
const DITHER: [f32; 2] = [0.5, 1.0];

/// Places that a scan tries between two looks at who is settled.
const SCANNED_TOGETHER: usize = 64;

/// x, y, r, g, b.
const GENES: usize = 5;

#[derive(Clone, Copy, PartialEq)]
enum Variant {
    Rand1,
    Best1Bin,
    Scan,
}

struct OnePixel {
    variant: Variant,
    union: bool,
    population: usize,
    generations: usize,
    /// Pixels that may change.
    count: usize,
}

impl Attack for OnePixel {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        for rows in all.chunks(batch.window) {
            match (self.variant, self.count) {
                (_, 0) => oracle.leave(rows.len()),
                (Variant::Scan, _) => scan(rows.to_vec(), oracle, batch)?,
                _ => self.evolve(rows.to_vec(), oracle, batch, task)?,
            }
        }
        Ok(())
    }

    fn cost(&self) -> u64 {
        (self.population * (self.generations + 1)) as u64
    }

    fn queries(&self) -> Option<u64> {
        Some(self.cost())
    }

    fn check_goal(&self, goal: &Goal) -> Result<(), String> {
        match self.union && *goal != Goal::Untargeted {
            true => Err("`objective = \"union\"` is a run towards each class: it needs the goal `untargeted`".into()),
            false => Ok(()),
        }
    }
}

impl OnePixel {
    fn evolve(&self, rows: Vec<usize>, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let begin = |row: usize, run: usize, oracle: &Oracle, classes: usize| {
            let aim = self.aim(oracle.aim(row), run, classes)?;
            let stream = task.streams.stream(batch.example(row), run, "evolution");
            Some(Evolution::new(row, run, aim, self.population, self.count, batch.size(), stream))
        };
        // how many classes there are shows in the first answer; a first run exists however many there are
        let mut classes = usize::MAX;
        let mut evolutions: Vec<Evolution> = rows.iter().filter_map(|r| begin(*r, 0, oracle, classes)).collect();
        while !evolutions.is_empty() {
            let rows: Vec<usize> = evolutions.iter().map(|e| e.row).collect();
            let x = batch.images(&rows)?; // N×3×H×W
            evolutions.par_iter_mut().for_each(|e| e.breed(self.variant));
            let changes: Vec<Change> = evolutions.par_iter().enumerate().flat_map_iter(|(i, e)| e.changes(i)).collect();
            let places: Vec<Place> =
                evolutions.iter().map(|e| Place { restart: e.run, step: e.generation + 1 }).collect();
            let (logits, wanted) = oracle.try_changes(&rows, &x, &changes, &places)?;
            classes = logits[0].len();
            evolutions.par_iter_mut().zip(logits.par_chunks(self.population)).for_each(|(e, logits)| e.select(logits));
            let mut next = Vec::new();
            for (evolution, wanted) in evolutions.into_iter().zip(wanted) {
                let (row, run) = (evolution.row, evolution.run);
                let again = match (wanted > 0, evolution.generation <= self.generations) {
                    (false, _) => None,
                    (true, true) => Some(evolution),
                    (true, false) if self.union => begin(row, run + 1, oracle, classes),
                    (true, false) => None,
                };
                oracle.leave(usize::from(again.is_none()));
                next.extend(again);
            }
            evolutions = next;
        }
        Ok(())
    }

    /// What run number `run` strives for: the goal, or of a union the classes but the label's in order.
    fn aim(&self, aim: Aim, run: usize, classes: usize) -> Option<Aim> {
        if !self.union {
            return (run == 0).then_some(aim);
        }
        let target = run + usize::from(run >= aim.label);
        (target < classes).then_some(Aim { target: Some(target), ..aim })
    }
}

/// The population of one image.
struct Evolution {
    row: usize,
    run: usize,
    aim: Aim,
    /// Height and width of the image.
    size: [usize; 2],
    stream: Stream,
    /// Generations that the net has seen; 0 is the first population.
    generation: usize,
    /// Candidates × (k·5) genes, and their fitness; larger is better.
    parents: Vec<Vec<f32>>,
    fitness: Vec<f64>,
    children: Vec<Vec<f32>>,
}

impl Evolution {
    /// Positions uniform, colours N(128, 127) (the paper, section 3.2).
    fn new(
        row: usize,
        run: usize,
        aim: Aim,
        population: usize,
        count: usize,
        size: [usize; 2],
        mut stream: Stream,
    ) -> Self {
        let mut candidate = || -> Vec<f32> {
            let genes = (0..count * GENES).map(|g| match g % GENES {
                g @ (0 | 1) => stream.uniform() * length(size, g),
                _ => (128.0 + 127.0 * stream.normal()) as f32,
            });
            genes.collect()
        };
        let mut children: Vec<Vec<f32>> = (0..population).map(|_| candidate()).collect();
        children.iter_mut().for_each(|child| repair(child, size));
        Evolution { row, run, aim, size, stream, generation: 0, parents: Vec::new(), fitness: Vec::new(), children }
    }

    /// Makes the children of the next generation; the first population has none.
    fn breed(&mut self, variant: Variant) {
        if self.parents.is_empty() {
            return;
        }
        let (n, stream) = (self.parents.len(), &mut self.stream);
        let best = (1..n).fold(0, |best, i| if self.fitness[i] > self.fitness[best] { i } else { best });
        let dithered = DITHER[0] + (DITHER[1] - DITHER[0]) * stream.uniform();
        for i in 0..n {
            let [a, b, c] = three_others(i, n, stream);
            let (base, difference, weight) = match variant {
                Variant::Best1Bin => (best, (a, b), dithered),
                _ => (a, (b, c), WEIGHT),
            };
            let (base, plus, minus) = (&self.parents[base], &self.parents[difference.0], &self.parents[difference.1]);
            let mut child: Vec<f32> =
                base.iter().zip(plus).zip(minus).map(|((x, p), m)| x + weight * (p - m)).collect();
            if variant == Variant::Best1Bin {
                let sure = stream.below(child.len());
                for (g, gene) in child.iter_mut().enumerate() {
                    if stream.uniform() >= CROSSOVER && g != sure {
                        *gene = self.parents[i][g];
                    }
                }
            }
            repair(&mut child, self.size);
            self.children[i] = child;
        }
    }

    /// The children as changes of base image `image`.
    fn changes(&self, image: usize) -> impl Iterator<Item = Change> {
        self.children.iter().map(move |child| Change { image, pixels: pixels(child, self.size[1]) })
    }

    /// A child takes the place of the parent of the same number if it is fitter. Fitness is the target's probability, or 1
    /// minus the label's (the paper, section 3.1), in the form of its log-odds: the order is the same, and candidates do not
    /// tie where f32 has no probability between theirs, as on a net that is sure of itself.
    fn select(&mut self, logits: &[Vec<f32>]) {
        let fitness: Vec<f64> = logits.iter().map(|z| odds(&self.aim, z)).collect();
        if self.parents.is_empty() {
            (self.parents, self.fitness) = (self.children.clone(), fitness);
        } else {
            for (i, fitness) in fitness.into_iter().enumerate() {
                if fitness > self.fitness[i] {
                    self.fitness[i] = fitness;
                    self.parents[i].clone_from(&self.children[i]);
                }
            }
        }
        self.generation += 1;
    }
}

/// A gene that leaves its range is set to the border it crossed. (The paper does not say what it does.)
fn repair(genes: &mut [f32], size: [usize; 2]) {
    for (g, gene) in genes.iter_mut().enumerate() {
        *gene = match g % GENES {
            g @ (0 | 1) => gene.clamp(0.0, length(size, g) - 0.5),
            _ => gene.clamp(0.0, 255.0),
        };
    }
}

/// How far gene x (0) or y (1) goes.
fn length([height, width]: [usize; 2], gene: usize) -> f32 {
    if gene == 0 { width as f32 } else { height as f32 }
}

/// Places and 8-bit colours of a candidate.
fn pixels(genes: &[f32], width: usize) -> Vec<(usize, [f32; 3])> {
    let pixel = |g: &[f32; GENES]| {
        let place = g[1] as usize * width + g[0] as usize;
        (place, [g[2], g[3], g[4]].map(|v| v.round_ties_even() / 255.0))
    };
    genes.as_chunks::<GENES>().0.iter().map(pixel).collect()
}

/// Three different numbers below `n`, none of them `i`.
fn three_others(i: usize, n: usize, stream: &mut Stream) -> [usize; 3] {
    let mut chosen = [i; 3];
    for k in 0..3 {
        chosen[k] = loop {
            let candidate = stream.below(n);
            if candidate != i && !chosen[..k].contains(&candidate) {
                break candidate;
            }
        };
    }
    chosen
}

/// Every place with every corner of the colour cube, row by row: no chance takes part.
fn scan(mut rows: Vec<usize>, oracle: &mut Oracle, batch: &Batch) -> Result<()> {
    let plane = batch.values() / 3;
    let corners: Vec<[f32; 3]> = (0..8).map(|k| [k >> 2 & 1, k >> 1 & 1, k & 1].map(|v| v as f32)).collect();
    for (step, first) in (0..plane).step_by(SCANNED_TOGETHER).enumerate() {
        if rows.is_empty() {
            return Ok(());
        }
        let x: Tensor = batch.images(&rows)?;
        let places = first..(first + SCANNED_TOGETHER).min(plane);
        let of_image = |image: usize| {
            let corners = &corners;
            places.clone().flat_map(move |place| {
                corners.iter().map(move |colour| Change { image, pixels: vec![(place, *colour)] })
            })
        };
        let changes: Vec<Change> = (0..rows.len()).flat_map(of_image).collect();
        let (_, wanted) =
            oracle.try_changes(&rows, &x, &changes, &vec![Place { restart: 0, step: step + 1 }; rows.len()])?;
        let before = rows.len();
        let mut wanted = wanted.into_iter();
        rows.retain(|_| wanted.next().expect("one a row") > 0);
        oracle.leave(before - rows.len());
    }
    oracle.leave(rows.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    #[test]
    fn genes_stay_in_their_ranges_and_colours_are_8_bit() {
        let aim = Aim { label: 0, target: None };
        let stream = Streams::new(0, "test").stream(0, 0, "evolution");
        let mut evolution = Evolution::new(0, 0, aim, 40, 3, [4, 16], stream);
        for variant in [Variant::Rand1, Variant::Best1Bin, Variant::Rand1] {
            evolution.breed(variant);
            for change in evolution.changes(5) {
                assert_eq!((change.image, change.pixels.len()), (5, 3));
                for (place, colour) in change.pixels {
                    assert!(place < 64);
                    assert!(colour.iter().all(|v| (v * 255.0).round() / 255.0 == *v && (0.0..=1.0).contains(v)));
                }
            }
            // the fitness of candidate i is that of its first gene
            let logits: Vec<Vec<f32>> = evolution.children.iter().map(|c| vec![-c[0], 0.0]).collect();
            let before = evolution.parents.clone();
            evolution.select(&logits);
            for (now, before) in evolution.parents.iter().zip(&before) {
                assert!(now[0] >= before[0], "a child is fitter, or its parent stays");
            }
        }
        assert_eq!(evolution.generation, 3);
    }

    #[test]
    fn a_union_strives_for_every_other_class_once() {
        let attack = OnePixel { variant: Variant::Rand1, union: true, population: 4, generations: 1, count: 1 };
        let aim = Aim { label: 2, target: None };
        let targets: Vec<usize> = (0..9).map_while(|run| attack.aim(aim, run, 5)?.target).collect();
        assert_eq!(targets, [0, 1, 3, 4]);
    }

    #[test]
    fn parents_are_others() {
        let mut stream = Streams::new(0, "test").stream(0, 0, "parents");
        for i in 0..200 {
            let [a, b, c] = three_others(i % 4, 4, &mut stream);
            let mut all = [i % 4, a, b, c];
            all.sort();
            assert_eq!(all, [0, 1, 2, 3]);
        }
    }
}
