//! The set of images an attack may return: the ball of a norm around the clean image, cut with the box [0,1]; or those
//! that differ in few pixels, in a small region, or at will.
//!
//! Float images are projected; stored images are judged in exact integers, because `x + 8/255` in f32 leaves the ball
//! of radius 8/255 for 36 of the 256 grey levels.

pub mod l1;

use crate::error::{Error, Result};
use crate::kernel::bus::{lend, up};
use crate::kernel::pixels::{self, Ball, TINY};
use crate::placement::window;
use crate::rng::Stream;
use candle_core::{DType, Tensor};
use rayon::prelude::*;

pub use crate::terms::{Norm, Threat};

/// Float images may leave their ball by this much (times max(1, eps)): the rounding of f32.
pub const FLOAT_TOLERANCE: f64 = 1e-6;

impl Threat {
    /// The nearest allowed images to `x_adv`, N×3×H×W, around `x`. For L2 the ball comes first, the box last
    /// (clipping toward an image inside the box never lengthens a change); L1 goes onto both at once ([`l1::project`]).
    ///
    /// # Errors
    /// Where the norm is no ball ([`Norm::is_ball`]) and not [`Norm::Any`]: attacks there change chosen pixels only.
    pub fn project(&self, x_adv: &Tensor, x: &Tensor) -> Result<Tensor> {
        let eps = self.eps.to_f64();
        let in_ball = match self.norm {
            Norm::Linf => x_adv.minimum(&x.affine(1.0, eps)?)?.maximum(&x.affine(1.0, -eps)?)?,
            Norm::L2 => {
                let delta = (x_adv - x)?;
                let length = l2_length(&delta)?;
                let scale = length.maximum(TINY)?.recip()?.affine(eps, 0.0)?.minimum(1.0)?;
                (x + delta.broadcast_mul(&scale.to_dtype(delta.dtype())?)?)?
            }
            Norm::L1 => each_image(&[x_adv, x], |image| {
                let mut x_adv = image[0].to_vec();
                l1::project_image(&mut x_adv, image[1], eps);
                x_adv
            })?,
            Norm::Any => x_adv.clone(),
            Norm::L0 | Norm::Pixels | Norm::Patch => return Err(self.no_ball()),
        };
        Ok(in_ball.clamp(0f32, 1f32)?)
    }

    /// Direction of steepest ascent of length 1 in this norm, for a gradient N×3×H×W: its sign (with sign(0) = 0) for
    /// Linf, the gradient over its length for L2, whatever that is ([`pixels::step_l2`]), the signs of its largest entries
    /// for L1 ([`l1::steepest`]).
    pub fn steepest(&self, gradient: &Tensor) -> Result<Tensor> {
        match self.norm {
            Norm::Linf => {
                let zero = gradient.zeros_like()?;
                let dtype = gradient.dtype();
                Ok((gradient.gt(&zero)?.to_dtype(dtype)? - gradient.lt(&zero)?.to_dtype(dtype)?)?)
            }
            Norm::L2 => {
                let length = l2_length(gradient)?;
                let inverse = length.gt(0.0)?.where_cond(&length.recip()?, &length.zeros_like()?)?;
                Ok(gradient.to_dtype(DType::F64)?.broadcast_mul(&inverse)?.to_dtype(gradient.dtype())?)
            }
            Norm::L1 => each_image(&[gradient], |image| l1::steepest(image[0])),
            _ => Err(self.no_ball()),
        }
    }

    fn no_ball(&self) -> Error {
        Error::usage(format!("threat `{}` has no direction of steepest ascent", self.norm.name()))
    }

    /// x_adv + step_size·steepest(gradient), projected: one step of a descent, images N×3×H×W around `x`. In one pass over
    /// the values where there is a kernel for it.
    pub fn step(&self, x_adv: &Tensor, gradient: &Tensor, step_size: f64, x: &Tensor) -> Result<Tensor> {
        let eps = self.eps.to_f64();
        match self.norm {
            Norm::Linf => pixels::step_linf(x_adv, gradient, x, step_size as f32, eps as f32),
            Norm::L2 if x.device().is_cuda() => pixels::step_l2(x_adv, gradient, x, step_size as f32, eps),
            _ => self.step_of_tensors(x_adv, gradient, step_size, x),
        }
    }

    /// [`Threat::step`] as it is defined.
    fn step_of_tensors(&self, x_adv: &Tensor, gradient: &Tensor, step_size: f64, x: &Tensor) -> Result<Tensor> {
        self.project(&(x_adv + (self.steepest(gradient)? * step_size)?)?, x)
    }

    /// The numbers that [`pixels::membership`] compares; `None` where the norm is neither Linf nor L2.
    pub fn ball(&self) -> Option<Ball> {
        let slack = self.slack();
        matches!(self.norm, Norm::Linf | Norm::L2).then(|| Ball {
            is_linf: self.norm == Norm::Linf,
            reach: self.eps.to_f64() + slack,
            slack,
            most: if self.norm == Norm::Linf { self.grey_levels() as i32 } else { 255 },
            most_square: if self.norm == Norm::L2 { self.largest_square() } else { u64::MAX },
        })
    }

    /// Whether [`Threat::quantise`] asks what the loss would lose.
    pub fn spares_gradient(&self) -> bool {
        matches!(self.norm, Norm::L2 | Norm::L1)
    }

    /// By how much floats may leave the threat set.
    fn slack(&self) -> f64 {
        FLOAT_TOLERANCE * self.eps.to_f64().max(1.0)
    }

    /// A random change of `values` numbers: uniform in the Linf cube, in the L2 ball (a Gaussian direction of radius
    /// eps·u^(1/d)) or in the L1 ball (a Laplacian one). Not yet clipped to the box. Where the norm is no ball, as in the cube.
    pub fn random_change(&self, values: usize, stream: &mut Stream) -> Vec<f32> {
        let eps = self.eps.to_f64();
        match self.norm {
            Norm::L1 => {
                let laplace = |stream: &mut Stream| {
                    let size = -(1.0 - f64::from(stream.uniform())).ln();
                    if stream.below(2) == 0 { size } else { -size }
                };
                let direction: Vec<f64> = (0..values).map(|_| laplace(stream)).collect();
                let length = direction.iter().map(|v| v.abs()).sum::<f64>().max(TINY);
                let radius = eps * f64::from(stream.uniform()).powf(1.0 / values as f64);
                direction.into_iter().map(|v| (v * (radius / length)) as f32).collect()
            }
            Norm::Linf | Norm::L0 | Norm::Pixels | Norm::Patch | Norm::Any => {
                (0..values).map(|_| (2.0 * stream.uniform() - 1.0) * eps as f32).collect()
            }
            Norm::L2 => {
                let direction: Vec<f64> = (0..values).map(|_| stream.normal()).collect();
                let length = direction.iter().map(|v| v * v).sum::<f64>().sqrt().max(TINY);
                let radius = eps * f64::from(stream.uniform()).powf(1.0 / values as f64);
                direction.into_iter().map(|v| (v * (radius / length)) as f32).collect()
            }
        }
    }

    /// Whether a float image of this height and width lies in the threat set, up to [`FLOAT_TOLERANCE`]. NaN never does.
    pub fn contains(&self, x_adv: &[f32], x: &[f32], size: [usize; 2]) -> bool {
        let slack = self.slack();
        let changes = || x_adv.iter().zip(x).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let changed = |i: usize| (x_adv[i] - x[i]).abs() > FLOAT_TOLERANCE as f32;
        x_adv.iter().all(|v| (-slack..=1.0 + slack).contains(&f64::from(*v)))
            && match self.norm {
                Norm::Linf => changes().fold(0.0, |m: f64, d| m.max(d.abs())) <= self.eps.to_f64() + slack,
                Norm::L2 => changes().map(|d| d * d).sum::<f64>().sqrt() <= self.eps.to_f64() + slack,
                Norm::L1 => changes().map(f64::abs).sum::<f64>() <= self.eps.to_f64() + slack,
                Norm::L0 => (0..x.len()).filter(|i| changed(*i)).count() <= self.components(x.len()),
                Norm::Pixels => changed_pixels(x.len(), changed).count() <= self.pixels(x.len()),
                Norm::Patch => self.is_patch(size, changed),
                Norm::Any => true,
            }
    }

    /// Whether an 8-bit image lies in the threat set, decided in integers: |d|/255 ≤ num/den, Σd²/255² ≤ num²/den²,
    /// Σ|d|/255 ≤ num/den, or a number of changed components or pixels.
    pub fn contains_u8(&self, x_adv: &[u8], x: &[u8], size: [usize; 2]) -> bool {
        let change = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b));
        let pairs = x_adv.iter().zip(x);
        match self.norm {
            Norm::Linf => pairs.map(change).max().unwrap_or(0) <= self.grey_levels(),
            Norm::L2 => pairs.map(change).map(|d| d * d).sum::<u64>() <= self.largest_square(),
            Norm::L1 => pairs.map(change).sum::<u64>() <= self.largest_sum(),
            Norm::L0 => pairs.filter(|(a, b)| a != b).count() <= self.components(x.len()),
            Norm::Pixels => changed_pixels(x.len(), |i| x_adv[i] != x[i]).count() <= self.pixels(x.len()),
            Norm::Patch => self.is_patch(size, |i| x_adv[i] != x[i]),
            Norm::Any => true,
        }
    }

    /// Most pixels that may change in an image of so many values: the count of [`Norm::Pixels`], the area of
    /// [`Norm::Patch`] rounded down, else all.
    pub fn pixels(&self, values: usize) -> usize {
        let all = values / 3;
        let Some(share) = self.eps.radius() else { return all };
        let whole = |of: usize| (share.num() as u128 * of as u128 / u128::from(share.den())) as usize;
        match self.norm {
            Norm::Pixels => whole(1).min(all),
            Norm::Patch => whole(all).min(all),
            _ => all,
        }
    }

    /// Most components that may change in an image of so many values: the count of [`Norm::L0`], else all.
    pub fn components(&self, values: usize) -> usize {
        match (self.norm, self.eps.radius()) {
            (Norm::L0, Some(count)) => ((count.num() / count.den()) as usize).min(values),
            _ => values,
        }
    }

    /// Whether the changed values are those of a patch: at most ⌊area·pixels⌋ pixels, n, in a square window of side
    /// ⌈√(2n)⌉ + 1 (longer along an image that is narrower: [`window`]).
    fn is_patch(&self, size: [usize; 2], changed: impl Fn(usize) -> bool) -> bool {
        let [height, width] = size;
        let values = 3 * height * width;
        let most = self.pixels(values);
        let window = window(most, size);
        let (mut n, mut low, mut high) = (0, [usize::MAX; 2], [0; 2]);
        for place in changed_pixels(values, changed) {
            n += 1;
            for (axis, at) in [place / width, place % width].into_iter().enumerate() {
                (low[axis], high[axis]) = (low[axis].min(at), high[axis].max(at));
            }
        }
        n == 0 || n <= most && (0..2).all(|axis| high[axis] - low[axis] < window[axis])
    }

    /// Largest whole number of grey levels a pixel may change under Linf.
    fn grey_levels(&self) -> u64 {
        self.eps.radius().map_or(255, |eps| (255 * u128::from(eps.num()) / u128::from(eps.den())).min(255) as u64)
    }

    /// Largest sum of squared grey-level changes in the L2 ball: Σd²/255² ≤ num²/den².
    fn largest_square(&self) -> u64 {
        let Some(eps) = self.eps.radius() else { return u64::MAX };
        let (n, d) = (u128::from(eps.num()), u128::from(eps.den()));
        u64::try_from(255 * 255 * n * n / (d * d)).unwrap_or(u64::MAX)
    }

    /// Largest sum of absolute grey-level changes in the L1 ball: Σ|d|/255 ≤ num/den.
    fn largest_sum(&self) -> u64 {
        let Some(eps) = self.eps.radius() else { return u64::MAX };
        u64::try_from(255 * u128::from(eps.num()) / u128::from(eps.den())).unwrap_or(u64::MAX)
    }

    /// [`Threat::quantise`] from the nearest 8-bit image on.
    pub fn requantise(&self, nearest: &[u8], x: &[u8], gradient: Option<&[f32]>) -> Vec<u8> {
        let mut d: Vec<i32> = nearest.iter().zip(x).map(|(q, &c)| i32::from(*q) - i32::from(c)).collect();
        self.shrink(&mut d, gradient);
        moved(d, x)
    }

    /// Rounds an image of the threat set to 8 bits *inside* the set, keeping as much of the attack as it can.
    ///
    /// Rounding to nearest (ties to even, as PyTorch) leaves an L2 ball almost always, by about sqrt(d/12)/255, and an L1 ball
    /// half the time. Then coordinates move back toward `x` one grey level at a time, first those that cost the least
    /// first-order loss (`gradient`, if the attack had one) per unit of squared, or absolute, length.
    pub fn quantise(&self, x_adv: &[f32], x: &[u8], gradient: Option<&[f32]>) -> Vec<u8> {
        let nearest = x_adv.iter().map(|v| (v * 255.0).round_ties_even().clamp(0.0, 255.0) as i32);
        let mut d: Vec<i32> = nearest.zip(x).map(|(q, &c)| q - i32::from(c)).collect();
        self.shrink(&mut d, gradient);
        moved(d, x)
    }

    /// Brings a change in grey levels into the set.
    fn shrink(&self, d: &mut [i32], gradient: Option<&[f32]>) {
        match self.norm {
            Norm::Linf => {
                let most = self.grey_levels() as i32;
                d.iter_mut().for_each(|d| *d = (*d).clamp(-most, most));
            }
            Norm::L2 => shorten(d, gradient, self.largest_square(), |d| (d * d) as u64),
            Norm::L1 => shorten(d, gradient, self.largest_sum(), |d| d.unsigned_abs().into()),
            // a component that did not change rounds back to itself
            Norm::L0 | Norm::Pixels | Norm::Patch | Norm::Any => {}
        }
    }
}

/// Greedy part of [`Threat::quantise`]: brings the sum of the `length` of changes down to `most`.
fn shorten(d: &mut [i32], gradient: Option<&[f32]>, most: u64, length: impl Fn(i32) -> u64) {
    let mut sum: u64 = d.iter().map(|d| length(*d)).sum();
    if sum <= most {
        return;
    }
    // length won by one step of a change toward 0
    let won = |d: i32| length(d) - length(d - d.signum());
    // its price: lost loss per length won
    let price = |i: usize, d: i32| {
        let lost = gradient.map_or(0.0, |g| g[i] * d.signum() as f32);
        Price(lost / won(d) as f32, d.abs(), i)
    };
    let moved = (0..d.len()).filter(|&i| d[i] != 0);
    let mut heap: std::collections::BinaryHeap<_> = moved.map(|i| std::cmp::Reverse(price(i, d[i]))).collect();
    while sum > most {
        let std::cmp::Reverse(Price(_, _, i)) = heap.pop().expect("the clean image is inside");
        sum -= won(d[i]);
        d[i] -= d[i].signum();
        if d[i] != 0 {
            heap.push(std::cmp::Reverse(price(i, d[i])));
        }
    }
}

/// `x` changed by `d` grey levels.
fn moved(d: Vec<i32>, x: &[u8]) -> Vec<u8> {
    d.into_iter().zip(x).map(|(d, &c)| (d + i32::from(c)) as u8).collect()
}

/// Places (row·width + column) of the pixels of which any channel changed, of an image of so many values 3×height×width.
fn changed_pixels(values: usize, changed: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
    let plane = values / 3;
    (0..plane).filter(move |p| (0..3).any(|channel| changed(channel * plane + p)))
}

/// Ordered by price, then smallest change first, then place: a total order, so the result is one.
#[derive(PartialEq)]
struct Price(f32, i32, usize);

impl Eq for Price {}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1)).then(self.2.cmp(&other.2))
    }
}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Euclidean length of each image's change: N×C×H×W to N×1×1×1. Summed in f64: a sum of 150,000 squares in f32 would
/// be off by more than the judge tolerates.
fn l2_length(delta: &Tensor) -> Result<Tensor> {
    Ok(delta.to_dtype(DType::F64)?.sqr()?.sum_keepdim((1, 2, 3))?.sqrt()?)
}

/// What `make` makes of each image of tensors N×C×H×W of one shape, in this machine's memory.
fn each_image(of: &[&Tensor], make: impl Fn(&[&[f32]]) -> Vec<f32> + Sync) -> Result<Tensor> {
    let shape = of[0].shape();
    let n = of[0].dim(0)?;
    let values = shape.elem_count() / n.max(1);
    let rows = |all: &[&[f32]]| -> Vec<f32> {
        let image = |i: usize| make(&all.iter().map(|v| &v[i * values..][..values]).collect::<Vec<_>>());
        (0..n).into_par_iter().map(image).collect::<Vec<_>>().concat()
    };
    let made = match of {
        [a] => lend(a, |a| rows(&[a]))?,
        [a, b] => lend(a, |a| lend(b, |b| rows(&[a, b])))??,
        _ => unreachable!("one or two"),
    };
    up(made, shape, of[0].device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Ratio;
    use candle_core::Device;

    #[test]
    fn a_fused_step_is_the_step_of_tensors() {
        let mut stream = crate::rng::Streams::new(0, "step").stream(0, 0, "values");
        let mut values = |low: f32, high: f32| {
            let v: Vec<f32> = (0..40_000).map(|_| low + (high - low) * stream.uniform()).collect();
            Tensor::from_vec(v, (2, 1, 100, 200), &Device::Cpu).unwrap()
        };
        let (x, change, gradient) = (values(0.0, 1.0), values(-0.05, 0.05), values(-1.0, 1.0));
        // a quarter of the gradients are 0
        let gradient = gradient.maximum(&gradient.affine(0.5, 0.0).unwrap().maximum(0.0).unwrap()).unwrap();
        for (eps, step_size) in [("8/255", 2.0 / 255.0), ("1/255", 1.0 / 4080.0), ("16/255", 0.3)] {
            let threat = Threat::within(Norm::Linf, Ratio::parse(eps).unwrap());
            let x_adv = threat.project(&(&x + &change).unwrap(), &x).unwrap();
            let moved = (&x_adv + (threat.steepest(&gradient).unwrap() * step_size).unwrap()).unwrap();
            let tensors = threat.project(&moved, &x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let step = threat.step(&x_adv, &gradient, step_size, &x).unwrap();
            let memory = step.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(memory.iter().zip(&tensors).all(|(a, b)| a.to_bits() == b.to_bits()), "{eps}");
        }
        // sums in another order: the last bits may differ
        for (eps, step_size) in [("0.5", 0.1), ("20", 3.0), ("1/255", 2.0)] {
            let threat = Threat::within(Norm::L2, Ratio::parse(eps).unwrap());
            let x_adv = threat.project(&(&x + &change).unwrap(), &x).unwrap();
            let tensors = threat.step(&x_adv, &gradient, step_size, &x).unwrap();
            let fused = pixels::step_l2(&x_adv, &gradient, &x, step_size as f32, threat.eps.to_f64()).unwrap();
            let off = (&tensors - fused).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(off.to_scalar::<f32>().unwrap() <= 1e-7, "{eps}: {off:?}");
            let moved = (tensors - &x_adv).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(moved.to_scalar::<f32>().unwrap() > 1e-6, "{eps}: nothing moved");
        }
    }

    #[test]
    fn a_direction_has_length_one_at_any_size_of_gradient() {
        let mut stream = crate::rng::Streams::new(0, "size").stream(0, 0, "values");
        let g: Vec<f32> = (0..3072).map(|_| 2.0 * stream.uniform() - 1.0).collect();
        let of = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let threat = Threat::within(Norm::L2, Ratio::parse("0.5").unwrap());
        let x = Tensor::full(0.5f32, (1, 3, 32, 32), &Device::Cpu).unwrap();
        let at = |power: i32| {
            let g: Vec<f32> = g.iter().map(|g| (f64::from(*g) * 2f64.powi(power)) as f32).collect();
            let g = Tensor::from_vec(g, (1, 3, 32, 32), &Device::Cpu).unwrap();
            let fused = of(pixels::step_l2(&x, &g, &x, 0.25, 0.5).unwrap());
            (of(threat.steepest(&g).unwrap()), of(threat.step(&x, &g, 0.25, &x).unwrap()), fused)
        };
        let (usual, moved, _) = at(0);
        for power in [-100, -60, -40, 10, 60, 127] {
            let (direction, step, fused) = at(power);
            assert!(direction.iter().zip(&usual).all(|(a, b)| (a - b).abs() < 1e-7), "2^{power}");
            assert!(
                step.iter().chain(&fused).zip(moved.iter().cycle()).all(|(a, b)| (a - b).abs() < 1e-6),
                "2^{power}"
            );
            let length = step.iter().map(|v| f64::from(v - 0.5).powi(2)).sum::<f64>().sqrt();
            assert!((length - 0.25).abs() < 1e-5, "2^{power}: {length}");
        }
        let none = at(-200);
        assert!(none.0.iter().all(|v| *v == 0.0) && none.1.iter().all(|v| *v == 0.5), "zero stays zero");
    }

    #[test]
    fn the_largest_square_is_the_last_that_is_held() {
        for eps in ["0", "0.5", "1/255", "128/255", "0.123456789", "3", "999999999999", "1/999999999999"] {
            let threat = Threat::within(Norm::L2, Ratio::parse(eps).unwrap());
            let eps = threat.eps.radius().unwrap();
            let (n, d) = (u128::from(eps.num()), u128::from(eps.den()));
            // what would wrap is outside
            let holds = |sum: u64| (d * d).checked_mul(u128::from(sum)).is_some_and(|left| left <= 255 * 255 * n * n);
            let largest = threat.largest_square();
            assert!(holds(largest), "{eps}: {largest}");
            assert!(largest == u64::MAX || !holds(largest + 1), "{eps}: {largest}");
        }
    }
}
