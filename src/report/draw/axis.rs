//! A horizontal axis with ticks where we want them.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

/// A horizontal axis with ticks where we want them.
#[derive(Clone)]
pub struct Axis {
    /// Its left end.
    pub low: f64,
    /// Its right end.
    pub high: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// From 0 to 100.
    pub fn percent() -> Axis {
        Axis { low: 0.0, high: 100.0, log: false, ticks: vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0] }
    }

    /// From 0 to the largest value, with ticks at the values themselves, without those that would stand in each other's
    /// way.
    pub fn at(mut values: Vec<f64>) -> Axis {
        values.sort_by(f64::total_cmp);
        values.dedup();
        let right = values.last().copied().unwrap_or(1.0).max(1e-9);
        let mut ticks: Vec<f64> = Vec::new();
        for tick in values.iter().rev() {
            if ticks.last().is_none_or(|last| last - tick >= 0.05 * right) {
                ticks.push(*tick);
            }
        }
        ticks.reverse();
        Axis { low: 0.0, high: right * 1.02, log: false, ticks }
    }

    /// From 0 to `right`, with round ticks.
    pub fn linear(right: f64) -> Axis {
        let right = right.max(1e-9);
        let power = 10f64.powf((right / 4.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| right / s <= 5.0).unwrap_or(right);
        let ticks = (0..=(right / step + 1e-9) as usize).map(|i| i as f64 * step).collect();
        Axis { low: 0.0, high: right * 1.02, log: false, ticks }
    }

    /// Logarithmic over the values, with ticks at powers of ten, and between them where there are few.
    pub fn log(values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(l, h), v| (l.min(v), h.max(v)));
        let low = low.min(high).max(1e-9);
        let high = high.max(low * 2.0);
        let steps: &[f64] = if high / low > 200.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut ticks = Vec::new();
        for exponent in low.log10().floor() as i32..=high.log10().ceil() as i32 {
            ticks.extend(steps.iter().map(|m| m * 10f64.powi(exponent)));
        }
        ticks.retain(|t| (low * 0.999..=high * 1.001).contains(t));
        Axis { low: low * 0.95, high: high * 1.06, log: true, ticks }
    }

    /// Place from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        match self.log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        low + (self.place(*value) * f64::from(high - low)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}
