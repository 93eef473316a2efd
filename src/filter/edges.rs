//! The edges of a plane of grey levels, and how far every pixel is from them.

use super::{Size, repeated};

/// tan 22.5° and tan 67.5°: between them a gradient counts as diagonal.
const FLAT: f32 = 0.414_213_57;
const STEEP: f32 = 2.414_213_5;

/// Whether each pixel lies on an edge: the gradient is larger there than beside it, and above `high`, or above `low`
/// and joined to such a place (Canny 1986, with OpenCV's choices: 3×3 Sobel, the sum of both parts' sizes).
pub fn canny(plane: &[f32], size: Size, low: f32, high: f32) -> Vec<bool> {
    let [height, width] = size;
    let slopes = sobel(plane, size);
    // nothing beyond the frame
    let strength = |y: isize, x: isize| {
        let is_inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
        if is_inside { slopes[y as usize * width + x as usize] } else { [0.0; 2] }.iter().map(|v| v.abs()).sum::<f32>()
    };
    let is_crest = |i: usize| {
        let (y, x) = ((i / width) as isize, (i % width) as isize);
        let ([across, down], here) = (slopes[i], strength(y, x));
        if down.abs() < FLAT * across.abs() {
            here > strength(y, x - 1) && here >= strength(y, x + 1)
        } else if down.abs() > STEEP * across.abs() {
            here > strength(y - 1, x) && here >= strength(y + 1, x)
        } else {
            let side = if across * down < 0.0 { -1 } else { 1 };
            here > strength(y - 1, x - side) && here > strength(y + 1, x + side)
        }
    };
    let all: Vec<f32> = slopes.iter().map(|[across, down]| across.abs() + down.abs()).collect();
    let crests: Vec<bool> = (0..plane.len()).map(|i| all[i] > low && is_crest(i)).collect();
    let mut edges = vec![false; plane.len()];
    let mut open: Vec<usize> = (0..plane.len()).filter(|i| crests[*i] && all[*i] > high).collect();
    while let Some(i) = open.pop() {
        if edges[i] {
            continue;
        }
        edges[i] = true;
        let (y, x) = (i / width, i % width);
        for near in y.saturating_sub(1)..(y + 2).min(height) {
            let row = near * width;
            open.extend((row + x.saturating_sub(1)..row + (x + 2).min(width)).filter(|j| crests[*j] && !edges[*j]));
        }
    }
    edges
}

/// How fast each pixel's surroundings grow across and down, edges repeated.
fn sobel(plane: &[f32], [height, width]: Size) -> Vec<[f32; 2]> {
    let slope = |i: usize| {
        let (y, x) = ((i / width) as isize, (i % width) as isize);
        let at = |dy: isize, dx: isize| plane[repeated(y + dy, height) * width + repeated(x + dx, width)];
        let across = |dy| at(dy, 1) - at(dy, -1);
        let down = |dx| at(1, dx) - at(-1, dx);
        [across(-1) + 2.0 * across(0) + across(1), down(-1) + 2.0 * down(0) + down(1)]
    };
    (0..plane.len()).map(slope).collect()
}

/// Length of a step to the side, aslant and by a knight's move (Borgefors 1986, as OpenCV's mask of 5×5 has them).
const SIDE: f32 = 1.0;
const ASLANT: f32 = 1.4;
const KNIGHT: f32 = 2.1969;

/// Parts of a pixel that lengths are rounded to.
const PARTS: f32 = 65536.0;

/// The steps that come from before a pixel, row by row: down, right, length.
const STEPS: [(isize, isize, f32); 8] = [
    (-2, -1, KNIGHT),
    (-2, 1, KNIGHT),
    (-1, -2, KNIGHT),
    (-1, -1, ASLANT),
    (-1, 0, SIDE),
    (-1, 1, ASLANT),
    (-1, 2, KNIGHT),
    (0, -1, SIDE),
];

/// Length of the shortest chain of steps from a marked pixel to each; `most` where it is longer or there is none.
pub fn distance(marked: &[bool], [height, width]: Size, most: f32) -> Vec<f32> {
    let parts = |length: f32| (length * PARTS).round() as u32;
    let mut out: Vec<u32> = marked.iter().map(|m| if *m { 0 } else { parts(most) }).collect();
    // once forward, once backward with the steps turned
    for sign in [1, -1] {
        for k in 0..out.len() {
            let i = if sign == 1 { k } else { out.len() - 1 - k };
            for (dy, dx, length) in STEPS {
                let (y, x) = ((i / width) as isize + sign * dy, (i % width) as isize + sign * dx);
                if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
                    out[i] = out[i].min(out[y as usize * width + x as usize] + parts(length));
                }
            }
        }
    }
    out.iter().map(|v| *v as f32 / PARTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_one_edge_and_distances_grow_from_it() {
        let size = [3, 6];
        let plane: Vec<f32> = (0..18).map(|i| if i % 6 < 3 { 0.0 } else { 200.0 }).collect();
        let edges = canny(&plane, size, 50.0, 150.0);
        assert!(edges.iter().enumerate().all(|(i, e)| *e == (i % 6 == 2)));
        let row = distance(&edges, size, 2.5);
        assert_eq!(row[..6], [2.0, 1.0, 0.0, 1.0, 2.0, 2.5]);
    }

    #[test]
    fn steps_aslant_and_of_a_knight() {
        let mut marked = [false; 12];
        marked[0] = true;
        let out = distance(&marked, [3, 4], 20.0);
        let expected = [0.0, 1.0, 2.0, 3.0, 1.0, 1.4, 2.1969, 3.1969, 2.0, 2.1969, 2.8, 3.5969];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{out:?}");
    }
}
