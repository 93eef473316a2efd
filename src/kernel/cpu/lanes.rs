//! Sixteen floats at a time, on three instruction sets.
//!
//! Everything above this file is written once, over [`Lanes`], and computes each lane by the same operations in the
//! same order on every instruction set: IEEE additions and fused multiply-adds, each rounded once. So AVX-512, AVX2 and
//! the portable form give the same bits, and a witness does not depend on the machine that judged it.

/// Floats of one [`Lanes`]: channels are padded to a multiple of it.
pub const LANES: usize = 16;

/// Sixteen floats. Comparisons give one bit a lane, lane 0 lowest.
///
/// # Safety
/// Every method may be called only where the instruction set of the implementation is there, and pointers must be good
/// for sixteen floats.
pub unsafe trait Lanes: Copy {
    /// Most rows that a block of products keeps in registers.
    const ROWS: usize;
    /// Vectors of outputs that a block of products keeps in registers.
    const VECTORS: usize;
    /// All lanes alike.
    unsafe fn splat(v: f32) -> Self;
    /// From memory, any alignment.
    unsafe fn load(p: *const f32) -> Self;
    /// To memory, any alignment.
    unsafe fn store(self, p: *mut f32);
    /// Sum.
    unsafe fn add(self, other: Self) -> Self;
    /// Difference.
    unsafe fn sub(self, other: Self) -> Self;
    /// self·factor + term, rounded once.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// `self > other ? self : other`: the second where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `!(self <= other)`: greater, or NaN on either side.
    unsafe fn not_at_most(self, other: Self) -> u16;
    /// `self > other`.
    unsafe fn greater(self, other: Self) -> u16;
    /// NaN on either side.
    unsafe fn unordered(self, other: Self) -> u16;
    /// Lanes whose bit is set, 0 elsewhere.
    unsafe fn keep(self, bits: u16) -> Self;
    /// Asks for the cache line at `p`, which need not be good memory.
    unsafe fn prefetch(p: *const f32);

    /// All lanes 0.
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instruction set
        unsafe { Self::splat(0.0) }
    }
}

/// The portable form.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn bits(self, other: Self, f: impl Fn(f32, f32) -> bool) -> u16 {
        (0..LANES).fold(0, |bits, i| bits | u16::from(f(self.0[i], other.0[i])) << i)
    }
}

// SAFETY: plain Rust; loads and stores touch sixteen floats, as the trait says.
unsafe impl Lanes for Portable {
    const ROWS: usize = 4;
    const VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Portable([v; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: sixteen floats, by the trait's contract
        Portable(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: sixteen floats, by the trait's contract
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], term.0[i])))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must answer yes")]
    unsafe fn not_at_most(self, other: Self) -> u16 {
        self.bits(other, |a, b| !(a <= b))
    }
    #[inline(always)]
    unsafe fn greater(self, other: Self) -> u16 {
        self.bits(other, |a, b| a > b)
    }
    #[inline(always)]
    unsafe fn unordered(self, other: Self) -> u16 {
        self.bits(other, |a, b| a.is_nan() || b.is_nan())
    }
    #[inline(always)]
    unsafe fn keep(self, bits: u16) -> Self {
        Portable(std::array::from_fn(|i| if bits >> i & 1 == 1 { self.0[i] } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// One 512-bit vector.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    // SAFETY: each method is one instruction of AVX-512F, which the caller must have; loads and stores touch sixteen
    // floats, as the trait says.
    unsafe impl Lanes for Avx512 {
        // 24 sums, 2 vectors of weights, and room for factors on their way: with 13 rows the compiler spills
        const ROWS: usize = 12;
        const VECTORS: usize = 2;

        #[inline(always)]
        unsafe fn splat(v: f32) -> Self {
            unsafe { Avx512(_mm512_set1_ps(v)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Avx512(_mm512_loadu_ps(p)) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Avx512(_mm512_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
            unsafe { Avx512(_mm512_fmadd_ps(self.0, factor.0, term.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Avx512(_mm512_max_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn not_at_most(self, other: Self) -> u16 {
            unsafe { _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(self.0, other.0) }
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> u16 {
            unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0) }
        }
        #[inline(always)]
        unsafe fn unordered(self, other: Self) -> u16 {
            unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, other.0) }
        }
        #[inline(always)]
        unsafe fn keep(self, bits: u16) -> Self {
            unsafe { Avx512(_mm512_maskz_mov_ps(bits, self.0)) }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }

    /// Two 256-bit vectors.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256, __m256);

    impl Avx2 {
        /// All bits of a lane set where its bit is.
        #[inline(always)]
        unsafe fn spread(bits: i32) -> __m256 {
            unsafe {
                let place = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), place), place))
            }
        }

        #[inline(always)]
        unsafe fn bits(low: __m256, high: __m256) -> u16 {
            unsafe { (_mm256_movemask_ps(low) | _mm256_movemask_ps(high) << 8) as u16 }
        }
    }

    // SAFETY: each method is a few instructions of AVX2 and FMA, which the caller must have; loads and stores touch
    // sixteen floats, as the trait says.
    unsafe impl Lanes for Avx2 {
        // 12 sums, 2 vectors of weights, 1 factor: 15 of 16 registers
        const ROWS: usize = 6;
        const VECTORS: usize = 1;

        #[inline(always)]
        unsafe fn splat(v: f32) -> Self {
            unsafe { Avx2(_mm256_set1_ps(v), _mm256_set1_ps(v)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Avx2(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Avx2(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Avx2(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
            unsafe { Avx2(_mm256_fmadd_ps(self.0, factor.0, term.0), _mm256_fmadd_ps(self.1, factor.1, term.1)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Avx2(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn not_at_most(self, other: Self) -> u16 {
            unsafe {
                Avx2::bits(_mm256_cmp_ps::<_CMP_NLE_UQ>(self.0, other.0), _mm256_cmp_ps::<_CMP_NLE_UQ>(self.1, other.1))
            }
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> u16 {
            unsafe {
                Avx2::bits(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0), _mm256_cmp_ps::<_CMP_GT_OQ>(self.1, other.1))
            }
        }
        #[inline(always)]
        unsafe fn unordered(self, other: Self) -> u16 {
            unsafe {
                Avx2::bits(
                    _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, other.0),
                    _mm256_cmp_ps::<_CMP_UNORD_Q>(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        unsafe fn keep(self, bits: u16) -> Self {
            unsafe {
                let (low, high) = (Avx2::spread(i32::from(bits)), Avx2::spread(i32::from(bits >> 8)));
                Avx2(_mm256_and_ps(self.0, low), _mm256_and_ps(self.1, high))
            }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }
}
