//! What was found, line by line.

use super::super::sheet::Sheet;
use crate::error::{Error, Result};
use std::fmt::Display;

/// Lines with their keys, and what is wrong.
#[derive(Default)]
pub struct Report {
    lines: Vec<(&'static str, String)>,
    /// Of each, where it is told.
    pub faults: Vec<String>,
}

impl Report {
    /// Adds a line.
    pub fn line(&mut self, key: &'static str, value: impl Into<String>) {
        self.lines.push((key, value.into()));
    }

    /// Adds a line that says what is wrong with what, and how it may be mended.
    pub fn fault(&mut self, key: &'static str, what: &str, problem: impl Display) {
        self.faults.push(format!("{key}: {what}"));
        self.line(key, format!("FAULT: {what}: {problem}"));
    }

    /// Adds the last line.
    pub fn settle(&mut self) {
        let result = match self.faults.len() {
            0 => "all well".to_string(),
            n => format!("{n} at fault"),
        };
        self.line("result", result);
    }

    /// `key: value`.
    pub fn to_text(&self) -> Vec<u8> {
        let mut sheet = Sheet::default();
        self.lines.iter().for_each(|(key, value)| sheet.line(key, value));
        sheet.as_bytes().to_vec()
    }

    /// An object of lists, and a line end.
    ///
    /// # Errors
    /// None that can be thought of.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut object = serde_json::Map::new();
        for (key, value) in &self.lines {
            let values = object.entry(*key).or_insert_with(|| serde_json::Value::Array(Vec::new()));
            values.as_array_mut().expect("made here").push(value.as_str().into());
        }
        let text = serde_json::to_string_pretty(&object);
        text.map(|text| (text + "\n").into_bytes()).map_err(|e| Error::usage(format!("the report as JSON: {e}")))
    }
}
