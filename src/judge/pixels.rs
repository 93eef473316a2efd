//! Images as they are stored, and how far they are from their clean images.

use crate::record::Witnesses;
use crate::terms::WitnessKind;

/// One image as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pixels {
    U8(Vec<u8>),
    F32(Vec<f32>),
}

impl Pixels {
    pub(super) fn floats(&self) -> Vec<f32> {
        match self {
            Pixels::U8(v) => to_floats(v),
            Pixels::F32(v) => v.clone(),
        }
    }
}

/// 8-bit pixels as the floats that nets see.
pub fn to_floats(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|v| f32::from(*v) / 255.0).collect()
}

pub(super) fn join(images: Vec<Pixels>, kind: WitnessKind) -> Witnesses {
    match kind {
        WitnessKind::U8 => {
            Witnesses::U8(images.into_iter().flat_map(|p| if let Pixels::U8(v) = p { v } else { vec![] }).collect())
        }
        WitnessKind::F32 => {
            Witnesses::F32(images.into_iter().flat_map(|p| if let Pixels::F32(v) = p { v } else { vec![] }).collect())
        }
    }
}

/// Largest change in grey levels, and Euclidean distance with pixels in [0,1].
pub(super) fn distances(pixels: &Pixels, clean: &[u8]) -> (f64, f64) {
    match pixels {
        Pixels::U8(v) => distances_u8(v, clean),
        Pixels::F32(v) => distances_f32(v, clean),
    }
}

/// [`distances`] of an 8-bit witness: exact integers, one division and one root.
pub fn distances_u8(pixels: &[u8], clean: &[u8]) -> (f64, f64) {
    let changes = pixels.iter().zip(clean).map(|(a, b)| u64::from(a.abs_diff(*b)));
    let most = changes.clone().max().unwrap_or(0);
    let square: u64 = changes.map(|d| d * d).sum();
    (most as f64, (square as f64).sqrt() / 255.0)
}

/// [`distances`] of a float witness.
pub fn distances_f32(pixels: &[f32], clean: &[u8]) -> (f64, f64) {
    let changes = pixels.iter().zip(clean).map(|(a, b)| (f64::from(*a) - f64::from(f32::from(*b) / 255.0)).abs());
    (changes.clone().fold(0.0, f64::max) * 255.0, changes.map(|d| d * d).sum::<f64>().sqrt())
}
