//! From a weight file to a model file and a first sweep: what it is of, what had to be assumed, and what is left to fill in.

mod ask;
mod class_names;
mod images;
mod model_text;
mod normalisation;
mod sweep_text;
mod toml;
mod trial;
mod weights;

pub use ask::Answers;
pub use normalisation::{NORMALISATIONS, Normalisation};

use crate::data::Source;
use crate::error::{Error, Result};
use crate::model::WITH;
use candle_core::Device;
use images::Images;
use std::path::{Path, PathBuf};
use weights::Found;

/// Schema of model files, beside those that are written.
pub const MODEL_SCHEMA: &str = "model.schema.json";

/// Schema of sweep files, likewise.
pub const SWEEP_SCHEMA: &str = "sweep.schema.json";

/// What is asked for.
pub struct Request {
    /// A weight file, an ONNX file, or `hub:owner/name`.
    pub weights: String,
    /// Labelled images: name of a dataset, or a folder of pictures.
    pub data: Option<String>,
    /// How many of them.
    pub take: usize,
    /// What the classes are called; not given: as the images say.
    pub class_names: Option<Vec<String>>,
    /// Folder of what is written; not given: that of the weights.
    pub to: Option<PathBuf>,
    /// Whether files that are there are written over.
    pub force: bool,
}

/// What was written.
pub struct Written {
    /// The model file and the sweep.
    pub files: [PathBuf; 2],
    /// Names of the classes, where they are too many for a line of the model file.
    pub names: Option<PathBuf>,
    /// Whether something in them is left to fill in.
    pub open: bool,
}

/// Looks into the weights, tries what they leave open on images, and writes both files; says what it does line by line.
///
/// # Errors
/// Weights of no known network, images that do not go with it, files that are there already.
pub fn init(request: &Request, answers: &mut Answers, source: &Source, device: &Device) -> Result<Written> {
    let [files @ .., names_file] = places(request)?;
    let folder = files[0].parent().unwrap_or(Path::new(".")).to_path_buf();
    let data = request.data.clone().or_else(|| {
        answers.text(
            "labelled images to try it on, by the name of a dataset or as a folder of pictures, one folder a class",
        )
    });
    let asked = data.as_deref().map(|text| images::find(text, source)).transpose()?;
    let size = asked.as_ref().and_then(images::Wanted::size);
    let usual = asked.as_ref().and_then(images::Wanted::usual_size);
    // a network that has its own size says so, whatever pictures have
    let of_pictures = usual.and_then(|usual| weights::find(&request.weights, Some(usual), answers, &source.hub).ok());
    let mut found = match of_pictures {
        Some(found) => found,
        None => weights::find(&request.weights, size, answers, &source.hub)?,
    };
    refuse_one_class(&request.weights, &found)?;
    let wanted = asked.or_else(|| images::built_in(&found.source.file));
    let images = wanted.map(|wanted| Images::load(&wanted, request.take, &found.source.file, source)).transpose()?;
    let images = settle(&mut found, images, data.is_some(), answers, device)?;
    let schema = |name: &str| format!("#:schema ./{name}\n");
    // classes of images that the network gets wrong may be in another order than its own
    let of_images = images.as_ref().filter(|_| found.normalisation.is_some()).map(|images| &images.subset.classes);
    let names = class_names::Written::of(request.class_names.as_ref(), of_images, found.source.file.classes)?;
    let model = schema(MODEL_SCHEMA) + &model_text::text(&found, names.as_ref(), &names_file, &folder);
    let sweep = schema(SWEEP_SCHEMA) + &sweep_text::text(&found, images.as_ref(), &files[0], &folder);
    std::fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    let names = names.and_then(|names| Some((names_file, names.lines()?)));
    let third = names.iter().map(|(file, text)| (file, text));
    for (file, text) in files.iter().zip([&model, &sweep]).chain(third) {
        std::fs::write(file, text).map_err(Error::io("write", file))?;
    }
    let open = [&model, &sweep].iter().any(|text| text.contains(&toml::open_value()));
    Ok(Written { files, names: names.map(|(file, _)| file), open })
}

/// An attack asks for a wrong class.
fn refuse_one_class(weights: &str, found: &Found) -> Result<()> {
    match found.source.file.classes {
        1 => Err(Error::usage(format!(
            "{weights}: the network has one class, and an attack needs two (hint: of a logit x for yes or no, export \
             `torch.cat([torch.zeros_like(x), x], 1)` to ONNX, which gives the same probabilities)"
        ))),
        _ => Ok(()),
    }
}

/// Decides what shapes do not tell, by the images where there are some, else by asking. Gives back the images that the network
/// was trained for, as far as one can see.
fn settle(
    found: &mut Found,
    images: Option<Images>,
    was_asked: bool,
    answers: &mut Answers,
    device: &Device,
) -> Result<Option<Images>> {
    let Some(images) = images else {
        found.ask(answers);
        return Ok(None);
    };
    if !was_asked {
        crate::notice::say(
            "assumed: ten classes on images of side 32 are CIFAR-10's (hint: --data takes other images)",
        );
    }
    if found.is_settled() {
        return Ok(Some(images));
    }
    match trial::run(found, &images, device)? {
        true => {
            found.ask_keys(answers);
            Ok(Some(images))
        }
        false if was_asked => Ok(Some(images)),
        // perhaps it has ten other classes
        false => Ok(None),
    }
}

/// Where model file, sweep and names of classes go, which must not be there.
fn places(request: &Request) -> Result<[PathBuf; 3]> {
    let path = Path::new(request.weights.trim_start_matches("hub:"));
    let is_hub = request.weights.starts_with("hub:");
    if path.extension().is_some_and(|e| e == "toml") {
        return Err(Error::usage(format!(
            "{} is a model file or a sweep already (hint: name the weights)",
            path.display()
        )));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // of a repository the revision is no part of the name, and a dot no extension
    let stem = match is_hub {
        true => name.split('@').next().unwrap_or_default().to_string(),
        false => Path::new(&name).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    if stem.contains(WITH) || stem.contains(char::is_control) {
        return Err(Error::usage(format!(
            "{:?}: a model of this name could not be named in a sweep (hint: rename the file)",
            request.weights
        )));
    }
    let beside = if is_hub { Path::new("") } else { path.parent().unwrap_or(Path::new("")) };
    let folder = request.to.as_deref().unwrap_or(beside);
    let files = [".toml", "-sweep.toml", "-classes.txt"].map(|end| folder.join(format!("{stem}{end}")));
    match files.iter().find(|file| file.exists() && !request.force) {
        Some(there) => Err(Error::usage(format!(
            "{} is there already (hint: --force writes over it, --to DIR writes elsewhere)",
            there.display()
        ))),
        None => Ok(files),
    }
}
