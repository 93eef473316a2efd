//! A dataset in full.

use super::super::options::Options;
use super::super::registries::print;
use super::super::sheet::Sheet;
use crate::data::{self, Choice, Dataset, Preparation, Source};
use crate::error::{Error, Result};

/// Prints the dataset of this name.
pub fn dataset(name: &str, options: &Options) -> Result<()> {
    let (dataset, source) = (data::find(name)?, options.here());
    let mut sheet = Sheet::default();
    sheet.line("dataset", dataset.name);
    sheet.line("what", dataset.summary);
    sheet.line("classes", dataset.classes.map_or("as its files have".into(), |n| n.to_string()));
    sheet.line("side", dataset.side.map_or("that of the models of the block".into(), |n| format!("{n} pixels")));
    match dataset.splits {
        [] => sheet.line("splits", "any"),
        splits => sheet.line("splits", splits.join(", ")),
    }
    if !dataset.labelled {
        sheet.line("labels", "none");
    }
    if let Some(population) = (dataset.population)(dataset.default_split()) {
        sheet.line("accuracy", format!("compared with what models publish of `{population}`"));
    }
    if dataset.given {
        sheet.line("looked for", "nowhere: the command line gives it, and no sweep can name it");
        return print(sheet.as_bytes());
    }
    places(&mut sheet, dataset, &source);
    if !dataset.terms.is_empty() {
        sheet.line("terms", dataset.terms);
    }
    match dataset.splits {
        [] => sheet.line("found", "as the sweep says"),
        splits => {
            for (i, split) in splits.iter().enumerate() {
                sheet.line(if i == 0 { "found" } else { "" }, format!("{split}: {}", found(dataset, split, &source)));
            }
        }
    }
    sheet.gap();
    sheet.text(0, "in a sweep file:");
    sheet.verbatim(2, &format!("data = {{ name = \"{}\"{} }}", dataset.name, example(dataset)));
    print(sheet.as_bytes())
}

/// Where it is looked for.
fn places(sheet: &mut Sheet, dataset: &Dataset, source: &Source) {
    let below = |place: &str| source.folder().join(place).display().to_string();
    let named = match &dataset.folder {
        Some(folder) => folder.default.map(|name| format!("{}, or the folder that `path` names", below(name))),
        None => None,
    };
    let needs_path = dataset.folder.is_some() || dataset.table;
    let own = dataset.places.iter().map(|place| below(place)).chain(named);
    let own = own.chain(
        (needs_path && dataset.places.is_empty())
            .then(|| "what `path` names".into())
            .filter(|_| dataset.folder.as_ref().is_none_or(|folder| folder.default.is_none())),
    );
    let hub = dataset.hub.map(|(repository, revision)| format!("hub:{repository} at {revision}"));
    let hub = hub.or(dataset.table.then(|| "what `repository` names on the Hub".into()));
    let mut looked: Vec<String> = own.chain(hub).collect();
    if looked.is_empty() {
        looked.push("nowhere: it is part of the program".into());
    }
    for (i, place) in looked.iter().enumerate() {
        sheet.line(if i == 0 { "looked for" } else { "" }, place);
    }
}

/// How [`found`] begins where something is wrong.
pub const WRONG: &str = "not as it should be";

/// Whether a split is here, and where: its first image is read.
pub fn found(dataset: &Dataset, split: &str, source: &Source) -> String {
    let mut choice = Choice::new(split, 0, Some(1));
    let size = [dataset.side.unwrap_or(32); 2];
    choice.preparation = Preparation::unresized(size).ok().filter(|_| dataset.side.is_none());
    let built_in = dataset.places.is_empty() && dataset.hub.is_none() && dataset.folder.is_none() && !dataset.table;
    let in_folder = Source::new(source.folder());
    match dataset.subset(&in_folder, &choice) {
        Ok(_) if built_in => "part of the program".into(),
        Ok(_) => format!("below {}", source.folder().display()),
        Err(Error::Absent(_) | Error::Hub(_)) if dataset.hub.is_some() => match dataset.subset(source, &choice) {
            Ok(_) => "in the Hub's cache".into(),
            Err(Error::Absent(_) | Error::Hub(_)) => "not here; a sweep that names it downloads it".into(),
            Err(problem) => format!("{WRONG}: {problem}"),
        },
        Err(Error::Absent(_)) => "not here".into(),
        Err(_) if dataset.folder.as_ref().is_some_and(|folder| folder.default.is_none()) => "as `path` says".into(),
        Err(problem) => format!("{WRONG}: {problem}"),
    }
}

/// The keys that a sweep has to give, and a few images.
fn example(dataset: &Dataset) -> String {
    let path = match (&dataset.folder, dataset.table) {
        (Some(folder), _) if folder.default.is_none() => ", path = \"pictures\"",
        (_, true) => ", path = \"table.parquet\"",
        _ => "",
    };
    let split = dataset.splits.first().map_or(String::new(), |split| format!(", split = \"{split}\""));
    format!("{path}{split}, take = 20")
}
