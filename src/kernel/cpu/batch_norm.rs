//! Batch norm in training mode, forward and back, with a sum and a ReLU behind it: some images of a batch at a time, whose sums
//! are added up elsewhere.

use super::finish::Operand;
use super::lanes::{LANES, Lanes};
use super::map::Layout;
use std::ops::Range;

/// A map that is written.
#[derive(Clone, Copy)]
pub struct Into {
    pub map: *mut f32,
    pub layout: Layout,
}

// SAFETY: threads that share it write different images
unsafe impl Send for Into {}
// SAFETY: as above
unsafe impl Sync for Into {}

impl Into {
    /// The same, to be read.
    pub fn read(self) -> Operand {
        Operand { map: self.map, layout: self.layout }
    }
}

/// What is done with some images. Numbers a channel are padded as maps are.
pub enum Work<'a> {
    /// Sums of z − origin, and of its square, a channel.
    Moments { z: Operand, origin: &'a [f32], sums: &'a mut [f64], squares: &'a mut [f64] },
    /// y = factor·z + shift, plus `add`, through a ReLU if asked for.
    Apply { z: Operand, factor: &'a [f32], shift: &'a [f32], add: Option<Operand>, relu: bool, to: Into },
    /// The gradient with respect to y becomes, in place, that in front of the ReLU, where y was above 0; then its sums, and
    /// those of it times z − mean.
    Sums { gradient: Into, y: Option<Operand>, z: Operand, mean: &'a [f32], sums: &'a mut [f64], with_z: &'a mut [f64] },
    /// factor·(g + with_z·(z − mean)) + shift, added to what is there if asked for.
    Back { g: Operand, z: Operand, mean: &'a [f32], factors: [&'a [f32]; 3], adds: bool, to: Into },
    /// A map as it is, added to what is there if asked for.
    Copy { from: Operand, adds: bool, to: Into },
}

/// Every row of some images, sixteen channels at a time: image, row, first channel, and how wide it is. No closure: one that is
/// not inlined is compiled without the instruction set.
macro_rules! rows {
    (($layout:expr, $images:expr) $image:ident, $y:ident, $c:ident, $width:ident => $body:block) => {{
        let ([height, $width], channels) = ($layout.size, $layout.channels);
        for $image in $images {
            for $y in 0..height {
                for $c in (0..channels).step_by(LANES) $body
            }
        }
    }};
}

/// Computes it.
///
/// # Safety
/// The instruction set of L is there; maps hold the images, numbers a channel are as many as theirs; nobody else writes these
/// images meanwhile.
#[inline(always)]
pub unsafe fn compute<L: Lanes>(work: &mut Work, images: Range<usize>) {
    // SAFETY: passed on
    unsafe {
        match work {
            Work::Moments { z, origin, sums, squares } => rows!((z.layout, images) image, y, c, width => {
                let from = z.map.add(z.layout.at(image, y, 0) + c);
                let origin = L::load(origin.as_ptr().add(c));
                let (mut sum, mut square) = (L::zero(), L::zero());
                for x in 0..width {
                    let v = L::load(from.add(x * z.layout.channels)).sub(origin);
                    sum = sum.add(v);
                    square = v.mul_add(v, square);
                }
                flush(sum, &mut sums[c..]);
                flush(square, &mut squares[c..]);
            }),
            Work::Apply { z, factor, shift, add, relu, to } => rows!((z.layout, images) image, y, c, width => {
                let from = z.map.add(z.layout.at(image, y, 0) + c);
                let into = to.map.add(to.layout.at(image, y, 0) + c);
                let (factor, shift, zero) = (L::load(factor.as_ptr().add(c)), L::load(shift.as_ptr().add(c)), L::zero());
                let added = add.map(|add| (add.map.add(add.layout.at(image, y, 0) + c), add.layout.channels));
                for x in 0..width {
                    let mut v = L::load(from.add(x * z.layout.channels)).mul_add(factor, shift);
                    if let Some((added, step)) = added {
                        v = v.add(L::load(added.add(x * step)));
                    }
                    // NaN stays
                    let v = if *relu { zero.max(v) } else { v };
                    v.store(into.add(x * to.layout.channels));
                }
            }),
            Work::Sums { gradient, y, z, mean, sums, with_z } => rows!((z.layout, images) image, row, c, width => {
                let at = gradient.map.add(gradient.layout.at(image, row, 0) + c);
                let from = z.map.add(z.layout.at(image, row, 0) + c);
                let mean = L::load(mean.as_ptr().add(c));
                let seen = y.map(|y| (y.map.add(y.layout.at(image, row, 0) + c), y.layout.channels));
                let (mut sum, mut product) = (L::zero(), L::zero());
                for x in 0..width {
                    let at = at.add(x * gradient.layout.channels);
                    let mut g = L::load(at);
                    if let Some((y, step)) = seen {
                        g = g.keep(L::load(y.add(x * step)).not_at_most(L::zero()));
                        g.store(at);
                    }
                    sum = sum.add(g);
                    product = L::load(from.add(x * z.layout.channels)).sub(mean).mul_add(g, product);
                }
                flush(sum, &mut sums[c..]);
                flush(product, &mut with_z[c..]);
            }),
            Work::Back { g, z, mean, factors, adds, to } => rows!((z.layout, images) image, y, c, width => {
                let from = g.map.add(g.layout.at(image, y, 0) + c);
                let beside = z.map.add(z.layout.at(image, y, 0) + c);
                let into = to.map.add(to.layout.at(image, y, 0) + c);
                let mut of = [L::zero(); 3];
                for (of, factor) in of.iter_mut().zip(*factors) {
                    *of = L::load(factor.as_ptr().add(c));
                }
                let ([factor, with_z, shift], mean) = (of, L::load(mean.as_ptr().add(c)));
                for x in 0..width {
                    let g = L::load(from.add(x * g.layout.channels));
                    let z = L::load(beside.add(x * z.layout.channels)).sub(mean);
                    let v = z.mul_add(with_z, g).mul_add(factor, shift);
                    let into = into.add(x * to.layout.channels);
                    let v = if *adds { v.add(L::load(into)) } else { v };
                    v.store(into);
                }
            }),
            Work::Copy { from, adds, to } => rows!((from.layout, images) image, y, c, width => {
                let source = from.map.add(from.layout.at(image, y, 0) + c);
                let into = to.map.add(to.layout.at(image, y, 0) + c);
                for x in 0..width {
                    let v = L::load(source.add(x * from.layout.channels));
                    let into = into.add(x * to.layout.channels);
                    let v = if *adds { v.add(L::load(into)) } else { v };
                    v.store(into);
                }
            }),
        }
    }
}

/// Adds sums of a row to those of the images.
#[inline(always)]
unsafe fn flush<L: Lanes>(sum: L, to: &mut [f64]) {
    let mut lanes = [0.0f32; LANES];
    // SAFETY: sixteen floats
    unsafe { sum.store(lanes.as_mut_ptr()) }
    to[..LANES].iter_mut().zip(lanes).for_each(|(to, v)| *to += f64::from(v));
}
