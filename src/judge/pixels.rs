//! Images as they are stored, and how far they are from their clean images.

use crate::record::{Distances, Witnesses};
use crate::terms::WitnessKind;
use crate::threat::FLOAT_TOLERANCE;

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

/// How far an image is from its clean image.
pub(super) fn distances(pixels: &Pixels, clean: &[u8]) -> Distances {
    match pixels {
        Pixels::U8(v) => distances_u8(v, clean),
        Pixels::F32(v) => distances_f32(v, clean),
    }
}

/// [`distances`] of an 8-bit witness: exact integers, one division and one root.
pub fn distances_u8(pixels: &[u8], clean: &[u8]) -> Distances {
    let (mut most, mut square, mut sum, mut changed) = (0, 0, 0, 0);
    for (a, b) in pixels.iter().zip(clean) {
        let d = u64::from(a.abs_diff(*b));
        (most, square, sum, changed) = (d.max(most), square + d * d, sum + d, changed + u64::from(d > 0));
    }
    let [most, square, sum, changed] = [most, square, sum, changed].map(|v| v as f64);
    Distances { linf_255: most, l2: square.sqrt() / 255.0, l1: sum / 255.0, l0: changed }
}

/// [`distances`] of a float witness.
pub fn distances_f32(pixels: &[f32], clean: &[u8]) -> Distances {
    let (mut most, mut square, mut sum, mut changed) = (0.0f64, 0.0, 0.0, 0.0);
    for (a, b) in pixels.iter().zip(clean) {
        let d = (f64::from(*a) - f64::from(f32::from(*b) / 255.0)).abs();
        (most, square, sum) = (most.max(d), square + d * d, sum + d);
        changed += f64::from(u8::from(d > FLOAT_TOLERANCE));
    }
    Distances { linf_255: most * 255.0, l2: square.sqrt(), l1: sum, l0: changed }
}
