//! Memory of the compiled net: aligned buffers, and where a pixel lies in them.

use super::lanes::LANES;
use std::alloc::{Layout as Allocation, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Floats of a cache line.
pub const LINE: usize = 16;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Zeroed floats that begin on a cache line; many of them lie in huge pages, where the system has those. Pages that are never
/// touched cost no memory.
pub struct Buffer {
    start: NonNull<f32>,
    len: usize,
    /// What was allocated: `start` is the first place in it that is aligned.
    base: NonNull<u8>,
}

// SAFETY: it owns its memory like a `Vec<f32>`.
unsafe impl Send for Buffer {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `len` zeros.
    pub fn new(len: usize) -> Buffer {
        if len == 0 {
            return Buffer { start: NonNull::dangling(), len, base: NonNull::dangling() };
        }
        let (allocation, align) = (Buffer::allocation(len), Buffer::align(len));
        // SAFETY: the size is not 0
        let base = NonNull::new(unsafe { alloc_zeroed(allocation) }).unwrap_or_else(|| handle_alloc_error(allocation));
        // SAFETY: as many bytes as it takes to the next aligned place were allocated on top
        let start = unsafe { base.add(base.align_offset(align)) };
        if align == HUGE {
            huge_pages(start, 4 * len / HUGE * HUGE);
        }
        // all-zero bytes are floats
        Buffer { start: start.cast(), len, base }
    }

    /// Its first `len` floats, of a new one if it has fewer; what it held may be lost.
    pub fn grown(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Buffer::new(len);
        }
        &mut self[..len]
    }

    fn align(len: usize) -> usize {
        if 4 * len >= 2 * HUGE { HUGE } else { 4 * LINE }
    }

    /// Aligned as the system's allocator aligns anyway: it has zeroed pages at hand then, and need not write them.
    fn allocation(len: usize) -> Allocation {
        let size = len.checked_mul(4).and_then(|bytes| bytes.checked_add(Buffer::align(len)));
        size.and_then(|size| Allocation::from_size_align(size, 8).ok()).expect("a size that fits into memory")
    }
}

/// Asks for huge pages: weights that are read from end to end then need few entries of the processor's table of pages. Without
/// them everything is as right.
#[cfg(target_os = "linux")]
fn huge_pages(start: NonNull<u8>, bytes: usize) {
    // SAFETY: whole pages of an allocation of ours, whose contents stay as they are
    _ = unsafe { rustix::mm::madvise(start.as_ptr().cast(), bytes, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn huge_pages(_: NonNull<u8>, _: usize) {}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::new(0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `new` with this very size and alignment
            unsafe { dealloc(self.base.as_ptr(), Buffer::allocation(self.len)) }
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
