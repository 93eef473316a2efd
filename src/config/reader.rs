//! Reads TOML tables by hand, so that *all* errors of a file are found in one go, each with its line, and an unknown
//! key comes with the nearest known one. (serde stops at the first.)

use super::asked::{Asked, Form};
use crate::error::{Error, Result, hint};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and the line it stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Line, from 1.
    pub line: usize,
}

/// What stands in place of a value that `foolproof init` could not know.
pub const FILL_IN: &str = "FILL IN";

/// The problems of one file, collected while it is read.
pub struct Problems {
    path: String,
    text: String,
    found: RefCell<Vec<(usize, String)>>,
    /// Keys whose value is yet to be filled in, with their lines: nothing else is said of them.
    open: RefCell<Vec<(usize, String)>>,
}

impl Problems {
    /// No problem yet.
    pub fn new(path: &Path, text: &str) -> Problems {
        Problems {
            path: path.display().to_string(),
            text: text.to_string(),
            found: RefCell::default(),
            open: RefCell::default(),
        }
    }

    /// Adds a problem.
    pub fn add(&self, line: usize, problem: impl Into<String>) {
        self.found.borrow_mut().push((line, problem.into()));
    }

    /// Ok where there are none, else all of them by line.
    pub fn into_result(self) -> Result<()> {
        let (mut found, open) = (self.found.into_inner(), self.open.into_inner());
        found.retain(|(line, problem)| {
            open.iter().all(|(at, key)| line != at && !problem.starts_with(&format!("`{key}`")))
        });
        found.extend(open.into_iter().map(|(line, key)| {
            (line, format!("`{key}` is still \"{FILL_IN}\" (hint: the comment on this line says what it may be)"))
        }));
        found.sort();
        found.dedup();
        match found.is_empty() {
            true => Ok(()),
            false => Err(Error::Config(found.into_iter().map(|(l, p)| format!("{}:{l}: {p}", self.path)).collect())),
        }
    }

    /// Notes every value below `table` that is yet to be filled in.
    fn note_what_is_open(&self, table: &DeTable) {
        for (key, value) in table.iter() {
            match value.get_ref() {
                DeValue::String(text) if text.starts_with(FILL_IN) => {
                    self.open.borrow_mut().push((self.line(value.span().start), key.get_ref().to_string()));
                }
                DeValue::Table(inner) => self.note_what_is_open(inner),
                DeValue::Array(list) => {
                    list.iter().filter_map(|v| v.get_ref().as_table()).for_each(|inner| self.note_what_is_open(inner));
                }
                _ => {}
            }
        }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    fn at<T, U>(&self, spanned: &Spanned<T>, value: U) -> At<U> {
        At { value, line: self.line(spanned.span().start) }
    }
}

/// Parses `text` and hands its top table to `read`. Syntax errors stand among the problems.
pub(super) fn read<T>(problems: &Problems, read: impl FnOnce(&Table) -> T) -> T {
    let text = problems.text.clone();
    let (document, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        problems.add(problems.line(error.span().map_or(0, |s| s.start)), error.message());
    }
    problems.note_what_is_open(document.get_ref());
    let table = Table::new(problems, String::new(), document.get_ref(), 1);
    let value = read(&table);
    table.finish();
    value
}

/// What `read` asks of a file: it is given an empty one, of which every question is noted.
pub(super) fn ask<T>(read: impl FnOnce(&Table) -> T) -> Asked {
    let problems = Problems::new(Path::new(""), "");
    let (document, _) = DeTable::parse_recoverable("");
    let table =
        Table { notes: Some(RefCell::default()), ..Table::new(&problems, String::new(), document.get_ref(), 1) };
    read(&table);
    table.noted()
}

/// A table under reading. Keys that nobody asks for are errors.
pub(super) struct Table<'a> {
    problems: &'a Problems,
    /// Where it stands, for messages: `sweep[0].data`; empty: the top.
    place: String,
    entries: &'a DeTable<'a>,
    /// First line.
    pub line: usize,
    asked: RefCell<Vec<&'static str>>,
    /// `Some`: nothing is there, and every question is noted.
    notes: Option<RefCell<Asked>>,
}

impl<'a> Table<'a> {
    fn new(problems: &'a Problems, place: String, entries: &'a DeTable<'a>, line: usize) -> Table<'a> {
        Table { problems, place, entries, line, asked: RefCell::default(), notes: None }
    }

    /// Whether every question is noted, and nothing is there: what is asked in some cases alone is to be asked, too.
    pub fn is_asking(&self) -> bool {
        self.notes.is_some()
    }

    fn note(&self, note: impl FnOnce(&mut Asked)) {
        if let Some(notes) = &self.notes {
            note(&mut notes.borrow_mut());
        }
    }

    fn noted(self) -> Asked {
        self.notes.map_or_else(Asked::default, RefCell::into_inner).settled()
    }

    /// What `read` asks of a table within; `None`: nothing is noted.
    fn ask_within(&self, read: impl FnOnce(&Table)) -> Option<Asked> {
        self.notes.as_ref()?;
        let within =
            Table { notes: Some(RefCell::default()), ..Table::new(self.problems, String::new(), self.entries, 1) };
        read(&within);
        Some(within.noted())
    }

    /// Notes that a file without the key is refused; the caller says so.
    pub fn needs(&self, key: &'static str) {
        self.note(|asked| asked.must_be(key));
    }

    /// Notes the bounds of a number.
    pub fn range(&self, key: &'static str, least: u64, most: u64) {
        self.note(|asked| asked.within(key, (least, most)));
    }

    /// The file that is read.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.problems.path)
    }

    /// Adds a problem that concerns the whole table.
    pub fn problem(&self, line: usize, problem: impl Into<String>) {
        self.problems.add(line, problem);
    }

    fn key(&self, key: &str) -> String {
        if self.place.is_empty() { format!("`{key}`") } else { format!("`{key}` in `{}`", self.place) }
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.entries.iter().find(|(k, _)| k.get_ref().as_ref() == key).map(|(_, v)| v)
    }

    /// `key` through `convert`, which names what it expected.
    fn value<T>(
        &self,
        key: &'static str,
        expected: &str,
        form: Form,
        convert: impl Fn(&DeValue<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        self.note(|asked| asked.may_be(key, form));
        let value = self.get(key)?;
        let at = self.problems.at(value, ());
        match convert(value.get_ref()) {
            Some(v) => Some(At { value: v, line: at.line }),
            None => {
                self.problem(
                    at.line,
                    format!("{}: expected {expected}, found {}", self.key(key), describe(value.get_ref())),
                );
                None
            }
        }
    }

    /// Text, if the key is there.
    pub fn text(&self, key: &'static str) -> Option<At<String>> {
        self.value(key, "a text", Form::Text, |v| v.as_str().map(String::from))
    }

    /// Text, or a problem.
    pub fn required_text(&self, key: &'static str) -> Option<At<String>> {
        if self.required(key).is_none() && !self.is_asking() {
            return None;
        }
        self.text(key)
    }

    /// A whole number from 0, if the key is there.
    pub fn count(&self, key: &'static str) -> Option<At<u64>> {
        self.value(key, "a whole number from 0", Form::Count, integer)
    }

    /// A decimal or whole number, if the key is there.
    pub fn number(&self, key: &'static str) -> Option<At<f64>> {
        self.value(key, "a number", Form::Number, number)
    }

    /// True or false, if the key is there.
    pub fn flag(&self, key: &'static str) -> Option<At<bool>> {
        self.value(key, "true or false", Form::Flag, |v| v.as_bool())
    }

    /// Numbers, if the key is there.
    pub fn numbers(&self, key: &'static str) -> Option<At<Vec<f64>>> {
        let list = Form::List(Box::new(Form::Number));
        self.value(key, "a list of numbers", list, |v| v.as_array()?.iter().map(|e| number(e.get_ref())).collect())
    }

    /// One of these texts, if the key is there.
    pub fn word(&self, key: &'static str, known: &'static [&'static str]) -> Option<At<String>> {
        let text = self.value(key, "a text", Form::Word(known), |v| v.as_str().map(String::from))?;
        if !known.contains(&text.value.as_str()) {
            let hint = hint(&text.value, known.iter().copied());
            self.problem(text.line, format!("unknown `{key}` `{}`{hint}", text.value));
        }
        Some(text)
    }

    /// Problem where the key is missing.
    fn required(&self, key: &'static str) -> Option<()> {
        self.note(|asked| asked.must_be(key));
        let found = self.get(key).is_some();
        if !found {
            self.problem(self.line, format!("missing key {}", self.key(key)));
        }
        found.then_some(())
    }

    /// A list of texts, not empty; problems otherwise.
    pub fn texts(&self, key: &'static str) -> Vec<At<String>> {
        let mut texts = Vec::new();
        self.each(key, "a text", Form::Text, |element, at, _| match element.as_str() {
            Some(text) => texts.push(At { value: text.to_string(), line: at }),
            None => {
                let found = describe(element);
                self.problem(
                    at,
                    format!("{}: expected a list of texts, in quotation marks, found {found}", self.key(key)),
                );
            }
        });
        texts
    }

    /// A list of whole numbers from 0, not empty; problems otherwise.
    pub fn counts(&self, key: &'static str) -> Vec<u64> {
        let mut counts = Vec::new();
        self.each(key, "a whole number from 0", Form::Count, |element, at, _| match integer(element) {
            Some(count) => counts.push(count),
            None => {
                let found = describe(element);
                self.problem(at, format!("{}: expected a list of whole numbers from 0, found {found}", self.key(key)));
            }
        });
        counts
    }

    /// Whether the key is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.note(|asked| asked.may_lack(key));
        self.is_asking() || self.get(key).is_some()
    }

    /// Whether one of the keys is there, as it must; the caller says what is missing.
    pub fn has_one_of(&self, keys: &'static [&'static str]) -> bool {
        self.note(|asked| asked.one_of.push(keys));
        self.is_asking() || keys.iter().any(|key| self.get(key).is_some())
    }

    /// The text of a key, if it is there and a text; nothing is a problem.
    pub fn peek(&self, key: &'static str) -> Option<&str> {
        self.get(key)?.get_ref().as_str()
    }

    /// Whether the key is there and a table.
    fn is_table(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// A list of texts or numbers, as texts, not empty; problems otherwise.
    pub fn scalars(&self, key: &'static str) -> Vec<At<String>> {
        let mut texts = Vec::new();
        self.each(key, "a text or number", Form::Scalar, |element, at, _| match scalar(element) {
            Some(text) => texts.push(At { value: text, line: at }),
            None => {
                let found = describe(element);
                self.problem(at, format!("{}: expected a list of texts or numbers, found {found}", self.key(key)));
            }
        });
        texts
    }

    /// Calls `read` for each table of a list, not empty; problems otherwise.
    pub fn tables(&self, key: &'static str, mut read: impl FnMut(&Table)) {
        if let Some(asked) = self.ask_within(&mut read) {
            return self.each(key, "a table", Form::Table(asked), |_, _, _| {});
        }
        self.each(key, "a table", Form::Table(Asked::default()), |element, line, i| match element.as_table() {
            Some(entries) => {
                let table = Table::new(self.problems, self.within(&format!("{key}[{i}]")), entries, line);
                read(&table);
                table.finish();
            }
            None => self.problem(line, format!("{}: expected a table, found {}", self.key(key), describe(element))),
        });
    }

    /// What `plain` makes of each text of a list, and `read` of each table; not empty, problems otherwise.
    pub fn texts_or_tables<T>(
        &self,
        key: &'static str,
        plain: impl Fn(&At<String>) -> T,
        read: impl Fn(&Table) -> Option<T>,
    ) -> Vec<T> {
        let expected = "a text or a table";
        if let Some(asked) = self.ask_within(|table| drop(read(table))) {
            self.each(key, expected, Form::AnyOf(vec![Form::Text, Form::Table(asked)]), |_, _, _| {});
            return Vec::new();
        }
        let mut all = Vec::new();
        self.each(key, expected, Form::Text, |element, line, i| match (element.as_str(), element.as_table()) {
            (Some(text), _) => all.push(plain(&At { value: text.to_string(), line })),
            (_, Some(entries)) => {
                let table = Table::new(self.problems, self.within(&format!("{key}[{i}]")), entries, line);
                all.extend(read(&table));
                table.finish();
            }
            _ => self.problem(line, format!("{}: expected {expected}, found {}", self.key(key), describe(element))),
        });
        all
    }

    /// A text or a list of texts, if the key is there.
    pub fn text_or_texts(&self, key: &'static str) -> Vec<At<String>> {
        if !self.has(key) {
            return Vec::new();
        }
        let is_list = self.get(key).is_some_and(|value| value.get_ref().as_array().is_some());
        let one = if is_list { None } else { self.text(key) };
        let several = if is_list || self.is_asking() { self.texts(key) } else { Vec::new() };
        one.into_iter().chain(several).collect()
    }

    /// A whole number from 0 or a list of them, if the key is there.
    pub fn count_or_counts(&self, key: &'static str) -> Vec<u64> {
        if !self.has(key) {
            return Vec::new();
        }
        let is_list = self.get(key).is_some_and(|value| value.get_ref().as_array().is_some());
        let one = if is_list { None } else { self.count(key).map(|count| count.value) };
        let several = if is_list || self.is_asking() { self.counts(key) } else { Vec::new() };
        one.into_iter().chain(several).collect()
    }

    /// Calls `read` for a table or for each table of a list, if the key is there.
    pub fn table_or_tables(&self, key: &'static str, mut read: impl FnMut(&Table)) {
        if self.is_asking() && self.has(key) {
            self.table(key, |table| read(table));
            self.tables(key, read);
            return;
        }
        match self.get(key).map(|v| v.get_ref().as_array().is_some()) {
            Some(true) => self.tables(key, read),
            Some(false) => self.table(key, |table| read(table)).unwrap_or_default(),
            None => {}
        }
    }

    /// Calls `read` for a table.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Table) -> T) -> Option<T> {
        if self.is_asking() {
            let asked = self.ask_within(|table| drop(read(table)))?;
            self.note(|notes| notes.may_be(key, Form::Table(asked)));
            return None;
        }
        let value = self.get(key)?;
        let line = self.problems.at(value, ()).line;
        let Some(entries) = value.get_ref().as_table() else {
            self.problem(line, format!("{}: expected a table, found {}", self.key(key), describe(value.get_ref())));
            return None;
        };
        let table = Table::new(self.problems, self.within(key), entries, line);
        let result = read(&table);
        table.finish();
        Some(result)
    }

    /// A table that must be there.
    pub fn required_table<T>(&self, key: &'static str, read: impl FnOnce(&Table) -> T) -> Option<T> {
        if self.required(key).is_none() && !self.is_asking() {
            return None;
        }
        self.table(key, read)
    }

    /// What `read` makes of a table, or `plain` of `true` in its place; `false` is nothing.
    pub fn table_or_flag<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Table) -> Option<T>,
        plain: impl FnOnce(usize) -> T,
    ) -> Option<T> {
        if !self.is_table(key)
            && let Some(flag) = self.flag(key)
        {
            return flag.value.then(|| plain(flag.line));
        }
        if self.is_asking() || self.is_table(key) { self.table(key, read).flatten() } else { None }
    }

    /// All entries but those asked for already, values as text: parameters whose names only a registry knows.
    pub fn rest(&self) -> Vec<(At<String>, Vec<String>)> {
        self.note(|asked| asked.rest = true);
        let mut rest = Vec::new();
        for (key, value) in self.entries.iter() {
            let name = key.get_ref().as_ref();
            if self.asked.borrow().contains(&name) {
                continue;
            }
            let at = self.problems.at(key, name.to_string());
            let texts: Option<Vec<String>> = match value.get_ref().as_array() {
                Some(list) if !list.is_empty() => list.iter().map(|v| scalar(v.get_ref())).collect(),
                _ => scalar(value.get_ref()).map(|text| vec![text]),
            };
            match texts {
                Some(texts) => rest.push((at, texts)),
                None => {
                    let found = describe(value.get_ref());
                    let expected = "a number, true, false or a text, or a list of them";
                    self.problem(at.line, format!("{}: expected {expected}, found {found}", self.key(name)));
                }
            }
        }
        rest
    }

    fn within(&self, inner: &str) -> String {
        if self.place.is_empty() { inner.to_string() } else { format!("{}.{inner}", self.place) }
    }

    fn each(&self, key: &'static str, what: &str, form: Form, mut visit: impl FnMut(&'a DeValue<'a>, usize, usize)) {
        self.note(|asked| asked.may_be(key, Form::Filled(Box::new(form))));
        let Some(value) = self.required(key).and_then(|()| self.get(key)) else {
            return;
        };
        let line = self.problems.at(value, ()).line;
        match value.get_ref().as_array() {
            Some(list) if list.is_empty() => self.problem(
                line,
                format!("{}: the list is empty (hint: one entry at least, or leave the key out)", self.key(key)),
            ),
            Some(list) => {
                for (i, element) in list.iter().enumerate() {
                    visit(element.get_ref(), self.problems.at(element, ()).line, i);
                }
            }
            None => {
                let found = describe(value.get_ref());
                self.problem(line, format!("{}: expected a list, each {what}, found {found}", self.key(key)));
            }
        }
    }

    /// Reports the keys nobody asked for. Not called after [`Table::rest`] took them.
    fn finish(&self) {
        let asked = self.asked.borrow();
        if asked.contains(&REST) {
            return;
        }
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let mut known: Vec<&str> = asked.clone();
                known.sort();
                known.dedup();
                let line = self.problems.at(key, ()).line;
                self.problem(line, format!("unknown key {}{}", self.key(name), hint(name, known)));
            }
        }
    }

    /// Says that unknown keys are somebody else's to judge.
    pub fn leave_rest(&self) {
        self.asked.borrow_mut().push(REST);
    }
}

/// No TOML bare key asked for in our files is empty.
const REST: &str = "";

fn integer(value: &DeValue) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn number(value: &DeValue) -> Option<f64> {
    let parsed: Option<f64> = match value.as_float() {
        Some(f) => f.as_str().parse().ok(),
        None => value.as_integer().filter(|i| i.radix() == 10).and_then(|i| i.as_str().parse().ok()),
    };
    parsed.filter(|v| v.is_finite())
}

fn scalar(value: &DeValue) -> Option<String> {
    match value {
        DeValue::String(s) => Some(s.to_string()),
        DeValue::Boolean(b) => Some(b.to_string()),
        DeValue::Integer(i) if i.radix() == 10 => Some(i.as_str().to_string()),
        DeValue::Float(f) => Some(f.as_str().to_string()),
        _ => None,
    }
}

fn describe(value: &DeValue) -> String {
    match scalar(value) {
        Some(text) if value.is_str() => format!("the text \"{}\"", shorten(&text)),
        Some(text) => format!("{} `{}`", value.type_str(), shorten(&text)),
        None => format!("a value of type {}", value.type_str()),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 { text.to_string() } else { text.chars().take(39).chain(['…']).collect() }
}
