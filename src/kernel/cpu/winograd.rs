//! 3×3 convolution by fewer products (Winograd 1980; Lavin and Gray 2016): both sides are transformed, multiplied
//! point by point over the channels, and transformed back.
//!
//! [`Form::Tiles`] is F(4×4, 3×3) over the points 0, ±1, ±2, ∞: 36 products for 16 outputs instead of 144.
//! [`Form::Pair`] is for maps of 2×2: along each side two outputs of two inputs, a Toeplitz matrix, in three products:
//! y₀ = m₀ + m₁, y₁ = m₀ + m₂ with m₀ = w₁(x₀ + x₁), m₁ = (w₂ − w₁)x₁, m₂ = (w₀ − w₁)x₀; 9 products instead of 36.

use super::lanes::Lanes;
use super::map::{Buffer, padded};
use super::product::{Depth, PANEL};
use rayon::prelude::*;

/// How a convolution is computed. Decided by the size of the map alone, so an image's result depends on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Tiles of 4×4 outputs.
    Tiles,
    /// A whole 2×2 map.
    Pair,
}

/// Rows of G: weights of the three taps for each point.
const TILES: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];
const PAIR: [[f64; 3]; 3] = [[0.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, -1.0, 0.0]];

impl Form {
    /// For maps of this height and width.
    pub fn of(size: [usize; 2]) -> Form {
        if size == [2, 2] { Form::Pair } else { Form::Tiles }
    }

    fn taps(self) -> &'static [[f64; 3]] {
        match self {
            Form::Tiles => &TILES,
            Form::Pair => &PAIR,
        }
    }

    /// Products a tile.
    pub fn products(self) -> usize {
        self.taps().len() * self.taps().len()
    }
}

/// Transformed weights of one convolution in one direction.
pub struct Kernels {
    /// How they were transformed.
    pub form: Form,
    /// Channels in, padded.
    pub inputs: usize,
    /// Channels out, padded.
    pub outputs: usize,
    /// [panel of 32 outputs][product][input][32, or 16 in the last panel of an odd number of 16s].
    pub values: Buffer,
}

impl Kernels {
    /// Transforms in f64 and rounds once. `weight(output, input)` gives the nine taps, row by row.
    pub fn new(form: Form, inputs: usize, outputs: usize, weight: impl Fn(usize, usize) -> [f32; 9] + Sync) -> Kernels {
        let (depth, width) = (padded(inputs), padded(outputs));
        let products = form.products();
        let mut values = Buffer::new(products * depth * width);
        values.par_chunks_mut(products * depth * PANEL).enumerate().for_each(|(panel, values)| {
            let width = values.len() / (products * depth);
            for input in 0..inputs {
                let mut taps = [[0.0; PANEL]; 9];
                for lane in 0..width.min(outputs - panel * PANEL) {
                    for (tap, value) in taps.iter_mut().zip(weight(panel * PANEL + lane, input)) {
                        tap[lane] = f64::from(value);
                    }
                }
                for (product, transformed) in transform(form, &taps).iter().enumerate() {
                    let row = &mut values[(product * depth + input) * width..][..width];
                    row.iter_mut().zip(transformed).for_each(|(v, t)| *v = *t as f32);
                }
            }
        });
        Kernels { form, inputs: depth, outputs: width, values }
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// Outputs of a panel, with padding.
    pub fn width(&self, panel: usize) -> usize {
        (self.outputs - panel * PANEL).min(PANEL)
    }

    /// Where the weights of a product begin.
    pub fn at(&self, panel: usize, product: usize) -> usize {
        (panel * self.form.products() * PANEL + product * self.width(panel)) * self.inputs
    }

    /// How transformed inputs lie for the product.
    pub fn shape(&self) -> Depth {
        Depth::of(self.inputs)
    }
}

/// G w Gᵀ for each lane.
fn transform(form: Form, taps: &[[f64; PANEL]; 9]) -> Vec<[f64; PANEL]> {
    let g = form.taps();
    let mut out = Vec::with_capacity(g.len() * g.len());
    for along_y in g {
        // a row of three taps, for this point along y
        let row: [[f64; PANEL]; 3] = std::array::from_fn(|s| {
            std::array::from_fn(|l| (0..3).map(|r| along_y[r] * taps[3 * r + s][l]).sum::<f64>())
        });
        for along_x in g {
            out.push(std::array::from_fn(|l| (0..3).map(|s| along_x[s] * row[s][l]).sum::<f64>()));
        }
    }
    out
}

/// Bᵀ d along one side of a tile: six inputs to six points.
///
/// # Safety
/// As for every use of [`Lanes`], here and below.
#[inline(always)]
pub unsafe fn tile_in<L: Lanes>(d: [L; 6]) -> [L; 6] {
    // SAFETY: arithmetic only
    unsafe {
        let a = d[2].mul_add(L::splat(-4.0), d[4]);
        let b = d[1].mul_add(L::splat(-4.0), d[3]);
        let e = d[4].sub(d[2]);
        let f = d[3].sub(d[1]);
        [
            d[0].mul_add(L::splat(4.0), d[2].mul_add(L::splat(-5.0), d[4])),
            a.add(b),
            a.sub(b),
            f.mul_add(L::splat(2.0), e),
            f.mul_add(L::splat(-2.0), e),
            d[1].mul_add(L::splat(4.0), d[3].mul_add(L::splat(-5.0), d[5])),
        ]
    }
}

/// Aᵀ m along one side of a tile: six points to four outputs.
#[inline(always)]
pub unsafe fn tile_out<L: Lanes>(m: [L; 6]) -> [L; 4] {
    // SAFETY: arithmetic only
    unsafe {
        let (a, b) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (c, d) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(a).add(c),
            d.mul_add(L::splat(2.0), b),
            c.mul_add(L::splat(4.0), a),
            d.mul_add(L::splat(8.0), b).add(m[5]),
        ]
    }
}

/// Two inputs to three points.
#[inline(always)]
pub unsafe fn pair_in<L: Lanes>(x: [L; 2]) -> [L; 3] {
    // SAFETY: arithmetic only
    unsafe { [x[0].add(x[1]), x[1], x[0]] }
}

/// Three points to two outputs.
#[inline(always)]
pub unsafe fn pair_out<L: Lanes>(m: [L; 3]) -> [L; 2] {
    // SAFETY: arithmetic only
    unsafe { [m[0].add(m[1]), m[0].add(m[2])] }
}
