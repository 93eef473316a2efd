//! A rectangle of a picture brought to another size: each new value is a sum of old ones, so the way back is known.

/// For each of `to` places along a line, up to two places of the old line with their weights.
pub type Line = Vec<[(usize, f32); 2]>;

/// The pixel in whose middle, or left of it, each new one begins (TensorFlow 1's `NEAREST_NEIGHBOR`): place i takes ⌊i·from/to⌋.
pub fn nearest(first: usize, from: usize, to: usize) -> Line {
    (0..to).map(|i| [(first + i * from / to, 1.0), (first, 0.0)]).collect()
}

/// The two pixels between whose middles each new one's lies, the outermost repeated.
pub fn bilinear(first: usize, from: usize, to: usize) -> Line {
    let place = |i: usize| {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
        let low = at.floor() as usize;
        let share = (at - low as f64) as f32;
        [(first + low, 1.0 - share), (first + (low + 1).min(from - 1), share)]
    };
    (0..to).map(place).collect()
}

/// Planes of the old width made of `rows` and `columns`.
pub fn resample(image: &[f32], [height, width]: [usize; 2], rows: &Line, columns: &Line) -> Vec<f32> {
    let mut out = Vec::with_capacity(image.len() / (height * width) * rows.len() * columns.len());
    for plane in image.chunks_exact(height * width) {
        for row in rows {
            for column in columns {
                let along = |y: usize| column.iter().map(|(x, weight)| weight * plane[y * width + x]).sum::<f32>();
                out.push(row.iter().filter(|(_, weight)| *weight != 0.0).map(|(y, weight)| weight * along(*y)).sum());
            }
        }
    }
    out
}

/// The gradient with respect to the old planes, from that with respect to the new.
pub fn resample_back(slope: &[f32], [height, width]: [usize; 2], rows: &Line, columns: &Line) -> Vec<f32> {
    let made = rows.len() * columns.len();
    let mut out = vec![0.0; slope.len() / made * height * width];
    for (slope, plane) in slope.chunks_exact(made).zip(out.chunks_exact_mut(height * width)) {
        for (row, slope) in rows.iter().zip(slope.chunks_exact(columns.len())) {
            for (column, slope) in columns.iter().zip(slope) {
                for (y, of_row) in row {
                    column.iter().for_each(|(x, of_column)| plane[y * width + x] += of_row * of_column * slope);
                }
            }
        }
    }
    out
}
