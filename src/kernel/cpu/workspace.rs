//! Memory that a thread computes in: made once, used by one thread at a time.

use super::finish::PoolBits;
use super::lanes::LANES;
use super::map::{Buffer, padded};
use super::program::Compiled;
use super::rows::kept_of_layer_norm;
use super::unit::as_map;
use super::work::Work;
use super::{attention, conv, dense, first, stem};
use crate::kernel::graph::Activation;
use std::sync::Mutex;

/// What is kept of some images from the way forward to the way back, and the maps of a few.
pub struct Workspace {
    pub images: Buffer,
    pub maps: Vec<Buffer>,
    pub kept: Vec<Kept>,
    /// Whether a way back follows.
    pub keeps: bool,
}

/// What a unit keeps of each image for its way back; empty where it does not need it.
pub struct Kept {
    /// What a ReLU let through, sixteen channels a number.
    pub bits: Vec<u16>,
    pub pool: Vec<PoolBits>,
    /// Slopes of any other function.
    pub slopes: Buffer,
    /// Where each maximum was found.
    pub won: Vec<u16>,
    /// What an operation of plain code has read and made, image after image; what a layer norm and attention keep.
    pub values: Buffer,
}

/// How many numbers a unit keeps of an image, of each kind in [`Kept`].
#[derive(Default)]
pub struct Sizes {
    bits: usize,
    pool: usize,
    slopes: usize,
    won: usize,
    values: usize,
}

impl Compiled {
    /// What its way back needs.
    pub fn kept(&self) -> Sizes {
        let mut kept = Sizes::default();
        let [channels, height, width] = as_map(&self.unit.shape);
        let (places, padded) = (height * width, padded(channels));
        let vectors = places * padded / LANES;
        match self.unit.activation {
            Some(_) if self.unit.pooled => kept.pool = vectors,
            Some(Activation::Relu | Activation::Clip { .. }) => kept.bits = vectors,
            Some(_) => kept.slopes = vectors * LANES,
            None => {}
        }
        match &self.work {
            Work::MaxPool(window) => kept.won = vectors * window.size[0] * window.size[1],
            Work::Other(op) if op.needs_values() => kept.values = self.unit.numbers(),
            Work::LayerNorm(..) => kept.values = places * kept_of_layer_norm(padded),
            Work::Attention(_) => kept.values = 3 * channels * height,
            _ => {}
        }
        kept
    }
}

impl Sizes {
    /// Of an image.
    pub fn bytes(&self) -> usize {
        let Sizes { bits, pool, slopes, won, values } = self;
        size_of::<u16>() * (bits + won) + size_of::<PoolBits>() * pool + size_of::<f32>() * (slopes + values)
    }
}

impl Kept {
    /// Room for so many images.
    pub fn new(of_image: &Sizes, images: usize) -> Kept {
        let Sizes { bits, pool, slopes, won, values } = of_image;
        Kept {
            bits: vec![0; images * bits],
            pool: vec![PoolBits::default(); images * pool],
            slopes: Buffer::new(images * slopes),
            won: vec![0; images * won],
            values: Buffer::new(images * values),
        }
    }
}

/// What a thread needs while it computes.
pub struct Scratch {
    pub conv: conv::Scratch,
    pub first: first::Scratch,
    pub dense: dense::Scratch,
    pub stem: stem::Scratch,
    pub attention: attention::Scratch,
}

/// Things made once and used by one thread at a time.
pub struct Idle<T>(Mutex<Vec<T>>);

impl<T> Idle<T> {
    pub fn new() -> Idle<T> {
        Idle(Mutex::new(Vec::new()))
    }

    pub fn take(&self, make: impl FnOnce() -> T) -> T {
        let idle = self.0.lock().expect("no thread panics while it holds it").pop();
        idle.unwrap_or_else(make)
    }

    pub fn give_back(&self, thing: T) {
        self.0.lock().expect("no thread panics while it holds it").push(thing);
    }
}

/// A pointer that several threads use for different parts.
#[derive(Clone, Copy)]
pub struct Shared(pub *mut f32);
// SAFETY: each use says why no two threads meet.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn get(self) -> *mut f32 {
        self.0
    }
}
