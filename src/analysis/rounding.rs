//! One rule for every number that has an interval: that of the Particle Data Group (Review of Particle Physics,
//! Introduction, "Rounding"). If the three leading digits of the error lie between 100 and 354, the error keeps two
//! digits; between 355 and 949, one; from 950 on it is rounded up to 1000 and keeps two. The number gets as many decimals
//! as its error. The error of an interval is half its length.

/// Decimals of a number with this error; none where the error is 10 or more, or no number.
pub fn decimals(error: f64) -> usize {
    if !error.is_finite() || error <= 0.0 {
        return 0;
    }
    let mut exponent = error.log10().floor() as i32;
    let mut leading = (error / 10f64.powi(exponent - 2)).round();
    if leading >= 1000.0 {
        (exponent, leading) = (exponent + 1, 100.0);
    }
    let digits = match leading {
        l if l < 355.0 => 2,
        l if l < 950.0 => 1,
        // it becomes 1.0 of the next power
        _ => {
            exponent += 1;
            2
        }
    };
    usize::try_from(digits - 1 - exponent).unwrap_or(0)
}

/// A share with its interval in percent: `47.3 [44.2, 50.4]`.
pub fn percent(share: f64, (low, high): (f64, f64)) -> String {
    let digits = decimals(50.0 * (high - low));
    let [share, low, high] = [share, low, high].map(|v| format!("{:.digits$}", 100.0 * v));
    format!("{share} [{low}, {high}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two are the Review's own examples: 0.827 ± 0.119 is 0.83 ± 0.12, and 0.827 ± 0.367 is 0.8 ± 0.4.
    #[test]
    fn the_error_decides_how_many_decimals() {
        for (error, wanted) in [
            (0.119, 2),
            (0.367, 1),
            (0.100, 2),
            (0.354, 2),
            (0.355, 1),
            (0.949, 1),
            (0.950, 1),
            (0.9996, 1),
            (1.0, 1),
            (3.54, 1),
            (3.55, 0),
            (9.4, 0),
            (9.6, 0),
            (20.3, 0),
            (0.00949, 3),
            (0.0095, 3),
            (0.0, 0),
            (f64::NAN, 0),
        ] {
            assert_eq!(decimals(error), wanted, "{error}");
        }
    }

    #[test]
    fn a_share_and_its_interval_have_the_same_decimals() {
        for (k, n, wanted) in [
            (9, 20, "45 [26, 66]"),
            (473, 1000, "47.3 [44.2, 50.4]"),
            (0, 1000, "0.00 [0.00, 0.38]"),
            (9900, 10000, "99.00 [98.79, 99.18]"),
            (20, 20, "100 [84, 100]"),
            (990, 1000, "99.0 [98.2, 99.5]"),
        ] {
            assert_eq!(percent(k as f64 / n as f64, crate::statistics::wilson(k, n)), wanted, "{k}/{n}");
        }
    }
}
