//! What plain code and kernels of [`super::pixels`] agree on: a ball in numbers, and the order of sums.

/// Sums over an image are made in one order on every device: of every 1,024th value from each of the first 1,024 on; then
/// of every 32nd of these sums; then of those 32.
pub const LANES: usize = 1024;

/// What is allowed around a clean image, in the numbers that [`super::pixels::membership`] compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ball {
    /// Of the largest change, or of the Euclidean length.
    pub is_linf: bool,
    /// Of float images: radius and tolerance together, in [0,1] units.
    pub reach: f64,
    /// By how much floats may leave [0,1].
    pub slack: f64,
    /// Of 8-bit images: most grey levels a value.
    pub most: i32,
    /// Of 8-bit images: largest sum of squared grey levels.
    pub most_square: u64,
}
