//! How much of the area under a curve of robust accuracy over the distance an attack leaves, as a score.

/// How areas are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Under steps: an image stands up to its distance.
    Steps,
    /// As AttackBench does it, between points that straight lines join; no score where some image is fooled by nobody.
    AttackBench,
}

impl Rule {
    /// Every one with its name.
    pub const ALL: [(&str, Rule); 2] = [("steps", Rule::Steps), ("attackbench", Rule::AttackBench)];

    /// Name on the command line and in tables.
    pub fn name(self) -> &'static str {
        Rule::ALL.iter().find(|(_, rule)| *rule == self).expect("every rule is listed").0
    }
}

/// Images that count, and how often each: a sample that is drawn with replacement has some of them several times.
pub struct Sample<'a> {
    /// One an image.
    pub weights: &'a [u32],
    /// Images that were wrong before any attack: at distance 0 for everyone.
    pub wrong: usize,
    /// The largest distance that counts: farther ones, and none, count as this.
    pub scale: f64,
}

/// Distances of the images that were fooled, the least first, each with the place of its image.
pub type Curve = Vec<(f64, usize)>;

/// A curve from one distance an image.
pub fn curve(distances: impl IntoIterator<Item = f64>) -> Curve {
    let mut curve: Curve = distances.into_iter().enumerate().map(|(place, d)| (d, place)).collect();
    curve.retain(|(d, _)| d.is_finite());
    curve.sort_by(|a, b| a.0.total_cmp(&b.0));
    curve
}

/// 1 where an attack found what the best did, 0 where it found nothing up to the scale (Cinà et al. 2025, "local optimality"):
/// 1 − (A − A*) / (c·E − A*). `None`: even the best found nothing.
pub fn optimality(rule: Rule, attack: &Curve, best: &Curve, sample: &Sample) -> Option<f64> {
    let right: u64 = sample.weights.iter().map(|w| u64::from(*w)).sum();
    let all = right as f64 + sample.wrong as f64;
    let area = |curve: &Curve| match rule {
        Rule::Steps => steps(curve, right, sample) / all,
        Rule::AttackBench => trapezoid(curve, all, sample),
    };
    let (least, most) = (area(best), sample.scale * right as f64 / all);
    // rounding of the sums
    (most - least > 1e-12 * most).then(|| 1.0 - (area(attack) - least) / (most - least))
}

/// Area under the steps times the number of images: each stands up to its distance.
fn steps(curve: &Curve, right: u64, sample: &Sample) -> f64 {
    let (mut sum, mut left) = (0.0, right);
    for (distance, place) in curve {
        let weight = sample.weights[*place];
        sum += f64::from(weight) * distance.min(sample.scale);
        left -= u64::from(weight);
    }
    sum + left as f64 * sample.scale
}

/// AttackBench's area (`analysis/utils.py`, 2025): straight lines between the least distance and the largest, through one point
/// for each distance that occurs, at the share that stands beyond it.
fn trapezoid(curve: &Curve, all: f64, sample: &Sample) -> f64 {
    let mut standing = all;
    let (mut area, mut before): (f64, Option<(f64, f64)>) = (0.0, None);
    let mut point = |distance: f64, share: f64| {
        if let Some((at, stood)) = before {
            // of several images at one distance the last counts: until then there is no width
            area += (distance - at) * (stood + share) / 2.0;
        }
        before = Some((distance, share));
    };
    if sample.wrong > 0 {
        standing -= sample.wrong as f64;
        point(0.0, standing / all);
    }
    let near: Vec<(f64, f64)> = merged(curve, sample);
    for (distance, weight) in near {
        standing -= weight;
        point(distance, standing / all);
    }
    if standing > 0.5 {
        point(sample.scale, 0.0);
    }
    area
}

/// Distances below the scale that occur in the sample, each once, with the number of its images.
fn merged(curve: &Curve, sample: &Sample) -> Vec<(f64, f64)> {
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (distance, place) in curve.iter().filter(|(d, place)| *d < sample.scale && sample.weights[*place] > 0) {
        let weight = f64::from(sample.weights[*place]);
        match merged.last_mut() {
            Some((last, count)) if last == distance => *count += weight,
            _ => merged.push((*distance, weight)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn score(rule: Rule, attack: &[f64], best: &[f64], wrong: usize) -> Option<f64> {
        let scale = best.iter().copied().filter(|d| d.is_finite()).fold(0.0, f64::max);
        let weights = vec![1; best.len()];
        let [attack, best] = [attack, best].map(|d| curve(d.iter().copied()));
        optimality(rule, &attack, &best, &Sample { weights: &weights, wrong, scale })
    }

    fn close(found: Option<f64>, wanted: f64) {
        assert!(found.is_some_and(|v| (v - wanted).abs() < 1e-12), "{found:?} {wanted}");
    }

    /// By hand. Best 1, 2, 4, so E = 4 and A* = 7/3. The attack's 1, 3, none: A = (1 + 3 + 4)/3 = 8/3. Nothing found: 4.
    /// 1 − (8/3 − 7/3) / (4 − 7/3) = 1 − 1/5.
    #[test]
    fn steps_are_exact() {
        let best = [1.0, 2.0, 4.0];
        close(score(Rule::Steps, &[1.0, 3.0, INF], &best, 0), 0.8);
        close(score(Rule::Steps, &best, &best, 0), 1.0);
        close(score(Rule::Steps, &[INF; 3], &best, 0), 0.0);
        // beyond the scale is as good as nothing
        close(score(Rule::Steps, &[1.0, 3.0, 9.0], &best, 0), 0.8);
        // images that were wrong before change nothing
        close(score(Rule::Steps, &[1.0, 3.0, INF], &best, 5), 0.8);
        // an image that nobody fooled counts as the scale for everyone: A* = 11/4, A = 12/4
        close(score(Rule::Steps, &[1.0, 3.0, INF, INF], &[1.0, 2.0, 4.0, INF], 0), 0.8);
        assert_eq!(score(Rule::Steps, &[INF; 2], &[INF; 2], 0), None);
        assert_eq!(score(Rule::Steps, &[3.0; 2], &[3.0; 2], 0), None, "no distance is nearer than the scale");
    }

    /// By hand, with one wrong image of four. Best 0, 1, 2, 4: shares 3/4, 2/4, 1/4, 0, so A* = 5/8 + 3/8 + 1/4 = 5/4. The
    /// attack's 0, 1, 3, 4 (clipped): 5/8 + 3/4 + 1/8 = 3/2. 1 − (3/2 − 5/4) / (3/4·4 − 5/4) = 6/7. Without the wrong one
    /// what lies left of the least distance is missing: A* = 1/2 + 1/3 = 5/6, A = 1 + 1/6 = 7/6 and 1 − (1/3)/(4 − 5/6) = 17/19.
    #[test]
    fn attackbench_takes_straight_lines() {
        let (attack, best) = ([1.0, 3.0, INF], [1.0, 2.0, 4.0]);
        close(score(Rule::AttackBench, &attack, &best, 1), 6.0 / 7.0);
        close(score(Rule::AttackBench, &attack, &best, 0), 17.0 / 19.0);
        close(score(Rule::AttackBench, &best, &best, 1), 1.0);
        // an attack that ends before the scale: shares 3/4, 1/4, 0 at 0, 1, 2
        let (attack, best) = ([1.0, 1.0, 2.0], [1.0, 1.0, 4.0]);
        // A* = 1/2 + 3/8 = 7/8, A = 1/2 + 1/8 = 5/8: the pool's own distances are no bound of a frozen reference
        close(score(Rule::AttackBench, &attack, &best, 1), 1.0 + 0.25 / (3.0 - 7.0 / 8.0));
    }

    #[test]
    fn a_sample_counts_an_image_as_often_as_it_was_drawn() {
        let [attack, best] = [[1.0, 3.0, INF], [1.0, 2.0, 4.0]].map(curve);
        for rule in [Rule::Steps, Rule::AttackBench] {
            let twice = Sample { weights: &[2, 2, 2], wrong: 2, scale: 4.0 };
            let once = Sample { weights: &[1, 1, 1], wrong: 1, scale: 4.0 };
            let found = [twice, once].map(|sample| optimality(rule, &attack, &best, &sample));
            close(found[0], found[1].unwrap());
        }
        // the second image alone: 1 − (3 − 2) / (4 − 2)
        close(optimality(Rule::Steps, &attack, &best, &Sample { weights: &[0, 1, 0], wrong: 0, scale: 4.0 }), 0.5);
    }
}
