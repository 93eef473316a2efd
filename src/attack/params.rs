//! Parameters of attacks: declared by the registry, given as text, completed with defaults, checked.

use crate::error::hint;
use crate::ratio::Ratio;
use std::collections::BTreeMap;

/// A parameter an attack declares.
pub struct Param {
    /// Key in the sweep file.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Value where the sweep file has none.
    pub default: &'static str,
    /// One line, with the origin of the default.
    pub summary: &'static str,
}

/// What values a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from 1 to 1,000,000.
    Count,
    /// As [`Kind::Count`], or this word.
    CountOr(&'static str),
    /// `true` or `false`.
    Flag,
    /// A product of numbers, `eps` and `steps`: `2/255`, `2.5*eps/steps`.
    StepSize,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A number from 0 to 1,000,000, as a decimal or fraction.
    Number,
    /// As [`Kind::Number`], but 0, with which the attack would do nothing.
    Positive,
    /// As [`Kind::Number`], or `auto`: the attack decides.
    Auto,
    /// A picture: the path of its file in a sweep, the SHA-256 of that file in a cell; empty: none.
    Picture,
}

/// All parameters of an attack, as text in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

/// Most iterations or restarts: a sweep of more is a slip of the pen.
const MOST: u64 = 1_000_000;

impl Params {
    /// Completes what the sweep file gave with the defaults. All problems, each with the index into `given`.
    pub fn resolve(declared: &[Param], given: &[(&str, &str)]) -> Result<Params, Vec<(usize, String)>> {
        let mut problems = Vec::new();
        let mut values: BTreeMap<String, String> =
            declared.iter().map(|p| (p.name.to_string(), p.default.to_string())).collect();
        for (i, (key, text)) in given.iter().enumerate() {
            match declared.iter().find(|p| p.name == *key) {
                None if declared.is_empty() => {
                    problems.push((i, format!("unknown key `{key}` (this attack has no parameters)")))
                }
                None => {
                    problems.push((i, format!("unknown key `{key}`{}", hint(key, declared.iter().map(|p| p.name)))))
                }
                Some(param) => match param.kind.normal(text) {
                    Ok(text) => drop(values.insert(param.name.to_string(), text)),
                    Err(expected) => problems.push((i, format!("`{key}`: expected {expected}, found `{text}`"))),
                },
            }
        }
        if problems.is_empty() { Ok(Params(values)) } else { Err(problems) }
    }

    /// All of them, sorted by name.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// A declared [`Kind::Count`].
    pub fn count(&self, name: &str) -> usize {
        self.0[name].parse().expect("checked when resolved")
    }

    /// A declared [`Kind::CountOr`]; `None`: the word.
    pub fn count_or(&self, name: &str) -> Option<usize> {
        self.0[name].parse().ok()
    }

    /// A declared [`Kind::Flag`].
    pub fn flag(&self, name: &str) -> bool {
        self.0[name] == "true"
    }

    /// A declared [`Kind::Choice`].
    pub fn choice(&self, name: &str) -> &str {
        &self.0[name]
    }

    /// A declared [`Kind::Auto`]; `None`: the attack decides.
    pub fn auto(&self, name: &str) -> Option<f64> {
        Ratio::parse(&self.0[name]).map(Ratio::to_f64)
    }

    /// Whether a declared [`Kind::Picture`] is given.
    pub fn has_picture(&self, name: &str) -> bool {
        !self.0[name].is_empty()
    }

    /// A declared [`Kind::Number`] or [`Kind::Positive`].
    pub fn number(&self, name: &str) -> f64 {
        Ratio::parse(&self.0[name]).expect("checked when resolved").to_f64()
    }

    /// Whether a declared [`Kind::StepSize`] depends on `eps` or `steps`.
    pub fn depends_on(&self, name: &str, word: &str) -> bool {
        self.0[name].split(['*', '/']).any(|factor| factor == word)
    }

    /// A declared [`Kind::StepSize`] at this budget and step count.
    pub fn step_size(&self, name: &str, eps: Ratio, steps: usize) -> Result<Ratio, String> {
        let text = &self.0[name];
        let value = product(text, |word| match word {
            "eps" => Some(eps),
            "steps" => Ratio::new(steps as u128, 1),
            _ => None,
        });
        value.ok_or_else(|| format!("`{name}` = \"{text}\" has no value at eps {eps} and {steps} steps"))
    }
}

/// Expected in place of a number that cannot be kept exactly.
const FEWER_DIGITS: &str = "a number of 11 digits at most, or a fraction as \"1/3\"";

impl Kind {
    /// What it takes, in words; what is to be written as it stands in backquotes.
    pub fn values(self) -> String {
        match self {
            Kind::Count => "a whole number".into(),
            Kind::CountOr(word) => format!("a whole number, or `{word}`"),
            Kind::Flag => "`true`, `false`".into(),
            Kind::StepSize => "a product of numbers, `eps`, `steps`".into(),
            Kind::Choice(known) => format!("`{}`", known.join("`, `")),
            Kind::Number => "a number".into(),
            Kind::Positive => "a number above 0".into(),
            Kind::Auto => "a number, or `auto`".into(),
            Kind::Picture => "path of a picture".into(),
        }
    }

    /// The value in normal form, or what was expected.
    fn normal(self, text: &str) -> Result<String, String> {
        match self {
            Kind::Count => match text.parse::<u64>() {
                Ok(n) if (1..=MOST).contains(&n) => Ok(n.to_string()),
                _ => Err(format!("a whole number from 1 to {MOST}")),
            },
            Kind::CountOr(word) if text == word => Ok(text.to_string()),
            Kind::CountOr(word) => Kind::Count.normal(text).map_err(|expected| format!("\"{word}\" or {expected}")),
            Kind::Flag => match text {
                "true" | "false" => Ok(text.to_string()),
                _ => Err("true or false".into()),
            },
            Kind::Choice(known) => match known.contains(&text) {
                true => Ok(text.to_string()),
                false => Err(format!("one of {}", known.join(", "))),
            },
            Kind::Picture => Ok(text.to_string()),
            Kind::Auto if text == "auto" => Ok(text.to_string()),
            Kind::Auto => Kind::Number.normal(text).map_err(|expected| format!("\"auto\" or {expected}")),
            Kind::Number => match number(text).filter(|n| n.to_f64() <= MOST as f64) {
                Some(n) => Ok(n.to_string()),
                None if Ratio::refusal(text).is_some() => Err(FEWER_DIGITS.into()),
                None => Err(format!("a number from 0 to {MOST}, as \"0.05\" or \"1/3\"")),
            },
            Kind::Positive => match number(text) {
                Some(n) if n.num() == 0 => Err(format!("a number above 0, up to {MOST}")),
                _ => Kind::Number.normal(text),
            },
            Kind::StepSize => {
                let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                let one = Ratio::new(1, 1);
                let sound = product(&text, |word| if ["eps", "steps"].contains(&word) { one } else { None });
                match sound.filter(|v| v.num() > 0) {
                    Some(_) => Ok(text),
                    None if text.split(['*', '/']).any(|word| Ratio::refusal(word).is_some()) => {
                        Err(FEWER_DIGITS.into())
                    }
                    None => Err("a product as \"2/255\" or \"2.5*eps/steps\"".into()),
                }
            }
        }
    }
}

/// [`Ratio::parse`], and numbers with an exponent, as `1e-3`.
fn number(text: &str) -> Option<Ratio> {
    let Some((digits, exponent)) = text.split_once(['e', 'E']) else { return Ratio::parse(text) };
    let (digits, exponent) = (Ratio::parse(digits)?, exponent.parse::<i32>().ok()?);
    let power = Ratio::new(10u128.checked_pow(exponent.unsigned_abs())?, 1)?;
    if exponent < 0 { digits.over(power) } else { digits.times(power) }
}

/// Value of factors joined by `*` and `/`, from the left; words through `value`.
fn product(text: &str, value: impl Fn(&str) -> Option<Ratio>) -> Option<Ratio> {
    let factor = |word: &str| value(word).or_else(|| Ratio::parse(word));
    let mut rest = text;
    let mut total = Ratio::new(1, 1)?;
    let mut divide = false;
    loop {
        let end = rest.find(['*', '/']).unwrap_or(rest.len());
        let f = factor(&rest[..end])?;
        total = if divide { total.over(f)? } else { total.times(f)? };
        match rest.as_bytes().get(end) {
            None => return Some(total),
            Some(operator) => divide = *operator == b'/',
        }
        rest = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[Param] = &[
        Param { name: "steps", kind: Kind::Count, default: "10", summary: "" },
        Param { name: "step_size", kind: Kind::StepSize, default: "2.5*eps/steps", summary: "" },
        Param { name: "random_start", kind: Kind::Flag, default: "true", summary: "" },
    ];

    #[test]
    fn step_sizes_are_exact() {
        let at = |text: &str, eps: &str, steps| {
            let params = Params::resolve(DECLARED, &[("step_size", text)]).unwrap();
            params.step_size("step_size", Ratio::parse(eps).unwrap(), steps).unwrap()
        };
        assert_eq!(at("2.5*eps/steps", "8/255", 10), Ratio::parse("2/255").unwrap());
        assert_eq!(at("2/255", "8/255", 10), Ratio::parse("2/255").unwrap());
        assert_eq!(at("eps / 4", "1", 3), Ratio::parse("0.25").unwrap());
    }

    #[test]
    fn numbers_may_have_an_exponent() {
        let reads = |text: &str| Kind::Number.normal(text);
        assert_eq!(reads("1e-3"), Ok("0.001".into()));
        assert_eq!((reads("2.5E2"), reads("5e+1")), (Ok("250".into()), Ok("50".into())));
        for text in ["1e", "e3", "1e-99", "1e12", "1e3.5", "1e99999999999"] {
            assert!(reads(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let given = [
            ("stepss", "1"),
            ("steps", "0"),
            ("step_size", "2*epsilon"),
            ("random_start", "yes"),
            ("step_size", "eps/0"),
        ];
        let problems = Params::resolve(DECLARED, &given).unwrap_err();
        assert_eq!(problems.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(problems[0].1.contains("did you mean `steps`"), "{}", problems[0].1);
    }
}
