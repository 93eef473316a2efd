//! Memory of the compiled net: aligned buffers, and where a pixel lies in them.

use super::lanes::LANES;
use std::alloc::{Layout as Allocation, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Floats of a cache line.
pub const LINE: usize = 16;

/// Zeroed floats that begin on a cache line. Pages that are never touched cost no memory.
pub struct Buffer {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: it owns its memory like a `Vec<f32>`.
unsafe impl Send for Buffer {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `len` zeros.
    pub fn new(len: usize) -> Buffer {
        if len == 0 {
            return Buffer { start: NonNull::dangling(), len };
        }
        let allocation = Buffer::allocation(len);
        // SAFETY: the size is not 0, and all-zero bytes are floats
        let start = NonNull::new(unsafe { alloc_zeroed(allocation) }.cast::<f32>());
        Buffer { start: start.unwrap_or_else(|| handle_alloc_error(allocation)), len }
    }

    /// Its first `len` floats, of a new one if it has fewer; what it held may be lost.
    pub fn grown(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Buffer::new(len);
        }
        &mut self[..len]
    }

    fn allocation(len: usize) -> Allocation {
        Allocation::array::<f32>(len).and_then(|a| a.align_to(4 * LINE)).expect("a size that fits into memory")
    }
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::new(0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `new` with this very size and alignment
            unsafe { dealloc(self.start.as_ptr().cast(), Buffer::allocation(self.len)) }
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `len` floats from `start` on are ours and initialised
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Side of the tiles that a convolution works in.
pub const TILE: usize = 4;

/// Where the values of some images' maps lie: image, row, column, channel.
///
/// A map that a Winograd convolution reads has a border of one zero on every side, and overhangs to whole tiles, so that
/// the convolution reads its padding like any pixel; nobody ever writes there. (2×2 maps need none.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Channels, padded.
    pub channels: usize,
    /// Height and width without border.
    pub size: [usize; 2],
    /// Width of the border.
    pub border: usize,
    /// Floats from a row to the next.
    pub row: usize,
    /// Floats from an image to the next.
    pub image: usize,
    /// Images that fit: image n lies where image n modulo this lies.
    pub capacity: usize,
}

impl Layout {
    /// A map with a border if asked for.
    pub fn new(channels: usize, size: [usize; 2], has_border: bool, capacity: usize) -> Layout {
        let channels = padded(channels);
        let border = usize::from(has_border && size != [2, 2]);
        let [height, width] = size.map(|n| if border == 1 { n.next_multiple_of(TILE) + 2 } else { n });
        Layout { channels, size, border, row: width * channels, image: height * width * channels, capacity }
    }

    /// RGB images with a border of one.
    pub fn images(size: [usize; 2], capacity: usize) -> Layout {
        let [height, width] = size.map(|n| n + 2);
        Layout { channels: 3, size, border: 1, row: width * 3, image: height * width * 3, capacity }
    }

    /// Floats of the whole buffer.
    pub fn len(&self) -> usize {
        self.image * self.capacity
    }

    /// Places of a map.
    pub fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Channel 0 of a pixel.
    #[inline(always)]
    pub fn at(&self, image: usize, y: usize, x: usize) -> usize {
        self.corner(image) + self.inside(y, x)
    }

    /// The same from the corner of the image's border on.
    #[inline(always)]
    pub fn inside(&self, y: usize, x: usize) -> usize {
        (y + self.border) * self.row + (x + self.border) * self.channels
    }

    /// The corner of an image's border.
    #[inline(always)]
    pub fn corner(&self, image: usize) -> usize {
        (image % self.capacity) * self.image
    }
}

/// Channels with those that fill the last vector.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}
