//! A line of the registry.

use crate::filter::Size;
use crate::rng::Stream;

/// Makes the corruption of one picture, 3×H×W in [0,1], at a severity from 1 to 5; all its chance comes from the stream. Values beyond
/// [0,1] are clipped by the caller.
pub type Generate = fn(image: &[f32], size: Size, severity: usize, draw: &mut Stream) -> Vec<f32>;

/// A corruption.
pub struct Corruption {
    /// Name in sweep files: `gaussian-noise`; the generator's is `gaussian-noise-like`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Whether it is one of the fifteen whose mean is reported; the other four are for choosing on.
    pub is_common: bool,
    /// Mean error of AlexNet over the severities of ImageNet-C, by which mCE is normalised; known for the fifteen.
    pub alexnet_error: Option<f64>,
    /// `None`: it needs photographs that cannot be made.
    pub generate: Option<Generate>,
}

/// The shortest side that takes ImageNet-C's constants: from the geometric mean of 32 and 224 on.
const LARGE: usize = 85;

/// Whether ImageNet-C's constants hold, not CIFAR-10-C's.
pub(super) fn is_large([height, width]: Size) -> bool {
    height.min(width) >= LARGE
}

/// The constant of a severity from 1 to 5: CIFAR-10-C's for a small picture, ImageNet-C's for a large one.
pub(super) fn of_size<T: Copy>(size: Size, severity: usize, small: [T; 5], large: [T; 5]) -> T {
    let all = if is_large(size) { large } else { small };
    all[severity.clamp(1, 5) - 1]
}
