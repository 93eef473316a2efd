//! A model in full.

use super::super::options::Options;
use super::super::registries::print;
use super::super::sheet::Sheet;
use crate::config::{ModelFile, Place, PublishedSpec, UNPINNED};
use crate::error::{Error, Result, hint};
use crate::hub::{Hub, Kind, RemoteFile};
use crate::model::{BuiltIn, MODELS, families, weight_places};
use crate::size;
use crate::sweep::class_names;
use std::path::Path;

/// Prints the model of this name.
pub fn model(name: &str, options: &Options) -> Result<()> {
    let known = || hint(name, MODELS.iter().map(|m| m.name));
    let entry = MODELS.iter().find(|m| m.name == name);
    let entry = entry.ok_or_else(|| Error::usage(format!("unknown model `{name}`{}", known())))?;
    let source = options.here();
    print(sheet(entry, &source.hub, source.folder())?.as_bytes())
}

fn sheet(entry: &BuiltIn, hub: &Hub, data: &Path) -> Result<Sheet> {
    let file = entry.file()?;
    let family = families::find(&file.family).map_err(Error::usage)?;
    let mut sheet = Sheet::default();
    sheet.line("model", entry.name);
    sheet.line("family", format!("{} ({})", file.family, family.title));
    for key in family.keys {
        sheet.line(key.name, format!("{} ({})", file.value(key), key.summary));
    }
    sheet.line("classes", classes(&file)?);
    sheet.line("images", format!("{} pixels{}", size::text(file.size), preparation(&file)));
    sheet.line("mean", format!("{:?}", file.mean));
    sheet.line("std", format!("{:?}", file.std));
    sheet.line("weights", weights(entry, &file, hub, data));
    sheet.line("sha256", file.sha256.as_deref().unwrap_or(UNPINNED));
    let none = || "none is known: the clean accuracy of a run is compared with nothing".to_string();
    sheet.line("clean", file.published.as_ref().map_or_else(none, |p| accuracy(p, "")));
    if let Some(robust) = &file.robust {
        let against = format!(" under {} in {} at {}", robust.attack, robust.norm, robust.eps);
        sheet.line("robust", accuracy(&robust.accuracy, &against));
    }
    sheet.gap();
    sheet.text(0, "in a sweep file:");
    sheet.verbatim(2, &format!("models = [\"{}\"]", entry.name));
    sheet.gap();
    sheet.text(0, "its model file, to begin one of your own:");
    let mut comment = String::new();
    for line in entry.text().lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment += text;
            continue;
        }
        if !comment.is_empty() {
            sheet.comment(2, &std::mem::take(&mut comment));
        }
        if line.is_empty() { sheet.gap() } else { sheet.verbatim(2, line) }
    }
    Ok(sheet)
}

/// Their number, and the first of their names.
fn classes(file: &ModelFile) -> Result<String> {
    let mut names = class_names::of_file(file)?.unwrap_or_default();
    let more = if names.len() > FIRST { ", …" } else { "" };
    names.truncate(FIRST);
    Ok(match names.is_empty() {
        true => file.classes.to_string(),
        false => format!("{}: {}{more}", file.classes, names.join(", ")),
    })
}

/// Names of classes that are shown.
const FIRST: usize = 5;

fn preparation(file: &ModelFile) -> String {
    let how = if file.bicubic { "bicubic" } else { "bilinear" };
    file.resize.map_or(String::new(), |short| format!("; of pictures the short side is made {short}, {how}"))
}

fn accuracy(published: &PublishedSpec, against: &str) -> String {
    let PublishedSpec { population, correct, of, source } = published;
    let percent = 100.0 * *correct as f64 / *of as f64;
    format!("{correct} of {of} of {population}{against}, {percent:.2} % ({source})")
}

/// Where the weights are, and whether they lie here; nothing is downloaded.
fn weights(entry: &BuiltIn, file: &ModelFile, hub: &Hub, data: &Path) -> String {
    match &file.place {
        Place::File(_) if entry.is_embedded() => "part of the program".into(),
        Place::File(weights) => {
            let places = weight_places(weights, Path::new(crate::model::MODEL_FOLDER), data);
            match places.iter().find(|place| place.is_file()) {
                Some(found) => format!("found: {}", found.display()),
                None => format!("not found: neither {} nor {}", places[0].display(), places[1].display()),
            }
        }
        Place::Hub { repository, revision, file: path } => {
            let sha256 = file.sha256.clone();
            let (kind, repository, revision, path) = (Kind::Model, repository.clone(), revision.clone(), path.clone());
            let wanted = RemoteFile { kind, repository, revision, path, sha256 };
            let state = match hub.cached(&wanted) {
                Ok(Some(local)) => format!("in the cache: {}", local.path.display()),
                Ok(None) => "not in the cache: a sweep that names it downloads it".into(),
                Err(problem) => format!("in the cache, but {problem}"),
            };
            format!("hub:{} at {}, {}; {state}", wanted.repository, wanted.revision, wanted.path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_told_in_full() {
        for entry in &MODELS {
            let sheet = sheet(entry, &Hub::none(), Path::new("nowhere")).unwrap();
            let text = std::str::from_utf8(sheet.as_bytes()).unwrap();
            let (page, file) = text.split_once("its model file").unwrap();
            assert!(page.lines().all(|line| line.chars().count() <= 80), "{text}");
            for line in entry.text().lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
                assert!(file.contains(&format!("\n  {line}\n")), "{}: {line}", entry.name);
            }
            assert!(page.contains(entry.file().unwrap().sha256.as_deref().unwrap_or(UNPINNED)));
        }
    }
}
