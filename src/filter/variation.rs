//! Total-variation minimisation: the smoothest picture near the pixels that are known.

use super::Size;

/// Iterations; the change of a picture of 32 pixels is then below a grey level.
const ITERATIONS: usize = 60;
/// Steps of the primal and the dual variable: their product times 8, the largest eigenvalue of the Laplacian, is below 1.
const STEP: f32 = 0.35;

/// One plane z that minimises Σ known·(z − x)² + `weight`·Σ|∇z|, by the primal-dual algorithm of Chambolle and Pock 2011
/// (Algorithm 1, θ = 1), begun at x.
pub fn smoothest(x: &[f32], [h, w]: Size, known: &[bool], weight: f32) -> Vec<f32> {
    let n = h * w;
    let (mut z, mut ahead) = (x.to_vec(), x.to_vec());
    let (mut down, mut right) = (vec![0.0f32; n], vec![0.0f32; n]);
    for _ in 0..ITERATIONS {
        for (y, i) in (0..h).flat_map(|y| (0..w).map(move |c| (y, y * w + c))) {
            let dy = if y + 1 < h { ahead[i + w] - ahead[i] } else { 0.0 };
            let dx = if i + 1 < (y + 1) * w { ahead[i + 1] - ahead[i] } else { 0.0 };
            let (py, px) = (down[i] + STEP * dy, right[i] + STEP * dx);
            let shrink = ((py * py + px * px).sqrt() / weight).max(1.0);
            (down[i], right[i]) = (py / shrink, px / shrink);
        }
        for (y, i) in (0..h).flat_map(|y| (0..w).map(move |c| (y, y * w + c))) {
            let mut divergence = down[i] + right[i];
            if y > 0 {
                divergence -= down[i - w];
            }
            if i > y * w {
                divergence -= right[i - 1];
            }
            let moved = z[i] + STEP * divergence;
            let new = if known[i] { (moved + 2.0 * STEP * x[i]) / (1.0 + 2.0 * STEP) } else { moved };
            ahead[i] = 2.0 * new - z[i];
            z[i] = new;
        }
    }
    z
}
