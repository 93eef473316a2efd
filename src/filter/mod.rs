//! What is done to one picture, value by value: blur, median, JPEG's losses, total variation, resizing. Pictures are
//! planes, 3×H×W in row order, f32 in [0,1]. What a gradient passes through has its way back beside it.

pub mod blur;
pub mod edges;
pub mod hsv;
pub mod jpeg;
pub mod kernel;
pub mod median;
pub mod motion;
pub mod resample;
pub mod variation;

/// Height and width in pixels.
pub type Size = [usize; 2];

/// Index beyond an edge, mirrored at the outermost pixel's far side: … 1 0 | 0 1 2 … (scipy's `reflect`).
pub fn mirrored(i: isize, n: usize) -> usize {
    let n = n as isize;
    let i = i.rem_euclid(2 * n);
    (if i < n { i } else { 2 * n - 1 - i }) as usize
}

/// Index beyond an edge, mirrored at the outermost pixel's middle: … 2 1 | 0 1 2 … (OpenCV's `BORDER_REFLECT_101`).
pub fn reflected(i: isize, n: usize) -> usize {
    let last = n as isize - 1;
    let i = i.rem_euclid((2 * last).max(1));
    i.min(2 * last - i).max(0) as usize
}

/// Index beyond an edge, the outermost pixel repeated.
pub fn repeated(i: isize, n: usize) -> usize {
    i.clamp(0, n as isize - 1) as usize
}

/// The 8-bit value of a number in [0,1], rounded to nearest.
pub fn grey_level(x: f32) -> u8 {
    (x * 255.0).round().clamp(0.0, 255.0) as u8
}
