//! The shortest way from a point of the box [0,1] to a hyperplane that does not leave the box (Croce and Hein 2020, section 2.1
//! and appendix A): exact, in f64, for one image.

use crate::threat::Norm;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The shortest change d in `norm` with ⟨`w`, d⟩ = −`offset` and `x` + d in [0,1]: `offset` is the value at `x` of the function
/// that is zero on the plane, and `w` its slope. Where no point of the box lies on the plane, d goes to the corner nearest to
/// it. Where `w` is 0 nothing moves.
///
/// # Panics
/// Where the norm is no ball.
pub fn project(norm: Norm, x: &[f32], w: &[f32], offset: f64) -> Vec<f64> {
    // against the slope where the function is to fall, along it where it is to rise
    let falls = offset >= 0.0;
    let rises_with = |w: f32| (w > 0.0) != falls;
    let room = |x: f32, w: f32| if rises_with(w) { 1.0 - f64::from(x) } else { f64::from(x) };
    let parts: Vec<Part> =
        x.iter().zip(w).map(|(x, w)| Part { slope: f64::from(w.abs()), room: room(*x, *w) }).collect();
    let sizes = match norm {
        Norm::Linf => advance(&parts, offset.abs(), |_| 1.0),
        Norm::L2 => advance(&parts, offset.abs(), |slope| slope),
        Norm::L1 => steepest_first(&parts, offset.abs()),
        _ => unreachable!("a norm that is no ball"),
    };
    sizes.into_iter().zip(w).map(|(d, w)| if rises_with(*w) { d } else { -d }).collect()
}

/// What one value of an image contributes.
#[derive(Clone, Copy)]
struct Part {
    /// |w|: what the function gains for a change of 1.
    slope: f64,
    /// How far the box lets the value go.
    room: f64,
}

/// Sizes of the changes where all advance together, each at the speed that its slope gives, until it meets the box: to the
/// reach r with Σ slope·min(r·speed, room) = `need`. The sum is concave in r and made of straight pieces, so that Newton's
/// steps from r = 0 never go too far, and end exactly once they are on the right piece.
fn advance(parts: &[Part], need: f64, speed: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut reach = 0.0;
    loop {
        let (mut stopped, mut rate) = (0.0, 0.0);
        for Part { slope, room } in parts {
            let speed = speed(*slope);
            if *room <= reach * speed {
                stopped += slope * room;
            } else {
                rate += slope * speed;
            }
        }
        if rate == 0.0 {
            // all that can help is at the box
            reach = f64::INFINITY;
            break;
        }
        let next = (need - stopped) / rate;
        if next.is_nan() || next <= reach {
            break;
        }
        reach = next;
    }
    let size = |Part { slope, room }: &Part| if *slope == 0.0 { 0.0 } else { (reach * speed(*slope)).min(*room) };
    parts.iter().map(size).collect()
}

/// Sizes of the changes where the steepest value goes as far as the box lets it, then the next, until `need` is met. Of equals
/// the first goes first.
fn steepest_first(parts: &[Part], mut need: f64) -> Vec<f64> {
    let mut sizes = vec![0.0; parts.len()];
    // of floats that are not negative the bits are in the order of the numbers
    let mut left: BinaryHeap<(u64, Reverse<usize>)> =
        parts.iter().enumerate().map(|(i, part)| (part.slope.to_bits(), Reverse(i))).collect();
    while let Some((_, Reverse(i))) = left.pop() {
        let Part { slope, room } = parts[i];
        if need <= 0.0 || slope == 0.0 {
            break;
        }
        sizes[i] = room.min(need / slope);
        need -= sizes[i] * slope;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, Streams};

    const NORMS: [Norm; 3] = [Norm::Linf, Norm::L2, Norm::L1];

    fn length(norm: Norm, d: &[f64]) -> f64 {
        match norm {
            Norm::Linf => d.iter().fold(0.0, |m: f64, d| m.max(d.abs())),
            Norm::L2 => d.iter().map(|d| d * d).sum::<f64>().sqrt(),
            _ => d.iter().map(|d| d.abs()).sum(),
        }
    }

    fn product(w: &[f32], d: &[f64]) -> f64 {
        w.iter().zip(d).map(|(w, d)| f64::from(*w) * d).sum()
    }

    /// A point, a slope with some zeros and some equals, and the most that the function can fall and rise in the box.
    fn case(s: &mut Stream) -> (Vec<f32>, Vec<f32>, [f64; 2]) {
        let n = 1 + s.below(60);
        let x: Vec<f32> = (0..n).map(|_| [0.0, 1.0, s.uniform()][s.below(3)]).collect();
        let w: Vec<f32> = (0..n).map(|_| [0.0, 0.5, -0.5, s.normal() as f32 * 3.0][s.below(4)]).collect();
        let most = |falls: bool| {
            let of =
                |(x, w): (&f32, &f32)| f64::from(w.abs()) * f64::from(if (*w > 0.0) == falls { *x } else { 1.0 - x });
            x.iter().zip(&w).map(of).sum()
        };
        let most = [most(true), most(false)];
        (x, w, most)
    }

    /// Of a linear constraint with a box, d is the shortest if and only if one multiplier λ ≥ 0 serves all values: each moves as
    /// far as λ says, or to the box. Checked for each norm as its conditions of optimality have it.
    #[test]
    fn a_projection_lies_on_the_plane_and_is_the_shortest() {
        let mut s = Streams::new(0, "planes").stream(0, 0, "values");
        let mut reached = 0;
        for _ in 0..2000 {
            let (x, w, [fall, rise]) = case(&mut s);
            let share = f64::from(s.uniform());
            let offset = if s.below(2) == 0 { fall * share } else { -rise * share };
            for norm in NORMS {
                let d = project(norm, &x, &w, offset);
                let inside = |(x, d): (&f32, &f64)| (-1e-12..=1.0 + 1e-12).contains(&(f64::from(*x) + d));
                assert!(x.iter().zip(&d).all(inside), "{norm:?}");
                assert!((product(&w, &d) + offset).abs() <= 1e-9 * (1.0 + offset.abs()), "{norm:?}: off the plane");
                // gain and room of each value
                let parts = x.iter().zip(&w).zip(&d).filter(|((_, w), _)| **w != 0.0).map(|((x, w), d)| {
                    let up = (*w > 0.0) != (offset >= 0.0);
                    let room = if up { 1.0 - f64::from(*x) } else { f64::from(*x) };
                    assert!(*d == 0.0 || (*d > 0.0) == up, "{norm:?}: a change against the aim");
                    (f64::from(w.abs()), room, d.abs())
                });
                let parts: Vec<(f64, f64, f64)> = parts.collect();
                let free = || parts.iter().filter(|(_, room, d)| *d < room - 1e-12);
                match norm {
                    // all have gone equally far, or are at the box before
                    Norm::Linf => {
                        let reach = length(norm, &d);
                        assert!(free().all(|(_, _, d)| (d - reach).abs() <= 1e-12), "{d:?}");
                    }
                    Norm::L2 => {
                        let rates: Vec<f64> = free().map(|(slope, _, d)| d / slope).collect();
                        let most = rates.iter().copied().fold(0.0, f64::max);
                        assert!(rates.iter().all(|r| (r - most).abs() <= 1e-9), "{rates:?}");
                        // those at the box would have gone farther
                        let stopped = parts.iter().filter(|(_, room, d)| *d >= room - 1e-12);
                        assert!(rates.is_empty() || stopped.into_iter().all(|(w, room, _)| room / w <= most + 1e-9));
                    }
                    // none moves before those that are steeper are at the box
                    _ => {
                        let steepest = free().map(|p| p.0).fold(0.0, f64::max);
                        assert!(parts.iter().all(|(slope, _, d)| *d <= 1e-12 || *slope >= steepest), "{parts:?}");
                    }
                }
                // and no other point of plane and box is nearer
                for _ in 0..3 {
                    let mut q: Vec<f64> = x.iter().map(|x| f64::from(s.uniform()) - f64::from(*x)).collect();
                    let gap = product(&w, &q) + offset;
                    // shorten towards d until it is on the plane: between it and a corner beyond
                    let corner = project(norm, &x, &w, if gap > 0.0 { 1e9 } else { -1e9 });
                    let beyond = product(&w, &corner) + offset;
                    if gap * beyond <= 0.0 && (gap - beyond).abs() > 1e-9 {
                        let part = gap / (gap - beyond);
                        q.iter_mut().zip(&corner).for_each(|(q, c)| *q += part * (c - *q));
                        assert!((product(&w, &q) + offset).abs() < 1e-6);
                        assert!(length(norm, &q) >= length(norm, &d) - 1e-6, "{norm:?}: a nearer point");
                        reached += 1;
                    }
                }
            }
        }
        assert!(reached > 5000, "{reached}: the comparison with other points says little");
    }

    #[test]
    fn a_plane_beyond_the_box_leads_to_its_corner() {
        let mut s = Streams::new(1, "planes").stream(0, 0, "values");
        for _ in 0..200 {
            let (x, w, [fall, rise]) = case(&mut s);
            for norm in NORMS {
                for (offset, most) in [(fall + 1.0, fall), (-rise - 1.0, rise)] {
                    let d = project(norm, &x, &w, offset);
                    assert!((product(&w, &d).abs() - most).abs() < 1e-9, "{norm:?}: not as far as it goes");
                    for ((x, w), d) in x.iter().zip(&w).zip(&d) {
                        let at = f64::from(*x) + d;
                        assert!(if *w == 0.0 { *d == 0.0 } else { at == 0.0 || at == 1.0 }, "{norm:?} {x} {w} {d}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_a_slope_nothing_moves() {
        for norm in NORMS {
            for offset in [1.0, -1.0, 0.0] {
                assert_eq!(project(norm, &[0.5, 0.0, 1.0], &[0.0; 3], offset), [0.0; 3]);
            }
            assert!(project(norm, &[0.5, 0.25], &[1.0, 2.0], 0.0).iter().all(|d| *d == 0.0), "on the plane");
            // what is not finite moves nothing to where it is not finite
            let d = project(norm, &[0.5, 0.25], &[f32::NAN, 1.0], f64::NAN);
            assert!(d.iter().all(|d| d.is_finite()), "{norm:?} {d:?}");
        }
    }
}
