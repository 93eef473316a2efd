//! From the nearest point of a search to one that fools the net in 8 bits. A search that ends at the boundary finds points less
//! than half a grey level beyond it, which rounding takes back. So its nearest point is rounded here, and where that does not
//! fool, its change is lengthened: doubled until its rounded image does, then halved in between.

use super::Task;
use super::search::{Ask, Search};
use super::vector::{difference, in_8_bits, length};
use crate::goal::Aim;
use crate::oracle::Place;
use crate::terms::WitnessKind;
use crate::threat::Norm;

/// Halvings between the factor that does not fool and its double, that does: the last factor is at most 3 % too long.
const HALVINGS: usize = 5;

/// Passes that the way outward asks for at most, where a value changes by a tenth of a grey level or more: of 1, 2, 4, … 1024 times the
/// change, and of halves in between.
pub const PASSES: u64 = 11 + HALVINGS as u64;

/// A search, and then the way outward from its nearest point.
pub struct Outward<'s> {
    inner: Box<dyn Search + 's>,
    norm: Norm,
    /// Where it has a budget, nothing outside is proposed.
    within: f64,
    aim: Aim,
    /// Clean image, 3×H×W.
    x: Vec<f32>,
    /// The nearest point that fooled the net, and its distance.
    nearest: Option<(f64, Vec<f32>)>,
    /// `None`: the search goes on.
    way: Option<Way>,
}

/// Images on the 8-bit grid, at x + factor·change.
struct Way {
    change: Vec<f32>,
    /// Largest value of the change.
    largest: f64,
    /// The largest factor that did not fool, and the least that did.
    low: f64,
    high: Option<f64>,
    factor: f64,
    halvings: usize,
    points: usize,
    point: Vec<f32>,
}

impl<'s> Outward<'s> {
    /// `inner` around the clean image `x`, followed by the way outward where the images of `task` are rounded.
    pub fn after(inner: Box<dyn Search + 's>, x: &[f32], aim: Aim, task: &Task) -> Box<dyn Search + 's> {
        Outward::inside(f64::INFINITY, inner, x, aim, task)
    }

    /// [`Outward::after`] for an attack that keeps to its budget.
    pub fn inside(within: f64, inner: Box<dyn Search + 's>, x: &[f32], aim: Aim, task: &Task) -> Box<dyn Search + 's> {
        match task.witness {
            WitnessKind::F32 => inner,
            WitnessKind::U8 => Box::new(Outward::new(within, inner, x.to_vec(), aim, task.threat.norm)),
        }
    }

    fn new(within: f64, inner: Box<dyn Search + 's>, x: Vec<f32>, aim: Aim, norm: Norm) -> Outward<'s> {
        Outward { inner, norm, within, aim, x, nearest: None, way: None }
    }

    /// Distance of where it stands.
    fn distance(&self) -> f64 {
        length(self.norm, &difference(self.point(), &self.x))
    }

    /// `false`: nothing fooled, or it is an 8-bit image already.
    fn set_out(&mut self) -> bool {
        let Some((_, nearest)) = self.nearest.take() else { return false };
        let change = difference(&nearest, &self.x);
        let largest = length(Norm::Linf, &change);
        let way = Way { change, largest, low: 0.0, high: None, factor: 1.0, halvings: 0, points: 0, point: Vec::new() };
        let way = self.way.insert(way);
        way.stand(&self.x);
        way.point != nearest
    }
}

impl Way {
    fn stand(&mut self, x: &[f32]) {
        let at = |(x, d): (&f32, &f32)| in_8_bits((f64::from(*x) + self.factor * f64::from(*d)).clamp(0.0, 1.0) as f32);
        self.point = x.iter().zip(&self.change).map(at).collect();
        self.points += 1;
    }

    /// The next factor, after what the net said of this one; `false`: there is none.
    fn next(&mut self, is_fooled: bool) -> bool {
        match is_fooled {
            true if self.factor == 1.0 => return false,
            true => self.high = Some(self.factor),
            false => self.low = self.factor,
        }
        self.factor = match self.high {
            Some(high) => 0.5 * (self.low + high),
            None => 2.0 * self.low,
        };
        self.halvings += usize::from(self.high.is_some());
        // beyond a change of 1 no value moves any more
        self.halvings <= HALVINGS && self.low * self.largest < 1.0
    }
}

impl Search for Outward<'_> {
    fn point(&self) -> &[f32] {
        self.way.as_ref().map_or_else(|| self.inner.point(), |way| &way.point)
    }

    fn asks(&self) -> Ask {
        if self.way.is_some() { Ask::Logits } else { self.inner.asks() }
    }

    fn slope(&self, logits: &[f32], slope: &mut [f32]) {
        self.inner.slope(logits, slope);
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        let is_fooled = self.aim.is_reached(logits);
        if self.way.is_some() && !is_fooled && self.distance() > self.within {
            return false;
        }
        if let Some(way) = &mut self.way {
            let goes_on = way.next(is_fooled);
            if goes_on {
                way.stand(&self.x);
            }
            return goes_on;
        }
        if is_fooled && self.inner.proposes() {
            let distance = self.distance();
            if self.nearest.as_ref().is_none_or(|(nearest, _)| distance < *nearest) {
                self.nearest = Some((distance, self.inner.point().to_vec()));
            }
        }
        self.inner.hear(logits, gradient) || self.set_out()
    }

    fn place(&self) -> Place {
        let Place { restart, step } = self.inner.place();
        Place { restart, step: step + self.way.as_ref().map_or(0, |way| way.points) }
    }

    fn proposes(&self) -> bool {
        match self.way {
            Some(_) => self.distance() <= self.within,
            None => self.inner.proposes(),
        }
    }

    fn note(&self) -> String {
        match &self.way {
            Some(way) if way.factor > 1.0 => {
                format!("lengthened={:.2} {}", way.factor, self.inner.note()).trim_end().to_string()
            }
            _ => self.inner.note(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proposes one point and ends.
    struct Once(Vec<f32>);

    impl Search for Once {
        fn point(&self) -> &[f32] {
            &self.0
        }

        fn hear(&mut self, _: &[f32], _: &[f32]) -> bool {
            false
        }

        fn place(&self) -> Place {
            Place { restart: 0, step: 1 }
        }
    }

    /// What `search` proposes, where the net is fooled by values whose sum is larger than `boundary`.
    fn follow(mut search: Outward, boundary: f32) -> Vec<(f32, bool)> {
        let mut seen = Vec::new();
        loop {
            let sum: f32 = search.point().iter().sum();
            assert!(search.proposes());
            seen.push((sum * 255.0, sum > boundary));
            if !search.hear(&[boundary, sum], &[]) {
                return seen;
            }
        }
    }

    fn outward(to: &[f32]) -> Outward<'static> {
        let aim = Aim { label: 0, target: None };
        Outward::new(f64::INFINITY, Box::new(Once(to.to_vec())), vec![0.0; to.len()], aim, Norm::Linf)
    }

    #[test]
    fn a_change_that_rounding_takes_back_is_lengthened() {
        // 4 levels fool, and 3 do not: 2.1 + 1.3 levels round to 3
        let seen = follow(outward(&[2.1 / 255.0, 1.3 / 255.0]), 3.3 / 255.0);
        let fooled = || seen.iter().skip(1).filter(|(_, is_fooled)| *is_fooled).map(|(sum, _)| sum.round());
        assert_eq!(fooled().fold(f32::INFINITY, f32::min), 4.0, "{seen:?}");
        // a tenth of a level
        assert!(follow(outward(&[0.1 / 255.0]), 0.05 / 255.0).last().unwrap().1);
    }

    #[test]
    fn what_lies_outside_a_budget_is_not_proposed() {
        // 2 levels are allowed, and 3 would fool
        let mut search = Outward { within: 2.0 / 255.0, ..outward(&[1.4 / 255.0]) };
        let mut logits = [0.0, 1.0];
        let mut proposed = Vec::new();
        while search.hear(&logits, &[]) {
            proposed.extend(search.proposes().then(|| (search.point()[0] * 255.0).round()));
            logits = [1.0, 0.0];
        }
        assert_eq!(proposed, [1.0]);
    }

    #[test]
    fn what_fools_in_8_bits_is_left_as_it_is() {
        assert_eq!(follow(outward(&[2.0 / 255.0]), 1.0 / 255.0).len(), 1, "an 8-bit image");
        assert_eq!(follow(outward(&[2.1 / 255.0]), 1.0 / 255.0).len(), 2, "its rounded form fools");
        assert_eq!(follow(outward(&[2.1 / 255.0]), 9.0 / 255.0).len(), 1, "nothing fooled");
    }

    #[test]
    fn it_ends_where_no_value_moves_any_more() {
        // fooled by the float alone
        let mut search = outward(&[0.4 / 255.0]);
        let mut asked = 1;
        let mut logits = [0.0, 1.0];
        while search.hear(&logits, &[]) {
            (logits, asked) = ([1.0, 0.0], asked + 1);
        }
        assert_eq!(asked, 1 + 11, "1, 2, 4, … 1,024");
        assert_eq!(search.point(), [1.0]);
    }
}
