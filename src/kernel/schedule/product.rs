//! Products of matrices, many at a time, as cuBLAS takes them.

use super::contract::{At, Axis, View, merged, place};

/// A matrix, row by row or column by column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Where it lies.
    pub at: At,
    /// Its first number there.
    pub offset: usize,
    /// From one row to the next; from one column to the next, if it is turned.
    pub pitch: usize,
    /// Whether it lies column by column.
    pub turned: bool,
    /// From the matrix of one product to that of the next.
    pub step: usize,
}

/// y (+)= factor·x·w for each image, or once for all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// rows × inner.
    pub x: Matrix,
    /// inner × columns.
    pub w: Matrix,
    /// rows × columns, row by row.
    pub y: Matrix,
    /// Of y; without [`Product::each`] these are those of one image, and the rows of all images are one matrix.
    pub rows: usize,
    /// Of y.
    pub columns: usize,
    /// What is summed over.
    pub inner: usize,
    /// Products an image.
    pub each: Option<usize>,
    /// Times each sum.
    pub factor: f32,
    /// Whether it adds to what y holds.
    pub add: bool,
}

/// y (+)= factor·x·w over the last two axes of the three, for each index of the axes before them; `sizes` are rows, columns and
/// inner. Every axis is whole, and of each matrix rows or columns lie next to each other.
pub fn products(views: [&View; 3], [rows, columns, inner]: [usize; 3], factor: f32, add: bool) -> Vec<Product> {
    let lead = views[0].axes.len() - 2;
    let shapes = [(rows, columns), (rows, inner), (inner, columns)];
    let matrix = |(view, (height, width)): (&View, (usize, usize)), offset: usize, step: usize| {
        let (down, across) = (view.stride(lead), view.stride(lead + 1));
        // of one row or column, the distance to the next does not count
        let turned = across != 1 && width > 1;
        let pitch = if turned { across.max(height) } else { down.max(width) };
        Matrix { at: view.at, offset: view.offset + offset, pitch, turned, step }
    };
    let product = |offsets: [usize; 3], each: usize, steps: [usize; 3]| {
        let [y, x, w] = [0, 1, 2].map(|i| matrix((views[i], shapes[i]), offsets[i], steps[i]));
        let each = Some(each);
        match y.turned {
            false => Product { x, w, y, rows, columns, inner, each, factor, add },
            // yᵀ = wᵀ·xᵀ
            true => {
                let [x, w, y] = [w, x, y].map(|m| Matrix { turned: !m.turned, ..m });
                Product { x, w, y, rows: columns, columns: rows, inner, each, factor, add }
            }
        }
    };
    let size = |a: usize| views[0].axes[a].iter().map(|f| f.0).product();
    let axes = (0..lead).map(|a| Axis { size: size(a), strides: views.map(|v| v.stride(a)) });
    let axes = merged(axes.filter(|a| a.size > 1).collect());
    let images = views.map(|v| v.image);
    match axes.as_slice() {
        [one] if images == one.strides.map(|s| s * one.size) => vec![product([0; 3], one.size, one.strides)],
        _ => {
            let count = axes.iter().map(|a| a.size).product();
            (0..count).map(|i| product(place(&axes, i), 1, images)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::*;

    fn view(slot: usize, layout: &Layout, shape: &[usize]) -> View {
        let (at, image) = (At::Slot(slot), layout.numbers());
        View { at, offset: 0, image, axes: layout.axes(shape).unwrap() }
    }

    #[test]
    fn matrices_that_follow_each_other_are_one_batch() {
        let rows = |shape: &[usize], slot| view(slot, &Layout::rows(shape), shape);
        let (a, b, c) = (rows(&[3, 4, 5], 0), rows(&[3, 5, 6], 1), rows(&[3, 4, 6], 2));
        let all = products([&c, &a, &b], [4, 6, 5], 1.0, false);
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((one.each, one.x.pitch, one.x.step, one.w.step, one.y.step), (Some(3), 8, 32, 40, 32));
        assert!(!one.x.turned && !one.w.turned);
    }

    #[test]
    fn heads_of_tokens_are_products_of_their_own() {
        // tokens × heads × 8 read as heads × tokens × 8, and its keys as heads × 8 × tokens
        let (layout, shape) = (Layout::rows(&[5, 16]), [5, 2, 8]);
        let (q, k) = (layout.transposed(&shape, &[1, 0, 2]), layout.transposed(&shape, &[1, 2, 0]));
        let (q, k) = (view(0, &q, &[2, 5, 8]), view(1, &k, &[2, 8, 5]));
        let scores = view(2, &Layout::rows(&[2, 5, 5]), &[2, 5, 5]);
        let all = products([&scores, &q, &k], [5, 5, 8], 0.5, false);
        assert_eq!(all.iter().map(|p| (p.x.offset, p.y.offset)).collect::<Vec<_>>(), [(0, 0), (8, 40)]);
        assert_eq!((all[0].x.pitch, all[0].w.pitch, all[0].w.turned, all[0].each), (16, 16, true, Some(1)));
        // the way back to the keys, which lie turned
        let back = products([&k, &q.turned(), &scores], [8, 5, 5], 0.5, true);
        assert!(!back[0].y.turned && (back[0].rows, back[0].columns, back[0].inner) == (5, 8, 5));
    }
}
