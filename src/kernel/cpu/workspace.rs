//! Memory that a thread computes in: made once, used by one thread at a time.

use super::conv;
use super::finish::PoolBits;
use super::first;
use super::map::Buffer;
use std::sync::Mutex;

/// What is kept of some images from the way forward to the way back, and the maps of a few.
pub struct Workspace {
    pub images: Buffer,
    pub maps: Vec<Buffer>,
    pub relu: Vec<Vec<u16>>,
    pub pool: Vec<Vec<PoolBits>>,
}

/// What a thread needs while it computes.
pub struct Scratch {
    pub conv: conv::Scratch,
    pub first: first::Scratch,
}

/// Row and column of the first pixel of a tile.
pub type Corner = (usize, usize);

/// The tiles of one layer that some changes reach, and what the layer made of them.
pub struct Patches {
    /// Number of the edit and place, in order.
    pub tiles: Vec<(usize, Corner)>,
    /// The tiles with what surrounds them, as the layer reads them.
    pub read: Buffer,
    /// Outputs.
    pub made: Buffer,
}

impl Patches {
    pub fn new() -> Patches {
        Patches { tiles: Vec::new(), read: Buffer::new(0), made: Buffer::new(0) }
    }
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
