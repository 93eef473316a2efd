//! Exact non-negative rationals: budgets and step sizes as the user wrote them (`"8/255"`, `"0.25"`).
//!
//! `0.031` is 7.905/255 and another benchmark than `8/255`, and a float cannot tell whether an 8-bit image lies
//! inside its ball; so a budget stays exact until the last moment.

use std::fmt;

/// A non-negative rational in lowest terms, below 10^12 above and below the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    num: u64,
    den: u64,
}

const LIMIT: u128 = 1_000_000_000_000;

impl Ratio {
    /// None at all.
    pub const ZERO: Ratio = Ratio { num: 0, den: 1 };

    /// `num/den` in lowest terms; `None` where `den` is 0 or a term is 10^12 or more.
    pub fn new(num: u128, den: u128) -> Option<Ratio> {
        let g = gcd(num, den);
        let (n, d) = (num.checked_div(g)?, den.checked_div(g)?);
        (d > 0 && n < LIMIT && d < LIMIT).then_some(Ratio { num: n as u64, den: d as u64 })
    }

    /// Reads `"8/255"`, `"0.25"`, `"2"` or `"0.5/255"`.
    pub fn parse(text: &str) -> Option<Ratio> {
        match text.split_once('/') {
            Some((n, d)) => decimal(n.trim())?.over(decimal(d.trim())?),
            None => decimal(text.trim()),
        }
    }

    /// [`Ratio::parse`], or `"5 %"` as areas are written.
    pub fn of_share(text: &str) -> Option<Ratio> {
        match text.trim_end().strip_suffix('%') {
            Some(percent) => Ratio::parse(percent)?.over(Ratio::new(100, 1)?),
            None => Ratio::parse(text),
        }
    }

    /// Numerator in lowest terms.
    pub fn num(self) -> u64 {
        self.num
    }

    /// Denominator in lowest terms.
    pub fn den(self) -> u64 {
        self.den
    }

    /// The nearest `f64`.
    pub fn to_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// `self · other`.
    pub fn times(self, other: Ratio) -> Option<Ratio> {
        Ratio::new(u128::from(self.num) * u128::from(other.num), u128::from(self.den) * u128::from(other.den))
    }

    /// `self / other`.
    pub fn over(self, other: Ratio) -> Option<Ratio> {
        Ratio::new(u128::from(self.num) * u128::from(other.den), u128::from(self.den) * u128::from(other.num))
    }

    /// `"k/255"` where that is exact, else like [`fmt::Display`].
    pub fn in_grey_levels(self) -> String {
        match 255 % self.den {
            0 => format!("{}/255", self.num * (255 / self.den)),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Ratio {
    /// As a decimal where that is exact within 12 places, else as a fraction.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for places in 0..=12u32 {
            let scale = 10u128.pow(places);
            if scale.is_multiple_of(u128::from(self.den)) {
                let digits = u128::from(self.num) * (scale / u128::from(self.den));
                return match places {
                    0 => write!(f, "{digits}"),
                    _ => write!(f, "{}.{:0width$}", digits / scale, digits % scale, width = places as usize),
                };
            }
        }
        write!(f, "{}/{}", self.num, self.den)
    }
}

/// Digits with at most one point, at most 12 places.
fn decimal(text: &str) -> Option<Ratio> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{part}");
    let sound =
        !digits.is_empty() && digits.len() <= 24 && part.len() <= 12 && digits.bytes().all(|b| b.is_ascii_digit());
    Ratio::new(digits.parse().ok().filter(|_| sound)?, 10u128.pow(part.len() as u32))
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (text, grey, plain) in [
            ("8/255", "8/255", "8/255"),
            ("5/255", "5/255", "1/51"),
            ("0.25", "0.25", "0.25"),
            ("0.031", "0.031", "0.031"),
            ("0.5/255", "1/510", "1/510"),
            ("1", "255/255", "1"),
            ("0", "0/255", "0"),
        ] {
            let r = Ratio::parse(text).unwrap();
            assert_eq!((r.in_grey_levels().as_str(), r.to_string().as_str()), (grey, plain));
            assert_eq!(Ratio::parse(grey), Some(r));
            assert_eq!(Ratio::parse(plain), Some(r));
        }
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in ["", "/", "8/0", "-1", "1e3", "nan", "8/255/2", ".", "1.2.3", "9999999999999999999999999", "٣"] {
            assert_eq!(Ratio::parse(text), None, "{text}");
        }
    }
}
