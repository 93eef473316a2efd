//! The least radius at which a search succeeds: doubled until it does, then the interval halved (AttackBench's way to rank
//! attacks of a fixed radius by distance).

use super::climb::{Climb, Image, Settings};
use crate::attack::search::{Ask, Search};
use crate::attack::vector::{difference, length, longest};
use crate::oracle::Place;
use crate::threat::Norm;

/// Searches in all (AttackBench).
pub const SEARCHES: usize = 10;

/// The first radius (AttackBench: 1/255, 1 and 10).
fn first_radius(norm: Norm) -> f64 {
    match norm {
        Norm::Linf => 1.0 / 255.0,
        Norm::L2 => 1.0,
        _ => 10.0,
    }
}

/// The least radius of one image.
pub struct DoubleBisect {
    settings: Settings,
    image: Image,
    /// The largest radius that failed, and the least distance that was found.
    low: f64,
    high: Option<f64>,
    eps: f64,
    search: usize,
    climb: Climb,
}

impl DoubleBisect {
    pub fn new(settings: Settings, image: Image) -> DoubleBisect {
        let eps = first_radius(image.norm);
        let climb = Climb::new(settings, image.clone(), eps, "search-0");
        DoubleBisect { settings, image, low: 0.0, high: None, eps, search: 0, climb }
    }

    /// The next search, after one that found a point so far away, or none.
    fn next(&mut self, found: Option<f64>) -> bool {
        match found {
            Some(distance) => self.high = Some(self.high.map_or(distance, |h| h.min(distance))),
            None => self.low = self.eps,
        }
        self.search += 1;
        // no image of the box is farther away
        let most = longest(self.image.norm, &self.image.x);
        if self.search == SEARCHES || self.high.is_none() && self.low >= most {
            return false;
        }
        self.eps = match self.high {
            Some(high) => 0.5 * (self.low + high),
            None => (2.0 * self.eps).min(most),
        };
        const PURPOSES: [&str; SEARCHES] = [
            "search-0", "search-1", "search-2", "search-3", "search-4", "search-5", "search-6", "search-7", "search-8",
            "search-9",
        ];
        self.climb = Climb::new(self.settings, self.image.clone(), self.eps, PURPOSES[self.search]);
        true
    }
}

impl Search for DoubleBisect {
    fn point(&self) -> &[f32] {
        self.climb.point()
    }

    fn asks(&self) -> Ask {
        self.climb.asks()
    }

    fn slope(&self, logits: &[f32], slope: &mut [f32]) {
        self.climb.slope(logits, slope);
    }

    /// A search ends with its first success: a larger change inside the same ball is of no use.
    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        if self.climb.proposes() && self.image.aim.is_reached(logits) {
            let distance = length(self.image.norm, &difference(self.climb.point(), &self.image.x));
            return self.next(Some(distance));
        }
        self.climb.hear(logits, gradient) || self.next(None)
    }

    fn place(&self) -> Place {
        self.climb.place()
    }

    fn proposes(&self) -> bool {
        self.climb.proposes()
    }

    fn note(&self) -> String {
        self.climb.note()
    }
}
