//! What the methods differ in: which copies of the iterate the net is asked about, and the way back from them.

use super::axes::{Axes, Axis};
use crate::rng::Stream;

/// How an iterate is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// As it is (MI: Dong et al. 2018).
    Plain,
    /// From where momentum will have led (NI: Lin et al. 2020).
    LookAhead,
    /// With what gradients around the last iterate had beyond its own (VMI: Wang and He 2021).
    Tuned {
        /// N.
        neighbours: usize,
        /// How far around, as a multiple of eps.
        radius: f32,
    },
    /// Resized and padded at random (DI: Xie et al. 2019).
    Diverse {
        /// Of being resized at all.
        chance: f32,
        /// Largest size, as a multiple of the image's.
        largest: f64,
    },
    /// With its gradient smoothed (TI: Dong et al. 2019).
    Smoothed {
        /// Side of the kernel in pixels.
        taps: usize,
    },
    /// At powers of ½ of its brightness (SI: Lin et al. 2020).
    Scaled {
        /// How many.
        scales: usize,
    },
    /// With others mixed in, at powers of ½ of the brightness (Admix: Wang et al. 2021).
    Mixed {
        /// How many scales.
        scales: usize,
        /// How many others.
        images: usize,
        /// Share of the others.
        strength: f32,
    },
}

impl Method {
    /// Copies of an iterate that are asked about. Gradients around the last one would serve no step.
    pub fn copies(self, is_last: bool) -> usize {
        match self {
            Method::Tuned { neighbours, .. } if !is_last => 1 + neighbours,
            Method::Scaled { scales } => scales,
            Method::Mixed { scales, images, .. } => scales * images,
            _ => 1,
        }
    }

    /// 2^−i.
    pub fn scale(i: usize) -> f32 {
        0.5f32.powi(i as i32)
    }

    /// With this chance: to a size between the image's and `largest` times it, at a random place on zeros of the largest size,
    /// and back. Height and width grow alike; where so small an image cannot grow, it stays.
    pub fn resized(chance: f32, largest: f64, [height, width]: [usize; 2], stream: &mut Stream) -> Option<Axes> {
        if stream.uniform() >= chance {
            return None;
        }
        let grown = f64::from(stream.uniform());
        // the ends as in the authors' code: neither the largest size nor the last place is drawn
        let mut axis = |side: usize| {
            let most = ((side as f64 * largest) as usize).max(side);
            let size = side + (grown * (most - side) as f64) as usize;
            let before = stream.below(most - size);
            Axis::resize(side, size).pad(before, most).then(&Axis::resize(most, side))
        };
        Some(Axes { rows: axis(height), columns: axis(width) })
    }

    /// The kernel of [`Method::Smoothed`], which is its own transpose.
    pub fn smoothing(taps: usize, [height, width]: [usize; 2]) -> Axes {
        Axes { rows: Axis::gaussian(height, taps), columns: Axis::gaussian(width, taps) }
    }
}

/// From the gradient at a copy to that at the iterate.
#[derive(Debug, Clone, PartialEq)]
pub enum Back {
    /// They are the same.
    Same,
    /// The copy is so many times the iterate.
    Times(f32),
    /// The copy is what these made of it.
    Through(Axes),
}

impl Back {
    /// The gradient 3×H×W at the iterate.
    pub fn of(&self, gradient: &[f32], size: [usize; 2]) -> Vec<f32> {
        match self {
            Back::Same => gradient.to_vec(),
            Back::Times(scale) => gradient.iter().map(|g| g * scale).collect(),
            Back::Through(axes) => axes.back(gradient, size),
        }
    }
}
