//! The part of an L1 ball that lies in the box, exactly: projection onto both at once, in f64.

/// Iterations of the search for the threshold: safeguarded Newton steps end after 5 to 10, bisection alone after 60.
const MOST_STEPS: usize = 200;

/// The nearest change, in L2, to `change` of `x` that has an L1 length of at most `eps` and keeps `x` + change in [0,1]
/// (Croce and Hein 2021, section 3.1). Not the box after the ball: that wastes budget on what the box cuts off.
///
/// Every coordinate shrinks by the same τ, cut to its box: δᵢ = sign(yᵢ)·min(max(|yᵢ| − τ, 0), bᵢ), with bᵢ the way to the box
/// on its side. τ is the root of Σ|δᵢ| = eps, a sum of straight pieces that falls with τ.
pub fn project(change: &mut [f64], x: &[f32], eps: f64) {
    let room = |y: f64, x: f32| if y > 0.0 { 1.0 - f64::from(x) } else { f64::from(x) };
    // the sum at τ, and how many coordinates move with it
    let at = |tau: f64, change: &[f64]| {
        let mut sum = 0.0;
        let mut moving = 0u32;
        for (y, x) in change.iter().zip(x) {
            let (left, room) = (y.abs() - tau, room(*y, *x));
            sum += left.clamp(0.0, room);
            moving += u32::from(left > 0.0 && left < room);
        }
        (sum, moving)
    };
    let mut tau = 0.0;
    let (mut low, mut high) = (0.0, change.iter().fold(0.0, |m: f64, y| m.max(y.abs())));
    for _ in 0..MOST_STEPS {
        let (sum, moving) = at(tau, change);
        let over = sum - eps;
        match over {
            // inside already, or as near as f64 comes
            over if over <= 0.0 && (tau == 0.0 || over > -1e-14 * eps.max(1e-9)) => break,
            over if over > 0.0 => low = tau,
            _ => high = tau,
        }
        let newton = tau + over / f64::from(moving.max(1));
        let next = if moving > 0 && newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if next <= low || next >= high {
            // no number lies between: the far end is inside
            tau = high;
            break;
        }
        tau = next;
    }
    for (y, x) in change.iter_mut().zip(x) {
        *y = (y.abs() - tau).clamp(0.0, room(*y, *x)).copysign(*y);
    }
}

/// [`project`] of a float image, whose change stays within `eps` as f32 stores it, too.
pub fn project_image(x_adv: &mut [f32], x: &[f32], eps: f64) {
    let length =
        |x_adv: &[f32]| -> f64 { x_adv.iter().zip(x).map(|(a, x)| (f64::from(*a) - f64::from(*x)).abs()).sum() };
    if x_adv.iter().all(|v| (0.0..=1.0).contains(v)) && length(x_adv) <= eps {
        return;
    }
    let mut change: Vec<f64> = x_adv.iter().zip(x).map(|(a, x)| f64::from(*a) - f64::from(*x)).collect();
    project(&mut change, x, eps);
    for ((a, x), d) in x_adv.iter_mut().zip(x).zip(&change) {
        *a = ((f64::from(*x) + d) as f32).clamp(0.0, 1.0);
    }
    if length(x_adv) <= eps {
        return;
    }
    // to the nearest f32 some values went further than they may: these go to the next one on the side of x
    for ((a, x), d) in x_adv.iter_mut().zip(x).zip(&change) {
        if (f64::from(*a) - f64::from(*x)).abs() > d.abs() {
            *a = if *d > 0.0 { a.next_down().max(*x) } else { a.next_up().min(*x) };
        }
    }
}

/// Direction of a step of L1 length 1 that climbs: the signs of the share [`TOP`] of the entries that are largest, the same
/// size each (SLIDE: Tramèr and Boneh 2019). The steepest would be a single entry, which the box soon stops.
pub fn steepest(gradient: &[f32]) -> Vec<f32> {
    let kept = ((TOP * gradient.len() as f64) as usize).max(1);
    let mut sizes: Vec<f32> = gradient.iter().map(|g| g.abs()).collect();
    let (_, least, _) = sizes.select_nth_unstable_by(kept - 1, |a, b| b.total_cmp(a));
    let least = *least;
    let chosen = |g: &&f32| g.abs() >= least && **g != 0.0;
    let step = 1.0 / gradient.iter().filter(chosen).count().max(1) as f32;
    gradient.iter().map(|g| if chosen(&g) { step.copysign(*g) } else { 0.0 }).collect()
}

/// Share of the entries that a step of [`steepest`] moves: 1 %, cleverhans' `grad_sparsity = 99`.
const TOP: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    /// The distance from `y` that no feasible point undercuts: checked against many feasible points and the optimality
    /// conditions.
    #[test]
    fn a_projection_is_the_nearest_point_of_ball_and_box() {
        let mut s = Streams::new(0, "l1").stream(0, 0, "values");
        for case in 0..300 {
            let d = 1 + s.below(40);
            let x: Vec<f32> = (0..d).map(|_| [0.0, 1.0, s.uniform()][s.below(3)]).collect();
            let y: Vec<f64> = (0..d).map(|_| s.normal() * [0.01, 0.3, 3.0][s.below(3)]).collect();
            let eps = f64::from(s.uniform()) * d as f64 * 0.3;
            let mut p = y.clone();
            project(&mut p, &x, eps);
            let length: f64 = p.iter().map(|v| v.abs()).sum();
            assert!(length <= eps * (1.0 + 1e-12) + 1e-15, "{case}: {length} {eps}");
            let inside =
                |p: &[f64]| p.iter().zip(&x).all(|(p, x)| (-1e-12..=1.0 + 1e-12).contains(&(f64::from(*x) + p)));
            assert!(inside(&p), "{case}");
            // ⟨y − p, q − p⟩ ≤ 0 for every feasible q: what projections onto convex sets are
            for _ in 0..50 {
                let mut q: Vec<f64> =
                    x.iter().map(|x| (f64::from(s.uniform()) - f64::from(*x)) * f64::from(s.uniform())).collect();
                let long: f64 = q.iter().map(|v| v.abs()).sum();
                let scale = if long > eps { eps / long } else { 1.0 };
                q.iter_mut().for_each(|v| *v *= scale);
                let inner: f64 = y.iter().zip(&p).zip(&q).map(|((y, p), q)| (y - p) * (q - p)).sum();
                assert!(inner <= 1e-9, "{case}: {inner}");
            }
            // the budget is spent where it binds
            let clipped: f64 = y.iter().zip(&x).map(|(y, x)| y.clamp(-f64::from(*x), 1.0 - f64::from(*x)).abs()).sum();
            assert!((length - clipped.min(eps)).abs() <= 1e-9, "{case}: {length} of {}", clipped.min(eps));
        }
    }

    #[test]
    fn floats_stay_inside_as_they_are_stored() {
        let mut s = Streams::new(1, "l1").stream(0, 0, "values");
        for d in [3, 300, 30_000] {
            let x: Vec<f32> = (0..d).map(|_| s.below(256) as f32 / 255.0).collect();
            for eps in [0.01, 1.0, 12.0] {
                let mut x_adv: Vec<f32> = x.iter().map(|x| x + (s.normal() * 0.2) as f32).collect();
                project_image(&mut x_adv, &x, eps);
                // and many values that are smaller than the spacing of f32
                x_adv.iter_mut().for_each(|v| *v += (s.normal() * 1e-7) as f32);
                project_image(&mut x_adv, &x, eps);
                let length: f64 = x_adv.iter().zip(&x).map(|(a, x)| (f64::from(*a) - f64::from(*x)).abs()).sum();
                assert!(length <= eps, "{d} {eps}: {length}");
                assert!(length > 0.999 * eps || d == 3, "{d} {eps}: {length} wastes budget");
                assert!(x_adv.iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }
    }

    #[test]
    fn a_step_moves_the_largest_entries_alike() {
        let mut g = vec![0.0f32; 300];
        (g[7], g[100], g[200], g[299]) = (-3.0, 2.0, 1.5, 0.1);
        let step = steepest(&g);
        let third = 1.0 / 3.0;
        assert_eq!((step[7], step[100], step[200], step[299]), (-third, third, third, 0.0));
        assert_eq!(steepest(&[0.0; 5]), [0.0; 5], "no gradient, no step");
    }
}
