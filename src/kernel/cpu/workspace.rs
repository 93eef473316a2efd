//! Memory that a thread computes in: made once, used by one thread at a time.

use super::dense;
use super::finish::PoolBits;
use super::map::Buffer;
use super::{attention, conv, first, stem};
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
#[derive(Default)]
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
