//! Names of the classes, as a model file has them.

use crate::config::{problem_of, quoted};
use crate::data::{self, CLASS_SETS};
use crate::error::{Error, Result};
use std::path::Path;

/// Names as they are written.
pub enum Written {
    /// A set that is known by this name.
    Set(&'static str),
    /// In the model file.
    Inline(Vec<String>),
    /// In a file of their own, a name a line.
    Beside(Vec<String>),
}

/// More names go into a file of their own.
const MOST_INLINE: usize = 20;

impl Written {
    /// The names that were asked for, else those of the images, where they tell so many classes apart.
    ///
    /// # Errors
    /// Names that were asked for, and do not.
    pub fn of(asked: Option<&Vec<String>>, of_images: Option<&Vec<String>>, classes: usize) -> Result<Option<Written>> {
        if let Some(problem) = asked.and_then(|names| problem_of(names, Some(classes))) {
            return Err(Error::usage(format!("--classes: {problem}")));
        }
        let tell = |names: &&Vec<String>| problem_of(names, Some(classes)).is_none() && names.iter().all(is_line);
        let Some(names) = asked.or(of_images.filter(tell)) else { return Ok(None) };
        let set = CLASS_SETS.iter().find(|set| data::class_names(set).as_ref() == Some(names));
        Ok(Some(match set {
            Some(set) => Written::Set(set),
            None if names.len() <= MOST_INLINE => Written::Inline(names.clone()),
            None => Written::Beside(names.clone()),
        }))
    }

    /// The value of the key; `file` is that of [`Written::lines`], beside the model file.
    pub fn value(&self, file: &Path) -> String {
        match self {
            Written::Set(set) => quoted(set),
            Written::Inline(names) => {
                format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
            }
            Written::Beside(_) => quoted(&file.file_name().unwrap_or_default().to_string_lossy()),
        }
    }

    /// The text of their own file, if they have one.
    pub fn lines(&self) -> Option<String> {
        match self {
            Written::Beside(names) => Some(names.join("\n") + "\n"),
            _ => None,
        }
    }
}

/// Whether a name is read again from its line as it is.
fn is_line(name: &String) -> bool {
    name.trim() == name && !name.contains(['\n', '\r'])
}
