//! Lines of a TOML file with their comments.

use crate::config::{FILL_IN, quoted};

/// Column that comments begin at.
const COMMENT: usize = 48;

/// What stands where a value is to be filled in.
pub fn open_value() -> String {
    quoted(FILL_IN)
}

/// `key = value  # comment`.
pub fn line(key: &str, value: &str, comment: &str) -> String {
    commented(&format!("{key:<7} = {value}"), comment)
}

/// Any line with a comment, if there is one.
pub fn commented(line: &str, comment: &str) -> String {
    match comment {
        "" => format!("{line}\n"),
        _ => format!("{line:<COMMENT$}  # {comment}\n"),
    }
}

/// A line whose value is to be filled in.
pub fn open_line(key: &str, what: &str) -> String {
    line(key, &open_value(), &format!("{FILL_IN}: {what}"))
}
