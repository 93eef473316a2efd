//! Random numbers for tests of networks, from a seed alone.
#![allow(dead_code)] // each test binary uses its part

/// An endless sequence of random numbers (SplitMix64, Steele et al. 2014).
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In [0, 1), a multiple of 2⁻²⁴, which f32 holds exactly.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / (1u64 << 24) as f64
    }

    /// `n` in [-scale, scale).
    pub fn some(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| (self.unit() * 2.0 - 1.0) * scale).collect()
    }
}
