//! The linear readout that tells one point from many with the widest margin.

/// Where the nearest point of the hull is as near as this, in parts of its squared distance, it is found.
const TOLERANCE: f64 = 1e-3;

/// More steps are not taken: what is found then separates all the same, or nothing does.
const MOST_STEPS: usize = 20_000;

/// A readout w·f + b of features, above 0 on the one side.
#[derive(Debug, Clone, PartialEq)]
pub struct Separator {
    /// One a feature.
    pub weights: Vec<f32>,
    /// Added.
    pub bias: f64,
}

impl Separator {
    /// The score of features.
    pub fn score(&self, features: &[f32]) -> f64 {
        self.weights.iter().zip(features).map(|(w, f)| f64::from(*w) * f64::from(*f)).sum::<f64>() + self.bias
    }
}

/// Separates `one` point, which scores above 0, from `many`, which score below, by the hyperplane of the widest margin: across the
/// line from `one` to the nearest point of the hull of `many`. Logistic regression without a penalty, as Zimmermann et al. 2022 fit
/// it, tends to the same direction (Soudry et al. 2018). Of the margin a share of `closeness` lies on the side of `many`; the scores
/// of all points lie within 1 of each other. `None`: no hyperplane is found.
///
/// The nearest point is found by steps from the farthest point in use to the nearest of all (the algorithm of Mitchell, Dem'yanov
/// and Malozemov 1974).
pub fn separate(one: &[f32], many: &[Vec<f32>], closeness: f64) -> Option<Separator> {
    let away: Vec<Vec<f64>> =
        many.iter().map(|point| point.iter().zip(one).map(|(p, o)| f64::from(*p) - f64::from(*o)).collect()).collect();
    let mut nearest = away.first()?.clone();
    let mut share = vec![0.0; away.len()];
    share[0] = 1.0;
    for _ in 0..MOST_STEPS {
        let along: Vec<f64> = away.iter().map(|point| dot(point, &nearest)).collect();
        let least = (0..along.len()).min_by(|a, b| along[*a].total_cmp(&along[*b]))?;
        let used = (0..along.len()).filter(|i| share[*i] > 0.0);
        let most = used.max_by(|a, b| along[*a].total_cmp(&along[*b]))?;
        let square = dot(&nearest, &nearest);
        if square - along[least] <= TOLERANCE * square {
            return (along[least] > 0.0).then(|| placed(one, &nearest, &along, along[least], closeness));
        }
        let step: Vec<f64> = away[least].iter().zip(&away[most]).map(|(to, from)| to - from).collect();
        let length = ((along[most] - along[least]) / dot(&step, &step)).min(share[most]);
        share[most] -= length;
        share[least] += length;
        nearest.iter_mut().zip(&step).for_each(|(n, s)| *n += length * s);
    }
    let along: Vec<f64> = away.iter().map(|point| dot(point, &nearest)).collect();
    let least = along.iter().copied().fold(f64::INFINITY, f64::min);
    (least > 0.0).then(|| placed(one, &nearest, &along, least, closeness))
}

/// The readout across `normal`, on which the many lie `along` it, `least` at least.
fn placed(one: &[f32], normal: &[f64], along: &[f64], least: f64, closeness: f64) -> Separator {
    let range = along.iter().copied().fold(least, f64::max);
    let weights: Vec<f32> = normal.iter().map(|n| (-n / range) as f32).collect();
    let at_one = weights.iter().zip(one).map(|(w, f)| f64::from(*w) * f64::from(*f)).sum::<f64>();
    Separator { weights, bias: (1.0 - closeness) * least / range - at_one }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    #[test]
    fn the_margin_is_the_distance_to_the_hull() {
        // the nearest point of the triangle to (0, 2) is (0, 1), within an edge
        let many = [vec![-1.0, 1.0], vec![1.0, 1.0], vec![0.0, -1.0]];
        let found = separate(&[0.0, 2.0], &many, 0.75).unwrap();
        assert!(found.weights[0].abs() < 1e-3 && found.weights[1] > 0.0, "{found:?}");
        // scores differ by 1 at most, from the farthest of the many; the margin is a third of that
        let scores = [found.score(&[0.0, 2.0]), found.score(&many[0]), found.score(&many[2])];
        let expected = [0.25 / 3.0, -0.75 / 3.0, 0.25 / 3.0 - 1.0];
        assert!(scores.iter().zip(expected).all(|(s, e)| (s - e).abs() < 1e-3), "{scores:?}");
    }

    #[test]
    fn what_lies_among_the_others_is_not_separated() {
        let many = [vec![-1.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, -1.0]];
        assert_eq!(separate(&[0.1, 0.1], &many, 0.5), None);
        assert_eq!(separate(&[1.0, 0.0], &many, 0.5), None, "one of them");
        assert_eq!(separate(&[1.0, 0.0], &[], 0.5), None);
    }

    #[test]
    fn any_point_beside_fewer_points_than_features_is_separated() {
        let mut stream = Streams::new(0, "hull").stream(0, 0, "points");
        let mut point = |scale: f32| -> Vec<f32> { (0..64).map(|_| scale * (stream.normal() as f32)).collect() };
        let many: Vec<Vec<f32>> = (0..63).map(|_| point(1.0)).collect();
        let one = point(0.3);
        let found = separate(&one, &many, 0.999).unwrap();
        assert!(found.score(&one) > 0.0 && many.iter().all(|m| found.score(m) < 0.0));
    }
}
