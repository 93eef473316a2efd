//! Which instruction set the kernels run on: chosen when the program starts.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the kernels run on. The order is that of speed; all give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// Plain Rust: any machine. Without hardware fused multiply-add, exact all the same, and very slow.
    Portable,
    /// 256-bit vectors with fused multiply-add (x86-64 since 2013).
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

/// Names on the command line.
pub const INSTRUCTIONS: &[(&str, Instructions)] =
    &[("portable", Instructions::Portable), ("avx2", Instructions::Avx2), ("avx512", Instructions::Avx512)];

/// What [`Instructions::limit`] allows.
static LIMIT: AtomicU8 = AtomicU8::new(Instructions::Avx512 as u8);

impl Instructions {
    /// The widest that this machine has.
    pub fn widest() -> Instructions {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Instructions::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Instructions::Avx2;
            }
        }
        Instructions::Portable
    }

    /// Engines made from now on use no wider instructions, for the whole process. For measurements.
    pub fn limit(self) {
        LIMIT.store(self as u8, Ordering::Relaxed);
    }

    /// The widest that this machine has and [`Instructions::limit`] allows.
    pub fn chosen() -> Instructions {
        let limit = LIMIT.load(Ordering::Relaxed);
        INSTRUCTIONS.iter().map(|(_, i)| *i).filter(|i| *i as u8 <= limit).max().expect("portable").min(Self::widest())
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        INSTRUCTIONS.iter().find(|(_, i)| *i == self).expect("all are listed").0
    }
}
