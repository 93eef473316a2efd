//! The gate's statistics against scipy and statsmodels: `tests/data/statistics.json`, by `scripts/reference_statistics.py`.

use foolproof::statistics::{holm, mann_whitney, mcnemar, median_interval, wilson};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    mcnemar: Vec<(usize, usize, f64)>,
    holm: Vec<(Vec<f64>, Vec<f64>)>,
    mann_whitney: Vec<(Vec<f64>, Vec<f64>, f64)>,
    wilson: Vec<(usize, usize, f64, f64)>,
    median: Vec<(Vec<f64>, Option<f64>, Option<f64>)>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("data/statistics.json")).unwrap()
}

/// Largest relative difference; values below 1e-300 count as 0.
fn largest(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs.map(|(ours, theirs)| (ours - theirs).abs() / theirs.abs().max(1e-300)).fold(0.0, f64::max)
}

#[test]
fn mcnemar_is_that_of_statsmodels_on_a_thousand_tables() {
    let tables = reference().mcnemar;
    assert_eq!(tables.len(), 1000);
    assert!(tables.iter().filter(|t| t.2 < 1e-20).count() > 100 && tables.iter().filter(|t| t.2 > 0.05).count() > 100);
    let worst = largest(tables.iter().map(|(b, c, p)| (mcnemar(*b, *c), *p)));
    assert!(worst < 1e-9, "{worst:e}");
}

#[test]
fn holm_is_that_of_statsmodels() {
    let cases = reference().holm;
    assert!(cases.iter().any(|(p, _)| p.len() > 10));
    let ours: Vec<f64> = cases.iter().flat_map(|(p, _)| holm(p)).collect();
    let theirs: Vec<f64> = cases.into_iter().flat_map(|(_, adjusted)| adjusted).collect();
    assert_eq!(ours.len(), theirs.len());
    let worst = largest(ours.into_iter().zip(theirs));
    assert!(worst < 1e-12, "{worst:e}");
}

#[test]
fn mann_whitney_is_that_of_scipy() {
    let cases = reference().mann_whitney;
    let tied = |x: &[f64], y: &[f64]| {
        let mut all = [x, y].concat();
        all.sort_by(f64::total_cmp);
        all.windows(2).any(|w| w[0] == w[1])
    };
    let ties = cases.iter().filter(|(x, y, _)| tied(x, y)).count();
    let exact = cases.iter().filter(|(x, y, _)| !tied(x, y) && x.len() * y.len() <= 400).count();
    assert!(ties > 30 && exact > 30 && cases.len() - ties - exact > 5, "{ties} with ties, {exact} exact");
    let worst = largest(cases.iter().map(|(x, y, p)| (mann_whitney(x, y), *p)));
    assert!(worst < 1e-9, "{worst:e}");
}

#[test]
fn intervals_are_those_of_scipy() {
    let Reference { wilson: cases, median, .. } = reference();
    let bounds = cases.iter().flat_map(|(k, n, low, high)| {
        let (l, h) = wilson(*k, *n);
        [(l, *low), (h, *high)]
    });
    let worst = largest(bounds);
    assert!(worst < 1e-9, "{worst:e}");
    for (values, low, high) in median {
        // scipy has one bound without the other nowhere here
        assert_eq!(median_interval(values), low.zip(high));
    }
}
