//! The key `width`: networks with fewer or more channels than the paper's.

use crate::config::{FamilyKey, KeyKind, ModelFile};

/// Width of the net.
pub const WIDTH: FamilyKey = FamilyKey {
    name: "width",
    kind: KeyKind::Number { default: 1.0 },
    summary: "channels of the convolutions, as a multiple of the paper's (in steps of 1/64)",
};

/// Channels of the narrowest convolution of the papers that have this key.
const NARROWEST: usize = 64;

/// Refuses a width that does not give whole channels.
pub fn check_width(file: &ModelFile) -> Result<(), String> {
    let width = file.number(&WIDTH);
    match width > 0.0 && width <= 16.0 && (NARROWEST as f64 * width).fract() == 0.0 {
        true => Ok(()),
        false => Err(format!("width {width} does not give whole channels (hint: a multiple of 1/64, at most 16)")),
    }
}

/// Channels where the paper has so many, a multiple of 64.
pub fn widened(file: &ModelFile, paper: usize) -> usize {
    (paper as f64 * file.number(&WIDTH)) as usize
}

/// The width at which the narrowest convolution has so many channels.
pub fn width_of(channels: usize) -> f64 {
    channels as f64 / NARROWEST as f64
}
