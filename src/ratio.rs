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

    /// Why [`Ratio::parse`] does not read what is a number: it has more digits than are kept. `None`: it reads it, or it is no
    /// number.
    pub fn refusal(text: &str) -> Option<String> {
        let parts: Vec<&str> = text.split('/').map(str::trim).collect();
        let sound = parts.len() <= 2 && parts.iter().all(|part| digits(part).is_some());
        if !sound || Ratio::parse(text).is_some() || parts.get(1).is_some_and(|d| d.trim_matches(['0', '.']).is_empty())
        {
            return None;
        }
        let number = |part: &&str| part.parse().unwrap_or(f64::INFINITY);
        let value: f64 = number(&parts[0]) / parts.get(1).map_or(1.0, number);
        let levels = (value * 255.0).round();
        let hint = match (value - levels / 255.0).abs() < 1e-15 && (1.0..255.0).contains(&levels) {
            true => format!("\"{levels}/255\", which this is not quite"),
            false => "a fraction as \"8/255\", or 11 digits at most".into(),
        };
        Some(format!(
            "more digits than are kept: budgets stay exact, as fractions with numbers below 10^12 (hint: {hint})"
        ))
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

/// A decimal number whose lowest terms are below the limit, however many digits it has.
fn decimal(text: &str) -> Option<Ratio> {
    let (whole, part) = digits(text)?;
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    // more places than a u128 has are more than any terms below the limit have
    if part.len() > 36 {
        return None;
    }
    Ratio::new(format!("0{whole}{part}").parse().ok()?, 10u128.pow(part.len() as u32))
}

/// Digits before and after at most one point.
fn digits(text: &str) -> Option<(&str, &str)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (are_digits(whole) && are_digits(part) && whole.len() + part.len() > 0).then_some((whole, part))
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

    #[test]
    fn digits_that_change_nothing_are_no_hindrance() {
        for (text, same) in [
            ("0.50000000000000000000000000000000000000000000", "1/2"),
            ("000000000000000000000000000000000000000000.25", "1/4"),
            ("0.0009765625", "1/1024"),
            // 2^-17 has 17 places
            ("0.00000762939453125", "1/131072"),
            ("8.0000000000000000/255.000000000000", "8/255"),
        ] {
            assert_eq!((Ratio::parse(text), Ratio::refusal(text)), (Ratio::parse(same), None), "{text}");
        }
    }

    /// Every multiple of 1/255 as Python prints it is refused with what was meant, none read as a little less.
    #[test]
    fn a_number_as_python_prints_it_is_refused_with_what_was_meant() {
        for levels in (1..255).filter(|levels| levels % 51 != 0) {
            // the shortest digits that give the same f64, as Python's repr
            let text = (f64::from(levels) / 255.0).to_string();
            assert_eq!(Ratio::parse(&text), None, "{text}");
            let refusal = Ratio::refusal(&text).unwrap();
            assert!(refusal.contains("10^12") && refusal.contains(&format!("\"{levels}/255\"")), "{text}: {refusal}");
        }
        for text in [
            "0.1234567890123456",
            "1234567890123",
            "0.1234567890123456/255",
            "1/1234567890123",
            "9".repeat(400).as_str(),
        ] {
            let refusal = Ratio::refusal(text).unwrap();
            assert!(refusal.contains("a fraction as"), "{text}: {refusal}");
        }
        for text in ["", "/", "8/0", "0.1234567890123456/0", "-1", "1e3", "nan", "8/255/2", ".", "1.2.3", "8/255"] {
            assert_eq!(Ratio::refusal(text), None, "{text}");
        }
    }
}
