//! What the classes of a model are called, where no dataset says so.

use crate::config::{ClassNames, ModelFile, Names, problem_of};
use crate::data::{self, CLASS_SETS};
use crate::error::{Error, Result};
use crate::model::ModelSource;
use std::path::Path;

/// Names of a model's classes: those of the set that is asked for, or of the lines of a file; else what its model file says
/// ([`of_file`]); else ImageNet's, of a thousand; else numbers. Several networks as one have the names of those that have
/// some, if these agree. The second says what was assumed.
///
/// # Errors
/// Another number of names than of classes; a file that cannot be read, or has empty lines among its names.
pub fn class_names(model: &ModelSource, asked: Option<&str>) -> Result<(Vec<String>, Option<String>)> {
    let classes = model.file.classes;
    if let Some(asked) = asked {
        let names = asked_for(asked)?;
        return match names.len() == classes {
            true => Ok((names, None)),
            false => Err(Error::usage(format!(
                "`{asked}` names {} classes, model `{}` has {classes} (hint: a file with {classes} lines)",
                names.len(),
                model.name
            ))),
        };
    }
    let mut known = Vec::new();
    for file in model.files() {
        known.extend(of_file(file)?);
    }
    known.dedup();
    let imagenet = || data::class_names("imagenet").filter(|names| names.len() == classes);
    let why = match known.len() {
        1 => return Ok((known.swap_remove(0), None)),
        0 => format!("nothing names the {classes} classes of model `{}`", model.name),
        _ => format!("the networks of `{}` name their classes differently", model.name),
    };
    if let Some(names) = imagenet().filter(|_| known.is_empty()) {
        let note = format!("model `{}` has 1000 classes: taken to be ImageNet's (hint: --classes FILE)", model.name);
        return Ok((names, Some(note)));
    }
    let note = format!(
        "{why}: they are numbered from 0 (hint: `class_names` in the model file; --classes {} or a file with a name a line)",
        CLASS_SETS.join(", ")
    );
    Ok(((0..classes).map(|class| format!("class {class}")).collect(), Some(note)))
}

/// Names of the set that is asked for, or of the lines of a file.
///
/// # Errors
/// A file that cannot be read, or has empty lines among its names.
pub fn asked_for(text: &str) -> Result<Vec<String>> {
    names_of(text, Path::new("")).map_err(|problem| Error::usage(format!("classes `{text}`: {problem}")))
}

/// Names that a model file says, else those of the data that its published accuracy speaks of; `None`: neither says any.
///
/// # Errors
/// A file that cannot be read; names that are not those of so many classes.
pub fn of_file(file: &ModelFile) -> Result<Option<Vec<String>>> {
    let Some(ClassNames { names, path, line }) = &file.class_names else {
        let population = file.published.as_ref().and_then(|p| p.population.split('-').next());
        return Ok(population.and_then(data::class_names).filter(|names| names.len() == file.classes));
    };
    let problem = |problem: String| Error::Config(vec![format!("{}:{line}: `class_names`: {problem}", path.display())]);
    let (names, of) = match names {
        Names::Listed(names) => (names.clone(), String::new()),
        Names::Of(text) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            let names = names_of(text, folder).map_err(|p| problem(format!("\"{text}\": {p}")))?;
            (names, format!("\"{text}\": "))
        }
    };
    match problem_of(&names, Some(file.classes)) {
        Some(found) => Err(problem(of + &found)),
        None => Ok(Some(names)),
    }
}

/// Names of a known set, or of a text file, one a line, whose path counts from `folder`. `Err`: why there are none.
fn names_of(text: &str, folder: &Path) -> Result<Vec<String>, String> {
    if let Some(names) = data::class_names(text) {
        return Ok(names);
    }
    let path = folder.join(text);
    let read = std::fs::read_to_string(&path).map_err(|e| {
        let known = CLASS_SETS.join(", ");
        format!("no file that can be read: {e} (hint: {known}, or a file with a name a line)")
    })?;
    // editors of Windows begin a file with a byte order mark
    let names: Vec<String> =
        read.trim_start_matches('\u{feff}').trim_end().lines().map(|line| line.trim().to_string()).collect();
    match names.iter().position(String::is_empty) {
        // the numbers of all classes behind it would shift
        Some(empty) => {
            Err(format!("line {} is empty, and every line names a class (hint: a name there, or no line)", empty + 1))
        }
        None => Ok(names),
    }
}
