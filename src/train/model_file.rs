//! The model that a training ends with: its weights, and the file that describes them.

use super::plan::Training;
use super::state::State;
use super::weights;
use crate::config::{KeyValue, Names, quoted};
use crate::digest;
use crate::disk;
use crate::error::{Error, Result};
use crate::model::families;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// More names of classes than this are no line of a file.
const MOST_LISTED: usize = 100;

/// Writes weights and model file into a folder, and gives the path of the latter.
///
/// # Errors
/// A file of that name that no training wrote; those of the disk.
pub fn write(training: &Training, state: &State, file: &str, folder: &Path) -> Result<PathBuf> {
    prepare(training, folder)?;
    let bytes = weights::of_model(training, state.model())?;
    let place = |end: &str| folder.join(format!("{}.{end}", training.model));
    let [weights, model] = [place("safetensors"), place("toml")];
    disk::replace(&weights, &bytes)?;
    disk::replace(&model, text(training, state, file, &bytes).as_bytes())?;
    Ok(model)
}

/// Makes the folder of models, and refuses to write over what a training did not write: before hours of it.
///
/// # Errors
/// A file that would be written over; a folder that cannot be made or takes no files.
pub fn prepare(training: &Training, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    tempfile::NamedTempFile::new_in(folder).map(drop).map_err(Error::io("write in", folder))?;
    let model = folder.join(format!("{}.toml", training.model));
    let Ok(text) = std::fs::read_to_string(&model) else { return Ok(()) };
    let ours = families::parse(&model, &text).is_ok_and(|file| !file.training.is_empty());
    match ours {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "{} is there, and no training wrote it (hint: another `model`, or another folder by `--models`)",
            model.display()
        ))),
    }
}

fn text(training: &Training, state: &State, file: &str, weights: &[u8]) -> String {
    let network = &training.file;
    let mut text = format!("# Trained by `foolproof train {file}`; docs/training.md.\n");
    let mut line = |key: &str, value: String| writeln!(text, "{key:<10} = {value}").expect("a text grows");
    line("family", quoted(&network.family));
    for (key, value) in &network.own {
        line(
            key,
            match value {
                KeyValue::Number(number) => number.to_string(),
                KeyValue::Word(word) => quoted(word),
            },
        );
    }
    line("classes", network.classes.to_string());
    let listed = |names: &[String]| format!("[{}]", names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", "));
    match network.class_names.as_ref().map(|given| &given.names) {
        Some(Names::Listed(names)) => line("class_names", listed(names)),
        Some(Names::Of(text)) => line("class_names", quoted(text)),
        None if (1..=MOST_LISTED).contains(&training.classes.len()) => line("class_names", listed(&training.classes)),
        None => {}
    }
    match network.size {
        [height, width] if height == width => line("side", height.to_string()),
        [height, width] => line("size", format!("[{height}, {width}]")),
    }
    if let Some(resize) = network.resize {
        line("resize", resize.to_string());
    }
    if network.bicubic {
        line("interpolation", quoted(crate::config::BICUBIC));
    }
    line("mean", format!("{:?}", network.mean));
    line("std", format!("{:?}", network.std));
    if let Some(keys) = &network.keys {
        line("keys", quoted(keys));
    }
    line("weights", quoted(&format!("{}.safetensors", training.model)));
    line("sha256", quoted(&digest::sha256(weights)));
    text += "\n[training]\n";
    let mut line = |key: &str, value: String| writeln!(text, "{key:<10} = {value}").expect("a text grows");
    line("file", quoted(file));
    line("recipe", quoted(&training.recipe.to_string()));
    line("seed", training.seed.to_string());
    line("images", quoted(&training.images));
    line("epochs", state.progress.epoch.to_string());
    if let Some(last) = state.progress.rows.iter().rev().find(|row| row.stopped.is_empty()) {
        let of = |count: usize| quoted(&format!("{count} of {}", last.held_out));
        line("held_out", of(last.clean_correct));
        line("pgd_10", of(last.pgd_correct));
    }
    if !state.progress.stopped.is_empty() {
        line("stopped", quoted(&state.progress.stopped));
    }
    line("digest", quoted(&training.digest()));
    text
}
