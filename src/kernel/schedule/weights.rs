//! Weights as the libraries and kernels read them: channels last, padded with zeros.

use super::contract::At;
use super::layout::EIGHT;
use super::product::{Matrix, Product};
use crate::kernel::graph::Window;

/// The weights of a convolution.
pub struct Filters {
    /// Outputs × height × width × inputs of a group.
    pub weight: Vec<f32>,
    /// Inputs × height × width × outputs, each window turned by 180°, where a convolution with these leads back.
    pub turned: Option<Vec<f32>>,
    /// Height × width × channels, where each channel is a group.
    pub by_taps: Option<Vec<f32>>,
    /// Channels of one group that are read and written; of a single group, with zeros.
    pub of_group: [usize; 2],
}

/// Of outputs × inputs of a group × height × width.
pub fn convolution(weight: &[f32], [inputs, outputs]: [usize; 2], groups: usize, window: &Window) -> Filters {
    let taps = window.size[0] * window.size[1];
    let [read, written] = [inputs, outputs].map(|channels| channels.next_multiple_of(EIGHT));
    let (of_group, width) = (inputs / groups, if groups == 1 { read } else { inputs / groups });
    let mut last = vec![0.0; written * taps * width];
    // where the padding is no larger than the windows; else the way back would crop
    let fits = (0..2).all(|axis| window.padding[axis] < window.extent(axis));
    let mut turned = (groups == 1 && window.stride == [1, 1] && fits).then(|| vec![0.0; read * taps * written]);
    let mut by_taps = (groups == inputs && groups == outputs && groups > 1).then(|| vec![0.0; taps * written]);
    for (i, w) in weight.iter().enumerate() {
        let (output, input, tap) = (i / taps / of_group, i / taps % of_group, i % taps);
        if let Some(by_taps) = &mut by_taps {
            by_taps[tap * written + output] = *w;
        }
        last[(output * taps + tap) * width + input] = *w;
        if let Some(turned) = &mut turned {
            turned[(input * taps + taps - 1 - tap) * written + output] = *w;
        }
    }
    let of_group = if groups == 1 { [read, written] } else { [inputs / groups, outputs / groups] };
    Filters { weight: last, turned, by_taps, of_group }
}

/// outputs × inputs to padded outputs × `inner`, the column of input i at `addresses[i]`.
pub fn linear(weight: &[f32], addresses: &[usize], inner: usize) -> Vec<f32> {
    let outputs = weight.len() / addresses.len();
    let mut rows = vec![0.0; outputs.next_multiple_of(EIGHT) * inner];
    for (from, to) in weight.chunks_exact(addresses.len()).zip(rows.chunks_exact_mut(inner)) {
        from.iter().zip(addresses).for_each(|(w, at)| to[*at] = *w);
    }
    rows
}

/// One number a channel, zeros behind.
pub fn padded(values: &[f32]) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(values.len().next_multiple_of(EIGHT), 0.0);
    padded
}

/// y = x·Wᵀ for so many rows an image; sizes: rows, outputs, inner.
pub fn product(x: At, weight: usize, y: At, [rows, columns, inner]: [usize; 3]) -> Product {
    let row = |at: At, pitch: usize| Matrix { at, offset: 0, pitch, turned: false, step: 0 };
    let w = Matrix { turned: true, ..row(At::Weight(weight), inner) };
    Product { x: row(x, inner), w, y: row(y, columns), rows, columns, inner, each: None, factor: 1.0, add: false }
}

/// The way back of [`product`]: to (+)= g·W.
pub fn product_back(g: At, weight: usize, to: At, sizes: [usize; 3], add: bool) -> Product {
    let [rows, columns, inner] = sizes;
    let forward = product(to, weight, g, sizes);
    let w = Matrix { turned: false, ..forward.w };
    Product { x: forward.y, w, y: forward.x, rows, columns: inner, inner: columns, add, ..forward }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_channels_last_and_turned() {
        let window = Window::square(3, 1, 1);
        let weight: Vec<f32> = (0..2 * 3 * 9).map(|v| v as f32 + 1.0).collect();
        let filters = convolution(&weight, [3, 2], 1, &window);
        let turned = filters.turned.unwrap();
        assert_eq!((filters.weight.len(), turned.len(), filters.of_group), (8 * 9 * 8, 8 * 9 * 8, [8, 8]));
        for (o, i, tap) in [(0, 0, 0), (1, 2, 5), (1, 0, 8)] {
            let w = weight[(o * 3 + i) * 9 + tap];
            assert_eq!((filters.weight[(o * 9 + tap) * 8 + i], turned[(i * 9 + 8 - tap) * 8 + o]), (w, w));
        }
        assert_eq!(filters.weight.iter().filter(|w| **w != 0.0).count(), 54);
    }

    #[test]
    fn strides_groups_and_wide_padding_have_no_turned_filter() {
        let strided = Window::square(3, 2, 1);
        let wide = Window::square(1, 1, 1);
        assert!(convolution(&[1.0; 9], [1, 1], 1, &strided).turned.is_none());
        assert!(convolution(&[1.0], [1, 1], 1, &wide).turned.is_none());
        let weight: Vec<f32> = (1..=18).map(|v| v as f32).collect();
        let depthwise = convolution(&weight, [2, 2], 2, &Window::square(3, 1, 1));
        assert!(depthwise.turned.is_none() && depthwise.weight.len() == 8 * 9 && depthwise.of_group == [1, 1]);
        // the third tap of the second channel
        let by_taps = depthwise.by_taps.unwrap();
        assert_eq!((depthwise.weight[11], by_taps[2 * 8 + 1], by_taps[2 * 8 + 2]), (12.0, 12.0, 0.0));
    }

    #[test]
    fn columns_lie_as_the_vector_does() {
        assert_eq!(linear(&[1.0, 2.0, 3.0, 4.0], &[3, 0], 8)[..11], [2., 0., 0., 1., 0., 0., 0., 0., 4., 0., 0.]);
    }
}
