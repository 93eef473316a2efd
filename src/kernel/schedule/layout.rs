//! How the numbers of a value lie in memory.

use std::mem;

/// The numbers that lie next to each other are padded with zeros to a multiple of this: those that a thread of the
/// kernels takes at once.
pub const EIGHT: usize = 8;

/// So many indices, and from one to the next in memory.
pub type Factor = (usize, usize);

/// Where each number of a value of one image lies. A value with another shape may lie in the same memory: then an axis is
/// made of several factors, or of a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Of all axes, row by row; those of size 1 are left out.
    factors: Vec<Factor>,
    /// Numbers that lie next to each other, and how often there are so many.
    pub channels: usize,
    /// See [`Layout::channels`].
    pub places: usize,
}

impl Layout {
    /// The index of `axis` changes from number to number, the other axes lie row by row around it.
    pub fn with_last(shape: &[usize], axis: usize) -> Layout {
        let channels = shape.get(axis).copied().unwrap_or(1);
        let (mut stride, mut factors) = (channels.next_multiple_of(EIGHT), vec![(channels, 1); shape.len()]);
        for other in (0..shape.len()).rev().filter(|a| *a != axis) {
            factors[other] = (shape[other], stride);
            stride *= shape[other];
        }
        factors.retain(|f| f.0 > 1);
        Layout { factors, channels, places: stride / channels.next_multiple_of(EIGHT) }
    }

    /// Row by row.
    pub fn rows(shape: &[usize]) -> Layout {
        Layout::with_last(shape, shape.len().wrapping_sub(1))
    }

    /// Numbers an image, zeros included.
    pub fn numbers(&self) -> usize {
        self.places * self.padded()
    }

    /// [`Layout::channels`] with zeros.
    pub fn padded(&self) -> usize {
        self.channels.next_multiple_of(EIGHT)
    }

    /// The factors of each axis; `None` where a number of this shape lies at no constant distance from the next.
    pub fn axes(&self, shape: &[usize]) -> Option<Vec<Vec<Factor>>> {
        let mut rest = self.factors.iter().copied();
        let (mut now, mut axes) = ((1, 0), vec![Vec::new(); shape.len()]);
        for (axis, &size) in axes.iter_mut().zip(shape) {
            // from the slowest factor to the fastest
            let mut wanted = size;
            while wanted > 1 {
                if now.0 == 1 {
                    now = rest.next()?;
                }
                let (taken, whole) = (now.0.min(wanted), now.0.max(wanted));
                if whole % taken != 0 {
                    return None;
                }
                wanted /= taken;
                now.0 /= taken;
                // the part that is left lies within each of those taken
                push(axis, (taken, now.1 * now.0));
            }
        }
        Some(axes)
    }

    /// From one index of each axis to the next, where that is a constant; of axes of size 1 it is 1.
    pub fn strides(&self, shape: &[usize]) -> Option<Vec<usize>> {
        let whole = |axis: Vec<Factor>| match axis.as_slice() {
            [] => Some(1),
            [(_, stride)] => Some(*stride),
            _ => None,
        };
        self.axes(shape)?.into_iter().map(whole).collect()
    }

    /// Whether the numbers that lie next to each other are those along this axis.
    pub fn is_last(&self, shape: &[usize], axis: usize) -> bool {
        let along = self.strides(shape).map(|strides| strides[axis]);
        self.channels == shape[axis] && along == Some(1)
    }

    /// Whether it lies exactly as [`Layout::with_last`].
    pub fn is(&self, shape: &[usize], axis: usize) -> bool {
        let wanted = Layout::with_last(shape, axis);
        self.channels == wanted.channels && self.axes(shape).is_some_and(|axes| Some(axes) == wanted.axes(shape))
    }

    /// Of the value whose axis i is axis `axes[i]` of this one.
    pub fn transposed(&self, shape: &[usize], axes: &[usize]) -> Layout {
        let mut old = self.axes(shape).expect("the layout of this shape");
        let factors = axes.iter().flat_map(|axis| mem::take(&mut old[*axis])).collect();
        Layout { factors, ..*self }
    }

    /// The same with another number of channels.
    pub fn with_channels(&self, shape: &[usize], channels: usize) -> Layout {
        let (before, now) = (self.padded(), channels.next_multiple_of(EIGHT));
        let mut axes = self.axes(shape).expect("the layout of this shape");
        axes.pop();
        let factors = axes.into_iter().flatten().map(|(size, stride)| (size, stride / before * now));
        let last = Some((channels, 1)).filter(|f| f.0 > 1);
        Layout { factors: factors.chain(last).collect(), channels, places: self.places }
    }

    /// Where the number lies that is the `index`th row by row.
    pub fn address(&self, index: usize) -> usize {
        let (mut rest, mut address) = (index, 0);
        for (size, stride) in self.factors.iter().rev() {
            address += rest % size * stride;
            rest /= size;
        }
        address
    }
}

/// Adds a factor to an axis; what lies evenly is one factor.
fn push(axis: &mut Vec<Factor>, (size, stride): Factor) {
    match axis.last_mut() {
        Some(last) if last.1 == size * stride => *last = (last.0 * size, stride),
        _ => axis.push((size, stride)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_lie_channels_last_with_zeros_behind() {
        let map = Layout::with_last(&[5, 2, 3], 0);
        assert_eq!((map.channels, map.padded(), map.places, map.numbers()), (5, 8, 6, 48));
        // channel 4, row 1, column 2
        assert_eq!(map.address(4 * 6 + 3 + 2), (3 + 2) * 8 + 4);
        assert_eq!(map.strides(&[5, 2, 3]), Some(vec![1, 24, 8]));
        assert!(map.is(&[5, 2, 3], 0) && map.is_last(&[5, 2, 3], 0) && !map.is_last(&[5, 2, 3], 2));
        // one channel is one of eight
        assert_eq!(Layout::with_last(&[1, 2, 3], 0).numbers(), 48);
        assert!(!Layout::rows(&[1, 2, 3]).is(&[1, 2, 3], 0));
        assert_eq!(Layout::rows(&[]).numbers(), 8);
    }

    #[test]
    fn a_map_read_as_tokens_stays_where_it_is() {
        let (map, shape) = (Layout::with_last(&[16, 3, 4], 0), [16, 12]);
        assert_eq!(map.strides(&shape), Some(vec![1, 16]));
        let tokens = map.transposed(&shape, &[1, 0]);
        assert!(tokens.is(&[12, 16], 1) && tokens.is_last(&[12, 16], 1));
        // three heads of queries, keys and values
        assert_eq!(tokens.strides(&[12, 2, 8]), Some(vec![16, 8, 1]));
        // flattened it is no row, but each of its numbers lies somewhere
        assert_eq!(map.strides(&[192]), None);
        assert!(map.axes(&[192]).is_some() && map.axes(&[128, 3]).is_none());
        assert_eq!(map.address(12 + 5), 5 * 16 + 1);
    }

    #[test]
    fn rows_of_seven_are_rows_of_eight() {
        let rows = Layout::rows(&[2, 3, 7]);
        assert_eq!(rows.strides(&[2, 3, 7]), Some(vec![24, 8, 1]));
        assert_eq!(rows.strides(&[6, 7]), Some(vec![8, 1]));
        assert_eq!(rows.strides(&[42]), None);
        assert!(rows.with_channels(&[2, 3, 7], 9).is(&[2, 3, 9], 2));
        assert_eq!(rows.with_channels(&[2, 3, 7], 1).numbers(), 48);
    }
}
