//! What a model file calls its classes: `class_names`.

use super::reader::Table;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a model file calls its classes.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassNames {
    /// The names, or what stands for them.
    pub names: Names,
    /// The model file.
    pub path: PathBuf,
    /// Its line that says so.
    pub line: usize,
}

/// Names of classes, by label.
#[derive(Debug, Clone, PartialEq)]
pub enum Names {
    /// These.
    Listed(Vec<String>),
    /// Those of a known set, or of a text file with a name a line, from the folder of the model file.
    Of(String),
}

const KEY: &str = "class_names";

/// The key, if it is there; a problem where it lists no names of so many classes. Sets and files are looked up where names are
/// asked for: no sweep over labelled images needs them.
pub(super) fn read(top: &Table, classes: Option<u64>) -> Option<ClassNames> {
    if !top.has(KEY) {
        return None;
    }
    let of = |names: Names, line: usize| Some(ClassNames { names, path: top.path(), line });
    if top.is_asking() || top.peek(KEY).is_some() {
        let text = top.text(KEY);
        if !top.is_asking() {
            return text.and_then(|text| of(Names::Of(text.value), text.line));
        }
    }
    let listed = top.texts(KEY);
    let line = listed.first()?.line;
    let names: Vec<String> = listed.into_iter().map(|name| name.value.trim().to_string()).collect();
    if let Some(problem) = problem_of(&names, classes.map(|n| n as usize)) {
        top.problem(line, format!("`{KEY}`: {problem}"));
    }
    of(Names::Listed(names), line)
}

/// Why these are no names of so many classes; the number may be unknown.
pub fn problem_of(names: &[String], classes: Option<usize>) -> Option<String> {
    if let Some(n) = classes.filter(|n| *n != names.len()) {
        return Some(format!(
            "{} names for {n} classes (hint: one name a class, in the order of the network's outputs)",
            names.len()
        ));
    }
    let mut first = BTreeMap::new();
    names.iter().enumerate().find_map(|(class, name)| match name.trim() {
        "" => Some(format!("class {class} has an empty name (hint: any name, as \"class {class}\")")),
        name if name.contains(char::is_control) => {
            Some(format!("class {class} is called {name:?}, with a control character (hint: plain text in one line)"))
        }
        name => first.insert(name, class).map(|other| {
            format!("classes {other} and {class} are both called \"{name}\" (hint: names that tell them apart)")
        }),
    })
}
