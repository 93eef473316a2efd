//! What a step of an attack and its judging do to the values of images, on the device where these lie: the step, rounding to
//! 8 bits, membership, the first-order bound. Each is plain code here and a kernel in `cuda/pixels.cu`, which gives the
//! same bits; `tests/pixels.rs` holds one against the other. So from the device come back a number or two an image.
//!
//! Tensors of images are N×3×H×W or N×values; floats are f32 in [0,1], 8-bit images u8.

use super::bus::{self, lend, lend_values};
#[cfg(feature = "cuda")]
use super::cuda::pixels as device;
use crate::error::Result;
use candle_core::{Tensor, WithDType};
use rayon::prelude::*;

pub use super::ball::{Ball, LANES};

/// Sums of [`LANES`] that are summed next.
const WARP: usize = 32;

/// Smallest divisor of the length of a change, as in foolbox and torchattacks: shorter ones are no distance between images.
/// No gradient is divided by it.
pub const TINY: f64 = 1e-12;

/// Values that one thread takes of a plain operation.
const PIECE: usize = 1 << 14;

/// What [`membership`] says of an image and its rounded form, in the order of the kernel's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Both lie inside.
    Inside,
    /// It holds NaN or Inf.
    NotFinite,
    /// It lies outside.
    Outside,
    /// The rounded form lies outside.
    RoundedOutside,
}

impl Place {
    /// As the kernel numbers them.
    pub fn of_code(code: u32) -> Place {
        [Place::Inside, Place::NotFinite, Place::Outside, Place::RoundedOutside][code as usize]
    }
}

/// x_adv + step_size·sign(gradient) with sign(0) = 0, into the ball of radius `eps` around `x`, into the box.
///
/// # Errors
/// Those of the tensor library; operands of other sizes.
pub fn step_linf(x_adv: &Tensor, gradient: &Tensor, x: &Tensor, step_size: f32, eps: f32) -> Result<Tensor> {
    rows_of(&[x_adv, gradient, x])?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return device::step_linf(x_adv, gradient, x, step_size, eps);
    }
    let step = |((x_adv, g), x): ((&f32, &f32), &f32)| {
        let sign = f32::from(u8::from(*g > 0.0)) - f32::from(u8::from(*g < 0.0));
        let moved = x_adv + sign * step_size;
        let below = if moved > x + eps { x + eps } else { moved };
        let inside = if below < x - eps { x - eps } else { below };
        inside.clamp(0.0, 1.0)
    };
    let moved: Vec<f32> = lend_three(x_adv, gradient, x, |x_adv: &[f32], g: &[f32], x: &[f32]| {
        x_adv.par_iter().zip(g).zip(x).with_min_len(PIECE).map(step).collect()
    })?;
    Ok(Tensor::from_vec(moved, x.shape(), x.device())?)
}

/// x_adv + step_size·gradient/|gradient|, onto the ball of radius `eps` around `x`, into the box. Lengths of each image
/// apart, in f64, where neither the squares nor the length of any f32 gradient leave the range: a step is as long as asked
/// whatever the size of the gradient. Along a gradient of zero there is none.
///
/// # Errors
/// Those of the tensor library; operands of other sizes.
pub fn step_l2(x_adv: &Tensor, gradient: &Tensor, x: &Tensor, step_size: f32, eps: f64) -> Result<Tensor> {
    let values = rows_of(&[x_adv, gradient, x])?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return device::step_l2(x_adv, gradient, x, step_size, eps);
    }
    let step = |((x_adv, g), x): ((&[f32], &[f32]), &[f32])| {
        let square = |v: f32| f64::from(v) * f64::from(v);
        let inverse = inverse(sum_of_lanes(values, |i| square(g[i])).sqrt());
        let change = |i: usize| x_adv[i] + (f64::from(g[i]) * inverse) as f32 * step_size - x[i];
        let length = sum_of_lanes(values, |i| square(change(i))).sqrt().max(TINY);
        let scale = (length.recip() * eps).min(1.0) as f32;
        (0..values).map(|i| (x[i] + change(i) * scale).clamp(0.0, 1.0)).collect::<Vec<f32>>()
    };
    let moved: Vec<Vec<f32>> = lend_three(x_adv, gradient, x, |x_adv: &[f32], g: &[f32], x: &[f32]| {
        x_adv.par_chunks(values).zip(g.par_chunks(values)).zip(x.par_chunks(values)).map(step).collect()
    })?;
    Ok(Tensor::from_vec(moved.concat(), x.shape(), x.device())?)
}

/// Floats to the nearest grey level, ties to even, at most `most` levels from `clean`; NaN becomes what is nearest to 0.
/// N×values, u8.
///
/// # Errors
/// Those of the tensor library; operands of other sizes.
pub fn round_in_ball(images: &Tensor, clean: &Tensor, most: i32) -> Result<Tensor> {
    let values = rows_of(&[images, clean])?;
    #[cfg(feature = "cuda")]
    if images.device().is_cuda() {
        return device::round_in_ball(images, clean, most);
    }
    let round = |(image, clean): (&f32, &u8)| {
        // a cast takes NaN for 0
        let nearest = (image * 255.0).round_ties_even().clamp(0.0, 255.0) as i32;
        let clean = i32::from(*clean);
        (clean + (nearest - clean).clamp(-most, most)) as u8
    };
    let rounded: Vec<u8> = lend(images, |images| {
        lend_values::<u8, _>(clean, |clean| images.par_iter().zip(clean).with_min_len(PIECE).map(round).collect())
    })??;
    Ok(Tensor::from_vec(rounded, ((), values), images.device())?)
}

/// Where each image, and its rounded form, lies.
///
/// # Errors
/// Those of the tensor library; operands of other sizes.
pub fn membership(images: &Tensor, clean: &Tensor, rounded: &Tensor, ball: &Ball) -> Result<Vec<Place>> {
    let values = rows_of(&[images, clean, rounded])?;
    let codes = match images.device() {
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(_) => device::membership(images, clean, rounded, ball)?,
        here => {
            let code =
                |((images, clean), rounded): ((&[f32], &[u8]), &[u8])| place(images, clean, rounded, ball) as u32;
            let codes: Vec<u32> =
                lend_three(images, clean, rounded, |images: &[f32], clean: &[u8], rounded: &[u8]| {
                    let images = images.par_chunks(values);
                    images.zip(clean.par_chunks(values)).zip(rounded.par_chunks(values)).map(code).collect()
                })?;
            Tensor::new(codes, here)?
        }
    };
    Ok(bus::down::<u32>(&codes)?.into_iter().map(Place::of_code).collect())
}

fn place(images: &[f32], clean: &[u8], rounded: &[u8], ball: &Ball) -> Place {
    let Ball { is_linf, reach, slack, most, most_square } = *ball;
    let all = || 0..images.len();
    let change = |i: usize| f64::from(images[i]) - f64::from(f32::from(clean[i]) / 255.0);
    let levels = |i: usize| i32::from(rounded[i]) - i32::from(clean[i]);
    let inside = images.iter().all(|v| (-slack..=1.0 + slack).contains(&f64::from(*v)))
        && match is_linf {
            true => all().all(|i| change(i).abs() <= reach),
            false => sum_of_lanes(images.len(), |i| change(i) * change(i)).sqrt() <= reach,
        };
    let square: u64 = all().map(|i| (levels(i) * levels(i)) as u64).sum();
    match () {
        () if images.iter().any(|v| !v.is_finite()) => Place::NotFinite,
        () if !inside => Place::Outside,
        () if square > most_square || all().any(|i| levels(i).abs() > most) => Place::RoundedOutside,
        () => Place::Inside,
    }
}

/// Σ |gradient·(rounded − image)| of each image: by how much rounding may move a loss, to first order.
///
/// # Errors
/// Those of the tensor library; operands of other sizes.
pub fn first_order(gradient: &Tensor, images: &Tensor, rounded: &Tensor) -> Result<Vec<f32>> {
    let values = rows_of(&[gradient, images, rounded])?;
    let moved = match images.device() {
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(_) => device::first_order(gradient, images, rounded)?,
        here => {
            let moved = |((g, images), rounded): ((&[f32], &[f32]), &[u8])| {
                sum_of_lanes(values, |i| (g[i] * (f32::from(rounded[i]) / 255.0 - images[i])).abs())
            };
            let moved: Vec<f32> =
                lend_three(gradient, images, rounded, |g: &[f32], images: &[f32], rounded: &[u8]| {
                    let g = g.par_chunks(values);
                    g.zip(images.par_chunks(values)).zip(rounded.par_chunks(values)).map(moved).collect()
                })?;
            Tensor::new(moved, here)?
        }
    };
    bus::down(&moved)
}

/// 8-bit images N×values on their device as nets see them, N×3×height×width: `v / 255` in f32, as PyTorch's `ToTensor`.
///
/// # Errors
/// Those of the tensor library.
pub fn to_unit(images: &Tensor, [height, width]: [usize; 2]) -> Result<Tensor> {
    let shape = (images.elem_count() / (3 * height * width), 3, height, width);
    #[cfg(feature = "cuda")]
    if images.device().is_cuda() {
        return Ok(device::to_unit(images)?.reshape(shape)?);
    }
    let floats: Vec<f32> = lend_values::<u8, _>(images, |v| v.iter().map(|v| f32::from(*v) / 255.0).collect())?;
    Ok(Tensor::from_vec(floats, shape, images.device())?)
}

/// One over the length of a gradient; 0 of one that has none.
pub fn inverse(length: f64) -> f64 {
    if length > 0.0 { 1.0 / length } else { 0.0 }
}

/// The sum of `term` over 0..n, in the order that [`LANES`] describes.
fn sum_of_lanes<T: Copy + Default + std::ops::Add<Output = T>>(n: usize, term: impl Fn(usize) -> T) -> T {
    let lanes: [T; LANES] =
        std::array::from_fn(|lane| (lane..n).step_by(LANES).fold(T::default(), |sum, i| sum + term(i)));
    let warp = |j: usize| (j + WARP..LANES).step_by(WARP).fold(lanes[j], |sum, k| sum + lanes[k]);
    (1..WARP).fold(warp(0), |sum, j| sum + warp(j))
}

/// Values of one image, where all operands have as many images, at least one, of as many values.
fn rows_of(operands: &[&Tensor]) -> Result<usize> {
    let size = |t: &Tensor| (t.dim(0).unwrap_or(0), t.elem_count());
    let ((images, values), device) = (size(operands[0]), operands[0].device());
    let fits = |o: &&Tensor| size(o) == (images, values) && o.device().same_device(device);
    match images > 0 && operands.iter().all(fits) {
        true => Ok(values / images),
        false => Err(candle_core::Error::msg("images of other sizes, on other devices, or none").into()),
    }
}

/// [`lend`] of three tensors.
fn lend_three<A: WithDType, B: WithDType, C: WithDType, T>(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    look: impl FnOnce(&[A], &[B], &[C]) -> T,
) -> Result<T> {
    lend_values::<A, _>(a, |a| lend_values::<B, _>(b, |b| lend_values::<C, _>(c, |c| look(a, b, c))))??
}
