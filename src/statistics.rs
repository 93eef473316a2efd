//! Tests and intervals, by hand, each with its source. `tests/statistics.rs` holds them to scipy and statsmodels.

/// Two-sided 95 % quantile of the standard normal distribution.
const Z_95: f64 = 1.959963984540054;

/// 95 % score interval of k successes in n ≥ 1 trials (Wilson 1927), exactly 0 below none and exactly 1 above all.
pub fn wilson(k: usize, n: usize) -> (f64, f64) {
    let (kf, nf, z2) = (k as f64, n as f64, Z_95 * Z_95);
    let centre = (kf + z2 / 2.0) / (nf + z2);
    let half = Z_95 / (nf + z2) * (kf * (nf - kf) / nf + z2 / 4.0).sqrt();
    let low = if k == 0 { 0.0 } else { centre - half };
    let high = if k == n { 1.0 } else { centre + half };
    (low, high)
}

/// Exact two-sided p-value of McNemar's test (1947): of b + c pairs that changed, b changed one way and c the other. Without
/// a difference each way is as likely, so twice the binomial tail of the rarer way, at most 1.
pub fn mcnemar(b: usize, c: usize) -> f64 {
    (2.0 * coin_tail(b.min(c), b + c)).min(1.0)
}

/// Chance on each side at which a clean accuracy is refused although it belongs to the published one: that of 4 standard errors
/// of a normal distribution.
pub const GATE: f64 = 3.17e-5;

/// Chances that at most, and at least, k of n images are right when k + k0 of n + n0 are, whichever they be
/// (hypergeometric distribution).
pub fn tails(k: u64, n: u64, k0: u64, n0: u64) -> (f64, f64) {
    let (right, all) = (k + k0, n + n0);
    let mut ln_factorial = vec![0.0; all as usize + 1];
    for i in 1..=all as usize {
        ln_factorial[i] = ln_factorial[i - 1] + (i as f64).ln();
    }
    let ln_choose =
        |n: u64, k: u64| ln_factorial[n as usize] - ln_factorial[k as usize] - ln_factorial[(n - k) as usize];
    let chance = |x: u64| (ln_choose(right, x) + ln_choose(all - right, n - x) - ln_choose(all, n)).exp();
    let (first, last) = (n.saturating_sub(all - right), n.min(right));
    ((first..=k).map(chance).sum(), (k..=last).map(chance).sum())
}

/// Chance of at least k successes in n trials that each succeed with chance p, 0 < p < 1 (binomial distribution).
pub fn at_least(k: usize, n: usize, p: f64) -> f64 {
    let ln_choose = |k: usize| (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum::<f64>();
    let chance = |i: usize| (ln_choose(i) + i as f64 * p.ln() + (n - i) as f64 * (1.0 - p).ln()).exp();
    (k..=n).map(chance).sum::<f64>().min(1.0)
}

/// Chance of at most k heads in n tosses of a fair coin, 2k ≤ n + 1: summed from the largest term downward.
fn coin_tail(k: usize, n: usize) -> f64 {
    let (kf, nf) = (k as f64, n as f64);
    // in logarithms: 2^-n alone is below the smallest f64 from n = 1,075 on
    let ln_choose: f64 = (1..=k).map(|i| ((nf - kf + i as f64) / i as f64).ln()).sum();
    let mut term = (ln_choose - nf * std::f64::consts::LN_2).exp();
    let mut sum = 0.0;
    for i in (0..=k).rev() {
        sum += term;
        term *= i as f64 / (nf - i as f64 + 1.0);
        if term < sum * f64::EPSILON * 1e-3 {
            break;
        }
    }
    sum
}

/// p-values adjusted by Holm's step-down procedure (1979): rejecting where they are at most α errs anywhere in the family
/// with a chance of at most α, however the tests hang together.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut adjusted, mut floor) = (vec![0.0; p.len()], 0.0f64);
    for (rank, i) in order.into_iter().enumerate() {
        floor = floor.max((p[i] * (p.len() - rank) as f64).min(1.0));
        adjusted[i] = floor;
    }
    adjusted
}

/// Up to this many pairs, and without ties, the distribution of U is counted out.
const EXACT_PAIRS: usize = 400;

/// Two-sided p-value of the rank test of Mann and Whitney (1947), neither sample empty: exact for small samples without
/// ties, else the normal approximation with corrections for ties and continuity. 1 where all values are the same.
pub fn mann_whitney(x: &[f64], y: &[f64]) -> f64 {
    let (m, n) = (x.len(), y.len());
    let mut all: Vec<(f64, bool)> = x.iter().map(|v| (*v, true)).chain(y.iter().map(|v| (*v, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut at) = (0.0, 0.0, 0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let (t, of_x) = (group.len() as f64, group.iter().filter(|g| g.1).count() as f64);
        rank_sum += of_x * (at as f64 + (t + 1.0) / 2.0);
        ties += t * t * t - t;
        at += group.len();
    }
    let (mf, nf) = (m as f64, n as f64);
    let u = rank_sum - mf * (mf + 1.0) / 2.0;
    let u = u.max(mf * nf - u);
    if ties == 0.0 && m * n <= EXACT_PAIRS {
        let chances = u_distribution(m, n);
        return (2.0 * chances[u as usize..].iter().sum::<f64>()).min(1.0);
    }
    let total = mf + nf;
    let deviation = (mf * nf / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)))).sqrt();
    match deviation > 0.0 {
        true => (2.0 * normal_tail((u - mf * nf / 2.0 - 0.5) / deviation)).min(1.0),
        false => 1.0,
    }
}

/// The smallest p-value that samples of these sizes can give without ties: 2 / C(m + n, m).
pub fn least_mann_whitney(m: usize, n: usize) -> f64 {
    2.0 * (1..=m).map(|i| i as f64 / (n + i) as f64).product::<f64>()
}

/// Chance of each value of U, 0 to m·n, when all orders are as likely: the largest value is one of x (and beats all n of y)
/// or one of y.
fn u_distribution(m: usize, n: usize) -> Vec<f64> {
    // row[j]: of so many of x and j of y
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; n + 1];
    for i in 1..=m {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for j in 1..=n {
            let (of_x, of_y) = (i as f64 / (i + j) as f64, j as f64 / (i + j) as f64);
            let mut chances = vec![0.0; i * j + 1];
            row[j].iter().enumerate().for_each(|(u, p)| chances[u + j] += of_x * p);
            next[j - 1].iter().enumerate().for_each(|(u, p)| chances[u] += of_y * p);
            next.push(chances);
        }
        row = next;
    }
    row.pop().expect("n + 1 entries")
}

/// Chance that a standard normal number is at least z.
fn normal_tail(z: f64) -> f64 {
    libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2) / 2.0
}

/// 95 % interval of the mean of values of [0,1] by the normal approximation; `None` for fewer than two.
pub fn of_mean(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let reach = Z_95 * (variance / n).sqrt();
    (values.len() > 1).then(|| ((mean - reach).max(0.0), (mean + reach).min(1.0)))
}

/// The middle value, or the mean of the two middle ones; `None` without values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n > 0).then(|| (values[(n - 1) / 2] + values[n / 2]) / 2.0)
}

/// 95 % interval of the median that assumes nothing of the values' distribution: two of the values, chosen by the binomial
/// tails of the sign test (Conover, Practical Nonparametric Statistics, 3.2). `None` for fewer than 6 values.
pub fn median_interval(mut values: Vec<f64>) -> Option<(f64, f64)> {
    let n = values.len();
    let out = (0..n / 2).take_while(|k| 2.0 * coin_tail(*k, n) <= 0.05).count();
    values.sort_by(f64::total_cmp);
    (out > 0).then(|| (values[out - 1], values[n - out]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms() {
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(3, 3), 1.0);
        assert!((mcnemar(6, 0) - 2.0 / 64.0).abs() < 1e-15 && mcnemar(0, 5) > 0.05, "6 flips one way alarm at 0.05");
        assert!(mcnemar(0, 2000) == 0.0 && mcnemar(900, 1100) > 0.0, "far in the tail, without a NaN");
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(u_distribution(2, 1), [1.0 / 3.0; 3]);
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0]), 1.0, "nothing but ties");
        assert!((mann_whitney(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]) - least_mann_whitney(3, 3)).abs() < 1e-15);
        assert_eq!(median_interval(vec![1.0; 5]), None);
        assert_eq!(median_interval((1..=6).map(f64::from).collect()), Some((1.0, 6.0)));
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    /// Values of scipy 1.17.1, `hypergeom(n + n0, k + k0, n)`: `cdf(k)` and `sf(k - 1)`.
    #[test]
    fn tails_are_those_of_the_hypergeometric_distribution() {
        for (k, n, k0, n0, low, high) in [
            (0, 2, 451, 500, 0.01013908438103872, 1.0),
            (20, 20, 451, 500, 1.0, 0.13286030285517827),
            (2, 20, 451, 500, 1.6346596422351369e-15, 1.0),
            (885, 1000, 451, 500, 0.1826106013262266, 0.8607887989972487),
            (50, 500, 451, 500, 2.2282699284027625e-162, 1.0),
        ] {
            let (l, h) = tails(k, n, k0, n0);
            assert!((l / low - 1.0).abs() < 1e-8 && (h / high - 1.0).abs() < 1e-8, "{k}/{n}: {l:e} {h:e}");
        }
    }
}
