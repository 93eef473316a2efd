//! Finds what a network is, in a weight file, in an ONNX file or on the Hub, and says what was recognised and what was assumed.

use super::ask::Answers;
use super::normalisation::{NONE, Normalisation, in_order};
use crate::config::{DefenceSpec, FamilyKey, KeyKind, KeyValue, ModelFile, ONNX, Place, RepositorySpec, SAFETENSORS};
use crate::error::{Error, Result};
use crate::hub::{Hub, Kind, RemoteFile};
use crate::model::{self, MODELS, ModelSource, Recognised, Side, onnx};
use crate::notice::say;
use crate::size;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A network with what is known of it.
pub struct Found {
    /// The description so far, with its weights.
    pub source: ModelSource,
    /// Keys of its family that nothing tells so far.
    pub open: Vec<FamilyKey>,
    /// How images are normalised, once that is known.
    pub normalisation: Option<Normalisation>,
    /// How that was found, in a comment.
    pub why: String,
    /// The weight file here; `None`: it is on the Hub.
    pub path: Option<PathBuf>,
    /// Other state dicts in the file that it could be, too.
    pub others: Vec<String>,
}

/// The network of a weight file, of an ONNX file or of a repository (`hub:owner/name`), for images of this size if it is known.
///
/// # Errors
/// No such file; what the file has in place of a known network.
pub fn find(text: &str, size: Option<[usize; 2]>, answers: &mut Answers, hub: &Hub) -> Result<Found> {
    if text.starts_with("hub:") {
        return on_hub(text, size, answers, hub);
    }
    let path = Path::new(text);
    if !path.exists() && MODELS.iter().any(|known| known.name == text) {
        return Err(Error::usage(format!(
            "`{text}` is a model that is known by name (hint: models = [\"{text}\"] in a sweep file)"
        )));
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let (name, place) = (stem(path), Place::File(text.into()));
    let is_onnx = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    let problem = |problem: String| Error::usage(format!("{text}: {problem}"));
    let found = if is_onnx {
        of_onnx(name, path, &bytes, size, answers).map_err(|why| problem(model::foreign(&bytes).unwrap_or(why)))?
    } else {
        of_weights(name, bytes, place, size, answers).map_err(problem)?
    };
    Ok(Found { path: Some(path.into()), ..found })
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn of_weights(
    name: String,
    bytes: Vec<u8>,
    place: Place,
    size: Option<[usize; 2]>,
    answers: &mut Answers,
) -> Result<Found, String> {
    let mut fits = model::recognise_file(&bytes, size)?;
    if let (None, Side::Usual(usual)) = (size, fits[0].guess.side) {
        let other = answers.number("height and width of the images in pixels", usual).filter(|side| *side != usual);
        if let Some(side) = other {
            fits = model::recognise_file(&bytes, Some([side; 2]))?;
        }
    }
    let (taken, others) = of_several(fits, answers);
    tell(&taken, size);
    let file = ModelFile { place, ..taken.file };
    let source = ModelSource::new(name, file, None, Cow::Owned(bytes)).map_err(|e| e.to_string())?;
    let open = taken.guess.open;
    Ok(Found { source, open, normalisation: None, why: String::new(), path: None, others })
}

/// One of several descriptions that fit, each of its own state dict.
fn of_several(mut fits: Vec<Recognised>, answers: &mut Answers) -> (Recognised, Vec<String>) {
    let key = |one: &Recognised| one.file.state_dict.clone();
    let named = |one: &Recognised| key(one).unwrap_or_else(|| "the tensors beside them".into());
    let shown = |one: &Recognised| format!("{} ({})", named(one), one.file.family);
    let choices: Vec<String> = fits.iter().map(shown).collect();
    let taken = match fits.len() {
        1 => 0,
        _ => {
            let taken = answers.choose("several networks in the file", &choices).unwrap_or(0);
            say(format_args!("assumed: of several networks in the file {}, not {}", choices[taken], {
                let others: Vec<&str> =
                    choices.iter().enumerate().filter(|(i, _)| *i != taken).map(|(_, c)| c.as_str()).collect();
                others.join(", ")
            }));
            taken
        }
    };
    let one = fits.remove(taken);
    let others = fits.iter().filter(|other| key(other) != key(&one)).filter_map(key).collect();
    (one, others)
}

/// Says what was recognised and what was assumed.
fn tell(taken: &Recognised, size: Option<[usize; 2]>) {
    let Recognised { file, guess, unseen, notes } = taken;
    let own: Vec<String> = guess.own.iter().map(|(key, value)| format!(", {} {value}", key.name)).collect();
    say(format_args!(
        "recognised: {}{}, {} classes, tensors named as in {}",
        file.family,
        own.concat(),
        file.classes,
        guess.naming
    ));
    notes.iter().chain(&guess.notes).for_each(|note| say(format_args!("recognised: {note}")));
    let images = size::in_words(file.size);
    match (size, guess.side) {
        (Some(_), _) => say(format_args!("recognised: images of {images}, as the data has them")),
        (None, Side::Told(_)) => say(format_args!("recognised: images of {images}")),
        (None, Side::Usual(_)) => say(format_args!("assumed: images of {images}; the network takes others, too")),
    }
    tell_resize(file);
    say(format_args!("assumed: what no tensor shows, as usual: {unseen}"));
}

fn tell_resize(file: &ModelFile) {
    let resize = file.resize_to_write();
    say(format_args!("assumed: pictures are resized to {resize} on their short side, bilinearly, before they are cut"));
}

fn of_onnx(
    name: String,
    path: &Path,
    bytes: &[u8],
    size: Option<[usize; 2]>,
    answers: &mut Answers,
) -> Result<Found, String> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let bytes = onnx::whole(bytes, Some(folder))?.into_owned();
    let own = onnx::image_size(&bytes)?;
    let read = |size: [usize; 2]| onnx::import(&bytes, None, Some(size), NONE.mean, NONE.std);
    let (size, network) = match own.or(size) {
        Some(size) => (size, read(size)?),
        None => {
            let asked = answers.number("height and width of the images in pixels", 224);
            let sides = asked.map_or(vec![224, 32], |side| vec![side]);
            let mut tried = sides.into_iter().map(|side| ([side; 2], read([side; 2])));
            let first = tried.next().expect("at least one");
            let (size, network) =
                if first.1.is_err() { tried.find(|(_, n)| n.is_ok()).unwrap_or(first) } else { first };
            (size, network?)
        }
    };
    let classes = network.graph.classes();
    say(format_args!("recognised: an ONNX network of {classes} classes"));
    match own {
        Some(_) => say(format_args!("recognised: images of {}", size::in_words(size))),
        None => say(format_args!("assumed: images of {}; the file leaves it open", size::in_words(size))),
    }
    network.notes.iter().for_each(|note| say(format_args!("recognised: {note}")));
    let file = ModelFile {
        family: ONNX.into(),
        own: BTreeMap::new(),
        classes,
        class_names: None,
        size,
        resize: None,
        bicubic: false,
        mean: NONE.mean,
        std: NONE.std,
        keys: None,
        state_dict: None,
        place: Place::File(path.display().to_string()),
        sha256: None,
        published: None,
        robust: None,
        defence: DefenceSpec::default(),
        training: Vec::new(),
    };
    tell_resize(&file);
    let source = ModelSource::new(name, file, None, Cow::Owned(bytes)).map_err(|e| e.to_string())?;
    let (open, others) = Default::default();
    Ok(Found { source, open, normalisation: None, why: String::new(), path: None, others })
}

/// As the repository's own description says; without one, as its weights show.
fn on_hub(text: &str, size: Option<[usize; 2]>, answers: &mut Answers, hub: &Hub) -> Result<Found> {
    match model::find(text, Path::new("."), hub) {
        Ok(source) => {
            // before anything is said of it: whether the weights are there
            source.load()?;
            let file = &source.file;
            let images = size::in_words(file.size);
            say(format_args!(
                "recognised: {}, {} classes, images of {images}, as the repository says",
                file.family, file.classes
            ));
            source.notes().iter().for_each(|note| say(format_args!("recognised: {note}")));
            let normalisation = Some(Normalisation { name: "as the repository says", mean: file.mean, std: file.std });
            let (open, others, path) = Default::default();
            Ok(Found { source, open, normalisation, why: "as the repository says".into(), path, others })
        }
        Err(problem) => {
            let spec = RepositorySpec::parse(text.trim_start_matches("hub:"));
            let Some(spec) = spec else { return Err(problem) };
            let RepositorySpec { repository, revision, .. } = spec;
            let remote = |path: &str| RemoteFile {
                kind: Kind::Model,
                repository: repository.clone(),
                revision: revision.clone(),
                path: path.into(),
                sha256: None,
            };
            let files = [SAFETENSORS, "pytorch_model.bin"];
            let local = files.iter().find_map(|path| Some((*path, hub.get(&remote(path)).ok()?)));
            let Some((file, local)) = local else { return Err(problem) };
            say(format_args!("assumed: nothing of what the repository says of itself: {problem}"));
            let bytes = std::fs::read(&local.path).map_err(Error::io("read", &local.path))?;
            let name = repository.rsplit('/').next().unwrap_or_default().to_string();
            let place =
                Place::Hub { repository: repository.clone(), revision: local.commit.clone(), file: file.into() };
            let found = of_weights(name, bytes, place, size, answers);
            let mut found = found.map_err(|problem| Error::usage(format!("{text}: {file}: {problem}")))?;
            found.source.commit = Some(local.commit);
            Ok(found)
        }
    }
}

impl Found {
    /// Whether nothing that decides a logit is left to find out.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty() && self.normalisation.is_some()
    }

    /// Asks for all that is open.
    pub fn ask(&mut self, answers: &mut Answers) {
        self.ask_keys(answers);
        if self.normalisation.is_some() {
            return;
        }
        let known = in_order(&self.source.file);
        let shown = |n: &Normalisation| format!("{}: mean {:?}, std {:?}", n.name, n.mean, n.std);
        let choices: Vec<String> = known.iter().map(shown).collect();
        match answers.choose("how were images normalised in training?", &choices) {
            Some(i) => {
                say(format_args!("assumed: normalisation {}, tried on no image", choices[i]));
                self.why = format!("{}, as answered; tried on no image", known[i].name);
                self.normalisation = Some(known[i]);
            }
            None => say(
                "to fill in: `mean` and `std`, by which images are normalised (hint: --data IMAGES tries the usual ones)",
            ),
        }
    }

    /// Asks for the keys of the family that are open.
    pub fn ask_keys(&mut self, answers: &mut Answers) {
        self.open.retain(|key| {
            let known = choices(key);
            match answers.choose(&format!("{}: {}", key.name, key.summary), &known) {
                Some(i) => {
                    say(format_args!("assumed: {} {}, which no tensor shows", key.name, known[i]));
                    self.source.file.own.insert(key.name, KeyValue::Word(known[i].clone()));
                    false
                }
                None => {
                    say(format_args!("to fill in: `{}`, which no tensor shows ({})", key.name, known.join(" or ")));
                    true
                }
            }
        });
    }
}

/// Choices of a key, its default first.
pub fn choices(key: &FamilyKey) -> Vec<String> {
    match key.kind {
        KeyKind::Choice { default, known } => {
            let others = known.iter().filter(|word| **word != default);
            std::iter::once(&default).chain(others).map(|word| word.to_string()).collect()
        }
        KeyKind::Number { default } => vec![default.to_string()],
    }
}
