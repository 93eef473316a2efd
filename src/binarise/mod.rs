//! The binarisation test of an attack (Zimmermann et al. 2022): the last layer of a network is replaced by a readout that tells one
//! point on the border of the threat set from many inside it. So there is an adversarial image, known beforehand. An attack that
//! does not find it cannot be trusted where it finds nothing else, while one that guesses at random must fail.

mod hull;

pub use hull::{Separator, separate};

use crate::judge::{Verdict, to_floats};
use crate::rng::Stream;
use crate::terms::{Norm, WitnessKind};
use crate::threat::Threat;

/// Norms of the threats that the paper's code has points for.
pub const NORMS: [Norm; 2] = [Norm::Linf, Norm::L2];

/// Points inside, of networks with more features than that; of others as many as can always be told from one more.
const MOST_INNER: usize = 999;

/// How far they reach, in parts of the radius (the code's `relative_inner_boundary_gap`).
const REACH: f32 = 0.95;

/// The readout lies this near to the point on the border, in parts of the half margin (the code's `decision_boundary_closeness`).
const CLOSENESS: f64 = 0.999;

/// Guesses inside, and as many on the border (the code's `n_samples_asr_evaluation`).
pub const GUESSES: usize = 200;

/// What the readout of one image is made from. Images are 3×H×W, 8-bit where witnesses are.
pub struct Points {
    /// The image itself first.
    pub inner: Vec<Vec<f32>>,
    /// The one that the attack is to find, or another like it.
    pub border: Vec<f32>,
}

impl Points {
    /// Around a clean image, for a network of so many features.
    pub fn draw(threat: &Threat, witness: WitnessKind, clean: &[u8], features: usize, stream: &mut Stream) -> Points {
        // fewer points than features: any point beside them can be told from them
        let n = MOST_INNER.min(features.saturating_sub(1)).max(1);
        let mut inner = vec![to_floats(clean)];
        inner.extend((0..n).map(|_| inside(threat, witness, clean, REACH, stream)));
        Points { inner, border: on_the_border(threat, witness, clean, stream) }
    }

    /// What guesses without looking find: as many points anywhere inside as on the border.
    pub fn guesses(threat: &Threat, witness: WitnessKind, clean: &[u8], stream: &mut Stream) -> Vec<Vec<f32>> {
        let mut guesses: Vec<Vec<f32>> = (0..GUESSES).map(|_| inside(threat, witness, clean, 1.0, stream)).collect();
        guesses.extend((0..GUESSES).map(|_| on_the_border(threat, witness, clean, stream)));
        guesses
    }
}

/// The readout of features of points, in the scale of the logits of the network that had it before, so that losses are no more
/// saturated than they were.
pub fn readout(inner: &[Vec<f32>], border: &[f32], before: &Verdict) -> Option<Separator> {
    // half of the margin lies on the side of the inner points, and most of the other half
    let found = separate(border, inner, (1.0 + CLOSENESS) / 2.0)?;
    let (low, high) = before.logits.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), z| (l.min(*z), h.max(*z)));
    let scale = high - low;
    Some(Separator { weights: found.weights.iter().map(|w| w * scale).collect(), bias: found.bias * f64::from(scale) })
}

/// A random image of the threat set, this share of its radius away at most.
fn inside(threat: &Threat, witness: WitnessKind, clean: &[u8], reach: f32, stream: &mut Stream) -> Vec<f32> {
    let change: Vec<f32> = threat.random_change(clean.len(), stream).into_iter().map(|d| d * reach).collect();
    kept(threat, witness, clean, &change)
}

/// A random image on the border of the threat set: as far away as the set reaches.
fn on_the_border(threat: &Threat, witness: WitnessKind, clean: &[u8], stream: &mut Stream) -> Vec<f32> {
    let (eps, x) = (threat.eps.to_f64() as f32, to_floats(clean));
    let mut change = threat.random_change(clean.len(), stream);
    for _ in 0..ROUNDS {
        change.iter_mut().zip(&x).for_each(|(d, x)| *d = (x + *d).clamp(0.0, 1.0) - x);
        let length = match threat.norm {
            Norm::L2 => change.iter().map(|d| d * d).sum::<f32>().sqrt(),
            _ => change.iter().fold(0.0f32, |most, d| most.max(d.abs())),
        };
        change.iter_mut().for_each(|d| *d *= eps / length.max(f32::MIN_POSITIVE));
    }
    kept(threat, witness, clean, &change)
}

/// What is clipped at black and white is made up for elsewhere, in so many rounds.
const ROUNDS: usize = 10;

/// The image with a change, as a witness would be stored.
fn kept(threat: &Threat, witness: WitnessKind, clean: &[u8], change: &[f32]) -> Vec<f32> {
    let moved: Vec<f32> = to_floats(clean).iter().zip(change).map(|(x, d)| (x + d).clamp(0.0, 1.0)).collect();
    match witness {
        WitnessKind::U8 => to_floats(&threat.quantise(&moved, clean, None)),
        WitnessKind::F32 => moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratio::Ratio;
    use crate::rng::Streams;

    #[test]
    fn points_lie_where_they_should() {
        let clean: Vec<u8> = (0..3 * 8 * 8).map(|i| (i * 37 % 256) as u8).collect();
        let x = to_floats(&clean);
        for (norm, eps) in [(Norm::Linf, "8/255"), (Norm::L2, "0.5")] {
            let threat = Threat::within(norm, Ratio::parse(eps).unwrap());
            let mut stream = Streams::new(0, "points").stream(0, 0, "test");
            for witness in WitnessKind::ALL {
                let points = Points::draw(&threat, witness, &clean, 32, &mut stream);
                assert_eq!((points.inner.len(), &points.inner[0]), (32, &x));
                let far = |point: &[f32]| {
                    let change = point.iter().zip(&x).map(|(a, b)| f64::from((a - b).abs()));
                    match norm {
                        Norm::L2 => change.map(|d| d * d).sum::<f64>().sqrt(),
                        _ => change.fold(0.0, f64::max),
                    }
                };
                let radius = threat.eps.to_f64();
                // half a grey level is lost to rounding
                let reach = 0.95 * radius + if norm == Norm::Linf { 0.5 / 255.0 } else { 0.02 };
                assert!(points.inner.iter().all(|p| far(p) <= reach), "{norm:?} {witness}");
                assert!((far(&points.border) - radius).abs() < 0.05 * radius, "{norm:?} {witness}");
                let guesses = Points::guesses(&threat, witness, &clean, &mut stream);
                let sound = |p: &Vec<f32>| far(p) <= radius * 1.0001 && p.iter().all(|v| (0.0..=1.0).contains(v));
                assert!(guesses.len() == 2 * GUESSES && guesses.iter().all(sound), "{norm:?} {witness}");
            }
        }
    }
}
