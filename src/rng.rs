//! The only birthplace of randomness.
//!
//! A stream is keyed by (seed, cell, example, restart, purpose), never by thread or device state, so an image's
//! result depends on no other image, on no order and on no batch size. ChaCha8 is a counter-based generator whose
//! output is fixed by its specification.

use crate::digest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// All streams of one cell.
#[derive(Debug, Clone)]
pub struct Streams {
    seed: u64,
    cell: String,
}

impl Streams {
    /// Streams of the cell with this description or id.
    pub fn new(seed: u64, cell: impl Into<String>) -> Streams {
        Streams { seed, cell: cell.into() }
    }

    /// Streams that all cells of a seed share.
    pub fn shared(&self, name: &str) -> Streams {
        Streams::new(self.seed, name)
    }

    /// The stream of one example, restart and purpose.
    pub fn stream(&self, example: usize, restart: usize, purpose: &str) -> Stream {
        let key = format!("{}\n{}\n{example}\n{restart}\n{purpose}", self.seed, self.cell);
        Stream(ChaCha8Rng::from_seed(digest::sha256_bytes(key.as_bytes())))
    }
}

/// An endless sequence of random numbers.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of one step: it depends on this one's key and on `step`, not on what was drawn so far.
    pub fn at(&self, step: u64) -> Stream {
        let mut rng = self.0.clone();
        // ChaCha takes a second number beside the key; this stream itself has 0
        rng.set_stream(step + 1);
        rng.set_word_pos(0);
        Stream(rng)
    }

    /// Uniform in [0, 1), a multiple of 2^-24: every value is an exact f32.
    pub fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform in 0..n without bias (rejection); 0 where n is 0, since there is nothing to choose.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n.max(1) as u64;
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let v = self.0.next_u64();
            if v < limit {
                return (v % n) as usize;
            }
        }
    }

    /// Standard normal (Box and Muller 1958), in f64 so that the tail reaches 8 sigma.
    pub fn normal(&mut self) -> f64 {
        let unit = |v: u64| (v >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        let radius = (-2.0 * (1.0 - unit(self.0.next_u64())).ln()).sqrt();
        radius * (std::f64::consts::TAU * unit(self.0.next_u64())).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_their_key() {
        let first = |s: &Streams, e, r, p: &str| s.stream(e, r, p).below(usize::MAX);
        let a = Streams::new(0, "c");
        let all = [
            first(&a, 0, 0, "start"),
            first(&a, 1, 0, "start"),
            first(&a, 0, 1, "start"),
            first(&a, 0, 0, "target"),
            first(&Streams::new(1, "c"), 0, 0, "start"),
            first(&Streams::new(0, "d"), 0, 0, "start"),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all[0], first(&a, 0, 0, "start"));
    }

    #[test]
    fn streams_of_steps_differ_and_depend_on_nothing_drawn() {
        let mut mother = Streams::new(0, "c").stream(0, 0, "steps");
        let first = |s: &Stream, step| s.at(step).below(usize::MAX);
        let fresh = [0, 1, 2].map(|step| first(&mother, step));
        let drawn = mother.below(usize::MAX);
        assert_eq!(fresh, [0, 1, 2].map(|step| first(&mother, step)));
        let distinct: std::collections::BTreeSet<_> = fresh.into_iter().chain([drawn]).collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut s = Streams::new(7, "moments").stream(0, 0, "test");
        let n = 100_000;
        let uniform: f64 = (0..n).map(|_| f64::from(s.uniform())).sum::<f64>() / n as f64;
        let normals: Vec<f64> = (0..n).map(|_| s.normal()).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let variance = normals.iter().map(|v| v * v).sum::<f64>() / n as f64;
        // five standard errors each
        assert!((uniform - 0.5).abs() < 5.0 * (1.0f64 / 12.0 / n as f64).sqrt());
        assert!(mean.abs() < 5.0 / (n as f64).sqrt());
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt());
    }
}
