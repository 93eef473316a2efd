//! The model file, with comments.

use super::class_names::Written;
use super::images::path_from;
use super::normalisation::{NONE, Normalisation, in_order};
use super::toml::{line, open_line};
use super::weights::{Found, choices};
use crate::config::{BICUBIC, INTERPOLATIONS, KeyValue, ModelFile, ONNX, Place, quoted};
use std::path::Path;

/// The model file of a network, in `folder`, with the names of its classes, perhaps in `names_file`.
pub fn text(found: &Found, names: Option<&Written>, names_file: &Path, folder: &Path) -> String {
    let file = &found.source.file;
    let mut text = String::from(
        "# What the network is; written by `foolproof init`. Every key: docs/models.md, \"Your own model\".\n",
    );
    if file.family != ONNX {
        text += &line("family", &quoted(&file.family), "");
    }
    text += &own(found);
    text += &line("classes", &file.classes.to_string(), "");
    if let Some(names) = names {
        text += &line("class_names", &names.value(names_file), "in the order of the network's outputs");
    }
    text += &size(file.size);
    let from = if file.resize.is_some() { "as the repository says" } else { "assumed" };
    let resize = format!("pictures: length of the short side before the cut; {from}");
    text += &line("resize", &file.resize_to_write().to_string(), &resize);
    let interpolation = if file.bicubic { BICUBIC } else { INTERPOLATIONS[0] };
    text += &line("interpolation", &quoted(interpolation), &format!("pictures: how they are resized; {from}"));
    if let Some(keys) = &file.keys {
        text += &line("keys", &quoted(keys), "whose names the tensors have");
    }
    if let Some(key) = &file.state_dict {
        let others: Vec<String> = found.others.iter().map(|key| quoted(key)).collect();
        let other = if others.is_empty() { String::new() } else { format!("; also there: {}", others.join(", ")) };
        text += &line("state_dict", &quoted(key), &format!("of several in the file{other}"));
    }
    text += &normalisation(found, file);
    text + &place(found, file, folder)
}

fn own(found: &Found) -> String {
    let of_file = found.source.file.own.iter().filter(|(name, _)| found.open.iter().all(|key| key.name != **name));
    let known = of_file.filter(|(_, value)| **value != KeyValue::Number(1.0)).map(|(name, value)| match value {
        KeyValue::Number(number) => line(name, &number.to_string(), "channels, as a multiple of the paper's"),
        KeyValue::Word(word) => line(name, &quoted(word), ""),
    });
    let open = found.open.iter().map(|key| {
        let words: Vec<String> = choices(key).iter().map(|word| quoted(word)).collect();
        open_line(key.name, &words.join(" or "))
    });
    known.chain(open).collect()
}

fn size([height, width]: [usize; 2]) -> String {
    match height == width {
        true => line("side", &height.to_string(), "height and width of the images in pixels"),
        false => line("size", &format!("[{height}, {width}]"), "height and width of the images in pixels"),
    }
}

fn normalisation(found: &Found, file: &ModelFile) -> String {
    let why = &found.why;
    match (found.normalisation, file.family.as_str()) {
        (Some(known), ONNX) if known.mean == NONE.mean && known.std == NONE.std => {
            line("mean", "\"inside\"", &format!("the file normalises images itself, or none has to; {why}"))
        }
        (Some(known), _) => {
            line("mean", &format!("{:?}", known.mean), &format!("(x - mean) / std, x in [0,1], RGB; {why}"))
                + &line("std", &format!("{:?}", known.std), "")
        }
        (None, ONNX) => open_line(
            "mean",
            "\"inside\" where the file normalises images itself; else three numbers, and a line `std = […]` below",
        ),
        (None, _) => {
            let Normalisation { name, mean, std } = in_order(file)[0];
            open_line("mean", &format!("of (x - mean) / std, x in [0,1], RGB, as in training; as {mean:?}, {name}"))
                + &open_line("std", &format!("as {std:?}, {name}"))
        }
    }
}

fn place(found: &Found, file: &ModelFile, folder: &Path) -> String {
    let sha256 = line("sha256", &quoted(&found.source.digest), "of these weights: others are refused");
    match (&file.place, &found.path) {
        (Place::Hub { repository, revision, file }, _) => {
            let commit = found.source.commit.as_ref().unwrap_or(revision);
            line("hub", &quoted(repository), "")
                + &line("revision", &quoted(commit), "")
                + &line("file", &quoted(file), "")
                + &sha256
        }
        (Place::File(name), path) => {
            let name = path.as_ref().map_or_else(|| name.clone(), |path| path_from(path, folder));
            line("weights", &quoted(&name), "from the folder of this file") + &sha256
        }
    }
}
