//! Softmax attention of one head (Vaswani et al. 2017, equation 1): matrix products over the micro-kernels of convolutions.
//!
//! P = softmax(QKᵀ/√d) is made anew on the way back, which keeps queries, keys and values only. A matrix of tokens × tokens lies
//! as products write it and read it: blocks of 32 columns, the rows of a block one after the other.

use super::finish::{Operand, Target};
use super::lanes::{LANES, Lanes};
use super::map::Buffer;
use super::product::{Depth, Kernel, PANEL, Product};
use crate::kernel::functions::exp;

/// One head of one image.
pub struct Head {
    pub image: usize,
    pub head: usize,
    pub tokens: usize,
    /// Channels of a head, a multiple of 16.
    pub width: usize,
    /// Channels of all heads.
    pub channels: usize,
    /// Where queries, keys and values of the image are kept, tokens × 3·channels; null: no way back follows.
    pub kept: *mut f32,
}

// SAFETY: heads keep different channels
unsafe impl Sync for Head {}

/// Matrices of one thread.
#[derive(Default)]
pub struct Scratch {
    rows: Buffer,
    columns: Buffer,
    scores: Buffer,
    slopes: Buffer,
    turned: Buffer,
    sums: Buffer,
}

/// Rows of a map or of what is kept: token t from `at + t·stride` on.
#[derive(Clone, Copy)]
struct Tokens {
    at: *const f32,
    stride: usize,
}

/// Which of the three a row of channels begins with.
const QUERIES: usize = 0;
const KEYS: usize = 1;
const VALUES: usize = 2;

impl Head {
    /// Tokens that fill whole blocks.
    fn padded(&self) -> usize {
        self.tokens.next_multiple_of(PANEL)
    }

    /// First channel of this head's queries, keys or values.
    fn first(&self, part: usize) -> usize {
        part * self.channels + self.head * self.width
    }

    fn kept(&self, part: usize) -> Tokens {
        Tokens { at: self.kept.wrapping_add(self.first(part)), stride: 3 * self.channels }
    }
}

/// The head's outputs.
///
/// # Safety
/// The instruction set of K is there; source and target are different maps that hold the image, and nobody else uses the
/// head's channels of what is written.
#[inline(always)]
pub unsafe fn forward<K: Kernel>(h: &Head, source: Operand, target: &Target, s: &mut Scratch) {
    let of = |part: usize| Tokens {
        at: source.map.wrapping_add(source.layout.at(h.image, 0, 0) + h.first(part)),
        stride: source.layout.row,
    };
    // SAFETY: tokens and channels of the image; scratch has room for what is written to it
    unsafe {
        if !h.kept.is_null() {
            for part in [QUERIES, KEYS, VALUES] {
                let (from, to) = (of(part), h.kept(part));
                for t in 0..h.tokens {
                    to.at.cast_mut().add(t * to.stride).copy_from_nonoverlapping(from.at.add(t * from.stride), h.width);
                }
            }
        }
        probabilities::<K>(h, of(QUERIES), of(KEYS), s);
        by_token(h, of(VALUES), &mut s.columns);
        times_tokens::<K>(h, &s.scores, &s.columns, &mut s.sums, target, h.head * h.width);
    }
}

/// The gradients with respect to the head's queries, keys and values.
///
/// # Safety
/// As for [`forward`]; what it has kept is there.
#[inline(always)]
pub unsafe fn backward<K: Kernel>(h: &Head, gradient: Operand, target: &Target, s: &mut Scratch) {
    let g = Tokens {
        at: gradient.map.wrapping_add(gradient.layout.at(h.image, 0, 0) + h.head * h.width),
        stride: gradient.layout.row,
    };
    let scale = scale(h.width);
    // SAFETY: as in `forward`
    unsafe {
        probabilities::<K>(h, h.kept(QUERIES), h.kept(KEYS), s);
        turn(h, &s.scores, &mut s.turned);
        by_token(h, g, &mut s.columns);
        times_tokens::<K>(h, &s.turned, &s.columns, &mut s.sums, target, h.first(VALUES));
        // dS = P ∘ (dP − Σ dP ∘ P) with dP = g Vᵀ
        as_rows::<K>(h, g, 1.0, &mut s.rows);
        by_channel(h, h.kept(VALUES), &mut s.columns);
        tokens_by_tokens::<K>(h, &s.rows, &s.columns, &mut s.slopes);
        let (blocks, row) = (h.padded() / PANEL, |t: usize, b: usize| (b * h.tokens + t) * PANEL);
        for t in 0..h.tokens {
            let mut sum = 0.0;
            for b in 0..blocks {
                let (p, g) = (&s.scores[row(t, b)..][..PANEL], &s.slopes[row(t, b)..][..PANEL]);
                sum += p.iter().zip(g).fold(0.0, |sum, (p, g)| sum + p * g);
            }
            for b in 0..blocks {
                let p = &s.scores[row(t, b)..][..PANEL];
                let g = &mut s.slopes[row(t, b)..][..PANEL];
                g.iter_mut().zip(p).for_each(|(g, p)| *g = p * (*g - sum) * scale);
            }
        }
        by_token(h, h.kept(KEYS), &mut s.columns);
        times_tokens::<K>(h, &s.slopes, &s.columns, &mut s.sums, target, h.first(QUERIES));
        turn(h, &s.slopes, &mut s.turned);
        by_token(h, h.kept(QUERIES), &mut s.columns);
        times_tokens::<K>(h, &s.turned, &s.columns, &mut s.sums, target, h.first(KEYS));
    }
}

fn scale(width: usize) -> f32 {
    1.0 / (width as f32).sqrt()
}

/// softmax(QKᵀ/√d), 0 in the columns that fill the last block.
#[inline(always)]
unsafe fn probabilities<K: Kernel>(h: &Head, queries: Tokens, keys: Tokens, s: &mut Scratch) {
    // SAFETY: passed on
    unsafe {
        as_rows::<K>(h, queries, scale(h.width), &mut s.rows);
        by_channel(h, keys, &mut s.columns);
        tokens_by_tokens::<K>(h, &s.rows, &s.columns, &mut s.scores);
    }
    let (blocks, row) = (h.padded() / PANEL, |t: usize, b: usize| (b * h.tokens + t) * PANEL);
    let real = |b: usize| PANEL.min(h.tokens - b * PANEL);
    for t in 0..h.tokens {
        let mut most = f32::NEG_INFINITY;
        for b in 0..blocks {
            // not a number wins, so that it reaches every output
            let larger = |most: f32, v: &f32| if *v > most || v.is_nan() { *v } else { most };
            most = s.scores[row(t, b)..][..real(b)].iter().fold(most, larger);
        }
        let mut lanes = [0.0f32; PANEL];
        for b in 0..blocks {
            let scores = &mut s.scores[row(t, b)..][..PANEL];
            scores.iter_mut().for_each(|v| *v = exp(*v - most));
            scores[real(b)..].fill(0.0);
            lanes.iter_mut().zip(&*scores).for_each(|(sum, v)| *sum += v);
        }
        let sum: f32 = lanes.iter().sum();
        for b in 0..blocks {
            s.scores[row(t, b)..][..PANEL].iter_mut().for_each(|v| *v /= sum);
        }
    }
}

/// Tokens as the rows of a product, in blocks of channels, times a factor.
#[inline(always)]
unsafe fn as_rows<L: Lanes>(h: &Head, from: Tokens, factor: f32, to: &mut Buffer) {
    let block = Depth::of(h.width).block();
    let to = to.grown(h.tokens * h.width);
    for t in 0..h.tokens {
        for c in (0..h.width).step_by(LANES) {
            let at = (c / block * h.tokens + t) * block + c % block;
            // SAFETY: channels of a token, and of the buffer
            unsafe {
                let v = L::load(from.at.add(t * from.stride + c));
                v.mul_add(L::splat(factor), L::zero()).store(to.as_mut_ptr().add(at));
            }
        }
    }
}

/// Tokens as the columns of a product: for each block of 32 tokens channels × 32.
unsafe fn by_channel(h: &Head, from: Tokens, to: &mut Buffer) {
    let to = to.grown(h.padded() * h.width);
    to.fill(0.0);
    for t in 0..h.tokens {
        let first = t / PANEL * PANEL * h.width + t % PANEL;
        // SAFETY: channels of a token
        (0..h.width).for_each(|c| to[first + c * PANEL] = unsafe { *from.at.add(t * from.stride + c) });
    }
}

/// Tokens as the depth of a product: for each block of 32 channels tokens × 32 (16 in a last half block).
unsafe fn by_token(h: &Head, from: Tokens, to: &mut Buffer) {
    let (depth, width) = (h.padded(), h.width);
    let to = to.grown(depth * width);
    for first in (0..width).step_by(PANEL) {
        let some = PANEL.min(width - first);
        for (t, row) in to[first * depth..][..some * depth].chunks_exact_mut(some).enumerate() {
            match t < h.tokens {
                // SAFETY: channels of a token
                true => row
                    .copy_from_slice(unsafe { std::slice::from_raw_parts(from.at.add(t * from.stride + first), some) }),
                false => row.fill(0.0),
            }
        }
    }
}

/// Rows × columns, tokens × tokens.
#[inline(always)]
unsafe fn tokens_by_tokens<K: Kernel>(h: &Head, rows: &Buffer, columns: &Buffer, to: &mut Buffer) {
    let shape = Depth::of(h.width);
    let to = to.grown(h.padded() * h.tokens);
    for b in 0..h.padded() / PANEL {
        let weights = columns.as_ptr().wrapping_add(b * PANEL * h.width);
        // SAFETY: rows, columns and sums of this block
        unsafe {
            K::multiply(&Product {
                rows: h.tokens,
                shape,
                blocks: h.width / shape.block(),
                a: rows.as_ptr(),
                block_stride: h.tokens * shape.block(),
                b: weights,
                width: PANEL,
                c: to.as_mut_ptr().add(b * h.tokens * PANEL),
                next: weights,
            });
        }
    }
}

/// A matrix of tokens × tokens times channels of tokens; the outputs go to the target from a channel on.
#[inline(always)]
unsafe fn times_tokens<K: Kernel>(
    h: &Head,
    matrix: &Buffer,
    columns: &Buffer,
    sums: &mut Buffer,
    target: &Target,
    channel: usize,
) {
    let sums = sums.grown(h.tokens * PANEL).as_mut_ptr();
    for first in (0..h.width).step_by(PANEL) {
        let some = PANEL.min(h.width - first);
        let weights = columns.as_ptr().wrapping_add(first * h.padded());
        // SAFETY: rows, columns and sums of this block; a token's channels of the target
        unsafe {
            K::multiply(&Product {
                rows: h.tokens,
                shape: Depth::Middle,
                blocks: h.padded() / PANEL,
                a: matrix.as_ptr(),
                block_stride: h.tokens * PANEL,
                b: weights,
                width: some,
                c: sums,
                next: weights,
            });
            for t in 0..h.tokens {
                let place = target.place(target.image(h.image), t, 0);
                for c in (0..some).step_by(LANES) {
                    let v = <K as Lanes>::load(sums.add(t * PANEL + c));
                    target.one(place, channel + first + c, v);
                }
            }
        }
    }
}

/// Rows become columns.
fn turn(h: &Head, from: &Buffer, to: &mut Buffer) {
    let to = to.grown(h.padded() * h.tokens);
    to.fill(0.0);
    for row in 0..h.tokens {
        for column in 0..h.tokens {
            to[(row / PANEL * h.tokens + column) * PANEL + row % PANEL] =
                from[(column / PANEL * h.tokens + row) * PANEL + column % PANEL];
        }
    }
}
